/* tokenizer_settings.c - the settings of tokenizer_config.json and special_tokens_map.json that
 * override the other files of a tokenizer
 *
 * transformers rebuilds the tokenizers of its BERT and RoBERTa classes: it takes the vocabulary and
 * the added tokens from tokenizer.json, and everything else from these files or, where they say
 * nothing, from defaults of the class. The class PreTrainedTokenizerFast takes everything from
 * tokenizer.json, and adds special tokens that are named only here.
 */
#include "base/log.h"
#include "base/status.h"
#include "description/config_file.h"
#include "description/tokenizer_parts.h"
#include "formats/unicode.h"

#include <string.h>

/* ---- classes ------------------------------------------------------------------------------- */

enum role { ROLE_UNKNOWN, ROLE_SEP, ROLE_PAD, ROLE_CLS, ROLE_MASK, ROLE_BOS, ROLE_EOS, ROLES };

static const char *const role_keys[ROLES] = {"unk_token",  "sep_token", "pad_token", "cls_token",
                                             "mask_token", "bos_token", "eos_token"};

/* A class that is rebuilt. */
struct tokenizer_class {
    const char *name; /* without "Tokenizer" or "TokenizerFast" */
    bool is_byte_bpe;
    const char *usual[ROLES]; /* the default of each role; NULL: none */
};

#define BERT_ROLES    {"[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]", NULL, NULL}
#define MPNET_ROLES   {"[UNK]", "</s>", "<pad>", "<s>", "<mask>", "<s>", "</s>"}
#define ROBERTA_ROLES {"<unk>", "</s>", "<pad>", "<s>", "<mask>", "<s>", "</s>"}

static const struct tokenizer_class classes[] = {
    {"Bert", false, BERT_ROLES},       {"DistilBert", false, BERT_ROLES},
    {"Electra", false, BERT_ROLES},    {"MPNet", false, MPNET_ROLES},
    {"Roberta", true, ROBERTA_ROLES},  {"Bart", true, ROBERTA_ROLES},
};

/* The files, each NULL if the folder has none. */
struct files {
    struct config_file *settings, *map, *model;
};

static const struct tokenizer_class *find_class(const char *name)
{
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        size_t length = strlen(classes[i].name);
        const char *rest = name + length;
        if (strncmp(name, classes[i].name, length) == 0 &&
            (strcmp(rest, "Tokenizer") == 0 || strcmp(rest, "TokenizerFast") == 0))
            return &classes[i];
    }
    return NULL;
}

/* The class that takes everything from tokenizer.json. transformers uses it as well in place of
 * classes that it does not know. */
static bool is_pre_trained(const char *name)
{
    return strcmp(name, "PreTrainedTokenizerFast") == 0 || strcmp(name, "TokenizersBackend") == 0;
}

/* Gets a text of a file; leaves *out unchanged if there is no file, no such key, or null. */
static embed_status get_text(const struct config_file *file, const char *key, const char **out)
{
    const struct config_object *object;
    if (file == NULL) return EMBED_OK;
    TRY(config_file_object(file, &object));
    if (!config_is_text(file, object, key)) return EMBED_OK;
    return config_text(file, object, key, false, out);
}

/* Sets *class to NULL if everything is in tokenizer.json. If no class is named, transformers uses the
 * model's. */
static embed_status read_class(const struct tokenizer_class **class, const struct files *files,
                               const struct tokenizer_parts *parts)
{
    const char *type = "", *name = NULL;
    TRY(get_text(files->model, "model_type", &type));
    TRY(get_text(files->model, "tokenizer_class", &name));
    TRY(get_text(files->settings, "tokenizer_class", &name));
    if (name == NULL)
        name = parts->is_byte_bpe            ? "RobertaTokenizer"
               : strcmp(type, "mpnet") == 0 ? "MPNetTokenizer"
                                             : "BertTokenizer";
    *class = find_class(name);
    if (*class == NULL && !is_pre_trained(name))
        log_message(EMBED_LOG_WARNING, "%s: is used as it is, since tokenizer_class %.*s is unknown",
                    parts->file, utf8_shown(name, strlen(name)), name);
    if (*class != NULL && (*class)->is_byte_bpe != parts->is_byte_bpe)
        return fail(EMBED_UNSUPPORTED, "%s: tokenizer_class %.*s with %s is not supported",
                    parts->file, utf8_shown(name, strlen(name)), name,
                    parts->is_byte_bpe ? "BPE" : "WordPiece");
    return EMBED_OK;
}

