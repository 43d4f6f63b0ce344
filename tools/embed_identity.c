/* embed_identity.c - what the rows of a job depend on, as lines of text
 *
 * Two jobs with the same lines give a text the same row, bit for bit. Most lines are for people,
 * who are shown the first line that differs. `embedder` is the model's fingerprint: weights,
 * tokenizer, pipeline and dtype. `probe` covers what the machine makes of them: it is the hash of
 * one text's row, computed as all others will be. The number of threads and the batch size are left
 * out because they change no bit.
 */
#include "embed_resume.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Long enough to involve sums of many terms, and words of one and of several tokens. */
static const char probe_text[] =
    "In 1984, a quick brown fox jumps over thirteen lazy dogs; the embarrassed photographer "
    "asks: \"What does an unquestionably multidimensional representation cost?\" "
    "Na\xC3\xAFvet\xC3\xA9!";

static bool hash_probe(uint64_t *out, embed_instance *instance, const embed_encode_options *options,
                       size_t width)
{
    embed_text text = {probe_text, NULL, sizeof probe_text - 1};
    float *row = tool_resize(NULL, width, sizeof *row);
    tool_hash hash = {0};
    embed_status status = embed_instance_encode(instance, &text, 1, options, row, width, NULL);
    if (status == EMBED_OK || status == EMBED_NOT_FINITE)
        hash_add(&hash, row, width * sizeof *row);
    else
        tool_library_error();
    free(row);
    *out = hash_value(&hash);
    return hash.bytes > 0;
}

/* Writes the text in quotes, with quotes, backslashes and bytes outside printable ASCII as \xNN.
 * Returns the length. */
static size_t put_quoted(char *out, const char *text)
{
    char *p = out;
    *p++ = '"';
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c >= 0x7F || c == '"' || c == '\\')
            p += sprintf(p, "\\x%02x", c);
        else
            *p++ = (char)c;
    }
    *p++ = '"';
    return (size_t)(p - out);
}

/* Writes the line NAME "VALUE", or NAME WITHOUT if value is NULL. Returns the length. */
static size_t put_setting(char *out, const char *name, const char *value, const char *without)
{
    size_t n = (size_t)sprintf(out, "%s ", name);
    if (value != NULL) n += put_quoted(out + n, value);
    else n += (size_t)sprintf(out + n, "%s", without);
    return n + (size_t)sprintf(out + n, "\n");
}

static size_t quoted_length(const char *text)
{
    return text != NULL ? 4 * strlen(text) : 0;
}

char *job_identity(embed_model *model, embed_instance *instance,
                   const embed_encode_options *options, const tool_settings *settings,
                   tool_format format, size_t width)
{
    enum { LINES_BYTES = 1024 }; /* for everything of bounded length */
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    uint64_t probe;
    char embedder[EMBED_FINGERPRINT_SIZE];
    if (embed_model_get_info(model, &info) != EMBED_OK ||
        embed_model_get_fingerprint(model, EMBED_FINGERPRINT_ALL, embedder) != EMBED_OK) {
        tool_library_error();
        return NULL;
    }
    if (!hash_probe(&probe, instance, options, width)) return NULL;

    char *out = tool_resize(NULL,
                            LINES_BYTES + quoted_length(settings->prompt) +
                                quoted_length(settings->jsonl_field),
                            1);
    size_t n = (size_t)sprintf(
        out,
        "embed journal 1\n"
        "library %s\n"
        "model %s: %zu layers, width %zu, %zu heads, feed-forward %zu, vocabulary %zu, "
        "%" PRIu64 " parameters\n"
        "device %s %s\n"
        "dtype %s\n"
        "embedder %s\n"
        "format %s\n"
        "dimensions %zu\n"
        "max-tokens %zu\n"
        "normalize %s\n",
        embed_version(), info.family, info.layers, info.width, info.heads, info.feed_forward,
        info.vocabulary, info.parameters, info.device == EMBED_DEVICE_CUDA ? "cuda" : "cpu",
        info.instruction_set, dtype_word(info.dtype), embedder, format_word(format), width,
        settings->max_tokens > 0 ? settings->max_tokens : info.max_tokens,
        !settings->no_normalize && info.normalizes ? "on" : "off");
    n += put_setting(out + n, "prompt", settings->prompt, "the model's");
    n += put_setting(out + n, "jsonl", settings->jsonl_field, "no");
    sprintf(out + n, "probe %016" PRIx64 "\nend\n", probe);
    return out;
}
