/* tokenizer.h - text to token ids and back, as the model's own (Hugging Face) tokenizer does it
 *
 * The order of steps is that of the reference: added tokens are found in the raw text, the
 * pieces between them are normalized, split into words, and each word is cut into vocabulary
 * entries. A tokenizer is immutable once open; any number of threads may encode with one.
 */
#ifndef LIB_DESCRIPTION_TOKENIZER_H
#define LIB_DESCRIPTION_TOKENIZER_H

#include "base/hash.h"
#include "base/text_buffer.h"
#include "description/token_list.h"
#include "description/word_cache.h"
#include "embed.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

/* Reads tokenizer.json: WordPiece or byte-level BPE. Where there is none: vocab.txt with
 * tokenizer_config.json, of a BERT; or vocab.json and merges.txt with tokenizer_config.json and
 * special_tokens_map.json, of a RoBERTa or BART. What it cannot reproduce exactly is
 * EMBED_UNSUPPORTED and named. */
embed_status tokenizer_open(struct tokenizer **tokenizer, const char *folder);
/* The same, but texts become lower case first, if they do not anyway. Byte-level BPE:
 * EMBED_UNSUPPORTED. */
embed_status tokenizer_open_lowercase(struct tokenizer **tokenizer, const char *folder);
void tokenizer_close(struct tokenizer *tokenizer); /* NULL is fine */

/* One more than the largest id it can give: must not exceed the rows of the embedding table. */
size_t tokenizer_id_limit(const struct tokenizer *tokenizer);
/* Of byte-level BPE, before anyone encodes with it: added tokens whose ids are not below `rows` are
 * no tokens any more, but text like any other. */
embed_status tokenizer_limit_added(struct tokenizer *tokenizer, size_t rows);
/* "WordPiece" or "byte-level BPE", and the path of the file that most of it comes from. */
const char *tokenizer_kind(const struct tokenizer *tokenizer);
const char *tokenizer_file(const struct tokenizer *tokenizer);
/* Special tokens added to every text: the least that max_tokens can be. */
size_t tokenizer_added_tokens(const struct tokenizer *tokenizer);
/* Is one of them the last of every text? */
bool tokenizer_ends_texts(const struct tokenizer *tokenizer);

/* A number for all that ids depend on: equal for two tokenizers that give the same ids, however their
 * files say it. */
embed_status tokenizer_hash(struct hash *hash, const struct tokenizer *tokenizer);

struct tokenizer_facts {
    size_t tokens;        /* appended, special tokens included */
    size_t invalid_bytes; /* not UTF-8, in the part that was read */
    bool truncated;       /* there were more tokens */
};

/* Appends the ids of text[0..length) to `list`: at most max_tokens, special tokens included
 * (0: no limit). Reading stops once that many are sure, so that a text of 10 MB costs no more
 * than its beginning. `cache`, which only makes it faster, belongs to this thread and tokenizer;
 * it may be NULL, as may `facts`. EMBED_OUT_OF_MEMORY, or EMBED_INVALID_ARGUMENT where max_tokens
 * is below tokenizer_added_tokens. */
embed_status tokenizer_encode(const struct tokenizer *tokenizer, struct word_cache *cache,
                              const char *text, size_t length, size_t max_tokens,
                              struct token_list *list, struct tokenizer_facts *facts);

/* Appends the text of ids[0..n), which is valid UTF-8: bytes of tokens that make none become
 * U+FFFD. Ids that no token has are left out, as are special tokens with skip_special. No spaces
 * are cleaned up: for BPE, transformers 5 ignores clean_up_tokenization_spaces too. WordPiece, and
 * tokenizer.json with another decoder than ByteLevel: EMBED_UNSUPPORTED. */
embed_status tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t n,
                              bool skip_special, struct text_buffer *text);

#endif
