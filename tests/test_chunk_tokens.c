/* test_chunk_tokens.c - the number of tokens a GPU computes at a time, for six cards and three
 * models */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/cuda_chunk.h"

#define MIB ((size_t)1 << 20)

enum { MINILM, BASE, LARGE, MODELS };
static const size_t widths[MODELS] = {384, 768, 1024}; /* of the feed-forward: 4 times that */

/* Multiprocessors and L2 from NVIDIA's data sheets. */
static const struct row {
    const char *name;
    struct cuda_card card;
    size_t tokens[MODELS];
    bool in_l2[MODELS];
} rows[] = {
    /* In tiles of 128 x 192, 66 by 2 make 132, one for each multiprocessor. Base in tiles of 128 x
     * 256: 44 by 3, and large: 33 by 4. */
    {"H200", {90, 132, 50 * MIB}, {8448, 5632, 4224}, {true, false, false}},
    {"A100", {80, 108, 40 * MIB}, {4608, 2304, 6912}, {true, true, false}},
    {"L4", {89, 58, 48 * MIB}, {7424, 2432, 7424}, {true, true, false}}, /* 114 of 116 */
    {"T4", {75, 40, 4 * MIB}, {5120, 7680, 7680}, {false, false, false}},
    {"RTX 5060 Ti", {120, 36, 32 * MIB}, {4608, 7680, 8064}, {true, false, false}},
    {"L40S", {89, 142, 96 * MIB}, {12032, 6016, 4480}, {true, true, true}},
};

/* Bytes of activations and one layer's weights. */
static double resident_bytes(size_t C, size_t N)
{
    return 2.0 * (double)(N * 6 * C) + 2.0 * (double)(12 * C * C);
}

static double whole_waves(size_t C, size_t N, size_t width, const struct cuda_card *card)
{
    size_t tiles = N / 128 * (C / width), all = card->multiprocessors;
    return (double)tiles / (double)((tiles + all - 1) / all * all);
}

/* Checks the table, and the rule's promises: 96% of the tiles' time is used, on an H200 all of it,
 * and what should stay in L2 leaves some of it free. */
static void test_cards(void **state)
{
    (void)state;
    static const size_t hopper_tiles[MODELS] = {192, 256, 256};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct cuda_card *card = &rows[i].card;
        for (int m = 0; m < MODELS; m++) {
            size_t C = widths[m], N = cuda_chunk_tokens(card, C, 4 * C, 2);
            if (N != rows[i].tokens[m])
                fail_msg("%s, width %zu: %zu tokens, expected %zu", rows[i].name, C, N,
                         rows[i].tokens[m]);
            assert_int_equal(resident_bytes(C, N) <= 0.85 * (double)card->l2_bytes,
                             rows[i].in_l2[m]);
            if (card->capability == 90)
                assert_true(whole_waves(C, N, hopper_tiles[m], card) == 1);
            else
                assert_true(whole_waves(C, N, 128, card) > 0.96);
        }
    }
}

/* With twice the bytes per element, only half as many tokens fit, which are too few. */
static void test_f32(void **state)
{
    (void)state;
    assert_int_equal(cuda_chunk_tokens(&rows[0].card, 384, 1536, 4), 5632);
}

static void test_no_card(void **state)
{
    (void)state;
    const struct cuda_card none = {0};
    assert_int_equal(cuda_chunk_tokens(&none, 384, 1536, 2), 8192);
    assert_int_equal(cuda_chunk_tokens(&none, 1024, 4096, 4), 8192);
}

/* Cards and models of any size get a chunk of whole tiles and at most 16,384 tokens. */
static void test_any_card(void **state)
{
    (void)state;
    for (unsigned count = 1; count < 200; count += 7)
        for (size_t l2 = 0; l2 < 200 * MIB; l2 = 3 * l2 + 1000)
            for (size_t C = 1; C < 5000; C = 2 * C + 1) {
                const struct cuda_card card = {count % 2 ? 90 : 75, count, l2};
                size_t N = cuda_chunk_tokens(&card, C, 4 * C, 2);
                if (N < 128 || N > 16384 || N % 128 != 0)
                    fail_msg("%u multiprocessors, %zu bytes of L2, width %zu: %zu tokens", count,
                             l2, C, N);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cards),
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_no_card),
        cmocka_unit_test(test_any_card),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
