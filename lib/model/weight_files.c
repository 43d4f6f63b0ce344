/* weight_files.c - the files that hold a model's weights */
#include "model/weight_files.h"

#include "base/status.h"

embed_status weight_files_open(struct weight_files *files,
                               const struct embedding_pipeline *pipeline)
{
    *files = (struct weight_files){.dense = pipeline->dense};
    TRY(checkpoint_open(&files->transformer, pipeline->transformer_folder));
    for (; files->dense_count < pipeline->dense_count; files->dense_count++)
        TRY(checkpoint_open(&files->dense_files[files->dense_count],
                            pipeline->dense[files->dense_count].folder));
    return EMBED_OK;
}

void weight_files_close(struct weight_files *files)
{
    checkpoint_close(files->transformer);
    for (size_t i = 0; i < files->dense_count; i++) checkpoint_close(files->dense_files[i]);
    *files = (struct weight_files){0};
}

size_t weight_files_count(const struct weight_files *files)
{
    size_t count = checkpoint_file_count(files->transformer);
    for (size_t i = 0; i < files->dense_count; i++)
        count += checkpoint_file_count(files->dense_files[i]);
    return count;
}

const struct safetensors *weight_files_at(const struct weight_files *files, size_t i)
{
    const struct checkpoint *checkpoint = files->transformer;
    for (size_t k = 0; i >= checkpoint_file_count(checkpoint); k++) {
        i -= checkpoint_file_count(checkpoint);
        checkpoint = files->dense_files[k];
    }
    return checkpoint_file(checkpoint, i);
}
