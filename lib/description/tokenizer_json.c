/* tokenizer_json.c - reads tokenizer.json
 *
 * Ignores padding, and truncation except for its side: they are the settings of the program that
 * saved the file, not a property of the model. Of the decoder, only the type matters, and only for
 * decoding. Any other part that is not implemented is rejected by name.
 */
#include "description/tokenizer_json.h"

#include "base/memory.h"
#include "base/status.h"
#include "formats/folder.h"
#include "formats/unicode.h"

#define MAX_DEPTH 32

embed_status fail_unsupported(const struct json_reader *json, const char *part,
                              struct json_string type)
{
    int shown = utf8_shown(type.data, type.length);
    return fail(EMBED_UNSUPPORTED, "%s: %s %.*s is not supported", json->file, part, shown,
                shown > 0 ? type.data : "without a type");
}

embed_status fail_missing(const struct json_reader *json, const char *part, const char *key)
{
    return json_fail(json, "%s has no \"%s\"", part, key);
}

embed_status json_read_id(struct json_reader *json, int32_t *id)
{
    uint64_t value;
    TRY(json_read_unsigned(json, &value));
    if (value > INT32_MAX) return json_fail(json, "a token id above 2^31");
    *id = (int32_t)value;
    return EMBED_OK;
}

embed_status json_read_if_null(struct json_reader *json, bool *is_null)
{
    enum json_kind kind;
    TRY(json_peek(json, &kind));
    *is_null = kind == JSON_NULL;
    return *is_null ? json_read_null(json) : EMBED_OK;
}

/* ---- normalizer, pre-tokenizer ----------------------------------------------------------- */

static embed_status read_normalizer(struct json_reader *json, struct tokenizer_parts *parts)
{
    struct normalizer_options *options = &parts->normalizer;
    bool is_null, more, has_strip_accents = false;
    TRY(json_read_if_null(json, &is_null));
    if (is_null) return EMBED_OK; /* texts are not changed */
    parts->has_normalizer = true;

    struct json_string key, type = {0};
    struct {
        const char *key;
        bool *value, found;
    } switches[] = {
        {"clean_text", &options->clean_text, false},
        {"handle_chinese_chars", &options->handle_chinese_chars, false},
        {"lowercase", &options->lowercase, false},
    };
    const size_t count = sizeof switches / sizeof switches[0];
    TRY(json_enter_object(json));
    for (;;) {
        TRY(json_next_key(json, &more, &key));
        if (!more) break;
        size_t i = 0;
        while (i < count && !json_string_is(key, switches[i].key)) i++;
        if (i < count) {
            TRY(json_read_boolean(json, switches[i].value));
            switches[i].found = true;
        } else if (json_string_is(key, "type")) {
            TRY(json_read_string(json, &type));
        } else if (json_string_is(key, "strip_accents")) {
            TRY(json_read_if_null(json, &is_null));
            has_strip_accents = !is_null;
            if (!is_null) TRY(json_read_boolean(json, &options->strip_accents));
        } else {
            TRY(json_skip(json));
        }
    }
    if (!json_string_is(type, "BertNormalizer"))
        return fail_unsupported(json, "normalizer", type);
    for (size_t i = 0; i < count; i++)
        if (!switches[i].found) return fail_missing(json, "BertNormalizer", switches[i].key);
    if (!has_strip_accents) options->strip_accents = options->lowercase;
    return EMBED_OK;
}

static embed_status read_pre_tokenizer(struct json_reader *json, struct tokenizer_parts *parts)
{
    bool is_null, more, has_prefix_space = false, use_regex = true;
    struct json_string key, type = {0};
    TRY(json_read_if_null(json, &is_null));
    if (is_null)
        return fail_unsupported(json, "pre_tokenizer", (struct json_string){"null", 4});
    TRY(json_enter_object(json));
    for (;;) {
        TRY(json_next_key(json, &more, &key));
        if (!more) break;
        if (json_string_is(key, "type"))
            TRY(json_read_string(json, &type));
        else if (json_string_is(key, "add_prefix_space")) {
            TRY(json_read_boolean(json, &parts->add_prefix_space));
            has_prefix_space = true;
        } else if (json_string_is(key, "use_regex"))
            TRY(json_read_boolean(json, &use_regex));
        else
            TRY(json_skip(json));
    }
    if (json_string_is(type, "BertPreTokenizer")) return EMBED_OK;
    if (!json_string_is(type, "ByteLevel"))
        return fail_unsupported(json, "pre_tokenizer", type);
    if (!has_prefix_space) return fail_missing(json, "ByteLevel", "add_prefix_space");
    if (!use_regex)
        return fail(EMBED_UNSUPPORTED, "%s: ByteLevel with use_regex false is not supported",
                    json->file);
    parts->has_byte_level_words = true;
    return EMBED_OK;
}

