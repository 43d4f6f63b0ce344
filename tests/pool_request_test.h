/* pool_request_test.h - for the tests of a pool's requests: how each ended, and how to stall a pool
 */
#ifndef TESTS_POOL_REQUEST_TEST_H
#define TESTS_POOL_REQUEST_TEST_H

#include "pool_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* ---- how a request ended ------------------------------------------------------------------- */

struct ending {
    embed_ticket *ticket;
    atomic_uint calls; /* of `done` */
    unsigned place;    /* position in the order of completion */
    embed_status status;
    char message[256];
};

static atomic_uint ends; /* requests completed so far */

/* A request's `done`; `user` is its struct ending. */
static inline void note_end(void *user, embed_status status, const char *message)
{
    struct ending *ending = user;
    ending->status = status;
    ending->place = atomic_fetch_add(&ends, 1);
    snprintf(ending->message, sizeof ending->message, "%s", message);
    atomic_fetch_add(&ending->calls, 1);
}

static inline void assert_ended(struct ending *ending, embed_status status)
{
    assert_int_equal(embed_ticket_wait(ending->ticket, EMBED_WAIT_FOREVER), status);
    assert_int_equal(atomic_load(&ending->calls), 1);
    assert_int_equal(ending->status, status);
    if (status != EMBED_OK) assert_true(strlen(ending->message) > 10);
    embed_ticket_free(ending->ticket);
}

/* ---- a queue that can be stalled ----------------------------------------------------------- */

/* Stalls the pool's instance until let_go: a `done` that waits. */
struct stopper {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int is_reached, is_let_go;
};

static inline void prepare_stopper(struct stopper *stopper)
{
    *stopper = (struct stopper){PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
}

/* A request's `done`; `user` is its stopper. */
static inline void stop(void *user, embed_status status, const char *message)
{
    struct stopper *stopper = user;
    (void)status;
    (void)message;
    pthread_mutex_lock(&stopper->lock);
    stopper->is_reached = 1;
    pthread_cond_broadcast(&stopper->changed);
    while (!stopper->is_let_go) pthread_cond_wait(&stopper->changed, &stopper->lock);
    pthread_mutex_unlock(&stopper->lock);
}

static inline void wait_until_stopped(struct stopper *stopper)
{
    pthread_mutex_lock(&stopper->lock);
    while (!stopper->is_reached) pthread_cond_wait(&stopper->changed, &stopper->lock);
    pthread_mutex_unlock(&stopper->lock);
}

static inline void let_go(struct stopper *stopper)
{
    pthread_mutex_lock(&stopper->lock);
    stopper->is_let_go = 1;
    pthread_cond_broadcast(&stopper->changed);
    pthread_mutex_unlock(&stopper->lock);
}

#endif
