/* embed_bench_summarize.c - embed-bench summarize: documents through encoder and decoder
 *
 * All documents are in flight at once, as a batch. Each has a fixed number of random ids and gets a
 * summary of a fixed number of new tokens, so the time does not depend on the weights.
 *
 * A step of the decoder takes at least the time that memory needs to deliver what the step reads:
 * the weights once (the head, and the layers without the projections of cross keys and values,
 * which each document needs only once) and the keys and values of the documents and beams. On a CPU
 * the memory's rate is measured in the same run, as the best of the rounds.
 */
#include "embed_bench.h"

#include <stdlib.h>

/* New tokens of a second run, which separates the encoder from the steps. On a GPU steps come in
 * eights. */
#define FEW_TOKENS 8

/* ---- documents ----------------------------------------------------------------------------- */

/* Returns the same random ids each time. They exclude special tokens and those at the end of the
 * vocabulary, some of which not all tokenizers know. */
static int32_t *random_ids(size_t count, const embed_model_info *info)
{
    int32_t *ids = allocate(count, sizeof *ids);
    uint32_t random = 1;
    if (info->vocabulary < 300) die("the vocabulary has fewer than 300 tokens");
    for (size_t i = 0; i < count; i++) {
        random = random * 1664525u + 1013904223u; /* Numerical Recipes' */
        ids[i] = (int32_t)(4 + (random >> 8) % (info->vocabulary - 64));
    }
    return ids;
}

/* Splits the ids into documents with <s> and </s> around each, as BART's tokenizer puts them. */
static embed_text *make_documents(int32_t *ids, size_t documents, size_t tokens)
{
    embed_text *texts = allocate(documents, sizeof *texts);
    for (size_t d = 0; d < documents; d++) {
        int32_t *own = ids + d * tokens;
        own[0] = 0;
        own[tokens - 1] = 2;
        texts[d] = (embed_text){NULL, own, tokens};
    }
    return texts;
}

/* ---- floor --------------------------------------------------------------------------------- */

/* Returns the bytes of a weight, key or value. A model that generates does not run in INT8. */
static double number_bytes(embed_dtype dtype)
{
    return dtype == EMBED_DTYPE_F32 ? 4 : 2;
}

/* Returns the bytes of weights that a step reads, without biases and LayerNorms, which are a
 * thousandth. */
static double step_weight_bytes(const embed_model_info *info)
{
    double C = (double)info->width, F = (double)info->decoder_feed_forward;
    double layer = 6 * C * C + 2 * C * F; /* q, k, v, output; cross q and output; feed forward */
    double head = C * (double)info->vocabulary;
    return ((double)info->decoder_layers * layer + head) * number_bytes(info->dtype);
}

/* Returns the bytes of keys and values that a step reads for a document, as a mean over all steps.
 * Beams share those of the source; each has its own of the summary. */
static double step_cache_bytes(const struct settings *settings, const embed_model_info *info)
{
    double rows = (double)settings->tokens +
                  (double)settings->beams * ((double)settings->new_tokens + 1) / 2;
    return rows * 2 * (double)info->width * (double)info->decoder_layers *
           number_bytes(info->dtype);
}

/* ---- measurement --------------------------------------------------------------------------- */

/* Returns the seconds for summaries of exactly new_tokens tokens. */
static double generate(embed_instance *instance, const embed_text *texts,
                       const struct settings *settings, embed_generate_options *options,
                       size_t new_tokens)
{
    embed_strings strings = EMBED_STRINGS_INIT;
    options->min_length = options->max_length = new_tokens + 1;
    double start = now();
    check(embed_instance_generate(instance, texts, settings->texts, options, &strings));
    double seconds = now() - start;
    for (size_t i = 0; i < strings.count; i++) {
        if (strings.items[i].tokens != new_tokens + 1 ||
            strings.items[i].source_tokens != settings->tokens)
            die("a summary or a source does not have the requested length");
    }
    embed_strings_free(&strings);
    return seconds;
}

