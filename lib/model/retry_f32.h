/* retry_f32.h - recomputes texts in FP32 whose results are not finite */
#ifndef LIB_MODEL_RETRY_F32_H
#define LIB_MODEL_RETRY_F32_H

#include "model/generator.h"

/* Recomputes the texts whose rows hold NaN or infinity, `not_finite` of them, in FP32 on the CPU.
 * Returns how many rows still do. skipped and items may be NULL. The weights are read and released
 * again for this, which is slow, but rare. If they cannot be read, the rows are left unchanged. */
size_t retry_f32(const struct embed_model *model, const embed_text *texts, size_t n,
                 const embed_encode_options *options, const size_t *skipped,
                 const struct row_places *rows, embed_item *items, size_t not_finite);

/* Likewise recomputes those of the n summaries whose status is EMBED_NOT_FINITE, and calls
 * options->done for each of them. Sets *not_finite to how many still have that status. Returns
 * EMBED_CANCELLED if `done` cancels the rest. */
embed_status retry_summaries_f32(const struct embed_model *model, const embed_text *texts, size_t n,
                                 const embed_generate_options *options, embed_generated *items,
                                 size_t *not_finite);

/* Likewise recomputes one document of a generator, and calls `ended` with its result, which has the
 * document's text and piece. A failure is not the document's: FP32 could not be tried, or `ended`
 * failed. */
embed_status retry_document_f32(const struct embed_model *model,
                                const struct generator_document *document,
                                embed_status (*ended)(void *argument,
                                                      const struct generator_result *result),
                                void *argument);

#endif
