/* embed_similarity.c - embed similarity: the cosine of each pair of texts */
#include "embed_tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_CHARACTERS 48

typedef struct comparison {
    embed_model *model;
    embed_instance *instance;
    size_t width;
    size_t count;
    float *rows;                              /* (count, width), of length 1 */
    char (*labels)[4 * LABEL_CHARACTERS + 8]; /* "\xNN" is the longest form of a byte */
} comparison;

/* Bytes of the UTF-8 character at text[0..length); 0: there is none. */
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
    /* Too long a form, surrogates, beyond U+10FFFF. */
    if ((c[0] == 0xE0 && c[1] < 0xA0) || (c[0] == 0xED && c[1] > 0x9F) ||
        (c[0] == 0xF0 && c[1] < 0x90) || (c[0] == 0xF4 && c[1] > 0x8F))
        return 0;
    return n;
}

/* The beginning of the text, as is safe to print on a terminal. */
static void make_label(char *out, const embed_text *text)
{
    size_t i = 0;
    for (int shown = 0; i < text->length && shown < LABEL_CHARACTERS; shown++) {
        unsigned char first = (unsigned char)text->data[i];
        size_t n = character_length(text->data + i, text->length - i);
        bool control = first < 0x20 || first == 0x7F ||
                       (n == 2 && first == 0xC2 && (unsigned char)text->data[i + 1] < 0xA0);
        if (n == 0 || control) {
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

static bool add_texts(comparison *c, const embed_text *texts, size_t count,
                      const embed_encode_options *options)
{
    size_t total = c->count + count;
    c->rows = tool_resize(c->rows, total * c->width, sizeof *c->rows);
    c->labels = tool_resize(c->labels, total, sizeof *c->labels);
    if (embed_instance_encode(c->instance, texts, count, options, c->rows + c->count * c->width,
                              count * c->width, NULL) != EMBED_OK)
        return tool_error("%s", embed_error_message());
    for (size_t i = 0; i < count; i++) make_label(c->labels[c->count + i], &texts[i]);
    c->count = total;
    return true;
}

static bool add_lines(comparison *c, const embed_encode_options *options)
{
    line_block *block = tool_zeroed(sizeof *block); /* too large for the stack */
    line_reader reader;
    bool added = lines_open(&reader, NULL);
    while (added) {
        added = lines_next(&reader, block, LINES_MAX);
        if (!added || block->count == 0) break;
        added = add_texts(c, block->texts, block->count, options);
    }
    lines_close(&reader);
    lines_release(block);
    free(block);
    return added;
}

static bool add_operands(comparison *c, const tool_settings *settings,
                         const embed_encode_options *options)
{
    size_t count = settings->operand_count;
    embed_text *texts = tool_resize(NULL, count, sizeof *texts);
    for (size_t i = 0; i < count; i++)
        texts[i] = (embed_text){settings->operands[i], NULL, strlen(settings->operands[i])};
    bool added = add_texts(c, texts, count, options);
    free(texts);
    return added;
}

/* Numbers head the columns; each row ends with its text, so that nothing there, however wide,
 * moves a column. */
static void print_matrix(const comparison *c)
{
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
        printf("  %s\n", c->labels[i]);
    }
}

static bool compare(comparison *c, const tool_settings *settings, bool from_input)
{
    embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
    options.max_tokens = settings->max_tokens;
    options.normalize = EMBED_ON; /* the cosine is then the dot product */
    options.dimensions = settings->dimensions;
    options.prompt_name = settings->prompt;
    if (!tool_open_model(&c->model, settings) ||
        !tool_create_instance(&c->instance, c->model, settings) ||
        !tool_row_width(&c->width, c->model, settings))
        return false;
    if (from_input ? !add_lines(c, &options) : !add_operands(c, settings, &options))
        return false;
    if (c->count == 0) return tool_error("standard input: no lines");
    print_matrix(c);
    return true;
}

int command_similarity(const tool_settings *settings)
{
    bool from_input = settings->operand_count == 1 && strcmp(settings->operands[0], "-") == 0;
    if (settings->operand_count < 2 && !from_input) {
        tool_error("similarity: two texts or more are needed, or - for standard input");
        return EXIT_WRONG_CALL;
    }
    comparison c = {0};
    bool done = compare(&c, settings, from_input);
    embed_instance_destroy(c.instance);
    embed_model_close(c.model);
    free(c.rows);
    free(c.labels);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
