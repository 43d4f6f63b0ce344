/* batch_profile.h - how to batch for one model on one device, as measured and written to a file
 *
 * `embed-bench sweep --profile FILE` measures and writes it; a pool reads it. One JSON object:
 *
 *     {
 *         "format": "libembed batch profile",
 *         "format_version": 1,
 *         "library_version": "0.1.0",            embed_version
 *         "device": "NVIDIA H200",               of embed_model_info: device_name
 *         "instruction_set": "sm_90",            likewise
 *         "dtype": "f16",                        "f32", "bf16", "f16" or "int8"
 *         "family": "bert",                      of embed_model_info, as the next five
 *         "width": 384,
 *         "layers": 6,
 *         "parameters": 22565376,
 *         "vocabulary": 30522,
 *         "max_tokens": 256,
 *         "chunk_tokens": 16384,                 for embed_instance_options.batch_tokens
 *         "batch_tokens": 65536,                 for embed_pool_options, as the next two
 *         "batch_texts": 1024,                   0: no limit besides
 *         "instances": 2,
 *         "delay_microseconds": 500,             for max_delay_microseconds
 *         "largest_safe_batch_tokens": 262144,   the largest that was computed; >= batch_tokens
 *         "peak_bytes": 1073741824,              of the device's memory, weights and all instances
 *         "written": "2026-11-21T10:00:00Z",     for people, as the next: any text
 *         "command": "embed-bench sweep -m all-MiniLM-L6-v2 --profile minilm.json"
 *     }
 *
 * All of these must be there, each once, in any order; what else is there is not looked at. Figures
 * from another device, model or version mislead, so that such a file is refused.
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

/* Reads the profile of the model that `info` is of. EMBED_IO; EMBED_BAD_FILE where it is malformed:
 * names the field and what it must be; EMBED_UNSUPPORTED where it is of another device, model, dtype,
 * library version or format: names the field and both values. */
embed_status batch_profile_read(struct batch_profile *profile, const char *path,
                                const embed_model_info *info);

#endif
