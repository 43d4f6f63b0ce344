/* instance_table.c - instance-table: how many instances of which model fit GPUs of 8 to 24 GB, by plan
 *
 *   instance-table MODEL_FOLDER... >bench/results/instances-planned.csv
 *
 * Prints CSV. Of a model that generates: instances of 1, 4, 16 and 64 documents under way, with beams
 * and lengths as the folder sets them; `documents_in_all` are those of all instances, and
 * `documents_of_one` how many a single instance can have instead. Beside the rule of systems that keep
 * a model in each instance: (free - 2.0 GB) / 1.5 GB, free being the whole memory. Needs no GPU; of the
 * weights only the headers are read.
 */
#include <embed.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB        1048576.0
#define CUDA_BLOCK ((uint64_t)2 << 20) /* that small allocations open, once; no plan has it */

static const unsigned sizes[] = {8, 10, 16, 24}; /* of a device, in GiB */
static const size_t numbers[] = {1, 4, 16, 64};  /* of documents */

/* Documents 0: as many as are chosen for the device. */
static embed_memory plan(const char *folder, size_t documents)
{
    embed_memory memory = EMBED_MEMORY_INIT;
    embed_model_options model = EMBED_MODEL_OPTIONS_INIT;
    embed_instance_options instance = EMBED_INSTANCE_OPTIONS_INIT;
    model.device = EMBED_DEVICE_CUDA;
    instance.documents = documents;
    if (embed_plan(folder, &model, &instance, &memory) != EMBED_OK) {
        fprintf(stderr, "instance-table: %s\n", embed_error_message());
        exit(1);
    }
    return memory;
}

static uint64_t shared_bytes(const embed_memory *memory)
{
    return memory->context + memory->library + memory->weights + CUDA_BLOCK;
}

/* The most documents of an instance that fits a device of so many bytes by itself. */
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

static void print_row(const char *folder, unsigned gib, size_t documents)
{
    const char *slash = strrchr(folder, '/');
    embed_memory memory = plan(folder, documents);
    uint64_t all = (uint64_t)gib << 30, shared = shared_bytes(&memory);
    uint64_t instances = all > shared ? (all - shared) / memory.own : 0;
    uint64_t once = memory.context + memory.library + memory.weights;
    printf("%s,%u,%.1f,%.1f,%.1f,%.1f,%llu,%.1f,%d,", slash != NULL ? slash + 1 : folder, gib,
           (double)memory.context / MIB, (double)memory.library / MIB,
           (double)memory.weights / MIB, (double)memory.own / MIB, (unsigned long long)instances,
           (double)(once + memory.own) / MIB, (int)((gib * 1.073741824 - 2.0) / 1.5));
    printf("%.1f,%.1f,%.1f,%.1f,", (double)memory.activations / MIB,
           (double)memory.workspace / MIB, (double)memory.graphs / MIB, (double)memory.kv / MIB);
    if (documents > 0)
        printf("%zu,%llu,%zu\n", documents, (unsigned long long)instances * documents,
               documents_of_one(folder, all));
    else
        printf(",,\n");
}

int main(int argc, char **argv)
{
    if (argc < 2 || argv[1][0] == '-') {
        fputs("usage: instance-table MODEL_FOLDER...\n", stderr);
        return 2;
    }
    puts("model,device_gib,context_mib,library_mib,weights_mib,instance_mib,instances,"
         "one_instance_in_all_mib,rule_of_a_model_in_each,activations_mib,workspace_mib,"
         "graphs_mib,kv_mib,documents,documents_in_all,documents_of_one");
    for (int i = 1; i < argc; i++) {
        bool generates = plan(argv[i], 0).kv > 0;
        size_t rows = generates ? sizeof numbers / sizeof *numbers : 1;
        for (size_t n = 0; n < rows; n++) {
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                print_row(argv[i], sizes[s], generates ? numbers[n] : 0);
        }
    }
    return 0;
}
