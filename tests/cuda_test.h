/* cuda_test.h - numbers, device buffers and comparisons for the tests of the CUDA kernels
 *
 * The tests use only kernels_cuda.h and the CUDA runtime, so the same program runs on a GPU and on
 * the emulated device. Numbers are floats on the host; a buffer holds them as the table's element
 * type, `element_bytes` wide: 2 is FP16, 4 is FP32. Inputs are rounded to that type first
 * (round_floats), so that kernel and reference see the same numbers and a tolerance measures only
 * the kernel.
 */
#ifndef TESTS_CUDA_TEST_H
#define TESTS_CUDA_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "kernels/kernels_cuda.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- CUDA calls ---------------------------------------------------------------------------- */

#define CHECK_CUDA(call) check_cuda((call), #call, __FILE__, __LINE__)

static inline void check_cuda(cudaError_t error, const char *call, const char *file, int line)
{
    if (error == cudaSuccess) return;
    print_error("%s: %s\n", call, cudaGetErrorString(error));
    _fail(file, line);
}

/* Formats the name of a shape for messages; valid until the next call. */
static inline const char *shape_name(const char *format, ...)
{
    static char text[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return text;
}

/* ---- numbers ------------------------------------------------------------------------------- */

/* Returns numbers uniform in [-1, 1), the same sequence in every run. */
static inline float random_float(void)
{
    static uint64_t state = 88172645463325252u; /* xorshift64, Marsaglia 2003 */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (float)((double)(state >> 11) / 4503599627370496.0 - 1.0);
}

static inline float *zeros(size_t count)
{
    float *floats = calloc(count > 0 ? count : 1, sizeof *floats);
    assert_non_null(floats);
    return floats;
}

static inline float *random_floats(size_t count)
{
    float *floats = zeros(count);
    for (size_t i = 0; i < count; i++) floats[i] = random_float();
    return floats;
}

/* Returns the nearest FP16 number, ties to even; infinity from 65520 on. */
static inline uint16_t half_from_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return (uint16_t)(sign | 0x7E00);  /* NaN */
    if (magnitude >= 0x47800000) return (uint16_t)(sign | 0x7C00); /* from 2^16 on */
    if (magnitude < 0x33000000) return (uint16_t)sign;             /* below 2^-25 */

    /* The result counts steps of 2^(exponent - 10); below 2^-14 all steps are 2^-24. */
    uint32_t exponent = magnitude >> 23, significand = (magnitude & 0x7FFFFF) | 0x800000;
    uint32_t shift = exponent >= 113 ? 13 : 126 - exponent;
    uint32_t steps = significand >> shift, rest = significand & ((1u << shift) - 1);
    uint32_t tie = 1u << (shift - 1);
    if (rest > tie || (rest == tie && steps % 2 == 1)) steps++; /* may carry into the exponent */
    if (exponent >= 113) steps += (exponent - 113) << 10; /* the leading 1 adds one exponent more */
    return (uint16_t)(sign | steps);
}

static inline float half_to_float(uint16_t half)
{
    int exponent = half >> 10 & 31;
    float significand = (float)(half & 0x3FF), value;
    if (exponent == 31)
        value = significand != 0 ? NAN : INFINITY;
    else if (exponent == 0)
        value = ldexpf(significand, -24);
    else
        value = ldexpf(significand + 1024, exponent - 25);
    return half & 0x8000 ? -value : value;
}

/* Rounds each number to the nearest one of the element type. */
static inline void round_floats(float *floats, size_t count, size_t element_bytes)
{
    if (element_bytes == sizeof(float)) return;
    for (size_t i = 0; i < count; i++) floats[i] = half_to_float(half_from_float(floats[i]));
}

static inline float *random_elements(size_t count, size_t element_bytes)
{
    float *floats = random_floats(count);
    round_floats(floats, count, element_bytes);
    return floats;
}

/* ---- buffers on the device ----------------------------------------------------------------- */

/* Guard bytes before and after an output. They are 0xFF, which is NaN in both formats: reading them
 * shows in the result, and device_read detects a write to them. */
enum { GUARD_BYTES = 256 };

struct device_buffer {
    void *data;           /* on the device */
    size_t count;         /* elements */
    size_t element_bytes; /* 2: FP16, 4: FP32 or int32_t */
    size_t guard;         /* bytes before and after; 0 for an input, which ends its allocation */
};

