/* finite.h - checks that all numbers of a row are finite */
#ifndef LIB_MODEL_FINITE_H
#define LIB_MODEL_FINITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Returns whether all numbers are finite: NaN and infinity are those whose exponent is all ones.
 * Tests bits rather than a sum, in which each addition waits for the one before: for 384 x 512
 * numbers that takes as long as the GPU's computation. */
static inline bool all_finite(const float *row, size_t count)
{
    const uint32_t exponent = 0x7F800000;
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &row[i], sizeof bits);
        found |= (bits & exponent) == exponent;
    }
    return found == 0;
}

#endif
