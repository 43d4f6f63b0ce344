/* first_failure.h - the first failure among threads that work together
 *
 * An error message belongs to the thread that failed; this carries the first one to the thread that
 * waits for all the others. Zero-initialize it.
 */
#ifndef LIB_BASE_FIRST_FAILURE_H
#define LIB_BASE_FIRST_FAILURE_H

#include "embed.h"

#include <stdatomic.h>
#include <stdbool.h>

struct first_failure {
    atomic_int status; /* EMBED_OK: no failure yet */
    char message[1024];
};

/* Records `status` and this thread's error message if it is the first failure. Thread-safe. */
void first_failure_note(struct first_failure *first, embed_status status);

/* Returns whether any thread has failed, so that the others can stop early. Thread-safe. */
bool first_failure_seen(struct first_failure *first);

/* Returns the first failure, also making it this thread's last failure, or EMBED_OK. Call it when
 * all threads are done. */
embed_status first_failure_result(struct first_failure *first);

#endif
