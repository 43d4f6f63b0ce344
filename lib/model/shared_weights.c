/* shared_weights.c - keeps weights once for all models of a process
 *
 * The weights are in a list. Its lock is held during a load, so two threads that open the same
 * folder at the same time load it once, and different folders load one after another, each on all
 * threads.
 */
#include "base/memory.h"
#include "base/status.h"
#include "model/weights.h"

#include <pthread.h>
#include <string.h>

struct shared_weights {
    struct weights weights; /* first: a struct weights * is a struct shared_weights * */
    size_t references;
    struct backend *backend;
    struct safetensors_identity *files;
    size_t file_count;
    struct shared_weights *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct shared_weights *list;

/* Returns whether two configs give the same weights from the same files. */
static bool same_config(const struct transformer_config *a, const struct transformer_config *b)
{
    return strcmp(a->family, b->family) == 0 && a->C == b->C && a->L == b->L && a->NH == b->NH &&
           a->F == b->F && a->V == b->V && a->positions == b->positions &&
           a->token_types == b->token_types && a->distance_buckets == b->distance_buckets &&
           a->padding_id == b->padding_id && a->word_scale == b->word_scale &&
           a->decoder.L == b->decoder.L && a->decoder.NH == b->decoder.NH &&
           a->decoder.F == b->decoder.F;
}

/* Returns whether the weights have the Dense modules of these files' configs, which are apart from
 * the files. */
static bool same_dense(const struct weights *weights, const struct weight_files *files)
{
    for (size_t i = 0; i < MOST_DENSE; i++) {
        const struct dense *dense = &weights->dense[i];
        const struct dense_config none = {0};
        const struct dense_config *config = i < files->dense_count ? &files->dense[i] : &none;
        if (dense->O != config->O || dense->I != config->I ||
            dense->activation != config->activation || (dense->bias != NULL) != config->has_bias)
            return false;
    }
    return true;
}

static bool same_device(const struct backend *a, const struct backend *b)
{
    return a->device == b->device && a->device_index == b->device_index && a->dtype == b->dtype &&
           strcmp(a->instruction_set, b->instruction_set) == 0;
}

static bool same_file(struct safetensors_identity a, struct safetensors_identity b)
{
    return a.device == b.device && a.inode == b.inode && a.size == b.size &&
           a.seconds == b.seconds && a.nanoseconds == b.nanoseconds;
}

bool shared_weights_are_of(const struct weights *weights, const struct weight_files *files)
{
    const struct shared_weights *shared = (const struct shared_weights *)weights;
    if (shared->file_count != weight_files_count(files)) return false;
    for (size_t i = 0; i < shared->file_count; i++) {
        if (!same_file(shared->files[i], safetensors_identity(weight_files_at(files, i))))
            return false;
    }
    return true;
}

bool shared_weights_same_files(const struct weights *a, const struct weights *b)
{
    const struct shared_weights *first = (const struct shared_weights *)a;
    const struct shared_weights *second = (const struct shared_weights *)b;
    if (first->file_count != second->file_count) return false;
    for (size_t i = 0; i < first->file_count; i++) {
        if (!same_file(first->files[i], second->files[i])) return false;
    }
    return true;
}

static void destroy(struct shared_weights *shared)
{
    weights_release(&shared->weights, shared->backend);
    backend_release(shared->backend);
    memory_free(shared->files);
    memory_free(shared);
}

static embed_status load(struct shared_weights **out, const struct transformer_config *config,
                         struct backend *backend, const struct weight_files *files,
                         struct thread_team *team)
{
    struct shared_weights *shared = memory_allocate(1, sizeof *shared, "shared weights");
    if (shared == NULL) return EMBED_OUT_OF_MEMORY;
    backend_hold(backend);
    shared->backend = backend;
    shared->references = 1;
    shared->file_count = weight_files_count(files);
    shared->files = memory_allocate(shared->file_count, sizeof *shared->files, "shared weights");
    embed_status status = EMBED_OUT_OF_MEMORY;
    if (shared->files != NULL) {
        for (size_t i = 0; i < shared->file_count; i++)
            shared->files[i] = safetensors_identity(weight_files_at(files, i));
        status = weights_load(&shared->weights, config, backend, files, team);
    }
    if (status != EMBED_OK) {
        destroy(shared);
        return status;
    }
    *out = shared;
    return EMBED_OK;
}

embed_status shared_weights_open(const struct weights **weights,
                                 const struct transformer_config *config, struct backend *backend,
                                 const struct weight_files *files, struct thread_team *team)
{
    embed_status status = EMBED_OK;
    pthread_mutex_lock(&lock);
    struct shared_weights *shared = list;
    while (shared != NULL &&
           !(same_config(&shared->weights.encoder.config, config) &&
             same_dense(&shared->weights, files) && same_device(shared->backend, backend) &&
             shared_weights_are_of(&shared->weights, files)))
        shared = shared->next;
    if (shared != NULL) {
        shared->references++;
    } else {
        status = load(&shared, config, backend, files, team);
        if (status == EMBED_OK) {
            shared->next = list;
            list = shared;
        }
    }
    pthread_mutex_unlock(&lock);
    if (status == EMBED_OK) *weights = &shared->weights;
    return status;
}

void shared_weights_close(const struct weights *weights)
{
    if (weights == NULL) return;
    pthread_mutex_lock(&lock);
    struct shared_weights **place = &list;
    while (&(*place)->weights != weights) place = &(*place)->next;
    struct shared_weights *shared = *place;
    bool last = --shared->references == 0;
    if (last) *place = shared->next;
    pthread_mutex_unlock(&lock);
    if (last) destroy(shared);
}
