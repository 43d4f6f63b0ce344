/* weights.h - from a checkpoint into the device's memory */
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
    void *block;            /* all of them, in one allocation of the device */
    size_t bytes;           /* its size */
    uint64_t parameters;    /* numbers of the checkpoint in them, each once */
    struct encoder encoder; /* points into the block; its layers are allocated beside it */
    struct decoder decoder; /* likewise; empty where the model has none */
    struct dense dense[MOST_DENSE]; /* likewise; how many there are, the pipeline says */
};

/* Fills *weights from the files, whose tensors must have the names and shapes that `config` and the
 * modules imply. All threads of the team read and convert. Release with weights_release, also after a
 * failure. */
embed_status weights_load(struct weights *weights, const struct transformer_config *config,
                          struct backend *backend, const struct weight_files *files,
                          struct thread_team *team);
void weights_release(struct weights *weights, struct backend *backend);

/* weights->bytes and ->parameters as weights_load would give them: reads no weight. */
embed_status weights_measure(struct weights *weights, const struct transformer_config *config,
                             const struct backend *backend, const struct weight_files *files);

/* A number for the tensors in these files that weights_load reads, their dtypes and shapes: the same for
 * any device and dtype, and for any way to divide them into files. */
embed_status weights_hash(struct hash *hash, const struct transformer_config *config,
                          const struct backend *backend, const struct weight_files *files,
                          struct thread_team *team);

/* Weights by their files, device and dtype, kept once in a process for all models that are
 * open: loads them, or takes part in those that are there. Any thread. The result is read-only;
 * give it back with shared_weights_close. */
embed_status shared_weights_open(const struct weights **weights,
                                 const struct transformer_config *config, struct backend *backend,
                                 const struct weight_files *files, struct thread_team *team);
void shared_weights_close(const struct weights *weights); /* NULL is fine */

/* Were both read from the same files? */
bool shared_weights_same_files(const struct weights *a, const struct weights *b);
/* Were they read from these files, and have these not been written to since? */
bool shared_weights_are_of(const struct weights *weights, const struct weight_files *files);

#endif
