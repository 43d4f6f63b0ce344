/* weights.h - from a checkpoint into the device's memory */
#ifndef LIB_MODEL_WEIGHTS_H
#define LIB_MODEL_WEIGHTS_H

#include "backend/backend.h"
#include "backend/thread_team.h"
#include "formats/checkpoint.h"
#include "model/encoder.h"

#include <stdint.h>

struct weights {
    void *block;         /* all of them, in one allocation of the device */
    size_t bytes;        /* its size */
    uint64_t parameters; /* numbers read from the checkpoint */
};

/* Fills encoder->embeddings and encoder->layers (allocated here) from the checkpoint, whose tensors
 * must have the names and shapes that encoder->config implies. All threads of the team read and
 * convert. Release with weights_release, also after a failure. */
embed_status weights_load(struct weights *weights, struct encoder *encoder,
                          struct backend *backend, const struct checkpoint *checkpoint,
                          struct thread_team *team);
void weights_release(struct weights *weights, struct encoder *encoder, struct backend *backend);

#endif
