/* config_file.h - small JSON files, read strictly: those of a model folder, and batch profiles
 *
 * Every getter checks the type and the range of what it reads and fails with
 * "FILE: KEY is ..., must be ...". A key that is absent or null gives the default.
 */
#ifndef LIB_DESCRIPTION_CONFIG_FILE_H
#define LIB_DESCRIPTION_CONFIG_FILE_H

#include "embed.h"

#include <stdbool.h>
#include <stddef.h>

struct config_file;
/* An object of the file; valid until the file is closed. */
struct config_object;

/* Reads FOLDER/NAME, which must be JSON without duplicate keys. Where there is no such file:
 * EMBED_IO if it is required, else *file = NULL. On success the caller owns *file. */
embed_status config_file_open(struct config_file **file, const char *folder, const char *name,
                              bool required);
/* Likewise a file that must be there, by its path. */
embed_status config_file_open_path(struct config_file **file, const char *path);
void config_file_close(struct config_file *file); /* NULL is fine */

const char *config_file_path(const struct config_file *file);

/* The file as one object, or as an array of objects. */
embed_status config_file_object(const struct config_file *file, const struct config_object **out);
embed_status config_file_array(const struct config_file *file, size_t *count);
embed_status config_file_element(const struct config_file *file, size_t i,
                                 const struct config_object **out);

bool config_has(const struct config_file *file, const struct config_object *object,
                const char *key);

/* A whole number from `least` to `most`; absent: EMBED_BAD_FILE where `required`, else *out stays
 * as it is. Likewise the others. */
embed_status config_size(const struct config_file *file, const struct config_object *object,
                         const char *key, size_t least, size_t most, bool required, size_t *out);
embed_status config_number(const struct config_file *file, const struct config_object *object,
                           const char *key, double above, double below, bool required,
                           double *out);
embed_status config_boolean(const struct config_file *file, const struct config_object *object,
                            const char *key, bool required, bool *out);
/* The text stays valid until the file is closed. */
embed_status config_text(const struct config_file *file, const struct config_object *object,
                         const char *key, bool required, const char **out);
/* As config_size and config_text where they are not required, of a value that may stand in an array
 * by itself. An empty array is as absent; more than one value is EMBED_UNSUPPORTED. */
embed_status config_sole_size(const struct config_file *file, const struct config_object *object,
                              const char *key, size_t least, size_t most, size_t *out);
embed_status config_sole_text(const struct config_file *file, const struct config_object *object,
                              const char *key, const char **out);
bool config_is_text(const struct config_file *file, const struct config_object *object,
                    const char *key);
/* EMBED_UNSUPPORTED, "FILE: KEY is ..., which this version does not run", unless the value is
 * absent, null, false, empty, or the number `off`. */
embed_status config_must_be_off(const struct config_file *file, const struct config_object *object,
                                const char *key, double off);
/* EMBED_UNSUPPORTED, likewise, unless the value is absent, null, or this text. */
embed_status config_must_be(const struct config_file *file, const struct config_object *object,
                            const char *key, const char *text);
/* EMBED_UNSUPPORTED where there is a key that is not in `keys`, whose last is NULL. */
embed_status config_known_keys(const struct config_file *file, const struct config_object *object,
                               const char *const *keys);
/* Calls each(context, text) for a text, or for every text of an array; absent or null: not once. */
embed_status config_texts(const struct config_file *file, const struct config_object *object,
                          const char *key, embed_status (*each)(void *context, const char *text),
                          void *context);
/* An object below this one; absent: *out = NULL. */
embed_status config_child(const struct config_file *file, const struct config_object *object,
                          const char *key, const struct config_object **out);

/* Calls each(context, key, text) for every member, all of which must be texts; null is "". */
embed_status config_each_text(const struct config_file *file, const struct config_object *object,
                              embed_status (*each)(void *context, const char *key,
                                                   const char *text),
                              void *context);

#endif
