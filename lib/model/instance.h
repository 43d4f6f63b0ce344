/* instance.h - one stream of work on a model: texts in, rows or summaries out */
#ifndef LIB_MODEL_INSTANCE_H
#define LIB_MODEL_INSTANCE_H

#include "model/model.h"

/* Where a call writes its rows: one after another, or each to an address of its own. */
struct row_places {
    float *out;         /* (n, D) */
    size_t D;
    float *const *each; /* (n) addresses, used instead of `out` if not NULL */
};

static inline float *row_place(const struct row_places *places, size_t i)
{
    return places->each != NULL ? places->each[i] : places->out + i * places->D;
}

/* Implement embed.h's functions of the same names. The caller has checked the arguments: options
 * are complete (the prompt exists; for generation, the model generates and the options are within
 * the instance's limits), and rows have options->dimensions floats (at most the model's width). */
embed_status instance_create(struct embed_instance **instance, struct embed_model *model,
                             const embed_instance_options *options);
void instance_destroy(struct embed_instance *instance);
/* Does not pool the first skipped[i] tokens of texts given as ids; skipped = NULL: pools all. */
embed_status instance_encode(struct embed_instance *instance, const embed_text *texts, size_t n,
                             const embed_encode_options *options, const size_t *skipped,
                             const struct row_places *rows, embed_item *items);
embed_status instance_generate(struct embed_instance *instance, const embed_text *texts, size_t n,
                               const embed_generate_options *options, embed_strings *strings);
void instance_get_memory(const struct embed_instance *instance, embed_memory *memory);
struct embed_model *instance_model(const struct embed_instance *instance);
/* Returns the largest sizes of a chunk. */
const struct chunk_limits *instance_limits(const struct embed_instance *instance);
/* Returns the most tokens a summary may have, and the generator: 0 and NULL if the model does not
 * generate. */
size_t instance_max_length(const struct embed_instance *instance);
struct generator *instance_generator(const struct embed_instance *instance);

#endif
