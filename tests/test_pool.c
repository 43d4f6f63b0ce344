/* test_pool.c - a pool on the CPU: an instance's rows, and every request completed once */
#include "model/model.h"

#include "pool_request_test.h"

static void assert_rows(const float *rows, size_t first, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(rows + i * WIDTH, expected + (first + i) * WIDTH, WIDTH * sizeof *rows) != 0)
            fail_msg("text %zu has other bits than from an instance", first + i);
    }
}

/* ---- the same rows ------------------------------------------------------------------------- */

static void test_encode(void **state)
{
    (void)state;
    static const size_t batch_tokens[] = {0, 1, 40, 100000};
    float *rows = calloc(lines.count * WIDTH, sizeof *rows);
    embed_item *items = calloc(lines.count, sizeof *items);
    for (unsigned instances = 1; instances <= 4; instances += 3) {
        for (size_t b = 0; b < sizeof batch_tokens / sizeof *batch_tokens; b++) {
            embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
            options.instances = instances;
            options.batch_tokens = batch_tokens[b];
            embed_pool *pool = create(&options);
            for (size_t n = 0; n <= lines.count; n = 3 * n + 1) {
                memset(rows, 0xFF, lines.count * WIDTH * sizeof *rows);
                assert_int_equal(
                    embed_pool_encode(pool, texts, n, NULL, rows, n * WIDTH, items), EMBED_OK);
                assert_rows(rows, 0, n);
                for (size_t i = 0; i < n; i++) {
                    assert_int_equal(items[i].status, EMBED_OK);
                    assert_int_equal(items[i].device, EMBED_DEVICE_CPU);
                    assert_true(items[i].tokens >= 2 && items[i].instance < instances);
                    assert_true(items[i].batch_texts >= 1 && items[i].batch_texts <= n);
                    assert_true(items[i].batch_tokens >= items[i].tokens);
                    if (batch_tokens[b] == 1) assert_int_equal(items[i].batch_texts, 1);
                }
            }
            embed_pool_destroy(pool);
        }
    }
    free(items);
    free(rows);
}

/* Requests with different options in one queue: each gets its own rows. */
static void test_options(void **state)
{
    (void)state;
    embed_pool *pool = create(NULL);
    embed_instance *instance = NULL;
    assert_int_equal(embed_instance_create(&instance, model, NULL), EMBED_OK);
    embed_encode_options kinds[4] = {EMBED_ENCODE_OPTIONS_INIT, EMBED_ENCODE_OPTIONS_INIT,
                                     EMBED_ENCODE_OPTIONS_INIT, EMBED_ENCODE_OPTIONS_INIT};
    kinds[1].dimensions = 10;
    kinds[2].normalize = EMBED_OFF;
    kinds[3].max_tokens = 4;
    enum { N = 24 };
    static float rows[N][WIDTH], alone[WIDTH];
    embed_ticket *tickets[N];
    embed_item items[N];
    for (int i = 0; i < N; i++) {
        embed_request request = EMBED_REQUEST_INIT;
        request.texts = &texts[i];
        request.n = 1;
        request.options = &kinds[i % 4];
        request.out = rows[i];
        request.capacity = WIDTH;
        request.items = &items[i];
        assert_int_equal(embed_pool_submit(pool, &request, &tickets[i]), EMBED_OK);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(embed_ticket_wait(tickets[i], EMBED_WAIT_FOREVER), EMBED_OK);
        embed_item item;
        assert_int_equal(embed_instance_encode(instance, &texts[i], 1, &kinds[i % 4], alone, WIDTH,
                                               &item),
                         EMBED_OK);
        size_t D = i % 4 == 1 ? 10 : WIDTH;
        assert_memory_equal(rows[i], alone, D * sizeof(float));
        assert_int_equal(items[i].tokens, item.tokens);
        assert_int_equal(items[i].truncated, item.truncated);
        assert_int_equal(items[i].invalid_bytes, item.invalid_bytes);
        embed_ticket_free(tickets[i]);
    }
    embed_instance_destroy(instance);
    embed_pool_destroy(pool);
}

/* ---- a queue that can be stalled ----------------------------------------------------------- */

