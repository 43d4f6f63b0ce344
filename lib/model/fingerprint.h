/* fingerprint.h - a hash of all that decides a model's rows: two embedders with the same
 * fingerprint give the same rows, up to rounding */
#ifndef LIB_MODEL_FINGERPRINT_H
#define LIB_MODEL_FINGERPRINT_H

#include "model/model.h"

/* Part of EMBED_FINGERPRINT_ALL. Raise it by one with a change that makes rows of the same files
 * in the same dtype differ by more than rounding from those of the previous version: a different
 * formula, order of steps, token ids, or reading of a folder setting. Do not raise it for a
 * different order of sums, a faster kernel, or support for what used to be an error.
 */
#define NUMERICS_VERSION 1

/* Computes the fingerprint of a part. Reads the weight files the first time a part that includes
 * them is requested; EMBED_BAD_FILE if they are no longer the ones that the model was opened from.
 * May be called from any thread.
 */
embed_status fingerprint(struct hash *hash, struct embed_model *model,
                         embed_fingerprint_part part);

/* Sets *same to whether two models have the same fingerprint except for their weights and dtype. */
embed_status fingerprint_same_settings(bool *same, const struct embed_model *a,
                                       const struct embed_model *b);

#endif
