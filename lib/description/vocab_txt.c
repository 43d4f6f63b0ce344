/* vocab_txt.c - reads vocab.txt and tokenizer_config.json: the tokenizer files of a BERT without
 * tokenizer.json
 */
#include "base/memory.h"
#include "base/status.h"
#include "description/tokenizer_json.h"
#include "formats/folder.h"
#include "formats/unicode.h"

#include <string.h>

#define MAX_DEPTH      32
#define MAX_CHARACTERS 100 /* of a word: the reference's default */

enum role { ROLE_UNKNOWN, ROLE_CLS, ROLE_SEP, ROLE_PAD, ROLE_MASK, ROLES };

struct config {
    bool do_lower_case, tokenize_chinese_chars, has_strip_accents, strip_accents;
    struct text_copy roles[ROLES];
};

static const char *const role_keys[ROLES] = {"unk_token", "cls_token", "sep_token", "pad_token",
                                             "mask_token"};

/* ---- tokenizer_config.json --------------------------------------------------------------- */

/* Reads the text of a special token: a string, or an object with its "content". null leaves *role
 * unchanged. */
static embed_status read_role(struct json_reader *json, struct text_copy *role)
{
    enum json_kind kind;
    struct json_string key, text = {0};
    TRY(json_peek(json, &kind));
    if (kind == JSON_NULL) return json_read_null(json);
    if (kind == JSON_STRING) {
        TRY(json_read_string(json, &text));
    } else {
        TRY(json_enter_object(json));
        for (;;) {
            bool more;
            TRY(json_next_key(json, &more, &key));
            if (!more) break;
            if (json_string_is(key, "content"))
                TRY(json_read_string(json, &text));
            else
                TRY(json_skip(json));
        }
        if (text.data == NULL) return fail_missing(json, "a special token", "content");
    }
    return text_copy_set(role, text.data, text.length);
}

/* Other classes that use vocab.txt split words differently. */
static embed_status read_class(struct json_reader *json)
{
    static const char *const known[] = {"BertTokenizer",       "BertTokenizerFast",
                                        "DistilBertTokenizer", "DistilBertTokenizerFast",
                                        "MPNetTokenizer",      "MPNetTokenizerFast",
                                        "ElectraTokenizer",    "ElectraTokenizerFast"};
    bool is_null;
    struct json_string name;
    TRY(json_read_if_null(json, &is_null));
    if (is_null) return EMBED_OK;
    TRY(json_read_string(json, &name));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (json_string_is(name, known[i])) return EMBED_OK;
    return fail_unsupported(json, "without tokenizer.json, tokenizer_class", name);
}

static embed_status read_config_key(struct json_reader *json, struct json_string key,
                                    struct config *config, struct tokenizer_parts *parts)
{
    for (size_t i = 0; i < ROLES; i++)
        if (json_string_is(key, role_keys[i])) return read_role(json, &config->roles[i]);
    if (json_string_is(key, "do_lower_case"))
        return json_read_boolean(json, &config->do_lower_case);
    if (json_string_is(key, "tokenize_chinese_chars"))
        return json_read_boolean(json, &config->tokenize_chinese_chars);
    if (json_string_is(key, "tokenizer_class")) return read_class(json);
    if (json_string_is(key, "added_tokens_decoder")) 
        return json_read_added_tokens_by_id(json, parts);
    if (json_string_is(key, "strip_accents")) {
        bool is_null;
        TRY(json_read_if_null(json, &is_null));
        config->has_strip_accents = !is_null;
        return is_null ? EMBED_OK : json_read_boolean(json, &config->strip_accents);
    }
    return json_skip(json);
}

static embed_status read_config_text(const char *path, char *text, size_t length,
                                     struct config *config, struct tokenizer_parts *parts)
{
    struct json_reader json;
    json_reader_init(&json, path, text, length, MAX_DEPTH);
    TRY(json_enter_object(&json));
    for (;;) {
        bool more;
        struct json_string key;
        TRY(json_next_key(&json, &more, &key));
        if (!more) return json_finish(&json);
        TRY(read_config_key(&json, key, config, parts));
    }
}

