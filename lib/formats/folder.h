/* folder.h - files of a model folder */
#ifndef LIB_FORMATS_FOLDER_H
#define LIB_FORMATS_FOLDER_H

#include "embed.h"

#include <stdbool.h>
#include <stddef.h>

/* EMBED_INVALID_ARGUMENT for "", which would be the root's; EMBED_IO for what is no folder. */
embed_status folder_check(const char *folder);

/* "FOLDER/NAME", to be released with memory_free; NULL when out of memory. */
char *folder_path(const char *folder, const char *name);

/* Is it the name of something in a folder itself? What a file says may lead nowhere else. Links in
 * the folder are followed: whoever made it has put them there, as the caches of downloads do. */
bool folder_is_plain_name(const char *name);

/* Is there anything of that name? A link that leads nowhere counts: its opening then names it.
 * What cannot be looked at is EMBED_IO and never "no": the model would be opened without it, and
 * give other results. */
embed_status folder_has(bool *has, const char *folder, const char *name);

/* EMBED_BAD_FILE where bytes[0..length), a file's beginning, are of a Git LFS pointer: a clone
 * without git-lfs has these few lines in the place of every large file. */
embed_status file_refuse_pointer(const char *path, const char *bytes, size_t length);

/* The whole file with a NUL behind it, to be released with memory_free. A regular file (or a link
 * to one) of at most max_bytes; else EMBED_IO or EMBED_BAD_FILE, naming the path. */
embed_status file_read(char **text, size_t *length, const char *path, size_t max_bytes);

#endif
