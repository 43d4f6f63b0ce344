/* tokenizer_encode_bpe.c - text to token ids, in byte-level BPE
 *
 * Added tokens of the raw set split the text into pieces, and those of the normalized set (there is
 * no normalizer) split these further. The rest is split into words, whose bytes are merged. The
 * search for added tokens runs ahead of the words, but no further than they need: a word is taken
 * once the text after it can no longer change it.
 */
#include "description/tokenizer.h"

#include "base/memory.h"
#include "base/status.h"
#include "description/gpt2_words.h"
#include "description/token_search.h"
#include "description/tokenizer_parts.h"

#include <string.h>

#define SHORT_WORD                                                                             \
    256 /* bytes of stack for a word that has to be rewritten */

struct scan {
    const struct tokenizer *tokenizer;
    struct word_cache *cache;
    struct text_part text;
    const char *bytes;
    struct token_list *list;
    struct token_search raw, normalized;
    size_t position;
    bool starts_piece; /* nothing of the piece has been taken yet */
    size_t invalid_bytes;
};

/* ---- words ------------------------------------------------------------------------------- */

/* Appends the tokens of word[0..length). WORD_CACHE_LONGEST bytes must be readable after it, unless
 * it is longer than that. */
static embed_status encode_word(struct scan *scan, const char *word, size_t length)
{
    const struct byte_bpe *model = &scan->tokenizer->byte_bpe;
    struct token_list *list = scan->list;
    if (length > WORD_CACHE_LONGEST || scan->cache == NULL)
        return byte_bpe_encode(model, word, length, list);

    struct word_key key = word_key(word, length);
    const struct cached_word *known = word_cache_find(scan->cache, key, length);
    if (known == NULL) {
        size_t start = list->count;
        TRY(byte_bpe_encode(model, word, length, list));
        return word_cache_keep(scan->cache, key, length, list->ids + start,
                               list->count - start);
    }
    TRY(token_list_reserve(list, WORD_CACHE_IDS));
    memcpy(list->ids + list->count, known->ids,
           sizeof known->ids); /* faster than `count` ids */
    list->count += known->count;
    return EMBED_OK;
}

/* Writes a word with invalid UTF-8 replaced by U+FFFD; returns its length. */
static size_t write_word(char *out, const char *text, size_t length, bool has_space)
{
    size_t count = 0;
    if (has_space) out[count++] = ' ';
    for (size_t at = 0; at < length;) {
        struct utf8_character c = utf8_decode(text + at, length - at);
        count += utf8_encode(out + count, c.code);
        at += c.bytes;
    }
    return count;
}

/* Encodes a copy of a word: one that differs from the text, or is too close to the end of the text
 * for encode_word. */
static embed_status encode_written_word(struct scan *scan, const char *text, size_t length,
                                        bool has_space)
{
    char room[SHORT_WORD + WORD_CACHE_LONGEST] = {0}, *word = room;
    if (length > (SHORT_WORD - 1) / 3) {
        size_t bytes;
        if (!size_multiply(length, 3, &bytes) ||
            !size_add(bytes, 1 + WORD_CACHE_LONGEST, &bytes))
            return fail(EMBED_OUT_OF_MEMORY, "out of memory: a word larger than memory can be");
        word = memory_allocate(bytes, 1, "a long word");
        if (word == NULL) return EMBED_OUT_OF_MEMORY;
    }
    embed_status status = encode_word(scan, word, write_word(word, text, length, has_space));
    if (word != room) memory_free(word);
    return status;
}

/* Takes the next word of the piece; sets *taken to false if its end is not certain yet. */
static embed_status take_word(struct scan *scan, bool *taken)
{
    const struct text_part *piece = &scan->normalized.piece;
    const char *text = scan->bytes + scan->position;
    size_t length = piece->end - scan->position;
    bool has_space =
        scan->starts_piece && scan->tokenizer->parts.add_prefix_space && text[0] != ' ';
    struct gpt2_word word = {.length = has_space ? 0 : gpt2_word_plain(text, length)};
    if (word.length == 0)
        word = gpt2_word_first(scan->tokenizer->classes, text, length, has_space);
    *taken = !word.is_open || piece->is_final;
    if (!*taken) return EMBED_OK;
    scan->position += word.length;
    scan->starts_piece = false;
    scan->invalid_bytes += word.invalid_bytes;
    if (has_space || word.invalid_bytes > 0 ||
        (word.length <= WORD_CACHE_LONGEST &&
         scan->text.end - scan->position < WORD_CACHE_LONGEST))
        return encode_written_word(scan, text, word.length, has_space);
    return encode_word(scan, text, word.length);
}

/* ---- pieces ------------------------------------------------------------------------------ */

static void begin_piece(struct scan *scan)
{
    scan->position = scan->normalized.piece.start;
    scan->starts_piece = true;
}

static void begin_raw_piece(struct scan *scan)
{
    token_search_begin(&scan->normalized, &scan->tokenizer->normalized,
                       scan->tokenizer->classes, scan->bytes, scan->raw.piece.start);
    begin_piece(scan);
}

/* Takes the added token that ends the piece; sets *taken to false if the text ends instead. */
static embed_status take_token(struct scan *scan, bool *taken)
{
    *taken = true;
    if (scan->normalized.token != NULL) {
        TRY(token_list_add(scan->list, scan->normalized.token->id));
        token_search_pass(&scan->normalized);
        begin_piece(scan);
    } else if (scan->raw.token != NULL) {
        TRY(token_list_add(scan->list, scan->raw.token->id));
        token_search_pass(&scan->raw);
        begin_raw_piece(scan);
    } else {
        *taken = false;
    }
    return EMBED_OK;
}

static embed_status scan_text(struct scan *scan, size_t enough)
{
    while (scan->list->count < enough) {
        const struct text_part *piece = &scan->normalized.piece;
        bool taken = false;
        if (scan->position < piece->end) {
            TRY(take_word(scan, &taken));
        } else if (piece->is_final) {
            TRY(take_token(scan, &taken));
            if (!taken) break;
        }
        if (!taken && !token_search_more(&scan->normalized, scan->raw.piece))
            token_search_more(&scan->raw, scan->text);
    }
    return EMBED_OK;
}

embed_status byte_bpe_encode_text(const struct tokenizer *tokenizer, struct word_cache *cache,
                                  const char *text, size_t length, size_t max_tokens,
                                  struct token_list *list, struct tokenizer_facts *facts)
{
    struct scan scan = {.tokenizer = tokenizer,
                        .cache = cache,
                        .text = {0, length, true},
                        .bytes = text,
                        .list = list};
    size_t enough =
        max_tokens < SIZE_MAX - list->count ? list->count + max_tokens + 1 : SIZE_MAX;
    token_search_begin(&scan.raw, &tokenizer->raw, tokenizer->classes, text, 0);
    begin_raw_piece(&scan);
    TRY(scan_text(&scan, enough));
    facts->invalid_bytes = scan.invalid_bytes;
    facts->truncated = list->count >= enough;
    if (facts->truncated) list->count = enough - 1;
    return EMBED_OK;
}
