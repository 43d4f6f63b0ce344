/* test_vectors.h - reads the reference data of tests/vectors and compares rows with it
 *
 * tests/vectors/README.md describes the formats. A file that is missing or of the wrong size fails
 * the calling test. Tests run in the root of the tree.
 */
#ifndef TESTS_TEST_VECTORS_H
#define TESTS_TEST_VECTORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define VECTORS "tests/vectors/"

/* ---- files --------------------------------------------------------------------------------- */

/* Returns the whole file, NUL-terminated; the caller frees it. */
static inline char *vectors_read(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s: %s (run from the root of the tree; see tests/vectors/README.md)", path,
                 strerror(errno));
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    assert_true(size >= 0);
    rewind(file);
    char *bytes = malloc((size_t)size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)size, file), size);
    fclose(file);
    bytes[size] = '\0';
    *length = (size_t)size;
    return bytes;
}

struct vector_lines {
    size_t count;
    const char **text; /* not NUL-terminated; may contain NUL */
    size_t *length;
    char *bytes;
};

/* Reads lines, which only '\n' ends. */
static inline struct vector_lines vector_lines_load(const char *path)
{
    struct vector_lines lines = {0};
    size_t size, n = 0;
    lines.bytes = vectors_read(path, &size);
    for (size_t i = 0; i < size; i++) lines.count += lines.bytes[i] == '\n';
    lines.text = calloc(lines.count + 1, sizeof *lines.text);
    lines.length = calloc(lines.count + 1, sizeof *lines.length);
    assert_non_null(lines.text);
    assert_non_null(lines.length);
    for (const char *at = lines.bytes; n < lines.count; n++) {
        const char *end = memchr(at, '\n', size - (size_t)(at - lines.bytes));
        lines.text[n] = at;
        lines.length[n] = (size_t)(end - at);
        at = end + 1;
    }
    return lines;
}

static inline void vector_lines_free(struct vector_lines *lines)
{
    free(lines->text);
    free(lines->length);
    free(lines->bytes);
    *lines = (struct vector_lines){0};
}

/* Reads rows x columns floats from a .f32 file of exactly that size; the caller frees them. */
static inline float *vector_rows_load(const char *path, size_t rows, size_t columns)
{
    size_t size;
    char *bytes = vectors_read(path, &size);
    if (size != rows * columns * sizeof(float))
        fail_msg("%s: %zu bytes, not %zu x %zu floats", path, size, rows, columns);
    return (float *)(void *)bytes;
}

/* The ids of text i are ids[offsets[i]] to ids[offsets[i + 1] - 1]. */
struct vector_ids {
    size_t count;
    int32_t *ids;
    size_t *offsets; /* count + 1 */
};

static inline struct vector_ids vector_ids_load(const char *path)
{
    struct vector_lines lines = vector_lines_load(path);
    struct vector_ids result = {.count = lines.count};
    size_t total = 0, capacity = 1;
    for (size_t i = 0; i < lines.count; i++) capacity += lines.length[i] / 2 + 1;
    result.ids = calloc(capacity, sizeof *result.ids);
    result.offsets = calloc(lines.count + 1, sizeof *result.offsets);
    assert_non_null(result.ids);
    assert_non_null(result.offsets);
    for (size_t i = 0; i < lines.count; i++) {
        const char *at = lines.text[i], *end = at + lines.length[i];
        for (char *next; at < end; at = next) {
            result.ids[total++] = (int32_t)strtol(at, &next, 10);
            if (next == at) fail_msg("%s:%zu: not a number", path, i + 1);
        }
        result.offsets[i + 1] = total;
    }
    vector_lines_free(&lines);
    return result;
}

static inline void vector_ids_free(struct vector_ids *ids)
{
    free(ids->ids);
    free(ids->offsets);
    *ids = (struct vector_ids){0};
}

/* Reads the output of step `name` of a tiny model for text number `line`, counted from 0; the
 * caller frees it. README.md says which steps of which texts are kept. */
