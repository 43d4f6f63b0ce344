/* byte_bpe_json.c - reads the keys of a BPE model in tokenizer.json, and merges from any file */
#include "base/status.h"
#include "description/tokenizer_json.h"
#include "formats/unicode.h"

#include <string.h>

/* ---- merges ------------------------------------------------------------------------------ */

static embed_status fail_merge(const char *file, const char *place, size_t number,
                               struct json_string token)
{
    return fail(EMBED_BAD_FILE, "%s: %s %zu: \"%.*s\" is not in the vocabulary", file, place,
                number, utf8_shown(token.data, token.length), token.data);
}

embed_status bpe_add_merge(struct tokenizer_parts *parts, const char *file, const char *place,
                           size_t number, struct json_string left, struct json_string right)
{
    char both[2 * VOCABULARY_MAX_BYTES];
    int32_t left_id = vocabulary_find(&parts->vocabulary, left.data, left.length);
    if (left_id < 0) return fail_merge(file, place, number, left);
    int32_t right_id = vocabulary_find(&parts->vocabulary, right.data, right.length);
    if (right_id < 0) return fail_merge(file, place, number, right);
    memcpy(both, left.data, left.length);
    memcpy(both + left.length, right.data, right.length);
    struct json_string merged = {both, left.length + right.length};
    int32_t id = vocabulary_find(&parts->vocabulary, merged.data, merged.length);
    if (id < 0) return fail_merge(file, place, number, merged);
    if (number >= MERGE_NONE) return fail(EMBED_BAD_FILE, "%s: more than 2^32 merges", file);
    return merge_table_add(&parts->merges, file, left_id, right_id,
                           (struct merge){(uint32_t)number, id});
}

embed_status bpe_add_merge_line(struct tokenizer_parts *parts, const char *file,
                                const char *place, size_t number, struct json_string line)
{
    static const char version[] = "#version";
    if (line.length >= strlen(version) && memcmp(line.data, version, strlen(version)) == 0)
        return EMBED_OK;
    const char *space = memchr(line.data, ' ', line.length), *end = line.data + line.length;
    if (space == NULL || memchr(space + 1, ' ', (size_t)(end - space - 1)) != NULL)
        return fail(EMBED_BAD_FILE, "%s: %s %zu: expected two tokens with a space between them",
                    file, place, number);
    return bpe_add_merge(parts, file, place, number,
                         (struct json_string){line.data, (size_t)(space - line.data)},
                         (struct json_string){space + 1, (size_t)(end - space - 1)});
}

/* Reads ["left", "right"]. */
static embed_status read_pair(struct json_reader *json, struct json_string pair[2])
{
    bool more;
    size_t count = 0;
    TRY(json_enter_array(json));
    for (;; count++) {
        TRY(json_next_element(json, &more));
        if (!more || count == 2) break;
        TRY(json_read_string(json, &pair[count]));
    }
    return count < 2 || more ? json_fail(json, "expected two tokens") : EMBED_OK;
}

/* Reads either form: ["left right", ...] or [["left", "right"], ...]. */
static embed_status read_merges(struct json_reader *json, struct tokenizer_parts *parts)
{
    if (parts->vocabulary.count == 0)
        return fail(EMBED_UNSUPPORTED, "%s: merges before the vocab they are of", json->file);
    parts->has_merges = true;
    TRY(json_enter_array(json));
    for (size_t number = 1;; number++) {
        bool more;
        enum json_kind kind;
        struct json_string line, pair[2];
        TRY(json_next_element(json, &more));
        if (!more) return EMBED_OK;
        TRY(json_peek(json, &kind));
        if (kind == JSON_STRING) {
            TRY(json_read_string(json, &line));
            TRY(bpe_add_merge_line(parts, json->file, "merge", number, line));
        } else {
            TRY(read_pair(json, pair));
            TRY(bpe_add_merge(parts, json->file, "merge", number, pair[0], pair[1]));
        }
    }
}

/* ---- options ----------------------------------------------------------------------------- */

static embed_status fail_option(const struct json_reader *json, const char *key)
{
    return fail(EMBED_UNSUPPORTED, "%s: a model with %s is not supported", json->file, key);
}

static embed_status read_dropout(struct json_reader *json)
{
    bool is_null;
    double dropout;
    TRY(json_read_if_null(json, &is_null));
    if (is_null) return EMBED_OK;
    TRY(json_read_number(json, &dropout));
    return dropout == 0 ? EMBED_OK : fail_option(json, "dropout");
}

static embed_status read_suffix(struct json_reader *json)
{
    bool is_null;
    struct json_string suffix;
    TRY(json_read_if_null(json, &is_null));
    if (is_null) return EMBED_OK;
    TRY(json_read_string(json, &suffix));
    return suffix.length == 0 ? EMBED_OK : fail_option(json, "end_of_word_suffix");
}

/* fuse_unk is ignored: it matters only if the unk_token is used, which tokenizer.c rejects. */
embed_status json_read_bpe_key(struct json_reader *json, struct json_string key,
                               struct tokenizer_parts *parts, bool *found)
{
    bool on, is_null;
    *found = true;
    if (json_string_is(key, "merges")) return read_merges(json, parts);
    if (json_string_is(key, "dropout")) return read_dropout(json);
    if (json_string_is(key, "end_of_word_suffix")) return read_suffix(json);
    static const char *const switches[] = {"ignore_merges", "byte_fallback"};
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        if (!json_string_is(key, switches[i])) continue;
        TRY(json_read_if_null(json, &is_null));
        if (is_null) return EMBED_OK;
        TRY(json_read_boolean(json, &on));
        return on ? fail_option(json, switches[i]) : EMBED_OK;
    }
    *found = false;
    return EMBED_OK;
}

embed_status json_check_bpe(const struct json_reader *json, const struct tokenizer_parts *parts)
{
    if (!parts->has_merges) return fail_missing(json, "the model", "merges");
    return parts->prefix.data != NULL && parts->prefix.length > 0
               ? fail_option(json, "continuing_subword_prefix")
               : EMBED_OK;
}
