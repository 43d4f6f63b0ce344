/* test_backend_decoder.c - decoder operations on the CPU, except the choice of candidates, compared
 * with naive code in FP32 and BF16; the same bits on one thread and on three */
#include "backend_decoder_test.h"

/* ---- embeddings ---------------------------------------------------------------------------- */

static void embed(struct step *step, const struct backend *op, struct execution *execution)
{
    assert_int_equal(
        op->embed_beams(step->out, step->residual, &step->batch, step->weights, 2, C, 1e-5f,
                        execution),
        EMBED_OK);
}

static void *check_embed(const struct device *device, size_t *bytes)
{
    enum { V = 20 };
    size_t slots_bytes;
    struct beam_slots slots = slots_of_test(&slots_bytes, V);
    struct matrix word = matrix(device, V * C), position = matrix(device, (T + 2) * C);
    struct matrix x = matrix(device, R * C);
    float *residual = random_floats(R * C);
    float *weight = random_floats(C), *bias = random_floats(C);
    struct embeddings w = {word.elements, position.elements, NULL, {weight, bias}};
    struct step step = step_of(device, &slots);
    step.operation = embed, step.out = x.elements, step.residual = residual, step.weights = &w;
    step_run(&step);
    for (size_t row = 0; row < R; row++) { /* those of the slot that is done must not change */
        size_t slot = slot_of(row);
        if (slot == DONE) continue;
        int32_t last = slots.lengths[slot] - 1, from = last + 2;
        int32_t id = slots.tokens[(slot * MOST_K + row % K) * T + (size_t)last];
        reference->embed_layernorm(x.floats + row * C, NULL, &id, &from, word.floats,
                                   position.floats, NULL, weight, bias, 1, C, 1e-5f, NULL);
        assert_close("residual", residual + row * C, x.floats + row * C, C, 2e-6);
    }
    assert_matrix("embed_beams", x);
    matrix_free(word); matrix_free(position);
    free(weight); free(bias); free(x.floats); free(residual);
    slots_free(&slots);
    *bytes = R * C * x.element_bytes;
    return x.elements;
}

/* ---- the residual stream -------------------------------------------------------------------- */

static void add_residual(struct step *step, const struct backend *op, struct execution *execution)
{
    assert_int_equal(op->residual_layernorm(step->out, step->residual, step->in, step->weights, R,
                                            C, 1e-5f, execution),
                     EMBED_OK);
}

static void *check_residual_layernorm(const struct device *device, size_t *bytes)
{
    struct matrix x = matrix(device, R * C);
    float *residual = random_floats(R * C), *more = random_floats(R * C);
    float *weight = random_floats(C), *bias = random_floats(C);
    struct layernorm norm = {weight, bias};
    struct beam_slots none = {0};
    struct step step = step_of(device, &none);
    reference->add_layernorm(x.floats, more, residual, weight, bias, R, C, 1e-5f, NULL);
    step.operation = add_residual, step.out = x.elements, step.residual = residual;
    step.in = more, step.weights = &norm;
    step_run(&step);
    assert_matrix("residual_layernorm", x);
    assert_close("residual", residual, x.floats, R * C, 2e-6);
    matrix_free(x);
    free(more); free(weight); free(bias);
    *bytes = R * C * sizeof *residual;
    return residual;
}

/* ---- attention ----------------------------------------------------------------------------- */

static void attend_naive(float *context, const float *q, const float *keys, const int32_t *rows,
                         size_t tokens)
{
    double scratch[T + S];
    for (size_t h = 0; h < NH; h++)
        reference->decode_attention(context + h * HS, q + h * HS, keys + h * HS, keys + C + h * HS,
                                    rows, T, 1, tokens, HS, 0, 2 * C, 0, 1 / sqrtf(HS), scratch);
}

static void attend_to_beams(struct step *step, const struct backend *op,
                            struct execution *execution)
{
    assert_int_equal(op->self_attention(step->out, step->in, step->cache, &step->batch, NH, HS,
                                        execution),
                     EMBED_OK);
}

