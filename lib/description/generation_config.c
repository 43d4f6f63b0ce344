/* generation_config.c - how a model folder wants its summaries generated
 *
 * Keys, defaults and precedence are those of transformers 5: if generation_config.json exists, it
 * alone counts, else config.json alone. A contradiction that transformers only warns about is an
 * error here.
 */
#include "description/generation_config.h"

#include "base/status.h"
#include "description/config_file.h"
#include "formats/unicode.h"

#include <math.h>
#include <string.h>

/* Rejects settings that change the result. Those of sampling (temperature, top_k, ...) are not
 * listed: without do_sample they have no effect. Neither is remove_invalid_values, which hides NaNs
 * that we report. */
static embed_status check_not_run(const struct config_file *file,
                                  const struct config_object *object)
{
    static const struct {
        const char *key;
        double off; /* the number that means off; NAN: none */
    } settings[] = {
        {"do_sample", 0},
        {"num_beam_groups", 1},
        {"num_return_sequences", 1},
        {"diversity_penalty", 0},
        {"repetition_penalty", 1},
        {"encoder_repetition_penalty", 1},
        {"encoder_no_repeat_ngram_size", 0},
        {"guidance_scale", 1},
        {"penalty_alpha", 0},
        {"renormalize_logits", 0},
        {"bad_words_ids", NAN},
        {"force_words_ids", NAN},
        {"constraints", NAN},
        {"suppress_tokens", NAN},
        {"begin_suppress_tokens", NAN},
        {"sequence_bias", NAN},
        {"exponential_decay_length_penalty", NAN},
        {"watermarking_config", NAN},
        {"stop_strings", NAN},
        {"max_time", NAN},
        {"token_healing", 0},
        {"prompt_lookup_num_tokens", NAN},
        {"assistant_early_exit", NAN},
        {"dola_layers", NAN},
        {"use_mtp", 0},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        TRY(config_must_be_off(file, object, settings[i].key, settings[i].off));
    return EMBED_OK;
}

/* ---- tokens -------------------------------------------------------------------------------- */

/* Reads a token id; sets *token to NO_TOKEN if there is none. */
static embed_status read_token(int32_t *token, const struct config_file *file,
                               const struct config_object *object, const char *key, size_t V)
{
    size_t id = SIZE_MAX;
    *token = NO_TOKEN;
    TRY(config_sole_size(file, object, key, 0, INT32_MAX, &id));
    if (id == SIZE_MAX) return EMBED_OK;
    if (id >= V)
        return fail(EMBED_BAD_FILE, "%s: \"%s\" is %zu, but config.json has \"vocab_size\" %zu",
                    config_file_path(file), key, id, V);
    *token = (int32_t)id;
    return EMBED_OK;
}

static embed_status read_tokens(struct generation_rules *rules, const struct config_file *file,
                                const struct config_object *object, bool is_model_config, size_t V)
{
    int32_t first;
    TRY(read_token(&rules->start_token, file, object, "decoder_start_token_id", V));
    TRY(read_token(&first, file, object, "bos_token_id", V));
    TRY(read_token(&rules->end_token, file, object, "eos_token_id", V));
    TRY(read_token(&rules->forced_first_token, file, object, "forced_bos_token_id", V));
    TRY(read_token(&rules->forced_end_token, file, object, "forced_eos_token_id", V));
    if (rules->start_token == NO_TOKEN) rules->start_token = first;
    if (rules->start_token == NO_TOKEN)
        return fail(EMBED_BAD_FILE,
                    "%s: \"decoder_start_token_id\" is missing, and so is \"bos_token_id\"",
                    config_file_path(file));
    if (rules->end_token == NO_TOKEN)
        return fail(EMBED_BAD_FILE,
                    "%s: \"eos_token_id\" is missing; without it no summary would end",
                    config_file_path(file));

    /* forced_bos_token_id as it was until 2021; bart-large-cnn's config.json may still have it. */
    bool forces_first = false;
    if (is_model_config)
        TRY(config_boolean(file, object, "force_bos_token_to_be_generated", false, &forces_first));
    if (forces_first) rules->forced_first_token = first;
    return EMBED_OK;
}

/* ---- lengths ------------------------------------------------------------------------------- */

struct length {
    const char *key; /* that sets it */
    size_t tokens;   /* the start token included; unchanged if no key sets it */
};

/* Reads a length from `key` or `key_of_new`. The latter does not count the start token, and wins if
 * both are set. */
static embed_status read_length(struct length *length, const struct config_file *file,
                                const struct config_object *object, const char *key,
                                const char *key_of_new, size_t least)
{
    size_t of_new = SIZE_MAX;
    length->key = key;
    TRY(config_size(file, object, key, least, MOST_GENERATED, false, &length->tokens));
    TRY(config_size(file, object, key_of_new, least > 0 ? least - 1 : 0, MOST_GENERATED, false,
                    &of_new));
    if (of_new != SIZE_MAX) *length = (struct length){key_of_new, of_new + 1};
    return EMBED_OK;
}

static embed_status read_lengths(struct generation_rules *rules, const struct config_file *file,
                                 const struct config_object *object, size_t positions)
{
    struct length min = {.tokens = 0}, max = {.tokens = 21}; /* default: 20 new tokens */
    if (max.tokens > positions) max.tokens = positions;
    TRY(read_length(&max, file, object, "max_length", "max_new_tokens", 2));
    TRY(read_length(&min, file, object, "min_length", "min_new_tokens", 0));
    if (max.tokens > positions)
        return fail(
            EMBED_BAD_FILE,
            "%s: \"%s\" means %zu tokens, but config.json has \"max_position_embeddings\" %zu",
            config_file_path(file), max.key, max.tokens, positions);
    if (min.tokens > max.tokens)
        return fail(EMBED_BAD_FILE, "%s: \"%s\" means %zu tokens, but \"%s\" means %zu",
                    config_file_path(file), min.key, min.tokens, max.key, max.tokens);
    rules->min_length = (int32_t)min.tokens;
    rules->max_length = (int32_t)max.tokens;
    return EMBED_OK;
}

/* ---- beam search --------------------------------------------------------------------------- */

static embed_status read_early_stopping(struct generation_rules *rules,
                                        const struct config_file *file,
                                        const struct config_object *object)
{
    const char *key = "early_stopping", *text = NULL;
    bool early = false;
    if (config_is_text(file, object, key)) {
        TRY(config_text(file, object, key, true, &text));
        if (strcmp(text, "never") != 0)
            return fail(EMBED_BAD_FILE,
                        "%s: \"%s\" is \"%.*s\", must be true, false or \"never\"",
                        config_file_path(file), key, utf8_shown(text, strlen(text)), text);
        rules->early_stopping = STOP_NEVER;
        return EMBED_OK;
    }
    TRY(config_boolean(file, object, key, false, &early));
    rules->early_stopping = early ? STOP_EARLY : STOP_BY_HEURISTIC;
    return EMBED_OK;
}

static embed_status read_search(struct generation_rules *rules, const struct config_file *file,
                                const struct config_object *object)
{
    size_t beams = 1, ngram = 0;
    double penalty = 1;
    TRY(config_size(file, object, "num_beams", 1, MOST_GENERATED, false, &beams));
    TRY(config_size(file, object, "no_repeat_ngram_size", 0, MOST_GENERATED, false, &ngram));
    TRY(config_number(file, object, "length_penalty", -MOST_LENGTH_PENALTY, MOST_LENGTH_PENALTY,
                      false, &penalty));
    if (beams > MOST_BEAMS)
        return fail(EMBED_UNSUPPORTED, "%s: \"num_beams\" is %zu; this version supports up to %d",
                    config_file_path(file), beams, MOST_BEAMS);
    rules->num_beams = (int32_t)beams;
    rules->no_repeat_ngram_size = (int32_t)ngram;
    rules->length_penalty = (float)penalty;
    return read_early_stopping(rules, file, object);
}

/* ---- entry point --------------------------------------------------------------------------- */

static embed_status read_rules(struct generation_rules *rules, const struct config_file *file,
                               bool is_model_config, const struct transformer_config *config)
{
    const struct config_object *object;
    *rules = (struct generation_rules){0};
    TRY(config_file_object(file, &object));
    /* Set in a generation_config.json that transformers made from a config.json. */
    if (!is_model_config)
        TRY(config_boolean(file, object, "_from_model_config", false, &is_model_config));
    TRY(check_not_run(file, object));
    TRY(read_tokens(rules, file, object, is_model_config, config->V));
    TRY(read_lengths(rules, file, object, transformer_config_max_tokens(config)));
    return read_search(rules, file, object);
}

embed_status generation_config_read(struct generation_rules *rules,
                                    const struct transformer_config *config, const char *folder)
{
    struct config_file *file;
    TRY(config_file_open(&file, folder, "generation_config.json", false));
    bool is_model_config = file == NULL;
    if (is_model_config) TRY(config_file_open(&file, folder, "config.json", true));
    embed_status status = read_rules(rules, file, is_model_config, config);
    config_file_close(file);
    return status;
}
