/* cublaslt.cpp - cuBLASLt's calls: descriptors, heuristics, the product
 *
 * The only product is D (O x N) = alpha W^T (O x I) X (I x N) + beta C + bias in column-major
 * order, which is y (N, O) = x (N, I) @ w (O, I)^T in row-major order: see product.cpp. If the
 * preferences allow it, the heuristics' first proposal splits the sum, as the real one's often
 * does.
 */
#include "machine.h"

#include <set>
#include <string.h>

struct cublasLtContext {
    int device;
};

struct cublasLtMatmulDescOpaque_t {
    cublasComputeType_t compute;
    cudaDataType scale;
    int32_t transpose_a, transpose_b;
    uint32_t epilogue;
    const void *bias;
    int32_t bias_type; /* -1: D's type */
};

struct cublasLtMatrixLayoutOpaque_t {
    cudaDataType type;
    uint64_t rows, columns;
    int64_t leading;
};

struct cublasLtMatmulPreferenceOpaque_t {
    uint64_t workspace;
    uint32_t reductions;
};

/* Contents of a cublasLtMatmulAlgo_t. */
enum { ALGO_MAGIC, ALGO_ID, ALGO_TILE, ALGO_PARTS, ALGO_REDUCTION, ALGO_STAGES };
static const uint64_t MAGIC = 0x656D75616C676Full;

static std::set<const void *> &live(void) /* handles and descriptors */
{
    static auto *all = new std::set<const void *>;
    return *all;
}

static bool are_live(std::initializer_list<const void *> objects)
{
    for (const void *object : objects)
        if (live().count(object) == 0) return false;
    return true;
}

template <typename T> static cublasStatus_t add(T *object, T **out, size_t *count)
{
    live().insert(object);
    ++*count;
    *out = object;
    return CUBLAS_STATUS_SUCCESS;
}

template <typename T> static cublasStatus_t discard(T *object, size_t *count)
{
    if (live().erase(object) == 0) {
        report("cuBLASLt: destroys an object that does not exist");
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    --*count;
    delete object;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t unsupported(const char *what)
{
    report(format("cuBLASLt: not emulated: %s", what));
    return CUBLAS_STATUS_NOT_SUPPORTED;
}

/* ---- handles ------------------------------------------------------------------------------- */

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    return cublas_api("cublasLtCreate", CALL_CONTEXT, [=] {
        if (!memory_charge(current(), &current()->handle_bytes, machine.handle_cost))
            return CUBLAS_STATUS_ALLOC_FAILED;
        return add(new cublasLtContext{current_device()}, handle, &machine.handles);
    });
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    return cublas_api("cublasLtDestroy", CALL_RELEASE, [=] {
        if (are_live({handle})) machine.devices[handle->device].handle_bytes -= machine.handle_cost;
        return discard(handle, &machine.handles);
    });
}

size_t cublasLtGetVersion(void)
{
    return CUBLAS_VERSION;
}

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH: return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_MAPPING_ERROR: return "CUBLAS_STATUS_MAPPING_ERROR";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR: return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    case CUBLAS_STATUS_LICENSE_ERROR: return "CUBLAS_STATUS_LICENSE_ERROR";
    }
    return "unknown status";
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    return cublasLtGetStatusName(status);
}

/* ---- descriptors --------------------------------------------------------------------------- */

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    return cublas_api("cublasLtMatmulDescCreate", CALL_PLAIN, [=] {
        auto *created = new cublasLtMatmulDescOpaque_t{
            compute, scale, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, NULL, -1};
        return add(created, desc, &machine.descriptors);
    });
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    return cublas_api("cublasLtMatmulDescDestroy", CALL_RELEASE,
                      [=] { return discard(desc, &machine.descriptors); });
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t leading)
{
    return cublas_api("cublasLtMatrixLayoutCreate", CALL_PLAIN, [=] {
        auto *created = new cublasLtMatrixLayoutOpaque_t{type, rows, columns, leading};
        return add(created, layout, &machine.descriptors);
    });
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    return cublas_api("cublasLtMatrixLayoutDestroy", CALL_RELEASE,
                      [=] { return discard(layout, &machine.descriptors); });
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    return cublas_api("cublasLtMatmulPreferenceCreate", CALL_PLAIN, [=] {
        auto *created = new cublasLtMatmulPreferenceOpaque_t{0, CUBLASLT_REDUCTION_SCHEME_MASK};
        return add(created, preference, &machine.descriptors);
    });
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    return cublas_api("cublasLtMatmulPreferenceDestroy", CALL_RELEASE,
                      [=] { return discard(preference, &machine.descriptors); });
}

