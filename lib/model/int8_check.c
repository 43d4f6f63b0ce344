/* int8_check.c - checks that a model keeps its embeddings in INT8
 *
 * How much a model loses to rounding depends on the outliers among its activations, which cannot be
 * seen in its weights. So the check embeds a few texts of different kinds, short and long, in BF16
 * and in INT8. It always gives the same model the same answer.
 */
#include "model/int8_check.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"
#include "model/instance.h"

#include <math.h>

#define LEAST_COSINE 0.99

static const embed_text texts[] = {
    EMBED_TEXT("A cat sits on the mat."),
    EMBED_TEXT("How do I reset my password?"),
    EMBED_TEXT("no"),
    EMBED_TEXT("The committee approved the budget for 2019, but only after a long debate about the "
               "cost of the new bridge, which most of its members had never seen."),
    EMBED_TEXT("Error 404: /index.html was not found on this server; see log line 1,284."),
    EMBED_TEXT("Photosynthesis turns light, water and carbon dioxide into sugar and oxygen."),
    EMBED_TEXT("for (i = 0; i < n; i++) sum += x[i] * y[i];"),
    EMBED_TEXT("WE REGRET TO INFORM YOU that flight QX 71 to Lisbon is cancelled!!!"),
    EMBED_TEXT("\"Call me Ishmael,\" he said. Nobody laughed. Outside it had begun to rain, and "
               "the lamps along the harbour came on one after another, yellow and small, as if "
               "someone were walking slowly down to the sea with a taper in his hand. We paid, "
               "and went, and did not speak until we reached the ship."),
    EMBED_TEXT("El tren sale a las siete y media de la ma\xC3\xB1""ana."),
};

#define TEXTS (sizeof texts / sizeof *texts)

static embed_status embed_texts(float *rows, struct embed_model *model)
{
    embed_instance_options instance_options = EMBED_INSTANCE_OPTIONS_INIT;
    embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
    struct embed_instance *instance;
    options.dimensions = model_width(model);
    options.max_tokens = model->max_tokens;
    const struct row_places places = {.out = rows, .D = options.dimensions};
    TRY(instance_create(&instance, model, &instance_options));
    embed_status status = instance_encode(instance, texts, TEXTS, &options, NULL, &places, NULL);
    instance_destroy(instance);
    return status;
}

static embed_status embed_in_bf16(float *rows, const struct embed_model *model)
{
    struct embed_model *bf16;
    TRY(model_open_on_cpu(&bf16, model, EMBED_DTYPE_BF16));
    embed_status status = embed_texts(rows, bf16);
    model_release(bf16);
    return status;
}

static double cosine(const float *a, const float *b, size_t count)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < count; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return ab / sqrt(aa * bb);
}

static embed_status compare(const float *got, const float *expected,
                            const struct embed_model *model)
{
    size_t C = model_width(model), worst = 0;
    double least = 1;
    for (size_t i = 0; i < TEXTS; i++) {
        double c = cosine(got + i * C, expected + i * C, C);
        if (!(c >= least)) least = c, worst = i;
        if (isnan(c)) break;
    }
    log_message(EMBED_LOG_INFO, "%s: in int8 the worst of %zu texts has a cosine of %.4f to bf16",
                model->folder, TEXTS, least);
    if (least >= LEAST_COSINE) return EMBED_OK;
    return fail(EMBED_UNSUPPORTED,
                "%s: the model loses too much accuracy in int8: the embedding of \"%.30s\" has a "
                "cosine of %.4f to that in bf16; the minimum is %.2f",
                model->folder, texts[worst].data, least, LEAST_COSINE);
}

embed_status int8_check(struct embed_model *model)
{
    float *rows = memory_allocate(2 * TEXTS * model_width(model), sizeof *rows,
                                  "the rows of a check");
    if (rows == NULL) return EMBED_OUT_OF_MEMORY;
    float *expected = rows + TEXTS * model_width(model);
    embed_status status = embed_in_bf16(expected, model);
    if (status == EMBED_OK) status = embed_texts(rows, model);
    if (status == EMBED_OK) status = compare(rows, expected, model);
    memory_free(rows);
    return status;
}