/* A request of texts[0], whose row (WIDTH) is to go to `row`. */
static embed_request one_text(float *row)
{
    embed_request request = EMBED_REQUEST_INIT;
    request.texts = texts;
    request.n = 1;
    request.out = row;
    request.capacity = WIDTH;
    return request;
}

static void occupy(struct stopper *stopper, embed_pool *pool)
{
    static float row[WIDTH];
    prepare_stopper(stopper);
    embed_request request = one_text(row);
    request.done = stop;
    request.user = stopper;
    assert_int_equal(embed_pool_submit(pool, &request, NULL), EMBED_OK);
    wait_until_stopped(stopper);
}

struct submitted {
    struct ending end;
    float rows[4 * WIDTH];
    embed_item items[4];
};

static embed_status submit(struct submitted *submitted, embed_pool *pool, size_t n,
                           unsigned deadline)
{
    memset(submitted, 0, sizeof *submitted);
    embed_request request = EMBED_REQUEST_INIT;
    request.texts = texts;
    request.n = n;
    request.out = submitted->rows;
    request.capacity = n * WIDTH;
    request.items = submitted->items;
    request.deadline_milliseconds = deadline;
    request.done = note_end;
    request.user = &submitted->end;
    return embed_pool_submit(pool, &request, &submitted->end.ticket);
}

static void test_pending_and_cancel(void **state)
{
    (void)state;
    embed_pool *pool = create(NULL);
    struct stopper stopper;
    struct submitted a, b, c;
    occupy(&stopper, pool);
    assert_int_equal(submit(&a, pool, 2, 0), EMBED_OK);
    assert_int_equal(submit(&b, pool, 3, 0), EMBED_OK);
    assert_int_equal(submit(&c, pool, 1, 0), EMBED_OK);
    assert_int_equal(embed_ticket_wait(a.end.ticket, 0), EMBED_PENDING);
    double before = seconds();
    assert_int_equal(embed_ticket_wait(a.end.ticket, 30), EMBED_PENDING);
    assert_true(seconds() - before > 0.029);
    embed_metrics metrics = metrics_of(pool);
    assert_int_equal(metrics.queued_requests, 3);
    assert_true(metrics.queued_tokens >= 12);

    assert_int_equal(embed_model_open(NULL, NULL, NULL), EMBED_INVALID_ARGUMENT);
    embed_ticket_cancel(b.end.ticket);
    assert_non_null(strstr(embed_error_message(), "is NULL")); /* still the last failure */
    assert_int_equal(embed_ticket_wait(b.end.ticket, 0), EMBED_CANCELLED); /* at once */
    assert_non_null(strstr(embed_error_message(), "cancelled"));
    assert_int_equal(b.items[2].status, EMBED_CANCELLED);
    embed_ticket_cancel(b.end.ticket); /* has no further effect */
    assert_int_equal(metrics_of(pool).queued_requests, 2);
    let_go(&stopper);
    assert_ended(&a.end, EMBED_OK);
    assert_ended(&b.end, EMBED_CANCELLED);
    assert_ended(&c.end, EMBED_OK);
    embed_ticket_cancel(NULL);
    embed_ticket_free(NULL);
    assert_rows(a.rows, 0, 2);
    for (int i = 0; i < 3 * WIDTH; i++) assert_true(b.rows[i] == 0); /* never written */
    assert_int_equal(a.items[0].batch_texts, 3); /* a and c together */
    metrics = metrics_of(pool);
    assert_int_equal(metrics.requests[EMBED_OK], 3);
    assert_int_equal(metrics.requests[EMBED_CANCELLED], 1);
    assert_int_equal(metrics.texts, 4);
    embed_pool_destroy(pool);
}

static void test_deadline(void **state)
{
    (void)state;
    embed_pool *pool = create(NULL);
    struct stopper stopper;
    struct submitted late, early;
    occupy(&stopper, pool);
    assert_int_equal(submit(&late, pool, 2, 50), EMBED_OK);
    assert_int_equal(submit(&early, pool, 2, 60000), EMBED_OK);
    assert_int_equal(embed_ticket_wait(late.end.ticket, 100), EMBED_PENDING);
    let_go(&stopper);
    assert_ended(&late.end, EMBED_EXPIRED);
    assert_int_equal(late.items[1].status, EMBED_EXPIRED);
    assert_ended(&early.end, EMBED_OK);
    assert_int_equal(metrics_of(pool).requests[EMBED_EXPIRED], 1);
    embed_pool_destroy(pool);
}

