/* beam_search.h - the state of beam search over several documents, on the CPU and on a GPU
 *
 * The semantics are those of transformers' generate(); Wu et al., "Google's Neural Machine
 * Translation System", 2016, section 7, has the length penalty. Letters besides kernels.h's:
 *
 *   D   documents of a step         K   beams of a document
 *   T   tokens of a beam            S   tokens of a source document
 *   P   slots: documents that can be under way at the same time
 *
 * A document that is being summarized has a slot, and a slot has K rows. A beam's past is not
 * copied when beams change places: position t of beam k, its token and its keys and values, lies
 * in row ancestors[k][t], where it was computed. What is written into row k at position t is never
 * written again while the document is under way.
 *
 * A step takes beams of `length` tokens each, the last of which has not been through the decoder
 * yet, to beams of length + 1.
 */
#ifndef KERNELS_BEAM_SEARCH_H
#define KERNELS_BEAM_SEARCH_H

#include <stddef.h>
#include <stdint.h>

/* Functions of this header and of beam_step.h are compiled for the CPU and for a GPU. */
#ifndef BEAM_FUNCTION
#define BEAM_FUNCTION static inline
#endif

enum {
    MOST_BEAMS = 16,
    MOST_LENGTH_PENALTY = 6, /* or -6: lengths to its power are numbers, (2^20)^6 is 1.3e36 */
    NO_TOKEN = -1,
    BEAM_RESULT_HEADER = 3 /* numbers before the tokens of a result */
};

enum early_stopping {
    STOP_BY_HEURISTIC = 0, /* when the best running beam, ended now, would not be among the best */
    STOP_EARLY = 1,        /* when there are num_beams hypotheses */
    STOP_NEVER = 2         /* when no running beam can be among the best any more, however long */
};

/* What generation_config.json says, of one document. Lengths are in tokens of the decoder, the start
 * token included. One beam: the most probable token each time, until the end. */
struct generation_rules {
    int32_t num_beams;      /* 1 to MOST_BEAMS */
    int32_t min_length;     /* before that there is no end */
    int32_t max_length;     /* at least 2 */
    int32_t no_repeat_ngram_size; /* 0: tokens may repeat */
    float length_penalty;   /* a hypothesis scores (sum of log-probabilities) / length^penalty */
    int32_t early_stopping; /* an enum early_stopping */
    int32_t start_token, end_token;
    int32_t forced_first_token, forced_end_token; /* NO_TOKEN: none */
};

enum beam_state {
    BEAM_EMPTY = 0,
    BEAM_RUNNING = 1,
    BEAM_DONE = 2,
    BEAM_NOT_FINITE = 3 /* the decoder gave NaN, or the document ended without a hypothesis */
};

/* Arrays by slot, of the device. */
struct beam_slots {
    size_t P, K, T;                 /* how many there can be */
    struct generation_rules *rules; /* (P) */
    int32_t *sources;               /* (P) S of each document */
    int32_t *states;                /* (P) enum beam_state */
    int32_t *lengths;               /* (P) of the running beams, start token included */
    float *scores; /* (P, K) sums of log-probabilities of the running beams; 0 where there is one */
    int32_t *tokens;                /* (P, K, T) by the row that they were computed in */
    int32_t *ancestors;             /* (P, 2, K, T) that of `length` tokens in half length & 1 */
    int32_t *finished;              /* (P) hypotheses, at most num_beams */
    float *finished_scores; /* (P, K) in no order, -1e9: none; of one running beam its sum */
    int32_t *finished_lengths;      /* (P, K) */
    int32_t *finished_tokens;       /* (P, K, T) */
    /* (P, BEAM_RESULT_HEADER + T): the slot's state, and once that is BEAM_DONE: number of tokens,
     * bits of the score, tokens of the best hypothesis, start token and end token included. */
    int32_t *results;
};

/* A document for a slot. */
struct beam_document {
    int32_t slot;
    int32_t source; /* S */
    struct generation_rules rules;
};

/* One step of documents d < D, which have the same number of beams K (at most that of the slots). In
 * matrices of a step, row d * K + k is beam k of document d. A slot that is not BEAM_RUNNING is left
 * as it is, and its rows may hold anything. */
