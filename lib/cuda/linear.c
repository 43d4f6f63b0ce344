/* linear.c - linear layers, by cuBLASLt or by our own kernel */
#include "cuda/linear.h"

#include "base/status.h"
#include "cuda/cuda_error.h"

/* Our own kernels are for FP16, and copy 16 bytes at a time. */
static bool is_own(const struct linear *layer, const struct execution *execution)
{
    return execution->linear_path != LINEAR_CUBLASLT &&
           execution->kernels->element_bytes == sizeof(uint16_t) && layer->I % 8 == 0 &&
           layer->O <= CUDA_WIDEST_LAYER && layer->I <= CUDA_WIDEST_LAYER;
}

static enum cuda_sums own_sums(const struct execution *execution)
{
    return execution->linear_path == LINEAR_TWO_LEVEL ? CUDA_SUMS_TWO_LEVEL : CUDA_SUMS_F32;
}

/* cuBLASLt adds a bias to the FP32 sums before they are rounded. It also has a GELU, but that is
 * the tanh approximation, off by up to 5e-4: the models' GELU is a kernel of ours. */
embed_status linear_run(void *y, const void *x, const struct linear *layer, size_t N,
                        enum activation activation, struct execution *execution)
{
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    if (is_own(layer, execution) && layer->O % 8 == 0) { /* it stores 16 bytes at a time, too */
        TRY_CUDA(execution->device,
                 cuda_linear_f16(y, x, layer->weight, layer->bias, N, layer->O, layer->I,
                                 activation, own_sums(execution), execution->stream),
                 "linear");
        return EMBED_OK;
    }
    bool gelu = activation == ACTIVATION_GELU;
    const struct matmul_kind kind = {.rows = execution->rows, .add_bias = !gelu};
    TRY(matmul_run(execution->matmul, y, x, layer, N, kind, execution->stream));
    if (gelu)
        TRY_CUDA(execution->device,
                 execution->kernels->bias_gelu(y, layer->bias, N, layer->O, execution->stream),
                 "bias_gelu");
    return EMBED_OK;
}

/* With our own kernels, the fused one and the two separate ones give the same bits. */
embed_status linear_add_layernorm(void *x, const void *in, const struct linear *layer,
                                  const struct layernorm *norm, size_t N, float eps, void *buffer,
                                  struct execution *execution)
{
    const struct cuda_card *card = execution->card;
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    if (is_own(layer, execution) &&
        cuda_linear_add_layernorm_pays(N, layer->O, card->multiprocessors)) {
        TRY_CUDA(execution->device,
                 cuda_linear_add_layernorm_f16(x, in, layer->weight, layer->bias, x, norm->weight,
                                               norm->bias, N, layer->O, layer->I, eps,
                                               own_sums(execution), card->capability,
                                               execution->stream),
                 "linear_add_layernorm");
        return EMBED_OK;
    }
    TRY(linear_run(buffer, in, layer, N, ACTIVATION_NONE, execution));
    TRY_CUDA(execution->device,
             execution->kernels->add_layernorm(x, buffer, x, norm->weight, norm->bias, N, layer->O,
                                               eps, execution->stream),
             "add_layernorm");
    return EMBED_OK;
}

/* y and the bias are FP32, whatever x is. */
static embed_status run_to_f32(float *y, const void *x, const struct linear *layer, size_t N,
                               const char *what, struct execution *execution)
{
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    if (is_own(layer, execution)) {
        TRY_CUDA(execution->device,
                 cuda_logits_f16(y, x, layer->weight, layer->bias, N, layer->O, layer->I,
                                 own_sums(execution), execution->stream),
                 what);
        return EMBED_OK;
    }
    const struct matmul_kind kind = {execution->rows, layer->bias != NULL, true};
    return matmul_run(execution->matmul, y, x, layer, N, kind, execution->stream);
}

embed_status linear_residual(float *y, const void *x, const struct linear *layer, size_t N,
                             struct execution *execution)
{
    return run_to_f32(y, x, layer, N, "residual_linear", execution);
}

embed_status linear_logits(float *y, const void *x, const struct linear *layer, size_t N,
                           struct execution *execution)
{
    return run_to_f32(y, x, layer, N, "logits", execution);
}
