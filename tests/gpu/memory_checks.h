/* memory_checks.h - compares the GPU memory that a model and its instances take with the plan
 *
 * Memory is measured from outside, by cudaMemGetInfo before and after, so nothing else may use the
 * GPU meanwhile. Shared by memory_check.c and, for the emulated device, tests/test_cuda_memory.c.
 *
 * Each check is a row of CSV: the expected value, the measured one, and the largest allowed
 * difference.
 */
#ifndef TESTS_GPU_MEMORY_CHECKS_H
#define TESTS_GPU_MEMORY_CHECKS_H

#include "device_numbers.h"

#include <embed.h>

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((int64_t)1 << 20)

/* Large allocations are rounded up to a multiple of this; small ones come from blocks of it. */
#define GRANULE (2 * MIB)

enum {
    SIMULTANEOUS = 20, /* instances alive together */
    ROOM = 30,         /* instances' worth of memory left free for the test that fills the device */
    MOST_INSTANCES = 100 /* tried in that test */
};

struct memory_check {
    const char *folder;
    embed_model_options options;
    embed_instance_options instance_options;
    size_t requests, kinds, most_texts; /* in all; different ones among them; texts of one */
    unsigned failures;                  /* rows that do not hold */
    embed_memory plan;
    embed_model *model;
    embed_model_info info;
    int32_t *ids;    /* of every text, which is a prefix of these */
    float *rows;     /* of one request */
    float *expected; /* of all kinds, most_texts rows each */
};

/* ---- rows -------------------------------------------------------------------------------- */

static inline int64_t taken_bytes(void)
{
    size_t free_bytes, all;
    CHECK(cudaMemGetInfo(&free_bytes, &all));
    return (int64_t)(all - free_bytes);
}

static inline void print_header(void)
{
    printf("what,expected,measured,most_difference,holds\n");
}

static inline void print_row(struct memory_check *c, const char *what, int64_t expected,
                             int64_t measured, int64_t most_difference)
{
    int64_t difference = measured > expected ? measured - expected : expected - measured;
    bool holds = difference <= most_difference;
    printf("%s,%lld,%lld,%lld,%s\n", what, (long long)expected, (long long)measured,
           (long long)most_difference, holds ? "yes" : "NO");
    c->failures += !holds;
}

/* Prints numbers that are not checked by themselves. */
static inline void print_numbers(const char *what, int64_t expected, int64_t measured)
{
    printf("%s,%lld,%lld,,\n", what, (long long)expected, (long long)measured);
}

/* ---- requests ---------------------------------------------------------------------------- */

static inline size_t next_random(uint32_t *state, size_t below)
{
    *state = *state * 1664525u + 1013904223u; /* Numerical Recipes */
    return (*state >> 8) % below;
}

/* Encodes the request of this kind: several texts of various lengths. Returns the number of
 * floats. */
static inline size_t encode_kind(struct memory_check *c, embed_instance *instance,
                                 unsigned kind)
{
    uint32_t state = kind;
    size_t n = 1 + next_random(&state, c->most_texts), width = c->info.width;
    embed_text *texts = host_memory(n * sizeof *texts);
    for (size_t i = 0; i < n; i++) {
        size_t length = 2 + next_random(&state, c->info.max_tokens - 1);
        texts[i] = (embed_text){NULL, c->ids, length};
    }
    check(embed_instance_encode(instance, texts, n, NULL, c->rows, n * width, NULL));
    free(texts);
    return n * width;
}

/* Returns how many kinds of requests give other rows than the first instance did. */
static inline int64_t count_different(struct memory_check *c, embed_instance *instance)
{
    int64_t different = 0;
    for (unsigned kind = 0; kind < c->kinds; kind++) {
        size_t size = encode_kind(c, instance, kind);
        const float *expected = c->expected + kind * c->most_texts * c->info.width;
        different += memcmp(c->rows, expected, size * sizeof *expected) != 0;
    }
    return different;
}

/* ---- checks ------------------------------------------------------------------------------ */

static inline embed_instance *create(const struct memory_check *c)
{
    embed_instance *instance = NULL;
    check(embed_instance_create(&instance, c->model, &c->instance_options));
    return instance;
}

/* Prints the size of the context, and of what CUDA and cuBLASLt keep in it after the first use:
 * mostly kernels. */
static inline void warm_up(struct memory_check *c)
{
    CHECK(cudaFree(NULL)); /* creates the context */
    int64_t context = taken_bytes();
    print_numbers("context and what else is on the GPU", 0, context);

    check(embed_model_open(&c->model, c->folder, &c->options));
    check(embed_model_get_info(c->model, &c->info));
    size_t floats = c->most_texts * c->info.width;
    c->rows = host_memory(floats * sizeof *c->rows);
    c->expected = host_memory(c->kinds * floats * sizeof *c->expected);
    c->ids = host_memory(c->info.max_tokens * sizeof *c->ids);
    for (size_t i = 0; i < c->info.max_tokens; i++)
        c->ids[i] = (int32_t)((1000 + 37 * i) % c->info.vocabulary);

    embed_instance *instance = create(c);
    for (unsigned kind = 0; kind < c->kinds; kind++) {
        size_t size = encode_kind(c, instance, kind);
        memcpy(c->expected + kind * floats, c->rows, size * sizeof *c->rows);
    }
    count_different(c, instance); /* now as graphs, which CUDA counts as kernels too */
    embed_instance_destroy(instance);
    embed_model_close(c->model);
    print_numbers("kept after the first use", 0, taken_bytes() - context);
}

