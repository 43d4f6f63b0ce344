/* folder.h - the files of a model folder */
#ifndef LIB_FORMATS_FOLDER_H
#define LIB_FORMATS_FOLDER_H

#include "embed.h"

#include <stdbool.h>
#include <stddef.h>

/* Checks that the folder exists. EMBED_INVALID_ARGUMENT for "", which would mean the root; EMBED_IO
 * for anything that is not a folder. */
embed_status folder_check(const char *folder);

/* Returns "FOLDER/NAME", or NULL if out of memory. Release with memory_free. */
char *folder_path(const char *folder, const char *name);

/* Returns whether `name` is that of something in the folder itself: a name read from a file must
 * not lead elsewhere. Links in the folder are followed: its maker put them there, as download
 * caches do. */
bool folder_is_plain_name(const char *name);

/* Sets *has to whether the folder contains anything of that name. A dangling link counts: opening
 * it then gives an error that names it. If the answer is unknown, fails with EMBED_IO instead of
 * setting false: the model would be opened without the file, and give different results. */
embed_status folder_has(bool *has, const char *folder, const char *name);

/* Fails with EMBED_BAD_FILE if bytes[0..length), the beginning of a file, are a Git LFS pointer: a
 * clone without git-lfs has these few lines in place of every large file. */
embed_status file_refuse_pointer(const char *path, const char *bytes, size_t length);

/* Reads the whole file, with a NUL after it. Release *text with memory_free. It must be a regular
 * file (or a link to one) of at most max_bytes; otherwise fails with EMBED_IO or EMBED_BAD_FILE and
 * the path. */
embed_status file_read(char **text, size_t *length, const char *path, size_t max_bytes);

#endif
