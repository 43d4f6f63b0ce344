/* text_buffer.c - a growable text */
#include "base/text_buffer.h"

#include "base/memory.h"
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FIRST_CAPACITY 256
#define MOST_PRINTED   512

embed_status text_buffer_add(struct text_buffer *buffer, const char *text, size_t length)
{
    if (buffer->capacity - buffer->length < length) {
        size_t needed, capacity;
        if (!size_add(buffer->length, length, &needed) || !size_multiply(needed, 2, &capacity))
            return fail(EMBED_OUT_OF_MEMORY, "out of memory: text size overflows");
        if (capacity < FIRST_CAPACITY) capacity = FIRST_CAPACITY;
        char *grown = memory_resize(buffer->data, capacity, 1, "a text");
        if (grown == NULL) return EMBED_OUT_OF_MEMORY;
        buffer->data = grown;
        buffer->capacity = capacity;
    }
    if (length > 0) memcpy(buffer->data + buffer->length, text, length);
    buffer->length += length;
    return EMBED_OK;
}

embed_status text_buffer_print(struct text_buffer *buffer, const char *format, ...)
{
    char text[MOST_PRINTED];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(text, sizeof text, format, values);
    va_end(values);
    return text_buffer_add(buffer, text, length < MOST_PRINTED ? (size_t)length : MOST_PRINTED - 1);
}

void text_buffer_free(struct text_buffer *buffer)
{
    memory_free(buffer->data);
    *buffer = (struct text_buffer){0};
}
