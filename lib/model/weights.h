/* weights.h - loads a checkpoint into the device's memory */
#ifndef LIB_MODEL_WEIGHTS_H
#define LIB_MODEL_WEIGHTS_H

#include "backend/backend.h"
#include "backend/thread_team.h"
#include "base/hash.h"
#include "model/decoder.h"
#include "model/encoder.h"
#include "model/weight_files.h"

#include <stdbool.h>
#include <stdint.h>

struct weights {
    void *block;            /* all weights, in one device allocation */
    size_t bytes;           /* its size */
    uint64_t parameters;    /* numbers they take from the checkpoint, each counted once */
    struct encoder encoder; /* points into the block; its layers are allocated beside it */
    struct decoder decoder; /* likewise; empty if the model has none */
    struct dense dense[MOST_DENSE]; /* likewise; pipeline->dense_count of them */
};

/* Fills *weights from the files, whose tensors must have the names and shapes that `config` and the
 * modules imply. All threads of the team read and convert. Release with weights_release, also after
 * a failure. */
embed_status weights_load(struct weights *weights, const struct transformer_config *config,
                          struct backend *backend, const struct weight_files *files,
                          struct thread_team *team);
void weights_release(struct weights *weights, struct backend *backend);

/* Computes weights->bytes and weights->parameters as weights_load would, without reading
 * weights. */
embed_status weights_measure(struct weights *weights, const struct transformer_config *config,
                             const struct backend *backend, const struct weight_files *files);

/* Hashes the tensors that weights_load reads from these files, with their dtypes and shapes. The
 * hash is the same for any device and dtype, and however the tensors are divided into files. */
embed_status weights_hash(struct hash *hash, const struct transformer_config *config,
                          const struct backend *backend, const struct weight_files *files,
                          struct thread_team *team);

/* Opens weights that a process keeps once per files, configs, device and dtype, for all open models:
 * loads them, or adds a reference if they are loaded already. May be called from any thread. The
 * result is read-only; release it with shared_weights_close. */
embed_status shared_weights_open(const struct weights **weights,
                                 const struct transformer_config *config, struct backend *backend,
                                 const struct weight_files *files, struct thread_team *team);
void shared_weights_close(const struct weights *weights); /* NULL is fine */

/* Returns whether both were read from the same files. */
bool shared_weights_same_files(const struct weights *a, const struct weights *b);
/* Returns whether the weights were read from these files, which have not been written to since. */
bool shared_weights_are_of(const struct weights *weights, const struct weight_files *files);

#endif
