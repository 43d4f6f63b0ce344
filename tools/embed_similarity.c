/* embed_similarity.c - embed similarity: the cosine of each pair of texts */
#include "embed_tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_CHARACTERS 48
#define LABEL_BYTES      (4 * LABEL_CHARACTERS + 8) /* "\xNN" is the longest form of a byte */

typedef struct comparison {
    embed_text *texts;
    size_t count;
    line_block *input; /* owns the texts if they are lines of standard input; else NULL */
    embed_model *model;
    embed_instance *instance;
    size_t width;
    float *rows; /* (count, width), of length 1 */
} comparison;

/* Returns the number of bytes of the UTF-8 character at text[0..length), or 0 if it is not valid.
 * The library's own UTF-8 decoder is not part of embed.h. */
static size_t character_length(const char *text, size_t length)
{
    const unsigned char *c = (const unsigned char *)text;
    size_t n = 1;
    if (c[0] >= 0x80) {
        if (c[0] < 0xC2 || c[0] > 0xF4) return 0;
        n = c[0] < 0xE0 ? 2 : c[0] < 0xF0 ? 3 : 4;
    }
    if (n > length) return 0;
    for (size_t i = 1; i < n; i++) {
        if ((c[i] & 0xC0) != 0x80) return 0;
    }
    /* Overlong forms, surrogates, beyond U+10FFFF. */
    if ((c[0] == 0xE0 && c[1] < 0xA0) || (c[0] == 0xED && c[1] > 0x9F) ||
        (c[0] == 0xF0 && c[1] < 0x90) || (c[0] == 0xF4 && c[1] > 0x8F))
        return 0;
    return n;
}

/* Writes the beginning of the text, made safe to print on a terminal, to out[LABEL_BYTES]. */
static void make_label(char *out, const embed_text *text)
{
    size_t i = 0;
    for (int shown = 0; i < text->length && shown < LABEL_CHARACTERS; shown++) {
        unsigned char first = (unsigned char)text->data[i];
        size_t n = character_length(text->data + i, text->length - i);
        if (n == 0 || control_bytes(text->data + i, text->length - i) > 0) {
            out += sprintf(out, "\\x%02X", first);
            i++;
        } else {
            memcpy(out, text->data + i, n);
            out += n;
            i += n;
        }
    }
    strcpy(out, i < text->length ? "..." : "");
}

static void add_text(comparison *c, const char *text, size_t length)
{
    c->texts = tool_resize(c->texts, c->count + 1, sizeof *c->texts);
    c->texts[c->count++] = (embed_text){text, NULL, length};
}

/* Reads all lines, before the model is opened: with fewer than two it is not needed. */
static bool read_lines(comparison *c)
{
    line_reader reader;
    c->input = tool_zeroed(sizeof *c->input); /* too large for the stack */
    bool read = lines_open(&reader, NULL) && lines_rest(&reader, c->input);
    lines_close(&reader);
    if (!read || c->input->bytes == 0) return read;
    const char *line = c->input->texts[0].data, *end = line + c->input->texts[0].length, *newline;
    for (; (newline = memchr(line, '\n', (size_t)(end - line))) != NULL; line = newline + 1)
        add_text(c, line, (size_t)(newline - line));
    add_text(c, line, (size_t)(end - line));
    return true;
}

static bool embed_texts(comparison *c, const embed_encode_options *options)
{
    size_t truncated = 0;
    c->rows = tool_resize(NULL, c->count * c->width, sizeof *c->rows);
    embed_item *items = tool_resize(NULL, c->count, sizeof *items);
    bool done = embed_instance_encode(c->instance, c->texts, c->count, options, c->rows,
                                      c->count * c->width, items) == EMBED_OK ||
                tool_library_error();
    for (size_t i = 0; done && i < c->count; i++) truncated += items[i].truncated != 0;
    tool_tell_truncated(truncated, c->count);
    free(items);
    return done;
}

/* Columns are headed by numbers, and each row ends with its text, so that wide text moves no
 * column. */
static void print_matrix(const comparison *c)
{
    char label[LABEL_BYTES];
    int digits = snprintf(NULL, 0, "%zu", c->count);
    printf("%*s", digits, "");
    for (size_t k = 0; k < c->count; k++) printf("  %7zu", k + 1);
    printf("\n");
    for (size_t i = 0; i < c->count; i++) {
        printf("%*zu", digits, i + 1);
        for (size_t k = 0; k < c->count; k++) {
            double cosine = 0;
            for (size_t d = 0; d < c->width; d++)
                cosine += (double)c->rows[i * c->width + d] * (double)c->rows[k * c->width + d];
            printf("  %7.4f", cosine);
        }
        make_label(label, &c->texts[i]);
        printf("  %s\n", label);
    }
}

static bool compare(comparison *c, const tool_settings *settings)
{
    embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
    options.max_tokens = settings->max_tokens;
    options.normalize = EMBED_ON; /* so the dot product is the cosine */
    options.dimensions = settings->dimensions;
    options.prompt_name = settings->prompt;
    if (!tool_open_model(&c->model, settings) ||
        !tool_create_instance(&c->instance, c->model, settings) ||
        !tool_row_width(&c->width, c->model, settings) || !embed_texts(c, &options))
        return false;
    print_matrix(c);
    return true;
}

/* Returns the exit status. */
static int run(comparison *c, const tool_settings *settings)
{
    bool from_input = settings->operand_count == 1 && is_standard(settings->operands[0]);
    if (from_input && !read_lines(c)) return EXIT_FAILURE;
    for (size_t i = 0; !from_input && i < settings->operand_count; i++)
        add_text(c, settings->operands[i], strlen(settings->operands[i]));
    if (c->count < 2) {
        tool_error("similarity: needs at least two texts, as arguments or, with -, as lines of "
                   "standard input");
        return EXIT_WRONG_CALL;
    }
    return compare(c, settings) ? EXIT_SUCCESS : EXIT_FAILURE;
}

int command_similarity(const tool_settings *settings)
{
    comparison c = {0};
    int status = run(&c, settings);
    embed_instance_destroy(c.instance);
    embed_model_close(c.model);
    if (c.input != NULL) lines_release(c.input);
    free(c.input);
    free(c.texts);
    free(c.rows);
    return status;
}
