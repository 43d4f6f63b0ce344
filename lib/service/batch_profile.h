/* batch_profile.h - measured batching parameters for one model on one device
 *
 * `embed-bench sweep --profile FILE` measures and writes a profile; a pool reads it. The file is
 * one JSON object:
 *
 *     {
 *         "format": "libembed batch profile",
 *         "format_version": 1,
 *         "library_version": "0.1.0",            embed_version
 *         "device": "NVIDIA H200",               embed_model_info.device_name
 *         "instruction_set": "sm_90",            embed_model_info.instruction_set
 *         "dtype": "f16",                        "f32", "bf16", "f16" or "int8"
 *         "family": "bert",                      embed_model_info, like the next five
 *         "width": 384,
 *         "layers": 6,
 *         "parameters": 22565376,
 *         "vocabulary": 30522,
 *         "max_tokens": 256,
 *         "chunk_tokens": 16384,                 for embed_instance_options.batch_tokens
 *         "batch_tokens": 65536,                 for embed_pool_options, like the next two
 *         "batch_texts": 1024,                   0: no additional limit
 *         "instances": 2,
 *         "delay_microseconds": 500,             for max_delay_microseconds
 *         "largest_safe_batch_tokens": 262144,   largest batch computed; >= batch_tokens
 *         "peak_bytes": 1073741824,              of device memory: weights and all instances
 *         "written": "2026-11-21T10:00:00Z",     informational, like the next; any text
 *         "command": "embed-bench sweep -m all-MiniLM-L6-v2 --profile minilm.json"
 *     }
 *
 * All of these fields are required, each exactly once, in any order; other fields are ignored.
 * Figures from another device, model or version would mislead, so such a file is rejected.
 */
#ifndef LIB_SERVICE_BATCH_PROFILE_H
#define LIB_SERVICE_BATCH_PROFILE_H

#include "embed.h"

#include <stddef.h>
#include <stdint.h>

struct batch_profile {
    size_t chunk_tokens, batch_tokens, batch_texts;
    size_t instances;
    size_t delay_microseconds;
    size_t largest_safe_batch_tokens;
    uint64_t peak_bytes;
};

/* Reads the profile at `path` for the model described by `info`. Fails with EMBED_IO; with
 * EMBED_BAD_FILE if the file is malformed, naming the field and what it must be; with
 * EMBED_UNSUPPORTED if it is for another device, model, dtype, library version or format, naming
 * the field and both values. */
embed_status batch_profile_read(struct batch_profile *profile, const char *path,
                                const embed_model_info *info);

#endif
