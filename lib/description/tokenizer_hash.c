/* tokenizer_hash.c - a hash of everything that token ids depend on
 *
 * Hashes what was read, not the bytes of the files: a tokenizer.json saved again by another version
 * of transformers, or a vocab.txt in its place, is the same tokenizer if it gives the same ids.
 */
#include "base/status.h"
#include "description/tokenizer_parts.h"

struct hash vocabulary_hash(const struct vocabulary *vocabulary)
{
    struct hash sum = {0};
    size_t slots = vocabulary->count > 0 ? (size_t)1 << vocabulary->slot_bits : 0;
    for (size_t i = 0; i < slots; i++) {
        const struct vocabulary_slot *slot = &vocabulary->slots[i];
        if (slot->tag != 0)
            hash_add(&sum, hash_bytes((uint64_t)slot->id, vocabulary->text + slot->offset,
                                      slot->length));
    }
    return sum;
}

static struct hash merges_hash(const struct merge_table *merges)
{
    struct hash sum = {0};
    size_t slots = merges->count > 0 ? (size_t)1 << merges->bits : 0;
    for (size_t i = 0; i < slots; i++) {
        const struct merge_slot *slot = &merges->slots[i];
        const uint32_t merge[] = {slot->merge.rank, (uint32_t)slot->merge.id};
        if (slot->key != 0) hash_add(&sum, hash_bytes(slot->key, merge, sizeof merge));
    }
    return sum;
}

static embed_status put_hash(struct text_buffer *text, const char *name, struct hash hash)
{
    char digits[HASH_DIGITS + 1];
    hash_text(digits, hash);
    return text_buffer_print(text, "%s %s\n", name, digits);
}

/* Writes the length before the text, which may contain anything. */
static embed_status put_text(struct text_buffer *text, const char *name, struct text_copy copy)
{
    TRY(text_buffer_print(text, "%s %zu ", name, copy.length));
    TRY(text_buffer_add(text, copy.data, copy.length));
    return text_buffer_add(text, "\n", 1);
}

static embed_status put_ids(struct text_buffer *text, const char *name, const int32_t *ids,
                            size_t n)
{
    TRY(text_buffer_print(text, "%s", name));
    for (size_t i = 0; i < n; i++) TRY(text_buffer_print(text, " %d", (int)ids[i]));
    return text_buffer_add(text, "\n", 1);
}

/* In order, as the order of added tokens determines their ids. */
static embed_status put_added(struct text_buffer *text, const struct tokenizer_parts *parts)
{
    for (size_t i = 0; i < parts->added_count; i++) {
        const struct added_token_part *part = &parts->added[i];
        const struct token_flags *flags = &part->flags;
        TRY(put_text(text, "added", part->text));
        TRY(text_buffer_print(text, "flags %d %d %d %d\n", flags->normalized,
                              flags->single_word, flags->lstrip, flags->rstrip));
    }
    return EMBED_OK;
}

static embed_status describe(struct text_buffer *text, const struct tokenizer *tokenizer)
{
    const struct tokenizer_parts *parts = &tokenizer->parts;
    const struct normalizer_options *normalizer = &parts->normalizer;
    if (parts->is_byte_bpe)
        TRY(text_buffer_print(text, "bpe %d\n", parts->add_prefix_space));
    else
        TRY(text_buffer_print(text, "wordpiece %zu %d %d %d %d\n", parts->max_characters,
                              normalizer->clean_text, normalizer->handle_chinese_chars,
                              normalizer->strip_accents, normalizer->lowercase));
    TRY(put_text(text, "unknown", parts->unknown));
    TRY(put_text(text, "prefix", parts->prefix));
    TRY(put_ids(text, "before", parts->before, parts->before_count));
    TRY(put_ids(text, "after", parts->after, parts->after_count));
    TRY(put_added(text, parts));
    TRY(put_hash(text, "vocabulary", tokenizer->vocabulary_hash));
    return put_hash(text, "merges", merges_hash(&tokenizer->byte_bpe.merges));
}

embed_status tokenizer_hash(struct hash *hash, const struct tokenizer *tokenizer)
{
    struct text_buffer text = {0};
    embed_status status = describe(&text, tokenizer);
    if (status == EMBED_OK) *hash = hash_bytes(0, text.data, text.length);
    text_buffer_free(&text);
    return status;
}
