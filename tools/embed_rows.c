/* embed_rows.c - rows of floats as text, JSON lines, npy, or bare little-endian floats */
#include "embed_tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The header of an npy file: room for any number of rows, and a multiple of 64 bytes. */
#define NPY_HEADER 128

/* What stands around the numbers of a row of JSON. */
#define JSON_MARGIN 128

bool rows_start(row_writer *writer, tool_output *output, tool_format format, size_t width)
{
    *writer = (row_writer){.output = output, .format = format, .width = width};
    writer->scratch = tool_resize(NULL, width * FLOAT_TEXT_MAX + JSON_MARGIN, 1);
    if (format != FORMAT_NPY) return true;
    if (output->start < 0)
        return tool_error("%s: npy begins with the number of rows, known only at the end, and "
                          "this cannot be rewound: use -o FILE, or another --format",
                          output->name);
    /* The header proper comes last: until then no reader takes the file for an array. */
    static const char zeros[NPY_HEADER];
    return output_write(output, zeros, sizeof zeros);
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
    return output_write(writer->output, writer->scratch, (size_t)(end - writer->scratch));
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
    return output_write(writer->output, writer->scratch, (size_t)(p - writer->scratch));
}

static bool write_halves(row_writer *writer, const float *row)
{
    for (size_t i = 0; i < writer->width; i++) {
        uint16_t half = float_half(row[i]);
        memcpy(writer->scratch + i * sizeof half, &half, sizeof half);
    }
    return output_write(writer->output, writer->scratch, writer->width * sizeof(uint16_t));
}

bool rows_write(row_writer *writer, const float *row, const embed_item *item)
{
    bool written;
    switch (writer->format) {
    case FORMAT_TEXT: written = write_text(writer, row); break;
    case FORMAT_JSONL: written = write_json(writer, row, item); break;
    case FORMAT_F16: written = write_halves(writer, row); break;
    default: written = output_write(writer->output, row, writer->width * sizeof *row); break;
    }
    writer->rows++;
    return written;
}

bool rows_finish(row_writer *writer)
{
    if (writer->format != FORMAT_NPY) return true;
    char array[NPY_HEADER - 10];
    snprintf(array, sizeof array,
             "{'descr': '<f4', 'fortran_order': False, 'shape': (%ju, %zu), }",
             (uintmax_t)writer->rows, writer->width);
    /* Magic, version 1.0, length of the rest (little-endian), the array padded to the last
     * byte. */
    char header[NPY_HEADER + 1] = "\x93NUMPY\x01\x00";
    header[8] = NPY_HEADER - 10;
    snprintf(header + 10, sizeof header - 10, "%-*s\n", NPY_HEADER - 10 - 1, array);
    return output_patch(writer->output, header, NPY_HEADER);
}

void rows_close(row_writer *writer)
{
    free(writer->scratch);
}
