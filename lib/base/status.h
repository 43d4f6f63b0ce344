/* status.h - how every function of the library reports failure
 *
 * A function that can fail returns an embed_status. Where it fails, it calls fail() once, with a
 * sentence that names the file or argument and the cause; everything above only forwards.
 */
#ifndef LIB_BASE_STATUS_H
#define LIB_BASE_STATUS_H

#include "embed.h"

#include <stddef.h>

/* Keeps the sentence as this thread's last failure and returns `status`, so that the caller
 * can write `return fail(EMBED_IO, "%s: %s", path, strerror(errno));`.
 * Control characters (file names and file contents end up here) are replaced by '?', so that
 * a message is always one line; it is cut at 1023 bytes. */
embed_status fail(embed_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* This thread's last failure. Never NULL; "" when there was none. Valid until the next fail(). */
const char *error_message(void);

/* Forwards a failure to the caller. */
#define TRY(call)                                                                                \
    do {                                                                                         \
        embed_status try_status_ = (call);                                                       \
        if (try_status_ != EMBED_OK) return try_status_;                                         \
    } while (0)

#endif
