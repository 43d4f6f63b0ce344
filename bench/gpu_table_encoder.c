/* gpu_table_encoder.c - the launches of an encoder's forward pass */
#include "gpu_table.h"

/* Word embeddings are scattered over a large table, so they count as weights. */
static struct work embed_layernorm(const struct pass *p)
{
    const double row = 2.0 * (double)p->model->C;
    check_launcher(cuda_kernels_f16.embed_layernorm(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                                                    p->N, p->model->C, 1e-12f, NULL));
    return (struct work){.activations = 2 * row * (double)p->N, .weights = row * (double)p->N};
}

static struct work qkv(const struct pass *p)
{
    return linear(p, 3 * p->model->C, p->model->C, ACTIVATION_NONE);
}

static struct work attention(const struct pass *p)
{
    const size_t C = p->model->C, NH = p->model->NH, T = p->T, B = p->N / T;
    static const float bias;
    check_launcher(cuda_kernels_f16.attention(NULL, NULL, p->model->relative ? &bias : NULL,
                                              2 * T - 1, T - 1, NULL, B, T, NH, C / NH, 1, NULL));
    struct work work = {.launch = launch_last(&p->card->multiprocessor)};
    /* Each block of queries reads all keys and values of its sequence. */
    const double blocks = (double)work.launch.blocks / (double)(B * NH), row = 2.0 * (double)C;
    work.activations = 4 * row * (double)p->N;
    work.drawn = (2 + 2 * blocks) * row * (double)p->N;
    work.flops = 4.0 * (double)(p->N * T * C);
    work.special = (double)(p->N * T * NH);
    work.rate = p->card->tensor;
    work.rate_expected = attention_rate(p->card);
    return work;
}

static struct work attention_output(const struct pass *p)
{
    return linear(p, p->model->C, p->model->C, ACTIVATION_NONE);
}

static struct work attention_output_norm(const struct pass *p)
{
    return linear_add_layernorm(p, p->model->C);
}

static struct work add_layernorm(const struct pass *p)
{
    check_launcher(cuda_kernels_f16.add_layernorm(NULL, NULL, NULL, NULL, NULL, p->N, p->model->C,
                                                  1e-12f, NULL));
    return (struct work){.activations = 3 * 2.0 * (double)(p->N * p->model->C)};
}

static struct work feed_forward_in(const struct pass *p)
{
    return linear(p, p->model->F, p->model->C, ACTIVATION_GELU);
}

static struct work feed_forward_out(const struct pass *p)
{
    return linear(p, p->model->C, p->model->F, ACTIVATION_NONE);
}

static struct work feed_forward_out_norm(const struct pass *p)
{
    return linear_add_layernorm(p, p->model->F);
}

static struct work pool(const struct pass *p)
{
    const size_t C = p->model->C, B = p->N / p->T;
    check_launcher(
        cuda_kernels_f16.pool(NULL, C, NULL, NULL, NULL, B, C, POOLING_MEAN, C, true, NULL));
    return (struct work){.activations = 2.0 * (double)(p->N * C) + 4.0 * (double)(B * C)};
}

static struct work dense(const struct pass *p)
{
    const size_t C = p->model->C, B = p->N / p->T;
    check_launcher(cuda_dense(NULL, NULL, NULL, NULL, B, C, C, ACTIVATION_TANH, NULL));
    return (struct work){.activations = 2 * 4.0 * (double)(B * C),
                         .weights = 4.0 * (double)(C * C),
                         .flops = 2.0 * (double)(B * C * C),
                         .special = (double)(B * C),
                         .rate = lanes_rate(p->card),
                         .rate_expected = lanes_rate_expected(p->card),
                         .on_lanes = true};
}

static struct work l2_normalize(const struct pass *p)
{
    const size_t C = p->model->C, B = p->N / p->T;
    check_launcher(cuda_l2_normalize(NULL, B, C, C, NULL));
    return (struct work){.activations = 2 * 4.0 * (double)(B * C)};
}

const struct step encoder_steps[] = {
    {"embed_layernorm", embed_layernorm, 1, false, false, false, NULL},
    {"linear qkv", qkv, 1, true, false, true, NULL},
    {"attention", attention, 1, true, true, false, NULL},
    {"linear attention output", attention_output, 1, true, false, true, is_not_fused},
    {"linear_add_layernorm attention", attention_output_norm, 1, true, false, true, is_fused},
    {"add_layernorm", add_layernorm, 2, true, false, true, is_not_fused},
    {"linear feed forward in", feed_forward_in, 1, true, false, true, NULL},
    {"bias_gelu", bias_gelu, 1, true, false, true, is_cublaslt},
    {"linear feed forward out", feed_forward_out, 1, true, false, true, is_not_fused},
    {"linear_add_layernorm feed forward", feed_forward_out_norm, 1, true, false, true, is_fused},
    {"pool", pool, 1, false, true, false, NULL},
    {"dense", dense, 0, false, true, false, NULL},
    {"l2_normalize", l2_normalize, 0, false, true, false, NULL},
    {0},
};
