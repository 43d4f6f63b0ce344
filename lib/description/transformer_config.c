/* transformer_config.c - the sizes and conventions of a transformer, from its config.json */
#include "description/transformer_config.h"

#include "base/status.h"
#include "description/config_file.h"

#include <string.h>

/* Bounds that no model of these families reaches; products of any two or three fit in size_t. */
#define MAX_WIDTH     16384
#define MAX_LAYERS    512
#define MAX_HEADS     256
#define MAX_INNER     65536
#define MAX_ROWS      ((size_t)1 << 21)
#define MAX_POSITIONS ((size_t)1 << 20)

/* A setting that changes results and that we do not run must have the value that means "off". */
static embed_status text_must_be(const struct config_file *file, const struct config_object *object,
                                 const char *key, const char *value)
{
    const char *text = value;
    TRY(config_text(file, object, key, false, &text));
    if (strcmp(text, value) != 0)
        return fail(EMBED_UNSUPPORTED, "%s: \"%s\" is \"%s\", this version runs only \"%s\"",
                    config_file_path(file), key, text, value);
    return EMBED_OK;
}

static embed_status must_be_false(const struct config_file *file,
                                  const struct config_object *object, const char *key)
{
    bool value = false;
    TRY(config_boolean(file, object, key, false, &value));
    if (value)
        return fail(EMBED_UNSUPPORTED, "%s: \"%s\" is true, which this version does not run",
                    config_file_path(file), key);
    return EMBED_OK;
}

/* What all encoders of BERT's kind have. */
static embed_status read_sizes(struct transformer_config *config, const struct config_file *file,
                               const struct config_object *object)
{
    double epsilon = 1e-12; /* the default of transformers, for BERT and MPNet */
    TRY(config_size(file, object, "hidden_size", 1, MAX_WIDTH, true, &config->C));
    TRY(config_size(file, object, "num_hidden_layers", 1, MAX_LAYERS, true, &config->L));
    TRY(config_size(file, object, "num_attention_heads", 1, MAX_HEADS, true, &config->NH));
    TRY(config_size(file, object, "intermediate_size", 1, MAX_INNER, true, &config->F));
    TRY(config_size(file, object, "vocab_size", 1, MAX_ROWS, true, &config->V));
    TRY(config_size(file, object, "max_position_embeddings", 1, MAX_POSITIONS, true,
                    &config->positions));
    TRY(config_number(file, object, "layer_norm_eps", 0, 1, false, &epsilon));
    config->epsilon = (float)epsilon;

    if (config->C % config->NH != 0)
        return fail(EMBED_BAD_FILE,
                    "%s: \"hidden_size\" %zu is not a multiple of \"num_attention_heads\" %zu",
                    config_file_path(file), config->C, config->NH);
    config->HS = config->C / config->NH;

    TRY(text_must_be(file, object, "hidden_act", "gelu"));
    if (config_has(file, object, "quantization_config"))
        return fail(EMBED_UNSUPPORTED, "%s: quantized weights (\"quantization_config\")",
                    config_file_path(file));
    return EMBED_OK;
}

static embed_status read_bert(struct transformer_config *config, const struct config_file *file,
                              const struct config_object *object)
{
    *config = (struct transformer_config){.family = "bert", .token_types = 2};
    TRY(read_sizes(config, file, object));
    TRY(config_size(file, object, "type_vocab_size", 1, 1024, false, &config->token_types));
    TRY(text_must_be(file, object, "position_embedding_type", "absolute"));
    TRY(must_be_false(file, object, "is_decoder"));
    return must_be_false(file, object, "add_cross_attention");
}

static embed_status read_mpnet(struct transformer_config *config, const struct config_file *file,
                               const struct config_object *object)
{
    *config = (struct transformer_config){
        .family = "mpnet", .distance_buckets = 32, .positions_skip_padding = true, .padding_id = 1,
        .first_position = 2};
    TRY(read_sizes(config, file, object));
    /* transformers' MPNet has 32 buckets and padding id 1 written into its code. */
    size_t buckets = config->distance_buckets;
    TRY(config_size(file, object, "relative_attention_num_buckets", 1, 1024, false, &buckets));
    if (buckets != config->distance_buckets)
        return fail(EMBED_UNSUPPORTED,
                    "%s: \"relative_attention_num_buckets\" is %zu, this version runs only %zu",
                    config_file_path(file), buckets, config->distance_buckets);
    if (config->positions < config->padding_id + 2)
        return fail(EMBED_BAD_FILE, "%s: \"max_position_embeddings\" is %zu, must be %zu or more",
                    config_file_path(file), config->positions, config->padding_id + 2);
    return EMBED_OK;
}

static embed_status read_family(struct transformer_config *config, const struct config_file *file)
{
    const struct config_object *object;
    const char *type = NULL;
    TRY(config_file_object(file, &object));
    TRY(config_text(file, object, "model_type", true, &type));
    if (strcmp(type, "bert") == 0) return read_bert(config, file, object);
    if (strcmp(type, "mpnet") == 0) return read_mpnet(config, file, object);
    return fail(EMBED_UNSUPPORTED,
                "%s: \"model_type\" is \"%s\", this version runs \"bert\" and \"mpnet\"",
                config_file_path(file), type);
}

size_t transformer_config_max_tokens(const struct transformer_config *config)
{
    return config->positions - config->first_position;
}

embed_status transformer_config_read(struct transformer_config *config, const char *folder)
{
    struct config_file *file;
    TRY(config_file_open(&file, folder, "config.json", true));
    embed_status status = read_family(config, file);
    config_file_close(file);
    return status;
}
