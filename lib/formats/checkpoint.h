/* checkpoint.h - a model folder's weights as one set of named tensors: model.safetensors, or the
 * shards that model.safetensors.index.json lists */
#ifndef LIB_FORMATS_CHECKPOINT_H
#define LIB_FORMATS_CHECKPOINT_H

#include "formats/safetensors.h"

#include <stdbool.h>

struct checkpoint;

struct checkpoint_tensor {
    const struct safetensors *file;
    const struct safetensors_tensor *tensor;
};

/* Opens the weights of a folder. EMBED_IO if it has neither file; the message then says so, and
 * names pytorch_model.bin if only that is there. Shard names must be plain file names; every tensor
 * of the index must be in the shard it names, and in no other. */
embed_status checkpoint_open(struct checkpoint **checkpoint, const char *folder);
void checkpoint_close(struct checkpoint *checkpoint); /* NULL is fine */

/* Returns false if there is no tensor of that name. *out is valid until checkpoint_close. */
bool checkpoint_find(const struct checkpoint *checkpoint, const char *name,
                     struct checkpoint_tensor *out);

/* All shards, for iteration and messages. */
size_t checkpoint_file_count(const struct checkpoint *checkpoint);
const struct safetensors *checkpoint_file(const struct checkpoint *checkpoint, size_t i);

#endif
