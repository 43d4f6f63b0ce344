/* tokenizer_parts.h - the inside of a tokenizer; for the tokenizer_*.c and vocab_txt.c only
 *
 * tokenizer_json.c, vocab_txt.c or vocab_json.c read what the files say into tokenizer_parts;
 * tokenizer.c makes a tokenizer of that. There are two kinds: WordPiece behind BertNormalizer and
 * BertPreTokenizer, run by tokenizer_encode.c; and byte-level BPE, run by tokenizer_encode_bpe.c.
 */
#ifndef LIB_DESCRIPTION_TOKENIZER_PARTS_H
#define LIB_DESCRIPTION_TOKENIZER_PARTS_H

#include "description/added_tokens.h"
#include "description/byte_bpe.h"
#include "description/gpt2_unicode.h"
#include "description/normalizer.h"
#include "description/token_texts.h"
#include "description/tokenizer.h"
#include "description/vocabulary.h"
#include "description/wordpiece.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKENIZER_MAX_FILE_BYTES ((size_t)256 << 20)
#define TEMPLATE_MAX_IDS         8 /* special tokens on one side of a text */

struct text_copy {
    char *data; /* NULL: nothing was read */
    size_t length;
};

/* Replaces what was there. */
embed_status text_copy_set(struct text_copy *copy, const char *data, size_t length);

struct token_flags {
    bool normalized, single_word, lstrip, rstrip, special;
};

struct added_token_part {
    struct text_copy text; /* not empty, not twice among all */
    uint64_t id;           /* as the file has it */
    struct token_flags flags;
};

/* What the files say; what of it decides ids is in tokenizer_hash too. Starts zeroed; release with tokenizer_parts_free. */
struct tokenizer_parts {
    char *file; /* for messages: the path that most of it comes from */
    bool is_byte_bpe, has_normalizer, has_byte_level_words;
    struct normalizer_options normalizer;
    struct vocabulary vocabulary;
    struct text_copy unknown, prefix;
    size_t max_characters;
    struct merge_table merges;
    bool has_merges;
    bool add_prefix_space;
    bool has_byte_level_decoder;
    struct added_token_part *added;
    size_t added_count, added_capacity;
    struct vocabulary added_texts; /* to indices of added[] */
    int32_t before[TEMPLATE_MAX_IDS], after[TEMPLATE_MAX_IDS];
    size_t before_count, after_count;
};

/* What is in it, in no order. */
struct hash vocabulary_hash(const struct vocabulary *vocabulary);

/* Adds a token, or changes the one with the same text. Takes a copy of `text`. */
embed_status tokenizer_parts_add_token(struct tokenizer_parts *parts, const char *text,
                                       size_t length, uint64_t id,
                                       struct token_flags flags);
void tokenizer_parts_free(struct tokenizer_parts *parts);

/* Read parts->file, tokenizer.json. */
embed_status tokenizer_json_read(struct tokenizer_parts *parts);

/* What tokenizer_config.json beside it says otherwise, where there is one, and transformers goes by
 * that. */
embed_status tokenizer_settings_read(struct tokenizer_parts *parts, const char *folder);

/* EMBED_UNSUPPORTED with the cause that tokenizer.json was refused for just now; or with its model,
 * where that is Unigram. */
embed_status unigram_refuse_json(const char *file);
/* EMBED_UNSUPPORTED where a folder, which has no file that we read, has SentencePiece's. */
embed_status unigram_refuse_folder(const char *folder);

/* Read parts->file, vocab.txt, and tokenizer_config.json beside it where there is one. */
embed_status vocab_txt_read(struct tokenizer_parts *parts, const char *folder);

/* Read parts->file, vocab.json, and merges.txt, tokenizer_config.json and special_tokens_map.json
 * beside it, the last two where they are. */
embed_status vocab_json_read(struct tokenizer_parts *parts, const char *folder);

/* No ids; for a byte that is no letter or digit, and no punctuation mark. */
enum {
    PLAIN_SPACE = -1,
    PLAIN_OTHER = -2 /* all that needs a closer look */
};

struct tokenizer {
    struct tokenizer_parts parts;
    struct normalizer *normalizer;
    struct token_trie trie;
    struct wordpiece model;
    struct added_tokens raw, normalized;
    size_t id_limit;
    struct hash vocabulary_hash; /* of parts.vocabulary, which is released when the tokenizer is set up */
    /* Do ASCII letters and digits make words, of themselves or their lower case, and does no
     * token of the normalized set begin with one? */
    bool has_plain_words;
    /* For each byte that is neither, the id of the punctuation mark that it is, PLAIN_SPACE or
     * PLAIN_OTHER. */
    int32_t plain[256];

    /* Of byte-level BPE only. */
    struct byte_bpe byte_bpe;
    struct gpt2_classes *classes;
    struct token_texts texts;
};

/* As tokenizer_encode, of the text alone: at most max_tokens. */
embed_status byte_bpe_encode_text(const struct tokenizer *tokenizer, struct word_cache *cache,
                                  const char *text, size_t length, size_t max_tokens,
                                  struct token_list *list, struct tokenizer_facts *facts);

#endif
