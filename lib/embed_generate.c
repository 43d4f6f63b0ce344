/* embed_generate.c - public functions: summaries */
#include "embed.h"

#include "arguments.h"
#include "base/memory.h"
#include "base/status.h"
#include "model/instance.h"
#include "model/model.h"

embed_status embed_model_get_generation(const embed_model *model, embed_generate_options *options)
{
    REQUIRE(model);
    embed_generate_options all;
    TRY(take_generation(&all, model));
    return GIVE_STRUCT(options, all);
}

embed_status embed_instance_generate(embed_instance *instance, const embed_text *texts, size_t n,
                                     const embed_generate_options *options, embed_strings *out)
{
    REQUIRE(instance);
    CHECK_STRINGS(out);
    const embed_model *model = instance_model(instance);
    embed_generate_options all;
    embed_strings strings = EMBED_STRINGS_INIT;
    TRY(take_generate(&all, options, model, instance_limits(instance)->K,
                      instance_max_length(instance), texts, n));
    if (n == 0) return GIVE_STRUCT(out, strings);
    embed_status status = instance_generate(instance, texts, n, &all, &strings);
    if (strings.items != NULL) TRY(GIVE_STRUCT(out, strings));
    return status;
}

void embed_strings_free(embed_strings *strings)
{
    if (strings == NULL) return;
    for (size_t i = 0; i < strings->count; i++) memory_free(strings->items[i].text);
    memory_free(strings->items);
    strings->items = NULL;
    strings->count = 0;
}
