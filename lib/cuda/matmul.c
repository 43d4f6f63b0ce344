/* matmul.c - the products of linear layers, by cuBLASLt
 *
 * cuBLASLt's matrices are column-major: it sees a row-major x (N, I) as an I x N matrix. So the
 * product y (N, O) = x @ w (O, I)^T becomes y (O x N) = w^T (O x I) * x (I x N), with w stored as I
 * x O and transposed: no matrix is moved.
 */
#include "cuda/matmul.h"

#include "base/memory.h"
#include "base/status.h"
#include "cuda/cuda_error.h"

/* How many proposals are searched for one that may be used. */
#define CANDIDATES 32

/* How a product of one shape is computed. */
struct plan {
    int device;
    size_t O, I;
    struct matmul_kind kind;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t w, x, y;
    cublasLtMatmulAlgo_t algorithm;
    struct plan *next;
};

struct matmul {
    int device;
    cublasLtHandle_t cublas;
    cudaDataType type;
    struct plan *plans; /* about four for a model, eight for one that generates */
};

/* A cuBLASLt status does not say whether the device is lost; any call of the runtime does. */
static embed_status cublas_fail(int device, cublasStatus_t status, const char *what)
{
    size_t free_bytes, all;
    RELEASE_CUDA(device, cudaMemGetInfo(&free_bytes, &all), what);
    TRY(cuda_check(device));
    return fail(status == CUBLAS_STATUS_ALLOC_FAILED ? EMBED_OUT_OF_MEMORY
                                                     : EMBED_DEVICE_FAILED,
                "cuBLASLt: %s: %s", what, cublasLtGetStatusString(status));
}

#define TRY_CUBLAS(device, call, what)                                                         \
    do {                                                                                       \
        TRY(cuda_check(device));                                                               \
        cublasStatus_t try_status_ = (call);                                                   \
        if (try_status_ != CUBLAS_STATUS_SUCCESS)                                              \
            return cublas_fail(device, try_status_, what);                                     \
    } while (0)

/* ---- plans ------------------------------------------------------------------------------- */

static void plan_destroy(struct plan *plan)
{
    if (!cuda_is_lost(plan->device)) {
        if (plan->product != NULL) cublasLtMatmulDescDestroy(plan->product);
        if (plan->w != NULL) cublasLtMatrixLayoutDestroy(plan->w);
        if (plan->x != NULL) cublasLtMatrixLayoutDestroy(plan->x);
        if (plan->y != NULL) cublasLtMatrixLayoutDestroy(plan->y);
    }
    memory_free(plan);
}

static embed_status describe(struct plan *plan, cudaDataType type)
{
    static const char what[] = "describing a product";
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const cudaDataType y_type = plan->kind.is_f32 ? CUDA_R_32F : type;
    const cublasLtEpilogue_t epilogue =
        plan->kind.add_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    TRY_CUBLAS(plan->device,
               cublasLtMatmulDescCreate(&plan->product, CUBLAS_COMPUTE_32F, CUDA_R_32F), what);
    TRY_CUBLAS(plan->device,
               cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_TRANSA,
                                              &transposed, sizeof transposed),
               what);
    TRY_CUBLAS(plan->device,
               cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                              &epilogue, sizeof epilogue),
               what);
    TRY_CUBLAS(plan->device,
               cublasLtMatrixLayoutCreate(&plan->w, type, plan->I, plan->O, (int64_t)plan->I),
               what);
    TRY_CUBLAS(plan->device,
               cublasLtMatrixLayoutCreate(&plan->x, type, plan->I, plan->kind.rows,
                                          (int64_t)plan->I),
               what);
    TRY_CUBLAS(plan->device,
               cublasLtMatrixLayoutCreate(&plan->y, y_type, plan->O, plan->kind.rows,
                                          (int64_t)plan->O),
               what);
    return EMBED_OK;
}

/* Returns whether sums are split along I: the parts are then added in an order that depends on the
 * shape of the whole product. */
static bool is_split(const cublasLtMatmulAlgo_t *algorithm)
{
    int32_t parts = 0;
    size_t size;
    return cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM,
                                                &parts, sizeof parts,
                                                &size) != CUBLAS_STATUS_SUCCESS ||
           parts > 1;
}

/* Takes cuBLASLt's first proposal that needs no workspace and does not split the sum. Proposals are
 * computed from the shape, not measured. */
static embed_status choose(struct plan *plan, cublasLtHandle_t cublas,
                           cublasLtMatmulPreference_t preference)
{
    static const char what[] = "choosing an algorithm";
    const uint64_t workspace = 0;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE;
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    int count = 0;
    TRY_CUBLAS(plan->device,
               cublasLtMatmulPreferenceSetAttribute(preference,
                                                    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                    &workspace, sizeof workspace),
               what);
    TRY_CUBLAS(plan->device,
               cublasLtMatmulPreferenceSetAttribute(preference,
                                                    CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                    &reductions, sizeof reductions),
               what);
    TRY_CUBLAS(plan->device,
               cublasLtMatmulAlgoGetHeuristic(cublas, plan->product, plan->w, plan->x, plan->y,
                                              plan->y, preference, CANDIDATES, found, &count),
               what);
    for (int i = 0; i < count; i++) {
        if (found[i].state != CUBLAS_STATUS_SUCCESS || is_split(&found[i].algo)) continue;
        plan->algorithm = found[i].algo;
        return EMBED_OK;
    }
    return fail(EMBED_UNSUPPORTED,
                "cuBLASLt has no algorithm for a layer of %zu x %zu on this GPU", plan->O,
                plan->I);
}

