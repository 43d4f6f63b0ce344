/* gpt2_unicode.c - classes of code points, from the generated tables */
#include "description/gpt2_unicode.h"

#include "base/memory.h"

#include <stddef.h>

struct code_range {
    uint32_t first, last;
};

#include "description/gpt2_unicode_tables.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void set_class(struct gpt2_classes *classes, const struct code_range *ranges,
                      size_t count, enum gpt2_class class)
{
    for (size_t i = 0; i < count; i++)
        for (uint32_t code = ranges[i].first; code <= ranges[i].last; code++)
            classes->four[code / 4] |= (uint8_t)(class << code % 4 * 2);
}

struct gpt2_classes *gpt2_classes_create(void)
{
    struct gpt2_classes *classes =
        memory_allocate(1, sizeof *classes, "the classes of characters");
    if (classes == NULL) return NULL;
    set_class(classes, letter_ranges, COUNT(letter_ranges), GPT2_LETTER);
    set_class(classes, number_ranges, COUNT(number_ranges), GPT2_NUMBER);
    set_class(classes, space_ranges, COUNT(space_ranges), GPT2_SPACE);
    for (uint32_t code = 0; code < 128; code++)
        classes->ascii[code] = (uint8_t)gpt2_class_of(classes, code);
    return classes;
}
