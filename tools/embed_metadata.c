/* embed_metadata.c - embed encode --metadata: what produced the rows, as one line of JSON
 *
 *     {"fingerprint": "9b6b8f11...", "library": "0.1.0", "family": "bert", "dtype": "bf16", ...}
 *
 * Rows with different fingerprints, or made with different options, must not be mixed in one index.
 */
#include "embed_tool.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>

struct json_t *metadata_describe(embed_model *model, const tool_settings *settings,
                                 tool_format format, size_t width)
{
    char fingerprint[EMBED_FINGERPRINT_SIZE];
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    if (embed_model_get_fingerprint(model, EMBED_FINGERPRINT_ALL, fingerprint) != EMBED_OK ||
        embed_model_get_info(model, &info) != EMBED_OK) {
        tool_library_error();
        return NULL;
    }
    size_t max_tokens = settings->max_tokens > 0 ? settings->max_tokens : info.max_tokens;
    json_t *facts = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:s?, s:s}", "fingerprint",
                              fingerprint, "library", embed_version(), "family", info.family,
                              "dtype", dtype_word(info.dtype), "width", (json_int_t)width,
                              "max_tokens", (json_int_t)max_tokens, "normalized",
                              info.normalizes != 0 && !settings->no_normalize, "prompt",
                              settings->prompt, "format", format_word(format));
    if (facts == NULL) tool_error("encode: --prompt is not UTF-8, or out of memory");
    return facts;
}

bool metadata_write(struct json_t *facts, const char *path, uint64_t rows)
{
    tool_output output;
    json_object_set_new(facts, "rows", json_integer((json_int_t)rows));
    char *text = json_dumps(facts, 0);
    bool written = text != NULL || tool_error("%s: out of memory", path);
    if (written) {
        written = output_open(&output, path) && output_write(&output, text, strlen(text)) &&
                  output_write(&output, "\n", 1) && output_commit(&output);
        output_close(&output);
    }
    free(text);
    return written;
}

void metadata_release(struct json_t *facts)
{
    json_decref(facts);
}
