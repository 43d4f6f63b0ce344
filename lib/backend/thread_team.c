/* thread_team.c - a fixed set of threads that run one function together */
#include "backend/thread_team.h"

#include "base/memory.h"
#include "base/status.h"
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

/* How many times a waiting thread polls before it sleeps: about 20 us. The gap between two
 * operations of one forward pass is below 1 us; waking a sleeping thread takes 5 to 50 us. */
#define SPINS 4000

struct worker {
    struct thread_team *team;
    pthread_t thread;
    unsigned rank;
};

struct thread_team {
    unsigned size;
    struct worker *workers; /* size - 1 */
    pthread_mutex_t one_run;

    thread_team_function *function;
    void *argument;
    atomic_uint round;   /* incremented for each run */
    atomic_uint running; /* workers that have not finished this round */
    atomic_bool stop;

    /* For workers that have stopped spinning. `sleepers` is read without the lock: both sides use
     * sequentially consistent order, so either the worker sees the new round or the caller sees the
     * sleeper. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_uint sleepers;
};

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void wait_for_round(struct thread_team *team, unsigned seen)
{
    for (unsigned i = 0; i < SPINS; i++) {
        if (atomic_load(&team->round) != seen) return;
        pause_briefly();
    }
    pthread_mutex_lock(&team->lock);
    atomic_fetch_add(&team->sleepers, 1);
    while (atomic_load(&team->round) == seen) pthread_cond_wait(&team->wake, &team->lock);
    atomic_fetch_sub(&team->sleepers, 1);
    pthread_mutex_unlock(&team->lock);
}

static void start_round(struct thread_team *team)
{
    atomic_fetch_add(&team->round, 1);
    if (atomic_load(&team->sleepers) == 0) return;
    pthread_mutex_lock(&team->lock);
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->lock);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct thread_team *team = worker->team;
    for (unsigned round = 0;; round++) {
        wait_for_round(team, round);
        if (atomic_load(&team->stop)) return NULL;
        team->function(team->argument, worker->rank);
        atomic_fetch_sub(&team->running, 1);
    }
}

void thread_team_run(struct thread_team *team, thread_team_function *function, void *argument)
{
    pthread_mutex_lock(&team->one_run);
    if (team->size > 1) {
        team->function = function;
        team->argument = argument;
        atomic_store(&team->running, team->size - 1);
        start_round(team);
    }
    function(argument, 0);
    for (unsigned i = 0; atomic_load(&team->running) != 0; i++) {
        /* If there are more threads than processors, let the ones we wait for run. */
        if (i < SPINS) pause_briefly();
        else sched_yield();
    }
    pthread_mutex_unlock(&team->one_run);
}

static void stop_workers(struct thread_team *team, unsigned started)
{
    atomic_store(&team->stop, true);
    start_round(team);
    for (unsigned i = 0; i < started; i++) pthread_join(team->workers[i].thread, NULL);
}

embed_status thread_team_create(struct thread_team **out, unsigned threads)
{
    struct thread_team *team = memory_allocate(1, sizeof *team, "a thread team");
    if (team == NULL) return EMBED_OUT_OF_MEMORY;
    team->workers = memory_allocate(threads, sizeof *team->workers, "a thread team");
    if (team->workers == NULL) {
        memory_free(team);
        return EMBED_OUT_OF_MEMORY;
    }
    team->size = threads;
    pthread_mutex_init(&team->one_run, NULL);
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->wake, NULL);

    int error = 0;
    unsigned started = 0;
    for (; started < threads - 1 && error == 0; started += error == 0) {
        struct worker *worker = &team->workers[started];
        worker->team = team;
        worker->rank = started + 1;
        error = thread_start(&worker->thread, work, worker);
    }

    if (error != 0) {
        stop_workers(team, started);
        team->size = 1;
        thread_team_destroy(team);
        return fail(EMBED_SYSTEM, "thread %u of %u cannot be started: %s", started + 1, threads,
                    strerror(error));
    }
    *out = team;
    return EMBED_OK;
}

void thread_team_destroy(struct thread_team *team)
{
    if (team == NULL) return;
    if (team->size > 1) stop_workers(team, team->size - 1);
    pthread_cond_destroy(&team->wake);
    pthread_mutex_destroy(&team->lock);
    pthread_mutex_destroy(&team->one_run);
    memory_free(team->workers);
    memory_free(team);
}

unsigned thread_team_size(const struct thread_team *team)
{
    return team->size;
}
