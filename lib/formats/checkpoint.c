/* checkpoint.c - one safetensors file, or the shards of an index, as one set of tensors */
#include "formats/checkpoint.h"

#include "base/memory.h"
#include "base/status.h"
#include "formats/folder.h"
#include "formats/json_reader.h"
#include "formats/unicode.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SINGLE_FILE     "model.safetensors"
#define INDEX_FILE      "model.safetensors.index.json"
#define PICKLE_FILE     "pytorch_model.bin"
#define MAX_INDEX_BYTES ((size_t)16 << 20)
#define MAX_INDEX_DEPTH 8
#define MAX_SHARDS      512 /* each keeps a file open */

struct checkpoint {
    struct safetensors **files;
    size_t file_count;
    struct checkpoint_tensor *tensors; /* of all files, sorted by name */
    size_t tensor_count;
};

/* ---- the index --------------------------------------------------------------------------- */

struct index_entry {
    const char *tensor, *shard;
};

struct shard_index {
    char *path, *text;
    struct index_entry *entries; /* their strings point into the text */
    size_t count, capacity;
    bool has_map;
};

static embed_status add_entry(struct shard_index *index, const char *tensor, const char *shard)
{
    if (index->count == index->capacity) {
        size_t capacity = index->capacity > 0 ? 2 * index->capacity : 256;
        void *entries =
            memory_resize(index->entries, capacity, sizeof *index->entries, "a shard index");
        if (entries == NULL) return EMBED_OUT_OF_MEMORY;
        index->entries = entries;
        index->capacity = capacity;
    }
    index->entries[index->count++] = (struct index_entry){tensor, shard};
    return EMBED_OK;
}

static embed_status read_weight_map(struct shard_index *index, struct json_reader *json)
{
    struct json_string key, value;
    bool more = true;
    if (index->has_map) return json_fail(json, "a second \"weight_map\"");
    index->has_map = true;
    TRY(json_enter_object(json));
    for (;;) {
        TRY(json_next_key(json, &more, &key));
        if (!more) return EMBED_OK;
        const char *tensor = json_string_terminate(json, key);
        if (tensor == NULL) return json_fail(json, "a NUL in a tensor name");
        TRY(json_read_string(json, &value));
        const char *shard = json_string_terminate(json, value);
        if (shard == NULL || !folder_is_plain_name(shard))
            return json_fail(json, "the file named for tensor \"%.*s\" is not a plain file name",
                             utf8_shown(tensor, strlen(tensor)), tensor);
        TRY(add_entry(index, tensor, shard));
    }
}

static embed_status read_index(struct shard_index *index, const char *folder)
{
    struct json_reader json;
    struct json_string key;
    size_t length;
    bool more = true;
    index->path = folder_path(folder, INDEX_FILE);
    if (index->path == NULL) return EMBED_OUT_OF_MEMORY;
    TRY(file_read(&index->text, &length, index->path, MAX_INDEX_BYTES));
    json_reader_init(&json, index->path, index->text, length, MAX_INDEX_DEPTH);
    TRY(json_enter_object(&json));
    for (;;) {
        TRY(json_next_key(&json, &more, &key));
        if (!more) break;
        if (json_string_is(key, "weight_map"))
            TRY(read_weight_map(index, &json));
        else
            TRY(json_skip(&json));
    }
    TRY(json_finish(&json));
    if (index->count == 0)
        return fail(EMBED_BAD_FILE, "%s: no \"weight_map\" that lists tensors", index->path);
    return EMBED_OK;
}

static void free_index(struct shard_index *index)
{
    memory_free(index->entries);
    memory_free(index->text);
    memory_free(index->path);
}

/* ---- files ------------------------------------------------------------------------------- */

static embed_status open_file(struct checkpoint *checkpoint, const char *folder,
                              const char *name)
{
    char *path = folder_path(folder, name);
    if (path == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = safetensors_open(&checkpoint->files[checkpoint->file_count], path);
    if (status == EMBED_OK) checkpoint->file_count++;
    memory_free(path);
    return status;
}

static int compare_shards(const void *a, const void *b)
{
    return strcmp(((const struct index_entry *)a)->shard,
                  ((const struct index_entry *)b)->shard);
}

/* Opens each file that the index names, once. */
static embed_status open_shards(struct checkpoint *checkpoint, const char *folder,
                                struct shard_index *index)
{
    size_t shards = 1;
    qsort(index->entries, index->count, sizeof *index->entries, compare_shards);
    for (size_t i = 1; i < index->count; i++)
        shards += compare_shards(&index->entries[i - 1], &index->entries[i]) != 0;
    if (shards > MAX_SHARDS)
        return fail(EMBED_BAD_FILE, "%s: names %zu files, more than %d", index->path, shards,
                    MAX_SHARDS);

    checkpoint->files = memory_allocate(shards, sizeof *checkpoint->files, "a checkpoint");
    if (checkpoint->files == NULL) return EMBED_OUT_OF_MEMORY;
    for (size_t i = 0; i < index->count; i++)
        if (i == 0 || compare_shards(&index->entries[i - 1], &index->entries[i]) != 0)
            TRY(open_file(checkpoint, folder, index->entries[i].shard));
    return EMBED_OK;
}

/* ---- tensors ----------------------------------------------------------------------------- */

static int compare_tensors(const void *a, const void *b)
{
    const struct checkpoint_tensor *x = a, *y = b;
    return strcmp(x->tensor->name, y->tensor->name);
}

/* Merges the tensors of all files, sorted by name. */
static embed_status merge_tensors(struct checkpoint *checkpoint)
{
    size_t count = 0, n = 0;
    for (size_t i = 0; i < checkpoint->file_count; i++)
        count += safetensors_count(checkpoint->files[i]);
    struct checkpoint_tensor *tensors =
        memory_allocate(count, sizeof *tensors, "a checkpoint's tensors");
    if (tensors == NULL) return EMBED_OUT_OF_MEMORY;
    checkpoint->tensors = tensors;
    checkpoint->tensor_count = count;
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        const struct safetensors *file = checkpoint->files[i];
        for (size_t t = 0; t < safetensors_count(file); t++)
            tensors[n++] = (struct checkpoint_tensor){file, safetensors_at(file, t)};
    }

    qsort(tensors, count, sizeof *tensors, compare_tensors);
    for (size_t i = 1; i < count; i++)
        if (compare_tensors(&tensors[i - 1], &tensors[i]) == 0)
            return fail(EMBED_BAD_FILE, "%s: tensor \"%s\" is also in %s",
                        safetensors_path(tensors[i].file), tensors[i].tensor->name,
                        safetensors_path(tensors[i - 1].file));
    return EMBED_OK;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct index_entry *)a)->tensor,
                  ((const struct index_entry *)b)->tensor);
}

