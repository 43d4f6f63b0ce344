/* embed_verify.c - embed verify: compares a model here with the reference
 *
 * A few texts are traced through all stages. Token ids must be identical. For every other stage,
 * the norm of the difference, divided by the reference's norm, must be within a bound that depends
 * on the dtype. The first stage that exceeds its bound is where the fault is: tokenizer, a layer's
 * weights or kernels, pooling.
 */
#include "embed_golden.h"

#include <jansson.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAGE_NAME 32

/* One line of the report: the largest difference of a stage over all texts. */
typedef struct stage_report {
    char name[STAGE_NAME];
    double difference, bound;
    bool agrees;
    char how[160]; /* how it differs, if not by a number; else "" */
} stage_report;

typedef struct verification {
    const golden *reference;
    stage_report *stages; /* the first is "tokens" */
    size_t count, capacity;
    embed_dtype dtype;
    const golden_text *text; /* the text being compared; the next two belong to it */
    size_t next;             /* index of its next stage */
    bool other_ids;          /* its ids differ, so its later stages are not compared */
} verification;

/* Returns the bound for a stage. Rounding errors add up from layer to layer like steps in random
 * directions: with the square root of their number. The factor for hidden states is at least three
 * times what was measured for all-MiniLM-L6-v2 and all-mpnet-base-v2, and leaves room for the tiny
 * models, whose random weights are harder (tests/vectors/README.md). The bound b for pooling,
 * modules and rows is what the dtype promises: a cosine 1 - b^2 / 2 of 0.9999 in BF16 and F16, and
 * of 0.99 in INT8. */
static double bound_of(embed_dtype dtype, const embed_traced *stage)
{
    static const struct {
        double hidden, row;
    } bounds[] = {[EMBED_DTYPE_F32] = {3e-6, 1e-5},
                  [EMBED_DTYPE_BF16] = {2e-2, 0.0141},
                  [EMBED_DTYPE_F16] = {3e-3, 0.0141},
                  [EMBED_DTYPE_INT8] = {1e-1, 0.141}};
    if (stage->stage > EMBED_STAGE_LAYER) return bounds[dtype].row;
    size_t depth = stage->stage == EMBED_STAGE_LAYER ? stage->index + 1 : 0;
    return bounds[dtype].hidden * sqrt((double)(1 + depth));
}

/* ---- comparing ----------------------------------------------------------------------------- */

static stage_report *report_of(verification *v, const char *name)
{
    for (size_t i = 0; i < v->count; i++)
        if (strcmp(v->stages[i].name, name) == 0) return &v->stages[i];
    if (v->count == v->capacity) {
        v->capacity = 2 * v->capacity + 16;
        v->stages = tool_resize(v->stages, v->capacity, sizeof *v->stages);
    }
    stage_report *stage = &v->stages[v->count++];
    *stage = (stage_report){.agrees = true};
    snprintf(stage->name, sizeof stage->name, "%s", name);
    return stage;
}

static void compare_ids(verification *v, const embed_traced *tokens)
{
    stage_report *stage = report_of(v, "tokens");
    const golden_text *text = v->text;
    size_t i = 0;
    while (i < tokens->rows && i < text->id_count && tokens->ids[i] == text->ids[i]) i++;
    v->other_ids = i < tokens->rows || i < text->id_count;
    if (!v->other_ids || !stage->agrees) return;
    stage->agrees = false;
    int n = snprintf(stage->how, sizeof stage->how, "%zu tokens, the reference has %zu",
                     tokens->rows, text->id_count);
    if (i < tokens->rows && i < text->id_count)
        snprintf(stage->how + n, sizeof stage->how - (size_t)n,
                 "; token %zu has id %d, the reference %d", i, (int)tokens->ids[i],
                 (int)text->ids[i]);
}

/* Estimates the norm of the values' difference, divided by the reference's norm: the root of the
 * mean square of the sums' differences, but at least the difference of the norms. */
