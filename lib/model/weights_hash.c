/* weights_hash.c - hashes the tensors that a model uses, as they are in its files
 *
 * Tensors are identified by their role, not by name or file: shards, and names with or without the
 * family's prefix, make no difference. Each tensor is hashed in pieces, which the threads share.
 */
#include "base/first_failure.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text_buffer.h"
#include "model/weights_list.h"

#include <stdatomic.h>

/* Large enough that a read costs little, small enough to stay in a core's cache. The hash depends
 * on this size. */
#define PIECE_BYTES ((size_t)256 << 10)

struct piece {
    const struct checkpoint_tensor *tensor;
    uint64_t first; /* offset in the tensor, in bytes */
    size_t bytes;
    struct hash hash;
};

struct pieces {
    struct piece *pieces;
    size_t count;
    atomic_size_t next;
    struct first_failure failure;
};

/* Returns whether the slot's tensors are hashed. Tied tensors are hashed once, as the words. */
static bool counts(const struct slot *slot)
{
    return slot->need != SLOT_WORDS_AGAIN && slot->need != SLOT_WORDS_COPY;
}

static size_t piece_count(const struct checkpoint_tensor *tensor)
{
    if (tensor->tensor == NULL) return 0;
    return (size_t)((tensor->tensor->bytes + PIECE_BYTES - 1) / PIECE_BYTES);
}

static embed_status cut(struct pieces *out, const struct slot_list *list)
{
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++)
        for (size_t p = 0; counts(&list->slots[i]) && p < list->slots[i].parts; p++)
            count += piece_count(&list->slots[i].tensors[p]);
    out->pieces = memory_allocate(count, sizeof *out->pieces, "pieces of the weights");
    if (out->pieces == NULL) return EMBED_OUT_OF_MEMORY;
    for (size_t i = 0; i < list->count; i++) {
        for (size_t p = 0; counts(&list->slots[i]) && p < list->slots[i].parts; p++) {
            const struct checkpoint_tensor *tensor = &list->slots[i].tensors[p];
            for (size_t k = 0, n = piece_count(tensor); k < n; k++) {
                uint64_t first = (uint64_t)k * PIECE_BYTES,
                         left = tensor->tensor->bytes - first;
                out->pieces[out->count++] = (struct piece){
                    tensor, first, left < PIECE_BYTES ? (size_t)left : PIECE_BYTES, {{0}}};
            }
        }
    }
    return EMBED_OK;
}

static void hash_some(void *argument, unsigned rank)
{
    (void)rank;
    struct pieces *all = argument;
    void *bytes = memory_allocate_aligned(PIECE_BYTES, "a piece of the weights");
    embed_status status = bytes != NULL ? EMBED_OK : EMBED_OUT_OF_MEMORY;
    size_t i;
    while (status == EMBED_OK && !first_failure_seen(&all->failure) &&
           (i = atomic_fetch_add(&all->next, 1)) < all->count) {
        struct piece *piece = &all->pieces[i];
        status = safetensors_read(piece->tensor->file, piece->tensor->tensor, piece->first,
                                  bytes, piece->bytes);
        if (status == EMBED_OK) piece->hash = hash_bytes(0, bytes, piece->bytes);
    }
    first_failure_note(&all->failure, status);
    memory_free(bytes);
}

/* Appends a tensor's dtype, shape and the hashes of its pieces, which begin at *next; or "none" if
 * the checkpoint does not have it. */
static embed_status put_tensor(struct text_buffer *text, const struct checkpoint_tensor *found,
                               const struct piece **next)
{
    const struct safetensors_tensor *tensor = found->tensor;
    if (tensor == NULL) return text_buffer_print(text, "none\n");
    TRY(text_buffer_print(text, "%s", safetensors_dtype_name(tensor->dtype)));
    for (unsigned d = 0; d < tensor->rank; d++)
        TRY(text_buffer_print(text, " %llu", (unsigned long long)tensor->shape[d]));
    for (size_t k = 0, n = piece_count(found); k < n; k++, (*next)++) {
        char digits[HASH_DIGITS + 1];
        hash_text(digits, (*next)->hash);
        TRY(text_buffer_print(text, "\n%s", digits));
    }
    return text_buffer_add(text, "\n", 1);
}

static embed_status put_all(struct text_buffer *text, const struct slot_list *list,
                            const struct pieces *all)
{
    const struct piece *next = all->pieces;
    for (size_t i = 0; i < list->count; i++)
        for (size_t p = 0; counts(&list->slots[i]) && p < list->slots[i].parts; p++)
            TRY(put_tensor(text, &list->slots[i].tensors[p], &next));
    return EMBED_OK;
}

static embed_status hash_list(struct hash *hash, const struct slot_list *list,
                              struct thread_team *team)
{
    struct pieces all = {0};
    struct text_buffer text = {0};
    embed_status status = cut(&all, list);
    if (status == EMBED_OK) {
        thread_team_run(team, hash_some, &all);
        status = first_failure_result(&all.failure);
    }
    if (status == EMBED_OK) status = put_all(&text, list, &all);
    if (status == EMBED_OK) *hash = hash_bytes(0, text.data, text.length);
    text_buffer_free(&text);
    memory_free(all.pieces);
    return status;
}

embed_status weights_hash(struct hash *hash, const struct transformer_config *config,
                          const struct backend *backend, const struct weight_files *files,
                          struct thread_team *team)
{
    struct weights weights = {.encoder.config = *config};
    struct slot_list list = {0};
    embed_status status = weights_list(&list, &weights, backend, files);
    if (status == EMBED_OK)
        status =
            weights_find(&list, &weights.parameters, files, weight_names_of(config->family));
    if (status == EMBED_OK) status = hash_list(hash, &list, team);
    memory_free(list.slots);
    memory_free(weights.encoder.layers);
    memory_free(weights.decoder.layers);
    return status;
}
