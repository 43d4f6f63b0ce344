/* bf16_test.h - numbers and comparisons for the tests of BF16 kernels */
#ifndef TESTS_BF16_TEST_H
#define TESTS_BF16_TEST_H

#include "kernel_test.h"

#define ROUNDING (1.0 / 256)

static inline float value(uint16_t element)
{
    uint32_t bits = (uint32_t)element << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Rounds to the nearest BF16 number, ties to even. */
static inline uint16_t rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* Floats rounded to BF16, and the same numbers as BF16 elements. */
struct numbers {
    float *floats;
    uint16_t *elements;
};

static inline struct numbers numbers(size_t count, float size)
{
    struct numbers n = {zeros(count), zero_bytes(count * sizeof(uint16_t))};
    for (size_t i = 0; i < count; i++) {
        n.elements[i] = rounded(random_float() * size);
        n.floats[i] = value(n.elements[i]);
    }
    return n;
}

static inline void numbers_free(struct numbers n)
{
    free(n.floats);
    free(n.elements);
}

static inline void assert_rounded(const char *what, const uint16_t *got, const float *expected,
                           size_t count, double absolute)
{
    for (size_t i = 0; i < count; i++) {
        double tolerance = absolute + 1.1 * ROUNDING * fabs(expected[i]);
        if (!(fabs((double)value(got[i]) - expected[i]) <= tolerance))
            fail_msg("%s: element %zu is %.9g, the reference has %.9g (tolerance %g)", what, i,
                     value(got[i]), expected[i], tolerance);
    }
}

#endif
