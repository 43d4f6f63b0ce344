/* log.h - messages for the caller's log callback; nothing is ever printed */
#ifndef LIB_BASE_LOG_H
#define LIB_BASE_LOG_H

#include "embed.h"

/* Passes the message to the log callback, or drops it unformatted if none wants this level.
 * Thread-safe. */
void log_message(embed_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* See embed_log_set. */
void log_set(embed_log_callback callback, void *user, embed_log_level level);

#endif
