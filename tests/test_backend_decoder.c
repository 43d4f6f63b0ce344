/* test_backend_decoder.c - the operations of a decoder on the CPU, against naive code: on one thread and
 * on three, which must give the same bits, in FP32 and in BF16
 *
 * There are three slots for up to 4 beams each. A step of three beams a document takes slots 2, 0 and 1,
 * of which slot 0 is done: nothing of it may be read or change.
 */
#include "bf16_test.h"

#include "backend/backend.h"
#include "backend/thread_team.h"
#include "kernels/beam_step.h"

enum { P = 3, MOST_K = 4, T = 9, S = 11, D = 3, K = 3, R = D * K, NH = 3, HS = 8, C = NH * HS };
enum { DONE = 0, LONG = 2, YOUNG = 1 }; /* slots */

static const int32_t slots_of_step[D] = {LONG, DONE, YOUNG};

/* ---- a backend and its numbers ------------------------------------------------------------- */

struct device {
    struct backend *backend;
    struct thread_team *team;
    struct executor *executor;
    const struct cpu_kernels *kernels;
};

static struct device device_open(unsigned threads, embed_dtype dtype)
{
    struct device device;
    struct chunk_limits limits = {R, D, S, HS, C, D, K};
    assert_int_equal(thread_team_create(&device.team, threads), EMBED_OK);
    if (backend_cpu_open(&device.backend, device.team, threads, dtype) != EMBED_OK) {
        thread_team_destroy(device.team);
        print_message("skipped: %s\n", embed_error_message());
        skip();
    }
    assert_int_equal(device.backend->executor_create(&device.executor, device.backend, &limits),
                     EMBED_OK);
    assert_int_equal(cpu_kernels_choose(&device.kernels, dtype), EMBED_OK);
    return device;
}

static void device_close(const struct device *device)
{
    device->backend->executor_destroy(device->executor);
    backend_release(device->backend);
    thread_team_destroy(device->team);
}

/* As floats, and as the device has them. */
struct matrix {
    float *floats;
    void *elements;
    size_t count, element_bytes;
};

static struct matrix matrix(const struct device *device, size_t count)
{
    struct matrix m = {random_floats(count), NULL, count, device->kernels->element_bytes};
    m.elements = zero_bytes(count * m.element_bytes);
    device->kernels->store(m.elements, m.floats, count);
    for (size_t i = 0; i < count && m.element_bytes == 2; i++)
        m.floats[i] = value(((uint16_t *)m.elements)[i]);
    return m;
}

static void matrix_free(struct matrix m)
{
    free(m.floats);
    free(m.elements);
}

static void assert_matrix(const char *what, struct matrix got)
{
    if (got.element_bytes == 2) assert_rounded(what, got.elements, got.floats, got.count, 2e-6);
    else assert_close(what, got.elements, got.floats, got.count, 2e-6);
}

/* ---- slots ---------------------------------------------------------------------------------- */

static struct beam_slots slots_new(size_t *bytes)
{
    struct beam_slots slots;
    *bytes = beam_slots_place(&slots, NULL, P, MOST_K, T);
    void *memory = zero_bytes(*bytes);
    memset(memory, 0x55, *bytes); /* whatever a slot had before */
    beam_slots_place(&slots, memory, P, MOST_K, T);
    return slots;
}

static void slots_free(struct beam_slots *slots)
{
    free(slots->rules); /* the first array */
}

static const struct generation_rules rules = {
    .num_beams = K, .max_length = T, .length_penalty = 1, .start_token = 2, .end_token = 1,
    .forced_first_token = NO_TOKEN, .forced_end_token = NO_TOKEN};

/* Beams of `length` random tokens, whose past is in rows at random. */
static void slot_fill(struct beam_slots *slots, size_t slot, int32_t length, int32_t V)
{
    slots->states[slot] = BEAM_RUNNING;
    slots->lengths[slot] = length;
    slots->sources[slot] = slot == LONG ? S : 1;
    slots->rules[slot] = rules;
    for (size_t k = 0; k < K; k++) {
        slots->scores[slot * MOST_K + k] = 4 * random_float() - 4;
        int32_t *ancestors = beam_ancestors(slots, slot, length) + k * T;
        for (int32_t t = 0; t < length; t++) {
            slots->tokens[(slot * MOST_K + k) * T + (size_t)t] =
                (int32_t)((random_float() + 1) / 2 * (float)V);
            ancestors[t] = (int32_t)((random_float() + 1) / 2 * K);
        }
        ancestors[length - 1] = (int32_t)k;
    }
}

