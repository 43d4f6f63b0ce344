/* log.c - the process-wide log callback */
#include "log.h"

#include "base/status.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static struct {
    pthread_rwlock_t lock;
    embed_log_callback callback;
    void *user;
    embed_log_level level;
} log_target = {.lock = PTHREAD_RWLOCK_INITIALIZER};

void log_set(embed_log_callback callback, void *user, embed_log_level level)
{
    pthread_rwlock_wrlock(&log_target.lock);
    log_target.callback = callback;
    log_target.user = user;
    log_target.level = level;
    pthread_rwlock_unlock(&log_target.lock);
}

void log_message(embed_log_level level, const char *format, ...)
{
    /* Held while the callback runs: once log_set has returned, the old callback is not running. */
    pthread_rwlock_rdlock(&log_target.lock);
    if (log_target.callback != NULL && level <= log_target.level) {
        char message[1024];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(message, sizeof message, format, arguments);
        va_end(arguments);
        clean_message(message);
        log_target.callback(log_target.user, level, message);
    }
    pthread_rwlock_unlock(&log_target.lock);
}