static void test_full_queue(void **state)
{
    (void)state;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.queue_requests = 2;
    embed_pool *pool = create(&options);
    struct stopper stopper;
    struct submitted a, b, c;
    occupy(&stopper, pool);
    assert_int_equal(submit(&a, pool, 1, 0), EMBED_OK);
    assert_int_equal(submit(&b, pool, 1, 0), EMBED_OK);
    double before = seconds();
    assert_int_equal(submit(&c, pool, 1, 0), EMBED_BUSY);
    assert_true(seconds() - before < 0.02);
    assert_non_null(strstr(embed_error_message(), "2 requests"));
    let_go(&stopper);
    assert_ended(&a.end, EMBED_OK);
    assert_ended(&b.end, EMBED_OK);
    assert_int_equal(atomic_load(&c.end.calls), 0);
    assert_int_equal(metrics_of(pool).requests[EMBED_BUSY], 1);
    embed_pool_destroy(pool);

    options.queue_requests = 0;
    options.queue_tokens = 30;
    pool = create(&options);
    occupy(&stopper, pool);
    assert_int_equal(submit(&a, pool, 4, 0), EMBED_OK); /* a single request may exceed the limit */
    assert_int_equal(submit(&b, pool, 4, 0), EMBED_BUSY);
    let_go(&stopper);
    assert_ended(&a.end, EMBED_OK);
    embed_pool_destroy(pool);
}

struct waiter {
    embed_pool *pool;
    embed_status status;
    float rows[4 * WIDTH];
};

static void *encode_and_wait(void *argument)
{
    struct waiter *waiter = argument;
    waiter->status =
        embed_pool_encode(waiter->pool, texts, 4, NULL, waiter->rows, 4 * WIDTH, NULL);
    return NULL;
}

static void test_waits_for_room(void **state)
{
    (void)state;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.queue_requests = 1;
    embed_pool *pool = create(&options);
    struct stopper stopper;
    static struct waiter waiters[3];
    pthread_t threads[3];
    occupy(&stopper, pool);
    for (int i = 0; i < 3; i++) {
        waiters[i].pool = pool;
        assert_int_equal(pthread_create(&threads[i], NULL, encode_and_wait, &waiters[i]), 0);
    }
    while (metrics_of(pool).queued_requests == 0) nanosleep(&(struct timespec){0, 1000000}, NULL);
    let_go(&stopper);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(waiters[i].status, EMBED_OK);
        assert_rows(waiters[i].rows, 0, 4);
    }
    embed_pool_destroy(pool);
}

/* ---- close --------------------------------------------------------------------------------- */

static void test_close(void **state)
{
    (void)state;
    embed_pool *pool = create(NULL);
    struct stopper stopper;
    struct submitted a, b;
    occupy(&stopper, pool);
    assert_int_equal(submit(&a, pool, 2, 0), EMBED_OK);
    let_go(&stopper);
    assert_int_equal(embed_pool_close(pool, 10000), EMBED_OK); /* drains */
    assert_int_equal(embed_pool_close(pool, 0), EMBED_OK);
    assert_ended(&a.end, EMBED_OK);
    assert_int_equal(submit(&b, pool, 1, 0), EMBED_CLOSED);
    embed_metrics metrics = metrics_of(pool);
    assert_int_equal(metrics.state, EMBED_POOL_CLOSED);
    assert_int_equal(metrics.instance_bytes, 0);
    assert_int_equal(metrics.requests[EMBED_CLOSED], 1);
    embed_pool_destroy(pool);
}

static void *close_pool(void *pool)
{
    embed_pool_close(pool, 0);
    return NULL;
}