static inline embed_memory plan_of(const struct memory_check *c)
{
    embed_memory plan = EMBED_MEMORY_INIT;
    check(embed_plan(c->folder, &c->options, &c->instance_options, &plan));
    return plan;
}

/* The planned bytes of an instance before it has created a graph. */
static inline int64_t own_without_graphs(const struct memory_check *c)
{
    return (int64_t)(c->plan.own - c->plan.graphs);
}

static inline void check_plan(struct memory_check *c, embed_instance **instance)
{
    embed_memory allowed = plan_of(c), actual = EMBED_MEMORY_INIT;
    int64_t before = taken_bytes();
    check(embed_model_open(&c->model, c->folder, &c->options));
    int64_t opened = taken_bytes();
    c->plan = plan_of(c);
    *instance = create(c);
    int64_t created = taken_bytes(), planned = (int64_t)c->plan.weights + own_without_graphs(c);
    check(embed_instance_get_memory(*instance, &actual));

    print_numbers("context as allowed and as measured", (int64_t)allowed.context,
                  (int64_t)actual.context);
    print_numbers("cuBLASLt as allowed and as measured", (int64_t)allowed.library,
                  (int64_t)actual.library);
    print_row(c, "reported of what was planned", (int64_t)c->plan.total, (int64_t)actual.total, 0);
    print_numbers("weights and cuBLASLt", (int64_t)(c->plan.weights + c->plan.library),
                  opened - before);
    print_numbers("an instance before its graphs", own_without_graphs(c), created - opened);
    planned += (int64_t)c->plan.library;
    print_row(c, "weights with cuBLASLt and an instance", planned, created - before,
              planned / 100 > 8 * MIB ? planned / 100 : 8 * MIB);
}

static inline void check_growth(struct memory_check *c, embed_instance *instance)
{
    int64_t start = taken_bytes();
    int64_t different = count_different(c, instance) + count_different(c, instance);
    int64_t before = taken_bytes(), half = (int64_t)c->plan.graphs / 2;
    print_row(c, "graphs from none to at most", half, before - start, half);
    for (size_t i = 0; i < c->requests; i += c->kinds)
        different += count_different(c, instance);
    print_row(c, "growth over all requests", 0, taken_bytes() - before, 0);
    print_row(c, "requests with other rows", 0, different, 0);
}

/* Each instance takes two allocations, activations and workspace. */
static inline void check_each(struct memory_check *c)
{
    embed_instance *instances[SIMULTANEOUS];
    int64_t before = taken_bytes();
    for (int i = 0; i < SIMULTANEOUS; i++) instances[i] = create(c);
    print_row(c, "each of 20 instances", own_without_graphs(c),
              (taken_bytes() - before) / SIMULTANEOUS, 2 * GRANULE);
    for (int i = 0; i < SIMULTANEOUS; i++) embed_instance_destroy(instances[i]);
    print_row(c, "left of 20 instances", 0, taken_bytes() - before, GRANULE);
}

/* Repeated failures with no memory left: they must not leak memory. */
static inline void check_failures(struct memory_check *c)
{
    int64_t before = taken_bytes(), others = 0;
    for (int i = 0; i < 10; i++) {
        embed_instance *instance = NULL;
        others += embed_instance_create(&instance, c->model, &c->instance_options) !=
                  EMBED_OUT_OF_MEMORY;
    }
    print_row(c, "failures that are not out of memory", 0, others, 0);
    print_row(c, "lost by 10 failures", 0, taken_bytes() - before, GRANULE);
}

/* Creates instances until no more fit, on a GPU that is otherwise full. The predicted number leaves
 * room for graphs, which these instances have not created. */
static inline void check_fit(struct memory_check *c, embed_instance *instance)
{
    embed_instance *instances[MOST_INSTANCES];
    size_t said, fit = 0, free_bytes, all, room = ROOM * (size_t)c->plan.own;
    int64_t before = taken_bytes();
    CHECK(cudaMemGetInfo(&free_bytes, &all));
    void *rest = free_bytes > room ? device_memory(free_bytes - room) : NULL;
    check(embed_instances_that_fit(c->model, &c->instance_options, 0, &said));
    while (fit < MOST_INSTANCES &&
           embed_instance_create(&instances[fit], c->model, &c->instance_options) == EMBED_OK)
        fit++;
    int64_t own = (int64_t)c->plan.own;
    print_row(c, "instances that fit", (int64_t)said * own / own_without_graphs(c), (int64_t)fit, 2);
    print_row(c, "said to fit and do not", 0, fit < said ? (int64_t)(said - fit) : 0, 0);
    check_failures(c);
    print_row(c, "full: requests with other rows", 0, count_different(c, instance), 0);
    if (fit > 0)
        print_row(c, "full: of the last instance", 0, count_different(c, instances[fit - 1]),
                  0);
    while (fit > 0) embed_instance_destroy(instances[--fit]);
    CHECK(cudaFree(rest));
    print_row(c, "left of all that fit", 0, taken_bytes() - before, GRANULE);
}

/* Prints all rows. Returns whether all hold. */
static inline bool memory_check_run(struct memory_check *c)
{
    embed_instance *instance = NULL;
    c->info = (embed_model_info)EMBED_MODEL_INFO_INIT;
    print_header();
    warm_up(c);
    int64_t before = taken_bytes();
    check_plan(c, &instance);
    check_growth(c, instance);
    check_each(c);
    check_fit(c, instance);
    embed_instance_destroy(instance);
    embed_model_close(c->model);
    print_row(c, "left at the end", 0, taken_bytes() - before, 8 * MIB);
    free(c->ids);
    free(c->rows);
    free(c->expected);
    return c->failures == 0;
}

#endif
