/* summaries.h - from what is asked for to documents, and from what became of these to summaries
 *
 * A text is a document, or several where it is too long and is to be split: consecutive pieces, whose
 * summaries are joined. Documents may end in any order, and in several threads at once.
 */
#ifndef LIB_MODEL_SUMMARIES_H
#define LIB_MODEL_SUMMARIES_H

#include "model/generator.h"
#include "model/token_batch.h"

#include <stdatomic.h>

struct summary_piece; /* what became of one */

struct summary {
    size_t pieces;
    atomic_size_t left;          /* pieces that have not ended */
    struct summary_piece *piece; /* (pieces); NULL before it begins, and when it has ended */
};

struct summaries {
    size_t n;
    embed_generated *items; /* (n); text i's is complete when its last piece has ended */
    struct summary *each;   /* (n) */
};

/* The rules that complete options stand for, and how their texts are tokenized; messages number those
 * from first_text. */
struct generation_rules summaries_rules(const embed_generate_options *options,
                                        const struct embed_model *model);
struct token_source summaries_source(const embed_generate_options *options,
                                     const struct embed_model *model, size_t first_text);

/* Of n texts. */
embed_status summaries_create(struct summaries *summaries, size_t n);
void summaries_free(struct summaries *summaries); /* fine where it is zeroed */

/* Text i begins, whose tokens these are, in summaries->each[i].pieces of at most `most` tokens.
 * `number` is the text's in messages. */
embed_status summaries_begin(struct summaries *summaries, size_t i, const struct token_span *span,
                             size_t most, const struct embed_model *model, size_t number);

/* Tokens that a piece has besides what is the text's own: one before and one after it. */
enum { PIECE_SPECIAL_TOKENS = 2 };

/* Writes the ids of piece `piece` of so many, and returns their number: all have about as many, special
 * tokens of their own included. */
size_t summaries_cut(int32_t *ids, const struct token_span *span, size_t pieces, size_t piece);

/* A piece has ended. *is_last: so has its text's summary; items[result->text] is complete. */
embed_status summaries_end_piece(struct summaries *summaries, const struct generator_result *result,
                                 const struct tokenizer *tokenizer, bool *is_last);

/* EMBED_CANCELLED, and why. */
embed_status summaries_called_off(void);

/* Tells the caller that text i's summary has ended. EMBED_CANCELLED where that calls the rest off. */
embed_status summaries_tell(const embed_generate_options *options, size_t i,
                            const embed_generated *summary);

size_t summaries_count_not_finite(const struct summaries *summaries);

/* All have ended: they are the caller's now. */
void summaries_give(struct summaries *summaries, embed_strings *strings);

#endif
