/* embed_bench_instances.c - embed-bench instances: how many fit GPUs of 8 to 24 GiB, by plan
 *
 * For a model that generates: instances with 1, 4, 16 and 64 documents in flight, with the folder's
 * beams and lengths. `documents_in_all` counts the documents of all instances, `documents_of_one`
 * those that a single instance could hold instead. For comparison, the rule of systems that keep a
 * model in each instance: (free - 2.0 GB) / 1.5 GB, free being the whole memory. Needs no GPU;
 * reads only the headers of the weights.
 */
#include "embed_bench.h"

#include <string.h>

#define MIB        1048576.0
#define CUDA_BLOCK ((uint64_t)2 << 20) /* opened once by small allocations; in no plan */

static const unsigned sizes[] = {8, 10, 16, 24}; /* GiB of a device */
static const size_t numbers[] = {1, 4, 16, 64};  /* documents */

/* Plans for a GPU; `documents` 0 means the default for the device. */
static embed_memory plan(const char *folder, size_t documents)
{
    embed_memory memory = EMBED_MEMORY_INIT;
    embed_model_options model = EMBED_MODEL_OPTIONS_INIT;
    embed_instance_options instance = EMBED_INSTANCE_OPTIONS_INIT;
    model.device = EMBED_DEVICE_CUDA;
    instance.documents = documents;
    check(embed_plan(folder, &model, &instance, &memory));
    return memory;
}

static uint64_t shared_bytes(const embed_memory *memory)
{
    return memory->context + memory->library + memory->weights + CUDA_BLOCK;
}

/* Returns the most documents of a single instance that fits a device of `bytes` bytes. */
static size_t documents_of_one(const char *folder, uint64_t bytes)
{
    size_t fits = 0, too_many = 65536;
    while (too_many - fits > 1) {
        size_t documents = fits + (too_many - fits) / 2;
        embed_memory memory = plan(folder, documents);
        if (shared_bytes(&memory) + memory.own <= bytes) fits = documents;
        else too_many = documents;
    }
    return fits;
}

static void mebibytes(struct table *table, const char *name, uint64_t bytes)
{
    table_number(table, name, "%.1f", (double)bytes / MIB);
}

static void print_row(struct table *table, const char *folder, unsigned gib, size_t documents)
{
    const char *slash = strrchr(folder, '/');
    embed_memory memory = plan(folder, documents);
    uint64_t all = (uint64_t)gib << 30, shared = shared_bytes(&memory);
    uint64_t instances = all > shared ? (all - shared) / memory.own : 0;
    table_text(table, "model", slash != NULL ? slash + 1 : folder);
    table_number(table, "device_gib", "%u", gib);
    mebibytes(table, "context_mib", memory.context);
    mebibytes(table, "library_mib", memory.library);
    mebibytes(table, "weights_mib", memory.weights);
    mebibytes(table, "instance_mib", memory.own);
    table_number(table, "instances", "%ju", (uintmax_t)instances);
    mebibytes(table, "one_instance_in_all_mib",
              memory.context + memory.library + memory.weights + memory.own);
    table_number(table, "rule_of_a_model_in_each", "%d", (int)((gib * 1.073741824 - 2.0) / 1.5));
    mebibytes(table, "activations_mib", memory.activations);
    mebibytes(table, "workspace_mib", memory.workspace);
    mebibytes(table, "graphs_mib", memory.graphs);
    mebibytes(table, "kv_mib", memory.kv);
    if (documents > 0) {
        table_number(table, "documents", "%zu", documents);
        table_number(table, "documents_in_all", "%ju", (uintmax_t)(instances * documents));
        table_number(table, "documents_of_one", "%zu", documents_of_one(folder, all));
    } else {
        table_none(table, "documents");
        table_none(table, "documents_in_all");
        table_none(table, "documents_of_one");
    }
    table_end_row(table);
}

int command_instances(const struct settings *settings)
{
    struct table table;
    for (size_t i = 0; i < settings->operand_count; i++) plan(settings->operands[i], 0);
    table_start(&table, stdout, settings->json);
    for (size_t i = 0; i < settings->operand_count; i++) {
        const char *folder = settings->operands[i];
        bool generates = plan(folder, 0).kv > 0;
        size_t rows = generates ? sizeof numbers / sizeof *numbers : 1;
        for (size_t n = 0; n < rows; n++) {
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                print_row(&table, folder, sizes[s], generates ? numbers[n] : 0);
        }
    }
    return 0;
}
