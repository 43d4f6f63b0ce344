/* embed_bench_summarize.c - embed-bench summarize: documents through encoder and decoder
 *
 * All documents are under way at once, as a batch; each is of so many random ids, and gets a summary
 * of exactly so many new tokens: what is timed does not depend on what the weights are.
 *
 * A step of the decoder cannot take less time than the memory needs to give what it reads: its
 * weights once (the layers without the projections of cross keys and values, which each document
 * needs once, and the head) and the keys and values of the documents and beams. On a CPU the memory's
 * rate is measured in the same run, the best of the rounds.
 */
#include "embed_bench.h"

#include <stdio.h>
#include <stdlib.h>

/* New tokens of a second run, which tells encoder and steps apart: on a GPU steps come in eights. */
#define FEW_TOKENS 8

/* ---- documents ----------------------------------------------------------------------------- */

/* The same each time; <s> and </s> around, as BART's tokenizer gives them. Special tokens and those
 * at the end of the table, of which some tokenizers know less, are not among the others. */
static int32_t *random_ids(size_t count, const embed_model_info *info)
{
    int32_t *ids = calloc(count, sizeof *ids);
    uint32_t random = 1;
    if (ids == NULL) die("out of memory");
    if (info->vocabulary < 300) die("a vocabulary of less than 300 tokens");
    for (size_t i = 0; i < count; i++) {
        random = random * 1664525u + 1013904223u; /* Numerical Recipes' */
        ids[i] = (int32_t)(4 + (random >> 8) % (info->vocabulary - 64));
    }
    return ids;
}

static embed_text *make_documents(int32_t *ids, size_t documents, size_t tokens)
{
    embed_text *texts = calloc(documents, sizeof *texts);
    if (texts == NULL) die("out of memory");
    for (size_t d = 0; d < documents; d++) {
        int32_t *own = ids + d * tokens;
        own[0] = 0;
        own[tokens - 1] = 2;
        texts[d] = (embed_text){NULL, own, tokens};
    }
    return texts;
}

/* ---- floor --------------------------------------------------------------------------------- */

/* Of a weight, key or value; a model that generates is not run in INT8. */
static double number_bytes(embed_dtype dtype)
{
    return dtype == EMBED_DTYPE_F32 ? 4 : 2;
}

/* That a step reads. Biases and LayerNorms, a thousandth, are left out. */
static double step_weight_bytes(const embed_model_info *info)
{
    double C = (double)info->width, F = (double)info->decoder_feed_forward;
    double layer = 6 * C * C + 2 * C * F; /* q, k, v, output; cross q and output; feed forward */
    double head = C * (double)info->vocabulary;
    return ((double)info->decoder_layers * layer + head) * number_bytes(info->dtype);
}

/* Of a document, in the mean of all steps: keys and values of the source are shared by its beams,
 * those of the summary are each beam's own. */
static double step_cache_bytes(const struct settings *settings, const embed_model_info *info)
{
    double rows = (double)settings->tokens +
                  (double)settings->beams * ((double)settings->new_tokens + 1) / 2;
    return rows * 2 * (double)info->width * (double)info->decoder_layers *
           number_bytes(info->dtype);
}

/* ---- measurement --------------------------------------------------------------------------- */

/* Seconds for summaries of exactly new_tokens. */
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
            die("a summary or a source is not of the length that was asked for");
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
    printf("device,instruction_set,threads,dtype,documents,source_tokens,new_tokens,beams,rounds,"
           "seconds,encoder_s,step_ms,documents_per_s,tokens_per_s,step_weights_mb,step_cache_mb,"
           "read_gb_per_s,step_floor_ms,share_of_floor\n");
    printf("\"%s\",%s,%u,%s,%zu,%zu,%zu,%zu,%zu,", info->device_name, info->instruction_set,
           info->threads, dtype_name(info->dtype), settings->texts, settings->tokens,
           settings->new_tokens, settings->beams, rounds);
    printf("%.4f,%.4f,%.3f,%.3f,%.1f,%.1f,%.1f,", seconds, seconds - steps * step, 1e3 * step,
           documents / seconds, documents * steps / seconds, 1e-6 * weights, 1e-6 * cache);
    if (bandwidth > 0) {
        double floor = (weights + cache) / bandwidth;
        printf("%.1f,%.3f,%.3f\n", 1e-9 * bandwidth, 1e3 * floor, floor / step);
    } else {
        printf(",,\n");
    }
}

static void time_rounds(const struct settings *settings, embed_instance *instance,
                        const embed_text *texts, embed_generate_options *options,
                        const embed_model_info *info)
{
    size_t rounds = settings->rounds > 0 ? settings->rounds : 3;
    double *seconds = calloc(rounds, sizeof *seconds), *steps = calloc(rounds, sizeof *steps);
    double bandwidth = 0, few, rate;
    if (seconds == NULL || steps == NULL) die("out of memory");
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

void summarize(const struct settings *settings, embed_model *model, const embed_model_info *info)
{
    embed_instance *instance = NULL;
    embed_instance_options limits = EMBED_INSTANCE_OPTIONS_INIT;
    embed_generate_options options = EMBED_GENERATE_OPTIONS_INIT;
    check(embed_model_get_generation(model, &options));
    if (settings->new_tokens <= FEW_TOKENS) die("--new-tokens must be more than 8");
    if (settings->tokens < 2) die("--tokens must be 2 or more");
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