static double difference(const golden_stage *ours, const golden_stage *theirs)
{
    double square = 0;
    for (size_t k = 0; k < GOLDEN_SUMS; k++) {
        double d = ours->sums[k] - theirs->sums[k];
        square += d * d;
    }
    double by_sums = sqrt(square / GOLDEN_SUMS), by_norm = fabs(ours->norm - theirs->norm);
    return (by_sums >= by_norm ? by_sums : by_norm) / theirs->norm; /* NaN if a value is */
}

static void put_name(char out[STAGE_NAME], const embed_traced *stage)
{
    switch (stage->stage) {
    case EMBED_STAGE_TOKENS: snprintf(out, STAGE_NAME, "tokens"); break;
    case EMBED_STAGE_EMBEDDINGS: snprintf(out, STAGE_NAME, "embeddings"); break;
    case EMBED_STAGE_LAYER: snprintf(out, STAGE_NAME, "layer %zu", stage->index); break;
    case EMBED_STAGE_POOLING: snprintf(out, STAGE_NAME, "pooling"); break;
    case EMBED_STAGE_MODULE: snprintf(out, STAGE_NAME, "module %zu", stage->index); break;
    case EMBED_STAGE_ROW: snprintf(out, STAGE_NAME, "row"); break;
    }
}

static void compare_values(verification *v, const embed_traced *traced)
{
    char name[STAGE_NAME];
    put_name(name, traced);
    stage_report *stage = report_of(v, name);
    stage->bound = bound_of(v->dtype, traced);
    const golden_stage *theirs =
        v->next < v->text->stage_count ? &v->text->stages[v->next] : NULL;
    v->next++;
    if (theirs == NULL || strcmp(theirs->name, name) != 0) {
        stage->agrees = false;
        snprintf(stage->how, sizeof stage->how, "the reference has %s here",
                 theirs != NULL ? theirs->name : "nothing");
        return;
    }
    golden_stage ours;
    golden_sum(&ours, traced->values, traced->rows * traced->width);
    double found = difference(&ours, theirs);
    if (!isnan(stage->difference) && !(found <= stage->difference)) stage->difference = found;
    if (!(found <= stage->bound)) stage->agrees = false;
}

static void compare_stage(void *user, const embed_traced *stage)
{
    verification *v = user;
    if (stage->stage == EMBED_STAGE_TOKENS)
        compare_ids(v, stage);
    else if (!v->other_ids)
        compare_values(v, stage);
}

/* Reports a stage that the reference has and this model lacks. */
static void compare_end(verification *v)
{
    if (v->other_ids || v->next >= v->text->stage_count) return;
    stage_report *stage = report_of(v, v->text->stages[v->next].name);
    stage->agrees = false;
    snprintf(stage->how, sizeof stage->how, "this model has nothing here");
}

static void compare_limit(verification *v, size_t max_tokens)
{
    stage_report *stage = report_of(v, "tokens");
    if (max_tokens == v->reference->max_tokens) return;
    stage->agrees = false;
    snprintf(stage->how, sizeof stage->how, "texts are cut at %zu tokens, the reference at %zu",
             max_tokens, v->reference->max_tokens);
}

static bool compare_all(verification *v, embed_model *model)
{
    embed_instance *instance = NULL;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    bool done = embed_model_get_info(model, &info) == EMBED_OK &&
                embed_instance_create(&instance, model, NULL) == EMBED_OK;
    v->dtype = info.dtype;
    if (done) compare_limit(v, info.max_tokens);
    for (size_t i = 0; done && i < v->reference->text_count; i++) {
        v->text = &v->reference->texts[i];
        v->next = 0;
        done =
            embed_instance_trace(instance, &v->text->text, NULL, compare_stage, v) == EMBED_OK;
        if (done) compare_end(v);
    }
    if (!done) tool_library_error();
    embed_instance_destroy(instance);
    return done;
}

/* ---- report -------------------------------------------------------------------------------- */

static const stage_report *first_difference(const verification *v)
{
    for (size_t i = 0; i < v->count; i++)
        if (!v->stages[i].agrees) return &v->stages[i];
    return NULL;
}

