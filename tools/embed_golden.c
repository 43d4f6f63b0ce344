/* embed_golden.c - results of the reference implementation for a few texts, stage by stage
 *
 * They are read from files that tests/vectors/make_golden.py writes, or from the strings that the
 * Makefile generates from such files in tools/golden.
 */
#include "embed_golden.h"

#include <jansson.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ------------------------------------------------------------------------------- */

/* Stages have names of printable ASCII, which a report can print and cut at any byte. */
static bool is_stage_name(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || (unsigned char)*text > 0x7E) return false;
    return true;
}

static bool read_ids(golden_text *text, json_t *ids)
{
    text->id_count = json_array_size(ids);
    text->ids = tool_resize(NULL, text->id_count + 1, sizeof *text->ids);
    for (size_t i = 0; i < text->id_count; i++) {
        json_t *id = json_array_get(ids, i);
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < INT32_MIN || value > INT32_MAX) return false;
        text->ids[i] = (int32_t)value;
    }
    return true;
}

/* ["layer 0", 11.9, -18.7, ...] */
static bool read_stage(golden_stage *stage, json_t *from)
{
    if (json_array_size(from) != 2 + GOLDEN_SUMS || !json_is_string(json_array_get(from, 0)))
        return false;
    for (size_t k = 0; k <= GOLDEN_SUMS; k++)
        if (!json_is_number(json_array_get(from, 1 + k))) return false;
    stage->name = json_string_value(json_array_get(from, 0));
    if (!is_stage_name(stage->name)) return false;
    stage->norm = json_number_value(json_array_get(from, 1));
    for (size_t k = 0; k < GOLDEN_SUMS; k++)
        stage->sums[k] = json_number_value(json_array_get(from, 2 + k));
    return stage->norm > 0;
}

static bool read_text(golden_text *text, json_t *from)
{
    json_t *string, *ids, *stages;
    if (json_unpack(from, "{s:o, s:o, s:o}", "text", &string, "ids", &ids, "stages", &stages) !=
            0 ||
        !json_is_string(string) || !json_is_array(ids) || !json_is_array(stages))
        return false;
    text->text = (embed_text){json_string_value(string), NULL, json_string_length(string)};
    text->stage_count = json_array_size(stages);
    text->stages = tool_zeroed((text->stage_count + 1) * sizeof *text->stages);
    for (size_t i = 0; i < text->stage_count; i++)
        if (!read_stage(&text->stages[i], json_array_get(stages, i))) return false;
    return read_ids(text, ids);
}

static bool read_all(golden *g)
{
    json_t *texts, *weights;
    json_int_t max_tokens;
    int version;
    if (json_unpack(g->json, "{s:i, s:s, s:o, s:s, s:I, s:o}", "embed golden", &version,
                    "model", &g->model, "weights_fingerprint", &weights, "made_by", &g->made_by,
                    "max_tokens", &max_tokens, "texts", &texts) != 0 ||
        version != 1 || max_tokens < 0 || json_array_size(texts) == 0)
        return false;
    g->max_tokens = (size_t)max_tokens;
    g->weights = json_string_value(weights); /* NULL if it is null */
    g->texts = tool_zeroed(json_array_size(texts) * sizeof *g->texts);
    for (; g->text_count < json_array_size(texts); g->text_count++)
        if (!read_text(&g->texts[g->text_count], json_array_get(texts, g->text_count))) {
            g->text_count++; /* the failed one must be freed too */
            return false;
        }
    return true;
}

static bool parse(golden *g, const char *name, json_t *json, const json_error_t *error)
{
    g->json = json;
    if (json == NULL) return tool_error("%s: line %d: %s", name, error->line, error->text);
    return read_all(g) || tool_error("%s: not a file from make_golden.py", name);
}

static bool parse_built_in(golden *g, const struct golden_file *file)
{
    json_error_t error = {0};
    json_t *json = json_loads(file->json, JSON_REJECT_DUPLICATES, &error);
    return parse(g, file->name, json, &error);
}

bool golden_read(golden *g, const char *name)
{
    *g = (golden){0};
    for (const struct golden_file *file = golden_files; file->name != NULL; file++)
        if (strcmp(file->name, name) == 0) return parse_built_in(g, file);
    FILE *in = fopen(name, "rb");
    if (in == NULL) return tool_error("%s: %s", name, strerror(errno));
    json_error_t error = {0};
    json_t *json = json_loadf(in, JSON_REJECT_DUPLICATES, &error);
    fclose(in);
    return parse(g, name, json, &error);
}

bool golden_find(golden *g, const char *weights)
{
    for (const struct golden_file *file = golden_files; file->name != NULL; file++) {
        *g = (golden){0};
        if (parse_built_in(g, file) && g->weights != NULL && strcmp(g->weights, weights) == 0)
            return true;
        golden_free(g);
    }
    *g = (golden){0};
    return false;
}

void golden_free(golden *g)
{
    for (size_t i = 0; i < g->text_count; i++) {
        free(g->texts[i].ids);
        free(g->texts[i].stages);
    }
    free(g->texts);
    json_decref(g->json);
}

/* ---- sums ---------------------------------------------------------------------------------- */

/* Bit k is set if value i is subtracted in sum k. Must match make_golden.py. */
static unsigned signs(size_t i)
{
    uint64_t h = ((uint64_t)i + 1) * 0x9E3779B97F4A7C15u;
    return (unsigned)((h ^ h >> 32) * 0xBB67AE8584CAA73Bu >> 56);
}

void golden_sum(golden_stage *stage, const float *values, size_t count)
{
    double square = 0, sums[GOLDEN_SUMS] = {0};
    for (size_t i = 0; i < count; i++) {
        double value = (double)values[i];
        unsigned minus = signs(i);
        square += value * value;
        for (size_t k = 0; k < GOLDEN_SUMS; k++) sums[k] += minus >> k & 1 ? -value : value;
    }
    stage->norm = sqrt(square);
    memcpy(stage->sums, sums, sizeof sums);
}
