/* int8_check.h - checks that a model keeps its embeddings in INT8 */
#ifndef LIB_MODEL_INT8_CHECK_H
#define LIB_MODEL_INT8_CHECK_H

#include "model/model.h"

/* Embeds a few texts with the model, which is in INT8, and with the same folder in BF16, opened
 * only for this check. Returns EMBED_UNSUPPORTED if a row's cosine to its BF16 counterpart is below
 * 0.99. */
embed_status int8_check(struct embed_model *model);

#endif
