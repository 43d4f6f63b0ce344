/* tokenizer_encode.c - text to token ids: the entry point for all tokenizers, and WordPiece
 *
 * One pass from left to right does all steps of the reference at once: tokens of the raw set end a
 * piece of text; characters are normalized one by one; tokens of the normalized set are matched in
 * that stream; the rest goes to the word_splitter. Time is linear in the part of the text that is
 * read, and memory other than the ids does not depend on the text.
 *
 * Words of ASCII letters and digits, the most frequent, take a shortcut: they are found 64 bytes at
 * a time (take_plain).
 */
#include "description/tokenizer.h"

#include "base/status.h"
#include "description/ascii_block.h"
#include "description/bert_unicode.h"
#include "description/tokenizer_parts.h"
#include "description/word_splitter.h"

#include <string.h>

#define SEARCH_STEP 4096 /* bytes searched for raw tokens at a time, ahead of encoding */

/* A place in the normalized text: the first `taken` code points of what the character at `position`
 * becomes have been consumed. */
struct place {
    size_t position, taken;
};

struct scan {
    const struct tokenizer *tokenizer;
    const char *text;
    size_t length;
    struct token_list *list;
    size_t enough; /* size of the list, one more than wanted, at which reading can stop */
    struct place at;
    size_t invalid_bytes;

    /* The text has been searched for tokens of the raw set up to `searched`. piece_end: where the
     * next one begins, if it has been found, else `searched`. */
    size_t searched, piece_end, raw_length;
    const struct added_token *raw;

    /* No token of the normalized set may begin before `resume`. */
    struct place resume;
    uint32_t previous; /* the normalized code point before `at`; 0 at the start of a piece */

    /* The 64 bytes of text before `block_end`; 0: none read yet. */
    struct ascii_block block;
    size_t block_end;

    struct word_splitter splitter;
};

/* ---- tokens of the raw set --------------------------------------------------------------- */

/* Returns true if no character next to text[start..start + length) is \w. */
static bool stands_alone(const struct scan *scan, size_t start, size_t length)
{
    const char *text = scan->text;
    size_t end = start + length;
    return !(start > 0 && bert_unicode_is_word(utf8_decode_last(text, start))) &&
           !(end < scan->length &&
             bert_unicode_is_word(utf8_decode(text + end, scan->length - end).code));
}

/* Searches for the next token of the raw set that begins in text[searched..stop). */
static void search_raw(struct scan *scan, size_t stop)
{
    const struct added_tokens *set = &scan->tokenizer->raw;
    while (scan->searched < stop) {
        size_t length;
        scan->searched += added_tokens_find_start(set, scan->text + scan->searched,
                                                  stop - scan->searched);
        if (scan->searched == stop) break;
        const struct added_token *token = added_tokens_match(
            set, scan->text + scan->searched, scan->length - scan->searched, &length);
        if (token == NULL) {
            scan->searched++;
        } else if (token->single_word && !stands_alone(scan, scan->searched, length)) {
            scan->searched += length; /* the reference does not search inside it */
        } else {
            scan->raw = token;
            scan->raw_length = length;
            break;
        }
    }
    scan->piece_end = scan->searched;
}

/* Returns true if `position` is in the piece of text before the next token of the raw set. */
static bool in_piece(struct scan *scan, size_t position)
{
    while (position >= scan->piece_end && scan->raw == NULL && scan->searched < scan->length) {
        size_t left = scan->length - scan->searched;
        search_raw(scan, scan->searched + (left < SEARCH_STEP ? left : SEARCH_STEP));
    }
    return position < scan->piece_end;
}

static embed_status take_raw(struct scan *scan)
{
    TRY(word_splitter_end(&scan->splitter));
    TRY(token_list_add(scan->list, scan->raw->id));
    scan->searched += scan->raw_length;
    scan->at = (struct place){scan->searched, 0};
    scan->piece_end = scan->searched;
    scan->raw = NULL;
    scan->previous = 0;
    return EMBED_OK;
}

/* ---- tokens of the normalized set -------------------------------------------------------- */

/* Gets the next code point of the normalized piece; returns false at its end. */
static bool next_normalized(struct scan *scan, struct place *place, struct normalized *out,
                            size_t *invalid_bytes)
{
    while (in_piece(scan, place->position)) {
        struct utf8_character c =
            utf8_decode(scan->text + place->position, scan->length - place->position);
        struct normalized units[NORMALIZER_MAX_EXPANSION];
        size_t count = normalizer_expand(scan->tokenizer->normalizer, c.code, units);
        while (place->taken < count) {
            *out = units[place->taken++];
            if (out->kind != NORMALIZED_BARRIER) return true;
        }
        if (!c.valid) *invalid_bytes += c.bytes;
        *place = (struct place){place->position + c.bytes, 0};
    }
    return false;
}

