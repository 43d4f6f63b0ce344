/* normalizer.c - builds and reads the table of what each character becomes */
#include "description/normalizer.h"

#include "base/memory.h"
#include "base/status.h"
#include "description/bert_unicode.h"

#include <string.h>

#define BLOCK_BITS NORMALIZER_BLOCK_BITS
#define BLOCK      (1u << BLOCK_BITS)
#define BLOCKS     (UNICODE_LIMIT >> BLOCK_BITS)

/* Kinds of table entries in addition to those of normalized_kind. */
enum entry_kind {
    ENTRY_REMOVED = NORMALIZED_BARRIER + 1,
    ENTRY_ISOLATED, /* value with a space on each side */
    ENTRY_HANGUL,   /* the jamo of this syllable */
    ENTRY_SEQUENCE  /* sequences[value] is the count of the entries that follow it */
};

#define ENTRY(kind, value) ((uint32_t)(kind) << 24 | (value))
#define FIRST_HANGUL       0xAC00u
#define LAST_HANGUL        0xD7A3u

struct builder {
    struct normalizer *normalizer;
    struct normalizer_options options;
    uint16_t *properties;
    size_t blocks, block_capacity;
    size_t sequence_length, sequence_capacity;
};

/* ---- lookup ------------------------------------------------------------------------------ */

/* Decomposes a syllable by the arithmetic of the Unicode standard, section 3.12: 21 vowels by 28
 * final consonants, the first of which means none. */
static size_t expand_hangul(uint32_t code, struct normalized *out)
{
    uint32_t syllable = code - FIRST_HANGUL, final = syllable % 28;
    out[0] = (struct normalized){0x1100 + syllable / (21 * 28), NORMALIZED_WORD};
    out[1] = (struct normalized){0x1161 + syllable / 28 % 21, NORMALIZED_WORD};
    out[2] = (struct normalized){0x11A7 + final, NORMALIZED_WORD};
    return final > 0 ? 3 : 2;
}

size_t normalizer_expand(const struct normalizer *normalizer, uint32_t code,
                         struct normalized out[NORMALIZER_MAX_EXPANSION])
{
    uint32_t entry = normalizer_entry(normalizer, code);
    struct normalized unit = normalizer_entry_unit(entry, code);
    static const struct normalized space = {' ', NORMALIZED_SPACE};

    switch ((uint32_t)unit.kind) {
    case ENTRY_REMOVED: return 0;
    case ENTRY_ISOLATED:
        out[0] = out[2] = space;
        out[1] = (struct normalized){unit.code, NORMALIZED_WORD};
        return 3;
    case ENTRY_HANGUL: return expand_hangul(code, out);
    case ENTRY_SEQUENCE: {
        const uint32_t *sequence = &normalizer->sequences[entry & 0xFFFFFFu];
        for (uint32_t i = 0; i < sequence[0]; i++)
            out[i] = normalizer_entry_unit(sequence[1 + i], 0);
        return sequence[0];
    }
    default: out[0] = unit; return 1;
    }
}

/* ---- building ---------------------------------------------------------------------------- */

static enum normalized_kind kind_of(const struct builder *builder, uint32_t code)
{
    unsigned properties = builder->properties[code];
    if (properties & BERT_WHITESPACE) return NORMALIZED_SPACE;
    if (properties & BERT_PUNCTUATION) return NORMALIZED_PUNCTUATION;
    /* Marks are put in order only by the decomposition that precedes stripping accents. */
    if (builder->options.strip_accents && (properties & BERT_NONSTARTER))
        return NORMALIZED_NONSTARTER;
    return NORMALIZED_WORD;
}

/* Writes what one code point of a decomposition becomes; returns the number of units. */
static size_t expand_part(const struct builder *builder, uint32_t code, struct normalized *out)
{
    unsigned properties = builder->properties[code];
    if (builder->options.strip_accents && (properties & BERT_NONSTARTER_MARK)) return 0;
    if (builder->options.strip_accents && (properties & BERT_STARTER_MARK)) {
        out[0] = (struct normalized){0, NORMALIZED_BARRIER};
        return 1;
    }
    uint32_t lower[2] = {code};
    size_t count = 1;
    if (builder->options.lowercase && (properties & BERT_HAS_LOWER_CASE))
        count = bert_unicode_lower(lower, code);
    for (size_t i = 0; i < count; i++)
        out[i] = (struct normalized){lower[i], kind_of(builder, lower[i])};
    return count;
}

/* BertNormalizer, followed literally for one character. */
static size_t expand(const struct builder *builder, uint32_t code, struct normalized *out)
{
    unsigned properties = builder->properties[code];
    static const struct normalized space = {' ', NORMALIZED_SPACE};
    size_t count = 0;
    if (builder->options.clean_text && (properties & BERT_REMOVED)) return 0;
    if (builder->options.clean_text && (properties & BERT_CLEANED_TO_SPACE)) {
        out[0] = space;
        return 1;
    }
    bool isolated = builder->options.handle_chinese_chars && (properties & BERT_CJK);
    if (isolated) out[count++] = space;
    uint32_t parts[UNICODE_MAX_DECOMPOSITION] = {code};
    size_t part_count = 1;
    if (builder->options.strip_accents && (properties & BERT_DECOMPOSED))
        part_count = unicode_decompose(parts, code);
    for (size_t i = 0; i < part_count; i++)
        count += expand_part(builder, parts[i], out + count);
    if (isolated) out[count++] = space;
    return count;
}

