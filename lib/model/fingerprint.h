/* fingerprint.h - a number for what a model makes of texts: two embedders that share it give
 * the same rows, up to rounding */
#ifndef LIB_MODEL_FINGERPRINT_H
#define LIB_MODEL_FINGERPRINT_H

#include "model/model.h"

/* Part of every fingerprint. To be raised by one with a change after which rows differ by more
 * than rounding from those of the version before, of the same files in the same dtype: another
 * formula, another order of steps, other token ids, a setting of the folder that was understood
 * in another way. Not with another order of sums, a faster kernel, or what was an error before.
 */
#define NUMERICS_VERSION 1

/* Reads the weight files, the first time it is asked for a part that they are in.
 * EMBED_BAD_FILE where they are not those any more that the model was opened from. Any thread.
 */
embed_status fingerprint(struct hash *hash, struct embed_model *model,
                         embed_fingerprint_part part);

#endif
