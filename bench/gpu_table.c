/* gpu_table.c - gpu-table: the expected time of every launch of the library on three GPUs
 *
 *   gpu-table REPORT...      prints CSV; a REPORT is the output of nvcc -Xptxas -v for one source
 *                            of kernels/cuda
 *
 * Measures nothing and needs no GPU. Kernel, grid, block and dynamic shared memory come from the
 * launchers, registers and static shared memory from the compiler's reports; NVIDIA's
 * cuda_occupancy.h computes the blocks per multiprocessor from these.
 *
 * floor_us is the largest of the times for bytes (each input read once, each output written once),
 * FLOP, and operations of the special function units (an exponential is one, a GELU two) at the
 * card's rates. predicted_us also rests on assumptions, in gpu_table_times.c and
 * gpu_table_linear.c. A forward pass takes a chunk through all layers, one kernel after another; a
 * step does the same for the last tokens of all beams. Both exclude copies, tokenizing and the CPU.
 */
#include "gpu_table.h"

#include <stdio.h>

static const char *const path_names[PATHS] = {"cublaslt", "own", "two-level"};

/* ---- what is computed ---------------------------------------------------------------------- */

/* The passes of a table: N tokens of texts, or beams of documents, once for each of the lengths. */
struct batch {
    size_t N; /* 0: the chunk that the library chooses on the card */
    size_t lengths[3];
};

enum { LENGTHS = 3, BATCHES = 2 };

static const struct table {
    struct model model;
    const struct step *steps;
    const char *sum;
    struct batch batches[BATCHES];
} tables[] = {
    /* Large chunks, for throughput, and a single text. */
    {{"MiniLM-L6", .layers = 6, .C = 384, .F = 1536, .NH = 12, .squares = 4},
     encoder_steps,
     "forward pass",
     {{0, {16, 32, 128}}, {32, {32}}}},
    {{"mpnet-base", .layers = 12, .C = 768, .F = 3072, .NH = 12, .squares = 4, .relative = true},
     encoder_steps,
     "forward pass",
     {{0, {16, 32, 128}}, {32, {32}}}},
    /* One document, and as many as the library takes (16); 40 tokens of the summary exist. */
    {{"bart-large-cnn", .layers = 12, .C = 1024, .F = 4096, .NH = 16, .squares = 6, .V = 50264,
      .K = 4, .past = 40, .longest = 142},
     decoder_steps,
     "step",
     {{4, {1024}}, {64, {1024}}}},
};

/* ---- rows ---------------------------------------------------------------------------------- */

static void print_begin(const struct pass *p, bool has_length, bool has_path, const char *step)
{
    printf("%s,%s,%zu,", p->card->name, p->model->name, p->N);
    if (has_length) printf("%zu", p->T);
    printf(",%s,%s,", has_path ? path_names[p->path] : "", step);
}

static void print_step(const struct step *step, const struct pass *p, const struct work *work,
                       const struct times *times)
{
    const struct launch *l = &work->launch;
    const struct card *card = p->card;
    const double N = (double)p->N;
    print_begin(p, step->has_length, step->is_linear, step->name);
    printf("%zu,%s,", step->times * (step->every_layer ? p->model->layers : 1), l->kernel);
    if (l->registers > 0)
        printf("%d,%zu,%zu,%u,%zu,%d,%.2f,%.2f,", l->registers, l->static_shared,
               l->dynamic_shared, l->threads, l->blocks, l->resident,
               (double)l->resident * l->threads / card->multiprocessor.threads,
               (double)l->blocks / (l->resident * card->count));
    else
        printf(",,,,,,,,");
    printf("%.0f,%.0f,%.0f,%.3f,%s,%.2f,%.2f,,\n", (work->activations + work->weights) / N,
           work->flops / N, work->special / N, 1e6 * times->floor, times->bound,
           1e6 * times->predicted, times->floor / times->predicted);
}

/* Prints the sum of a layer or, if is_all, of a pass. */
static void print_total(const struct pass *p, const char *name, const struct times *total,
                        bool is_all)
{
    print_begin(p, true, true, name);
    printf(",,,,,,,,,,,,,%.3f,,%.2f,%.2f,", 1e6 * total->floor, 1e6 * total->predicted,
           total->floor / total->predicted);
    if (is_all) printf("%.0f", (double)p->N / total->predicted);
    printf(",");
    if (is_all && p->model->K == 0) printf("%.0f", (double)(p->N / p->T) / total->predicted);
    printf("\n");
}

static void add(struct times *total, const struct times *times, double count)
{
    total->floor += count * times->floor;
    total->predicted += count * times->predicted;
}

/* Returns the times of a launch, and prints its row if `print`: several paths or lengths may share
 * the launch. */
static struct times one_step(const struct step *step, const struct pass *p, bool print)
{
    struct work work = step->work(p);
    if (work.launch.blocks == 0) work.launch = launch_last(&p->card->multiprocessor);
    struct times times = times_of(&work, p);
    if (print) print_step(step, p, &work, &times);
    return times;
}

/* Prints all steps of a batch for every path and length, then their sums. */
static void batch_rows(const struct card *card, const struct table *table,
                       const struct batch *batch)
{
    struct times layer[PATHS][LENGTHS] = {0}, all[PATHS][LENGTHS] = {0};
    const struct model *model = &table->model;
    const size_t N = batch->N > 0 ? batch->N : chunk_of(card, model);
    const int paths = card->tensor_f16 > card->tensor ? PATHS : TWO_LEVEL;
    for (const struct step *step = table->steps; step->name != NULL; step++)
        for (int path = 0; path < paths; path++)
            for (int i = 0; i < LENGTHS && batch->lengths[i] > 0; i++) {
                struct pass p = {card, model, N, batch->lengths[i], (enum path)path};
                if (step->applies != NULL && !step->applies(&p)) continue;
                bool print = (step->has_length || i == 0) && (step->is_linear || path == 0);
                struct times times = one_step(step, &p, print);
                if (step->every_layer) add(&layer[path][i], &times, step->times);
                add(&all[path][i], &times,
                    step->times * (step->every_layer ? (double)model->layers : 1));
            }
    for (int path = 0; path < paths; path++)
        for (int i = 0; i < LENGTHS && batch->lengths[i] > 0; i++) {
            struct pass p = {card, model, N, batch->lengths[i], (enum path)path};
            print_total(&p, "layer", &layer[path][i], false);
            print_total(&p, table->sum, &all[path][i], true);
        }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: gpu-table REPORT...\n", stderr);
        return 2;
    }
    launch_read_reports(argc - 1, argv + 1);
    printf("card,model,tokens,tokens_per_text,linear,step,times,kernel,registers,static_shared,"
           "dynamic_shared,threads,blocks,blocks_per_multiprocessor,occupancy,waves,"
           "bytes_per_token,flops_per_token,special_functions_per_token,floor_us,floor_is_of,"
           "predicted_us,share_of_floor,tokens_per_second,texts_per_second\n");
    for (size_t c = 0; c < CARDS; c++)
        for (size_t m = 0; m < sizeof tables / sizeof *tables; m++)
            for (size_t i = 0; i < BATCHES; i++)
                batch_rows(&cards[c], &tables[m], &tables[m].batches[i]);
    /* The figure to beat, of another program; model and lengths are unknown. */
    printf("RTX 5060 Ti,,,,,sweep to beat: PyTorch 2.9,,,,,,,,,,,,,,,,,,,15026\n");
    return fflush(stdout) == 0 ? 0 : 1;
}
