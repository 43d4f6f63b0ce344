/* bert_unicode.c - properties of code points, from the generated tables */
#include "description/bert_unicode.h"

#include "base/memory.h"

struct code_range {
    uint32_t first, last;
};

struct nonstarter_range {
    uint32_t first, last;
    unsigned rank;
};

/* The code points first, first + stride, ..., last have the lower case code + distance. */
struct lower_run {
    uint32_t first, last, stride;
    int32_t distance;
};

#include "description/bert_unicode_tables.h"

#define COUNT(array)        (sizeof(array) / sizeof((array)[0]))
#define CAPITAL_I_WITH_DOT  0x130u /* the only one with a lower case of two code points */
#define COMBINING_DOT_ABOVE 0x307u

/* ---- all code points at once ------------------------------------------------------------- */

static void add_property(uint16_t *properties, const struct code_range *ranges, size_t count,
                         enum bert_property property)
{
    for (size_t i = 0; i < count; i++)
        for (uint32_t code = ranges[i].first; code <= ranges[i].last; code++)
            properties[code] |= (uint16_t)property;
}

uint16_t *bert_unicode_properties(void)
{
    uint16_t *all = memory_allocate(UNICODE_LIMIT, sizeof *all, "the properties of characters");
    if (all == NULL) return NULL;

    add_property(all, removed_ranges, COUNT(removed_ranges), BERT_REMOVED);
    add_property(all, cleaned_to_space_ranges, COUNT(cleaned_to_space_ranges),
                 BERT_CLEANED_TO_SPACE);
    add_property(all, cjk_ranges, COUNT(cjk_ranges), BERT_CJK);
    add_property(all, whitespace_ranges, COUNT(whitespace_ranges), BERT_WHITESPACE);
    add_property(all, punctuation_ranges, COUNT(punctuation_ranges), BERT_PUNCTUATION);
    add_property(all, starter_mark_ranges, COUNT(starter_mark_ranges), BERT_STARTER_MARK);
    add_property(all, nonstarter_mark_ranges, COUNT(nonstarter_mark_ranges),
                 BERT_NONSTARTER_MARK);
    add_property(all, decomposed_ranges, COUNT(decomposed_ranges), BERT_DECOMPOSED);
    for (size_t i = 0; i < COUNT(nonstarter_ranges); i++)
        for (uint32_t code = nonstarter_ranges[i].first; code <= nonstarter_ranges[i].last;
             code++)
            all[code] |= BERT_NONSTARTER;
    for (size_t i = 0; i < COUNT(lower_runs); i++)
        for (uint32_t code = lower_runs[i].first; code <= lower_runs[i].last;
             code += lower_runs[i].stride)
            all[code] |= BERT_HAS_LOWER_CASE;
    all[CAPITAL_I_WITH_DOT] |= BERT_HAS_LOWER_CASE;
    return all;
}

/* ---- one code point ---------------------------------------------------------------------- */

static bool is_in(uint32_t code, const struct code_range *ranges, size_t count)
{
    size_t low = 0, high = count; /* the range that may hold `code` is in [low, high] */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (code > ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && code >= ranges[low].first;
}

size_t bert_unicode_lower(uint32_t out[2], uint32_t code)
{
    if (code == CAPITAL_I_WITH_DOT) {
        out[0] = 'i';
        out[1] = COMBINING_DOT_ABOVE;
        return 2;
    }
    out[0] = code;
    for (size_t i = 0; i < COUNT(lower_runs) && lower_runs[i].first <= code; i++) {
        const struct lower_run *run = &lower_runs[i];
        if (code > run->last || (code - run->first) % run->stride != 0) continue;
        out[0] = (uint32_t)((int32_t)code + run->distance);
        break;
    }
    return 1;
}

unsigned bert_unicode_combining_rank(uint32_t code)
{
    for (size_t i = 0; i < COUNT(nonstarter_ranges); i++)
        if (code >= nonstarter_ranges[i].first && code <= nonstarter_ranges[i].last)
            return nonstarter_ranges[i].rank;
    return 0;
}

bool bert_unicode_is_word(uint32_t code)
{
    return is_in(code, word_ranges, COUNT(word_ranges));
}

/* ---- decompositions ---------------------------------------------------------------------- */

static uint64_t checksum_add(uint64_t sum, uint32_t number)
{
    for (unsigned shift = 0; shift < 32; shift += 8)
        sum = (sum ^ (number >> shift & 0xFF)) * UINT64_C(0x100000001B3);
    return sum;
}

uint64_t bert_unicode_decompositions_checksum(void)
{
    uint64_t sum = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < COUNT(decomposed_ranges); i++) {
        for (uint32_t code = decomposed_ranges[i].first; code <= decomposed_ranges[i].last;
             code++) {
            uint32_t parts[UNICODE_MAX_DECOMPOSITION];
            size_t count = unicode_decompose(parts, code);
            sum = checksum_add(sum, code);
            for (size_t k = 0; k < count; k++) sum = checksum_add(sum, parts[k]);
        }
    }
    return sum;
}

uint64_t bert_unicode_expected_checksum(void)
{
    return DECOMPOSITIONS_CHECKSUM;
}
