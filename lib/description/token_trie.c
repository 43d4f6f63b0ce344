/* token_trie.c - builds and walks the trie */
#include "description/token_trie.h"

#include "base/memory.h"
#include "base/status.h"

#include <stdbool.h>

#define FIRST_BITS 8
#define MAX_BITS   24 /* width of the parent in a key */

static uint32_t key_of(uint32_t parent, char byte)
{
    return parent << 8 | (unsigned char)byte;
}

/* Returns the index of the node with this key, or of the empty slot where it belongs. */
static uint32_t find(const struct token_trie *trie, uint32_t key)
{
    uint32_t mask = ((uint32_t)1 << trie->bits) - 1;
    uint32_t slot = key * UINT32_C(0x9E3779B1) >> (32 - trie->bits);
    while (trie->nodes[slot].key != key && trie->nodes[slot].key != 0) slot = (slot + 1) & mask;
    return slot;
}

/* ---- building ---------------------------------------------------------------------------- */

/* Adds a token and subtracts its new nodes from *room; returns false if there is not enough. */
static bool add(struct token_trie *trie, const char *text, size_t length, int32_t id,
                size_t *room)
{
    uint32_t node = TOKEN_TRIE_ROOT;
    for (size_t i = 0; i < length; i++) {
        uint32_t key = key_of(node, text[i]);
        node = find(trie, key);
        if (trie->nodes[node].key == key) continue;
        if (*room == 0) return false;
        --*room;
        trie->nodes[node] = (struct token_node){key, -1};
    }
    trie->nodes[node].id = id;
    return true;
}

/* Adds all tokens, filling at most a third of the slots: most walks end without a match, at an
 * empty slot. Returns false if that is too few. */
static bool add_all(struct token_trie *trie, const struct vocabulary *vocabulary)
{
    size_t room = ((size_t)1 << trie->bits) / 3;
    /* Reserves the root, and slot 0, so that 0 is never a parent and no key is 0. */
    trie->nodes[0] = trie->nodes[TOKEN_TRIE_ROOT] = (struct token_node){UINT32_MAX, -1};
    for (size_t i = 0; i < (size_t)1 << vocabulary->slot_bits; i++) {
        const struct vocabulary_slot *token = &vocabulary->slots[i];
        if (token->tag != 0 &&
            !add(trie, vocabulary->text + token->offset, token->length, token->id, &room))
            return false;
    }
    return true;
}

embed_status token_trie_create(struct token_trie *trie, const struct vocabulary *vocabulary,
                               const char *file)
{
    for (trie->bits = FIRST_BITS; trie->bits <= MAX_BITS; trie->bits++) {
        /* BERT's vocabularies have a third as many prefixes as bytes. */
        if ((size_t)1 << trie->bits < vocabulary->text_length) continue;
        memory_free(trie->nodes);
        trie->nodes =
            memory_allocate((size_t)1 << trie->bits, sizeof *trie->nodes, "a trie of tokens");
        if (trie->nodes == NULL) return EMBED_OUT_OF_MEMORY;
        if (add_all(trie, vocabulary)) return EMBED_OK;
    }
    return fail(EMBED_UNSUPPORTED, "%s: its %zu tokens have more than %d different beginnings",
                file, vocabulary->count, (1 << MAX_BITS) / 3);
}

void token_trie_free(struct token_trie *trie)
{
    memory_free(trie->nodes);
    *trie = (struct token_trie){0};
}

/* ---- walking ----------------------------------------------------------------------------- */

uint32_t token_trie_walk(const struct token_trie *trie, const char *text, size_t length)
{
    uint32_t node = TOKEN_TRIE_ROOT;
    for (size_t i = 0; i < length; i++) {
        node = find(trie, key_of(node, text[i]));
        if (trie->nodes[node].key == 0) return TOKEN_TRIE_NONE;
    }
    return node;
}

size_t token_trie_longest(const struct token_trie *trie, uint32_t head, const char *text,
                          size_t length, int32_t *id)
{
    size_t longest = 0;
    if (head == TOKEN_TRIE_NONE) return 0;
    uint32_t node = head;
    for (size_t i = 0; i < length; i++) {
        node = find(trie, key_of(node, text[i]));
        if (trie->nodes[node].key == 0) break;
        if (trie->nodes[node].id < 0) continue;
        *id = trie->nodes[node].id; /* tokens are UTF-8 and so end at a character's end */
        longest = i + 1;
    }
    return longest;
}
