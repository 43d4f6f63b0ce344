/* first_failure.h - the first failure among threads that work together
 *
 * A failure's sentence belongs to the thread in which it happened: here it is carried to the one
 * that waits for all. Starts zeroed.
 */
#ifndef LIB_BASE_FIRST_FAILURE_H
#define LIB_BASE_FIRST_FAILURE_H

#include "embed.h"

#include <stdatomic.h>
#include <stdbool.h>

struct first_failure {
    atomic_int status; /* EMBED_OK: none yet */
    char message[1024];
};

/* Keeps `status` and this thread's sentence, if it is a failure and the first. Any thread. */
void first_failure_note(struct first_failure *first, embed_status status);

/* Has any thread failed? Then the others may stop. Any thread. */
bool first_failure_seen(struct first_failure *first);

/* When all threads are done: the first failure, which becomes this thread's; or EMBED_OK. */
embed_status first_failure_result(struct first_failure *first);

#endif
