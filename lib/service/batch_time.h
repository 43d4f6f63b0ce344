/* batch_time.h - predicts how long a batch will take from how long recent ones took
 *
 * Fits a line through (tokens, time) of about the last ten batches: least squares with fading
 * weights. A single average would not do: single texts say nothing about the cost of a token, and
 * full batches say nothing about the cost of a single text.
 */
#ifndef LIB_SERVICE_BATCH_TIME_H
#define LIB_SERVICE_BATCH_TIME_H

/* Weighted sums: of 1, tokens, tokens squared, nanoseconds, tokens times nanoseconds. Must be
 * zeroed before use. */
struct batch_time {
    double count, x, xx, y, xy;
};

void batch_time_learn(struct batch_time *time, double tokens, double nanoseconds);

/* Returns the expected nanoseconds of a batch of `tokens` tokens; 0 if nothing has been learned. */
double batch_time_expected(const struct batch_time *time, double tokens);

/* Halves the expected times, which seem to be too long. */
void batch_time_doubt(struct batch_time *time);

#endif
