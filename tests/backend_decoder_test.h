/* backend_decoder_test.h - decoder steps on the CPU, on one thread and on three
 *
 * There are three slots of up to 4 beams each. A step with three beams a document uses slots 2, 0
 * and 1, of which slot 0 is done: it must be neither read nor changed.
 */
#ifndef TESTS_BACKEND_DECODER_TEST_H
#define TESTS_BACKEND_DECODER_TEST_H

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

static inline struct device device_open(unsigned threads, embed_dtype dtype)
{
    struct device device;
    struct chunk_limits limits = {R, D, S, HS, C, D, K, T};
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

static inline void device_close(const struct device *device)
{
    device->backend->executor_destroy(device->executor);
    backend_release(device->backend);
    thread_team_destroy(device->team);
}

/* The same numbers as floats and as elements of the device. */
struct matrix {
    float *floats;
    void *elements;
    size_t count, element_bytes;
};

static inline struct matrix matrix(const struct device *device, size_t count)
{
    struct matrix m = {random_floats(count), NULL, count, device->kernels->element_bytes};
    m.elements = zero_bytes(count * m.element_bytes);
    device->kernels->store(m.elements, m.floats, count);
    for (size_t i = 0; i < count && m.element_bytes == 2; i++)
        m.floats[i] = value(((uint16_t *)m.elements)[i]);
    return m;
}

static inline void matrix_free(struct matrix m)
{
    free(m.floats);
    free(m.elements);
}

static inline void assert_matrix(const char *what, struct matrix got)
{
    if (got.element_bytes == 2) assert_rounded(what, got.elements, got.floats, got.count, 2e-6);
    else assert_close(what, got.elements, got.floats, got.count, 2e-6);
}

/* ---- slots ---------------------------------------------------------------------------------- */

static inline struct beam_slots slots_new(size_t *bytes)
{
    struct beam_slots slots;
    *bytes = beam_slots_place(&slots, NULL, P, MOST_K, T);
    void *memory = zero_bytes(*bytes);
    memset(memory, 0x55, *bytes); /* leftovers of an earlier document */
    beam_slots_place(&slots, memory, P, MOST_K, T);
    return slots;
}

static inline void slots_free(struct beam_slots *slots)
{
    free(slots->rules); /* the first array, where the block begins */
}

static const struct generation_rules rules = {
    .num_beams = K, .max_length = T, .length_penalty = 1, .start_token = 2, .end_token = 1,
    .forced_first_token = NO_TOKEN, .forced_end_token = NO_TOKEN};

/* Fills the slot with K beams of `length` random tokens, whose past is in random rows. */
static inline void slot_fill(struct beam_slots *slots, size_t slot, int32_t length, int32_t V)
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

static inline struct beam_slots slots_of_test(size_t *bytes, int32_t V)
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
    float *residual;
    const void *in;
    void *cache;
    const void *weights;
    size_t size; /* V, or 1 to add a bias */
};

static inline embed_status step_compute(void *argument, size_t i, unsigned worker,
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

static inline void step_deliver(void *argument, unsigned worker)
{
    (void)argument;
    (void)worker;
}

static inline void step_run(struct step *step)
{
    const struct chunk_work work = {step, step_compute, step_deliver};
    const struct backend *backend = step->device->backend;
    assert_int_equal(backend->run(step->device->executor, 1, &work), EMBED_OK);
    assert_int_equal(backend->finish(step->device->executor, &work), EMBED_OK);
}

static inline struct step step_of(const struct device *device, const struct beam_slots *slots)
{
    return (struct step){.device = device, .batch = {D, K, slots_of_step, *slots}};
}

/* Runs `test` in `dtype` on one thread and on three, with the same numbers each time. The `bytes`
 * bytes that it returns must be identical. */
static inline void on_all_devices(void *(*test)(const struct device *device, size_t *bytes),
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

/* The slot of a row of the step. */
static inline size_t slot_of(size_t row)
{
    return (size_t)slots_of_step[row / K];
}

#define TEST(name, check, dtype)                                                                 \
    static void name(void **state)                                                               \
    {                                                                                            \
        (void)state;                                                                             \
        on_all_devices(check, dtype);                                                            \
    }

#endif
