/* fingerprint.c - a hash of all that decides a model's rows */
#include "model/fingerprint.h"

#include "base/status.h"
#include "base/text_buffer.h"

#include <string.h>

/* ---- weights ------------------------------------------------------------------------------- */

/* Opens the files by the folder's canonical path: the working directory may have changed. */
static embed_status read_weights(struct hash *hash, const struct embed_model *model)
{
    struct embedding_pipeline pipeline;
    struct weight_files files = {0};
    embed_status status = embedding_pipeline_read(&pipeline, model->folder);
    if (status == EMBED_OK) status = weight_files_open(&files, &pipeline);
    if (status == EMBED_OK && !shared_weights_are_of(model->weights, &files))
        status = fail(EMBED_BAD_FILE,
                      "%s: the weight files have changed since the model was opened",
                      model->folder);
    if (status == EMBED_OK)
        status =
            weights_hash(hash, &model->encoder.config, model->backend, &files, model->team);
    weight_files_close(&files);
    embedding_pipeline_release(&pipeline);
    return status;
}

/* Two threads that call this at the same time both read the files, and get the same hash. */
static embed_status hash_of_weights(struct hash *hash, struct embed_model *model)
{
    struct kept_hash *kept = &model->weights_hash;
    if (atomic_load(&kept->state) == KEPT) {
        *hash = kept->hash;
        return EMBED_OK;
    }
    TRY(read_weights(hash, model));
    int expected = NOT_KEPT;
    if (atomic_compare_exchange_strong(&kept->state, &expected, BEING_KEPT)) {
        kept->hash = *hash;
        atomic_store(&kept->state, KEPT);
    }
    return EMBED_OK;
}

/* ---- the pipeline -------------------------------------------------------------------------- */

static embed_status put_hash(struct text_buffer *text, const char *name, struct hash hash)
{
    char digits[HASH_DIGITS + 1];
    hash_text(digits, hash);
    return text_buffer_print(text, "%s %s\n", name, digits);
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static embed_status put_config(struct text_buffer *text,
                               const struct transformer_config *config)
{
    TRY(text_buffer_print(text, "family %s\nsizes %zu %zu %zu %zu %zu %zu %zu\n",
                          config->family, config->C, config->L, config->NH, config->F,
                          config->V, config->positions, config->token_types));
    TRY(text_buffer_print(text, "decoder %zu %zu %zu\n", config->decoder.L, config->decoder.NH,
                          config->decoder.F));
    TRY(text_buffer_print(text, "positions %d %zu %zu %zu\n", config->positions_skip_padding,
                          config->padding_id, config->first_position,
                          config->distance_buckets));
    return text_buffer_print(text, "floats %08x %08x\n", bits_of(config->epsilon),
                             bits_of(config->word_scale));
}

/* Sums the prompts' hashes, so that their order in the file makes no difference. */
static embed_status put_prompts(struct text_buffer *text,
                                const struct embedding_pipeline *pipeline)
{
    struct hash sum = {0};
    for (size_t i = 0; i < pipeline->prompt_count; i++) {
        const struct prompt *prompt = &pipeline->prompts[i];
        struct hash name = hash_bytes(0, prompt->name, strlen(prompt->name));
        hash_add(&sum, hash_bytes(name.words[0], prompt->text, strlen(prompt->text)));
    }
    const char *first = pipeline->default_prompt != NULL ? pipeline->default_prompt : "";
    TRY(put_hash(text, "prompts", sum));
    return put_hash(text, "prompt", hash_bytes(0, first, strlen(first)));
}

static embed_status put_steps(struct text_buffer *text,
                              const struct embedding_pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->step_count; i++) {
        const struct pipeline_step *step = &pipeline->steps[i];
        const struct dense_config *dense = &pipeline->dense[step->dense];
        if (step->kind == STEP_NORMALIZE)
            TRY(text_buffer_print(text, "normalize\n"));
        else
            TRY(text_buffer_print(text, "dense %zu %zu %d %d\n", dense->I, dense->O,
                                  dense->has_bias, (int)dense->activation));
    }
    return EMBED_OK;
}

/* Hashes the bytes of the generation settings: all members have four bytes, so
 * there is no padding. */
static embed_status put_generation(struct text_buffer *text, const struct embed_model *model)
{
    if (model->encoder.config.decoder.L == 0) return EMBED_OK;
    return put_hash(text, "generation",
                    hash_bytes(0, &model->generation, sizeof model->generation));
}

static embed_status put_pipeline(struct text_buffer *text, const struct embed_model *model)
{
    const struct embedding_pipeline *pipeline = &model->pipeline;
    TRY(put_config(text, &model->encoder.config));
    TRY(put_generation(text, model));
    TRY(text_buffer_print(text, "tokens %zu\npooling", model->max_tokens));
    for (size_t i = 0; i < pipeline->pooling_modes; i++)
        TRY(text_buffer_print(text, " %d", (int)pipeline->pooling[i]));
    TRY(text_buffer_print(text, "\nprompt is pooled %d\n", pipeline->include_prompt));
    TRY(put_steps(text, pipeline));
    TRY(text_buffer_print(text, "dimensions %zu\nnormalize %d\n", pipeline->dimensions,
                          pipeline->normalize));
    return put_prompts(text, pipeline);
}

static embed_status hash_of_pipeline(struct hash *hash, const struct embed_model *model)
{
    struct text_buffer text = {0};
    embed_status status = put_pipeline(&text, model);
    if (status == EMBED_OK) *hash = hash_bytes(0, text.data, text.length);
    text_buffer_free(&text);
    return status;
}

embed_status fingerprint_same_settings(bool *same, const struct embed_model *a,
                                       const struct embed_model *b)
{
    struct hash of_a[2], of_b[2];
    TRY(hash_of_pipeline(&of_a[0], a));
    TRY(hash_of_pipeline(&of_b[0], b));
    TRY(tokenizer_hash(&of_a[1], a->tokenizer));
    TRY(tokenizer_hash(&of_b[1], b->tokenizer));
    *same = memcmp(of_a, of_b, sizeof of_a) == 0;
    return EMBED_OK;
}

/* ---- all of it ----------------------------------------------------------------------------- */

static embed_status put_part(struct text_buffer *text, struct embed_model *model,
                             const char *name, embed_fingerprint_part part)
{
    struct hash hash;
    TRY(fingerprint(&hash, model, part));
    return put_hash(text, name, hash);
}

static embed_status put_whole(struct text_buffer *text, struct embed_model *model)
{
    TRY(text_buffer_print(text, "numerics %d\ndtype %d\n", NUMERICS_VERSION,
                          (int)model->backend->dtype));
    TRY(put_part(text, model, "weights", EMBED_FINGERPRINT_WEIGHTS));
    TRY(put_part(text, model, "tokenizer", EMBED_FINGERPRINT_TOKENIZER));
    return put_part(text, model, "pipeline", EMBED_FINGERPRINT_PIPELINE);
}

embed_status fingerprint(struct hash *hash, struct embed_model *model,
                         embed_fingerprint_part part)
{
    if (part == EMBED_FINGERPRINT_WEIGHTS) return hash_of_weights(hash, model);
    if (part == EMBED_FINGERPRINT_TOKENIZER) return tokenizer_hash(hash, model->tokenizer);
    if (part == EMBED_FINGERPRINT_PIPELINE) return hash_of_pipeline(hash, model);
    struct text_buffer text = {0};
    embed_status status = put_whole(&text, model);
    if (status == EMBED_OK) *hash = hash_bytes(0, text.data, text.length);
    text_buffer_free(&text);
    return status;
}
