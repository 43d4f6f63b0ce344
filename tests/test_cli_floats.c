/* test_cli_floats.c - the tool's float_text and float_half compared with slow versions */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/embed_float.c"

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void check_text(float value)
{
    char text[FLOAT_TEXT_MAX], expected[32];
    size_t length = float_text(text, value);
    size_t n = (size_t)snprintf(expected, sizeof expected, "%.9g", (double)value);
    if (length != n || memcmp(text, expected, n) != 0)
        fail_msg("%a: %.*s, not %s", (double)value, (int)length, text, expected);
}

/* Bit patterns across the whole range, and both ends of each binary exponent. */
static void test_text_is_printf(void **state)
{
    (void)state;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 4099)
        check_text(float_of((uint32_t)bits));
    for (uint32_t exponent = 0; exponent < 256; exponent++) {
        for (uint32_t i = 0; i < 1024; i++) {
            check_text(float_of(exponent << 23 | i));
            check_text(float_of(exponent << 23 | (0x7FFFFF - i)));
        }
    }
}

/* Short decimals, powers of ten and their neighbours: zeros to strip, ties, carries. */
static void test_text_of_decimals(void **state)
{
    (void)state;
    for (int exponent = -45; exponent <= 38; exponent++) {
        for (int i = 1; i < 2000; i++) {
            char decimal[32];
            snprintf(decimal, sizeof decimal, "%d.%03de%d", i % 10, i / 2, exponent);
            float value = strtof(decimal, NULL);
            check_text(value);
            check_text(-nextafterf(value, 0));
            check_text(nextafterf(value, INFINITY));
        }
    }
    for (int i = 0; i < 1 << 16; i++) check_text(ldexpf((float)i + 0.5f, -8));
}

/* Returns the value of a finite half by IEEE 754; 65536 for infinity. */
static double half_value(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double magnitude =
        exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return half >> 15 != 0 ? -magnitude : magnitude;
}

/* Checks that no other half is nearer, and that a tie went to the even one. */
static void check_half(float value)
{
    uint16_t half = float_half(value);
    assert_int_equal(half >> 15, signbit(value) != 0);
    if (isnan(value)) {
        assert_true((half & 0x7FFF) > 0x7C00);
        return;
    }
    double exact = fmin(fmax((double)value, -65536), 65536);
    double error = fabs(half_value(half) - exact);
    assert_true((half & 0x7FFF) <= 0x7C00);
    if ((half & 0x7FFF) < 0x7C00) {
        double above = fabs(half_value(half + 1) - exact);
        assert_true(above > error || (above == error && half % 2 == 0));
    }
    if ((half & 0x7FFF) > 0) {
        double below = fabs(half_value(half - 1) - exact);
        assert_true(below > error || (below == error && half % 2 == 0));
    }
}

static void test_half_is_nearest(void **state)
{
    (void)state;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 4099)
        check_half(float_of((uint32_t)bits));
    /* Each half, the midpoint to the next one, and the neighbours of that. */
    for (uint32_t half = 0; half < 0x7C00; half++) {
        float middle =
            (float)((half_value((uint16_t)half) + half_value((uint16_t)(half + 1))) / 2);
        check_half((float)half_value((uint16_t)half));
        check_half(middle);
        check_half(nextafterf(middle, 0));
        check_half(-nextafterf(middle, INFINITY));
    }
    check_half(INFINITY);
    check_half(-NAN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_printf),
        cmocka_unit_test(test_text_of_decimals),
        cmocka_unit_test(test_half_is_nearest),
    };
    return cmocka_run_group_tests_name("floats of the command line", tests, NULL, NULL);
}
