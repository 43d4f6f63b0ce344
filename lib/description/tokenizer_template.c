/* tokenizer_template.c - reads the special tokens around a text: post_processor of tokenizer.json
 *
 * Supports TemplateProcessing, of which it reads "single" ("pair" is for two texts, which an
 * embedding never has); BertProcessing and RobertaProcessing, which are fixed templates; and
 * ByteLevel, which adds no tokens.
 */
#include "description/tokenizer_json.h"

#include "base/memory.h"
#include "base/status.h"

#include <string.h>

#define MAX_PIECES         (2 * TEMPLATE_MAX_IDS + 1)
#define MAX_SPECIAL_TOKENS 32 /* in a template's table */

struct special_token {
    struct json_string name;
    int32_t ids[TEMPLATE_MAX_IDS];
    size_t count;
};

struct template
{
    struct json_string type;
    struct json_string pieces[MAX_PIECES]; /* data is NULL for the text itself */
    size_t piece_count;
    struct special_token special[MAX_SPECIAL_TOKENS];
    size_t special_count;
    struct special_token before, after; /* of BertProcessing and RobertaProcessing */
};

/* Reads {"SpecialToken": {"id": "[CLS]", "type_id": 0}} or
 * {"Sequence": {"id": "A", "type_id": 0}}. */
static embed_status read_piece(struct json_reader *json, struct json_string *piece)
{
    bool more;
    uint64_t type_id = 0;
    struct json_string kind, key, id = {0};
    TRY(json_enter_object(json));
    TRY(json_next_key(json, &more, &kind));
    if (!more) return json_fail(json, "an empty piece of a template");
    TRY(json_enter_object(json));
    for (;;) {
        TRY(json_next_key(json, &more, &key));
        if (!more) break;
        if (json_string_is(key, "id"))
            TRY(json_read_string(json, &id));
        else if (json_string_is(key, "type_id"))
            TRY(json_read_unsigned(json, &type_id));
        else
            TRY(json_skip(json));
    }
    if (id.data == NULL) return fail_missing(json, "a piece of a template", "id");
    bool is_text = json_string_is(kind, "Sequence") && json_string_is(id, "A");
    if ((!is_text && !json_string_is(kind, "SpecialToken")) || type_id != 0)
        return fail_unsupported(json, "a template with the piece", kind);
    *piece = is_text ? (struct json_string){NULL, 0} : id;
    TRY(json_next_key(json, &more, &key));
    return more ? json_fail(json, "a piece of a template with two keys") : EMBED_OK;
}

static embed_status read_pieces(struct json_reader *json, struct template *template)
{
    TRY(json_enter_array(json));
    template->piece_count = 0;
    for (;;) {
        bool more;
        TRY(json_next_element(json, &more));
        if (!more) return EMBED_OK;
        if (template->piece_count == MAX_PIECES)
            return json_fail(json, "a template of more than %d pieces", MAX_PIECES);
        TRY(read_piece(json, &template->pieces[template->piece_count++]));
    }
}

static embed_status read_special_ids(struct json_reader *json, struct special_token *special)
{
    TRY(json_enter_array(json));
    special->count = 0;
    for (;;) {
        bool more;
        TRY(json_next_element(json, &more));
        if (!more) return EMBED_OK;
        if (special->count == TEMPLATE_MAX_IDS)
            return json_fail(json, "a special token of more than %d ids", TEMPLATE_MAX_IDS);
        TRY(json_read_id(json, &special->ids[special->count++]));
    }
}

/* Reads {"[CLS]": {"id": "[CLS]", "ids": [101], "tokens": ["[CLS]"]}, ...}. */
static embed_status read_special_tokens(struct json_reader *json, struct template *template)
{
    TRY(json_enter_object(json));
    template->special_count = 0;
    for (;;) {
        bool more;
        struct json_string name, key;
        TRY(json_next_key(json, &more, &name));
        if (!more) return EMBED_OK;
        if (template->special_count == MAX_SPECIAL_TOKENS)
            return json_fail(json, "more than %d special tokens", MAX_SPECIAL_TOKENS);
        struct special_token *special = &template->special[template->special_count++];
        *special = (struct special_token){.name = name};
        TRY(json_enter_object(json));
        for (;;) {
            TRY(json_next_key(json, &more, &key));
            if (!more) break;
            if (json_string_is(key, "ids"))
                TRY(read_special_ids(json, special));
            else
                TRY(json_skip(json));
        }
    }
}

