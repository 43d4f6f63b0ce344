/* int8_check.h - does a model keep its embeddings in INT8? */
#ifndef LIB_MODEL_INT8_CHECK_H
#define LIB_MODEL_INT8_CHECK_H

#include "model/model.h"

/* Embeds a few texts with the model, which is in INT8, and with the same folder in BF16, which is
 * open only meanwhile. EMBED_UNSUPPORTED where a row's cosine to that in BF16 is below 0.99. */
embed_status int8_check(struct embed_model *model);

#endif