static embed_status read_config(const char *folder, struct config *config,
                                struct tokenizer_parts *parts)
{
    bool has;
    TRY(folder_has(&has, folder, "tokenizer_config.json"));
    if (!has) return EMBED_OK;
    char *path = folder_path(folder, "tokenizer_config.json"), *text = NULL;
    size_t length;
    if (path == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = file_read(&text, &length, path, TOKENIZER_MAX_FILE_BYTES);
    if (status == EMBED_OK) status = read_config_text(path, text, length, config, parts);
    memory_free(text);
    memory_free(path);
    return status;
}

/* ---- vocab.txt --------------------------------------------------------------------------- */

static bool is_utf8(const char *text, size_t length)
{
    for (size_t position = 0; position < length;) {
        struct utf8_character c = utf8_decode(text + position, length - position);
        if (!c.valid) return false;
        position += c.bytes;
    }
    return true;
}

/* Reads one token per line; its id is the number of the line, from 0. Lines end only with LF or CR
 * LF: U+2028 is a token of some vocabularies. */
static embed_status read_lines(struct tokenizer_parts *parts, const char *text, size_t length)
{
    int32_t id = 0;
    for (const char *line = text, *end = text + length; line < end; id++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        const char *next = stop != NULL ? stop + 1 : end;
        if (stop == NULL) stop = end;
        if (stop > line && stop[-1] == '\r') stop--;
        size_t bytes = (size_t)(stop - line);
        if (!is_utf8(line, bytes))
            return fail(EMBED_BAD_FILE, "%s: line %d is not UTF-8", parts->file, id + 1);
        if ((size_t)id == VOCABULARY_MAX_TOKENS)
            return fail(EMBED_BAD_FILE, "%s: more than %zu lines", parts->file,
                        VOCABULARY_MAX_TOKENS);
        TRY(vocabulary_add(&parts->vocabulary, parts->file, line, bytes, id));
        line = next;
    }
    return EMBED_OK;
}

static embed_status read_vocabulary(struct tokenizer_parts *parts)
{
    char *text;
    size_t length;
    TRY(file_read(&text, &length, parts->file, TOKENIZER_MAX_FILE_BYTES));
    embed_status status = read_lines(parts, text, length);
    memory_free(text);
    return status;
}

/* ---- both -------------------------------------------------------------------------------- */

/* Adds the special tokens, which are found in the raw text. Those that are not in the vocabulary
 * have no id that a model could know and remain ordinary text. */
static embed_status add_special_tokens(struct tokenizer_parts *parts,
                                       const struct config *config)
{
    for (size_t i = 0; i < ROLES; i++) {
        const struct text_copy *text = &config->roles[i];
        int32_t id = vocabulary_find(&parts->vocabulary, text->data, text->length);
        if (id >= 0) {
            TRY(tokenizer_parts_add_token(parts, text->data, text->length, (uint64_t)id,
                                          (struct token_flags){.special = true}));
        } else if (i == ROLE_CLS || i == ROLE_SEP) {
            return fail(EMBED_BAD_FILE, "%s: the %s \"%.*s\" is not in the vocabulary", parts->file,
                        role_keys[i], utf8_shown(text->data, text->length), text->data);
        }
        if (i == ROLE_CLS) parts->before[parts->before_count++] = id;
        if (i == ROLE_SEP) parts->after[parts->after_count++] = id;
    }
    return EMBED_OK;
}

static embed_status read_both(struct tokenizer_parts *parts, const char *folder,
                              struct config *config)
{
    static const char *const usual[ROLES] = {"[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"};
    for (size_t i = 0; i < ROLES; i++)
        TRY(text_copy_set(&config->roles[i], usual[i], strlen(usual[i])));
    TRY(read_config(folder, config, parts));
    TRY(read_vocabulary(parts));
    TRY(add_special_tokens(parts, config));

    const struct text_copy *unknown = &config->roles[ROLE_UNKNOWN];
    TRY(text_copy_set(&parts->unknown, unknown->data, unknown->length));
    TRY(text_copy_set(&parts->prefix, "##", 2));
    parts->max_characters = MAX_CHARACTERS;
    parts->normalizer = (struct normalizer_options){
        .clean_text = true,
        .handle_chinese_chars = config->tokenize_chinese_chars,
        .strip_accents =
            config->has_strip_accents ? config->strip_accents : config->do_lower_case,
        .lowercase = config->do_lower_case,
    };
    return EMBED_OK;
}

embed_status vocab_txt_read(struct tokenizer_parts *parts, const char *folder)
{
    struct config config = {.do_lower_case = true, .tokenize_chinese_chars = true};
    embed_status status = read_both(parts, folder, &config);
    for (size_t i = 0; i < ROLES; i++) memory_free(config.roles[i].data);
    return status;
}
