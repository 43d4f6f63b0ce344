/* folder_facts.h - how a model folder was understood, and from which files, for people to read */
#ifndef LIB_MODEL_FOLDER_FACTS_H
#define LIB_MODEL_FOLDER_FACTS_H

#include "description/embedding_pipeline.h"
#include "description/tokenizer.h"
#include "model/weight_files.h"

struct folder_facts {
    embed_fact *items;
    size_t count;
};

/* Collects the facts of a model whose texts may have max_tokens tokens. A model that `generates`
 * has no prompts, pooling or steps. Release with folder_facts_free, also after a failure. */
embed_status folder_facts_make(struct folder_facts *facts,
                               const struct embedding_pipeline *pipeline,
                               const struct tokenizer *tokenizer, const struct weight_files *files,
                               size_t max_tokens, bool generates);
void folder_facts_free(struct folder_facts *facts);

#endif
