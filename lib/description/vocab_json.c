/* vocab_json.c - reads vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json:
 * the tokenizer files of a RoBERTa or BART without tokenizer.json
 */
#include "base/memory.h"
#include "base/status.h"
#include "description/tokenizer_json.h"
#include "formats/folder.h"
#include "formats/unicode.h"

#include <string.h>

#define MAX_DEPTH 32

/* In the order of the reference: if two roles have the same text, the last one counts. */
enum role { ROLE_BOS, ROLE_EOS, ROLE_UNKNOWN, ROLE_SEP, ROLE_PAD, ROLE_CLS, ROLE_MASK, ROLES };

struct role_token {
    struct text_copy text;
    struct token_flags flags;
};

struct config {
    struct tokenizer_parts *parts;
    struct role_token roles[ROLES];
    bool has_added_tokens;
};

typedef embed_status (*read_file)(struct json_reader *json, struct config *config);

/* ---- JSON -------------------------------------------------------------------------------- */

/* Calls `read` on a JSON file. */
static embed_status read_json(const char *path, struct config *config, read_file read)
{
    char *text;
    size_t length;
    TRY(file_read(&text, &length, path, TOKENIZER_MAX_FILE_BYTES));
    struct json_reader json;
    json_reader_init(&json, path, text, length, MAX_DEPTH);
    embed_status status = read(&json, config);
    if (status == EMBED_OK) status = json_finish(&json);
    memory_free(text);
    return status;
}

/* The same, if the folder has such a file. */
static embed_status read_json_if_there(const char *folder, const char *name,
                                       struct config *config, read_file read)
{
    bool has;
    TRY(folder_has(&has, folder, name));
    if (!has) return EMBED_OK;
    char *path = folder_path(folder, name);
    if (path == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = read_json(path, config, read);
    memory_free(path);
    return status;
}

/* ---- special tokens ---------------------------------------------------------------------- */

/* Reads "<s>" or an object; null leaves *role unchanged. */
static embed_status read_role(struct json_reader *json, struct role_token *role)
{
    enum json_kind kind;
    struct json_string text = {0};
    struct token_flags flags = {0};
    uint64_t id = 0;
    bool has_normalized = false;
    TRY(json_peek(json, &kind));
    if (kind == JSON_NULL) return json_read_null(json);
    if (kind == JSON_STRING)
        TRY(json_read_string(json, &text));
    else
        TRY(json_read_token(json, &text, &flags, &id, &has_normalized));
    flags.special = true;
    role->flags = flags;
    return text_copy_set(&role->text, text.data, text.length);
}

/* Reads a list of further special tokens, which must be empty or null. */
static embed_status read_no_more_tokens(struct json_reader *json, const char *key)
{
    bool more = true;
    enum json_kind kind;
    TRY(json_peek(json, &kind));
    if (kind == JSON_ARRAY) {
        TRY(json_enter_array(json));
        TRY(json_next_element(json, &more));
        if (!more) return EMBED_OK;
    } else if (kind == JSON_NULL) {
        return json_read_null(json);
    }
    return fail(EMBED_UNSUPPORTED, "%s: %s without tokenizer.json is not supported", json->file,
                key);
}

/* Reads a key that both files may have. */
static embed_status read_role_key(struct json_reader *json, struct json_string key,
                                  struct config *config)
{
    static const char *const keys[ROLES] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                            "pad_token", "cls_token", "mask_token"};
    static const char *const more[] = {"additional_special_tokens", "extra_special_tokens"};
    for (size_t i = 0; i < ROLES; i++)
        if (json_string_is(key, keys[i])) return read_role(json, &config->roles[i]);
    for (size_t i = 0; i < 2; i++)
        if (json_string_is(key, more[i])) return read_no_more_tokens(json, more[i]);
    return json_skip(json);
}

static embed_status read_special_tokens_map(struct json_reader *json, struct config *config)
{
    TRY(json_enter_object(json));
    for (;;) {
        bool more;
        struct json_string key;
        TRY(json_next_key(json, &more, &key));
        if (!more) return EMBED_OK;
        TRY(read_role_key(json, key, config));
    }
}

/* ---- tokenizer_config.json --------------------------------------------------------------- */

/* Other classes that use vocab.json put other tokens around a text. */
static embed_status read_class(struct json_reader *json)
{
    static const char *const known[] = {"RobertaTokenizer", "RobertaTokenizerFast",
                                        "BartTokenizer", "BartTokenizerFast"};
    bool is_null;
    struct json_string name;
    TRY(json_read_if_null(json, &is_null));
    if (is_null) return EMBED_OK;
    TRY(json_read_string(json, &name));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (json_string_is(name, known[i])) return EMBED_OK;
    return fail_unsupported(json, "without tokenizer.json, tokenizer_class", name);
}

