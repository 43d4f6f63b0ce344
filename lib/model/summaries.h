/* summaries.h - turns texts into documents, and the documents' results into summaries
 *
 * A text is one document or, if it is too long and is to be split, several: consecutive pieces,
 * whose summaries are joined. Documents may end in any order, and on several threads at once.
 */
#ifndef LIB_MODEL_SUMMARIES_H
#define LIB_MODEL_SUMMARIES_H

#include "model/generator.h"
#include "model/token_batch.h"

#include <stdatomic.h>

struct summary_piece; /* the result of one piece */

struct summary {
    size_t pieces;
    atomic_size_t left;          /* pieces that have not ended yet */
    struct summary_piece *piece; /* (pieces); NULL before the text begins and after it has ended */
};

struct summaries {
    size_t n;
    embed_generated *items; /* (n); text i's is complete when its last piece has ended */
    struct summary *each;   /* (n) */
};

/* Return the generation rules of complete options, and how their texts are tokenized. Messages
 * number the texts from first_text. */
struct generation_rules summaries_rules(const embed_generate_options *options,
                                        const struct embed_model *model);
struct token_source summaries_source(const embed_generate_options *options,
                                     const struct embed_model *model, size_t first_text);

/* Creates the summaries of n texts. */
embed_status summaries_create(struct summaries *summaries, size_t n);
void summaries_free(struct summaries *summaries); /* *summaries may be zeroed */

/* Begins text i, whose tokens are `span`, and divides it into summaries->each[i].pieces pieces of
 * at most `most` tokens. Messages call it text `number`. */
embed_status summaries_begin(struct summaries *summaries, size_t i, const struct token_span *span,
                             size_t most, const struct embed_model *model, size_t number);

/* Special tokens of a piece: one before and one after the text's own. */
enum { PIECE_SPECIAL_TOKENS = 2 };

/* Writes the ids of piece number `piece`, of `pieces`, and returns how many there are. All pieces
 * have about the same number, and special tokens of their own. */
size_t summaries_cut(int32_t *ids, const struct token_span *span, size_t pieces, size_t piece);

/* Records the result of a piece. Sets *is_last if it was its text's last one to end; then
 * items[result->text] is complete. */
embed_status summaries_end_piece(struct summaries *summaries, const struct generator_result *result,
                                 const struct tokenizer *tokenizer, bool *is_last);

/* Returns EMBED_CANCELLED, with its message. */
embed_status summaries_called_off(void);

/* Calls options->done, unless NULL, with text i's summary, which has ended. Returns EMBED_CANCELLED
 * if `done` cancels the rest. */
embed_status summaries_tell(const embed_generate_options *options, size_t i,
                            const embed_generated *summary);

size_t summaries_count_not_finite(const struct summaries *summaries);

/* Moves the items to *strings, after all have ended, and releases the rest. */
void summaries_give(struct summaries *summaries, embed_strings *strings);

#endif