static void print_row(const struct settings *settings, const embed_model_info *info,
                      size_t rounds, double seconds, double step, double bandwidth)
{
    double steps = (double)settings->new_tokens, documents = (double)settings->texts;
    double weights = step_weight_bytes(info);
    double cache = documents * step_cache_bytes(settings, info);
    struct table table;
    table_start(&table, stdout, settings->json);
    table_model(&table, info);
    table_number(&table, "documents", "%zu", settings->texts);
    table_number(&table, "source_tokens", "%zu", settings->tokens);
    table_number(&table, "new_tokens", "%zu", settings->new_tokens);
    table_number(&table, "beams", "%zu", settings->beams);
    table_number(&table, "rounds", "%zu", rounds);
    table_number(&table, "seconds", "%.4f", seconds);
    table_number(&table, "encoder_s", "%.4f", seconds - steps * step);
    table_number(&table, "step_ms", "%.3f", 1e3 * step);
    table_number(&table, "documents_per_s", "%.3f", documents / seconds);
    table_number(&table, "tokens_per_s", "%.1f", documents * steps / seconds);
    table_number(&table, "step_weights_mb", "%.1f", 1e-6 * weights);
    table_number(&table, "step_cache_mb", "%.1f", 1e-6 * cache);
    if (bandwidth > 0) {
        double floor = (weights + cache) / bandwidth;
        table_number(&table, "read_gb_per_s", "%.1f", 1e-9 * bandwidth);
        table_number(&table, "step_floor_ms", "%.3f", 1e3 * floor);
        table_number(&table, "share_of_floor", "%.3f", floor / step);
    } else {
        table_none(&table, "read_gb_per_s");
        table_none(&table, "step_floor_ms");
        table_none(&table, "share_of_floor");
    }
    table_end_row(&table);
}

static void time_rounds(const struct settings *settings, embed_instance *instance,
                        const embed_text *texts, embed_generate_options *options,
                        const embed_model_info *info)
{
    size_t rounds = settings->rounds > 0 ? settings->rounds : 3;
    double *seconds = allocate(rounds, sizeof *seconds), *steps = allocate(rounds, sizeof *steps);
    double bandwidth = 0, few, rate;
    generate(instance, texts, settings, options, FEW_TOKENS);
    for (size_t r = 0; r < rounds; r++) {
        few = generate(instance, texts, settings, options, FEW_TOKENS);
        seconds[r] = generate(instance, texts, settings, options, settings->new_tokens);
        steps[r] = (seconds[r] - few) / (double)(settings->new_tokens - FEW_TOKENS);
        if (info->device != EMBED_DEVICE_CPU) continue;
        rate = read_bandwidth(info->threads);
        if (rate > bandwidth) bandwidth = rate;
    }
    print_row(settings, info, rounds, percentile(seconds, rounds, 0.5),
              percentile(steps, rounds, 0.5), bandwidth);
    free(seconds);
    free(steps);
}

static void summarize(const struct settings *settings, embed_model *model,
                      const embed_model_info *info)
{
    embed_instance *instance = NULL;
    embed_instance_options limits = EMBED_INSTANCE_OPTIONS_INIT;
    embed_generate_options options = EMBED_GENERATE_OPTIONS_INIT;
    check(embed_model_get_generation(model, &options));
    options.num_beams = limits.num_beams = (unsigned)settings->beams;
    limits.documents = settings->texts;
    limits.max_length = settings->new_tokens + 1;
    limits.batch_tokens = settings->batch_tokens;

    int32_t *ids = random_ids(settings->texts * settings->tokens, info);
    embed_text *texts = make_documents(ids, settings->texts, settings->tokens);
    check(embed_instance_create(&instance, model, &limits));
    time_rounds(settings, instance, texts, &options, info);
    embed_instance_destroy(instance);
    free(texts);
    free(ids);
}

int command_summarize(const struct settings *settings)
{
    embed_model_info info;
    if (settings->texts == 0 || settings->tokens == 0 || settings->new_tokens == 0 ||
        settings->beams == 0)
        return wrong_call("summarize: takes --texts, --tokens, --new-tokens and --beams");
    if (settings->new_tokens <= FEW_TOKENS)
        return wrong_call("summarize: --new-tokens must be more than %d", FEW_TOKENS);
    if (settings->tokens < 2) return wrong_call("summarize: --tokens must be at least 2");
    embed_model *model = open_model(settings, true, &info);
    summarize(settings, model, &info);
    embed_model_close(model);
    return 0;
}
