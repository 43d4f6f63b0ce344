/* thread_team.h - a fixed set of threads that run one function together
 *
 * The caller is one of them. If runs follow each other closely, the others spin in between, so that
 * a run costs about a microsecond; otherwise they sleep.
 */
#ifndef LIB_BACKEND_THREAD_TEAM_H
#define LIB_BACKEND_THREAD_TEAM_H

#include "embed.h"

struct thread_team;

typedef void thread_team_function(void *argument, unsigned rank);

/* Creates a team of `threads` >= 1: the caller, and threads - 1 that it starts. EMBED_SYSTEM if
 * they cannot be started. */
embed_status thread_team_create(struct thread_team **team, unsigned threads);
/* No run may be in progress. NULL is fine. */
void thread_team_destroy(struct thread_team *team);

unsigned thread_team_size(const struct thread_team *team);

/* Calls function(argument, rank) once for each rank from 0 to size - 1, rank 0 on this thread, and
 * returns when all have returned. Any thread may call it, except from within a run; concurrent runs
 * are serialized. */
void thread_team_run(struct thread_team *team, thread_team_function *function, void *argument);

#endif
