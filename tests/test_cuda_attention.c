/* test_cuda_attention.c - attention of both tables compared with naive code, and its guarantees
 *
 * Sequences end one before, at and one after every tile (16, 32, 64, 128, ... rows). Heads have the
 * widths of the tensor core kernels and others. Inputs are first rounded to the table's type.
 *
 * Tolerances, for q and k up to `size` and v up to 1. Both the reference and the kernel round
 * scores of up to size^2 * HS * scale to 24 bits, the kernel after sums of HS products: about 2^-23
 * of the largest score. A score's error becomes its weight's relative error. In FP32 the roundings
 * of sums over T are added. FP16 also rounds each weight by up to 2^-11 of it, which changes a mean
 * of values below 1 by less than 2^-11, and the result by up to 2^-11 of it.
 */
#include "cuda_test.h"
#include "kernels/reference/reference.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct cuda_kernels *const tables[] = {&cuda_kernels_f16, &cuda_kernels_f32};

#define FOR_EACH_TABLE(k)                                                                         \
    const struct cuda_kernels *k;                                                                 \
    for (size_t k##_i = 0; k##_i < COUNT(tables) && (k = tables[k##_i], true); k##_i++)

/* Heads for which attention.cu has kernels, and some that it leaves to attention_plain.cu. */
static const size_t tensor_core_heads[] = {32, 64, 96, 128};
static const size_t plain_heads[] = {1, 12, 16, 48, 80, 200, 256};

/* ---- a batch ------------------------------------------------------------------------------- */

enum { MOST_SEQUENCES = 16, UNUSED_DISTANCES = 3 };

struct problem {
    const struct cuda_kernels *k;
    size_t B, lengths[MOST_SEQUENCES], longest, N;
    size_t NH, HS, C;
    float scale;
    float *qkv;      /* (N, 3C), rounded to the table's type */
    float *relative; /* (NH, columns), or NULL */
    size_t columns, zero;
};

/* Fills the bias with different numbers for each head and distance. Distances that no sequence has
 * are NaN. */
static void make_bias(struct problem *p)
{
    size_t distances = 2 * p->longest - 1;
    p->columns = distances + 2 * UNUSED_DISTANCES;
    p->zero = p->longest - 1 + UNUSED_DISTANCES;
    p->relative = random_floats(p->NH * p->columns);
    for (size_t h = 0; h < p->NH; h++) {
        for (size_t i = 0; i < UNUSED_DISTANCES; i++) {
            p->relative[h * p->columns + i] = NAN;
            p->relative[h * p->columns + UNUSED_DISTANCES + distances + i] = NAN;
        }
    }
}

static struct problem make_problem(const struct cuda_kernels *k, const size_t *lengths, size_t B,
                                   size_t NH, size_t HS, bool with_bias)
{
    struct problem p = {.k = k, .B = B, .NH = NH, .HS = HS, .C = NH * HS};
    assert_true(B <= MOST_SEQUENCES);
    for (size_t b = 0; b < B; b++) {
        p.lengths[b] = lengths[b];
        p.N += lengths[b];
        if (lengths[b] > p.longest) p.longest = lengths[b];
    }
    p.scale = 1 / sqrtf((float)HS);
    p.qkv = random_elements(p.N * 3 * p.C, k->element_bytes);
    if (with_bias) make_bias(&p);
    return p;
}

static struct problem make_sequence(const struct cuda_kernels *k, size_t T, size_t NH, size_t HS,
                                    bool with_bias)
{
    return make_problem(k, &T, 1, NH, HS, with_bias);
}

static void free_problem(struct problem *p)
{
    free(p->qkv);
    free(p->relative);
}

static const char *name_of(const struct problem *p)
{
    return shape_name("attention %s B %zu longest %zu NH %zu HS %zu%s", p->k->name, p->B,
                      p->longest, p->NH, p->HS, p->relative != NULL ? " with bias" : "");
}

/* Returns row `part` (0: q, 1: k, 2: v) of a token and a head. */
static float *row_of(const struct problem *p, size_t token, int part, size_t h)
{
    return p->qkv + token * 3 * p->C + (size_t)part * p->C + h * p->HS;
}

static float *expected_context(const struct problem *p)
{
    float *context = zeros(p->N * p->C);
    float *scratch = zeros(p->longest);
    for (size_t h = 0; h < p->NH; h++) {
        const float *relative = p->relative ? p->relative + h * p->columns + p->zero : NULL;
        for (size_t b = 0, first = 0; b < p->B; first += p->lengths[b++])
            reference_attention(context + first * p->C + h * p->HS, row_of(p, first, 0, h),
                                row_of(p, first, 1, h), row_of(p, first, 2, h), relative,
                                p->lengths[b], p->HS, 3 * p->C, p->C, p->scale, scratch);
    }
    free(scratch);
    return context;
}

/* Computes the context (N, C) on the device. `longest` may exceed the longest sequence. The
 * device's qkv has NaN after the last token, and then ends. */
static float *context_with(const struct problem *p, size_t longest)
{
    size_t width = p->k->element_bytes, count = p->N * 3 * p->C;
    int32_t ends[MOST_SEQUENCES + 1] = {0};
    for (size_t b = 0; b < p->B; b++) ends[b + 1] = ends[b] + (int32_t)p->lengths[b];

    float *rows = zeros(count + 6 * p->C);
    memcpy(rows, p->qkv, count * sizeof *rows);
    for (size_t i = count; i < count + 6 * p->C; i++) rows[i] = NAN;
    struct device_buffer qkv = device_input(rows, count + 6 * p->C, width);
    struct device_buffer offsets = device_integers(ends, p->B + 1);
    struct device_buffer context = device_output(p->N * p->C, width), relative = {0};
    if (p->relative != NULL)
        relative = device_input(p->relative, p->NH * p->columns, sizeof(float));

    CHECK_CUDA(p->k->attention(context.data, qkv.data, relative.data, p->columns, p->zero,
                               offsets.data, p->B, longest, p->NH, p->HS, p->scale, NULL));
    float *got = device_read(name_of(p), context);
    device_free(qkv);
    device_free(offsets);
    device_free(context);
    if (p->relative != NULL) device_free(relative);
    free(rows);
    return got;
}

static float *context_of(const struct problem *p)
{
    return context_with(p, p->longest);
}

/* Compares with the reference; `size` is the largest number in q and k. */
static void check(const struct problem *p, double size)
{
    bool half = p->k->element_bytes == 2;
    float *got = context_of(p), *expected = expected_context(p);
    double score = size * size * (double)p->HS * p->scale;
    assert_close(name_of(p), got, expected, p->N, p->C,
                 2e-6 + 0x1p-23 * score + (half ? 0x1p-11 : 0), half ? 0x1p-11 : 0);
    free(got);
    free(expected);
}

/* ---- comparison with the reference --------------------------------------------------------- */

static void test_tensor_core_heads(void **state)
{
    (void)state;
    static const size_t Ts[] = {1,  2,  7,  15,  16,  17,  31,  32,  33, 63,
                                64, 65, 127, 128, 129, 256, 511, 512, 513};
    for (size_t t = 0; t < COUNT(Ts); t++) {
        for (size_t s = 0; s < COUNT(tensor_core_heads); s++) {
            for (int with_bias = 0; with_bias < 2; with_bias++) {
                if (Ts[t] > 129 && with_bias != (int)(s + t) % 2) continue; /* too slow otherwise */
                struct problem p = make_sequence(&cuda_kernels_f16, Ts[t], Ts[t] > 129 ? 1 : 2,
                                                 tensor_core_heads[s], with_bias);
                check(&p, 1);
                free_problem(&p);
            }
        }
    }
}

static void check_plain(const struct cuda_kernels *k, size_t HS)
{
    static const size_t Ts[] = {1, 2, 31, 32, 33, 65, 130};
    for (size_t t = 0; t < COUNT(Ts); t++) {
        struct problem p = make_sequence(k, Ts[t], 2, HS, t % 2);
        check(&p, 1);
        free_problem(&p);
    }
}

static void test_plain_heads(void **state)
{
    (void)state;
    for (size_t s = 0; s < COUNT(plain_heads); s++) {
        check_plain(&cuda_kernels_f16, plain_heads[s]);
        check_plain(&cuda_kernels_f32, plain_heads[s]);
    }
    for (size_t s = 0; s < COUNT(tensor_core_heads); s++)
        check_plain(&cuda_kernels_f32, tensor_core_heads[s]);
}

/* The heads of MiniLM and MPNet. */
static void test_models(void **state)
{
    (void)state;
    static const size_t lengths[] = {40, 9, 77};
    for (size_t HS = 32; HS <= 64; HS += 32) {
        struct problem p = make_problem(&cuda_kernels_f16, lengths, COUNT(lengths), 12, HS,
                                        HS == 64);
        check(&p, 1);
        free_problem(&p);
    }
}

/* Scores of several hundred: nearly all the weight is on one key, and nothing may overflow. */
static void test_large_scores(void **state)
{
    (void)state;
    FOR_EACH_TABLE(k)
    {
        for (size_t s = 0; s < COUNT(tensor_core_heads); s++) {
            struct problem p = make_sequence(k, 200, 1, tensor_core_heads[s], s % 2);
            for (size_t t = 0; t < p.N; t++) {
                for (size_t i = 0; i < 2 * p.HS; i++) p.qkv[t * 3 * p.C + i] *= 20;
            }
            round_floats(p.qkv, p.N * 3 * p.C, k->element_bytes);
            check(&p, 20);
            free_problem(&p);
        }
    }
}

/* Scores that rise from key to key by `step`, so that every tile moves the maximum and rescales the
 * sums; or that fall, so that it never moves. */
static void check_ramp(const struct cuda_kernels *k, size_t HS, float step)
{
    struct problem p = make_sequence(k, 300, 1, HS, false);
    p.scale = 1;
    for (size_t t = 0; t < p.N; t++) {
        for (size_t i = 0; i < HS; i++) {
            row_of(&p, t, 0, 0)[i] = i == 0 ? 1 : 0;
            row_of(&p, t, 1, 0)[i] = i == 0 ? step * (float)t : random_float();
        }
    }
    round_floats(p.qkv, p.N * 3 * p.C, k->element_bytes);
    check(&p, 1);
    free_problem(&p);
}

static void test_ramps(void **state)
{
    (void)state;
    FOR_EACH_TABLE(k)
    {
        for (size_t s = 0; s < COUNT(tensor_core_heads); s++) {
            check_ramp(k, tensor_core_heads[s], 0.0625f);
            check_ramp(k, tensor_core_heads[s], -0.0625f);
            check_ramp(k, tensor_core_heads[s], 1);
        }
    }
}

/* ---- which element goes where -------------------------------------------------------------- */

/* Component i of a token's signature: its number in unary, or in binary, repeated. */
static float signature(size_t token, size_t i, bool one_hot)
{
    if (one_hot) return i == token ? 16 : 0;
    return token >> i % 10 & 1 ? 8 : -8;
}

/* q of token t matches k of token partner(t), and no other key comes close. So the context is the
 * partner's v to the bit, in any order of sums. v encodes token and component. */
static void check_partners(const struct cuda_kernels *k, size_t T, size_t HS, bool one_hot)
{
    static const size_t stride = 13; /* coprime to every T: partners are a permutation */
    struct problem p = make_sequence(k, T, 1, HS, false);
    p.scale = 1;
    for (size_t t = 0; t < T; t++) {
        size_t partner = (t * stride + 3) % T;
        for (size_t i = 0; i < HS; i++) {
            row_of(&p, t, 0, 0)[i] = signature(partner, i, one_hot);
            row_of(&p, t, 1, 0)[i] = signature(t, i, one_hot);
            row_of(&p, t, 2, 0)[i] = (float)((t * HS + i) % 2039); /* FP16 counts to 2048 */
        }
    }
    float *got = context_of(&p);
    for (size_t t = 0; t < T; t++)
        assert_same_bits(name_of(&p), got + t * HS, row_of(&p, (t * stride + 3) % T, 2, 0), 1, HS);
    free(got);
    free_problem(&p);
}

static void test_layout(void **state)
{
    (void)state;
    for (size_t s = 0; s < COUNT(tensor_core_heads); s++) {
        size_t HS = tensor_core_heads[s];
        FOR_EACH_TABLE(k)
        {
            check_partners(k, HS, HS, true); /* each component of q and k once */
            for (size_t T = 15; T < 140; T += 31) check_partners(k, T, HS, false);
        }
    }
}

/* ---- independence of sequences ------------------------------------------------------------- */

static const size_t mixed_lengths[] = {5, 130, 1, 64, 0, 33, 16, 65, 32, 17, 2};

static void check_alone(const struct problem *all, const float *context, size_t b, size_t first)
{
    static const size_t longest[] = {0, 1, 16, 17, 32, 33, 64, 65, 500};
    struct problem one = *all;
    one.B = 1;
    one.N = one.lengths[0] = all->lengths[b];
    one.qkv = row_of(all, first, 0, 0);
    for (size_t i = 0; i < COUNT(longest); i++) {
        if (longest[i] < one.N) continue;
        float *alone = context_with(&one, longest[i]);
        assert_same_bits(name_of(&one), alone, context + first * one.C, one.N, one.C);
        free(alone);
    }
}

/* A sequence has the same bits alone and in a batch, whatever the longest sequence, by which the
 * launcher chooses a kernel. */
static void test_batch_invariance(void **state)
{
    (void)state;
    FOR_EACH_TABLE(k)
    {
        for (size_t s = 0; s < COUNT(tensor_core_heads); s++) {
            struct problem p = make_problem(k, mixed_lengths, COUNT(mixed_lengths), 2,
                                            tensor_core_heads[s], s % 2 == 0);
            float *context = context_of(&p);
            check(&p, 1);
            for (size_t b = 0, first = 0; b < p.B; first += p.lengths[b++]) {
                if (p.lengths[b] > 0) check_alone(&p, context, b, first);
            }
            free(context);
            free_problem(&p);
        }
    }
}

/* Sequences of NaN on both sides do not affect the one between them. */
static void test_neighbours(void **state)
{
    (void)state;
    static const size_t Ts[] = {1, 15, 17, 40, 64, 70, 129};
    FOR_EACH_TABLE(k)
    {
        for (size_t t = 0; t < COUNT(Ts); t++) {
            size_t lengths[] = {37, Ts[t], 21};
            struct problem p = make_problem(k, lengths, 3, 2, t % 2 ? 32 : 64, t % 2);
            float *clean = context_of(&p);
            for (size_t i = 0; i < p.N * 3 * p.C; i++) {
                size_t token = i / (3 * p.C);
                if (token < 37 || token >= 37 + Ts[t]) p.qkv[i] = NAN;
            }
            float *got = context_of(&p);
            assert_same_bits(name_of(&p), got + 37 * p.C, clean + 37 * p.C, Ts[t], p.C);
            free(got);
            free(clean);
            free_problem(&p);
        }
    }
}

/* ---- NaN and infinity ---------------------------------------------------------------------- */

/* A NaN in q spoils its row, in k every row, in v its component of every row, within its head and
 * sequence; nothing else. */
static bool is_spoilt(int part, bool same_sequence, bool same_head, bool same_token,
                      bool same_component)
{
    if (!same_sequence || !same_head) return false;
    return part == 0 ? same_token : part == 1 ? true : same_component;
}

static void check_nan(struct problem *p, const float *clean, int part, size_t b, size_t token)
{
    size_t component = p->HS - 3, h = 1, first = 0;
    for (size_t i = 0; i < b; i++) first += p->lengths[i];
    float *element = row_of(p, first + token, part, h) + component, saved = *element;
    *element = NAN;
    float *got = context_of(p);
    *element = saved;

    for (size_t i = 0; i < p->N * p->C; i++) {
        size_t row = i / p->C, column = i % p->C;
        bool spoilt = is_spoilt(part, row >= first && row < first + p->lengths[b],
                                column / p->HS == h, row == first + token,
                                column % p->HS == component);
        if (spoilt ? !isnan(got[i]) : memcmp(&got[i], &clean[i], sizeof *got) != 0)
            fail_msg("%s: NaN in %c of token %zu of sequence %zu: row %zu, column %zu is %g",
                     name_of(p), "qkv"[part], token, b, row, column, got[i]);
    }
    free(got);
}

static void test_nan_is_seen(void **state)
{
    (void)state;
    static const size_t lengths[] = {20, 131, 3}, tokens[] = {0, 17, 63, 64, 130};
    FOR_EACH_TABLE(k)
    {
        for (size_t HS = 32; HS <= 64; HS += 32) {
            struct problem p = make_problem(k, lengths, 3, 2, HS, HS == 64);
            float *clean = context_of(&p);
            for (int part = 0; part < 3; part++) {
                for (size_t t = 0; t < COUNT(tokens); t++) check_nan(&p, clean, part, 1, tokens[t]);
                check_nan(&p, clean, part, 0, 19);
                check_nan(&p, clean, part, 2, 0);
            }
            free(clean);
            free_problem(&p);
        }
    }
}

/* An infinity in q or v always shows; in k it shows if it makes the largest score. */
static void test_infinity_is_seen(void **state)
{
    (void)state;
    FOR_EACH_TABLE(k)
    {
        for (int part = 0; part < 3; part++) {
            for (size_t token = 0; token < 100; token += 33) {
                struct problem p = make_sequence(k, 100, 1, 64, false);
                row_of(&p, token, part, 0)[5] = part == 1 ? -INFINITY : INFINITY;
                float *got = context_of(&p);
                size_t lost = 0;
                for (size_t t = 0; t < p.N; t++) {
                    bool shows = part == 0   ? t == token
                                 : part == 1 ? row_of(&p, t, 0, 0)[5] < 0
                                             : true;
                    if (shows && isfinite(got[t * p.HS + 5])) lost++;
                }
                assert_int_equal(lost, 0);
                free(got);
                free_problem(&p);
            }
        }
    }
}

/* ---- invalid arguments --------------------------------------------------------------------- */

static void test_refusals(void **state)
{
    (void)state;
    FOR_EACH_TABLE(k)
    {
        struct device_buffer memory = device_output(1024, sizeof(float));
        void *any = memory.data;
        assert_int_equal(k->attention(any, any, NULL, 0, 0, any, 1, 1, 1, CUDA_LARGEST_HEAD + 1, 1,
                                      NULL),
                         cudaErrorInvalidValue);
        assert_int_equal(k->attention(any, any, NULL, 0, 0, any, CUDA_MOST_TOKENS, CUDA_MOST_TOKENS,
                                      1, 32, 1, NULL),
                         cudaErrorInvalidValue); /* more blocks than a grid can have */
        device_free(memory);
    }
    /* On tensor cores the largest score is found before scaling. */
    static const float scales[] = {0, -1, NAN};
    struct device_buffer memory = device_output(3 * 32, 2);
    void *any = memory.data;
    for (size_t i = 0; i < COUNT(scales); i++)
        assert_int_equal(cuda_kernels_f16.attention(any, any, NULL, 0, 0, any, 1, 1, 1, 32,
                                                    scales[i], NULL),
                         cudaErrorInvalidValue);
    device_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensor_core_heads),
        cmocka_unit_test(test_plain_heads),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_large_scores),
        cmocka_unit_test(test_ramps),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_batch_invariance),
        cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_nan_is_seen),
        cmocka_unit_test(test_infinity_is_seen),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
