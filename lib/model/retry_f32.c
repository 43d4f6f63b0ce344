/* retry_f32.c - texts whose rows are not finite, once more in FP32 */
#include "model/retry_f32.h"

#include "base/log.h"
#include "base/status.h"
#include "model/finite.h"

static embed_status open_f32(struct embed_instance **instance, const struct embed_model *model)
{
    embed_instance_options options = EMBED_INSTANCE_OPTIONS_INIT;
    struct embed_model *f32;
    TRY(model_open_on_cpu(&f32, model, EMBED_DTYPE_F32));
    embed_status status = instance_create(instance, f32, &options);
    model_release(f32); /* the instance keeps it */
    return status;
}

size_t retry_f32(const struct embed_model *model, const embed_text *texts, size_t n,
                 const embed_encode_options *options, const struct row_places *rows,
                 embed_item *items, size_t not_finite)
{
    size_t left = not_finite;
    struct embed_instance *instance;
    if (open_f32(&instance, model) != EMBED_OK) {
        log_message(EMBED_LOG_WARNING, "%zu embeddings are not finite, and FP32 cannot be tried: %s",
                    not_finite, error_message());
        return not_finite;
    }
    for (size_t i = 0; i < n; i++) {
        const struct row_places place = {.out = row_place(rows, i), .D = options->dimensions};
        if (all_finite(place.out, place.D)) continue;
        embed_item *item = items == NULL ? NULL : &items[i];
        if (instance_encode(instance, &texts[i], 1, options, &place, item) == EMBED_OK) left--;
        if (item != NULL) item->path = EMBED_PATH_F32;
    }
    instance_destroy(instance);
    log_message(EMBED_LOG_WARNING,
                "%zu embeddings were not finite on %s, and were computed in FP32 on the CPU",
                not_finite, model->backend->device_name);
    return left;
}
