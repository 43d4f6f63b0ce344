/* added_tokens.c - texts that become one token wherever they occur */
#include "description/added_tokens.h"

#include "base/memory.h"
#include "base/status.h"
#include "formats/unicode.h"

#include <string.h>

static embed_status unsupported(const char *file, const char *text, size_t length,
                                const char *cause)
{
    int shown = length < 64 ? (int)length : 64;
    return fail(EMBED_UNSUPPORTED, "%s: added token \"%.*s\": %s", file, shown, text, cause);
}

/* Returns true if normalizing drops the text's first or last character or turns it into white
 * space. Whether such a token matches would depend on lstrip and rstrip of its neighbours. */
static bool has_loose_ends(const struct normalizer *normalizer, const char *text, size_t length)
{
    const uint32_t ends[] = {utf8_decode(text, length).code, utf8_decode_last(text, length)};
    for (size_t i = 0; i < 2; i++) {
        struct normalized units[NORMALIZER_MAX_EXPANSION];
        size_t count = normalizer_expand(normalizer, ends[i], units);
        if (count == 0 || (count == 1 && units[0].kind == NORMALIZED_SPACE)) return true;
    }
    return false;
}

/* Normalizes the text into `out`. EMBED_UNSUPPORTED if the result could not be matched exactly. */
static embed_status normalize(char out[ADDED_TOKEN_MAX_NORMALIZED], size_t *out_length,
                              const char *file, const char *text, size_t length,
                              const struct normalizer *normalizer)
{
    *out_length = 0;
    if (has_loose_ends(normalizer, text, length))
        return unsupported(file, text, length, "begins or ends with white space");
    for (size_t position = 0; position < length;) {
        struct utf8_character c = utf8_decode(text + position, length - position);
        struct normalized units[NORMALIZER_MAX_EXPANSION];
        size_t count = normalizer_expand(normalizer, c.code, units);
        for (size_t i = 0; i < count; i++) {
            if (units[i].kind == NORMALIZED_BARRIER) continue;
            /* Canonical ordering may move these past other characters of a text. */
            if (units[i].kind == NORMALIZED_NONSTARTER)
                return unsupported(file, text, length, "has a combining character");
            if (*out_length + 4 > ADDED_TOKEN_MAX_NORMALIZED)
                return unsupported(file, text, length, "is too long");
            *out_length += utf8_encode(out + *out_length, units[i].code);
        }
        position += c.bytes;
    }
    if (*out_length == 0) return unsupported(file, text, length, "is empty when normalized");
    return EMBED_OK;
}

/* Inserts `length` into lengths[], which holds each length once, longest first. The caller has made
 * room for one more. */
static void add_length(struct added_tokens *set, size_t length)
{
    size_t place = 0;
    while (place < set->length_count && set->lengths[place] > length) place++;
    if (place < set->length_count && set->lengths[place] == length) return;
    memmove(set->lengths + place + 1, set->lengths + place,
            (set->length_count - place) * sizeof *set->lengths);
    set->lengths[place] = length;
    set->length_count++;
}

static void add_start(struct added_tokens *set, unsigned char byte)
{
    if (set->starts[byte]) return;
    set->starts[byte] = true;
    if (set->start_count < ADDED_TOKENS_FEW_STARTS) set->start_bytes[set->start_count] = byte;
    set->start_count++;
}

static embed_status grow(struct added_tokens *set)
{
    if (set->count < set->capacity) return EMBED_OK;
    size_t capacity = set->capacity > 0 ? 2 * set->capacity : 8;
    struct added_token *tokens =
        memory_resize(set->tokens, capacity, sizeof *tokens, "the added tokens");
    if (tokens == NULL) return EMBED_OUT_OF_MEMORY;
    set->tokens = tokens;
    size_t *lengths =
        memory_resize(set->lengths, capacity, sizeof *lengths, "the added tokens");
    if (lengths == NULL) return EMBED_OUT_OF_MEMORY;
    set->lengths = lengths;
    set->capacity = capacity;
    return EMBED_OK;
}

embed_status added_tokens_add(struct added_tokens *set, const char *file, const char *text,
                              size_t length, struct added_token token,
                              const struct normalizer *normalizer)
{
    char normalized[ADDED_TOKEN_MAX_NORMALIZED];
    /* Invalid UTF-8 in a text is read as U+FFFD, but its bytes would not match this token. */
    if (memmem(text, length, "\xEF\xBF\xBD", 3) != NULL)
        return unsupported(file, text, length, "has the replacement character U+FFFD");
    if (normalizer != NULL) {
        size_t normalized_length;
        TRY(normalize(normalized, &normalized_length, file, text, length, normalizer));
        if (vocabulary_find(&set->texts, normalized, normalized_length) >= 0)
            return unsupported(file, text, length, "equals another one when normalized");
        text = normalized;
        length = normalized_length;
    }
    TRY(grow(set));
    TRY(vocabulary_add(&set->texts, file, text, length, (int32_t)set->count));
    set->tokens[set->count++] = token;
    add_length(set, length);
    add_start(set, (unsigned char)text[0]);
    return EMBED_OK;
}

embed_status added_tokens_limit(struct added_tokens *set, const char *file, int32_t id)
{
    struct added_tokens kept = {0};
    embed_status status = EMBED_OK;
    size_t slots = set->count > 0 ? (size_t)1 << set->texts.slot_bits : 0;
    for (size_t i = 0; i < slots && status == EMBED_OK; i++) {
        const struct vocabulary_slot *slot = &set->texts.slots[i];
        if (slot->tag == 0 || set->tokens[slot->id].id >= id) continue;
        status = added_tokens_add(&kept, file, set->texts.text + slot->offset, slot->length,
                                  set->tokens[slot->id], NULL); /* already normalized */
    }
    if (status != EMBED_OK) {
        added_tokens_free(&kept);
        return status;
    }
    added_tokens_free(set);
    *set = kept;
    return EMBED_OK;
}

void added_tokens_free(struct added_tokens *set)
{
    vocabulary_free(&set->texts);
    memory_free(set->tokens);
    memory_free(set->lengths);
    *set = (struct added_tokens){0};
}

size_t added_tokens_find_start(const struct added_tokens *set, const char *text, size_t length)
{
    if (set->start_count > ADDED_TOKENS_FEW_STARTS) {
        size_t i = 0;
        while (i < length && !set->starts[(unsigned char)text[i]]) i++;
        return i;
    }
    for (size_t i = 0; i < set->start_count; i++) {
        const char *found = memchr(text, set->start_bytes[i], length);
        if (found != NULL) length = (size_t)(found - text);
    }
    return length;
}

const struct added_token *added_tokens_match(const struct added_tokens *set, const char *text,
                                             size_t available, size_t *length)
{
    for (size_t i = 0; i < set->length_count; i++) {
        if (set->lengths[i] > available) continue;
        int32_t index = vocabulary_find(&set->texts, text, set->lengths[i]);
        if (index < 0) continue;
        *length = set->lengths[i];
        return &set->tokens[index];
    }
    return NULL;
}
