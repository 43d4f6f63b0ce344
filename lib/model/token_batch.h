/* token_batch.h - many texts to token ids, on all threads */
#ifndef LIB_MODEL_TOKEN_BATCH_H
#define LIB_MODEL_TOKEN_BATCH_H

#include "backend/thread_team.h"
#include "description/tokenizer.h"

#include <stddef.h>

/* Texts that one call tokenizes at most. */
#define TOKEN_BATCH_TEXTS 4096

/* The ids of one text; valid until the batch is filled again. */
struct token_span {
    const int32_t *ids;
    size_t count;
    size_t invalid_bytes;
    bool truncated;
    size_t skipped; /* first tokens that are not pooled */
};

struct token_batch;

/* For the threads of `team`; memory grows to what the largest batch needed. */
embed_status token_batch_create(struct token_batch **batch, unsigned threads);
void token_batch_destroy(struct token_batch *batch); /* NULL is fine */

struct token_source {
    const struct tokenizer *tokenizer;
    const char *prompt;    /* put before each text; "" for none */
    size_t max_tokens;     /* 0: no limit */
    size_t vocabulary;     /* ids that are given must be below this */
    size_t max_given;      /* as many ids may be given for one text; 0: no limit */
    size_t first_text;     /* number of texts[0] in the caller's array, for messages */
    size_t prompt_tokens;  /* first tokens, of texts that the prompt is put before, to skip */
    const size_t *skipped; /* (n) those of texts that are given as ids; NULL: none */
};

/* spans[i] of texts[i] for i below n <= TOKEN_BATCH_TEXTS. Without a team it is this thread's work
 * alone. */
embed_status token_batch_fill(struct token_batch *batch, struct token_span *spans,
                              const embed_text *texts, size_t n, const struct token_source *source,
                              struct thread_team *team);

#endif
