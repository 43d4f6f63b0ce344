/* fuzz_tokenizer.h - claims about any tokenizer that opens, and any text */
#ifndef TESTS_FUZZ_FUZZ_TOKENIZER_H
#define TESTS_FUZZ_FUZZ_TOKENIZER_H

#include "base/status.h"
#include "description/tokenizer.h"
#include "formats/unicode.h"
#include "fuzz.h"

/* Claims that ids are the same with a word cache as without and all below the limit, and that
 * max_tokens cuts the text to that many. */
static inline void fuzz_check_encode(const struct tokenizer *tokenizer, struct word_cache *cache,
                                     const char *text, size_t length)
{
    struct token_list plain = {0}, kept = {0}, few = {0};
    struct tokenizer_facts facts, again;
    size_t added = tokenizer_added_tokens(tokenizer), limit = tokenizer_id_limit(tokenizer);
    fuzz_claim(tokenizer_encode(tokenizer, NULL, text, length, 0, &plain, &facts) == EMBED_OK);
    fuzz_claim(facts.tokens == plain.count && !facts.truncated && plain.count >= added);
    fuzz_claim(facts.invalid_bytes <= length);
    for (size_t i = 0; i < plain.count; i++)
        fuzz_claim(plain.ids[i] >= 0 && (size_t)plain.ids[i] < limit);

    fuzz_claim(tokenizer_encode(tokenizer, cache, text, length, 0, &kept, &again) == EMBED_OK);
    fuzz_claim(kept.count == plain.count && again.invalid_bytes == facts.invalid_bytes);
    fuzz_claim(plain.count == 0 ||
               memcmp(kept.ids, plain.ids, plain.count * sizeof *plain.ids) == 0);

    size_t most = added + 3;
    fuzz_claim(tokenizer_encode(tokenizer, cache, text, length, most, &few, &again) == EMBED_OK);
    fuzz_claim(again.truncated == (plain.count > most));
    fuzz_claim(few.count == (plain.count > most ? most : plain.count));
    token_list_free(&plain);
    token_list_free(&kept);
    token_list_free(&few);
}

static inline bool fuzz_is_utf8(const char *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        struct utf8_character c = utf8_decode(text + at, length - at);
        if (!c.valid) return false;
        at += c.bytes;
    }
    return true;
}

/* Opens the folder's tokenizer and checks it; with `twice`, opens it again and claims the same
 * ids. */
static inline void fuzz_check_tokenizer_files(bool twice)
{
    static const char text[] = "A b, \xC3\xA9t\xC3\xA9 <mask> [MASK] 12 \xE6\x97\xA5\xFF  the end.";
    struct tokenizer *first = NULL, *second = NULL;
    struct text_buffer decoded = {0};
    embed_status status = tokenizer_open(&first, fuzz_folder());
    fuzz_claim((first != NULL) == (status == EMBED_OK));
    if (status == EMBED_OK) {
        struct token_list ids = {0}, same = {0};
        struct word_cache cache = {0};
        if (twice) fuzz_claim(tokenizer_open(&second, fuzz_folder()) == EMBED_OK);
        const struct tokenizer *other = twice ? second : first;
        fuzz_check_encode(first, &cache, text, sizeof text - 1);
        fuzz_claim(tokenizer_encode(first, NULL, text, sizeof text - 1, 0, &ids, NULL) == EMBED_OK);
        status = tokenizer_encode(other, NULL, text, sizeof text - 1, 0, &same, NULL);
        fuzz_claim(status == EMBED_OK);
        fuzz_claim(tokenizer_id_limit(first) == tokenizer_id_limit(other));
        fuzz_claim(ids.count == same.count &&
                   (ids.count == 0 || memcmp(ids.ids, same.ids, ids.count * sizeof *ids.ids) == 0));
        if (tokenizer_decode(first, ids.ids, ids.count, false, &decoded) == EMBED_OK)
            fuzz_claim(fuzz_is_utf8(decoded.data, decoded.length));
        text_buffer_free(&decoded);
        token_list_free(&ids);
        token_list_free(&same);
        word_cache_free(&cache);
    } else {
        fuzz_claim_message(error_message(), fuzz_folder());
    }
    tokenizer_close(first);
    tokenizer_close(second);
}

#endif
