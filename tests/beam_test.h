/* beam_test.h - beam search slots for the tests of the beam step */
#ifndef TESTS_BEAM_TEST_H
#define TESTS_BEAM_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernels/beam_step.h"

/* X(array, elements per slot) for each array of struct beam_slots. */
#define SLOT_ARRAYS(X)                                                                           \
    X(rules, 1) X(sources, 1) X(states, 1) X(lengths, 1) X(scores, K) X(tokens, K * T)           \
    X(ancestors, 2 * K * T) X(finished, 1) X(finished_scores, K) X(finished_lengths, K)          \
    X(finished_tokens, K * T) X(results, BEAM_RESULT_HEADER + T)

/* Allocates each array separately, so that sanitizers see where it ends, and fills it with
 * garbage. */
static inline struct beam_slots slots_new(size_t P, size_t K, size_t T)
{
    struct beam_slots beams = {.P = P, .K = K, .T = T};
#define X(array, each)                                                                           \
    beams.array = malloc(P * (each) * sizeof *beams.array);                                      \
    assert_non_null(beams.array);                                                                \
    memset(beams.array, 0x5A, P * (each) * sizeof *beams.array);
    SLOT_ARRAYS(X)
#undef X
    for (size_t p = 0; p < P; p++) beams.states[p] = BEAM_EMPTY;
    return beams;
}

static inline void slots_free(struct beam_slots *beams)
{
#define X(array, each) free(beams->array);
    SLOT_ARRAYS(X)
#undef X
}

/* Returns whether slot p is byte for byte the same in both. */
static inline int slots_equal(const struct beam_slots *a, const struct beam_slots *b, size_t p)
{
    size_t K = a->K, T = a->T;
    int equal = 1;
#define X(array, each)                                                                           \
    equal &= memcmp(a->array + p * (each), b->array + p * (each), (each) * sizeof *a->array) == 0;
    SLOT_ARRAYS(X)
#undef X
    return equal;
}

static inline void begin(const struct beam_slots *beams, size_t slot,
                         const struct generation_rules *rules)
{
    struct beam_document document = {.slot = (int32_t)slot, .source = 7, .rules = *rules};
    beam_begin(beams, &document);
    assert_int_equal(beams->states[slot], BEAM_RUNNING);
    assert_int_equal(beams->sources[slot], 7);
}

static inline const int32_t *result_of(const struct beam_slots *beams, size_t slot)
{
    return beams->results + slot * (BEAM_RESULT_HEADER + beams->T);
}

static float result_score(const struct beam_slots *beams, size_t slot)
{
    float score;
    memcpy(&score, result_of(beams, slot) + 2, sizeof score);
    return score;
}

#endif
