/* member_size.c - sizes of a member's instance and batches, by tier */
#include "model/plan.h"
#include "service/member.h"

/* Default number of chunks in a batch on a GPU: enough to have two in flight while the previous
 * batch is delivered. On a CPU it is one per thread. */
enum { CHUNKS_OF_A_QUEUE = 4 };

/* Returns the tokens of a chunk of a full-size instance: no more than a batch may have, but at
 * least least_tokens. */
static size_t full_chunk(const struct member *member)
{
    const struct embed_pool *pool = member->pool;
    const struct backend *backend = member->model->backend;
    const struct transformer_config *config = &member->model->encoder.config;
    size_t chunk = backend->chunk_tokens(backend, config->C, config->F);
    if (pool->chunk_tokens > 0 && !member_is_fallback(member)) chunk = pool->chunk_tokens;
    if (pool->options.batch_tokens > 0 && pool->options.batch_tokens < chunk)
        chunk = pool->options.batch_tokens;
    return chunk > member->least_tokens ? chunk : member->least_tokens;
}

size_t member_documents(const struct member *member)
{
    size_t wished = member->pool->options.documents;
    if (member->model->encoder.config.decoder.L == 0) return 0;
    return wished > 0 ? wished : member->model->backend->slots;
}

embed_instance_options member_instance_options(const struct member *member, unsigned tier)
{
    const embed_pool_options *pool = &member->pool->options;
    embed_instance_options options = EMBED_INSTANCE_OPTIONS_INIT;
    size_t documents = member_documents(member);
    options.batch_tokens = full_chunk(member) >> tier;
    if (options.batch_tokens < member->least_tokens) options.batch_tokens = member->least_tokens;
    options.documents = documents >> tier;
    if (options.documents == 0 && documents > 0) options.documents = 1;
    options.num_beams = pool->num_beams;
    options.max_length = pool->max_length;
    return options;
}

bool member_is_smallest(const struct member *member, unsigned tier)
{
    const embed_instance_options options = member_instance_options(member, tier);
    return options.batch_tokens == member->least_tokens && options.documents <= 1;
}

size_t member_batch_tokens(const struct member *member)
{
    const struct backend *backend = member->model->backend;
    const embed_instance_options options = member_instance_options(member, member->tier);
    if (options.documents > 0) return options.documents * member->model->max_tokens;
    size_t full = full_chunk(member), wanted = member->pool->options.batch_tokens;
    if (wanted == 0) wanted = full * (backend->is_queue ? CHUNKS_OF_A_QUEUE : backend->workers);
    size_t tokens = (size_t)((double)wanted * ((double)options.batch_tokens / (double)full));
    return tokens > 0 ? tokens : 1;
}
