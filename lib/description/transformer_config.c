/* transformer_config.c - the sizes and conventions of a transformer, from its config.json */
#include "description/transformer_config.h"

#include "base/log.h"
#include "base/status.h"
#include "description/config_file.h"
#include "formats/folder.h"
#include "formats/unicode.h"

#include <math.h>
#include <string.h>

/* Bounds that no model of these families reaches. Products of any two or three fit in size_t. */
#define MAX_WIDTH     16384
#define MAX_LAYERS    512
#define MAX_HEADS     256
#define MAX_INNER     65536
#define MAX_ROWS      ((size_t)1 << 21)
#define MAX_POSITIONS ((size_t)1 << 20)

/* Fails with EMBED_UNSUPPORTED if the key has any value but `value`, the only one that is run. */
static embed_status text_must_be(const struct config_file *file, const struct config_object *object,
                                 const char *key, const char *value)
{
    const char *text = value;
    TRY(config_text(file, object, key, false, &text));
    if (strcmp(text, value) != 0)
        return fail(EMBED_UNSUPPORTED, "%s: \"%s\" is \"%.*s\"; this version supports only \"%s\"",
                    config_file_path(file), key, utf8_shown(text, strlen(text)), text, value);
    return EMBED_OK;
}

/* Sets *head_size to width / heads; EMBED_BAD_FILE, naming the keys, if there is a remainder. */
static embed_status divide(size_t *head_size, const struct config_file *file,
                           const char *width_key, size_t width, const char *heads_key,
                           size_t heads)
{
    if (width % heads != 0)
        return fail(EMBED_BAD_FILE, "%s: \"%s\" %zu is not a multiple of \"%s\" %zu",
                    config_file_path(file), width_key, width, heads_key, heads);
    *head_size = width / heads;
    return EMBED_OK;
}

/* ---- encoders like BERT -------------------------------------------------------------------- */

/* The keys of their sizes. */
struct size_keys {
    const char *width, *layers, *heads, *inner, *activation;
};

static const struct size_keys bert_keys = {"hidden_size", "num_hidden_layers",
                                           "num_attention_heads", "intermediate_size",
                                           "hidden_act"};
static const struct size_keys distilbert_keys = {"dim", "n_layers", "n_heads", "hidden_dim",
                                                 "activation"};

static embed_status read_sizes(struct transformer_config *config, const struct config_file *file,
                               const struct config_object *object, const struct size_keys *keys)
{
    TRY(config_size(file, object, keys->width, 1, MAX_WIDTH, true, &config->C));
    TRY(config_size(file, object, keys->layers, 1, MAX_LAYERS, true, &config->L));
    TRY(config_size(file, object, keys->heads, 1, MAX_HEADS, true, &config->NH));
    TRY(config_size(file, object, keys->inner, 1, MAX_INNER, true, &config->F));
    TRY(config_size(file, object, "vocab_size", 1, MAX_ROWS, true, &config->V));
    TRY(config_size(file, object, "max_position_embeddings", 1, MAX_POSITIONS, true,
                    &config->positions));
    TRY(divide(&config->HS, file, keys->width, config->C, keys->heads, config->NH));
    return text_must_be(file, object, keys->activation, "gelu");
}

static embed_status read_epsilon(struct transformer_config *config, const struct config_file *file,
                                 const struct config_object *object)
{
    double epsilon = 1e-12; /* transformers' default for BERT, RoBERTa and MPNet */
    TRY(config_number(file, object, "layer_norm_eps", 0, 1, false, &epsilon));
    config->epsilon = (float)epsilon;
    return EMBED_OK;
}

static embed_status read_bert(struct transformer_config *config, const struct config_file *file,
                              const struct config_object *object)
{
    config->token_types = 2;
    TRY(read_sizes(config, file, object, &bert_keys));
    TRY(read_epsilon(config, file, object));
    TRY(config_size(file, object, "type_vocab_size", 1, 1024, false, &config->token_types));
    TRY(text_must_be(file, object, "position_embedding_type", "absolute"));
    TRY(config_must_be_off(file, object, "is_decoder", 0));
    return config_must_be_off(file, object, "add_cross_attention", 0);
}

