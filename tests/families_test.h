/* families_test.h - the tiny models of make_family_vectors.py against the reference's rows */
#ifndef TESTS_FAMILIES_TEST_H
#define TESTS_FAMILIES_TEST_H

#include "test_models.h"

#define ROBERTA    VECTORS "tiny-roberta"
#define DISTILBERT VECTORS "tiny-distilbert"
#define E5         VECTORS "tiny-e5"
#define ARCTIC     VECTORS "tiny-arctic"
#define LINES      VECTORS "tiny-lines.txt"
#define PADDED     VECTORS "tiny-mpnet-padded.txt"

static inline void check_families(double cosine, double difference)
{
    const struct closeness unit = {cosine, difference};
    const struct closeness plain = {cosine, 10 * difference}; /* rows that are not normalized */
    check_rows(ROBERTA, LINES, ROBERTA ".f32", NULL, unit);
    check_rows(ROBERTA, PADDED, ROBERTA "-padded.f32", NULL, unit);
    check_rows(DISTILBERT, LINES, DISTILBERT ".f32", NULL, plain);
    check_rows(E5, LINES, E5 ".f32", NULL, unit);
    check_rows(E5, LINES, E5 "-query.f32", "query", unit);
    check_rows(E5, LINES, E5 "-passage.f32", "passage", unit);
    check_rows(ARCTIC, LINES, ARCTIC ".f32", NULL, unit);
    check_rows(ARCTIC, LINES, ARCTIC "-query.f32", "query", unit);
}

#endif