static struct beam_slots slots_of_test(size_t *bytes, int32_t V)
{
    struct beam_slots slots = slots_new(bytes);
    slot_fill(&slots, LONG, 7, V);
    slot_fill(&slots, YOUNG, 1, V);
    slots.states[DONE] = BEAM_DONE;
    return slots;
}

/* ---- a chunk ------------------------------------------------------------------------------- */

struct step {
    const struct device *device;
    struct decode_batch batch;
    void (*operation)(struct step *step, const struct backend *op, struct execution *execution);
    void *out;
    const void *in;
    void *cache;
    const void *weights;
    size_t size; /* V, or 1 where a bias is wanted */
};

static embed_status step_compute(void *argument, size_t i, unsigned worker,
                                 struct execution *execution)
{
    (void)i;
    (void)worker;
    struct step *step = argument;
    const struct backend *op = step->device->backend;
    struct decode_batch host = step->batch;
    assert_int_equal(op->begin_steps(&step->batch, &host, execution), EMBED_OK);
    step->operation(step, op, execution);
    return EMBED_OK;
}

static void step_deliver(void *argument, unsigned worker)
{
    (void)argument;
    (void)worker;
}

static void step_run(struct step *step)
{
    const struct chunk_work work = {step, step_compute, step_deliver};
    const struct backend *backend = step->device->backend;
    assert_int_equal(backend->run(step->device->executor, 1, &work), EMBED_OK);
    assert_int_equal(backend->finish(step->device->executor, &work), EMBED_OK);
}

static struct step step_of(const struct device *device, const struct beam_slots *slots)
{
    return (struct step){.device = device, .batch = {D, K, slots_of_step, *slots}};
}

/* Runs `test` once for each dtype and number of threads, with the same numbers for any number of
 * threads; what it returns, of `bytes`, must be the same. */
static void on_all_devices(void *(*test)(const struct device *device, size_t *bytes),
                           embed_dtype dtype)
{
    void *first = NULL;
    for (unsigned threads = 1; threads <= 3; threads += 2) {
        size_t bytes;
        struct device device = device_open(threads, dtype);
        random_state = RANDOM_START;
        void *out = test(&device, &bytes);
        device_close(&device);
        if (threads == 1) {
            first = out;
        } else {
            assert_memory_equal(out, first, bytes);
            free(out);
        }
    }
    free(first);
}

/* Row of a step: its slot and beam. */
static size_t slot_of(size_t row)
{
    return (size_t)slots_of_step[row / K];
}

/* ---- embeddings ---------------------------------------------------------------------------- */

static void embed(struct step *step, const struct backend *op, struct execution *execution)
{
    assert_int_equal(op->embed_beams(step->out, &step->batch, step->weights, 2, C, 1e-5f, execution),
                     EMBED_OK);
}

