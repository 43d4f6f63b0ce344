/* weight_files.h - the files that hold a model's weights: the transformer's and each Dense
 * module's */
#ifndef LIB_MODEL_WEIGHT_FILES_H
#define LIB_MODEL_WEIGHT_FILES_H

#include "description/embedding_pipeline.h"
#include "formats/checkpoint.h"

struct weight_files {
    struct checkpoint *transformer;
    const struct dense_config *dense; /* (dense_count), the pipeline's */
    struct checkpoint *dense_files[MOST_DENSE];
    size_t dense_count;
};

/* Opens all weight files of the pipeline. Release with weight_files_close, also after a failure. */
embed_status weight_files_open(struct weight_files *files,
                               const struct embedding_pipeline *pipeline);
void weight_files_close(struct weight_files *files);

/* Every file, including shards. */
size_t weight_files_count(const struct weight_files *files);
const struct safetensors *weight_files_at(const struct weight_files *files, size_t i);

#endif
