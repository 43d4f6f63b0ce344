/* families_test.h - compares the tiny models of make_family_vectors.py with the reference's rows */
#ifndef TESTS_FAMILIES_TEST_H
#define TESTS_FAMILIES_TEST_H

#include "test_models.h"

#define ROBERTA    VECTORS "tiny-roberta"
#define DISTILBERT VECTORS "tiny-distilbert"
#define E5         VECTORS "tiny-e5"
#define ARCTIC     VECTORS "tiny-arctic"
#define LINES      VECTORS "tiny-lines.txt"
#define PADDED     VECTORS "tiny-mpnet-padded.txt"

/* Checks the first `most` lines of each file. */
static inline void check_families(size_t most, double cosine, double difference)
{
    const struct closeness unit = {cosine, difference};
    const struct closeness plain = {cosine, 10 * difference}; /* rows that are not normalized */
    check_first_rows(most, ROBERTA, LINES, ROBERTA ".f32", NULL, unit);
    check_first_rows(most, ROBERTA, PADDED, ROBERTA "-padded.f32", NULL, unit);
    check_first_rows(most, DISTILBERT, LINES, DISTILBERT ".f32", NULL, plain);
    check_first_rows(most, E5, LINES, E5 ".f32", NULL, unit);
    check_first_rows(most, E5, LINES, E5 "-query.f32", "query", unit);
    check_first_rows(most, E5, LINES, E5 "-passage.f32", "passage", unit);
    check_first_rows(most, ARCTIC, LINES, ARCTIC ".f32", NULL, unit);
    check_first_rows(most, ARCTIC, LINES, ARCTIC "-query.f32", "query", unit);
}

#endif
