/* beam_search.h - the state of beam search over several documents, on the CPU and on a GPU
 *
 * The semantics are those of transformers' generate(); the length penalty is that of Wu et al.,
 * "Google's Neural Machine Translation System", 2016, section 7. Letters, besides those of
 * kernels.h:
 *
 *   D   documents of a step         K   beams of a document
 *   T   tokens of a beam            S   tokens of a source document
 *   P   slots: documents that can be in flight at the same time
 *
 * Each document in flight has a slot, and each slot has K rows. Reordering beams copies no tokens,
 * keys or values: those of beam k at position t stay in row ancestors[k][t], where they were
 * computed. Row k at position t is written only once while a document is in flight.
 *
 * A step extends beams of `length` tokens, the last of which has not been through the decoder yet,
 * to length + 1 tokens.
 */
#ifndef KERNELS_BEAM_SEARCH_H
#define KERNELS_BEAM_SEARCH_H

#include <stddef.h>
#include <stdint.h>

/* The functions of this header and of beam_step.h are compiled for both the CPU and the GPU. */
#ifndef BEAM_FUNCTION
#define BEAM_FUNCTION static inline
#endif

enum {
    MOST_BEAMS = 16,
    MOST_GENERATED = 1 << 20, /* tokens: no length or n-gram may be set to more */
    MOST_LENGTH_PENALTY = 6, /* in magnitude: (2^20)^6 is 1.3e36, still finite in FP32 */
    NO_TOKEN = -1,
    BEAM_RESULT_HEADER = 3 /* integers before the tokens of a result */
};

enum early_stopping {
    STOP_BY_HEURISTIC = 0, /* when the best running beam, if it ended now, would not be kept */
    STOP_EARLY = 1,        /* when there are num_beams hypotheses */
    STOP_NEVER = 2         /* when no running beam can be kept any more, however long it gets */
};

/* The settings of generation_config.json, for one document. Lengths count decoder tokens, the start
 * token included. With one beam the search is greedy. */
struct generation_rules {
    int32_t num_beams;      /* 1 to MOST_BEAMS */
    int32_t min_length;     /* shorter beams may not end */
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
    BEAM_NOT_FINITE = 3 /* the decoder produced NaN, or the document ended without a hypothesis */
};

/* Arrays indexed by slot, in the memory of the device that computes: the CPU or a GPU. */
struct beam_slots {
    size_t P, K, T;                 /* capacities */
    struct generation_rules *rules; /* (P) */
    int32_t *sources;               /* (P) S of each document */
    int32_t *states;                /* (P) enum beam_state */
    int32_t *lengths;               /* (P) of the running beams, start token included */
    float *scores; /* (P, K) log-probability sums of the running beams; 0 if num_beams is 1 */
    int32_t *tokens;                /* (P, K, T) by the row in which they were computed */
    int32_t *ancestors;             /* (P, 2, K, T) double-buffered: half length & 1 is current */
    int32_t *finished;              /* (P) number of hypotheses, at most num_beams */
    float *finished_scores; /* (P, K) unordered, -1e9: none; if num_beams is 1, the running sum */
    int32_t *finished_lengths;      /* (P, K) */
    int32_t *finished_tokens;       /* (P, K, T) */
    /* (P, BEAM_RESULT_HEADER + T): the slot's state and, once that is BEAM_DONE, the number of
     * tokens, the bits of the score, and the tokens of the best hypothesis, start and end token
     * included. */
    int32_t *results;
};

/* A document for a slot. */
struct beam_document {
    int32_t slot;
    int32_t source; /* S */
    struct generation_rules rules;
};

/* One step of documents d < D, which all have K beams (at most the slots' K). In the matrices of a
 * step, row d * K + k is beam k of document d. A slot that is not BEAM_RUNNING is left unchanged,
 * and its rows may hold anything. */
struct decode_batch {
    size_t D, K;
    const int32_t *slots; /* (D) in the same memory as the arrays of `beams` */
    struct beam_slots beams;
};

/* A possible continuation of a beam: its next token, and its score with that token. The candidates
 * of a row are sorted best first, equal scores by token. Tokens that a rule forbids have a score of
 * -infinity. If any logit of a row is NaN or +infinity, all scores of the row are NaN. A row with
 * too few candidates is padded with NO_TOKEN and -infinity; candidates with a score of -infinity
 * may be replaced by padding. */
struct beam_candidate {
    float score;
    int32_t token;
};

/* Number of candidates per row: (D, K, BEAM_CANDIDATES(K)). */
#define BEAM_CANDIDATES(K) (2 * (K))

#ifndef __cplusplus

/* Reserves an array of `each` bytes per slot after the first *total bytes. Returns its address, or
 * NULL if base is NULL. Sets *total to SIZE_MAX if the arrays are too large. */
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

/* Places all arrays for P slots one after another from `base` on, the results last, and returns
 * their total size in bytes, or SIZE_MAX if it is too large. base may be NULL, to compute only the
 * size. */
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

/* Returns the ancestor table (K, T) of a slot whose beams have `length` tokens. */
BEAM_FUNCTION int32_t *beam_ancestors(const struct beam_slots *beams, size_t slot, int32_t length)
{
    return beams->ancestors + (2 * slot + (size_t)(length & 1)) * beams->K * beams->T;
}

/* Returns token t of beam k of a slot whose beams have `length` tokens. */
BEAM_FUNCTION int32_t beam_token(const struct beam_slots *beams, size_t slot, int32_t length,
                                 size_t k, size_t t)
{
    size_t row = (size_t)beam_ancestors(beams, slot, length)[k * beams->T + t];
    return beams->tokens[(slot * beams->K + row) * beams->T + t];
}

/* Returns the token that would make beam k repeat its n-gram at position t, where n is
 * no_repeat_ngram_size and t + n <= length: the last token of that n-gram, if its first n - 1
 * tokens equal the beam's last n - 1. Returns NO_TOKEN otherwise. */
BEAM_FUNCTION int32_t beam_repeated(const struct beam_slots *beams, size_t slot, int32_t length,
                                    size_t k, size_t t, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (beam_token(beams, slot, length, k, t + i) !=
            beam_token(beams, slot, length, k, (size_t)length - n + 1 + i))
            return NO_TOKEN;
    return beam_token(beams, slot, length, k, t + n - 1);
}

/* Returns the token that must follow beams of `length` tokens, or NO_TOKEN if none is forced. */
BEAM_FUNCTION int32_t beam_forced_token(const struct generation_rules *rules, int32_t length)
{
    if (length + 1 == rules->max_length && rules->forced_end_token != NO_TOKEN)
        return rules->forced_end_token;
    return length == 1 ? rules->forced_first_token : NO_TOKEN;
}

#endif
