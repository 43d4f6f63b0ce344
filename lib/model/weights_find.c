/* weights_find.c - finds the tensors of a checkpoint that make up each weight */
#include "base/log.h"
#include "base/status.h"
#include "formats/float_convert.h"
#include "model/weights_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Finds a tensor by its name, with or without the family's prefix: both kinds of checkpoint
 * exist. */
static bool find_name(const struct checkpoint *checkpoint, const struct weight_names *names,
                      const char *plain, struct checkpoint_tensor *out)
{
    char prefixed[NAME_SIZE + 16];
    snprintf(prefixed, sizeof prefixed, "%s%s", names->prefix, plain);
    return checkpoint_find(checkpoint, plain, out) || checkpoint_find(checkpoint, prefixed, out);
}

/* Finds a LayerNorm's weight or bias, also as gamma or beta, its name in TensorFlow's days. */
static bool find_layernorm(const struct checkpoint *checkpoint, const struct weight_names *names,
                           const char *plain, struct checkpoint_tensor *out)
{
    char old[NAME_SIZE];
    const char *dot = strrchr(plain, '.');
    snprintf(old, sizeof old, "%.*s.%s", (int)(dot - plain), plain,
             strcmp(dot, ".weight") == 0 ? "gamma" : "beta");
    return find_name(checkpoint, names, plain, out) || find_name(checkpoint, names, old, out);
}

/* Finds the words under any of their names: a checkpoint has one or more of the tied tensors. */
static bool find_words(const struct checkpoint *checkpoint, const struct weight_names *names,
                       const char *plain, struct checkpoint_tensor *out)
{
    if (find_name(checkpoint, names, plain, out)) return true;
    for (size_t i = 0; names->decoder != NULL && names->decoder->other_words[i] != NULL; i++) {
        char other[NAME_SIZE];
        snprintf(other, sizeof other, "%s.weight", names->decoder->other_words[i]);
        if (find_name(checkpoint, names, other, out)) return true;
    }
    return false;
}

static bool find(const struct checkpoint *checkpoint, const struct weight_names *names,
                 enum slot_need need, const char *plain, struct checkpoint_tensor *out)
{
    if (need == SLOT_LAYERNORM) return find_layernorm(checkpoint, names, plain, out);
    if (need == SLOT_WORDS || need == SLOT_WORDS_AGAIN)
        return find_words(checkpoint, names, plain, out);
    if (need == SLOT_DENSE) return checkpoint_find(checkpoint, plain, out);
    return find_name(checkpoint, names, plain, out);
}

/* Writes the shape as "30522, 384"; "" for a tensor of one number. */
static const char *write_shape(char *out, size_t size, const struct safetensors_tensor *tensor)
{
    size_t length = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < tensor->rank && length < size; i++)
        length += (size_t)snprintf(out + length, size - length, "%s%" PRIu64, i > 0 ? ", " : "",
                                   tensor->shape[i]);
    return out;
}

static embed_status check_shape(const struct slot *slot, const struct checkpoint_tensor *found)
{
    const struct safetensors_tensor *t = found->tensor;
    char shape[SAFETENSORS_MAX_RANK * 24];
    const char *path = safetensors_path(found->file);
    bool scores = slot->kind == WEIGHT_SCORES; /* in the file (buckets, NH) */
    bool matrix = slot->kind == WEIGHT_TABLE || slot->kind == WEIGHT_MATRIX || scores ||
                  slot->tensor_rows > 1;
    bool vector = !matrix && t->rank == 1 && t->shape[0] == slot->columns;
    size_t columns = scores ? slot->rows : slot->columns;
    bool table = t->rank == 2 && t->shape[0] == slot->tensor_rows && t->shape[1] == columns;
    if (!vector && !table)
        return fail(EMBED_BAD_FILE,
                    "%s: tensor \"%s\" has the shape (%s), but config.json implies %zu x %zu", path,
                    t->name, write_shape(shape, sizeof shape, t), slot->tensor_rows, columns);
    if (!float_convert_supports(t->dtype))
        return fail(EMBED_UNSUPPORTED,
                    "%s: tensor \"%s\" is %s; this version supports F32, F16 and BF16", path,
                    t->name, safetensors_dtype_name(t->dtype));
    return EMBED_OK;
}

/* Rejects a bias that config.json rules out: it would be ignored silently. */
static embed_status check_biases(const struct weight_files *files)
{
    for (size_t i = 0; i < files->dense_count; i++) {
        struct checkpoint_tensor bias;
        if (files->dense[i].has_bias) continue;
        if (checkpoint_find(files->dense_files[i], "linear.bias", &bias))
            return fail(EMBED_BAD_FILE,
                        "%s: has tensor \"linear.bias\", but \"bias\" is false in config.json",
                        safetensors_path(bias.file));
    }
    return EMBED_OK;
}

embed_status weights_find(struct slot_list *list, uint64_t *parameters,
                          const struct weight_files *files, const struct weight_names *names)
{
    TRY(check_biases(files));
    for (size_t i = 0; i < list->count; i++) {
        struct slot *slot = &list->slots[i];
        const struct checkpoint *checkpoint =
            slot->need == SLOT_DENSE ? files->dense_files[slot->dense] : files->transformer;
        bool optional = slot->need == SLOT_OR_ZEROS || slot->need == SLOT_WORDS_COPY;
        bool counts = slot->need != SLOT_WORDS_AGAIN && slot->need != SLOT_WORDS_COPY;
        for (size_t p = 0; p < slot->parts; p++) {
            struct checkpoint_tensor *tensor = &slot->tensors[p];
            if (!find(checkpoint, names, slot->need, slot->names[p], tensor)) {
                if (optional) continue;
                return fail(EMBED_BAD_FILE, "%s: tensor \"%s\" is missing",
                            safetensors_path(checkpoint_file(checkpoint, 0)), slot->names[p]);
            }
            TRY(check_shape(slot, tensor));
            if (counts) *parameters += tensor->tensor->elements;
        }
    }
    return EMBED_OK;
}

/* ---- layers that config.json leaves out ---------------------------------------------------- */

/* Counts the layers that have the tensor that `pattern` names. */
static size_t count_layers(const struct checkpoint *checkpoint, const struct weight_names *names,
                           const char *pattern)
{
    for (size_t l = 0;; l++) {
        char plain[NAME_SIZE];
        struct checkpoint_tensor found;
        weight_name(plain, pattern, l, "weight");
        if (!find_name(checkpoint, names, plain, &found)) return l;
    }
}

static void warn_of(const struct checkpoint *checkpoint, const struct weight_names *names,
                    const char *pattern, const char *of, size_t L)
{
    size_t layers = count_layers(checkpoint, names, pattern);
    if (layers > L)
        log_message(
            EMBED_LOG_WARNING,
            "%s: has %zu %s layers, but config.json says %zu; the extra layers are not used",
            safetensors_path(checkpoint_file(checkpoint, 0)), layers, of, L);
}

void weights_warn_of_layers(const struct transformer_config *config,
                            const struct weight_files *files)
{
    const struct weight_names *names = weight_names_of(config->family);
    warn_of(files->transformer, names, names->query, "encoder", config->L);
    if (config->decoder.L > 0)
        warn_of(files->transformer, names, names->decoder->query, "decoder", config->decoder.L);
}