/* ---- special tokens ------------------------------------------------------------------------ */

/* Adds a special token, unless tokenizer.json already has it, with flags that then count. A token
 * that is not in the vocabulary has no id that a model could know and remains ordinary text. */
static embed_status add_special(struct tokenizer_parts *parts, const char *text,
                                struct token_flags flags)
{
    size_t length = strlen(text);
    int32_t id = vocabulary_find(&parts->vocabulary, text, length);
    if (id < 0 || vocabulary_find(&parts->added_texts, text, length) >= 0) return EMBED_OK;
    flags.special = true;
    return tokenizer_parts_add_token(parts, text, length, (uint64_t)id, flags);
}

static embed_status add_further(void *context, const char *text)
{
    return add_special(context, text, (struct token_flags){0});
}

/* Reads a role: a text, or an object with its "content" and flags. */
static embed_status read_role(const struct config_file *file, const char *key, const char **text,
                              struct token_flags *flags)
{
    const struct config_object *object, *token;
    if (file == NULL) return EMBED_OK;
    TRY(config_file_object(file, &object));
    if (config_is_text(file, object, key)) {
        *flags = (struct token_flags){0};
        return config_text(file, object, key, false, text);
    }
    TRY(config_child(file, object, key, &token));
    if (token == NULL) return EMBED_OK;
    *flags = (struct token_flags){0};
    TRY(config_text(file, token, "content", true, text));
    TRY(config_boolean(file, token, "normalized", false, &flags->normalized));
    TRY(config_boolean(file, token, "single_word", false, &flags->single_word));
    TRY(config_boolean(file, token, "lstrip", false, &flags->lstrip));
    return config_boolean(file, token, "rstrip", false, &flags->rstrip);
}

static embed_status read_further(struct tokenizer_parts *parts, const struct config_file *file)
{
    static const char *const keys[] = {"additional_special_tokens", "extra_special_tokens"};
    const struct config_object *object;
    if (file == NULL) return EMBED_OK;
    TRY(config_file_object(file, &object));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        TRY(config_contents(file, object, keys[i], add_further, parts));
    return EMBED_OK;
}

/* A rebuilt tokenizer puts its cls_token and sep_token around a text, whatever tokenizer.json
 * does. */
static void put_around(struct tokenizer_parts *parts, const char *cls, const char *sep)
{
    int32_t before = vocabulary_find(&parts->vocabulary, cls, strlen(cls));
    int32_t after = vocabulary_find(&parts->vocabulary, sep, strlen(sep));
    if (before < 0 || after < 0) return;
    if (parts->before_count != 1 || parts->before[0] != before || parts->after_count != 1 ||
        parts->after[0] != after)
        log_message(EMBED_LOG_WARNING,
                    "%s: its post_processor is overridden by cls_token and sep_token",
                    parts->file);
    parts->before[0] = before;
    parts->after[0] = after;
    parts->before_count = parts->after_count = 1;
}

static embed_status read_special_tokens(struct tokenizer_parts *parts, const struct files *files,
                                        const struct tokenizer_class *class)
{
    const char *texts[ROLES];
    for (size_t i = 0; i < ROLES; i++) {
        struct token_flags flags = {0};
        texts[i] = class != NULL ? class->usual[i] : NULL;
        TRY(read_role(files->settings, role_keys[i], &texts[i], &flags));
        TRY(read_role(files->map, role_keys[i], &texts[i], &flags));
        if (texts[i] != NULL) TRY(add_special(parts, texts[i], flags));
    }
    TRY(read_further(parts, files->settings));
    TRY(read_further(parts, files->map));
    if (class == NULL) return EMBED_OK;
    put_around(parts, texts[ROLE_CLS], texts[ROLE_SEP]);
    const char *unknown = texts[ROLE_UNKNOWN];
    return class->is_byte_bpe ? EMBED_OK
                              : text_copy_set(&parts->unknown, unknown, strlen(unknown));
}

/* ---- normalizing and splitting ------------------------------------------------------------- */

static void log_if_changed(const char *path, const char *key, bool before, bool now)
{
    if (now != before)
        log_message(EMBED_LOG_WARNING, "%s: \"%s\" is %s, which overrides tokenizer.json",
                    path, key, now ? "true" : "false");
}