static embed_status read_decoder(struct json_reader *json, struct tokenizer_parts *parts)
{
    bool is_null, more;
    struct json_string key, type = {0};
    TRY(json_read_if_null(json, &is_null));
    if (is_null) return EMBED_OK;
    TRY(json_enter_object(json));
    for (;;) {
        TRY(json_next_key(json, &more, &key));
        if (!more) break;
        if (json_string_is(key, "type"))
            TRY(json_read_string(json, &type));
        else
            TRY(json_skip(json));
    }
    parts->has_byte_level_decoder = json_string_is(type, "ByteLevel");
    return EMBED_OK;
}

/* ---- model ------------------------------------------------------------------------------- */

embed_status json_read_vocabulary(struct json_reader *json, struct tokenizer_parts *parts)
{
    enum json_kind kind;
    TRY(json_peek(json, &kind));
    if (kind == JSON_ARRAY)
        return fail_unsupported(json, "model", (struct json_string){"Unigram", 7});
    TRY(json_enter_object(json));
    for (;;) {
        bool more;
        struct json_string token;
        int32_t id = 0;
        TRY(json_next_key(json, &more, &token));
        if (!more) return EMBED_OK;
        TRY(json_read_id(json, &id));
        TRY(vocabulary_add(&parts->vocabulary, parts->file, token.data, token.length, id));
    }
}

embed_status json_read_text(struct json_reader *json, struct text_copy *copy)
{
    bool is_null;
    struct json_string text;
    TRY(json_read_if_null(json, &is_null));
    if (is_null) return EMBED_OK;
    TRY(json_read_string(json, &text));
    return text_copy_set(copy, text.data, text.length);
}

/* Old files have no type. Only BPE has merges; other models lack some keys of WordPiece. */
static embed_status read_model(struct json_reader *json, struct tokenizer_parts *parts)
{
    bool more, has_type = false, has_maximum = false;
    uint64_t maximum = 0;
    struct json_string key, type;
    TRY(json_enter_object(json));
    for (;;) {
        TRY(json_next_key(json, &more, &key));
        if (!more) break;
        if (json_string_is(key, "type")) {
            TRY(json_read_string(json, &type));
            parts->is_byte_bpe = json_string_is(type, "BPE");
            if (!parts->is_byte_bpe && !json_string_is(type, "WordPiece"))
                return fail_unsupported(json, "model", type);
            has_type = true;
        } else if (json_string_is(key, "vocab")) {
            TRY(json_read_vocabulary(json, parts));
        } else if (json_string_is(key, "unk_token")) {
            TRY(json_read_text(json, &parts->unknown));
        } else if (json_string_is(key, "continuing_subword_prefix")) {
            TRY(json_read_text(json, &parts->prefix));
        } else if (json_string_is(key, "max_input_chars_per_word")) {
            TRY(json_read_unsigned(json, &maximum));
            has_maximum = true;
        } else {
            bool found;
            TRY(json_read_bpe_key(json, key, parts, &found));
            if (!found) TRY(json_skip(json));
        }
    }
    if (parts->vocabulary.count == 0) return fail_missing(json, "the model", "vocab");
    if (!has_type) parts->is_byte_bpe = parts->has_merges;
    if (parts->is_byte_bpe) return json_check_bpe(json, parts);
    if (parts->unknown.data == NULL) return fail_missing(json, "the model", "unk_token");
    if (parts->prefix.data == NULL)
        return fail_missing(json, "the model", "continuing_subword_prefix");
    if (!has_maximum) return fail_missing(json, "the model", "max_input_chars_per_word");
    parts->max_characters = maximum < SIZE_MAX ? (size_t)maximum : SIZE_MAX;
    return EMBED_OK;
}

/* ---- added tokens ------------------------------------------------------------------------ */

embed_status json_read_token(struct json_reader *json, struct json_string *text,
                             struct token_flags *flags, uint64_t *id, bool *has_normalized)
{
    bool more;
    struct json_string key;
    TRY(json_enter_object(json));
    for (;;) {
        TRY(json_next_key(json, &more, &key));
        if (!more) break;
        if (json_string_is(key, "content")) {
            TRY(json_read_string(json, text));
        } else if (json_string_is(key, "id")) {
            TRY(json_read_unsigned(json, id));
        } else if (json_string_is(key, "normalized")) {
            TRY(json_read_boolean(json, &flags->normalized));
            *has_normalized = true;
        } else if (json_string_is(key, "single_word")) {
            TRY(json_read_boolean(json, &flags->single_word));
        } else if (json_string_is(key, "lstrip")) {
            TRY(json_read_boolean(json, &flags->lstrip));
        } else if (json_string_is(key, "rstrip")) {
            TRY(json_read_boolean(json, &flags->rstrip));
        } else if (json_string_is(key, "special")) {
            TRY(json_read_boolean(json, &flags->special));
        } else {
            TRY(json_skip(json));
        }
    }
    return text->data != NULL ? EMBED_OK : fail_missing(json, "an added token", "content");
}