/* Positions are counted from the padding's row: the table needs that row and one for a token. */
static embed_status check_positions(const struct transformer_config *config,
                                    const struct config_file *file)
{
    if (config->positions < config->padding_id + 2)
        return fail(EMBED_BAD_FILE, "%s: \"max_position_embeddings\" is %zu, must be %zu or more",
                    config_file_path(file), config->positions, config->padding_id + 2);
    return EMBED_OK;
}

/* RoBERTa, XLM-RoBERTa and CamemBERT, which differ only in the tokenizer. */
static embed_status read_roberta(struct transformer_config *config, const struct config_file *file,
                                 const struct config_object *object)
{
    config->positions_skip_padding = true;
    config->padding_id = 1;
    TRY(read_bert(config, file, object));
    TRY(config_size(file, object, "pad_token_id", 0, config->V - 1, false, &config->padding_id));
    config->first_position = config->padding_id + 1;
    return check_positions(config, file);
}

/* Ignores sinusoidal_pos_embds, which says how the position table was initialized: it is stored. */
static embed_status read_distilbert(struct transformer_config *config,
                                    const struct config_file *file,
                                    const struct config_object *object)
{
    config->epsilon = 1e-12f; /* hard-coded in transformers */
    return read_sizes(config, file, object, &distilbert_keys);
}

static embed_status read_mpnet(struct transformer_config *config, const struct config_file *file,
                               const struct config_object *object)
{
    /* 32 buckets and padding id 1 are hard-coded in transformers' MPNet. */
    config->distance_buckets = 32;
    config->positions_skip_padding = true;
    config->padding_id = 1;
    config->first_position = 2;
    TRY(read_sizes(config, file, object, &bert_keys));
    TRY(read_epsilon(config, file, object));
    size_t buckets = config->distance_buckets;
    TRY(config_size(file, object, "relative_attention_num_buckets", 1, 1024, false, &buckets));
    if (buckets != config->distance_buckets)
        return fail(EMBED_UNSUPPORTED,
                    "%s: \"relative_attention_num_buckets\" is %zu; this version supports only %zu",
                    config_file_path(file), buckets, config->distance_buckets);
    return check_positions(config, file);
}

/* ---- BART ---------------------------------------------------------------------------------- */

static embed_status must_be_true(const struct config_file *file, const struct config_object *object,
                                 const char *key)
{
    bool value = true;
    TRY(config_boolean(file, object, key, false, &value));
    if (!value)
        return fail(EMBED_UNSUPPORTED, "%s: \"%s\" is false, which this version does not support",
                    config_file_path(file), key);
    return EMBED_OK;
}

/* Rejects other models that "bart" has stood for. The keys up to add_bias_logits occur in
 * configurations written before 2021, when mBART and Marian shared BART's code. */
static embed_status must_be_plain_bart(const struct config_file *file,
                                       const struct config_object *object)
{
    static const struct {
        const char *key;
        double off;
    } off[] = {{"normalize_before", 0}, {"add_final_layer_norm", 0},
               {"static_position_embeddings", 0}, {"extra_pos_embeddings", 2},
               {"add_bias_logits", 0}, {"is_decoder", 0}};
    static const char *const on[] = {"normalize_embedding", "is_encoder_decoder",
                                     "tie_word_embeddings"};
    const char *architecture = "BartModel";
    TRY(config_sole_text(file, object, "architectures", &architecture));
    if (strcmp(architecture, "BartModel") != 0 &&
        strcmp(architecture, "BartForConditionalGeneration") != 0)
        return fail(EMBED_UNSUPPORTED,
                    "%s: \"architectures\" is \"%.*s\"; this version supports only "
                    "\"BartForConditionalGeneration\"",
                    config_file_path(file), utf8_shown(architecture, strlen(architecture)),
                    architecture);
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        TRY(config_must_be_off(file, object, off[i].key, off[i].off));
    for (size_t i = 0; i < sizeof on / sizeof *on; i++) TRY(must_be_true(file, object, on[i]));
    return text_must_be(file, object, "activation_function", "gelu");
}