static void *check_self_attention(const struct device *device, size_t *bytes)
{
    size_t slots_bytes;
    struct beam_slots slots = slots_of_test(&slots_bytes, 20);
    struct matrix qkv = matrix(device, R * 3 * C), context = matrix(device, R * C);
    struct matrix cache = matrix(device, P * MOST_K * T * 2 * C);
    struct step step = step_of(device, &slots);
    step.operation = attend_to_beams, step.out = context.elements, step.in = qkv.elements;
    step.cache = cache.elements;
    step_run(&step);
    for (size_t row = 0; row < R; row++) {
        size_t slot = slot_of(row), k = row % K, length = (size_t)slots.lengths[slot];
        if (slot == DONE) continue;
        float *keys = cache.floats + slot * MOST_K * T * 2 * C, *q = qkv.floats + row * 3 * C;
        memcpy(keys + (k * T + length - 1) * 2 * C, q + C, 2 * C * sizeof *q);
        const int32_t *rows = beam_ancestors(&slots, slot, (int32_t)length) + k * T;
        attend_naive(context.floats + row * C, q, keys, rows, length);
    }
    assert_matrix("self_attention", context);
    assert_matrix("the cache of self_attention", cache);
    matrix_free(qkv); matrix_free(cache);
    free(context.floats);
    slots_free(&slots);
    *bytes = R * C * context.element_bytes;
    return context.elements;
}

static void attend_to_source(struct step *step, const struct backend *op,
                             struct execution *execution)
{
    assert_int_equal(op->cross_attention(step->out, step->in, step->cache, S, &step->batch, NH, HS,
                                         execution),
                     EMBED_OK);
}

static void *check_cross_attention(const struct device *device, size_t *bytes)
{
    size_t slots_bytes;
    struct beam_slots slots = slots_of_test(&slots_bytes, 20);
    struct matrix q = matrix(device, R * C), context = matrix(device, R * C);
    struct matrix cache = matrix(device, P * S * 2 * C);
    struct step step = step_of(device, &slots);
    step.operation = attend_to_source, step.out = context.elements, step.in = q.elements;
    step.cache = cache.elements;
    step_run(&step);
    for (size_t row = 0; row < R; row++) {
        size_t slot = slot_of(row);
        if (slot == DONE) continue;
        attend_naive(context.floats + row * C, q.floats + row * C, cache.floats + slot * S * 2 * C,
                     NULL, (size_t)slots.sources[slot]);
    }
    assert_matrix("cross_attention", context);
    matrix_free(q); matrix_free(cache);
    free(context.floats);
    slots_free(&slots);
    *bytes = R * C * context.element_bytes;
    return context.elements;
}

/* ---- logits -------------------------------------------------------------------------------- */

static void project(struct step *step, const struct backend *op, struct execution *execution)
{
    assert_int_equal(op->logits(step->out, step->in, step->weights, R, execution), EMBED_OK);
}

static void *check_logits(const struct device *device, size_t *bytes)
{
    enum { V = 203 };
    size_t slots_bytes;
    struct backend *backend = device->backend;
    struct beam_slots slots = slots_of_test(&slots_bytes, V);
    struct matrix x = matrix(device, R * C), w = matrix(device, V * C);
    float *bias = random_floats(V), *none = zeros(V), *got = zeros(R * V), *expected = zeros(R * V);
    void *weight = zero_bytes(backend->weight_bytes(backend, WEIGHT_MATRIX, V, C));
    void *packed_bias = zero_bytes(backend->weight_bytes(backend, WEIGHT_WIDE_BIAS, 1, V));
    backend->weight_store(backend, weight, WEIGHT_MATRIX, w.floats, 0, V, C);
    backend->weight_store(backend, packed_bias, WEIGHT_WIDE_BIAS, bias, 0, 1, V);
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        struct linear layer = {weight, with_bias ? packed_bias : NULL, V, C};
        struct step step = step_of(device, &slots);
        step.operation = project, step.out = got, step.in = x.elements, step.weights = &layer;
        step_run(&step);
        reference->linear(expected, x.floats, w.floats, with_bias ? bias : none, R, V, C, 0, V,
                          ACTIVATION_NONE, NULL);
        assert_close("logits", got, expected, R * V, 4e-6);
    }
    matrix_free(x); matrix_free(w);
    free(bias); free(none); free(expected); free(weight); free(packed_bias);
    slots_free(&slots);
    *bytes = R * V * sizeof *got;
    return got;
}

/* ---- beginning and step -------------------------------------------------------------------- */

static void begin(struct step *step, const struct backend *op, struct execution *execution)
{
    assert_int_equal(op->beam_start(&step->batch.beams, step->in, 2, execution), EMBED_OK);
}

