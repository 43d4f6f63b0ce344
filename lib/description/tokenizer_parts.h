/* tokenizer_parts.h - tokenizer internals, for tokenizer*.c, vocab_txt.c, vocab_json.c and
 * byte_bpe_json.c
 *
 * tokenizer_json.c, vocab_txt.c or vocab_json.c reads the files into tokenizer_parts, from which
 * tokenizer.c builds a tokenizer. There are two kinds: WordPiece after BertNormalizer and
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
    char *data; /* NULL: not set */
    size_t length;
};

/* Replaces the text with a copy of data[0..length). */
embed_status text_copy_set(struct text_copy *copy, const char *data, size_t length);

struct token_flags {
    bool normalized, single_word, lstrip, rstrip, special;
};

struct added_token_part {
    struct text_copy text; /* not empty; unique */
    uint64_t id;           /* as in the file */
    struct token_flags flags;
};

/* The contents of the files. Whatever affects ids must also go into tokenizer_hash. Starts zeroed;
 * release with tokenizer_parts_free. */
struct tokenizer_parts {
    char *file; /* for messages: path of the file that most of it comes from */
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
    struct vocabulary added_texts; /* text to index in added[] */
    int32_t before[TEMPLATE_MAX_IDS], after[TEMPLATE_MAX_IDS];
    size_t before_count, after_count;
};

/* Hashes the contents, independent of their order in the table. */
struct hash vocabulary_hash(const struct vocabulary *vocabulary);

/* Adds a token, or updates the one with the same text. Copies `text`. */
embed_status tokenizer_parts_add_token(struct tokenizer_parts *parts, const char *text,
                                       size_t length, uint64_t id,
                                       struct token_flags flags);
void tokenizer_parts_free(struct tokenizer_parts *parts);

/* Reads parts->file, a tokenizer.json. */
embed_status tokenizer_json_read(struct tokenizer_parts *parts);

/* Applies what transformers takes from tokenizer_config.json and special_tokens_map.json instead of
 * from tokenizer.json or beside vocab.txt, one of which has been read. */
embed_status tokenizer_settings_read(struct tokenizer_parts *parts, const char *folder);
/* Fails with EMBED_UNSUPPORTED if tokenizer_config.json has a setting that no tokenizer follows. */
embed_status tokenizer_settings_check(const char *folder);

/* Fails with EMBED_UNSUPPORTED, after tokenizer.json was rejected: names its model if that is
 * Unigram, else repeats the error message. */
embed_status unigram_refuse_json(const char *file);
/* Fails with EMBED_UNSUPPORTED if a folder without a tokenizer file that we read has one of
 * SentencePiece. */
embed_status unigram_refuse_folder(const char *folder);

/* Reads parts->file, a vocab.txt, and tokenizer_config.json next to it, if there is one. */
embed_status vocab_txt_read(struct tokenizer_parts *parts, const char *folder);

/* Reads parts->file, a vocab.json, and next to it merges.txt and, if they exist,
 * tokenizer_config.json and special_tokens_map.json. */
embed_status vocab_json_read(struct tokenizer_parts *parts, const char *folder);

/* Values of tokenizer->plain that are not ids. */
enum {
    PLAIN_SPACE = -1,
    PLAIN_OTHER = -2 /* anything that needs the full procedure */
};

struct tokenizer {
    struct tokenizer_parts parts;
    struct normalizer *normalizer;
    struct token_trie trie;
    struct wordpiece model;
    struct added_tokens raw, normalized;
    size_t id_limit;
    struct hash vocabulary_hash; /* of parts.vocabulary, freed after set-up */
    /* ASCII letters and digits form words, as they are or lower-cased, and no token of the
     * normalized set begins with one. */
    bool has_plain_words;
    /* For each byte that is no letter or digit: the id of a punctuation mark, PLAIN_SPACE or
     * PLAIN_OTHER. */
    int32_t plain[256];

    /* Byte-level BPE only. */
    struct byte_bpe byte_bpe;
    struct gpt2_classes *classes;
    struct token_texts texts;
};

/* Like tokenizer_encode, for the text without special tokens around it: at most max_tokens. */
embed_status byte_bpe_encode_text(const struct tokenizer *tokenizer, struct word_cache *cache,
                                  const char *text, size_t length, size_t max_tokens,
                                  struct token_list *list, struct tokenizer_facts *facts);

#endif
