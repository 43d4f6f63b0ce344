/* gpt2_words.c - splits text into words as GPT-2's pattern does */
#include "description/gpt2_words.h"

static inline enum gpt2_class class_at(const struct gpt2_classes *classes, const char *text,
                                       size_t length)
{
    unsigned char byte = (unsigned char)text[0];
    return byte < 0x80 ? (enum gpt2_class)classes->ascii[byte]
                       : gpt2_class_of(classes, utf8_decode(text, length).code);
}

/* Extends the word text[0..word.length) by the characters of `class` that follow it. */
static struct gpt2_word take_run(const struct gpt2_classes *classes, const char *text,
                                 size_t length, struct gpt2_word word, enum gpt2_class class)
{
    size_t at = word.length;
    for (;;) {
        while (at < length && (unsigned char)text[at] < 0x80 &&
               classes->ascii[(unsigned char)text[at]] == class)
            at++;
        if (at == length || (unsigned char)text[at] < 0x80) break;
        struct utf8_character c = utf8_decode(text + at, length - at);
        if (gpt2_class_of(classes, c.code) != class) break;
        if (!c.valid) word.invalid_bytes += c.bytes;
        at += c.bytes;
    }
    word.length = at;
    word.is_open = at == length;
    return word;
}

/* Returns the length in bytes of the contraction that `text` begins with, or 0 if there is none.
 * `text` begins with an apostrophe. */
static size_t contraction(const char *text, size_t length)
{
    char first = length > 1 ? text[1] : '\0', second = length > 2 ? text[2] : '\0';
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
    return ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l')
               ? 3
               : 0;
}

/* Takes a run of white space. If a word follows, leaves it the last character of the run, unless
 * the run has no other. */
static struct gpt2_word take_space(const struct gpt2_classes *classes, const char *text,
                                   size_t length, bool has_space)
{
    struct gpt2_word word = take_run(classes, text, length, (struct gpt2_word){0}, GPT2_SPACE);
    if (word.is_open) return word;
    size_t last = word.length - 1;
    while (((unsigned char)text[last] & 0xC0) == 0x80) last--; /* white space is valid UTF-8 */
    if (last > 0 || has_space) word.length = last;
    return word;
}

struct gpt2_word gpt2_word_first(const struct gpt2_classes *classes, const char *text,
                                 size_t length, bool has_space)
{
    struct gpt2_word word = {0};
    if (text[0] == '\'' && !has_space) {
        word.length = contraction(text, length);
        if (word.length > 0) return word;
        word = take_run(classes, text, length, word, GPT2_OTHER);
        if (length < 3) word.is_open = true; /* 'r may become 're */
        return word;
    }
    if (text[0] == ' ' && !has_space) word.length = 1;
    if (word.length == length) return (struct gpt2_word){.length = length, .is_open = true};
    enum gpt2_class class = class_at(classes, text + word.length, length - word.length);
    if (class == GPT2_SPACE) return take_space(classes, text, length, has_space);
    return take_run(classes, text, length, word, class);
}
