/* text_buffer.h - a growable text */
#ifndef LIB_BASE_TEXT_BUFFER_H
#define LIB_BASE_TEXT_BUFFER_H

#include "embed.h"

#include <stddef.h>

/* Zero-initialize; release with text_buffer_free. The text is not NUL-terminated. */
struct text_buffer {
    char *data;
    size_t length, capacity;
};

/* Appends text[0..length), which must not point into the buffer. */
embed_status text_buffer_add(struct text_buffer *buffer, const char *text, size_t length);
/* Appends printf-style formatted text, cut at 511 bytes. */
embed_status text_buffer_print(struct text_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Releases the memory and leaves an empty buffer. */
void text_buffer_free(struct text_buffer *buffer);

#endif