/* Returns the token of the normalized set that begins at `at`, or NULL if there is none; sets *end
 * to its end and *last to its last code point. */
static const struct added_token *match_normalized(struct scan *scan, struct place *end,
                                                  uint32_t *last, size_t *invalid_bytes)
{
    char ahead[ADDED_TOKEN_MAX_NORMALIZED];
    const struct added_tokens *set = &scan->tokenizer->normalized;
    struct place place = scan->at;
    struct normalized unit;
    size_t available = 0, length;
    while (available < set->lengths[0] && available + 4 <= sizeof ahead &&
           next_normalized(scan, &place, &unit, invalid_bytes)) {
        available += utf8_encode(ahead + available, unit.code);
        if (!set->starts[(unsigned char)ahead[0]]) return NULL;
    }
    const struct added_token *token = added_tokens_match(set, ahead, available, &length);
    if (token == NULL) return NULL;

    *end = scan->at;
    *invalid_bytes = 0;
    size_t done = 0;
    while (done < length && next_normalized(scan, end, &unit, invalid_bytes)) {
        done += utf8_encode(ahead, unit.code);
        *last = unit.code;
    }
    return token;
}

/* Takes the token of the normalized set that begins at `at`, if one does. */
static embed_status take_normalized(struct scan *scan, bool *taken)
{
    struct place end, after;
    uint32_t last = 0;
    size_t invalid_bytes = 0, ignored = 0;
    *taken = false;
    if (scan->at.position < scan->resume.position ||
        (scan->at.position == scan->resume.position && scan->at.taken < scan->resume.taken))
        return EMBED_OK;
    const struct added_token *token = match_normalized(scan, &end, &last, &invalid_bytes);
    if (token == NULL) return EMBED_OK;

    struct normalized next;
    after = end;
    if (token->single_word &&
        (bert_unicode_is_word(scan->previous) ||
         (next_normalized(scan, &after, &next, &ignored) && bert_unicode_is_word(next.code)))) {
        scan->resume = end; /* the reference does not search inside it */
        return EMBED_OK;
    }
    TRY(word_splitter_end(&scan->splitter));
    TRY(token_list_add(scan->list, token->id));
    scan->at = end;
    scan->previous = last;
    scan->invalid_bytes += invalid_bytes;
    *taken = true;
    return EMBED_OK;
}

/* ---- text -------------------------------------------------------------------------------- */

/* Takes the rest of the block as far as it consists of words of ASCII letters and digits,
 * punctuation and white space. Sets *is_plain to false where take_character has to
 * continue. */
static embed_status take_block(struct scan *scan, bool *is_plain)
{
    const struct tokenizer *tokenizer = scan->tokenizer;
    struct token_list *list = scan->list;
    size_t start = scan->block_end - ASCII_BLOCK, i = scan->at.position - start;
    size_t length = scan->piece_end - start, end = length < ASCII_BLOCK ? length : ASCII_BLOCK;
    TRY(token_list_reserve(list, ASCII_BLOCK + WORD_CACHE_IDS));
    *is_plain = true;
    while (i < end) {
        const char *text = scan->block.text;
        if (scan->block.word >> i & 1) {
            size_t next = i + ascii_block_word_length(&scan->block, i);
            if (next == ASCII_BLOCK && length > ASCII_BLOCK) { /* it may continue */
                *is_plain = i > 0;
                scan->block_end = 0;
                break;
            }
            if (next > end) next = end;
            if (next < end && tokenizer->plain[(unsigned char)text[next]] == PLAIN_OTHER) {
                *is_plain = false;
                break;
            }
            TRY(word_cache_encode(scan->splitter.cache, &tokenizer->model, text + i, next - i,
                                  list));
            i = next;
        } else {
            int32_t id = tokenizer->plain[(unsigned char)text[i]];
            if (id == PLAIN_OTHER) {
                *is_plain = false;
                break;
            }
            if (id != PLAIN_SPACE) list->ids[list->count++] = id;
            i++;
        }
    }
    scan->at.position = start + i;
    return EMBED_OK;
}

/* Takes text as far as it is plain ASCII, which most text is. */
static embed_status take_plain(struct scan *scan)
{
    size_t start = scan->at.position;
    bool is_plain = true;
    while (is_plain && scan->list->count < scan->enough && in_piece(scan, scan->at.position)) {
        if (scan->at.position >= scan->block_end) {
            ascii_block_read(&scan->block, scan->text + scan->at.position,
                             scan->length - scan->at.position,
                             scan->tokenizer->parts.normalizer.lowercase);
            scan->block_end = scan->at.position + ASCII_BLOCK;
        }
        in_piece(scan, scan->block_end); /* find the end of the piece if it is in the block */
        TRY(take_block(scan, &is_plain));
    }
    if (scan->at.position > start)
        scan->previous = (unsigned char)scan->text[scan->at.position - 1];
    return EMBED_OK;
}

