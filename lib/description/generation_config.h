/* generation_config.h - how a model folder wants its summaries generated */
#ifndef LIB_DESCRIPTION_GENERATION_CONFIG_H
#define LIB_DESCRIPTION_GENERATION_CONFIG_H

#include "description/transformer_config.h"
#include "kernels/beam_search.h"

/* Reads FOLDER/generation_config.json; where there is none, the same keys of FOLDER/config.json. What
 * neither says has the value that transformers gives it. EMBED_UNSUPPORTED names a setting that would
 * change the result and that this version does not run (sampling, groups of beams, penalties, ...);
 * EMBED_BAD_FILE a value that is of the wrong type, out of range, contradicts another, or a token
 * outside of the vocabulary. Only for a config with a decoder. */
embed_status generation_config_read(struct generation_rules *rules,
                                    const struct transformer_config *config, const char *folder);

#endif
