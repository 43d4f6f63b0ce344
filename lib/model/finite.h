/* finite.h - are all numbers of a row finite? */
#ifndef LIB_MODEL_FINITE_H
#define LIB_MODEL_FINITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* NaN and infinity are the numbers whose exponent is all ones. Bits, not a sum: a sum waits for
 * each addition, which for 384 x 512 numbers is as long as a GPU computes. */
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
