/* batch_time.c - predicts how long a batch will take from how long recent ones took */
#include "service/batch_time.h"

/* Weight that earlier batches keep each time a batch is added. */
#define FADE 0.9

/* Least variance of the token counts, as a fraction of the square of their mean. Below it all
 * batches are of one size, and there is no line to fit. */
#define LEAST_VARIANCE 0.01

void batch_time_learn(struct batch_time *time, double tokens, double nanoseconds)
{
    time->count = FADE * time->count + 1;
    time->x = FADE * time->x + tokens;
    time->xx = FADE * time->xx + tokens * tokens;
    time->y = FADE * time->y + nanoseconds;
    time->xy = FADE * time->xy + tokens * nanoseconds;
}

/* Scales the mean time down for smaller batches; assumes optimistically that larger ones take no
 * longer. */
static double from_mean(double mean_x, double mean_y, double tokens)
{
    return tokens < mean_x ? mean_y * tokens / mean_x : mean_y;
}

double batch_time_expected(const struct batch_time *time, double tokens)
{
    if (time->count == 0) return 0;
    double mean_x = time->x / time->count, mean_y = time->y / time->count;
    double variance = time->xx / time->count - mean_x * mean_x;
    if (variance < LEAST_VARIANCE * mean_x * mean_x) return from_mean(mean_x, mean_y, tokens);
    double slope = (time->xy / time->count - mean_x * mean_y) / variance;
    double at_zero = mean_y - slope * mean_x;
    if (slope < 0 || at_zero < 0) return from_mean(mean_x, mean_y, tokens);
    return at_zero + slope * tokens;
}

void batch_time_doubt(struct batch_time *time)
{
    time->y *= 0.5;
    time->xy *= 0.5;
}
