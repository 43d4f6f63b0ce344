/* instance.h - one stream of work on a model: texts in, rows or summaries out */
#ifndef LIB_MODEL_INSTANCE_H
#define LIB_MODEL_INSTANCE_H

#include "model/model.h"

/* Where the rows of a call go: one after another, or each to a place of its own. */
struct row_places {
    float *out;         /* (n, D) */
    size_t D;
    float *const *each; /* (n) of them, where not NULL */
};

static inline float *row_place(const struct row_places *places, size_t i)
{
    return places->each != NULL ? places->each[i] : places->out + i * places->D;
}

/* For embed.h's functions of the same names, with arguments that have been checked: options are
 * complete (a prompt of that name exists; the model generates, within the instance's limits), rows have
 * options->dimensions (at most the width). */
embed_status instance_create(struct embed_instance **instance, struct embed_model *model,
                             const embed_instance_options *options);
void instance_destroy(struct embed_instance *instance);
/* Of texts that are given as ids, the first skipped[i] tokens are not pooled; NULL: all are. */
embed_status instance_encode(struct embed_instance *instance, const embed_text *texts, size_t n,
                             const embed_encode_options *options, const size_t *skipped,
                             const struct row_places *rows, embed_item *items);
embed_status instance_generate(struct embed_instance *instance, const embed_text *texts, size_t n,
                               const embed_generate_options *options, embed_strings *strings);
void instance_get_memory(const struct embed_instance *instance, embed_memory *memory);
struct embed_model *instance_model(const struct embed_instance *instance);
/* Of a chunk, at most. */
const struct chunk_limits *instance_limits(const struct embed_instance *instance);
/* Of a summary in tokens, at most; 0 where the model does not generate. */
size_t instance_max_length(const struct embed_instance *instance);
struct generator *instance_generator(const struct embed_instance *instance); /* NULL likewise */

#endif