static embed_status read_bart(struct transformer_config *config, const struct config_file *file,
                              const struct config_object *object)
{
    config->epsilon = 1e-5f; /* hard-coded in transformers, as is the first position */
    config->first_position = 2;
    const struct {
        const char *key;
        size_t most, *out;
    } sizes[] = {
        {"d_model", MAX_WIDTH, &config->C},
        {"encoder_layers", MAX_LAYERS, &config->L},
        {"encoder_attention_heads", MAX_HEADS, &config->NH},
        {"encoder_ffn_dim", MAX_INNER, &config->F},
        {"decoder_layers", MAX_LAYERS, &config->decoder.L},
        {"decoder_attention_heads", MAX_HEADS, &config->decoder.NH},
        {"decoder_ffn_dim", MAX_INNER, &config->decoder.F},
        {"vocab_size", MAX_ROWS, &config->V},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        TRY(config_size(file, object, sizes[i].key, 1, sizes[i].most, true, sizes[i].out));
    /* At least 2: a summary has a start and an end token. The table has further rows before those
     * of positions. */
    TRY(config_size(file, object, "max_position_embeddings", 2, MAX_POSITIONS, true,
                    &config->positions));
    config->positions += config->first_position;
    TRY(divide(&config->HS, file, "d_model", config->C, "encoder_attention_heads", config->NH));
    TRY(divide(&config->decoder.HS, file, "d_model", config->C, "decoder_attention_heads",
               config->decoder.NH));
    bool scale = false;
    TRY(config_boolean(file, object, "scale_embedding", false, &scale));
    if (scale) config->word_scale = (float)sqrt((double)config->C);
    return must_be_plain_bart(file, object);
}

/* ---- all families -------------------------------------------------------------------------- */

static const struct {
    const char *type;
    embed_status (*read)(struct transformer_config *, const struct config_file *,
                         const struct config_object *);
} families[] = {
    {"bert", read_bert},
    {"roberta", read_roberta},
    {"xlm-roberta", read_roberta},
    {"camembert", read_roberta},
    {"distilbert", read_distilbert},
    {"mpnet", read_mpnet},
    {"bart", read_bart},
};

static embed_status read_family(struct transformer_config *config, const struct config_file *file)
{
    const struct config_object *object;
    const char *type = NULL;
    TRY(config_file_object(file, &object));
    TRY(config_text(file, object, "model_type", true, &type));
    if (config_has(file, object, "quantization_config"))
        return fail(EMBED_UNSUPPORTED, "%s: quantized weights (\"quantization_config\")",
                    config_file_path(file));
    if (config_has(file, object, "auto_map"))
        log_message(EMBED_LOG_WARNING,
                    "%s: \"auto_map\" names code that comes with the model: it is not run, only "
                    "what \"model_type\" means",
                    config_file_path(file));
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (strcmp(type, families[i].type) != 0) continue;
        *config = (struct transformer_config){.family = families[i].type, .word_scale = 1};
        return families[i].read(config, file, object);
    }
    return fail(EMBED_UNSUPPORTED,
                "%s: \"model_type\" is \"%.*s\"; this version supports \"bert\", \"roberta\", "
                "\"distilbert\", \"mpnet\" and \"bart\", and \"xlm-roberta\" and \"camembert\" "
                "unless the tokenizer is SentencePiece",
                config_file_path(file), utf8_shown(type, strlen(type)), type);
}

size_t transformer_config_max_tokens(const struct transformer_config *config)
{
    return config->positions - config->first_position;
}

/* transformers adds an adapter's weights to those of the model, which need not be in the folder. */
static embed_status check_adapter(const char *folder)
{
    bool has;
    TRY(folder_has(&has, folder, "adapter_config.json"));
    if (has)
        return fail(
            EMBED_UNSUPPORTED,
            "%s/adapter_config.json: this version does not support PEFT adapters; merge the "
            "adapter into the model first",
            folder);
    return EMBED_OK;
}

embed_status transformer_config_read(struct transformer_config *config, const char *folder)
{
    struct config_file *file;
    TRY(check_adapter(folder));
    TRY(config_file_open(&file, folder, "config.json", true));
    embed_status status = read_family(config, file);
    config_file_close(file);
    return status;
}
