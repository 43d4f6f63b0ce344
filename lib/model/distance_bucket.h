/* distance_bucket.h - T5's buckets of relative positions, as MPNet uses them
 *
 * Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
 * Transformer", 2019; the arithmetic is that of transformers' MPNetEncoder.
 */
#ifndef LIB_MODEL_DISTANCE_BUCKET_H
#define LIB_MODEL_DISTANCE_BUCKET_H

#include <stddef.h>

/* Returns the bucket, below `buckets`, of a key `distance` tokens after its query (negative: before
 * it). The upper half of the buckets is for keys after the query. In each half, the first half has
 * one bucket per distance; the rest divide the distances up to 128 on a logarithmic scale, and the
 * last one also takes all longer distances. */
size_t distance_bucket(ptrdiff_t distance, size_t buckets);

#endif
