/* embed_float.c - floats as text, exactly as printf's "%.9g", and as halves
 *
 * Nine digits identify every float. printf is exact but takes most of a microsecond; rows of 384
 * floats at 10,000 rows per second leave 260 ns for each. Here a float m * 2^e (m < 2^24) is scaled
 * to nine digits before the point, m * 5^p * 2^(e+p), in 128-bit integers. This is exact, so a
 * single rounding, half to even, gives printf's digits. Very small and very large floats, rare in
 * embeddings, are left to printf.
 */
#include "embed_tool.h"

#include <stdio.h>
#include <string.h>

/* 5^p fits in 64 bits up to p = 27, enough for 2^-60. Below 2^29 < 10^9, p is never negative. */
#define EXPONENT_MIN (-60)
#define EXPONENT_MAX 28

static const uint64_t power_of_5[28] = {
    1u,
    5u,
    25u,
    125u,
    625u,
    3125u,
    15625u,
    78125u,
    390625u,
    1953125u,
    9765625u,
    48828125u,
    244140625u,
    1220703125u,
    6103515625u,
    30517578125u,
    152587890625u,
    762939453125u,
    3814697265625u,
    19073486328125u,
    95367431640625u,
    476837158203125u,
    2384185791015625u,
    11920928955078125u,
    59604644775390625u,
    298023223876953125u,
    1490116119384765625u,
    7450580596923828125u,
};

__extension__ typedef unsigned __int128 wide;

/* Returns mantissa * 2^exponent * 10^power, rounded to an integer, half to even. */
static uint64_t scale(uint32_t mantissa, int exponent, int power)
{
    wide product = (wide)mantissa * power_of_5[power];
    int shift = -(exponent + power);
    if (shift <= 0) return (uint64_t)(product << -shift);
    uint64_t whole = (uint64_t)(product >> shift);
    wide rest = product - ((wide)whole << shift), half = (wide)1 << (shift - 1);
    return whole + (rest > half || (rest == half && (whole & 1) != 0));
}

/* Writes digits[0..n) with the point after the first `whole` >= 1 digits. Returns the end. */
static char *put_digits(char *out, const char *digits, size_t n, size_t whole)
{
    memcpy(out, digits, whole);
    out += whole;
    if (n <= whole) return out;
    *out++ = '.';
    memcpy(out, digits + whole, n - whole);
    return out + (n - whole);
}

size_t float_text(char *out, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    int binary = (int)(bits >> 23 & 0xFF) - 127;
    if (binary < EXPONENT_MIN || binary > EXPONENT_MAX)
        return (size_t)snprintf(out, FLOAT_TEXT_MAX, "%.9g", (double)value);

    /* floor(binary * log10(2)), which is the value's decimal exponent or one less. The offset keeps
     * the shifted number positive. */
    int decimal = (int)((unsigned)(binary + 4096) * 1233u >> 12) - 1233;
    uint32_t mantissa = (bits & 0x7FFFFF) | 0x800000;
    uint64_t scaled = scale(mantissa, binary - 23, 8 - decimal);
    if (scaled >= 1000000000u) {
        decimal++;
        scaled = scale(mantissa, binary - 23, 8 - decimal);
    }

    char digits[9];
    for (int i = 8; i >= 0; i--) {
        digits[i] = (char)('0' + scaled % 10);
        scaled /= 10;
    }
    size_t n = 9;
    while (digits[n - 1] == '0') n--;

    char *p = out;
    if (bits >> 31 != 0) *p++ = '-';
    if (decimal < -4) {
        p = put_digits(p, digits, n, 1);
        *p++ = 'e';
        *p++ = '-';
        *p++ = (char)('0' + -decimal / 10);
        *p++ = (char)('0' + -decimal % 10);
    } else if (decimal < 0) {
        size_t zeros = (size_t)(-1 - decimal);
        memcpy(p, "0.000", 2 + zeros);
        p += 2 + zeros;
        memcpy(p, digits, n);
        p += n;
    } else {
        p = put_digits(p, digits, n, (size_t)decimal + 1);
    }
    return (size_t)(p - out);
}

uint16_t float_half(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7FFFFFFF;

    if (magnitude > 0x7F800000) return sign | 0x7E00;  /* NaN */
    if (magnitude >= 0x47800000) return sign | 0x7C00; /* 65536 and more: infinity */
    if (magnitude < 0x38800000) {
        /* Below 2^-14, halves are multiples of 2^-24, as are floats from 0.5 to 1: the addition
         * rounds. */
        float sum;
        memcpy(&sum, &magnitude, sizeof sum);
        sum += 0.5f;
        memcpy(&magnitude, &sum, sizeof sum);
        return sign | (uint16_t)(magnitude - 0x3F000000);
    }
    /* Round at bit 13, half to even, and move the exponent's bias from 127 to 15. */
    magnitude += 0xFFF + (magnitude >> 13 & 1);
    return sign | (uint16_t)((magnitude - ((127 - 15) << 23)) >> 13);
}