/* Gets a boolean; `usual` if there is no file, no such key, or null. */
static embed_status get_boolean(const struct config_file *file, const char *key, bool usual,
                                bool *out)
{
    const struct config_object *object;
    *out = usual;
    if (file == NULL) return EMBED_OK;
    TRY(config_file_object(file, &object));
    return config_boolean(file, object, key, false, out);
}

static embed_status read_normalizer(struct tokenizer_parts *parts, const struct config_file *file,
                                    const char *path)
{
    struct normalizer_options *options = &parts->normalizer, before = *options;
    options->clean_text = true;
    TRY(get_boolean(file, "do_lower_case", true, &options->lowercase));
    TRY(get_boolean(file, "tokenize_chinese_chars", true, &options->handle_chinese_chars));
    TRY(get_boolean(file, "strip_accents", options->lowercase, &options->strip_accents));
    log_if_changed(path, "clean_text", before.clean_text, true);
    log_if_changed(path, "do_lower_case", before.lowercase, options->lowercase);
    log_if_changed(path, "tokenize_chinese_chars", before.handle_chinese_chars,
                   options->handle_chinese_chars);
    if (options->lowercase == before.lowercase)
        log_if_changed(path, "strip_accents", before.strip_accents, options->strip_accents);
    return EMBED_OK;
}

/* The rebuilt WordPiece has the prefix and the longest word of the original BERT. */
static embed_status set_wordpiece(struct tokenizer_parts *parts)
{
    if (parts->prefix.length != 2 || memcmp(parts->prefix.data, "##", 2) != 0 ||
        parts->max_characters != 100)
        log_message(EMBED_LOG_WARNING,
                    "%s: its continuing_subword_prefix and max_input_chars_per_word are overridden "
                    "by the tokenizer_class's, \"##\" and 100",
                    parts->file);
    parts->max_characters = 100;
    return text_copy_set(&parts->prefix, "##", 2);
}

/* ---- both ---------------------------------------------------------------------------------- */

static embed_status read_settings(struct tokenizer_parts *parts, const struct files *files)
{
    const struct tokenizer_class *class;
    const char *path = files->settings != NULL ? config_file_path(files->settings) : parts->file;
    TRY(read_class(&class, files, parts));
    TRY(read_special_tokens(parts, files, class));
    if (class == NULL) return EMBED_OK;
    if (!parts->is_byte_bpe) {
        TRY(set_wordpiece(parts));
        return read_normalizer(parts, files->settings, path);
    }
    bool before = parts->add_prefix_space;
    TRY(get_boolean(files->settings, "add_prefix_space", false, &parts->add_prefix_space));
    log_if_changed(path, "add_prefix_space", before, parts->add_prefix_space);
    return EMBED_OK;
}

/* special_tokens_map.json counts only if tokenizer_config.json does not list the added tokens. */
static embed_status open_files(struct files *files, const char *folder)
{
    const struct config_object *object;
    bool has_added_tokens = false;
    TRY(config_file_open(&files->settings, folder, "tokenizer_config.json", false));
    TRY(config_file_open(&files->model, folder, "config.json", false));
    if (files->settings != NULL) {
        TRY(config_file_object(files->settings, &object));
        has_added_tokens = config_has(files->settings, object, "added_tokens_decoder");
    }
    return has_added_tokens
               ? EMBED_OK
               : config_file_open(&files->map, folder, "special_tokens_map.json", false);
}

embed_status tokenizer_settings_read(struct tokenizer_parts *parts, const char *folder)
{
    struct files files = {NULL, NULL, NULL};
    embed_status status = open_files(&files, folder);
    /* Without either file, there is nothing that transformers could rebuild. */
    if (status == EMBED_OK && (files.settings != NULL || files.model != NULL))
        status = read_settings(parts, &files);
    config_file_close(files.settings);
    config_file_close(files.map);
    config_file_close(files.model);
    return status;
}

embed_status tokenizer_settings_check(const char *folder)
{
    struct config_file *file;
    const struct config_object *object;
    TRY(config_file_open(&file, folder, "tokenizer_config.json", false));
    if (file == NULL) return EMBED_OK;
    embed_status status = config_file_object(file, &object);
    if (status == EMBED_OK) status = config_must_be_off(file, object, "split_special_tokens", 0);
    config_file_close(file);
    return status;
}
