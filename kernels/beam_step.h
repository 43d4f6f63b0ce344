/* beam_step.h - how beams become one token longer
 *
 * The rules are those of beam search in transformers' generate(), and of its greedy search where there
 * is one beam. A step has a decision, which is one thread's, and what follows from it, which is copied
 * by any number of threads together.
 */
#ifndef KERNELS_BEAM_STEP_H
#define KERNELS_BEAM_STEP_H

#include "kernels/beam_search.h"

/* What the decision of one document's step is. */
struct beam_decision {
    int32_t length; /* before the step */
    int32_t state;  /* an enum beam_state, after it */
    int32_t parents[MOST_BEAMS]; /* beam k goes on from that beam */
    int32_t tokens[MOST_BEAMS];  /* with that token */
    int32_t hypotheses[MOST_BEAMS]; /* place k of the finished ones is now that beam of before; -1: as it was */
    int32_t ends[MOST_BEAMS];       /* and the token it ended with */
    int32_t best; /* of the finished ones, where the state is BEAM_DONE */
};

#endif