/* Copies an attribute's value, which must have the size of the member. */
template <typename T> static cublasStatus_t set(T *member, const void *value, size_t bytes)
{
    if (value == NULL || bytes != sizeof *member) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy((void *)member, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes)
{
    return cublas_api("cublasLtMatmulDescSetAttribute", CALL_PLAIN, [=] {
        if (!are_live({desc})) return CUBLAS_STATUS_INVALID_VALUE;
        switch (attribute) {
        case CUBLASLT_MATMUL_DESC_TRANSA: return set(&desc->transpose_a, value, bytes);
        case CUBLASLT_MATMUL_DESC_TRANSB: return set(&desc->transpose_b, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(&desc->epilogue, value, bytes);
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(&desc->bias, value, bytes);
        case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return set(&desc->bias_type, value, bytes);
        default: return unsupported("an attribute of a product");
        }
    });
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t bytes)
{
    return cublas_api("cublasLtMatrixLayoutSetAttribute", CALL_PLAIN, [=] {
        if (!are_live({layout})) return CUBLAS_STATUS_INVALID_VALUE;
        switch (attribute) {
        case CUBLASLT_MATRIX_LAYOUT_TYPE: return set(&layout->type, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_ROWS: return set(&layout->rows, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_COLS: return set(&layout->columns, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_LD: return set(&layout->leading, value, bytes);
        default: return unsupported("an attribute of a layout");
        }
    });
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes)
{
    return cublas_api("cublasLtMatmulPreferenceSetAttribute", CALL_PLAIN, [=] {
        if (!are_live({preference})) return CUBLAS_STATUS_INVALID_VALUE;
        switch (attribute) {
        case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
            return set(&preference->workspace, value, bytes);
        case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
            return set(&preference->reductions, value, bytes);
        default: return unsupported("an attribute of preferences");
        }
    });
}

/* ---- shapes -------------------------------------------------------------------------------- */

struct layouts {
    cublasLtMatrixLayout_t a, b, c, d;
};

static bool is_emulated_type(cudaDataType type)
{
    return type == CUDA_R_16F || type == CUDA_R_32F;
}

static size_t element_bytes(cudaDataType type)
{
    return type == CUDA_R_16F ? 2 : 4;
}

static cublasStatus_t check_types(const cublasLtMatmulDescOpaque_t *desc, struct layouts l)
{
    if (desc->compute != CUBLAS_COMPUTE_32F || desc->scale != CUDA_R_32F)
        return unsupported("a product that is not summed in FP32");
    if (desc->transpose_a != CUBLAS_OP_T || desc->transpose_b != CUBLAS_OP_N)
        return unsupported("a product other than A^T B");
    if (desc->epilogue != CUBLASLT_EPILOGUE_DEFAULT && desc->epilogue != CUBLASLT_EPILOGUE_BIAS)
        return unsupported("an epilogue other than the bias");
    if (!is_emulated_type(l.a->type) || l.b->type != l.a->type || !is_emulated_type(l.d->type) ||
        l.c->type != l.d->type || (l.a->type == CUDA_R_32F && l.d->type != CUDA_R_32F))
        return unsupported("these element types");
    if (desc->bias_type != -1 && desc->bias_type != l.d->type)
        return unsupported("a bias of another type than D");
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_product(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                    struct layouts l)
{
    if (!are_live({handle, desc, l.a, l.b, l.c, l.d})) return CUBLAS_STATUS_INVALID_VALUE;
    cublasStatus_t status = check_types(desc, l);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    uint64_t I = l.a->rows, O = l.a->columns, N = l.b->columns;
    bool fits = l.b->rows == I && l.d->rows == O && l.d->columns == N && l.c->rows == O &&
                l.c->columns == N && I > 0 && O > 0 && N > 0;
    for (cublasLtMatrixLayout_t m : {l.a, l.b, l.c, l.d})
        fits = fits && m->leading > 0 && (uint64_t)m->leading >= m->rows;
    return fits ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

/* ---- algorithms ---------------------------------------------------------------------------- */

static cublasLtMatmulHeuristicResult_t proposal(uint64_t tile, uint64_t parts, struct layouts l)
{
    cublasLtMatmulHeuristicResult_t result = {};
    uint64_t *data = result.algo.data;
    data[ALGO_MAGIC] = MAGIC;
    data[ALGO_ID] = 21;
    data[ALGO_TILE] = tile;
    data[ALGO_PARTS] = parts;
    data[ALGO_STAGES] = 10;
    if (parts > 1) {
        data[ALGO_REDUCTION] = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
        result.workspaceSize = parts * l.d->rows * l.d->columns * sizeof(float);
    }
    result.state = CUBLAS_STATUS_SUCCESS;
    result.wavesCount = 1;
    return result;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int *returned)
{
    return cublas_api("cublasLtMatmulAlgoGetHeuristic", CALL_CONTEXT, [=] {
        struct layouts l = {a, b, c, d};
        if (requested <= 0 || !are_live({preference})) return CUBLAS_STATUS_INVALID_VALUE;
        cublasStatus_t status = check_product(handle, desc, l);
        if (status != CUBLAS_STATUS_SUCCESS) return status;
        *returned = 0;
        cublasLtMatmulHeuristicResult_t split = proposal(20, 2, l);
        if ((preference->reductions & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) != 0 &&
            split.workspaceSize <= preference->workspace)
            results[(*returned)++] = split;
        for (uint64_t tile : {20, 15})
            if (*returned < requested) results[(*returned)++] = proposal(tile, 1, l);
        return CUBLAS_STATUS_SUCCESS;
    });
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t *algo,
                                       cublasLtMatmulHeuristicResult_t *result)
{
    return cublas_api("cublasLtMatmulAlgoCheck", CALL_CONTEXT, [=] {
        struct layouts l = {a, b, c, d};
        cublasStatus_t status = check_product(handle, desc, l);
        if (status != CUBLAS_STATUS_SUCCESS) return status;
        if (algo == NULL || algo->data[ALGO_MAGIC] != MAGIC) return CUBLAS_STATUS_INVALID_VALUE;
        *result = proposal(algo->data[ALGO_TILE], algo->data[ALGO_PARTS], l);
        return CUBLAS_STATUS_SUCCESS;
    });
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void *value, size_t bytes, size_t *written)
{
    return cublas_api("cublasLtMatmulAlgoConfigGetAttribute", CALL_PLAIN, [=] {
        uint32_t number;
        if (algo == NULL || algo->data[ALGO_MAGIC] != MAGIC || bytes != sizeof number)
            return CUBLAS_STATUS_INVALID_VALUE;
        switch (attribute) {
        case CUBLASLT_ALGO_CONFIG_ID: number = (uint32_t)algo->data[ALGO_ID]; break;
        case CUBLASLT_ALGO_CONFIG_TILE_ID: number = (uint32_t)algo->data[ALGO_TILE]; break;
        case CUBLASLT_ALGO_CONFIG_SPLITK_NUM: number = (uint32_t)algo->data[ALGO_PARTS]; break;
        case CUBLASLT_ALGO_CONFIG_STAGES_ID: number = (uint32_t)algo->data[ALGO_STAGES]; break;
        case CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME:
            number = (uint32_t)algo->data[ALGO_REDUCTION];
            break;
        case CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING:
        case CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION: number = 0; break;
        default: return unsupported("an attribute of an algorithm");
        }
        memcpy(value, &number, sizeof number);
        if (written != NULL) *written = sizeof number;
        return CUBLAS_STATUS_SUCCESS;
    });
}

/* ---- the product --------------------------------------------------------------------------- */

typedef const struct cublasLtMatrixLayoutOpaque_t layout_t;

/* Returns whether an operand is entirely in the device's memory and aligned for tensor cores. */
static bool is_good_operand(const char *which, const void *data, layout_t &m, int device)
{
    size_t count = (size_t)m.leading * (m.columns - 1) + m.rows;
    size_t bytes = count * element_bytes(m.type);
    if (memory_is_device(data, bytes, device) && (uintptr_t)data % 16 == 0) return true;
    report(format("cublasLtMatmul: %s, %zu bytes, is not, or not 16-byte aligned, in memory of "
                  "device %d: %s",
                  which, bytes, device, memory_describe(data).c_str()));
    return false;
}

/* Called when the product runs: memory of a graph may have been freed by then. */
static bool are_good_operands(const struct product &p, layout_t layout[4], int device)
{
    layout_t bias = {p.d_type, p.O, 1, (int64_t)p.O};
    return is_good_operand("A", p.w.data, layout[0], device) &&
           is_good_operand("B", p.x.data, layout[1], device) &&
           is_good_operand("D", p.d, layout[3], device) &&
           (p.beta == 0 || is_good_operand("C", p.c.data, layout[2], device)) &&
           (!p.has_bias || is_good_operand("the bias", p.bias.data, bias, device));
}

static struct product_matrix matrix(const void *data, cublasLtMatrixLayout_t layout)
{
    return {data, layout->type, (size_t)layout->leading};
}

static cublasStatus_t check_algorithm(const cublasLtMatmulAlgo_t *algo, struct layouts l,
                                      const void *workspace, size_t workspace_bytes, int device)
{
    if (algo == NULL) return CUBLAS_STATUS_SUCCESS;
    if (algo->data[ALGO_MAGIC] != MAGIC) return CUBLAS_STATUS_INVALID_VALUE;
    size_t needed = proposal(0, algo->data[ALGO_PARTS], l).workspaceSize;
    if (needed == 0) return CUBLAS_STATUS_SUCCESS;
    if (needed <= workspace_bytes && memory_is_device(workspace, workspace_bytes, device))
        return CUBLAS_STATUS_SUCCESS;
    report(format("cublasLtMatmul: an algorithm that needs a workspace of %zu bytes on the device",
                  needed));
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    return cublas_api("cublasLtMatmul", CALL_CONTEXT, [=]() mutable {
        struct layouts l = {a_layout, b_layout, c_layout, d_layout};
        cublasStatus_t status = check_product(handle, desc, l);
        stream = stream_resolve(stream);
        if (status != CUBLAS_STATUS_SUCCESS) return status;
        if (stream == NULL || stream->device != handle->device) return CUBLAS_STATUS_INVALID_VALUE;
        int device = stream->device;
        status = check_algorithm(algo, l, workspace, workspace_bytes, device);
        if (status != CUBLAS_STATUS_SUCCESS) return status;

        struct product p = {};
        p.w = matrix(a, l.a);
        p.x = matrix(b, l.b);
        p.c = matrix(c, l.c);
        p.has_bias = desc->epilogue == CUBLASLT_EPILOGUE_BIAS;
        p.bias = {desc->bias, l.d->type, 0};
        p.d = d;
        p.d_type = l.d->type;
        p.d_stride = (size_t)l.d->leading;
        p.N = l.d->columns;
        p.O = l.d->rows;
        p.I = l.a->rows;
        p.parts = algo == NULL ? 1 : algo->data[ALGO_PARTS];
        p.alpha = *(const float *)alpha;
        p.beta = *(const float *)beta;

        const struct cublasLtMatrixLayoutOpaque_t layout[] = {*l.a, *l.b, *l.c, *l.d};
        struct work work = {};
        work.launch_time = machine.launch_time;
        work.row_time = machine.row_time * (double)p.N;
        work.run = [=] {
            if (!are_good_operands(p, layout, device)) return cudaErrorIllegalAddress;
            if (!latency_is_on()) product_run(&p);
            return cudaSuccess;
        };
        stream_enqueue(stream, work);
        return CUBLAS_STATUS_SUCCESS;
    });
}
