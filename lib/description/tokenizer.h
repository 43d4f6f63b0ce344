/* tokenizer.h - text to token ids and back, exactly as the model's own (Hugging Face) tokenizer
 *
 * The order of steps is that of the reference: added tokens are found in the raw text; the pieces
 * between them are normalized and split into words; each word is cut into vocabulary entries. A
 * tokenizer is immutable once open; any number of threads may encode with it at the same time.
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

/* Reads tokenizer.json: WordPiece or byte-level BPE. If there is none, reads vocab.txt with
 * tokenizer_config.json (BERT), or vocab.json and merges.txt with tokenizer_config.json and
 * special_tokens_map.json (RoBERTa, BART). Fails with EMBED_UNSUPPORTED, naming the part, if it
 * cannot reproduce one exactly. */
embed_status tokenizer_open(struct tokenizer **tokenizer, const char *folder);
/* The same, but lower-cases texts first if the tokenizer does not do so itself. EMBED_UNSUPPORTED
 * for byte-level BPE. */
embed_status tokenizer_open_lowercase(struct tokenizer **tokenizer, const char *folder);
void tokenizer_close(struct tokenizer *tokenizer); /* NULL is fine */

/* One more than the largest id it can return; must not exceed the rows of the embedding table. */
size_t tokenizer_id_limit(const struct tokenizer *tokenizer);
/* Turns added tokens with ids >= `rows` into ordinary text. For byte-level BPE, before the
 * tokenizer is first used to encode. */
embed_status tokenizer_limit_added(struct tokenizer *tokenizer, size_t rows);
/* "WordPiece" or "byte-level BPE"; the path of the file that most of the tokenizer comes from. */
const char *tokenizer_kind(const struct tokenizer *tokenizer);
const char *tokenizer_file(const struct tokenizer *tokenizer);
/* Number of special tokens added to every text, and so the smallest valid max_tokens. */
size_t tokenizer_added_tokens(const struct tokenizer *tokenizer);
/* Returns true if one of them ends every text. */
bool tokenizer_ends_texts(const struct tokenizer *tokenizer);

/* Computes a hash of everything that ids depend on, however the files express it: equal for two
 * tokenizers that give the same ids. */
embed_status tokenizer_hash(struct hash *hash, const struct tokenizer *tokenizer);

struct tokenizer_facts {
    size_t tokens;        /* appended, special tokens included */
    size_t invalid_bytes; /* not UTF-8, in the part that was read */
    bool truncated;       /* the text has more tokens */
};

/* Appends the ids of text[0..length) to `list`: at most max_tokens, special tokens included (0: no
 * limit). Stops reading once that many are certain, so that a text of 10 MB costs no more than its
 * beginning. `cache` only makes it faster; it belongs to one thread and one tokenizer. `cache` and
 * `facts` may be NULL. Fails with EMBED_OUT_OF_MEMORY, or with EMBED_INVALID_ARGUMENT if max_tokens
 * is below tokenizer_added_tokens. */
embed_status tokenizer_encode(const struct tokenizer *tokenizer, struct word_cache *cache,
                              const char *text, size_t length, size_t max_tokens,
                              struct token_list *list, struct tokenizer_facts *facts);

/* Appends the text of ids[0..n), always valid UTF-8: bytes that are not become U+FFFD. Skips ids
 * without a token and, with skip_special, special tokens. Does not clean up spaces: for BPE,
 * transformers 5 ignores clean_up_tokenization_spaces too. EMBED_UNSUPPORTED for WordPiece, and for
 * a tokenizer.json whose decoder is not ByteLevel. */
embed_status tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t n,
                              bool skip_special, struct text_buffer *text);

#endif
