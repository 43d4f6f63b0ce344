/* status.c - this thread's last failure */
#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_message[1024];

void clean_message(char *message)
{
    for (size_t i = 0; message[i] != '\0'; i++) {
        unsigned char c = (unsigned char)message[i], next = (unsigned char)message[i + 1];
        if (c < 0x20 || c == 0x7F) message[i] = '?';
        if (c == 0xC2 && next >= 0x80 && next < 0xA0) message[i] = message[i + 1] = '?';
    }
}

embed_status fail(embed_status status, const char *format, ...)
{
    /* The arguments may point into last_message, if a failure quotes an earlier one. */
    char message[sizeof last_message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    clean_message(message);
    memcpy(last_message, message, sizeof last_message);
    return status;
}

const char *error_message(void)
{
    return last_message;
}