struct decode_batch {
    size_t D, K;
    const int32_t *slots; /* (D) of the device */
    struct beam_slots beams;
};

/* A way for beam k to go on: with its score then. Those of a row come best first, and of equal ones
 * the lower token; what a rule forbids has the score -infinity, and a row of which any logit is NaN
 * or +infinity only scores of NaN. Where a row has fewer, NO_TOKEN and -infinity stand after the
 * last; those of -infinity may be left out that way. */
struct beam_candidate {
    float score;
    int32_t token;
};

/* Candidates of each row: (D, K, BEAM_CANDIDATES(K)). */
#define BEAM_CANDIDATES(K) (2 * (K))

#ifndef __cplusplus

/* An array of `each` bytes for every slot after what is placed already. */
static inline void *beam_array_place(void *base, size_t *total, size_t P, size_t each)
{
    size_t begin = *total;
    if (begin == SIZE_MAX || each > (SIZE_MAX / 16 - begin) / P) {
        *total = SIZE_MAX;
        return NULL;
    }
    *total = begin + (each * P + 255) / 256 * 256;
    return base == NULL ? NULL : (char *)base + begin;
}

/* Places all arrays for P slots one after another in memory that begins at `base`, the results last,
 * and returns how many bytes they take; with base = NULL it only counts. SIZE_MAX where they do not
 * fit. */
static inline size_t beam_slots_place(struct beam_slots *slots, void *base, size_t P, size_t K,
                                      size_t T)
{
    size_t total = 0, number = sizeof(int32_t);
    slots->P = P;
    slots->K = K;
    slots->T = T;
    slots->rules = beam_array_place(base, &total, P, sizeof *slots->rules);
    slots->sources = beam_array_place(base, &total, P, number);
    slots->states = beam_array_place(base, &total, P, number);
    slots->lengths = beam_array_place(base, &total, P, number);
    slots->scores = beam_array_place(base, &total, P, K * sizeof(float));
    slots->tokens = beam_array_place(base, &total, P, K * T * number);
    slots->ancestors = beam_array_place(base, &total, P, 2 * K * T * number);
    slots->finished = beam_array_place(base, &total, P, number);
    slots->finished_scores = beam_array_place(base, &total, P, K * sizeof(float));
    slots->finished_lengths = beam_array_place(base, &total, P, K * number);
    slots->finished_tokens = beam_array_place(base, &total, P, K * T * number);
    slots->results = beam_array_place(base, &total, P, (BEAM_RESULT_HEADER + T) * number);
    return total;
}

#endif

/* The table by which beams of `length` tokens look up their past: (K, T). */
BEAM_FUNCTION int32_t *beam_ancestors(const struct beam_slots *beams, size_t slot, int32_t length)
{
    return beams->ancestors + (2 * slot + (size_t)(length & 1)) * beams->K * beams->T;
}

/* Token t of beam k, where beams have `length` tokens. */
BEAM_FUNCTION int32_t beam_token(const struct beam_slots *beams, size_t slot, int32_t length,
                                 size_t k, size_t t)
{
    size_t row = (size_t)beam_ancestors(beams, slot, length)[k * beams->T + t];
    return beams->tokens[(slot * beams->K + row) * beams->T + t];
}

/* The token that would repeat the n-gram which begins at position t of beam k, n being
 * no_repeat_ngram_size and t + n <= length; NO_TOKEN if that n-gram begins otherwise than the beam's
 * next one would. */
BEAM_FUNCTION int32_t beam_repeated(const struct beam_slots *beams, size_t slot, int32_t length,
                                    size_t k, size_t t, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (beam_token(beams, slot, length, k, t + i) !=
            beam_token(beams, slot, length, k, (size_t)length - n + 1 + i))
            return NO_TOKEN;
    return beam_token(beams, slot, length, k, t + n - 1);
}

/* The only token that may follow now; NO_TOKEN: there is a choice. */
BEAM_FUNCTION int32_t beam_forced_token(const struct generation_rules *rules, int32_t length)
{
    if (length + 1 == rules->max_length && rules->forced_end_token != NO_TOKEN)
        return rules->forced_end_token;
    return length == 1 ? rules->forced_first_token : NO_TOKEN;
}

#endif