static void test_close_cancels(void **state)
{
    (void)state;
    embed_pool *pool = create(NULL);
    struct stopper stopper;
    struct submitted a[5];
    pthread_t threads[3];
    occupy(&stopper, pool);
    for (int i = 0; i < 5; i++) assert_int_equal(submit(&a[i], pool, 2, 0), EMBED_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, close_pool, pool), 0);
    while (metrics_of(pool).state != EMBED_POOL_CLOSED)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    let_go(&stopper);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    embed_ticket *ticket = a[0].end.ticket;
    for (int i = 1; i < 5; i++) assert_ended(&a[i].end, EMBED_CANCELLED);
    embed_pool_destroy(pool);
    assert_int_equal(embed_ticket_wait(ticket, 0), EMBED_CANCELLED); /* tickets outlive the pool */
    embed_ticket_free(ticket);
}

static void close_within(void *user, embed_status status, const char *message)
{
    struct submitted *submitted = user;
    note_end(&submitted->end, status, message);
    embed_pool *pool;
    memcpy(&pool, submitted->rows, sizeof pool);
    embed_pool_close(pool, 0);
}

static void test_close_within_done(void **state)
{
    (void)state;
    embed_pool *pool = create(NULL);
    struct submitted a;
    static float row[WIDTH];
    memset(&a, 0, sizeof a);
    memcpy(a.rows, &pool, sizeof pool);
    embed_request request = one_text(row);
    request.done = close_within;
    request.user = &a;
    assert_int_equal(embed_pool_submit(pool, &request, &a.end.ticket), EMBED_OK);
    assert_ended(&a.end, EMBED_OK);
    assert_int_equal(submit(&a, pool, 1, 0), EMBED_CLOSED);
    embed_pool_destroy(pool);
}

/* Cancels a request of another pool, whose `done` closes this one's. */
struct nested {
    embed_pool *pool;
    embed_ticket *other;
    embed_memory memory;
};

static void cancel_other(void *user, embed_status status, const char *message)
{
    (void)status;
    (void)message;
    embed_ticket_cancel(((struct nested *)user)->other);
}

static void close_outer(void *user, embed_status status, const char *message)
{
    struct nested *nested = user;
    (void)status;
    (void)message;
    embed_pool_close(nested->pool, 0);
    embed_pool_get_memory(nested->pool, &nested->memory);
}

/* A `done` within a `done` of another pool must not wait for the outer pool either: it runs on that
 * pool's own thread. */
static void test_close_within_nested_done(void **state)
{
    (void)state;
    struct nested nested = {create(NULL), NULL, EMBED_MEMORY_INIT};
    embed_pool *other = create(NULL);
    embed_ticket *ticket = NULL;
    struct stopper stopper;
    float row[WIDTH], other_row[WIDTH];
    occupy(&stopper, other);
    embed_request request = one_text(other_row);
    request.done = close_outer;
    request.user = &nested;
    assert_int_equal(embed_pool_submit(other, &request, &nested.other), EMBED_OK);
    request.out = row;
    request.done = cancel_other;
    assert_int_equal(embed_pool_submit(nested.pool, &request, &ticket), EMBED_OK);
    assert_int_equal(embed_ticket_wait(ticket, EMBED_WAIT_FOREVER), EMBED_OK);
    assert_int_equal(embed_ticket_wait(nested.other, 0), EMBED_CANCELLED);
    assert_true(nested.memory.total > 0); /* the instance that ran the callback was still there */
    embed_ticket_free(ticket);
    embed_ticket_free(nested.other);
    embed_pool_destroy(nested.pool);
    let_go(&stopper);
    embed_pool_destroy(other);
}

/* ---- delay --------------------------------------------------------------------------------- */

static void test_delay(void **state)
{
    (void)state;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.max_delay_microseconds = 60000;
    options.instances = 2;
    options.batch_texts = 3;
    embed_pool *pool = create(&options);
    struct submitted a, b, c;
    double before = seconds();
    assert_int_equal(submit(&a, pool, 1, 0), EMBED_OK);
    assert_int_equal(embed_ticket_wait(a.end.ticket, EMBED_WAIT_FOREVER), EMBED_OK);
    assert_true(seconds() - before >= 0.059); /* it waited for others, which did not come */
    assert_ended(&a.end, EMBED_OK);
    assert_int_equal(submit(&a, pool, 1, 0), EMBED_OK);
    assert_int_equal(submit(&b, pool, 1, 0), EMBED_OK);
    assert_int_equal(submit(&c, pool, 1, 0), EMBED_OK); /* full */
    assert_ended(&a.end, EMBED_OK);
    assert_ended(&b.end, EMBED_OK);
    assert_ended(&c.end, EMBED_OK);
    assert_int_equal(a.items[0].batch_texts, 3);
    assert_true(a.items[0].queued_microseconds < 60000);
    embed_pool_destroy(pool);
}

