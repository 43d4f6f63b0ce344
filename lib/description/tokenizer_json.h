/* tokenizer_json.h - shared by the readers of tokenizer.json and tokenizer_config.json */
#ifndef LIB_DESCRIPTION_TOKENIZER_JSON_H
#define LIB_DESCRIPTION_TOKENIZER_JSON_H

#include "description/tokenizer_parts.h"
#include "formats/json_reader.h"

/* Fails with EMBED_UNSUPPORTED, "FILE: PART TYPE is not supported". */
embed_status fail_unsupported(const struct json_reader *json, const char *part,
                              struct json_string type);
/* Fails with EMBED_BAD_FILE: `part` has no `key`. */
embed_status fail_missing(const struct json_reader *json, const char *part, const char *key);

/* Consumes a null; leaves any other value to be read. */
embed_status json_read_if_null(struct json_reader *json, bool *is_null);

/* Reads a token id, at most INT32_MAX. */
embed_status json_read_id(struct json_reader *json, int32_t *id);

/* Reads {"token": id, ...}. */
embed_status json_read_vocabulary(struct json_reader *json, struct tokenizer_parts *parts);

/* Reads a string; null leaves *copy unchanged. */
embed_status json_read_text(struct json_reader *json, struct text_copy *copy);

/* Reads a model's key that WordPiece does not have; sets *found to false, and reads nothing, if BPE
 * does not have it either. */
embed_status json_read_bpe_key(struct json_reader *json, struct json_string key,
                               struct tokenizer_parts *parts, bool *found);
/* Checks, after the whole model has been read, that it is a supported BPE model. */
embed_status json_check_bpe(const struct json_reader *json,
                            const struct tokenizer_parts *parts);

/* Adds the merge of two tokens; both and their concatenation must be in the vocabulary. Fails with
 * EMBED_BAD_FILE, "FILE: PLACE NUMBER: cause". */
embed_status bpe_add_merge(struct tokenizer_parts *parts, const char *file, const char *place,
                           size_t number, struct json_string left, struct json_string right);

/* Adds a merge written as "LEFT RIGHT"; skips a "#version..." line. */
embed_status bpe_add_merge_line(struct tokenizer_parts *parts, const char *file,
                                const char *place, size_t number, struct json_string line);

/* Reads {"content": ..., "lstrip": ..., ...}; absent keys leave their outputs unchanged. */
embed_status json_read_token(struct json_reader *json, struct json_string *text,
                             struct token_flags *flags, uint64_t *id, bool *has_normalized);

/* Reads {"103": {"content": "[MASK]", ...}, ...}. */
embed_status json_read_added_tokens_by_id(struct json_reader *json,
                                          struct tokenizer_parts *parts);

/* Reads {"content": ..., "normalized": ..., ...} and adds that token, with the id `id` unless the
 * object has its own. */
embed_status json_read_added_token(struct json_reader *json, struct tokenizer_parts *parts,
                                   uint64_t id);

/* Reads the post_processor, which puts special tokens around a text. */
embed_status json_read_post_processor(struct json_reader *json, struct tokenizer_parts *parts);

#endif
