/* token_search.c - finds added tokens in a text, from left to right */
#include "description/token_search.h"

#include "description/bert_unicode.h"

#define STEP 4096 /* bytes searched at a time, ahead of encoding */

void token_search_begin(struct token_search *search, const struct added_tokens *set,
                        const struct gpt2_classes *classes, const char *text, size_t start)
{
    *search = (struct token_search){
        .set = set,
        .classes = classes,
        .text = text,
        .first = start,
        .searched = start,
        .piece = {start, start, false},
    };
}

/* ---- white space ------------------------------------------------------------------------- */

/* Returns where the white space that ends at `end` begins, at `start` or later. */
static size_t space_before(const struct token_search *search, size_t start, size_t end)
{
    while (end > start) {
        uint32_t code = utf8_decode_last(search->text + start, end - start);
        if (gpt2_class_of(search->classes, code) != GPT2_SPACE) break;
        char bytes[4];
        end -= utf8_encode(bytes, code); /* white space is valid UTF-8 */
    }
    return end;
}

/* Returns where the white space that begins at `start` ends, at `end` or earlier. */
static size_t space_behind(const struct token_search *search, size_t start, size_t end)
{
    while (start < end) {
        struct utf8_character c = utf8_decode(search->text + start, end - start);
        if (gpt2_class_of(search->classes, c.code) != GPT2_SPACE) break;
        start += c.bytes;
    }
    return start;
}

/* ---- searching --------------------------------------------------------------------------- */

/* Returns true if no character next to text[start..end) is \w. */
static bool stands_alone(const struct token_search *search, size_t start, size_t end,
                         size_t limit)
{
    const char *text = search->text;
    return !(start > search->first && bert_unicode_is_word(utf8_decode_last(
                                          text + search->first, start - search->first))) &&
           !(end < limit && bert_unicode_is_word(utf8_decode(text + end, limit - end).code));
}

/* Takes the token at text[start..end), or skips it if it is single_word and next to a word
 * character. Something other than white space follows before `limit`, unless the text ends there:
 * rstrip relies on it. */
static void take(struct token_search *search, const struct added_token *token, size_t start,
                 size_t end, size_t limit)
{
    search->searched = end; /* the reference does not search inside it */
    if (token->single_word && !stands_alone(search, start, end, limit)) return;
    if (token->lstrip && start > search->piece.start)
        start = space_before(search, search->piece.start, start);
    search->token = token;
    search->token_end = token->rstrip ? space_behind(search, end, limit) : end;
    search->piece.end = start > search->piece.start ? start : search->piece.start;
    search->piece.is_final = true;
}

/* Searches for the next token that begins in text[searched..stop). */
static void search_until(struct token_search *search, size_t stop, struct text_part whole)
{
    const struct added_tokens *set = search->set;
    while (search->token == NULL && search->searched < stop) {
        size_t at = search->searched, length;
        at += added_tokens_find_start(set, search->text + at, stop - at);
        search->searched = at;
        if (at == stop) break;
        if (!whole.is_final && whole.end - at <= set->lengths[0]) break;
        const struct added_token *token =
            added_tokens_match(set, search->text + at, whole.end - at, &length);
        if (token == NULL)
            search->searched++;
        else
            take(search, token, at, at + length, whole.end);
    }
}

/* Returns `stop`, moved back by up to 3 bytes so as not to split a character, but not as far as
 * `searched`. */
static size_t whole_characters(const struct token_search *search, size_t stop)
{
    for (size_t i = 0; i <= 3 && i < stop - search->searched; i++)
        if (((unsigned char)search->text[stop - i] & 0xC0) != 0x80) return stop - i;
    return stop;
}

bool token_search_more(struct token_search *search, struct text_part whole)
{
    if (search->piece.is_final) return false;
    size_t start = search->piece.start, before = search->searched;
    size_t left = whole.end - before, step = before > start ? before - start : 0;
    if (step < STEP) step = STEP;
    size_t stop = step < left ? whole_characters(search, before + step) : whole.end;
    if (search->set->count == 0)
        search->searched = stop;
    else
        search_until(search, stop, whole);
    if (search->token != NULL) return true;

    search->piece.is_final = whole.is_final && search->searched == whole.end;
    /* The next token may swallow the white space before it. */
    size_t end =
        search->piece.is_final ? whole.end : space_before(search, start, search->searched);
    if (end > search->piece.end) search->piece.end = end;
    return search->piece.is_final || search->searched > before;
}

void token_search_pass(struct token_search *search)
{
    search->piece = (struct text_part){search->token_end, search->token_end, false};
    search->token = NULL;
}