static void *check_embed(const struct device *device, size_t *bytes)
{
    enum { V = 20 };
    size_t slots_bytes;
    struct beam_slots slots = slots_of_test(&slots_bytes, V);
    struct matrix word = matrix(device, V * C), position = matrix(device, (T + 2) * C);
    struct matrix x = matrix(device, R * C);
    float *weight = random_floats(C), *bias = random_floats(C);
    struct embeddings w = {word.elements, position.elements, NULL, {weight, bias}};
    struct step step = step_of(device, &slots);
    step.operation = embed, step.out = x.elements, step.weights = &w;
    step_run(&step);
    for (size_t row = 0; row < R; row++) { /* those of the slot that is done are as they were */
        size_t slot = slot_of(row);
        if (slot == DONE) continue;
        int32_t last = slots.lengths[slot] - 1, from = last + 2;
        int32_t id = slots.tokens[(slot * MOST_K + row % K) * T + (size_t)last];
        reference->embed_layernorm(x.floats + row * C, &id, &from, word.floats, position.floats, NULL,
                                   weight, bias, 1, C, 1e-5f);
    }
    assert_matrix("embed_beams", x);
    matrix_free(word); matrix_free(position);
    free(weight); free(bias); free(x.floats);
    slots_free(&slots);
    *bytes = R * C * x.element_bytes;
    return x.elements;
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

static void attend_to_beams(struct step *step, const struct backend *op, struct execution *execution)
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
    void *packed_bias = zero_bytes(backend->weight_bytes(backend, WEIGHT_LOGITS_BIAS, 1, V));
    backend->weight_store(backend, weight, WEIGHT_MATRIX, w.floats, 0, V, C);
    backend->weight_store(backend, packed_bias, WEIGHT_LOGITS_BIAS, bias, 0, 1, V);
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

/* ---- candidates ---------------------------------------------------------------------------- */

enum { COUNT = BEAM_CANDIDATES(K), MOST_V = 203 };

/* Whether a rule forbids the token after beam k. Compares n-grams as lists. */
static bool is_forbidden(const struct beam_slots *slots, size_t slot, size_t k, int32_t token)
{
    const struct generation_rules *r = &slots->rules[slot];
    int32_t tokens[T + 1], length = slots->lengths[slot], n = r->no_repeat_ngram_size;
    for (int32_t t = 0; t < length; t++) {
        int32_t row = beam_ancestors(slots, slot, length)[k * T + (size_t)t];
        tokens[t] = slots->tokens[(slot * MOST_K + (size_t)row) * T + (size_t)t];
    }
    tokens[length] = token;
    for (int32_t t = 0; n > 0 && t + n <= length; t++)
        if (memcmp(tokens + t, tokens + length + 1 - n, (size_t)n * sizeof *tokens) == 0) return true;
    return token == r->end_token && length < r->min_length;
}

/* The candidates of one row, by sorting all that may follow. */
static void candidates_naive(struct beam_candidate *best, const struct beam_slots *slots, size_t row,
                             const float *x, size_t V)
{
    struct beam_candidate sorted[COUNT + 1]; /* the last is one too many */
    size_t slot = slot_of(row), k = row % K, have = 0;
    double sum = 0, score = slots->scores[slot * MOST_K + k];
    int32_t forced = beam_forced_token(&slots->rules[slot], slots->lengths[slot]);
    for (size_t i = 0; i < V; i++) sum += exp(x[i]);
    for (size_t i = 0; i < COUNT; i++) sorted[i] = (struct beam_candidate){-INFINITY, NO_TOKEN};
    for (int32_t i = 0; i < (int32_t)V; i++) {
        float s = (float)(score + (forced == NO_TOKEN ? x[i] - log(sum) : 0));
        if (forced != NO_TOKEN ? i != forced : is_forbidden(slots, slot, k, i)) continue;
        size_t place = have;
        for (; place > 0 && s > sorted[place - 1].score; place--) sorted[place] = sorted[place - 1];
        sorted[place] = (struct beam_candidate){s, i};
        if (have < COUNT) have++;
    }
    memcpy(best, sorted, COUNT * sizeof *best);
}

static void choose(struct step *step, const struct backend *op, struct execution *execution)
{
    assert_int_equal(op->beam_candidates(step->out, step->cache, &step->batch, step->size, execution),
                     EMBED_OK);
}

/* Candidates of all rows; those of the slot that is done must be as they were. */
static struct beam_candidate *candidates_of(const struct device *device,
                                            const struct beam_slots *slots, const float *x, size_t V)
{
    struct beam_candidate *got = zero_bytes(R * COUNT * sizeof *got);
    float *copy = zeros(R * V);
    memcpy(copy, x, R * V * sizeof *x);
    for (size_t i = 0; i < R * COUNT; i++) got[i] = (struct beam_candidate){7, 7};
    struct step step = step_of(device, slots);
    step.operation = choose, step.out = got, step.cache = copy, step.size = V;
    step_run(&step);
    for (size_t i = 0; i < R * COUNT; i++) {
        if (slot_of(i / COUNT) == DONE) assert_true(got[i].score == 7 && got[i].token == 7);
    }
    free(copy);
    return got;
}

static void assert_candidates(const char *what, const struct beam_slots *slots,
                              const struct beam_candidate *got, const float *x, size_t V)
{
    for (size_t row = 0; row < R; row++) {
        struct beam_candidate expected[COUNT];
        if (slot_of(row) == DONE) continue;
        candidates_naive(expected, slots, row, x + row * V, V);
        for (size_t i = 0; i < COUNT; i++) {
            struct beam_candidate g = got[row * COUNT + i], e = expected[i];
            bool is_same = e.score == -INFINITY /* its token may stand there or not */
                               ? g.score == -INFINITY
                               : g.token == e.token && fabsf(g.score - e.score) <= 1e-5f;
            if (!is_same)
                fail_msg("%s, row %zu, candidate %zu: token %d with %.9g; it is %d with %.9g", what,
                         row, i, g.token, g.score, e.token, e.score);
        }
    }
}

static void *check_candidates(const struct device *device, size_t *bytes)
{
    static const struct {
        const char *name;
        size_t V;
        int32_t ngram, min_length, forced_first, forced_end;
    } cases[] = {
        {"no rules", MOST_V, 0, 0, NO_TOKEN, NO_TOKEN},
        {"as many tokens as candidates", COUNT, 0, 0, NO_TOKEN, NO_TOKEN},
        {"fewer tokens than candidates", COUNT - 2, 0, 0, NO_TOKEN, NO_TOKEN},
        {"no token twice", 10, 1, 0, NO_TOKEN, NO_TOKEN},
        {"no pair twice", 4, 2, 0, NO_TOKEN, NO_TOKEN},
        {"no three twice", 3, 3, 0, NO_TOKEN, NO_TOKEN},
        {"n-grams longer than a beam", 20, 8, 0, NO_TOKEN, NO_TOKEN},
        {"no end", 10, 0, 8, NO_TOKEN, NO_TOKEN},
        {"an end that just may come", 10, 0, 7, NO_TOKEN, NO_TOKEN},
        {"a first token", 20, 2, 8, 17, NO_TOKEN},
        {"an end that must not come yet", 20, 0, 0, NO_TOKEN, 1},
    };
    struct beam_candidate *got = NULL;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (int round = 0; round < 20; round++) {
            size_t slots_bytes, V = cases[c].V;
            struct beam_slots slots = slots_of_test(&slots_bytes, (int32_t)V);
            float *x = random_floats(R * V);
            for (size_t s = YOUNG; s <= LONG; s++) {
                slots.rules[s].no_repeat_ngram_size = cases[c].ngram;
                slots.rules[s].min_length = cases[c].min_length;
                slots.rules[s].forced_first_token = cases[c].forced_first;
                slots.rules[s].forced_end_token = cases[c].forced_end;
                /* In the even rounds, the longer beams are those one short of the end. */
                if (round % 2 == 0) slots.rules[s].max_length = 8;
            }
            for (size_t i = 0; i < R * V; i++) x[i] *= 10;
            free(got);
            got = candidates_of(device, &slots, x, V);
            assert_candidates(cases[c].name, &slots, got, x, V);
            free(x);
            slots_free(&slots);
        }
    }
    *bytes = R * COUNT * sizeof *got;
    return got;
}