static embed_status add_sequence(struct builder *builder, const struct normalized *units,
                                 size_t count, uint32_t *entry)
{
    struct normalizer *normalizer = builder->normalizer;
    size_t start = builder->sequence_length, needed = start + 1 + count;
    if (needed > builder->sequence_capacity) {
        size_t capacity = 2 * needed;
        uint32_t *grown = memory_resize(normalizer->sequences, capacity, sizeof *grown,
                                        "the normalizer's table");
        if (grown == NULL) return EMBED_OUT_OF_MEMORY;
        normalizer->sequences = grown;
        builder->sequence_capacity = capacity;
    }
    normalizer->sequences[start] = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        normalizer->sequences[start + 1 + i] = ENTRY(units[i].kind, units[i].code);
    builder->sequence_length = needed;
    *entry = ENTRY(ENTRY_SEQUENCE, (uint32_t)start);
    return EMBED_OK;
}

static embed_status make_entry(struct builder *builder, uint32_t code, uint32_t *entry)
{
    *entry = ENTRY(NORMALIZED_WORD, 0);
    if (builder->properties[code] == 0) return EMBED_OK;
    if (builder->options.strip_accents && code >= FIRST_HANGUL && code <= LAST_HANGUL) {
        *entry = ENTRY(ENTRY_HANGUL, 0);
        return EMBED_OK;
    }
    struct normalized units[NORMALIZER_MAX_EXPANSION];
    size_t count = expand(builder, code, units);
    if (count == 0) {
        *entry = ENTRY(ENTRY_REMOVED, 0);
        return EMBED_OK;
    }
    if (count == 1) {
        *entry = ENTRY(units[0].kind, units[0].code == code ? 0 : units[0].code);
        return EMBED_OK;
    }
    if (count == 3 && units[0].kind == NORMALIZED_SPACE && units[1].kind == NORMALIZED_WORD &&
        units[2].kind == NORMALIZED_SPACE) {
        *entry = ENTRY(ENTRY_ISOLATED, units[1].code == code ? 0 : units[1].code);
        return EMBED_OK;
    }
    return add_sequence(builder, units, count, entry);
}

/* Adds `block` to the table, or shares the first block (unchanged characters) or the previous one
 * (ideographs, syllables, private use) if it is equal. */
static embed_status add_block(struct builder *builder, const uint32_t block[BLOCK],
                              size_t index)
{
    struct normalizer *normalizer = builder->normalizer;
    size_t last = index > 0 ? normalizer->block_of[index - 1] : 0;
    const size_t candidates[] = {0, last};
    for (size_t i = 0; i < 2; i++) {
        const uint32_t *old = normalizer->entries + (candidates[i] << BLOCK_BITS);
        if (memcmp(old, block, BLOCK * sizeof *block) != 0) continue;
        normalizer->block_of[index] = (uint16_t)candidates[i];
        return EMBED_OK;
    }
    if (builder->blocks == builder->block_capacity) {
        size_t capacity = 2 * builder->block_capacity;
        uint32_t *grown = memory_resize(normalizer->entries, capacity << BLOCK_BITS,
                                        sizeof *grown, "the normalizer's table");
        if (grown == NULL) return EMBED_OUT_OF_MEMORY;
        normalizer->entries = grown;
        builder->block_capacity = capacity;
    }
    memcpy(normalizer->entries + (builder->blocks << BLOCK_BITS), block, BLOCK * sizeof *block);
    normalizer->block_of[index] = (uint16_t)builder->blocks++;
    return EMBED_OK;
}

static embed_status build(struct builder *builder)
{
    struct normalizer *normalizer = builder->normalizer;
    builder->block_capacity = 256;
    normalizer->entries =
        memory_allocate(builder->block_capacity << BLOCK_BITS, sizeof *normalizer->entries,
                        "the normalizer's table");
    builder->properties = bert_unicode_properties();
    if (normalizer->entries == NULL || builder->properties == NULL) return EMBED_OUT_OF_MEMORY;

    builder->blocks = 1; /* block 0 stays all zeros: unchanged characters */
    for (size_t index = 0; index < BLOCKS; index++) {
        uint32_t block[BLOCK];
        for (uint32_t i = 0; i < BLOCK; i++)
            TRY(make_entry(builder, (uint32_t)index << BLOCK_BITS | i, &block[i]));
        TRY(add_block(builder, block, index));
    }
    return EMBED_OK;
}

embed_status normalizer_create(struct normalizer **normalizer,
                               struct normalizer_options options)
{
    struct builder builder = {.options = options};
    builder.normalizer = memory_allocate(1, sizeof *builder.normalizer, "a normalizer");
    if (builder.normalizer == NULL) return EMBED_OUT_OF_MEMORY;

    embed_status status = build(&builder);
    memory_free(builder.properties);
    if (status != EMBED_OK) {
        normalizer_destroy(builder.normalizer);
        return status;
    }
    *normalizer = builder.normalizer;
    return EMBED_OK;
}

void normalizer_destroy(struct normalizer *normalizer)
{
    if (normalizer == NULL) return;
    memory_free(normalizer->entries);
    memory_free(normalizer->sequences);
    memory_free(normalizer);
}
