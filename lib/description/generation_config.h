/* generation_config.h - how a model folder wants its summaries generated */
#ifndef LIB_DESCRIPTION_GENERATION_CONFIG_H
#define LIB_DESCRIPTION_GENERATION_CONFIG_H

#include "description/transformer_config.h"
#include "kernels/beam_search.h"

/* Reads FOLDER/generation_config.json or, if there is none, the same keys of FOLDER/config.json.
 * Keys that are absent have transformers' defaults. EMBED_UNSUPPORTED names a setting that would
 * change the result and that this version does not run (sampling, groups of beams, penalties, ...).
 * EMBED_BAD_FILE names a value that has the wrong type, is out of range, contradicts another, or is
 * a token outside the vocabulary. Only for a config with a decoder. */
embed_status generation_config_read(struct generation_rules *rules,
                                    const struct transformer_config *config, const char *folder);

#endif
