/* token_batch.h - tokenizes many texts, on all threads */
#ifndef LIB_MODEL_TOKEN_BATCH_H
#define LIB_MODEL_TOKEN_BATCH_H

#include "backend/thread_team.h"
#include "description/tokenizer.h"

#include <stddef.h>

/* The most texts that one call tokenizes. */
#define TOKEN_BATCH_TEXTS 4096

/* The ids of one text. Valid until the batch is filled again; ids that the caller gave are not
 * copied. */
struct token_span {
    const int32_t *ids;
    size_t count;
    size_t invalid_bytes;
    bool truncated;
    size_t skipped; /* number of first tokens that are not pooled */
};

struct token_batch;

/* Creates a batch for teams of up to `threads` threads. Its memory grows to what the largest batch
 * needs. */
embed_status token_batch_create(struct token_batch **batch, unsigned threads);
void token_batch_destroy(struct token_batch *batch); /* NULL is fine */

struct token_source {
    const struct tokenizer *tokenizer;
    const char *prompt;    /* put before each text; "" for none */
    size_t max_tokens;     /* texts are cut to this, special tokens included; 0: no limit */
    size_t vocabulary;     /* given ids must be below this */
    size_t max_given;      /* the most ids that may be given for one text; 0: no limit */
    size_t first_text;     /* index of texts[0] in the caller's array, for messages */
    size_t prompt_tokens;  /* `skipped` of texts that get the prompt */
    const size_t *skipped; /* (n) `skipped` of texts given as ids; NULL: 0 */
};

/* Fills spans[i] from texts[i] for all i < n; n <= TOKEN_BATCH_TEXTS. If team is NULL, the calling
 * thread does all the work. */
embed_status token_batch_fill(struct token_batch *batch, struct token_span *spans,
                              const embed_text *texts, size_t n, const struct token_source *source,
                              struct thread_team *team);

#endif
