/* batch_time.h - how long a batch will take, from what the last ones took
 *
 * A line through (tokens, time) of the last ten or so: least squares with weights that fade. One number
 * would not do: single texts say nothing of what a token costs, and full batches nothing of what a
 * single text does.
 */
#ifndef LIB_SERVICE_BATCH_TIME_H
#define LIB_SERVICE_BATCH_TIME_H

/* Weighted sums: of 1, tokens, tokens squared, nanoseconds, tokens times nanoseconds. Starts zeroed. */
struct batch_time {
    double count, x, xx, y, xy;
};

void batch_time_learn(struct batch_time *time, double tokens, double nanoseconds);

/* 0 where nothing is known. */
double batch_time_expected(const struct batch_time *time, double tokens);

/* It seems to be too long: half of it from now on. */
void batch_time_doubt(struct batch_time *time);

#endif
