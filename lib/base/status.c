/* status.c - this thread's last failure, and the names of the status codes */
#include "status.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char last_message[1024];

embed_status fail(embed_status status, const char *format, ...)
{
    /* The arguments may point into last_message (a failure that quotes another one). */
    char message[sizeof last_message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);

    size_t i = 0;
    for (; message[i] != '\0'; i++) {
        unsigned char c = (unsigned char)message[i];
        last_message[i] = (c < 0x20 || c == 0x7F) ? '?' : message[i];
    }
    last_message[i] = '\0';
    return status;
}

const char *error_message(void)
{
    return last_message;
}