static inline float *vector_stage_load(const char *model, size_t line, const char *name,
                                       size_t *rows, size_t *columns)
{
    size_t text, offset, size;
    char key[64], path[128];
    snprintf(path, sizeof path, VECTORS "%s-stages.txt", model);
    FILE *manifest = fopen(path, "r");
    if (manifest == NULL) fail_msg("%s: %s", path, strerror(errno));
    while (fscanf(manifest, "%zu %63s %zu %zu %zu", &text, key, rows, columns, &offset) == 5) {
        if (text != line || strcmp(key, name) != 0) continue;
        fclose(manifest);
        snprintf(path, sizeof path, VECTORS "%s-stages.f32", model);
        char *bytes = vectors_read(path, &size);
        assert_true(offset + *rows * *columns <= size / sizeof(float));
        memmove(bytes, bytes + offset * sizeof(float), *rows * *columns * sizeof(float));
        return (float *)(void *)bytes;
    }
    fclose(manifest);
    fail_msg("%s: no %s for line %zu", path, name, line);
    return NULL;
}

/* ---- comparison ---------------------------------------------------------------------------- */

/* Returns the cosine of two rows; NaN if one is not finite or is zero. */
static inline double row_cosine(const float *a, const float *b, size_t columns)
{
    double dot = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < columns; i++) {
        dot += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return dot / sqrt(aa * bb);
}

/* Returns the largest difference of two components; infinite if one is not finite. */
static inline double row_difference(const float *a, const float *b, size_t columns)
{
    double largest = 0;
    for (size_t i = 0; i < columns; i++) {
        double difference = fabs((double)a[i] - b[i]);
        if (!(difference <= largest)) largest = isnan(difference) ? INFINITY : difference;
    }
    return largest;
}

/* Fails unless every row has a cosine of at least `cosine` with the expected one, and no component
 * differs by more than `difference` (INFINITY: any). Prints the worst row, and its text unless
 * `lines` is NULL. */
static inline void assert_rows_close(const char *what, const float *actual,
                                     const float *expected, size_t rows, size_t columns,
                                     double cosine, double difference,
                                     const struct vector_lines *lines)
{
    size_t bad = 0, worst = 0;
    double lowest = INFINITY;
    for (size_t i = 0; i < rows; i++) {
        const float *a = actual + i * columns, *e = expected + i * columns;
        double c = row_cosine(a, e, columns);
        if (isnan(c)) c = -INFINITY;
        if (c < cosine || row_difference(a, e, columns) > difference) bad++;
        if (c < lowest) lowest = c, worst = i;
    }
    if (bad == 0) return;

    const float *a = actual + worst * columns, *e = expected + worst * columns;
    print_error("%s: %zu of %zu rows differ; worst is row %zu: cosine %.9f, largest difference "
                "%.3g\n",
                what, bad, rows, worst, lowest, row_difference(a, e, columns));
    for (size_t i = 0; i < columns && i < 6; i++)
        print_error("  [%zu] %.9g, expected %.9g\n", i, (double)a[i], (double)e[i]);
    if (lines != NULL)
        print_error("  text: %.*s\n",
                    (int)(lines->length[worst] < 200 ? lines->length[worst] : 200),
                    lines->text[worst]);
    fail();
}

/* Fails unless both have the same ids; prints the first difference. */
static inline void assert_ids_equal(const char *what, size_t line, const int32_t *actual,
                                    size_t actual_count, const int32_t *expected,
                                    size_t expected_count)
{
    size_t i = 0;
    while (i < actual_count && i < expected_count && actual[i] == expected[i]) i++;
    if (i == actual_count && i == expected_count) return;
    print_error("%s: line %zu: %zu ids, expected %zu; at %zu: ", what, line + 1, actual_count,
                expected_count, i);
    if (i < actual_count && i < expected_count)
        print_error("%d, expected %d\n", (int)actual[i], (int)expected[i]);
    else
        print_error("one of them ends\n");
    fail();
}

#endif