static embed_status set_bias(struct plan *plan, const void *bias)
{
    TRY_CUBLAS(plan->device,
               cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                              &bias, sizeof bias),
               "describing a product");
    return EMBED_OK;
}

static embed_status plan_make(struct plan *plan, struct matmul *matmul, const void *bias)
{
    TRY(describe(plan, matmul->type));
    if (plan->kind.add_bias) TRY(set_bias(plan, bias)); /* its alignment affects the choice */
    cublasLtMatmulPreference_t preference;
    TRY_CUBLAS(plan->device, cublasLtMatmulPreferenceCreate(&preference),
               "choosing an algorithm");
    embed_status status = choose(plan, matmul->cublas, preference);
    if (!cuda_is_lost(plan->device)) cublasLtMatmulPreferenceDestroy(preference);
    return status;
}

static bool is_for(const struct plan *plan, const struct linear *layer, struct matmul_kind kind)
{
    return plan->O == layer->O && plan->I == layer->I && plan->kind.rows == kind.rows &&
           plan->kind.add_bias == kind.add_bias && plan->kind.is_f32 == kind.is_f32;
}

static embed_status plan_find(struct plan **out, struct matmul *matmul,
                              const struct linear *layer, struct matmul_kind kind)
{
    struct plan *plan = matmul->plans;
    while (plan != NULL && !is_for(plan, layer, kind)) plan = plan->next;
    if (plan == NULL) {
        plan = memory_allocate(1, sizeof *plan, "a product's plan");
        if (plan == NULL) return EMBED_OUT_OF_MEMORY;
        *plan = (struct plan){.device = matmul->device,
                              .O = layer->O,
                              .I = layer->I,
                              .kind = kind,
                              .next = matmul->plans};
        embed_status status = plan_make(plan, matmul, layer->bias);
        if (status != EMBED_OK) {
            plan_destroy(plan);
            return status;
        }
        matmul->plans = plan;
    }
    *out = plan;
    return EMBED_OK;
}

/* ---- products ---------------------------------------------------------------------------- */

embed_status matmul_open(cublasLtHandle_t *cublas, int device)
{
    TRY_CUBLAS(device, cublasLtCreate(cublas), "opening it");
    return EMBED_OK;
}

void matmul_close(cublasLtHandle_t cublas, int device)
{
    if (cublas != NULL && !cuda_is_lost(device)) cublasLtDestroy(cublas);
}

embed_status matmul_create(struct matmul **out, int device, cublasLtHandle_t cublas, bool f32)
{
    struct matmul *matmul = memory_allocate(1, sizeof *matmul, "the products of linear layers");
    if (matmul == NULL) return EMBED_OUT_OF_MEMORY;
    matmul->device = device;
    matmul->cublas = cublas;
    matmul->type = f32 ? CUDA_R_32F : CUDA_R_16F;
    *out = matmul;
    return EMBED_OK;
}

void matmul_destroy(struct matmul *matmul)
{
    if (matmul == NULL) return;
    while (matmul->plans != NULL) {
        struct plan *plan = matmul->plans;
        matmul->plans = plan->next;
        plan_destroy(plan);
    }
    memory_free(matmul);
}

embed_status matmul_run(struct matmul *matmul, void *y, const void *x,
                        const struct linear *layer, size_t N, struct matmul_kind kind,
                        cudaStream_t stream)
{
    static const char what[] = "a linear layer";
    const float one = 1, zero = 0;
    const uint64_t columns = N;
    struct plan *plan;
    TRY(plan_find(&plan, matmul, layer, kind));
    TRY_CUBLAS(plan->device,
               cublasLtMatrixLayoutSetAttribute(plan->x, CUBLASLT_MATRIX_LAYOUT_COLS, &columns,
                                                sizeof columns),
               what);
    TRY_CUBLAS(plan->device,
               cublasLtMatrixLayoutSetAttribute(plan->y, CUBLASLT_MATRIX_LAYOUT_COLS, &columns,
                                                sizeof columns),
               what);
    if (kind.add_bias) TRY(set_bias(plan, layer->bias));
    TRY_CUBLAS(plan->device,
               cublasLtMatmul(matmul->cublas, plan->product, &one, layer->weight, plan->w, x,
                              plan->x, &zero, y, plan->y, y, plan->y, &plan->algorithm, NULL, 0,
                              stream),
               what);
    return EMBED_OK;
}
