/* transformer_settings.c - sentence_bert_config.json and tokenizer_config.json: how many tokens a
 * text may have, and the other settings that sentence-transformers passes on to the transformer and
 * its tokenizer */
#include "description/config_file.h"
#include "description/embedding_pipeline.h"

#include "base/status.h"

/* tokenizer_config.json expresses "no limit" as 1e30, an integer of 31 digits or a real. */
static embed_status read_model_max_length(size_t *max_tokens, const struct config_file *file,
                                          const struct config_object *object)
{
    double limit = 1e30;
    /* transformers uses the old name if the new one is absent. */
    bool old = !config_has(file, object, "model_max_length");
    TRY(config_number(file, object, old ? "max_len" : "model_max_length", 0, 1e300, false, &limit));
    if (limit <= (double)MOST_IN_A_FILE) *max_tokens = (size_t)limit;
    return EMBED_OK;
}

static embed_status read_tokenizer_config(struct embedding_pipeline *pipeline,
                                          const struct config_file *file)
{
    const struct config_object *object;
    TRY(config_file_object(file, &object));
    TRY(config_must_be(file, object, "truncation_side", "right"));
    return read_model_max_length(&pipeline->tokenizer_max_tokens, file, object);
}

/* Checks which method texts are passed to and which of its outputs is used. Ignores modalities
 * other than text, except "message", with which a text goes through a chat template first. */
static embed_status check_modalities(const struct config_file *file,
                                     const struct config_object *object)
{
    const struct config_object *modalities, *text = NULL;
    TRY(config_child(file, object, "modality_config", &modalities));
    if (modalities == NULL) return EMBED_OK;
    if (config_has(file, modalities, "message"))
        return fail(EMBED_UNSUPPORTED,
                    "%s: \"modality_config\" has \"message\", a chat template, which this version "
                    "does not support",
                    config_file_path(file));
    TRY(config_child(file, modalities, "text", &text));
    if (text == NULL)
        return fail(EMBED_UNSUPPORTED, "%s: \"modality_config\" has no \"text\"",
                    config_file_path(file));
    TRY(config_must_be(file, text, "method", "forward"));
    return config_must_be(file, text, "method_output_name", "last_hidden_state");
}

/* sentence-transformers rejects any other key. unpad_inputs says whether attention is computed
 * without padding, which changes no result. */
static const char *const keys[] = {
    "max_seq_length",  "do_lower_case",         "transformer_task", "modality_config",
    "unpad_inputs",    "module_output_name",    "processing_kwargs", "query_length",
    "document_length", "query_expansion",       "model_args",       "model_kwargs",
    "tokenizer_args",  "processor_kwargs",      "config_args",      "config_kwargs",
    "backend",         "tokenizer_name_or_path", NULL,
};

static const char *const off_keys[] = {
    "processing_kwargs", "query_length",   "document_length",  "query_expansion",
    "model_args",        "model_kwargs",   "tokenizer_args",   "processor_kwargs",
    "config_args",       "config_kwargs",  "tokenizer_name_or_path",
};

static embed_status read_settings(struct embedding_pipeline *pipeline,
                                  const struct config_file *file)
{
    const struct config_object *object;
    TRY(config_file_object(file, &object));
    TRY(config_known_keys(file, object, keys));
    for (size_t i = 0; i < sizeof off_keys / sizeof *off_keys; i++)
        TRY(config_must_be_off(file, object, off_keys[i], -1));
    TRY(config_must_be(file, object, "transformer_task", "feature-extraction"));
    TRY(config_must_be(file, object, "module_output_name", "token_embeddings"));
    TRY(check_modalities(file, object));
    TRY(config_size(file, object, "max_seq_length", 1, MOST_IN_A_FILE, false,
                    &pipeline->max_tokens));
    return config_boolean(file, object, "do_lower_case", false, &pipeline->lowercase);
}

embed_status transformer_settings_read(struct embedding_pipeline *pipeline)
{
    static const char *const names[] = {
        "sentence_bert_config.json",    "sentence_roberta_config.json",
        "sentence_distilbert_config.json", "sentence_camembert_config.json",
        "sentence_albert_config.json",  "sentence_xlm-roberta_config.json",
        "sentence_xlnet_config.json",
    };
    const char *folder = pipeline->transformer_folder;
    struct config_file *file;
    TRY(config_file_open(&file, folder, "tokenizer_config.json", false));
    embed_status status = file != NULL ? read_tokenizer_config(pipeline, file) : EMBED_OK;
    config_file_close(file);
    TRY(status);
    file = NULL;
    size_t i = 0;
    for (; pipeline->has_modules && file == NULL && i < sizeof names / sizeof *names; i++)
        TRY(config_file_open(&file, folder, names[i], false));
    if (file == NULL) return EMBED_OK;
    status = read_settings(pipeline, file);
    pipeline->settings_file = names[i - 1];
    if (pipeline->max_tokens > 0) pipeline->max_tokens_file = names[i - 1];
    config_file_close(file);
    return status;
}
