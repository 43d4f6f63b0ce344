/* compare_rows.c - compares rows of floats with those of a reference
 *
 *   usage: compare_rows EXPECTED GOT WIDTH LEAST_COSINE
 *
 * Both files hold little-endian floats, WIDTH a row. Prints one line: the worst row's cosine and
 * the largest difference of two numbers. Exit status 1 if a cosine is below LEAST_COSINE, a number
 * is not finite, or the files differ in size.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *read_floats(const char *path, size_t *count)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        printf("%s: %s\n", path, strerror(errno));
        exit(1);
    }
    long size = ftell(file);
    rewind(file);
    *count = size > 0 ? (size_t)size / sizeof(float) : 0;
    float *floats = malloc(*count * sizeof *floats + 1);
    if (floats == NULL || fread(floats, sizeof *floats, *count, file) != *count ||
        size % 4 != 0) {
        printf("%s: cannot be read as floats\n", path);
        exit(1);
    }
    fclose(file);
    return floats;
}

static double cosine(const float *a, const float *b, size_t width)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < width; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return ab / sqrt(aa * bb);
}

int main(int argc, char **argv)
{
    size_t width = argc == 5 ? strtoul(argv[3], NULL, 10) : 0, count, others;
    if (width == 0) {
        fputs("usage: compare_rows EXPECTED GOT WIDTH LEAST_COSINE\n", stderr);
        return 2;
    }
    double least = strtod(argv[4], NULL), worst = INFINITY, largest = 0;
    float *expected = read_floats(argv[1], &count), *got = read_floats(argv[2], &others);
    if (count == 0 || count != others || count % width != 0) {
        printf("%zu numbers, %zu expected, %zu a row\n", others, count, width);
        return 1;
    }

    size_t worst_row = 0;
    for (size_t row = 0; row < count / width; row++) {
        double c = cosine(expected + row * width, got + row * width, width);
        /* Written so that NaN becomes the worst and stays it. */
        if (!(c >= worst) && !isnan(worst)) worst = c, worst_row = row;
    }
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)expected[i] - got[i]);
        if (!(difference <= largest) && !isnan(largest)) largest = difference;
    }
    printf(
        "worst cosine %.8f (row %zu of %zu, at least %.7g wanted), largest difference %.2g\n",
        worst, worst_row + 1, count / width, least, largest);
    free(expected);
    free(got);
    return worst >= least ? 0 : 1;
}
