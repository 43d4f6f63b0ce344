/* kernel_test.h - numbers and comparisons for the tests of the CPU kernels */
#ifndef TESTS_KERNEL_TEST_H
#define TESTS_KERNEL_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "backend/cpu_features.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAST_THE_END 64 /* floats that attention may read past the end of v */

static const struct cpu_kernels *const reference = &cpu_kernels_reference;

#define RANDOM_START 88172645463325252u
static uint64_t random_state = RANDOM_START; /* xorshift64, Marsaglia 2003 */

/* Returns numbers uniform in [-1, 1), the same sequence in every run. */
static inline float random_float(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (float)((double)(random_state >> 11) / 4503599627370496.0 - 1.0);
}

static inline void *zero_bytes(size_t bytes)
{
    void *block = aligned_alloc(64, (bytes + PAST_THE_END * sizeof(float) + 63) / 64 * 64);
    assert_non_null(block);
    return memset(block, 0, bytes + PAST_THE_END * sizeof(float));
}

static inline float *zeros(size_t count)
{
    return zero_bytes(count * sizeof(float));
}

static inline float *random_floats(size_t count)
{
    float *floats = zeros(count);
    for (size_t i = 0; i < count; i++) floats[i] = random_float();
    return floats;
}

static inline void *packed(const struct cpu_kernels *k, const float *w, size_t O, size_t I)
{
    void *p = zero_bytes(k->linear_weight_bytes(O, I));
    k->linear_pack(p, w, O, I);
    return p;
}

static inline void assert_close(const char *what, const float *got, const float *expected,
                                size_t count, double tolerance)
{
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)got[i] - expected[i]);
        if (!(difference <= tolerance))
            fail_msg("%s: element %zu is %.9g, the reference has %.9g (tolerance %g)", what, i,
                     got[i], expected[i], tolerance);
    }
}

#endif
