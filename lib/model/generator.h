/* generator.h - decodes many documents at once, by continuous batching
 *
 * A document that ends makes room for the next at once, so the documents in flight may be at
 * different lengths.
 */
#ifndef LIB_MODEL_GENERATOR_H
#define LIB_MODEL_GENERATOR_H

#include "model/instance.h"
#include "model/plan.h"

/* A document to summarize. */
struct generator_document {
    size_t text, piece; /* identify the document to the feed */
    const int32_t *ids; /* source, special tokens included; valid until the next call of the feed */
    size_t count;       /* at most the model's max_tokens */
    struct generation_rules rules; /* within the instance's limits; all documents in flight
                                    * have the same num_beams */
};

struct generator_result {
    size_t text, piece;
    bool is_finite;        /* if not, the members below are undefined */
    const int32_t *tokens; /* start token and end token included */
    size_t count;
    float score;
};

/* Source of documents and sink of summaries. Called on the thread that runs the generator. */
struct generator_feed {
    void *argument;
    /* Gets the next document, or sets *has to false if there is none right now; it is called again
     * as long as other documents are in flight. */
    embed_status (*next)(void *argument, struct generator_document *document, bool *has);
    /* Called once for each document, in any order. */
    embed_status (*ended)(void *argument, const struct generator_result *result);
};

struct generator;

/* Creates the generator of an instance whose model has a decoder, and whose plan, executor and
 * buffers exist already. */
embed_status generator_create(struct generator **generator, struct embed_instance *instance);
void generator_destroy(struct generator *generator); /* NULL is fine */

/* Runs until the feed is empty and every document has ended. A failure applies to all documents in
 * flight. */
embed_status generator_run(struct generator *generator, const struct generator_feed *feed);

/* Returns how many bytes of the instance's staging memory its generator takes. */
size_t generator_staging_bytes(const struct instance_plan *plan);

#endif
