/* test_distance_bucket.c - the bucket of every distance from -600 to 600, compared with
 * transformers
 *
 * The tables list the runs of equal values in what MPNetEncoder.relative_position_bucket of
 * transformers 5.23.0 returns for torch.arange(-600, 601) and the given number of buckets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/distance_bucket.h"

struct run {
    int last; /* last distance of the run */
    size_t bucket;
};

static const struct run runs_of_32[] = {
    {-91, 15}, {-64, 14}, {-46, 13}, {-32, 12}, {-23, 11}, {-16, 10}, {-12, 9},  {-8, 8},
    {-7, 7},   {-6, 6},   {-5, 5},   {-4, 4},   {-3, 3},   {-2, 2},   {-1, 1},   {0, 0},
    {1, 17},   {2, 18},   {3, 19},   {4, 20},   {5, 21},   {6, 22},   {7, 23},   {11, 24},
    {15, 25},  {22, 26},  {31, 27},  {45, 28},  {63, 29},  {90, 30},  {600, 31},
};

static const struct run runs_of_16[] = {
    {-54, 7}, {-23, 6}, {-10, 5}, {-4, 4}, {-3, 3},  {-2, 2},  {-1, 1},   {0, 0},
    {1, 9},   {2, 10},  {3, 11},  {9, 12}, {22, 13}, {53, 14}, {600, 15},
};

static void check(const struct run *runs, size_t buckets)
{
    int distance = -600;
    for (; distance <= 600; runs++) {
        for (; distance <= runs->last; distance++) {
            size_t bucket = distance_bucket(distance, buckets);
            if (bucket != runs->bucket)
                fail_msg("distance %d of %zu buckets: %zu, expected %zu", distance, buckets,
                         bucket, runs->bucket);
        }
    }
}

static void test_every_distance(void **state)
{
    (void)state;
    check(runs_of_32, 32);
    check(runs_of_16, 16);
}

static void test_far_distances(void **state)
{
    (void)state;
    assert_int_equal(distance_bucket(1 << 20, 32), 31);
    assert_int_equal(distance_bucket(-(1 << 20), 32), 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_distance),
        cmocka_unit_test(test_far_distances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
