/* distance_bucket.h - T5's buckets of relative positions, as MPNet uses them
 *
 * Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
 * Transformer", 2019; the arithmetic is that of transformers' MPNetEncoder.
 */
#ifndef LIB_MODEL_DISTANCE_BUCKET_H
#define LIB_MODEL_DISTANCE_BUCKET_H

#include <stddef.h>

/* The bucket, below `buckets`, of a key `distance` tokens behind its query (negative: before it).
 * Half of the buckets are for keys behind; of each half, the first half has a bucket for each
 * distance, the rest share the distances up to 128 on a logarithmic scale. */
size_t distance_bucket(ptrdiff_t distance, size_t buckets);

#endif