static embed_status read_config(struct json_reader *json, struct config *config)
{
    TRY(json_enter_object(json));
    for (;;) {
        bool more;
        struct json_string key;
        TRY(json_next_key(json, &more, &key));
        if (!more) return EMBED_OK;
        if (json_string_is(key, "tokenizer_class")) {
            TRY(read_class(json));
        } else if (json_string_is(key, "add_prefix_space")) {
            TRY(json_read_boolean(json, &config->parts->add_prefix_space));
        } else if (json_string_is(key, "added_tokens_decoder")) {
            config->has_added_tokens = true;
            TRY(json_read_added_tokens_by_id(json, config->parts));
        } else {
            TRY(read_role_key(json, key, config));
        }
    }
}

/* ---- vocab.json, merges.txt -------------------------------------------------------------- */

static embed_status read_vocabulary(struct json_reader *json, struct config *config)
{
    return json_read_vocabulary(json, config->parts);
}

/* Reads one merge per line; lines end with LF or CR LF. */
static embed_status read_merge_lines(struct tokenizer_parts *parts, const char *path,
                                     const char *text, size_t length)
{
    size_t number = 1;
    for (const char *line = text, *end = text + length; line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        const char *next = stop != NULL ? stop + 1 : end;
        if (stop == NULL)
            stop = end;
        else if (stop > line && stop[-1] == '\r')
            stop--;
        TRY(bpe_add_merge_line(parts, path, "line", number,
                               (struct json_string){line, (size_t)(stop - line)}));
        line = next;
    }
    return EMBED_OK;
}

static embed_status read_merges(struct tokenizer_parts *parts, const char *folder)
{
    char *path = folder_path(folder, "merges.txt"), *text = NULL;
    size_t length;
    if (path == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = file_read(&text, &length, path, TOKENIZER_MAX_FILE_BYTES);
    if (status == EMBED_OK) status = read_merge_lines(parts, path, text, length);
    memory_free(text);
    memory_free(path);
    return status;
}

/* ---- all files --------------------------------------------------------------------------- */

/* Adds the special tokens. Those that are not in the vocabulary have no id that a model could know
 * and remain ordinary text. Entries of added_tokens_decoder in tokenizer_config.json take
 * precedence. */
static embed_status add_special_tokens(struct tokenizer_parts *parts,
                                       const struct config *config)
{
    size_t added_before = parts->added_count;
    for (size_t i = 0; i < ROLES; i++) {
        const struct text_copy *text = &config->roles[i].text;
        int32_t id = vocabulary_find(&parts->vocabulary, text->data, text->length);
        int32_t added = vocabulary_find(&parts->added_texts, text->data, text->length);
        bool is_added = added >= 0 && (size_t)added < added_before;
        if (id >= 0 && !is_added)
            TRY(tokenizer_parts_add_token(parts, text->data, text->length, (uint64_t)id,
                                          config->roles[i].flags));
        if (i != ROLE_CLS && i != ROLE_SEP) continue;
        if (id < 0)
            return fail(EMBED_BAD_FILE, "%s: the %s \"%.*s\" is not in the vocabulary", parts->file,
                        i == ROLE_CLS ? "cls_token" : "sep_token",
                        utf8_shown(text->data, text->length), text->data);
        if (i == ROLE_CLS)
            parts->before[parts->before_count++] = id;
        else
            parts->after[parts->after_count++] = id;
    }
    return EMBED_OK;
}

static embed_status read_all(struct tokenizer_parts *parts, const char *folder,
                             struct config *config)
{
    static const char *const usual[ROLES] = {"<s>",   "</s>", "<unk>", "</s>",
                                             "<pad>", "<s>",  "<mask>"};
    for (size_t i = 0; i < ROLES; i++) {
        TRY(text_copy_set(&config->roles[i].text, usual[i], strlen(usual[i])));
        config->roles[i].flags.special = true;
    }
    TRY(read_json_if_there(folder, "tokenizer_config.json", config, read_config));
    if (!config->has_added_tokens)
        TRY(read_json_if_there(folder, "special_tokens_map.json", config,
                               read_special_tokens_map));
    TRY(read_json(parts->file, config, read_vocabulary));
    TRY(read_merges(parts, folder));
    TRY(add_special_tokens(parts, config));
    parts->is_byte_bpe = true;
    parts->has_byte_level_decoder = true;
    return EMBED_OK;
}

embed_status vocab_json_read(struct tokenizer_parts *parts, const char *folder)
{
    struct config config = {.parts = parts};
    embed_status status = read_all(parts, folder, &config);
    for (size_t i = 0; i < ROLES; i++) memory_free(config.roles[i].text.data);
    return status;
}
