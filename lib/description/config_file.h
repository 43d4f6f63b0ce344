/* config_file.h - reads small JSON files strictly: those of a model folder, and batch profiles
 *
 * Every getter checks the type and range of the value and fails with "FILE: KEY is ..., must be
 * ...". A key that is absent or null gives the default.
 */
#ifndef LIB_DESCRIPTION_CONFIG_FILE_H
#define LIB_DESCRIPTION_CONFIG_FILE_H

#include "embed.h"

#include <stdbool.h>
#include <stddef.h>

struct config_file;
/* An object of the file; valid until the file is closed. */
struct config_object;

/* Reads FOLDER/NAME, which must be JSON without duplicate keys. If there is no such file, fails
 * with EMBED_IO if it is required, else sets *file to NULL. On success the caller owns *file. */
embed_status config_file_open(struct config_file **file, const char *folder, const char *name,
                              bool required);
/* The same for a required file, by its path. */
embed_status config_file_open_path(struct config_file **file, const char *path);
void config_file_close(struct config_file *file); /* NULL is fine */

const char *config_file_path(const struct config_file *file);

/* Access the file as one object, or as an array of objects; EMBED_BAD_FILE if it is not one. */
embed_status config_file_object(const struct config_file *file, const struct config_object **out);
embed_status config_file_array(const struct config_file *file, size_t *count);
embed_status config_file_element(const struct config_file *file, size_t i,
                                 const struct config_object **out);

bool config_has(const struct config_file *file, const struct config_object *object,
                const char *key);

/* Reads a whole number from `least` to `most`. If the key is absent, fails with EMBED_BAD_FILE if
 * `required`, else leaves *out unchanged. The same holds for the getters that follow. */
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
/* Like config_size and config_text with `required` false, for a value that may be the only element
 * of an array. An empty array counts as absent; more than one element is EMBED_UNSUPPORTED. */
embed_status config_sole_size(const struct config_file *file, const struct config_object *object,
                              const char *key, size_t least, size_t most, size_t *out);
embed_status config_sole_text(const struct config_file *file, const struct config_object *object,
                              const char *key, const char **out);
bool config_is_text(const struct config_file *file, const struct config_object *object,
                    const char *key);
/* Fails with EMBED_UNSUPPORTED, "FILE: KEY is ..., which this version does not support", unless
 * the value is absent, null, false, empty, or the number `off`. */
embed_status config_must_be_off(const struct config_file *file, const struct config_object *object,
                                const char *key, double off);
/* Fails likewise unless the value is absent, null, or the string `text`. */
embed_status config_must_be(const struct config_file *file, const struct config_object *object,
                            const char *key, const char *text);
/* Fails with EMBED_UNSUPPORTED if the object has a key that is not in `keys`, a NULL-terminated
 * list. */
embed_status config_known_keys(const struct config_file *file, const struct config_object *object,
                               const char *const *keys);
/* Calls each(context, text) for a string, or for every string of an array; not at all if the key is
 * absent or null. */
embed_status config_texts(const struct config_file *file, const struct config_object *object,
                          const char *key, embed_status (*each)(void *context, const char *text),
                          void *context);
/* Calls each(context, text) for every member of an array or object: a string, or an object with its
 * text as "content"; not at all if the key is absent or null. */
embed_status config_contents(const struct config_file *file, const struct config_object *object,
                             const char *key,
                             embed_status (*each)(void *context, const char *text), void *context);
/* Gets the object that is the value of `key`; sets *out to NULL if it is absent or null. */
embed_status config_child(const struct config_file *file, const struct config_object *object,
                          const char *key, const struct config_object **out);

/* Calls each(context, key, text) for every member. All must be strings or null, which is passed as
 * "". */
embed_status config_each_text(const struct config_file *file, const struct config_object *object,
                              embed_status (*each)(void *context, const char *key,
                                                   const char *text),
                              void *context);

#endif