/* Of equal scores the lower token comes first, also where the logits are not quite equal; a row with NaN or
 * infinity has only NaN, and the others are what they are. */
static void *check_special_candidates(const struct device *device, size_t *bytes)
{
    enum { V = 30 };
    size_t slots_bytes;
    struct beam_slots slots = slots_of_test(&slots_bytes, V);
    float *x = zeros(R * V); /* rows of slot LONG are 0 to 2, of YOUNG 6 to 8 */
    slots.scores[LONG * MOST_K] = -1000;
    for (size_t i = 0; i < V; i++) x[i] = 1e-6f * (float)i;
    x[1 * V + 29] = NAN;
    x[2 * V + 3] = INFINITY;
    for (size_t i = 0; i < V; i++) x[6 * V + i] = i % 2 == 0 ? -INFINITY : 1;
    for (size_t i = 0; i < V; i++) x[7 * V + i] = -INFINITY;
    struct beam_candidate *got = candidates_of(device, &slots, x, V);
    for (size_t i = 0; i < COUNT; i++) {
        /* The best six, by their logits, are 24 to 29; beside -1000, 1e-6 is nothing. */
        assert_int_equal(got[i].token, 24 + i);
        assert_true(got[i].score == got[0].score);
        assert_int_equal(got[6 * COUNT + i].token, 1 + 2 * i);
        assert_int_equal(got[8 * COUNT + i].token, i);
        assert_true(isfinite(got[8 * COUNT + i].score));
        for (size_t row = 1; row <= 7; row += row == 2 ? 5 : 1)
            assert_true(isnan(got[row * COUNT + i].score));
    }
    free(x);
    slots_free(&slots);
    *bytes = 0; /* bits of NaN may differ */
    return got;
}

