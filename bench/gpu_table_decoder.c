/* gpu_table_decoder.c - the launches of one decoding step
 *
 * N beams, K of each document, advance by one token. Keys and values count as weights: they were
 * last read a step ago, and those of all other layers have been read since.
 */
#include "gpu_table.h"

static struct decode_batch batch_of(const struct pass *p)
{
    const struct model *m = p->model;
    const size_t D = p->N / m->K;
    return (struct decode_batch){.D = D, .K = m->K, .beams = {.P = D, .K = m->K, .T = m->longest}};
}

static struct work embed_beams(const struct pass *p)
{
    const struct decode_batch batch = batch_of(p);
    const double numbers = (double)(p->N * p->model->C);
    static float residual;
    check_launcher(cuda_kernels_f16.embed_beams(NULL, &residual, &batch, NULL, NULL, NULL, NULL, 0,
                                                p->model->C, 1e-5f, NULL));
    return (struct work){.activations = (2 + 4) * numbers, .weights = 2 * 2 * numbers};
}

static struct work qkv(const struct pass *p)
{
    return linear(p, 3 * p->model->C, p->model->C, ACTIVATION_NONE);
}

/* Assumes that half of the past is common to all beams of a document: its keys and values are read
 * once, the others for each beam. */
static struct work self_attention(const struct pass *p)
{
    const struct model *m = p->model;
    const struct decode_batch batch = batch_of(p);
    const double D = (double)batch.D, K = (double)m->K, past = (double)m->past, C = (double)m->C;
    check_launcher(cuda_kernels_f16.self_attention(NULL, NULL, NULL, &batch, m->NH, m->C / m->NH, 1,
                                                   NULL));
    /* qkv; appended keys and values; context */
    return (struct work){.activations = 2 * (3 + 2 + 1) * D * K * C,
                         .weights = D * (past / 2 + K * past / 2) * 2 * 2 * C,
                         .flops = 4 * D * K * past * C,
                         .special = D * K * past * (double)m->NH,
                         .rate = lanes_rate(p->card),
                         .rate_expected = lanes_rate_expected(p->card),
                         .on_lanes = true};
}

static struct work square(const struct pass *p)
{
    return linear(p, p->model->C, p->model->C, ACTIVATION_NONE);
}

static struct work square_to_f32(const struct pass *p)
{
    return linear_to_f32(p, p->model->C, p->model->C);
}

static struct work residual_layernorm(const struct pass *p)
{
    check_launcher(cuda_residual_layernorm_f16(NULL, NULL, NULL, NULL, NULL, p->N, p->model->C,
                                               1e-5f, NULL));
    return (struct work){.activations = (4 + 4 + 4 + 2) * (double)(p->N * p->model->C)};
}

/* The keys and values of a source are read once for all its beams. The K beams fill K of the 16
 * rows that tensor cores multiply. */
static struct work cross_attention(const struct pass *p)
{
    const struct model *m = p->model;
    const struct decode_batch batch = batch_of(p);
    const double rows = (double)p->N, T = (double)p->T, C = (double)m->C;
    check_launcher(cuda_kernels_f16.cross_attention(NULL, NULL, NULL, p->T, &batch, m->NH,
                                                    m->C / m->NH, 1, NULL));
    return (struct work){.activations = 2 * 2 * rows * C,
                         .weights = (double)batch.D * T * 2 * 2 * C,
                         .flops = 4 * rows * T * C,
                         .special = rows * T * (double)m->NH,
                         .rate = p->card->tensor,
                         .rate_expected = attention_rate(p->card) * (double)m->K / 16};
}

static struct work feed_forward_in(const struct pass *p)
{
    return linear(p, p->model->F, p->model->C, ACTIVATION_GELU);
}

static struct work feed_forward_out(const struct pass *p)
{
    return linear_to_f32(p, p->model->C, p->model->F);
}

static struct work logits(const struct pass *p)
{
    return linear_to_f32(p, p->model->V, p->model->C);
}

/* Reads the logits once for the sum of the exponentials and again for the best. */
static struct work beam_candidates(const struct pass *p)
{
    const struct decode_batch batch = batch_of(p);
    const double numbers = (double)(p->N * p->model->V);
    check_launcher(cuda_beam_candidates(NULL, NULL, &batch, p->model->V, NULL));
    return (struct work){.activations = 4 * numbers, .drawn = 2 * 4 * numbers, .special = numbers};
}

/* Reads and writes the ancestors of all beams, and reads the candidates. */
static struct work beam_step(const struct pass *p)
{
    const struct decode_batch batch = batch_of(p);
    const size_t candidates = BEAM_CANDIDATES(p->model->K) * sizeof(struct beam_candidate);
    check_launcher(cuda_beam_step(&batch, NULL, NULL));
    return (struct work){
        .activations = (double)(p->N * (2 * sizeof(int32_t) * p->model->past + candidates))};
}

const struct step decoder_steps[] = {
    {"embed_beams", embed_beams, 1, false, false, false, NULL},
    {"linear qkv", qkv, 1, true, false, true, NULL},
    {"self_attention", self_attention, 1, true, false, false, NULL},
    {"residual_linear attention and cross output", square_to_f32, 2, true, false, true, NULL},
    {"residual_layernorm", residual_layernorm, 3, true, false, false, NULL},
    {"linear cross query", square, 1, true, false, true, NULL},
    {"cross_attention", cross_attention, 1, true, true, false, NULL},
    {"linear feed forward in", feed_forward_in, 1, true, false, true, NULL},
    {"bias_gelu", bias_gelu, 1, true, false, true, is_cublaslt},
    {"residual_linear feed forward out", feed_forward_out, 1, true, false, true, NULL},
    {"logits", logits, 1, false, false, true, NULL},
    {"beam_candidates", beam_candidates, 1, false, false, false, NULL},
    {"beam_step", beam_step, 1, false, false, false, NULL},
    {0},
};
