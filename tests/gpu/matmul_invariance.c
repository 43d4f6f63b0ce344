/* matmul_invariance.c - checks that a row of a linear layer has the same bytes for any number of
 * rows
 *
 *   usage: matmul_invariance [ROWS]          the most rows to try, 8448 if not given
 *
 * The layers are those of MiniLM and MPNet, with the algorithms that lib/cuda/matmul.c chooses.
 * Each product of T rows is compared with the same rows of the product of all rows. Prints one line
 * a layer; exit status 1 if a byte differs.
 */
#include "device_numbers.h"

#include "cuda/matmul.h"

#include <stdbool.h>
#include <string.h>

/* Numbers of rows T to try: all from 1 to DENSE, and these, around the limits of tiles and
 * warps. */
#define DENSE 40
static const size_t more_rows[] = {47,   48,   49,   63,   64,   65,   96,   127,  128,  129,
                                   191,  192,  193,  255,  256,  257,  383,  384,  385,  511,
                                   512,  513,  767,  768,  1000, 1023, 1024, 1025, 2048, 2112,
                                   4095, 4096, 4097, 5632, 8191, 8192, 8193, 8447, 8448};

static const struct layer {
    const char *name;
    size_t O, I;
    bool add_bias; /* false: the GELU kernel adds it */
} layers[] = {
    {"minilm qkv", 1152, 384, true},
    {"minilm attention output", 384, 384, true},
    {"minilm feed forward in", 1536, 384, false},
    {"minilm feed forward out", 384, 1536, true},
    {"mpnet qkv", 2304, 768, true},
    {"mpnet attention output", 768, 768, true},
    {"mpnet feed forward in", 3072, 768, false},
    {"mpnet feed forward out", 768, 3072, true},
};

struct product {
    struct matmul *matmul;
    struct linear layer;
    size_t element_bytes;
    bool add_bias;
    char *x, *y;          /* on the device */
    char *expected, *got; /* on the host */
    cudaStream_t stream;
};

static void open_product(struct product *p, const struct layer *layer, cublasLtHandle_t cublas,
                         bool f32, size_t most)
{
    size_t element = f32 ? sizeof(float) : sizeof(uint16_t), out = most * layer->O * element;
    *p = (struct product){.element_bytes = element, .add_bias = layer->add_bias};
    check(matmul_create(&p->matmul, 0, cublas, f32));
    p->layer = (struct linear){random_numbers(layer->O * layer->I, element),
                               random_numbers(layer->O, element), layer->O, layer->I};
    p->x = random_numbers(most * layer->I, element);
    p->y = device_memory(out);
    p->expected = host_memory(out);
    p->got = host_memory(out);
    CHECK(cudaStreamCreateWithFlags(&p->stream, cudaStreamNonBlocking));
}

static void close_product(struct product *p)
{
    matmul_destroy(p->matmul);
    CHECK(cudaFree(p->layer.weight));
    CHECK(cudaFree(p->layer.bias));
    CHECK(cudaFree(p->x));
    CHECK(cudaFree(p->y));
    CHECK(cudaStreamDestroy(p->stream));
    free(p->expected);
    free(p->got);
}

/* Multiplies rows [first, first + T) of x by the weight, and copies the result to the host. */
static void multiply(char *out, struct product *p, size_t first, size_t T)
{
    size_t bytes = T * p->layer.O * p->element_bytes;
    CHECK(cudaMemsetAsync(p->y, 0xFF, bytes, p->stream));
    const struct matmul_kind kind = {.rows = MATMUL_ROWS, .add_bias = p->add_bias};
    check(matmul_run(p->matmul, p->y, p->x + first * p->layer.I * p->element_bytes, &p->layer,
                     T, kind, p->stream));
    CHECK(cudaMemcpyAsync(out, p->y, bytes, cudaMemcpyDeviceToHost, p->stream));
    CHECK(cudaStreamSynchronize(p->stream));
}

/* Returns whether the T rows from `first` on equal those of the product of all rows. 0xFF is NaN: a
 * row that is not written differs. */
static bool same_rows(struct product *p, size_t first, size_t T)
{
    size_t row = p->layer.O * p->element_bytes;
    multiply(p->got, p, first, T);
    return memcmp(p->got, p->expected + first * row, T * row) == 0;
}

/* Returns how many T give different rows; sets *first_T to the first of them. */
static size_t count_different(struct product *p, size_t most, size_t *tried, size_t *first_T)
{
    size_t different = 0, count = DENSE + sizeof more_rows / sizeof *more_rows;
    multiply(p->expected, p, 0, most);
    for (size_t i = 0; i < count; i++) {
        size_t T = i < DENSE ? i + 1 : more_rows[i - DENSE];
        if (T > most) break;
        bool same = same_rows(p, 0, T) && same_rows(p, most - T, T) &&
                    (T == most || same_rows(p, 1, T));
        if (!same && different++ == 0) *first_T = T;
        ++*tried;
    }
    return different;
}

int main(int argc, char **argv)
{
    size_t most = argc > 1 ? strtoul(argv[1], NULL, 10) : 8448, failed = 0;
    cublasLtHandle_t cublas;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (most == 0) {
        fputs("usage: matmul_invariance [ROWS]\n", stderr);
        return 2;
    }
    check(matmul_open(&cublas, 0));
    for (int f32 = 0; f32 <= 1; f32++) {
        for (size_t l = 0; l < sizeof layers / sizeof *layers; l++) {
            struct product product;
            size_t tried = 0, first_T = 0;
            open_product(&product, &layers[l], cublas, f32, most);
            size_t different = count_different(&product, most, &tried, &first_T);
            printf("%s %s (%zu x %zu): ", f32 ? "f32" : "f16", layers[l].name, layers[l].O,
                   layers[l].I);
            if (different == 0)
                printf("same bytes for all of %zu numbers of rows\n", tried);
            else
                printf("other bytes for %zu of %zu, first for %zu rows\n", different, tried,
                       first_T);
            failed += different > 0;
            close_product(&product);
        }
    }
    matmul_close(cublas, 0);
    return failed > 0;
}