static void print_table(const verification *v)
{
    printf("%-14s%12s%12s\n", "stage", "difference", "bound");
    for (size_t i = 0; i < v->count; i++) {
        const stage_report *stage = &v->stages[i];
        if (i == 0 || stage->how[0] != '\0')
            printf("%-14s%12s%12s", stage->name, stage->agrees ? "none" : "", "none");
        else
            printf("%-14s%12.1e%12.1e", stage->name, stage->difference, stage->bound);
        printf("%s%s\n", stage->agrees ? "" : "  differs: ", stage->how);
    }
}

static bool print_json(const verification *v, const embed_model_info *info)
{
    const stage_report *first = first_difference(v);
    json_t *stages = json_array();
    for (size_t i = 0; i < v->count; i++) {
        const stage_report *stage = &v->stages[i];
        json_t *entry = json_pack("{s:s, s:b}", "stage", stage->name, "agrees", stage->agrees);
        if (stage->how[0] != '\0')
            json_object_set_new(entry, "how", json_string(stage->how));
        else if (i > 0) { /* JSON has no NaN */
            json_object_set_new(entry, "difference",
                                isfinite(stage->difference) ? json_real(stage->difference)
                                                            : json_null());
            json_object_set_new(entry, "bound", json_real(stage->bound));
        }
        json_array_append_new(stages, entry);
    }
    json_t *all =
        json_pack("{s:s, s:s, s:s, s:s, s:b, s:s?, s:o}", "model", v->reference->model,
                  "made_by", v->reference->made_by, "dtype", dtype_word(info->dtype),
                  "instruction_set", info->instruction_set, "agrees", first == NULL,
                  "first_difference", first != NULL ? first->name : NULL, "stages", stages);
    bool printed =
        all != NULL && json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) == 0;
    printf("\n");
    json_decref(all);
    return printed || tool_error("verify: out of memory");
}

/* Prints the result. Returns the exit status. */
static int tell(const verification *v, const embed_model *model, const tool_settings *settings)
{
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    embed_model_get_info(model, &info);
    const stage_report *first = first_difference(v);
    if (settings->json) {
        if (!print_json(v, &info)) return EXIT_FAILURE;
    } else {
        tool_print_safely(v->reference->model);
        printf(" by ");
        tool_print_safely(v->reference->made_by);
        printf(", here in %s (%s)\n", dtype_word(info.dtype), info.instruction_set);
        print_table(v);
    }
    if (first == NULL) {
        if (!settings->json) printf("all stages agree\n");
        return EXIT_SUCCESS;
    }
    if (first->how[0] != '\0')
        tool_error("%s: first differs from the reference at \"%s\": %s", settings->model,
                   first->name, first->how);
    else
        tool_error(
            "%s: first differs from the reference at \"%s\": by %.1e, where the bound in %s "
            "is %.1e",
            settings->model, first->name, first->difference, dtype_word(info.dtype),
            first->bound);
    return EXIT_FAILURE;
}

/* ---- the command --------------------------------------------------------------------------- */

/* Finds the reference for the model. Returns the exit status, EXIT_SUCCESS if there is one. */
static int find_reference(golden *reference, embed_model *model, const tool_settings *settings)
{
    char weights[EMBED_FINGERPRINT_SIZE];
    if (settings->reference != NULL)
        return golden_read(reference, settings->reference) ? EXIT_SUCCESS : EXIT_FAILURE;
    if (embed_model_get_fingerprint(model, EMBED_FINGERPRINT_WEIGHTS, weights) != EMBED_OK) {
        tool_library_error();
        return EXIT_FAILURE;
    }
    if (golden_find(reference, weights)) return EXIT_SUCCESS;
    tool_error(
        "%s: no built-in reference for its weights, %s; --reference takes the name of a known "
        "model, or a file from make_golden.py",
        settings->model, weights);
    return EXIT_NO_REFERENCE;
}

int command_verify(const tool_settings *settings)
{
    embed_model *model;
    golden reference = {0};
    if (!tool_open_model(&model, settings)) return EXIT_FAILURE;
    int status = find_reference(&reference, model, settings);
    if (status == EXIT_SUCCESS) {
        verification v = {.reference = &reference};
        status = compare_all(&v, model) ? tell(&v, model, settings) : EXIT_FAILURE;
        free(v.stages);
    }
    golden_free(&reference);
    embed_model_close(model);
    return status;
}
