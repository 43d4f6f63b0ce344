/* status.h - how every function of the library reports failure
 *
 * A function that can fail returns an embed_status. On failure it calls fail() once, with a message
 * that names the file or argument and the cause; all functions above it only forward the status.
 */
#ifndef LIB_BASE_STATUS_H
#define LIB_BASE_STATUS_H

#include "embed.h"

#include <stddef.h>

/* Stores the message as this thread's last failure and returns `status`, so that the caller can
 * write `return fail(EMBED_IO, "%s: %s", path, strerror(errno));`. Replaces control characters with
 * '?' (file names and file contents end up in messages), so a message is always one line. Cuts it
 * at 1023 bytes. */
embed_status fail(embed_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Returns this thread's last failure. Never NULL; "" if there was none. Valid until the thread's
 * next fail(). */
const char *error_message(void);

/* Returns from the calling function if `call` fails. */
#define TRY(call)                                                                                \
    do {                                                                                         \
        embed_status try_status_ = (call);                                                       \
        if (try_status_ != EMBED_OK) return try_status_;                                         \
    } while (0)

#endif
