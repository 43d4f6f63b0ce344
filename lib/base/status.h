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
 * write `return fail(EMBED_IO, "%s: %s", path, strerror(errno));`. Cleans the message, and cuts it
 * at 1023 bytes. */
embed_status fail(embed_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Replaces the control characters U+0001 to U+001F and U+007F to U+009F with '?', so that the
 * message is one line and does nothing to a terminal: names and contents of files end up in
 * messages. */
void clean_message(char *message);

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