static inline struct device_buffer device_buffer(size_t count, size_t element_bytes, size_t guard)
{
    struct device_buffer buffer = {NULL, count, element_bytes, guard};
    size_t bytes = count * element_bytes + 2 * guard;
    void *memory = NULL;
    CHECK_CUDA(cudaMalloc(&memory, bytes));
    CHECK_CUDA(cudaMemset(memory, 0xFF, bytes));
    buffer.data = (char *)memory + guard;
    return buffer;
}

static inline void device_free(struct device_buffer buffer)
{
    CHECK_CUDA(cudaFree((char *)buffer.data - buffer.guard));
}

/* Writes buffer.count floats to the buffer, converted to its element type. */
static inline void device_write(struct device_buffer buffer, const float *floats)
{
    uint16_t *halves = NULL;
    const void *elements = floats;
    if (buffer.element_bytes == 2) {
        elements = halves = malloc(buffer.count * sizeof *halves);
        assert_non_null(halves);
        for (size_t i = 0; i < buffer.count; i++) halves[i] = half_from_float(floats[i]);
    }
    CHECK_CUDA(cudaMemcpy(buffer.data, elements, buffer.count * buffer.element_bytes,
                          cudaMemcpyHostToDevice));
    free(halves);
}

static inline struct device_buffer device_output(size_t count, size_t element_bytes)
{
    return device_buffer(count, element_bytes, GUARD_BYTES);
}

static inline struct device_buffer device_input(const float *floats, size_t count,
                                                size_t element_bytes)
{
    struct device_buffer buffer = device_buffer(count, element_bytes, 0);
    device_write(buffer, floats);
    return buffer;
}

static inline struct device_buffer device_integers(const int32_t *integers, size_t count)
{
    struct device_buffer buffer = device_buffer(count, sizeof *integers, 0);
    CHECK_CUDA(cudaMemcpy(buffer.data, integers, count * sizeof *integers, cudaMemcpyHostToDevice));
    return buffer;
}

/* Waits for earlier work and returns the buffer's elements as floats; the caller frees them. Fails
 * the test if a guard was overwritten. */
static inline float *device_read(const char *what, struct device_buffer buffer)
{
    size_t bytes = buffer.count * buffer.element_bytes, all = bytes + 2 * buffer.guard;
    unsigned char *copy = malloc(all);
    float *floats = zeros(buffer.count);
    assert_non_null(copy);
    CHECK_CUDA(cudaMemcpy(copy, (char *)buffer.data - buffer.guard, all, cudaMemcpyDeviceToHost));

    for (size_t i = 0; i < buffer.guard; i++) {
        if (copy[i] != 0xFF)
            fail_msg("%s: wrote %zu bytes before its output", what, buffer.guard - i);
        if (copy[buffer.guard + bytes + i] != 0xFF)
            fail_msg("%s: wrote %zu bytes past the end of its output", what, i + 1);
    }
    for (size_t i = 0; i < buffer.count; i++) {
        const unsigned char *element = copy + buffer.guard + i * buffer.element_bytes;
        uint16_t half;
        if (buffer.element_bytes == 2) {
            memcpy(&half, element, sizeof half);
            floats[i] = half_to_float(half);
        } else {
            memcpy(&floats[i], element, sizeof floats[i]);
        }
    }
    free(copy);
    return floats;
}

/* ---- comparison ---------------------------------------------------------------------------- */

/* Fails unless |got - expected| <= absolute + relative * |expected| for every element of the rows
 * of `columns`. A NaN on either side is a difference. */
static inline void assert_close(const char *what, const float *got, const float *expected,
                                size_t rows, size_t columns, double absolute, double relative)
{
    for (size_t i = 0; i < rows * columns; i++) {
        double difference = fabs((double)got[i] - expected[i]);
        double tolerance = absolute + relative * fabs((double)expected[i]);
        if (!(difference <= tolerance))
            fail_msg("%s: row %zu, column %zu is %.9g, the reference has %.9g (tolerance %g)", what,
                     i / columns, i % columns, got[i], expected[i], tolerance);
    }
}

/* Fails unless both have the same bits. */
static inline void assert_same_bits(const char *what, const float *got, const float *expected,
                                    size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows * columns; i++) {
        if (memcmp(&got[i], &expected[i], sizeof *got) != 0)
            fail_msg("%s: row %zu, column %zu is %.9g, and %.9g in other company", what,
                     i / columns, i % columns, got[i], expected[i]);
    }
}

static inline bool any_is_nan(const float *floats, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (isnan(floats[i])) return true;
    }
    return false;
}

#endif
