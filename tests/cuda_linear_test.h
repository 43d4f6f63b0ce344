/* cuda_linear_test.h - layers and inputs for the tests of our own CUDA linear layers */
#ifndef TESTS_CUDA_LINEAR_TEST_H
#define TESTS_CUDA_LINEAR_TEST_H

#include "cuda_test.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const enum cuda_sums all_sums[] = {CUDA_SUMS_F32, CUDA_SUMS_TWO_LEVEL};

/* Copies floats to the device as FP16, at the very end of an allocation. The allocation begins at a
 * multiple of 256 bytes; padding to the next multiple precedes the data. */
static inline struct device_buffer input_at_end(const float *floats, size_t count)
{
    struct device_buffer input = device_buffer((count + 127) / 128 * 128, 2, 0);
    input.guard = (input.count - count) * input.element_bytes;
    input.data = (char *)input.data + input.guard;
    input.count = count;
    device_write(input, floats);
    return input;
}

/* A linear layer on the host and on the device. */
struct layer {
    size_t O, I;
    float *weight, *bias;
    struct device_buffer device_weight, device_bias;
};

static inline struct layer layer_of(size_t O, size_t I, float *weight, float *bias)
{
    struct layer layer = {O, I, weight, bias, input_at_end(weight, O * I), input_at_end(bias, O)};
    return layer;
}

static inline struct layer random_layer(size_t O, size_t I)
{
    return layer_of(O, I, random_elements(O * I, 2), random_elements(O, 2));
}

static inline void layer_free(struct layer *layer)
{
    free(layer->weight);
    free(layer->bias);
    device_free(layer->device_weight);
    device_free(layer->device_bias);
}

#endif
