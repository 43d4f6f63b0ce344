/* vocabulary.c - maps the texts of tokens to their ids */
#include "description/vocabulary.h"

#include "base/memory.h"
#include "base/status.h"

#include <stdbool.h>
#include <string.h>

#define FIRST_SLOT_BITS 8
#define MAX_PROBES      1024 /* chance needs fewer than 100; more is malice */

/* FNV-1a's low bits depend only on the low bits of its input; the product's high bits depend on all
 * bits of the hash. */
static size_t first_slot(const struct vocabulary *vocabulary, uint64_t hash)
{
    return (size_t)(hash * UINT64_C(0x9E3779B97F4A7C15) >> (64 - vocabulary->slot_bits));
}

static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)hash | 1;
}

/* FNV-1a. */
static uint64_t hash_text(const char *text, size_t length)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001B3);
    return hash;
}

static bool slot_is(const struct vocabulary *vocabulary, const struct vocabulary_slot *slot,
                    const char *text, size_t length)
{
    return slot->length == length &&
           memcmp(vocabulary->text + slot->offset, text, length) == 0;
}

int32_t vocabulary_find(const struct vocabulary *vocabulary, const char *text, size_t length)
{
    if (vocabulary->count == 0) return -1;
    uint64_t hash = hash_text(text, length);
    size_t mask = ((size_t)1 << vocabulary->slot_bits) - 1;
    for (size_t i = first_slot(vocabulary, hash);; i = (i + 1) & mask) {
        const struct vocabulary_slot *slot = &vocabulary->slots[i];
        if (slot->tag == 0) return -1;
        if (slot->tag == tag_of(hash) && slot_is(vocabulary, slot, text, length))
            return slot->id;
    }
}

/* Returns the slot of this text or the empty slot where it belongs; NULL if too many collide. */
static struct vocabulary_slot *slot_for(struct vocabulary *vocabulary, uint64_t hash,
                                        const char *text, size_t length)
{
    size_t mask = ((size_t)1 << vocabulary->slot_bits) - 1;
    size_t i = first_slot(vocabulary, hash);
    for (size_t probes = 0; probes < MAX_PROBES; probes++, i = (i + 1) & mask) {
        struct vocabulary_slot *slot = &vocabulary->slots[i];
        if (slot->tag == 0) return slot;
        if (slot->tag == tag_of(hash) && slot_is(vocabulary, slot, text, length))
            return slot;
    }
    return NULL;
}

static embed_status fail_collisions(const char *file)
{
    return fail(EMBED_BAD_FILE, "%s: more than %d tokens collide in a hash table", file,
                MAX_PROBES);
}

/* Allocates the slots, or doubles their number. */
static embed_status grow_slots(struct vocabulary *vocabulary, const char *file)
{
    struct vocabulary old = *vocabulary;
    size_t old_count = old.slots != NULL ? (size_t)1 << old.slot_bits : 0;
    unsigned bits = old.slots != NULL ? old.slot_bits + 1 : FIRST_SLOT_BITS;
    struct vocabulary_slot *slots =
        memory_allocate((size_t)1 << bits, sizeof *slots, "a vocabulary");
    if (slots == NULL) return EMBED_OUT_OF_MEMORY;
    vocabulary->slots = slots;
    vocabulary->slot_bits = bits;

    embed_status status = EMBED_OK;
    for (size_t i = 0; i < old_count && status == EMBED_OK; i++) {
        if (old.slots[i].tag == 0) continue;
        const char *text = vocabulary->text + old.slots[i].offset;
        size_t length = old.slots[i].length;
        uint64_t hash = hash_text(text, length);
        struct vocabulary_slot *slot = slot_for(vocabulary, hash, text, length);
        if (slot == NULL)
            status = fail_collisions(file);
        else
            *slot = old.slots[i];
    }
    memory_free(old.slots);
    return status;
}

/* Appends to the texts of all tokens. */
static embed_status add_text(struct vocabulary *vocabulary, const char *text, size_t length)
{
    size_t needed = vocabulary->text_length + length;
    if (needed >= vocabulary->text_capacity) { /* even for an empty token, so text is not NULL */
        size_t capacity = 2 * needed + 1;
        char *grown = memory_resize(vocabulary->text, capacity, 1, "a vocabulary");
        if (grown == NULL) return EMBED_OUT_OF_MEMORY;
        vocabulary->text = grown;
        vocabulary->text_capacity = capacity;
    }
    if (length > 0) memcpy(vocabulary->text + vocabulary->text_length, text, length);
    vocabulary->text_length = needed;
    return EMBED_OK;
}

embed_status vocabulary_add(struct vocabulary *vocabulary, const char *file, const char *text,
                            size_t length, int32_t id)
{
    if (length > VOCABULARY_MAX_BYTES)
        return fail(EMBED_BAD_FILE, "%s: a token of %zu bytes, more than %d", file, length,
                    VOCABULARY_MAX_BYTES);
    if (vocabulary->count == VOCABULARY_MAX_TOKENS ||
        vocabulary->text_length > UINT32_MAX - length)
        return fail(EMBED_BAD_FILE, "%s: more than %zu tokens, or 4 GiB of them", file,
                    VOCABULARY_MAX_TOKENS);
    if (vocabulary->slots == NULL || vocabulary->count >= (size_t)1
                                                              << (vocabulary->slot_bits - 1))
        TRY(grow_slots(vocabulary, file));

    uint64_t hash = hash_text(text, length);
    struct vocabulary_slot *slot = slot_for(vocabulary, hash, text, length);
    if (slot == NULL) return fail_collisions(file);
    if (slot->tag == 0) {
        size_t offset = vocabulary->text_length;
        TRY(add_text(vocabulary, text, length));
        *slot = (struct vocabulary_slot){tag_of(hash), (uint32_t)offset, (uint32_t)length, id};
        vocabulary->count++;
    }
    slot->id = id;
    if (id > vocabulary->largest_id) vocabulary->largest_id = id;
    return EMBED_OK;
}

void vocabulary_free(struct vocabulary *vocabulary)
{
    memory_free(vocabulary->slots);
    memory_free(vocabulary->text);
    *vocabulary = (struct vocabulary){0};
}
