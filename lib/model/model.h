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

/* Computed when it is first asked for, and kept by the first thread that has it. */
struct kept_hash {
    atomic_int state; /* NOT_KEPT, BEING_KEPT, KEPT */
    struct hash hash; /* to be read when it is KEPT */
};
enum { NOT_KEPT, BEING_KEPT, KEPT };

struct embed_model {
    atomic_size_t references; /* the caller's, and one for each instance */
    char *folder;             /* its canonical path */
    struct embedding_pipeline pipeline;
    struct tokenizer *tokenizer;
    struct thread_team *team;
    struct backend *backend;
    const struct weights *weights; /* shared with other models of the same checkpoint */
    struct encoder encoder;        /* this model's config, and where the weights are */
    struct decoder decoder;        /* likewise, where config.decoder has layers */
    struct generation_rules generation; /* what the folder wants, there */
    size_t max_tokens;
    struct folder_facts facts;
    double load_seconds;
    struct kept_hash weights_hash; /* see fingerprint.h */
};

/* With complete options: threads is not 0. */
embed_status model_open(struct embed_model **model, const char *folder,
                        const embed_model_options *options);

/* The same model on the CPU, in this dtype, with as many threads. EMBED_BAD_FILE where its folder holds
 * other weight files by now. */
embed_status model_open_on_cpu(struct embed_model **out, const struct embed_model *model,
                               embed_dtype dtype);

/* One more holder; model_release drops one, and closes the model with the last. NULL is fine. */
void model_hold(struct embed_model *model);
void model_release(struct embed_model *model);

/* Numbers in a row: what the folder leaves of the last module's. */
size_t model_width(const struct embed_model *model);

void model_get_info(const struct embed_model *model, embed_model_info *info);

#endif