/* ---- a beginning, and a step --------------------------------------------------------------- */

static void begin(struct step *step, const struct backend *op, struct execution *execution)
{
    assert_int_equal(op->beam_start(&step->batch.beams, step->in, 2, execution), EMBED_OK);
}

static void go_on(struct step *step, const struct backend *op, struct execution *execution)
{
    assert_int_equal(op->beam_step(&step->batch, step->in, execution), EMBED_OK);
}

/* They are the functions of beam_step.h, of each document. */
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
        struct beam_candidate candidates[R * COUNT];
        for (size_t i = 0; i < R * COUNT; i++)
            candidates[i] = (struct beam_candidate){(float)n - (float)(i % COUNT),
                                                    (int32_t)((7 * i + (size_t)n) % 31 + 2)};
        step.operation = go_on, step.in = candidates;
        step_run(&step);
        for (size_t d = 0; d < D; d++)
            beam_step(&expected, (size_t)slots_of_step[d], K, candidates + d * K * COUNT);
        assert_memory_equal(slots.rules, expected.rules, *bytes);
    }
    assert_int_equal(slots.states[LONG], BEAM_DONE);
    slots_free(&expected);
    return slots.rules;
}

/* ---- scratch ------------------------------------------------------------------------------- */

/* An executor is as large as attention to a cache wants it, where that wants the most. */
static void test_scratch(void **state)
{
    (void)state;
    struct device device = device_open(1, EMBED_DTYPE_F32);
    struct chunk_limits limits = {8, 1, 1024, 8, 8, 0, 0};
    size_t without = device.backend->executor_bytes(device.backend, &limits);
    limits.D = 1, limits.K = MOST_BEAMS;
    size_t with = device.backend->executor_bytes(device.backend, &limits);
    size_t wanted = device.kernels->decode_attention_scratch_bytes(MOST_BEAMS, 1024, 8);
    assert_true(without < wanted && wanted <= with);
    device_close(&device);
}

#define TEST(name, check, dtype)                                                                 \
    static void name(void **state)                                                               \
    {                                                                                            \
        (void)state;                                                                             \
        on_all_devices(check, dtype);                                                            \
    }
TEST(test_embed, check_embed, EMBED_DTYPE_F32)
TEST(test_embed_bf16, check_embed, EMBED_DTYPE_BF16)
TEST(test_self_attention, check_self_attention, EMBED_DTYPE_F32)
TEST(test_self_attention_bf16, check_self_attention, EMBED_DTYPE_BF16)
TEST(test_cross_attention, check_cross_attention, EMBED_DTYPE_F32)
TEST(test_cross_attention_bf16, check_cross_attention, EMBED_DTYPE_BF16)
TEST(test_logits, check_logits, EMBED_DTYPE_F32)
TEST(test_logits_bf16, check_logits, EMBED_DTYPE_BF16)
TEST(test_candidates, check_candidates, EMBED_DTYPE_F32)
TEST(test_special_candidates, check_special_candidates, EMBED_DTYPE_F32)
TEST(test_steps, check_steps, EMBED_DTYPE_F32)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_embed_bf16),
        cmocka_unit_test(test_self_attention),
        cmocka_unit_test(test_self_attention_bf16),
        cmocka_unit_test(test_cross_attention),
        cmocka_unit_test(test_cross_attention_bf16),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_logits_bf16),
        cmocka_unit_test(test_candidates),
        cmocka_unit_test(test_special_candidates),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
