/* generator.h - many documents through the decoder at once
 *
 * A document that ends makes room for the next at once (continuous batching): those under way need
 * not be of one age.
 */
#ifndef LIB_MODEL_GENERATOR_H
#define LIB_MODEL_GENERATOR_H

#include "model/instance.h"
#include "model/plan.h"

/* What is to be summarized. */
struct generator_document {
    size_t text, piece; /* what the feed knows it by */
    const int32_t *ids; /* the source, special tokens included; read until the next call of the feed */
    size_t count;       /* at most the model's max_tokens */
    struct generation_rules rules; /* within the instance's; num_beams is that of all under way */
};

struct generator_result {
    size_t text, piece;
    bool is_finite;        /* else there is nothing more */
    const int32_t *tokens; /* start token and end token included */
    size_t count;
    float score;
};

/* Where documents come from, and summaries go; called from the thread that runs the generator. */
struct generator_feed {
    void *argument;
    /* The next one; *has false: there is none now. It will be asked again as long as others are under
     * way. */
    embed_status (*next)(void *argument, struct generator_document *document, bool *has);
    /* Once for each, in any order. */
    embed_status (*ended)(void *argument, const struct generator_result *result);
};

struct generator;

/* For an instance whose model has a decoder, with its plan, executor and buffers. */
embed_status generator_create(struct generator **generator, struct embed_instance *instance);
void generator_destroy(struct generator *generator); /* NULL is fine */

/* Until the feed has no more and all have ended. A failure is that of all that are under way. */
embed_status generator_run(struct generator *generator, const struct generator_feed *feed);

/* Of the instance's staging, that a generator takes. */
size_t generator_staging_bytes(const struct instance_plan *plan);

#endif
