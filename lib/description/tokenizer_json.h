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

/* Reads {"content": ..., "normalized": ..., ...} and adds that token, with this id if the
 * object does not have it. */
embed_status json_read_added_token(struct json_reader *json, struct tokenizer_parts *parts,
                                   uint64_t id);

/* Reads the part that puts special tokens around a text. */
embed_status json_read_post_processor(struct json_reader *json, struct tokenizer_parts *parts);

#endif
