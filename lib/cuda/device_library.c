/* device_library.c - per-process state on a GPU (context, cuBLASLt) and the memory it takes
 *
 * Costs are measured from outside, as differences of the free memory, before this process does
 * anything else on the GPU. They include what other processes hold, take or release meanwhile: a
 * difference that is negative or more than twice the allowance is discarded, and the allowance is
 * used. Memory that others held before counts as context, up to that limit: less is then promised
 * than there is.
 */
#include "cuda/device_library.h"

#include "backend/cuda_layout.h"
#include "base/memory.h"
#include "base/status.h"
#include "cuda/cuda_error.h"

#include <pthread.h>

struct device_library {
    int index;
    size_t backends;
    cublasLtHandle_t cublas;
    struct device_costs costs;
    struct device_library *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct device_library *list;

/* Returns the link to this GPU's entry, or where that would be. */
static struct device_library **find(int index)
{
    struct device_library **link = &list;
    while (*link != NULL && (*link)->index != index) link = &(*link)->next;
    return link;
}

/* ---- measuring --------------------------------------------------------------------------- */

static embed_status taken_bytes(size_t *bytes, int index)
{
    size_t free_bytes = 0, all = 0;
    TRY_CUDA(index, cudaMemGetInfo(&free_bytes, &all), "asking for the free memory");
    *bytes = all - free_bytes;
    return EMBED_OK;
}

static size_t difference(size_t before, size_t after, size_t allowance)
{
    return after >= before && after - before <= 2 * allowance ? after - before : allowance;
}

/* Makes a stream only to measure it: an executor's would be measured while others compute. */
static embed_status measure_stream(struct device_library *library, size_t before)
{
    static const char what[] = "making a stream";
    cudaStream_t stream;
    size_t after = 0;
    TRY_CUDA(library->index, cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), what);
    embed_status status = taken_bytes(&after, library->index);
    RELEASE_CUDA(library->index, cudaStreamDestroy(stream), what);
    library->costs.stream = difference(before, after, cuda_allowances.stream);
    return status;
}

/* Memory taken at the start is the context's, and that of other processes. */
static embed_status open_and_measure(struct device_library *library)
{
    size_t context, with_cublas;
    TRY(taken_bytes(&context, library->index));
    TRY(matmul_open(&library->cublas, library->index));
    TRY(taken_bytes(&with_cublas, library->index));
    library->costs.context = difference(0, context, cuda_allowances.context);
    library->costs.library = difference(context, with_cublas, cuda_allowances.library);
    library->costs.are_measured = true;
    return measure_stream(library, with_cublas);
}

/* ---- open and close ---------------------------------------------------------------------- */

static embed_status add(struct device_library **link, int index)
{
    struct device_library *library = memory_allocate(1, sizeof *library, "cuBLASLt");
    if (library == NULL) return EMBED_OUT_OF_MEMORY;
    *library = (struct device_library){.index = index};
    embed_status status = open_and_measure(library);
    if (status != EMBED_OK) {
        matmul_close(library->cublas, index);
        memory_free(library);
        return status;
    }
    *link = library;
    return EMBED_OK;
}

embed_status device_library_open(cublasLtHandle_t *cublas, struct device_costs *costs, int index)
{
    pthread_mutex_lock(&lock);
    struct device_library **link = find(index);
    embed_status status = *link == NULL ? add(link, index) : EMBED_OK;
    if (status == EMBED_OK) {
        (*link)->backends++;
        *cublas = (*link)->cublas;
        *costs = (*link)->costs;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

void device_library_close(int index)
{
    pthread_mutex_lock(&lock);
    struct device_library **link = find(index), *library = *link;
    if (--library->backends == 0) {
        matmul_close(library->cublas, index);
        *link = library->next;
        memory_free(library);
    }
    pthread_mutex_unlock(&lock);
}

bool device_library_costs(struct device_costs *costs, int index)
{
    pthread_mutex_lock(&lock);
    const struct device_library *library = *find(index);
    if (library != NULL) *costs = library->costs;
    pthread_mutex_unlock(&lock);
    return library != NULL;
}
