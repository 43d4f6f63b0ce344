/* model.h - everything read from a model folder; immutable once open */
#ifndef LIB_MODEL_MODEL_H
#define LIB_MODEL_MODEL_H

#include "backend/backend.h"
#include "backend/thread_team.h"
#include "description/embedding_pipeline.h"
#include "description/tokenizer.h"
#include "model/decoder.h"
#include "model/encoder.h"
#include "model/folder_facts.h"
#include "model/weights.h"

#include <stdatomic.h>

/* A hash that is computed on first request and stored by the first thread that has it. */
struct kept_hash {
    atomic_int state; /* NOT_KEPT, BEING_KEPT, KEPT */
    struct hash hash; /* may be read once state is KEPT */
};
enum { NOT_KEPT, BEING_KEPT, KEPT };

struct embed_model {
    atomic_size_t references; /* the caller's, and one for each instance and pool using it */
    char *folder;             /* canonical path */
    struct embedding_pipeline pipeline;
    struct tokenizer *tokenizer;
    struct thread_team *team;
    struct backend *backend;
    const struct weights *weights; /* shared with other models of the same checkpoint */
    struct encoder encoder;        /* this model's config; pointers into `weights` */
    struct decoder decoder;        /* likewise, if config.decoder has layers */
    struct generation_rules generation; /* the folder's settings, likewise */
    size_t max_tokens;
    struct folder_facts facts;
    double load_seconds;
    struct kept_hash weights_hash; /* see fingerprint.h */
};

/* Opens the model of a folder. Options must be complete: threads is not 0. */
embed_status model_open(struct embed_model **model, const char *folder,
                        const embed_model_options *options);

/* Opens the same model on the CPU in `dtype`, with the same number of threads. EMBED_BAD_FILE if
 * its folder has other weight files or settings by now. */
embed_status model_open_on_cpu(struct embed_model **out, const struct embed_model *model,
                               embed_dtype dtype);

/* model_hold adds a reference. model_release drops one, and closes the model with the last; NULL is
 * fine there. */
void model_hold(struct embed_model *model);
void model_release(struct embed_model *model);

/* Returns the floats in a row: the last module's width, or what the folder cuts it to. */
size_t model_width(const struct embed_model *model);

void model_get_info(const struct embed_model *model, embed_model_info *info);

#endif
