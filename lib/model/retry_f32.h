/* retry_f32.h - texts whose results are not finite, once more in FP32 */
#ifndef LIB_MODEL_RETRY_F32_H
#define LIB_MODEL_RETRY_F32_H

#include "model/generator.h"

/* Computes the texts whose rows hold NaN or infinity again, in FP32 on the CPU: there are not_finite
 * of them. Returns how many still do. skipped and items may be NULL. The weights are read again and released
 * again: this is slow, and rare. Where they cannot be read, the rows stay as they are. */
size_t retry_f32(const struct embed_model *model, const embed_text *texts, size_t n,
                 const embed_encode_options *options, const size_t *skipped,
                 const struct row_places *rows, embed_item *items, size_t not_finite);

/* Likewise those of the n summaries whose status is EMBED_NOT_FINITE; calls options->done for each of
 * them. *not_finite: how many still have it. EMBED_CANCELLED where `done` calls the rest off. */
embed_status retry_summaries_f32(const struct embed_model *model, const embed_text *texts, size_t n,
                                 const embed_generate_options *options, embed_generated *items,
                                 size_t *not_finite);

/* Likewise a document of a generator: `ended` is called with what becomes of it, with its text and piece.
 * A failure is not one of the document's: FP32 could not be tried. */
embed_status retry_document_f32(const struct embed_model *model,
                                const struct generator_document *document,
                                embed_status (*ended)(void *argument,
                                                      const struct generator_result *result),
                                void *argument);

#endif
