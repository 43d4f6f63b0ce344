/* embed_pipeline.c - three concurrent stages of a job
 *
 * PIPELINE_BLOCKS blocks circulate through the stages. Each stage counts the blocks it has
 * finished. It may take the next block if the stage before it is ahead; the first stage may if it
 * is less than PIPELINE_BLOCKS ahead of the last. A stage that has to wait sleeps on a condition
 * variable.
 */
#include "embed_tool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct stage {
    struct round *round;
    size_t number;
    pthread_t thread;
    uint64_t done; /* blocks finished; guarded by the round's lock, as is `ended` */
    bool ended;
    bool failed;
    char message[TOOL_MESSAGE_MAX];
} stage;

typedef struct round {
    const pipeline *work;
    stage stages[PIPELINE_STAGES];
    pthread_mutex_t lock;
    pthread_cond_t changed;
} round;

/* Returns whether a later stage has ended, so that this one's blocks would not be used. */
static bool is_deserted(const stage *s)
{
    bool ended = false;
    for (size_t i = s->number + 1; i < PIPELINE_STAGES; i++) ended |= s->round->stages[i].ended;
    return ended;
}

/* Waits for the stage's next block. Returns false if there is none or it would not be used. */
static bool next_block(stage *s)
{
    const stage *before = s - 1, *last = &s->round->stages[PIPELINE_STAGES - 1];
    bool available, more = true;
    pthread_mutex_lock(&s->round->lock);
    for (;;) {
        available = s->number > 0 ? s->done < before->done
                                  : s->done - last->done < PIPELINE_BLOCKS;
        more = !is_deserted(s) && (available || s->number == 0 || !before->ended);
        if (available || !more) break;
        pthread_cond_wait(&s->round->changed, &s->round->lock);
    }
    pthread_mutex_unlock(&s->round->lock);
    return more;
}

static void tell(stage *s, stage_result result)
{
    pthread_mutex_lock(&s->round->lock);
    if (result == STAGE_GOES_ON) s->done++;
    else s->ended = true;
    pthread_cond_broadcast(&s->round->changed);
    pthread_mutex_unlock(&s->round->lock);
}

static void *run_stage(void *argument)
{
    stage *s = argument;
    const pipeline *work = s->round->work;
    stage_result result = STAGE_GOES_ON;
    tool_hold_errors(s->message);
    while (result == STAGE_GOES_ON && next_block(s)) {
        result = work->stages[s->number](work->job, s->done % PIPELINE_BLOCKS);
        if (result == STAGE_GOES_ON) tell(s, result);
    }
    tool_hold_errors(NULL);
    s->failed = result == STAGE_FAILS;
    tell(s, STAGE_ENDS);
    if (s->failed) work->stop(work->job);
    return NULL;
}

/* Reports the failure that a sequential program would have met first: that of the last stage that
 * failed, since its block is the earliest in the file. Returns whether no stage failed. */
static bool first_failure(const round *r)
{
    for (size_t i = PIPELINE_STAGES; i-- > 0;) {
        if (!r->stages[i].failed) continue;
        return *r->stages[i].message != '\0' && tool_error("%s", r->stages[i].message);
    }
    return true;
}

bool pipeline_run(const pipeline *work)
{
    enum { HERE = 1 };
    round *r = tool_zeroed(sizeof *r); /* too large for some stacks */
    r->work = work;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);

    int error = 0;
    size_t started = 0;
    for (size_t i = 0; i < PIPELINE_STAGES; i++) {
        stage *s = &r->stages[i];
        s->round = r;
        s->number = i;
    }
    for (size_t i = PIPELINE_STAGES; i-- > 0 && error == 0;) {
        if (i == HERE) continue;
        error = pthread_create(&r->stages[i].thread, NULL, run_stage, &r->stages[i]);
        if (error == 0) started++;
    }
    if (error == 0) {
        run_stage(&r->stages[HERE]);
    } else {
        tool_error("cannot start a thread: %s", strerror(error));
        tell(&r->stages[HERE], STAGE_ENDS);
    }
    /* Joined in the order of starting: the last stage was started first. */
    if (started > 0) pthread_join(r->stages[PIPELINE_STAGES - 1].thread, NULL);
    if (started > 1) pthread_join(r->stages[0].thread, NULL);

    bool done = error == 0 && first_failure(r);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
    return done;
}