/* A request does not wait for others beyond its deadline. */
static void test_delay_and_deadline(void **state)
{
    (void)state;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.max_delay_microseconds = 10000000;
    embed_pool *pool = create(&options);
    struct submitted a;
    double before = seconds();
    assert_int_equal(submit(&a, pool, 2, 1000), EMBED_OK);
    assert_ended(&a.end, EMBED_OK);
    assert_true(seconds() - before > 0.3 && seconds() - before < 1);
    embed_pool_destroy(pool);
}

/* A request with a deadline also ends the wait of those that came before it. */
static void test_delay_and_later_deadline(void **state)
{
    (void)state;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.max_delay_microseconds = 4000000;
    embed_pool *pool = create(&options);
    struct submitted a, b;
    double before = seconds();
    assert_int_equal(submit(&a, pool, 1, 0), EMBED_OK);
    assert_int_equal(embed_ticket_wait(a.end.ticket, 100), EMBED_PENDING); /* it waits for others */
    assert_int_equal(submit(&b, pool, 1, 500), EMBED_OK);
    assert_ended(&b.end, EMBED_OK);
    assert_true(seconds() - before < 2);
    assert_ended(&a.end, EMBED_OK);
    embed_pool_destroy(pool);
}

/* The time that larger batches took does not make others expire. */
static void test_deadline_after_large_batches(void **state)
{
    (void)state;
    embed_pool *pool = create(NULL);
    size_t n = 40 * lines.count;
    embed_text *many = calloc(n, sizeof *many);
    float *rows = calloc(n * WIDTH, sizeof *rows);
    for (size_t i = 0; i < n; i++) many[i] = texts[i % lines.count];
    assert_int_equal(embed_pool_encode(pool, many, n, NULL, rows, n * WIDTH, NULL), EMBED_OK);
    struct submitted a;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(submit(&a, pool, 1, 200), EMBED_OK);
        assert_ended(&a.end, EMBED_OK);
    }
    free(rows);
    free(many);
    embed_pool_destroy(pool);
}

/* A request that waits for room stops at its deadline, and later ones do not overtake it. */
static void test_room_and_deadline(void **state)
{
    (void)state;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.queue_requests = 1;
    embed_pool *pool = create(&options);
    struct stopper stopper;
    struct submitted a;
    float row[WIDTH];
    embed_ticket *ticket = NULL;
    occupy(&stopper, pool);
    assert_int_equal(submit(&a, pool, 1, 0), EMBED_OK);
    embed_request request = one_text(row);
    request.wait_for_room = 1;
    request.deadline_milliseconds = 50;
    double before = seconds();
    assert_int_equal(embed_pool_submit(pool, &request, &ticket), EMBED_BUSY);
    assert_true(seconds() - before > 0.049 && seconds() - before < 5);
    assert_null(ticket);
    let_go(&stopper);
    assert_ended(&a.end, EMBED_OK);
    embed_pool_destroy(pool);
}

/* `done` sees the ticket and may submit requests, even when that would mean waiting for itself. */
struct chain {
    embed_pool *pool;
    embed_ticket *ticket;
    atomic_int state; /* 1: with a ticket, 2: without */
    embed_status again;
    float row[WIDTH];
};

static void submit_again(void *user, embed_status status, const char *message)
{
    struct chain *chain = user;
    (void)status;
    (void)message;
    embed_request request = one_text(chain->row);
    request.wait_for_room = 1;
    embed_ticket *ticket = NULL;
    for (int i = 0; i < 3; i++) { /* one fits */
        chain->again = embed_pool_submit(chain->pool, &request, &ticket);
        if (chain->again == EMBED_OK) embed_ticket_free(ticket);
    }
    atomic_store(&chain->state, chain->ticket != NULL ? 1 : 2);
}