/* Reads ["[CLS]", 101]. */
static embed_status read_pair(struct json_reader *json, struct special_token *special)
{
    bool more;
    TRY(json_enter_array(json));
    TRY(json_next_element(json, &more));
    if (more) TRY(json_read_string(json, &special->name));
    if (more) TRY(json_next_element(json, &more));
    if (more) TRY(json_read_id(json, &special->ids[0]));
    if (more) special->count = 1;
    if (more) TRY(json_next_element(json, &more));
    return more || special->count == 0 ? json_fail(json, "expected a token and its id")
                                       : EMBED_OK;
}

static embed_status add_special(struct json_reader *json, const struct special_token *special,
                                int32_t *ids, size_t *count)
{
    if (special->count > TEMPLATE_MAX_IDS - *count)
        return json_fail(json, "more than %d special tokens on one side", TEMPLATE_MAX_IDS);
    memcpy(ids + *count, special->ids, special->count * sizeof *ids);
    *count += special->count;
    return EMBED_OK;
}

static embed_status use_template(struct json_reader *json, const struct template *template,
                                 struct tokenizer_parts *parts)
{
    bool text_seen = false;
    for (size_t i = 0; i < template->piece_count; i++) {
        struct json_string name = template->pieces[i];
        if (name.data == NULL && text_seen) return json_fail(json, "a template with two texts");
        if (name.data == NULL) {
            text_seen = true;
            continue;
        }
        size_t k = 0;
        while (k < template->special_count &&
               (template->special[k].name.length != name.length ||
                memcmp(template->special[k].name.data, name.data, name.length) != 0))
            k++;
        if (k == template->special_count)
            return json_fail(json, "a template's token is not among its special_tokens");
        TRY(add_special(json, &template->special[k], text_seen ? parts->after : parts->before,
                        text_seen ? &parts->after_count : &parts->before_count));
    }
    return text_seen ? EMBED_OK : json_fail(json, "a template without the text");
}

static embed_status read_template(struct json_reader *json, struct template *template,
                                  struct tokenizer_parts *parts)
{
    TRY(json_enter_object(json));
    for (;;) {
        bool more;
        struct json_string key;
        TRY(json_next_key(json, &more, &key));
        if (!more) break;
        if (json_string_is(key, "type"))
            TRY(json_read_string(json, &template->type));
        else if (json_string_is(key, "single"))
            TRY(read_pieces(json, template));
        else if (json_string_is(key, "special_tokens"))
            TRY(read_special_tokens(json, template));
        else if (json_string_is(key, "cls"))
            TRY(read_pair(json, &template->before));
        else if (json_string_is(key, "sep"))
            TRY(read_pair(json, &template->after));
        else
            TRY(json_skip(json));
    }
    if (json_string_is(template->type, "TemplateProcessing"))
        return use_template(json, template, parts);
    if (json_string_is(template->type, "ByteLevel")) return EMBED_OK;
    if (!json_string_is(template->type, "BertProcessing") &&
        !json_string_is(template->type, "RobertaProcessing"))
        return fail_unsupported(json, "post_processor", template->type);
    if (template->before.count == 0) return fail_missing(json, "the post_processor", "cls");
    if (template->after.count == 0) return fail_missing(json, "the post_processor", "sep");
    TRY(add_special(json, &template->before, parts->before, &parts->before_count));
    return add_special(json, &template->after, parts->after, &parts->after_count);
}

embed_status json_read_post_processor(struct json_reader *json, struct tokenizer_parts *parts)
{
    bool is_null;
    TRY(json_read_if_null(json, &is_null));
    if (is_null) return EMBED_OK; /* no special tokens */
    struct template *template = memory_allocate(1, sizeof *template, "a template");
    if (template == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = read_template(json, template, parts);
    memory_free(template);
    return status;
}