static void go_on(struct step *step, const struct backend *op, struct execution *execution)
{
    assert_int_equal(op->beam_step(&step->batch, step->in, execution), EMBED_OK);
}

/* The operations do what the functions of beam_step.h do, for each document. */
static void *check_steps(const struct device *device, size_t *bytes)
{
    const struct beam_document documents[2] = {{LONG, 5, rules}, {YOUNG, 11, rules}};
    struct beam_slots slots = slots_new(bytes), expected = slots_new(bytes);
    slots.states[DONE] = expected.states[DONE] = BEAM_DONE;
    struct step step = step_of(device, &slots);
    step.operation = begin, step.in = documents;
    step_run(&step);
    for (size_t d = 0; d < 2; d++) beam_begin(&expected, &documents[d]);
    assert_memory_equal(slots.rules, expected.rules, *bytes);
    for (int n = 0; n < T - 1; n++) {
        struct beam_candidate candidates[R * BEAM_CANDIDATES(K)];
        for (size_t i = 0; i < R * BEAM_CANDIDATES(K); i++)
            candidates[i] = (struct beam_candidate){(float)n - (float)(i % BEAM_CANDIDATES(K)),
                                                    (int32_t)((7 * i + (size_t)n) % 31 + 2)};
        step.operation = go_on, step.in = candidates;
        step_run(&step);
        for (size_t d = 0; d < D; d++)
            beam_step(&expected, (size_t)slots_of_step[d], K,
                      candidates + d * K * BEAM_CANDIDATES(K));
        assert_memory_equal(slots.rules, expected.rules, *bytes);
    }
    assert_int_equal(slots.states[LONG], BEAM_DONE);
    slots_free(&expected);
    return slots.rules;
}

/* ---- scratch ------------------------------------------------------------------------------- */

/* An executor is large enough for attention to a cache when that needs the most scratch. */
static void test_scratch(void **state)
{
    (void)state;
    struct device device = device_open(1, EMBED_DTYPE_F32);
    struct chunk_limits limits = {8, 1, 1024, 8, 8, 0, 0, 0};
    size_t without = device.backend->executor_bytes(device.backend, &limits);
    limits.D = 1, limits.K = MOST_BEAMS, limits.M = 2;
    size_t with = device.backend->executor_bytes(device.backend, &limits);
    size_t wanted = device.kernels->decode_attention_scratch_bytes(MOST_BEAMS, 1024, 8);
    assert_true(without < wanted && wanted <= with);

    /* Short sources, and a summary that is longer than they are. */
    limits = (struct chunk_limits){8, 1, 8, 8, 8, 1, 1, 2};
    without = device.backend->executor_bytes(device.backend, &limits);
    limits.M = 1024;
    with = device.backend->executor_bytes(device.backend, &limits);
    wanted = device.kernels->decode_attention_scratch_bytes(1, 1024, 8);
    assert_true(without < wanted && wanted <= with);
    device_close(&device);
}

TEST(test_embed, check_embed, EMBED_DTYPE_F32)
TEST(test_embed_bf16, check_embed, EMBED_DTYPE_BF16)
TEST(test_residual_layernorm, check_residual_layernorm, EMBED_DTYPE_F32)
TEST(test_residual_layernorm_bf16, check_residual_layernorm, EMBED_DTYPE_BF16)
TEST(test_self_attention, check_self_attention, EMBED_DTYPE_F32)
TEST(test_self_attention_bf16, check_self_attention, EMBED_DTYPE_BF16)
TEST(test_cross_attention, check_cross_attention, EMBED_DTYPE_F32)
TEST(test_cross_attention_bf16, check_cross_attention, EMBED_DTYPE_BF16)
TEST(test_logits, check_logits, EMBED_DTYPE_F32)
TEST(test_logits_bf16, check_logits, EMBED_DTYPE_BF16)
TEST(test_steps, check_steps, EMBED_DTYPE_F32)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_embed_bf16),
        cmocka_unit_test(test_residual_layernorm),
        cmocka_unit_test(test_residual_layernorm_bf16),
        cmocka_unit_test(test_self_attention),
        cmocka_unit_test(test_self_attention_bf16),
        cmocka_unit_test(test_cross_attention),
        cmocka_unit_test(test_cross_attention_bf16),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_logits_bf16),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