static void test_done_submits(void **state)
{
    (void)state;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.queue_requests = 1;
    for (int round = 0; round < 50; round++) {
        struct chain chain = {.pool = create(&options)};
        float row[WIDTH];
        embed_request request = one_text(row);
        request.done = submit_again;
        request.user = &chain;
        assert_int_equal(embed_pool_submit(chain.pool, &request, &chain.ticket), EMBED_OK);
        assert_int_equal(embed_ticket_wait(chain.ticket, EMBED_WAIT_FOREVER), EMBED_OK);
        assert_int_equal(atomic_load(&chain.state), 1);
        assert_int_equal(chain.again, EMBED_BUSY);
        embed_ticket_free(chain.ticket);
        embed_pool_destroy(chain.pool);
    }
}

/* Submits to another pool, whose queue is full, from a `done`. */
struct crossing {
    embed_pool *other;
    embed_status status;
    double seconds;
};

static void submit_to_other(void *user, embed_status status, const char *message)
{
    struct crossing *crossing = user;
    (void)status;
    (void)message;
    static float row[WIDTH];
    embed_request request = one_text(row);
    request.wait_for_room = 1;
    request.deadline_milliseconds = 2000;
    embed_ticket *ticket = NULL;
    double before = seconds();
    crossing->status = embed_pool_submit(crossing->other, &request, &ticket);
    crossing->seconds = seconds() - before;
}

/* wait_for_room has no effect in the `done` of any pool: two pools could wait for each other. */
static void test_done_submits_to_another_pool(void **state)
{
    (void)state;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.queue_requests = 1;
    embed_pool *pool = create(NULL);
    struct crossing crossing = {.other = create(&options)};
    struct stopper stopper;
    struct submitted a;
    float row[WIDTH];
    embed_ticket *ticket = NULL;
    occupy(&stopper, crossing.other);
    assert_int_equal(submit(&a, crossing.other, 1, 0), EMBED_OK);
    embed_request request = one_text(row);
    request.done = submit_to_other;
    request.user = &crossing;
    assert_int_equal(embed_pool_submit(pool, &request, &ticket), EMBED_OK);
    assert_int_equal(embed_ticket_wait(ticket, EMBED_WAIT_FOREVER), EMBED_OK);
    assert_int_equal(crossing.status, EMBED_BUSY);
    assert_true(crossing.seconds < 1.5);
    embed_ticket_free(ticket);
    let_go(&stopper);
    assert_ended(&a.end, EMBED_OK);
    embed_pool_destroy(crossing.other);
    embed_pool_destroy(pool);
}

/* A request submitted while another thread closes the pool is either completed or rejected. */
static void *encode_until_closed(void *argument)
{
    struct waiter *waiter = argument;
    do {
        waiter->status =
            embed_pool_encode(waiter->pool, texts, 4, NULL, waiter->rows, 4 * WIDTH, NULL);
    } while (waiter->status == EMBED_OK);
    return NULL;
}

static void test_submit_and_close(void **state)
{
    (void)state;
    static struct waiter waiters[4];
    for (int round = 0; round < 60; round++) {
        pthread_t threads[4];
        embed_pool *pool = create(NULL);
        for (int i = 0; i < 4; i++) {
            waiters[i].pool = pool;
            assert_int_equal(pthread_create(&threads[i], NULL, encode_until_closed, &waiters[i]), 0);
        }
        nanosleep(&(struct timespec){0, 300000 + round * 10000}, NULL);
        embed_pool_close(pool, round % 2);
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
            assert_true(waiters[i].status == EMBED_CLOSED || waiters[i].status == EMBED_CANCELLED);
        }
        embed_pool_destroy(pool);
    }
}

/* A reserve of all memory leaves room for one instance, the last resort, however much the graphs of
 * the others may add to it. */
static void test_reserve_of_everything(void **state)
{
    (void)state;
    size_t before = model->backend->graph_bytes;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.max_instances = 2;
    options.reserve_bytes = UINT64_MAX;
    model->backend->graph_bytes = 1000;
    embed_pool *pool = create(&options);
    assert_int_equal(metrics_of(pool).instances, 1);
    embed_pool_destroy(pool);
    model->backend->graph_bytes = before;
}

