/* cache.h - several models by folder, each behind a pool, limited in number and bytes */
#ifndef LIB_SERVICE_CACHE_H
#define LIB_SERVICE_CACHE_H

#include "embed.h"

/* These implement embed.h's functions of the same names. options->model and options->pool must not
 * be NULL, and all three structs must be complete. */
embed_status cache_create(struct embed_cache **cache, const embed_cache_options *options);
void cache_destroy(struct embed_cache *cache);
embed_status cache_acquire(struct embed_cache *cache, const char *folder, struct embed_pool **pool);
void cache_release(struct embed_cache *cache, const struct embed_pool *pool);
embed_status cache_pin(struct embed_cache *cache, const char *folder);
void cache_unpin(struct embed_cache *cache, const char *folder);
void cache_get_metrics(const struct embed_cache *cache, embed_cache_metrics *metrics);

#endif