/* Checks that each tensor of the index is listed once, and is in the file that it names. */
static embed_status check_index(const struct checkpoint *checkpoint, struct shard_index *index)
{
    struct checkpoint_tensor found;
    qsort(index->entries, index->count, sizeof *index->entries, compare_entries);
    for (size_t i = 0; i < index->count; i++) {
        const struct index_entry *entry = &index->entries[i];
        if (i > 0 && compare_entries(entry - 1, entry) == 0)
            return fail(EMBED_BAD_FILE, "%s: lists tensor \"%.*s\" twice", index->path,
                        utf8_shown(entry->tensor, strlen(entry->tensor)), entry->tensor);
        if (!checkpoint_find(checkpoint, entry->tensor, &found) ||
            strcmp(strrchr(safetensors_path(found.file), '/') + 1, entry->shard) != 0)
            return fail(EMBED_BAD_FILE,
                        "%s: lists tensor \"%.*s\" in %s, which does not contain it", index->path,
                        utf8_shown(entry->tensor, strlen(entry->tensor)), entry->tensor,
                        entry->shard);
    }
    return EMBED_OK;
}

/* ---- the checkpoint ---------------------------------------------------------------------- */

struct contents {
    bool single, index, pickle;
};

/* Finds out which of the files exist. */
static embed_status look_into(struct contents *contents, const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail(EMBED_IO, "%s: %s", folder, strerror(errno));
    close(fd);
    TRY(folder_has(&contents->single, folder, SINGLE_FILE));
    TRY(folder_has(&contents->index, folder, INDEX_FILE));
    return folder_has(&contents->pickle, folder, PICKLE_FILE);
}

static embed_status open_single(struct checkpoint *checkpoint, const char *folder)
{
    checkpoint->files = memory_allocate(1, sizeof *checkpoint->files, "a checkpoint");
    if (checkpoint->files == NULL) return EMBED_OUT_OF_MEMORY;
    TRY(open_file(checkpoint, folder, SINGLE_FILE));
    return merge_tensors(checkpoint);
}

static embed_status open_sharded(struct checkpoint *checkpoint, const char *folder)
{
    struct shard_index index = {0};
    embed_status status = read_index(&index, folder);
    if (status == EMBED_OK) status = open_shards(checkpoint, folder, &index);
    if (status == EMBED_OK) status = merge_tensors(checkpoint);
    if (status == EMBED_OK) status = check_index(checkpoint, &index);
    free_index(&index);
    return status;
}

static embed_status open_any(struct checkpoint *checkpoint, const char *folder)
{
    struct contents contents = {0};
    TRY(look_into(&contents, folder));
    if (contents.single) return open_single(checkpoint, folder);
    if (contents.index) return open_sharded(checkpoint, folder);
    return fail(EMBED_IO, "%s: neither " SINGLE_FILE " nor " INDEX_FILE "%s", folder,
                contents.pickle ? ", only " PICKLE_FILE
                                  ", which must be converted to safetensors first"
                                : "");
}

embed_status checkpoint_open(struct checkpoint **out, const char *folder)
{
    struct checkpoint *checkpoint = memory_allocate(1, sizeof *checkpoint, "a checkpoint");
    if (checkpoint == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = open_any(checkpoint, folder);
    if (status != EMBED_OK) {
        checkpoint_close(checkpoint);
        return status;
    }
    *out = checkpoint;
    return EMBED_OK;
}

void checkpoint_close(struct checkpoint *checkpoint)
{
    if (checkpoint == NULL) return;
    for (size_t i = 0; i < checkpoint->file_count; i++) safetensors_close(checkpoint->files[i]);
    memory_free(checkpoint->tensors);
    memory_free(checkpoint->files);
    memory_free(checkpoint);
}

static int compare_with_name(const void *name, const void *tensor)
{
    return strcmp(name, ((const struct checkpoint_tensor *)tensor)->tensor->name);
}

bool checkpoint_find(const struct checkpoint *checkpoint, const char *name,
                     struct checkpoint_tensor *out)
{
    const struct checkpoint_tensor *found =
        bsearch(name, checkpoint->tensors, checkpoint->tensor_count,
                sizeof *checkpoint->tensors, compare_with_name);
    if (found != NULL) *out = *found;
    return found != NULL;
}

size_t checkpoint_file_count(const struct checkpoint *checkpoint)
{
    return checkpoint->file_count;
}

const struct safetensors *checkpoint_file(const struct checkpoint *checkpoint, size_t i)
{
    return checkpoint->files[i];
}
