/* tokenizer_json.h - what the readers of tokenizer.json and tokenizer_config.json share */
#ifndef LIB_DESCRIPTION_TOKENIZER_JSON_H
#define LIB_DESCRIPTION_TOKENIZER_JSON_H

#include "description/tokenizer_parts.h"
#include "formats/json_reader.h"

/* EMBED_UNSUPPORTED, "FILE: PART TYPE is not supported". */
embed_status fail_unsupported(const struct json_reader *json, const char *part,
                              struct json_string type);
/* EMBED_BAD_FILE: `part` has no `key`. */
embed_status fail_missing(const struct json_reader *json, const char *part, const char *key);

/* Reads a null, or stands before what is none. */
embed_status json_read_if_null(struct json_reader *json, bool *is_null);

/* A token id, not above INT32_MAX. */
embed_status json_read_id(struct json_reader *json, int32_t *id);

/* Reads {"token": id, ...}. */
embed_status json_read_vocabulary(struct json_reader *json, struct tokenizer_parts *parts);

/* A string; null leaves what there was. */
embed_status json_read_text(struct json_reader *json, struct text_copy *copy);

/* Reads a key of a model that WordPiece does not have; found: false where BPE has not, either. */
embed_status json_read_bpe_key(struct json_reader *json, struct json_string key,
                               struct tokenizer_parts *parts, bool *found);
/* Is a model, when all of it has been read, a BPE that we have? */
embed_status json_check_bpe(const struct json_reader *json,
                            const struct tokenizer_parts *parts);

/* Adds the merge of two texts, all of whose tokens must be in the vocabulary. EMBED_BAD_FILE with
 * "FILE: PLACE NUMBER: cause". */
embed_status bpe_add_merge(struct tokenizer_parts *parts, const char *file, const char *place,
                           size_t number, struct json_string left, struct json_string right);

/* A merge as one text, "LEFT RIGHT"; "#version..." is none, and left out. */
embed_status bpe_add_merge_line(struct tokenizer_parts *parts, const char *file,
                                const char *place, size_t number, struct json_string line);

/* Reads {"content": ..., "lstrip": ..., ...}: what is not there stays as it is. */
embed_status json_read_token(struct json_reader *json, struct json_string *text,
                             struct token_flags *flags, uint64_t *id, bool *has_normalized);

/* Reads {"103": {"content": "[MASK]", ...}, ...}. */
embed_status json_read_added_tokens_by_id(struct json_reader *json,
                                          struct tokenizer_parts *parts);

/* Reads {"content": ..., "normalized": ..., ...} and adds that token, with this id if the
 * object does not have it. */
embed_status json_read_added_token(struct json_reader *json, struct tokenizer_parts *parts,
                                   uint64_t id);

/* Reads the part that puts special tokens around a text. */
embed_status json_read_post_processor(struct json_reader *json, struct tokenizer_parts *parts);

#endif