static embed_status take_character(struct scan *scan)
{
    struct utf8_character c =
        utf8_decode(scan->text + scan->at.position, scan->length - scan->at.position);
    bool has_normalized = scan->tokenizer->normalized.count > 0;
    struct normalized one, units[NORMALIZER_MAX_EXPANSION];

    if (!has_normalized && normalizer_expand_to_one(scan->tokenizer->normalizer, c.code, &one)) {
        TRY(word_splitter_take(&scan->splitter, one));
    } else {
        size_t count = normalizer_expand(scan->tokenizer->normalizer, c.code, units);
        for (; scan->at.taken < count; scan->at.taken++) {
            struct normalized unit = units[scan->at.taken];
            if (has_normalized && unit.kind != NORMALIZED_BARRIER) {
                bool taken;
                TRY(take_normalized(scan, &taken));
                if (taken) return EMBED_OK;
            }
            TRY(word_splitter_take(&scan->splitter, unit));
            if (unit.kind != NORMALIZED_BARRIER) scan->previous = unit.code;
        }
    }
    scan->at = (struct place){scan->at.position + c.bytes, 0};
    if (!c.valid) scan->invalid_bytes += c.bytes;
    return EMBED_OK;
}

/* Takes the next part of the piece. */
static embed_status take_some(struct scan *scan)
{
    if (scan->tokenizer->has_plain_words && scan->at.taken == 0 &&
        (unsigned char)scan->text[scan->at.position] < 0x80 &&
        word_splitter_is_between_words(&scan->splitter)) {
        size_t start = scan->at.position;
        TRY(take_plain(scan));
        if (scan->at.position > start) return EMBED_OK;
    }
    return take_character(scan);
}

static embed_status scan_text(struct scan *scan)
{
    while (scan->list->count < scan->enough) {
        if (in_piece(scan, scan->at.position))
            TRY(take_some(scan));
        else if (scan->raw != NULL)
            TRY(take_raw(scan));
        else
            return word_splitter_end(&scan->splitter);
    }
    return EMBED_OK;
}

static embed_status add_ids(struct token_list *list, const int32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) TRY(token_list_add(list, ids[i]));
    return EMBED_OK;
}

/* Appends the ids of the text alone, without special tokens around it: at most max_tokens. */
static embed_status encode_text(const struct tokenizer *tokenizer, struct word_cache *cache,
                                const char *text, size_t length, size_t max_tokens,
                                struct token_list *list, struct tokenizer_facts *facts)
{
    struct scan scan; /* not zeroed as a whole: the word takes 4 KiB */
    scan.tokenizer = tokenizer;
    scan.text = text;
    scan.length = length;
    scan.list = list;
    scan.enough = max_tokens < SIZE_MAX - list->count ? list->count + max_tokens + 1 : SIZE_MAX;
    scan.at = scan.resume = (struct place){0, 0};
    scan.invalid_bytes = 0;
    scan.searched = scan.piece_end = tokenizer->raw.count > 0 ? 0 : length;
    scan.raw = NULL;
    scan.raw_length = 0;
    scan.previous = 0;
    scan.block_end = 0;
    word_splitter_begin(&scan.splitter, &tokenizer->model, cache, list);

    TRY(scan_text(&scan));
    facts->invalid_bytes = scan.invalid_bytes;
    facts->truncated = list->count >= scan.enough;
    if (facts->truncated) list->count = scan.enough - 1;
    return EMBED_OK;
}

embed_status tokenizer_encode(const struct tokenizer *tokenizer, struct word_cache *cache,
                              const char *text, size_t length, size_t max_tokens,
                              struct token_list *list, struct tokenizer_facts *facts)
{
    const struct tokenizer_parts *parts = &tokenizer->parts;
    size_t added = tokenizer_added_tokens(tokenizer), start = list->count;
    if (max_tokens != 0 && max_tokens < added)
        return fail(EMBED_INVALID_ARGUMENT, "max_tokens is %zu, less than the %zu special tokens",
                    max_tokens, added);
    size_t wanted = max_tokens != 0 ? max_tokens - added : SIZE_MAX;
    struct tokenizer_facts own;
    if (facts == NULL) facts = &own;

    embed_status status = add_ids(list, parts->before, parts->before_count);
    if (status == EMBED_OK)
        status = (parts->is_byte_bpe ? byte_bpe_encode_text : encode_text)(
            tokenizer, cache, text, length, wanted, list, facts);
    if (status == EMBED_OK) status = add_ids(list, parts->after, parts->after_count);
    if (status != EMBED_OK) {
        list->count = start;
        return status;
    }
    facts->tokens = list->count - start;
    return EMBED_OK;
}
