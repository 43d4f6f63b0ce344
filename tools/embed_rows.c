/* embed_rows.c - rows of floats as text, JSON lines, npy, or bare little-endian floats */
#include "embed_tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for everything but the numbers in a row of JSON. */
#define JSON_MARGIN 128

static void start(row_writer *writer, tool_output *output, tool_format format, size_t width)
{
    *writer = (row_writer){.output = output, .format = format, .width = width};
    writer->scratch = tool_resize(NULL, width * FLOAT_TEXT_MAX + JSON_MARGIN, 1);
}

bool rows_start(row_writer *writer, tool_output *output, tool_format format, size_t width)
{
    start(writer, output, format, width);
    if (format != FORMAT_NPY) return true;
    if (output->start < 0)
        return tool_error("%s: npy begins with the number of rows, known only at the end, and "
                          "this output is not seekable; use -o FILE or another --format",
                          output->name);
    /* The real header is written last: until then no reader takes the file for an array. */
    static const char zeros[NPY_HEADER];
    return output_write(output, zeros, sizeof zeros);
}

void rows_go_on(row_writer *writer, tool_output *output, tool_format format, size_t width,
                uint64_t rows, const tool_hash *hash)
{
    start(writer, output, format, width);
    writer->rows = rows;
    writer->hash = *hash;
}

static bool write_row(row_writer *writer, const void *bytes, size_t count)
{
    hash_add(&writer->hash, bytes, count);
    return output_write(writer->output, bytes, count);
}

static char *put_floats(char *out, const float *row, size_t width, char separator)
{
    for (size_t i = 0; i < width; i++) {
        if (i > 0) *out++ = separator;
        out += float_text(out, row[i]);
    }
    return out;
}

static bool write_text(row_writer *writer, const float *row)
{
    char *end = put_floats(writer->scratch, row, writer->width, ' ');
    *end++ = '\n';
    return write_row(writer, writer->scratch, (size_t)(end - writer->scratch));
}

static bool write_json(row_writer *writer, const float *row, const embed_item *item)
{
    char *p = writer->scratch;
    p += sprintf(p, "{\"index\":%ju,\"embedding\":", (uintmax_t)writer->rows);
    if (item->status == EMBED_OK) {
        *p++ = '[';
        p = put_floats(p, row, writer->width, ',');
        *p++ = ']';
    } else {
        p += sprintf(p, "null"); /* JSON has no NaN */
    }
    p += sprintf(p, ",\"tokens\":%zu,\"truncated\":%s}\n", item->tokens,
                 item->truncated ? "true" : "false");
    return write_row(writer, writer->scratch, (size_t)(p - writer->scratch));
}

static bool write_halves(row_writer *writer, const float *row)
{
    for (size_t i = 0; i < writer->width; i++) {
        uint16_t half = float_half(row[i]);
        memcpy(writer->scratch + i * sizeof half, &half, sizeof half);
    }
    return write_row(writer, writer->scratch, writer->width * sizeof(uint16_t));
}

bool rows_write(row_writer *writer, const float *row, const embed_item *item)
{
    bool written;
    switch (writer->format) {
    case FORMAT_TEXT: written = write_text(writer, row); break;
    case FORMAT_JSONL: written = write_json(writer, row, item); break;
    case FORMAT_F16: written = write_halves(writer, row); break;
    default: written = write_row(writer, row, writer->width * sizeof *row); break;
    }
    writer->rows++;
    return written;
}

size_t rows_header(char *out, tool_format format, uint64_t rows, size_t width)
{
    if (format != FORMAT_NPY) return 0;
    char array[NPY_HEADER - 10];
    snprintf(array, sizeof array,
             "{'descr': '<f4', 'fortran_order': False, 'shape': (%ju, %zu), }", (uintmax_t)rows,
             width);
    /* Magic, version 1.0, length of the rest (little-endian); then the array's description, padded
     * with spaces up to the final line feed. */
    memcpy(out, "\x93NUMPY\x01\x00\x76\x00", 10);
    memset(out + 10, ' ', NPY_HEADER - 10);
    memcpy(out + 10, array, strlen(array));
    out[NPY_HEADER - 1] = '\n';
    return NPY_HEADER;
}

bool rows_finish(row_writer *writer)
{
    char header[NPY_HEADER];
    size_t length = rows_header(header, writer->format, writer->rows, writer->width);
    return length == 0 || output_patch(writer->output, header, length);
}

void rows_close(row_writer *writer)
{
    free(writer->scratch);
}
