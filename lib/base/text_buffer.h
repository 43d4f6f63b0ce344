/* text_buffer.h - a text that grows */
#ifndef LIB_BASE_TEXT_BUFFER_H
#define LIB_BASE_TEXT_BUFFER_H

#include "embed.h"

#include <stddef.h>

/* Starts zeroed; grows; release with text_buffer_free. No NUL is put behind the text. */
struct text_buffer {
    char *data;
    size_t length, capacity;
};

/* Appends text[0..length), which is not a part of the buffer. */
embed_status text_buffer_add(struct text_buffer *buffer, const char *text, size_t length);
/* As printf: at most 511 bytes. */
embed_status text_buffer_print(struct text_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Leaves an empty buffer. */
void text_buffer_free(struct text_buffer *buffer);

#endif
