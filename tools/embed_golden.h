/* embed_golden.h - what the reference implementation gives for a few texts, stage by stage */
#ifndef TOOLS_EMBED_GOLDEN_H
#define TOOLS_EMBED_GOLDEN_H

#include "embed_tool.h"

#define GOLDEN_SUMS 8

/* What is kept of a stage's values: see make_golden.py. */
typedef struct golden_stage {
    const char *name; /* "embeddings", "layer 0", ..., "pooling", "module 0", ..., "row" */
    double norm;
    double sums[GOLDEN_SUMS];
} golden_stage;

typedef struct golden_text {
    embed_text text;
    int32_t *ids;
    size_t id_count;
    golden_stage *stages;
    size_t stage_count;
} golden_text;

typedef struct golden {
    const char *model;
    const char *weights; /* fingerprint; NULL: not known */
    const char *made_by;
    size_t max_tokens;
    golden_text *texts;
    size_t text_count;
    struct json_t *json; /* holds all strings */
} golden;

/* From a file, or the name of a model whose numbers are built in. golden_free may follow either
 * way. */
bool golden_read(golden *g, const char *name);

/* Those built in for a model with these weights; false without a message where there are none.
 */
bool golden_find(golden *g, const char *weights);

void golden_free(golden *g);

/* tools/golden, by the Makefile; ends with a NULL. */
extern const struct golden_file {
    const char *name, *json;
} golden_files[];

/* stage->norm and ->sums of these values. */
void golden_sum(golden_stage *stage, const float *values, size_t count);

#endif