embed_status json_read_added_token(struct json_reader *json, struct tokenizer_parts *parts,
                                   uint64_t id)
{
    struct json_string text = {0};
    struct token_flags flags = {0};
    bool has_normalized = false;
    TRY(json_read_token(json, &text, &flags, &id, &has_normalized));
    if (!has_normalized) return fail_missing(json, "an added token", "normalized");
    return tokenizer_parts_add_token(parts, text.data, text.length, id, flags);
}

embed_status json_read_added_tokens_by_id(struct json_reader *json,
                                          struct tokenizer_parts *parts)
{
    TRY(json_enter_object(json));
    for (;;) {
        bool more;
        struct json_string id;
        TRY(json_next_key(json, &more, &id));
        if (!more) return EMBED_OK;
        uint64_t value = 0;
        for (size_t i = 0; i < id.length; i++) {
            if (id.data[i] < '0' || id.data[i] > '9' || value > INT32_MAX)
                return json_fail(json, "an added token's key is not its id");
            value = 10 * value + (uint64_t)(id.data[i] - '0');
        }
        TRY(json_read_added_token(json, parts, value));
    }
}

static embed_status read_added_tokens(struct json_reader *json, struct tokenizer_parts *parts)
{
    TRY(json_enter_array(json));
    for (;;) {
        bool more;
        TRY(json_next_element(json, &more));
        if (!more) return EMBED_OK;
        TRY(json_read_added_token(json, parts, 0));
    }
}

/* ---- document ---------------------------------------------------------------------------- */

static embed_status read_version(struct json_reader *json)
{
    struct json_string version;
    TRY(json_read_string(json, &version));
    return json_string_is(version, "1.0") ? EMBED_OK
                                          : fail_unsupported(json, "version", version);
}

/* Reads the side on which texts are cut, which transformers takes from here. Ignores the length. */
static embed_status read_truncation(struct json_reader *json)
{
    enum json_kind kind;
    TRY(json_peek(json, &kind));
    if (kind != JSON_OBJECT) return json_skip(json);
    TRY(json_enter_object(json));
    for (;;) {
        bool more;
        struct json_string key, direction;
        TRY(json_next_key(json, &more, &key));
        if (!more) return EMBED_OK;
        if (!json_string_is(key, "direction")) {
            TRY(json_skip(json));
            continue;
        }
        TRY(json_read_string(json, &direction));
        if (!json_string_is(direction, "Right"))
            return fail_unsupported(json, "truncation direction", direction);
    }
}

static embed_status read_part(struct json_reader *json, struct json_string key,
                              struct tokenizer_parts *parts, unsigned *seen)
{
    static const char *const parts_names[] = {"version", "normalizer",   "pre_tokenizer",
                                              "model",   "added_tokens", "post_processor",
                                              "decoder", "truncation"};
    const unsigned count = sizeof parts_names / sizeof parts_names[0];
    unsigned part = 0;
    while (part < count && !json_string_is(key, parts_names[part])) part++;
    if (part == count) return json_skip(json);
    if (*seen & 1u << part) return json_fail(json, "%s occurs twice", parts_names[part]);
    *seen |= 1u << part;
    switch (part) {
    case 0: return read_version(json);
    case 1: return read_normalizer(json, parts);
    case 2: return read_pre_tokenizer(json, parts);
    case 3: return read_model(json, parts);
    case 4: return read_added_tokens(json, parts);
    case 5: return json_read_post_processor(json, parts);
    case 6: return read_decoder(json, parts);
    default: return read_truncation(json);
    }
}

static embed_status read_document(struct json_reader *json, struct tokenizer_parts *parts)
{
    unsigned seen = 0;
    TRY(json_enter_object(json));
    for (;;) {
        bool more;
        struct json_string key;
        TRY(json_next_key(json, &more, &key));
        if (!more) break;
        TRY(read_part(json, key, parts, &seen));
    }
    TRY(json_finish(json));
    if (!(seen & 1u << 3)) return fail_missing(json, "the file", "model");
    if (!(seen & 1u << 2)) return fail_missing(json, "the file", "pre_tokenizer");
    if (parts->is_byte_bpe != parts->has_byte_level_words)
        return fail(EMBED_UNSUPPORTED, "%s: model %s with pre_tokenizer %s is not supported",
                    json->file, parts->is_byte_bpe ? "BPE" : "WordPiece",
                    parts->has_byte_level_words ? "ByteLevel" : "BertPreTokenizer");
    if (parts->is_byte_bpe && parts->has_normalizer)
        return fail(EMBED_UNSUPPORTED, "%s: model BPE with a normalizer is not supported",
                    json->file);
    return EMBED_OK;
}

embed_status tokenizer_json_read(struct tokenizer_parts *parts)
{
    char *text;
    size_t length;
    TRY(file_read(&text, &length, parts->file, TOKENIZER_MAX_FILE_BYTES));
    struct json_reader json;
    json_reader_init(&json, parts->file, text, length, MAX_DEPTH);
    embed_status status = read_document(&json, parts);
    memory_free(text);
    return status;
}