/* ---- wrong calls --------------------------------------------------------------------------- */

static void test_wrong_calls(void **state)
{
    (void)state;
    embed_pool *pool = NULL;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    assert_int_equal(embed_pool_create(NULL, &model, 1, NULL), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_pool_create(&pool, &model, 0, NULL), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_pool_create(&pool, NULL, 1, NULL), EMBED_INVALID_ARGUMENT);
    options.instances = 100000;
    assert_int_equal(embed_pool_create(&pool, &model, 1, &options), EMBED_INVALID_ARGUMENT);
    options.instances = 0;
    options.profile = "tests/vectors/no-such-profile.json";
    assert_int_equal(embed_pool_create(&pool, &model, 1, &options), EMBED_IO);
    options.profile = NULL;
    options.memory_limit_bytes = 1;
    assert_int_equal(embed_pool_create(&pool, &model, 1, &options), EMBED_OUT_OF_MEMORY);
    assert_non_null(strstr(embed_error_message(), "limit is 1"));
    assert_null(pool);

    embed_model *other = NULL;
    assert_int_equal(embed_model_open(&other, VECTORS "tiny-bert-cls", NULL), EMBED_OK);
    embed_model *two[] = {model, other};
    assert_int_equal(embed_pool_create(&pool, two, 2, NULL), EMBED_INVALID_ARGUMENT);
    embed_model_close(other);

    pool = create(NULL);
    struct submitted a;
    float rows[WIDTH];
    embed_ticket *ticket = NULL;
    embed_request request = EMBED_REQUEST_INIT;
    assert_int_equal(embed_pool_submit(pool, &request, &ticket), EMBED_INVALID_ARGUMENT);
    request.texts = texts;
    request.n = 1;
    assert_int_equal(embed_pool_submit(pool, &request, &ticket), EMBED_INVALID_ARGUMENT);
    request.out = rows;
    request.capacity = WIDTH - 1;
    assert_int_equal(embed_pool_submit(pool, &request, &ticket), EMBED_INVALID_ARGUMENT);
    request.capacity = WIDTH;
    assert_int_equal(embed_pool_submit(pool, &request, NULL), EMBED_INVALID_ARGUMENT);
    const int32_t id = 1 << 20;
    const embed_text wrong[] = {texts[0], {NULL, &id, 1}};
    request.texts = wrong + 1;
    assert_int_equal(embed_pool_submit(pool, &request, &ticket), EMBED_INVALID_ARGUMENT);
    float two_rows[2 * WIDTH];
    assert_int_equal(embed_pool_encode(pool, wrong, 2, NULL, two_rows, 2 * WIDTH, NULL),
                     EMBED_INVALID_ARGUMENT);
    assert_non_null(strstr(embed_error_message(), "text 1"));
    assert_null(ticket);
    assert_int_equal(metrics_of(pool).requests[EMBED_INVALID_ARGUMENT], 0); /* not counted */
    assert_int_equal(submit(&a, pool, 1, 0), EMBED_OK); /* the pool continues */
    assert_ended(&a.end, EMBED_OK);
    assert_int_equal(embed_ticket_wait(NULL, 0), EMBED_INVALID_ARGUMENT);
    embed_pool_destroy(pool);
    embed_pool_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_pending_and_cancel),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_full_queue),
        cmocka_unit_test(test_waits_for_room),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_close_cancels),
        cmocka_unit_test(test_close_within_done),
        cmocka_unit_test(test_close_within_nested_done),
        cmocka_unit_test(test_delay),
        cmocka_unit_test(test_delay_and_deadline),
        cmocka_unit_test(test_delay_and_later_deadline),
        cmocka_unit_test(test_deadline_after_large_batches),
        cmocka_unit_test(test_room_and_deadline),
        cmocka_unit_test(test_done_submits),
        cmocka_unit_test(test_done_submits_to_another_pool),
        cmocka_unit_test(test_submit_and_close),
        cmocka_unit_test(test_reserve_of_everything),
        cmocka_unit_test(test_wrong_calls),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
