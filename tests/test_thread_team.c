/* test_thread_team.c - every rank runs once per round, and runs from several threads do not mix */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "backend/thread_team.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

struct counters {
    atomic_uint calls[64];
};

static void count(void *argument, unsigned rank)
{
    struct counters *counters = argument;
    atomic_fetch_add(&counters->calls[rank], 1);
}

static void test_each_rank_runs_once(void **state)
{
    (void)state;
    for (unsigned size = 1; size <= 9; size += 2) {
        struct thread_team *team;
        assert_int_equal(thread_team_create(&team, size), EMBED_OK);
        assert_int_equal(thread_team_size(team), size);
        struct counters counters = {0};
        for (unsigned round = 1; round <= 2000; round++) {
            thread_team_run(team, count, &counters);
            for (unsigned r = 0; r < size; r++) assert_int_equal(counters.calls[r], round);
        }
        assert_int_equal(counters.calls[size], 0);
        thread_team_destroy(team);
    }
}

/* After a pause the workers sleep and must be woken. */
static void test_sleeping_workers_wake(void **state)
{
    (void)state;
    struct thread_team *team;
    struct counters counters = {0};
    assert_int_equal(thread_team_create(&team, 3), EMBED_OK);
    for (unsigned round = 1; round <= 20; round++) {
        usleep(3000);
        thread_team_run(team, count, &counters);
        for (unsigned r = 0; r < 3; r++) assert_int_equal(counters.calls[r], round);
    }
    thread_team_destroy(team);
}

struct caller {
    struct thread_team *team;
    struct counters counters;
};

static void *run_many(void *argument)
{
    struct caller *caller = argument;
    for (unsigned i = 0; i < 500; i++) thread_team_run(caller->team, count, &caller->counters);
    return NULL;
}

static void test_several_callers(void **state)
{
    (void)state;
    struct thread_team *team;
    struct caller callers[4];
    pthread_t threads[4];
    assert_int_equal(thread_team_create(&team, 3), EMBED_OK);
    for (int i = 0; i < 4; i++) {
        callers[i] = (struct caller){.team = team};
        assert_int_equal(pthread_create(&threads[i], NULL, run_many, &callers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        for (unsigned r = 0; r < 3; r++) assert_int_equal(callers[i].counters.calls[r], 500);
    }
    thread_team_destroy(team);
}

static void test_destroy_null(void **state)
{
    (void)state;
    thread_team_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_rank_runs_once),
        cmocka_unit_test(test_sleeping_workers_wake),
        cmocka_unit_test(test_several_callers),
        cmocka_unit_test(test_destroy_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
