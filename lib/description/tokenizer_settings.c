/* tokenizer_settings.c - the settings of tokenizer_config.json that override tokenizer.json
 *
 * transformers rebuilds the tokenizers of its BERT and RoBERTa classes: it takes the vocabulary
 * from tokenizer.json, and from tokenizer_config.json how texts are normalized and split. A class
 * without such settings, such as PreTrainedTokenizerFast, takes everything from tokenizer.json.
 */
#include "base/log.h"
#include "base/status.h"
#include "description/config_file.h"
#include "description/tokenizer_parts.h"

#include <string.h>

static bool class_has_settings(const char *name)
{
    static const char *const known[] = {"Bert",    "DistilBert", "MPNet", "Electra",
                                        "Roberta", "Bart"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t length = strlen(known[i]);
        const char *rest = name + length;
        if (strncmp(name, known[i], length) == 0 &&
            (strcmp(rest, "Tokenizer") == 0 || strcmp(rest, "TokenizerFast") == 0))
            return true;
    }
    return false;
}

static void log_if_changed(const struct config_file *file, const char *key, bool before, bool now)
{
    if (now != before)
        log_message(EMBED_LOG_WARNING, "%s: \"%s\" is %s, which overrides tokenizer.json",
                    config_file_path(file), key, now ? "true" : "false");
}

static embed_status read_normalizer(struct normalizer_options *options,
                                    const struct config_file *file,
                                    const struct config_object *object)
{
    struct normalizer_options before = *options;
    TRY(config_boolean(file, object, "do_lower_case", false, &options->lowercase));
    TRY(config_boolean(file, object, "tokenize_chinese_chars", false,
                       &options->handle_chinese_chars));
    /* null: the same as lowercase. */
    if (config_has(file, object, "strip_accents") || options->lowercase != before.lowercase)
        options->strip_accents = options->lowercase;
    TRY(config_boolean(file, object, "strip_accents", false, &options->strip_accents));
    log_if_changed(file, "do_lower_case", before.lowercase, options->lowercase);
    log_if_changed(file, "tokenize_chinese_chars", before.handle_chinese_chars,
                   options->handle_chinese_chars);
    if (options->lowercase == before.lowercase)
        log_if_changed(file, "strip_accents", before.strip_accents, options->strip_accents);
    return EMBED_OK;
}

static embed_status read_settings(struct tokenizer_parts *parts, const struct config_file *file)
{
    const struct config_object *object;
    const char *class = "BertTokenizer"; /* if none is named, transformers uses the model's */
    TRY(config_file_object(file, &object));
    TRY(config_text(file, object, "tokenizer_class", false, &class));
    if (!class_has_settings(class)) return EMBED_OK;
    if (!parts->is_byte_bpe) return read_normalizer(&parts->normalizer, file, object);
    bool before = parts->add_prefix_space;
    TRY(config_boolean(file, object, "add_prefix_space", false, &parts->add_prefix_space));
    log_if_changed(file, "add_prefix_space", before, parts->add_prefix_space);
    return EMBED_OK;
}

embed_status tokenizer_settings_read(struct tokenizer_parts *parts, const char *folder)
{
    struct config_file *file;
    TRY(config_file_open(&file, folder, "tokenizer_config.json", false));
    if (file == NULL) return EMBED_OK;
    embed_status status = read_settings(parts, file);
    config_file_close(file);
    return status;
}
