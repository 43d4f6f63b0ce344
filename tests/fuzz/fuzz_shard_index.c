/* fuzz_shard_index.c - model.safetensors.index.json, next to two shards */
#include "formats/checkpoint.h"

#include "base/status.h"
#include "fuzz.h"

/* Writes a shard with one tensor of two bytes. */
static void write_shard(const char *file, const char *tensor)
{
    char bytes[256] = {0};
    int n = snprintf(bytes + 8, sizeof bytes - 8,
                     "{\"%s\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", tensor);
    bytes[0] = (char)n;
    fuzz_write(file, bytes, 8 + (size_t)n + 2);
}

static void fuzz_input(const uint8_t *input, size_t length)
{
    static bool has_shards;
    if (!has_shards) {
        write_shard("a.safetensors", "x");
        write_shard("b.safetensors", "y");
        has_shards = true;
    }
    fuzz_write("model.safetensors.index.json", input, length);
    struct checkpoint *checkpoint = NULL;
    embed_status status = checkpoint_open(&checkpoint, fuzz_folder());
    if (status == EMBED_OK) {
        size_t files = checkpoint_file_count(checkpoint);
        fuzz_claim(files == 1 || files == 2);
        for (size_t i = 0; i < files; i++) /* directly in this folder */
            fuzz_claim(strlen(safetensors_path(checkpoint_file(checkpoint, i))) ==
                       strlen(fuzz_folder()) + strlen("/a.safetensors"));
        struct checkpoint_tensor x, y;
        fuzz_claim((size_t)checkpoint_find(checkpoint, "x", &x) +
                       (size_t)checkpoint_find(checkpoint, "y", &y) == files);
    } else {
        fuzz_claim(checkpoint == NULL);
        fuzz_claim_message(error_message(), fuzz_folder());
    }
    checkpoint_close(checkpoint);
}
