/* test_pool_generate.c - summaries from a pool: an instance's, and every request completed once */
#include "pool_generate_test.h"
#include "pool_request_test.h"

/* ---- the same summaries -------------------------------------------------------------------- */

static int count_done(void *user, size_t i, const embed_generated *summary)
{
    atomic_uint *counts = user;
    if (check_summary(summary, 0, i) == NULL) atomic_fetch_add(&counts[i], 1);
    return 1;
}

static void test_generate(void **state)
{
    (void)state;
    static const size_t documents[] = {0, 1, 3};
    for (unsigned instances = 1; instances <= 2; instances++) {
        for (size_t d = 0; d < sizeof documents / sizeof *documents; d++) {
            embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
            options.instances = instances;
            options.documents = documents[d];
            embed_pool *pool = create(&options);
            atomic_uint counts[DOCUMENTS] = {0};
            embed_generate_options folder = kinds[0];
            folder.done = count_done;
            folder.user = counts;
            size_t sum = 0;
            for (size_t n = 0; n <= DOCUMENTS; n = 4 * n + 1) {
                embed_strings out = EMBED_STRINGS_INIT;
                assert_int_equal(embed_pool_generate(pool, texts, n, &folder, &out), EMBED_OK);
                assert_summaries(&out, 0, 0, n);
                for (size_t i = 0; i < n; i++) assert_int_equal(atomic_exchange(&counts[i], 0), 1);
                embed_strings_free(&out);
                sum += n;
            }
            embed_metrics metrics = metrics_of(pool);
            assert_int_equal(metrics.texts, sum);
            assert_int_equal(metrics.batches, sum);
            assert_int_equal(metrics.computing_texts + metrics.queued_requests, 0);
            embed_pool_destroy(pool);
        }
    }
}

/* NULL options mean the folder's; texts and tokens are counted. */
static void test_metrics(void **state)
{
    (void)state;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.documents = 4;
    embed_pool *pool = create(&options);
    embed_strings out = EMBED_STRINGS_INIT;
    size_t sources = 0, generated = 0, pieces = 0;
    assert_int_equal(embed_pool_generate(pool, texts, DOCUMENTS, NULL, &out), EMBED_OK);
    assert_summaries(&out, 0, 0, DOCUMENTS);
    embed_strings_free(&out);
    assert_int_equal(embed_pool_generate(pool, texts, DOCUMENTS, &kinds[3], &out), EMBED_OK);
    assert_summaries(&out, 3, 0, DOCUMENTS);
    embed_strings_free(&out);
    for (int k = 0; k < KINDS; k += 3) {
        for (size_t i = 0; i < DOCUMENTS; i++) {
            const embed_generated *item = &summaries[k].items[i];
            sources += item->source_tokens, generated += item->tokens, pieces += item->pieces;
        }
    }
    assert_true(pieces > 2 * DOCUMENTS);
    embed_metrics metrics = metrics_of(pool);
    assert_int_equal(metrics.texts, 2 * DOCUMENTS);
    assert_int_equal(metrics.batches, pieces);
    assert_int_equal(metrics.tokens, sources);
    assert_int_equal(metrics.generated_tokens, generated);
    assert_true(metrics.texts_per_second > 0);
    assert_int_equal(metrics.queued_microseconds.count, pieces);
    assert_int_equal(metrics.instance_batch_tokens, 4 * 128);
    embed_memory memory = EMBED_MEMORY_INIT;
    assert_int_equal(embed_pool_get_memory(pool, &memory), EMBED_OK);
    assert_true(memory.kv > 0 && memory.own > memory.kv);
    embed_pool_destroy(pool);
}

/* ---- many threads, mixed options ----------------------------------------------------------- */

struct caller {
    pthread_t thread;
    embed_pool *pool;
    unsigned rank;
    const char *wrong;
};

static void *call_often(void *argument)
{
    struct caller *caller = argument;
    for (unsigned round = 0; round < 12 && caller->wrong == NULL; round++) {
        int k = (int)((caller->rank + round) % KINDS);
        size_t n = 1 + (caller->rank + round) % 5, first = (7 * caller->rank + 5 * round) % 35;
        embed_strings out = EMBED_STRINGS_INIT;
        if (embed_pool_generate(caller->pool, texts + first, n, &kinds[k], &out) != EMBED_OK ||
            out.count != n) {
            caller->wrong = "status";
            return NULL;
        }
        for (size_t i = 0; i < n && caller->wrong == NULL; i++)
            caller->wrong = check_summary(&out.items[i], k, first + i);
        embed_strings_free(&out);
    }
    return NULL;
}

static void test_mixed_options(void **state)
{
    (void)state;
    enum { CALLERS = 8 };
    static struct caller callers[CALLERS];
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.instances = 2;
    options.documents = 5;
    embed_pool *pool = create(&options);
    for (unsigned i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.pool = pool, .rank = i};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
    }
    for (unsigned i = 0; i < CALLERS; i++) pthread_join(callers[i].thread, NULL);
    for (unsigned i = 0; i < CALLERS; i++)
        if (callers[i].wrong != NULL) fail_msg("thread %u: %s", i, callers[i].wrong);
    embed_pool_destroy(pool);
}

/* ---- requests ------------------------------------------------------------------------------ */

/* If not NULL, each text's `done` waits for it. */
static struct stopper *stops_texts;

struct submitted {
    struct ending end;
    embed_strings out;
    atomic_uint texts_done;
};

static int note_text(void *user, size_t i, const embed_generated *summary)
{
    struct submitted *submitted = user;
    (void)i;
    if (summary->text != NULL && atomic_load(&submitted->end.calls) == 0)
        atomic_fetch_add(&submitted->texts_done, 1);
    if (stops_texts != NULL) stop(stops_texts, EMBED_OK, "");
    return 1;
}

static embed_status submit(struct submitted *submitted, embed_pool *pool, size_t first, size_t n,
                           const embed_generate_options *options, unsigned deadline)
{
    memset(submitted, 0, sizeof *submitted);
    submitted->out = (embed_strings)EMBED_STRINGS_INIT;
    embed_generate_options mine = *options;
    mine.done = note_text;
    mine.user = submitted;
    embed_request request = EMBED_REQUEST_INIT;
    request.texts = texts + first;
    request.n = n;
    request.generate = &mine;
    request.strings = &submitted->out;
    request.deadline_milliseconds = deadline;
    request.done = note_end;
    request.user = &submitted->end;
    return embed_pool_submit(pool, &request, &submitted->end.ticket);
}

/* Checks for the summaries of kinds[k]. */
static void assert_summarized(struct submitted *submitted, int k, size_t first, size_t n)
{
    assert_ended(&submitted->end, EMBED_OK);
    assert_int_equal(atomic_load(&submitted->texts_done), n);
    assert_summaries(&submitted->out, k, first, n);
    embed_strings_free(&submitted->out);
}

/* Checks a request that was not computed. */
static void assert_not_computed(struct submitted *submitted, embed_status status)
{
    assert_ended(&submitted->end, status);
    assert_int_equal(atomic_load(&submitted->texts_done), 0);
    assert_null(submitted->out.items);
}

/* A short request does not wait for a long one that began before it: it takes a free slot, which
 * later ones reuse. */
static void test_short_ones_pass(void **state)
{
    (void)state;
    enum { SHORT = 8 };
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.documents = 2;
    options.max_length = 128;
    embed_pool *pool = create(&options);
    embed_generate_options longest = kinds[2];
    longest.min_length = longest.max_length = 128;
    struct submitted first, later[SHORT];
    assert_int_equal(submit(&first, pool, 3, 1, &longest, 0), EMBED_OK);
    for (size_t i = 0; i < SHORT; i++)
        assert_int_equal(submit(&later[i], pool, 10 + i, 1, &kinds[2], 0), EMBED_OK);
    for (size_t i = 0; i < SHORT; i++) assert_summarized(&later[i], 2, 10 + i, 1);
    assert_ended(&first.end, EMBED_OK);
    assert_int_equal(first.out.items[0].tokens, 128);
    embed_strings_free(&first.out);
    for (size_t i = 0; i < SHORT; i++) assert_true(later[i].end.place < first.end.place);
    embed_pool_destroy(pool);
}

/* A request with another num_beams waits for those in flight, and is not overtaken meanwhile. */
static void test_other_beams_get_their_turn(void **state)
{
    (void)state;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.documents = 8;
    embed_pool *pool = create(&options);
    struct submitted four, one, again;
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(submit(&four, pool, i, 2, &kinds[0], 0), EMBED_OK);
        assert_int_equal(submit(&one, pool, i, 1, &kinds[2], 0), EMBED_OK);
        assert_int_equal(submit(&again, pool, i, 1, &kinds[3], 0), EMBED_OK);
        assert_summarized(&four, 0, i, 2);
        assert_summarized(&one, 2, i, 1);
        assert_summarized(&again, 3, i, 1);
        assert_true(four.end.place < one.end.place && one.end.place < again.end.place);
    }
    embed_pool_destroy(pool);
}

/* ---- a queue that can be stalled ----------------------------------------------------------- */

static void occupy(struct stopper *stopper, embed_pool *pool)
{
    embed_strings out = EMBED_STRINGS_INIT;
    prepare_stopper(stopper);
    embed_request request = EMBED_REQUEST_INIT;
    request.texts = texts;
    request.n = 1;
    request.generate = &kinds[2];
    request.strings = &out;
    request.done = stop;
    request.user = stopper;
    assert_int_equal(embed_pool_submit(pool, &request, NULL), EMBED_OK);
    wait_until_stopped(stopper);
    embed_strings_free(&out);
}

static embed_pool *create_small(size_t queue_requests)
{
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.documents = 3;
    options.queue_requests = queue_requests;
    return create(&options);
}

static void test_cancel(void **state)
{
    (void)state;
    embed_pool *pool = create_small(0);
    struct stopper stopper;
    struct submitted a, b, c;
    occupy(&stopper, pool);
    assert_int_equal(submit(&a, pool, 0, 2, &kinds[0], 0), EMBED_OK);
    assert_int_equal(submit(&b, pool, 2, 3, &kinds[1], 0), EMBED_OK);
    assert_int_equal(submit(&c, pool, 5, 1, &kinds[0], 0), EMBED_OK);
    assert_int_equal(embed_ticket_wait(a.end.ticket, 0), EMBED_PENDING);
    embed_ticket_cancel(b.end.ticket);
    assert_int_equal(embed_ticket_wait(b.end.ticket, 0), EMBED_CANCELLED); /* at once */
    let_go(&stopper);
    assert_summarized(&a, 0, 0, 2);
    assert_not_computed(&b, EMBED_CANCELLED);
    assert_summarized(&c, 0, 5, 1);
    assert_int_equal(metrics_of(pool).requests[EMBED_CANCELLED], 1);
    embed_pool_destroy(pool);
}

/* What is in flight completes, and the rest is not computed. */
static void test_cancel_under_way(void **state)
{
    (void)state;
    embed_pool *pool = create_small(0);
    struct stopper stopper;
    struct submitted a;
    prepare_stopper(&stopper);
    stops_texts = &stopper;
    assert_int_equal(submit(&a, pool, 0, 30, &kinds[0], 0), EMBED_OK);
    wait_until_stopped(&stopper);
    embed_ticket_cancel(a.end.ticket);
    assert_int_equal(embed_ticket_wait(a.end.ticket, 0), EMBED_PENDING);
    let_go(&stopper);
    assert_ended(&a.end, EMBED_CANCELLED);
    assert_null(a.out.items);
    assert_in_range(atomic_load(&a.texts_done), 1, 3);
    stops_texts = NULL;
    embed_pool_destroy(pool);
}

static void test_deadline(void **state)
{
    (void)state;
    embed_pool *pool = create_small(0);
    struct stopper stopper;
    struct submitted late, early;
    occupy(&stopper, pool);
    assert_int_equal(submit(&late, pool, 0, 2, &kinds[2], 50), EMBED_OK);
    assert_int_equal(submit(&early, pool, 2, 2, &kinds[2], 60000), EMBED_OK);
    assert_int_equal(embed_ticket_wait(late.end.ticket, 100), EMBED_PENDING);
    let_go(&stopper);
    assert_not_computed(&late, EMBED_EXPIRED);
    assert_summarized(&early, 2, 2, 2);
    assert_int_equal(metrics_of(pool).requests[EMBED_EXPIRED], 1);
    embed_pool_destroy(pool);
}

static void test_full_queue(void **state)
{
    (void)state;
    embed_pool *pool = create_small(2);
    struct stopper stopper;
    struct submitted a, b, c;
    occupy(&stopper, pool);
    assert_int_equal(submit(&a, pool, 0, 1, &kinds[0], 0), EMBED_OK);
    assert_int_equal(submit(&b, pool, 1, 1, &kinds[1], 0), EMBED_OK);
    assert_int_equal(submit(&c, pool, 2, 1, &kinds[0], 0), EMBED_BUSY);
    assert_non_null(strstr(embed_error_message(), "2 requests"));
    let_go(&stopper);
    assert_summarized(&a, 0, 0, 1);
    assert_summarized(&b, 1, 1, 1);
    assert_int_equal(atomic_load(&c.end.calls), 0);
    assert_int_equal(metrics_of(pool).requests[EMBED_BUSY], 1);
    embed_pool_destroy(pool);
}

static void test_close(void **state)
{
    (void)state;
    embed_pool *pool = create_small(0);
    struct stopper stopper;
    struct submitted a, b;
    occupy(&stopper, pool);
    assert_int_equal(submit(&a, pool, 0, 20, &kinds[0], 0), EMBED_OK);
    let_go(&stopper);
    assert_int_equal(embed_pool_close(pool, 60000), EMBED_OK); /* drains */
    assert_summarized(&a, 0, 0, 20);
    assert_int_equal(submit(&b, pool, 0, 1, &kinds[0], 0), EMBED_CLOSED);
    embed_pool_destroy(pool);
}

static void *close_pool(void *pool)
{
    embed_pool_close(pool, 0);
    return NULL;
}

/* Also when the instance is busy: requests in flight complete, and the rest does not begin. */
static void test_close_cancels(void **state)
{
    (void)state;
    embed_pool *pool = create_small(0);
    struct stopper stopper;
    struct submitted a, b;
    pthread_t thread;
    prepare_stopper(&stopper);
    stops_texts = &stopper;
    assert_int_equal(submit(&a, pool, 0, DOCUMENTS, &kinds[0], 0), EMBED_OK);
    assert_int_equal(submit(&b, pool, 0, 4, &kinds[0], 0), EMBED_OK);
    wait_until_stopped(&stopper);
    assert_int_equal(pthread_create(&thread, NULL, close_pool, pool), 0);
    while (metrics_of(pool).state != EMBED_POOL_CLOSED)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    let_go(&stopper);
    pthread_join(thread, NULL);
    assert_int_equal(embed_ticket_wait(a.end.ticket, 0), EMBED_CANCELLED);
    embed_pool_destroy(pool);
    assert_in_range(atomic_load(&a.texts_done), 1, 3);
    assert_ended(&a.end, EMBED_CANCELLED); /* tickets outlive the pool */
    assert_not_computed(&b, EMBED_CANCELLED);
    stops_texts = NULL;
}

/* ---- cancelled by `done` ------------------------------------------------------------------- */

static int call_off(void *user, size_t i, const embed_generated *summary)
{
    (void)i;
    (void)summary;
    return atomic_fetch_add((atomic_uint *)user, 1) < 2; /* the third call cancels */
}

/* Queued texts are not begun, `done` is not called again, and the pool continues. */
static void check_called_off(embed_pool *pool)
{
    atomic_uint calls = 0;
    embed_generated mine;
    embed_strings out = {sizeof out, &mine, 7};
    embed_generate_options options = kinds[0];
    options.done = call_off;
    options.user = &calls;
    size_t before = metrics_of(pool).batches;
    assert_int_equal(embed_pool_generate(pool, texts, DOCUMENTS, &options, &out), EMBED_CANCELLED);
    assert_string_equal(embed_error_message(),
                        "the generation was cancelled by its `done` callback");
    assert_int_equal(atomic_load(&calls), 3);
    assert_true(out.items == &mine && out.count == 7);
    assert_true(metrics_of(pool).batches - before < 20);

    embed_ticket *ticket = NULL;
    embed_request request = EMBED_REQUEST_INIT;
    request.texts = texts;
    request.n = DOCUMENTS;
    request.generate = &options;
    request.strings = &out;
    atomic_store(&calls, 0);
    assert_int_equal(embed_pool_submit(pool, &request, &ticket), EMBED_OK);
    assert_int_equal(embed_ticket_wait(ticket, EMBED_WAIT_FOREVER), EMBED_CANCELLED);
    embed_ticket_free(ticket);
    assert_int_equal(atomic_load(&calls), 3);
    assert_true(out.items == &mine && out.count == 7);
    assert_true(metrics_of(pool).batches - before < 40);

    assert_int_equal(embed_pool_generate(pool, texts, DOCUMENTS, &kinds[1], &out), EMBED_OK);
    assert_summaries(&out, 1, 0, DOCUMENTS);
    embed_strings_free(&out);
}

static void test_called_off(void **state)
{
    (void)state;
    embed_pool *pool = create_small(0);
    for (int round = 0; round < 5; round++) check_called_off(pool);
    embed_pool_destroy(pool);
}

/* ---- wrong calls --------------------------------------------------------------------------- */

/* A failure that shows only after work has begun leaves the caller's `out` unchanged. */
static void assert_untouched(embed_pool *pool, const embed_text *wrong, size_t n)
{
    embed_generated mine;
    embed_strings out = {sizeof out, &mine, 7};
    embed_instance *instance = NULL;
    embed_ticket *ticket = NULL;
    embed_request request = EMBED_REQUEST_INIT;
    request.texts = wrong;
    request.n = n;
    request.strings = &out;
    assert_int_equal(embed_instance_create(&instance, model, NULL), EMBED_OK);
    assert_int_equal(embed_instance_generate(instance, wrong, n, NULL, &out),
                     EMBED_INVALID_ARGUMENT);
    assert_true(out.items == &mine && out.count == 7);
    assert_int_equal(embed_pool_generate(pool, wrong, n, NULL, &out), EMBED_INVALID_ARGUMENT);
    assert_true(out.items == &mine && out.count == 7);
    assert_int_equal(embed_pool_submit(pool, &request, &ticket), EMBED_INVALID_ARGUMENT);
    assert_true(out.items == &mine && out.count == 7);
    embed_instance_destroy(instance);
}

static void test_wrong_calls(void **state)
{
    (void)state;
    embed_pool *pool = create_small(0);
    embed_strings out = EMBED_STRINGS_INIT;
    embed_encode_options encode_options = EMBED_ENCODE_OPTIONS_INIT;
    embed_generate_options wrong = kinds[0];
    embed_ticket *ticket = NULL;
    float row[WIDTH];
    embed_item item;
    assert_int_equal(embed_pool_encode(pool, texts, 1, NULL, row, WIDTH, NULL), EMBED_UNSUPPORTED);
    wrong.num_beams = 5; /* the folder sets 4 */
    assert_int_equal(embed_pool_generate(pool, texts, 1, &wrong, &out), EMBED_INVALID_ARGUMENT);
    assert_non_null(strstr(embed_error_message(), "num_beams is 5"));
    wrong = kinds[0];
    wrong.max_length = 2;
    assert_int_equal(embed_pool_generate(pool, texts, 1, &wrong, &out), EMBED_INVALID_ARGUMENT);
    assert_string_equal(embed_error_message(),
                        "min_length is 16 (the model's), max_length is 2");
    wrong = kinds[0];
    wrong.max_length = 49;
    assert_int_equal(embed_pool_generate(pool, texts, 1, &wrong, &out), EMBED_INVALID_ARGUMENT);
    const double penalties[] = {6, -6, NAN, INFINITY}; /* a folder may not have these either */
    for (size_t i = 0; i < sizeof penalties / sizeof *penalties; i++) {
        wrong = kinds[0];
        wrong.length_penalty = penalties[i];
        assert_int_equal(embed_pool_generate(pool, texts, 1, &wrong, &out),
                         EMBED_INVALID_ARGUMENT);
        assert_non_null(strstr(embed_error_message(), "must be above -6 and below 6"));
    }
    wrong = kinds[0];
    wrong.no_repeat_ngram_size = wrong.max_length + 1; /* never repeats */
    embed_strings fine = EMBED_STRINGS_INIT;
    assert_int_equal(embed_pool_generate(pool, texts, 1, &wrong, &fine), EMBED_OK);
    embed_strings_free(&fine);
    wrong.no_repeat_ngram_size = (size_t)1 << 32;
    assert_int_equal(embed_pool_generate(pool, texts, 1, &wrong, &out), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_pool_generate(pool, texts, 1, NULL, NULL), EMBED_INVALID_ARGUMENT);
    const int32_t id = 1 << 20;
    const embed_text of_ids[] = {texts[0], {NULL, &id, 1}};
    assert_int_equal(embed_pool_generate(pool, of_ids, 2, NULL, &out), EMBED_INVALID_ARGUMENT);
    assert_non_null(strstr(embed_error_message(), "text 1"));
    assert_null(out.items);
    assert_untouched(pool, of_ids, 2);

    embed_request request = EMBED_REQUEST_INIT;
    request.texts = texts;
    request.n = 1;
    assert_int_equal(embed_pool_submit(pool, &request, &ticket), EMBED_INVALID_ARGUMENT);
    assert_non_null(strstr(embed_error_message(), "strings"));
    request.strings = &out;
    for (int i = 0; i < 3; i++) {
        request.options = i == 0 ? &encode_options : NULL;
        request.out = i == 1 ? row : NULL;
        request.items = i == 2 ? &item : NULL;
        assert_int_equal(embed_pool_submit(pool, &request, &ticket), EMBED_INVALID_ARGUMENT);
        assert_non_null(strstr(embed_error_message(), "which are for embeddings"));
    }
    out.size = sizeof out.size; /* no room for the summaries */
    request.items = NULL;
    assert_int_equal(embed_pool_submit(pool, &request, &ticket), EMBED_INVALID_ARGUMENT);
    assert_non_null(strstr(embed_error_message(), "the size of request->strings is 8"));
    assert_int_equal(embed_pool_generate(pool, texts, 1, NULL, &out), EMBED_INVALID_ARGUMENT);
    out.size = sizeof out;
    embed_pool_destroy(pool);

    embed_model *bert = open_bart(TINY);
    pool = create_pool(&bert, 1, NULL);
    assert_int_equal(embed_pool_generate(pool, texts, 1, NULL, &out), EMBED_UNSUPPORTED);
    request = (embed_request)EMBED_REQUEST_INIT;
    request.texts = texts;
    request.n = 1;
    request.out = row;
    request.capacity = WIDTH;
    request.strings = &out;
    assert_int_equal(embed_pool_submit(pool, &request, &ticket), EMBED_INVALID_ARGUMENT);
    assert_non_null(strstr(embed_error_message(), "which are for models that generate"));
    embed_pool_destroy(pool);
    embed_model_close(bert);

    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    pool = NULL;
    embed_model *two[] = {model, NULL};
    assert_int_equal(embed_pool_create(&pool, two, 2, NULL), EMBED_INVALID_ARGUMENT);
    assert_non_null(strstr(embed_error_message(), "models[1] is NULL"));
    embed_model_options in_bf16 = EMBED_MODEL_OPTIONS_INIT;
    in_bf16.device = EMBED_DEVICE_CPU;
    in_bf16.dtype = EMBED_DTYPE_BF16;
    if (embed_model_open(&two[1], BART, &in_bf16) == EMBED_OK) { /* not on every CPU */
        assert_int_equal(embed_pool_create(&pool, two, 2, NULL), EMBED_INVALID_ARGUMENT);
        assert_non_null(strstr(embed_error_message(), "these have f32 and bf16"));
        embed_model_close(two[1]);
    }
    options.documents = (size_t)1 << 58; /* times the 64 tokens of each, 0 */
    assert_int_equal(embed_pool_create(&pool, &model, 1, &options), EMBED_INVALID_ARGUMENT);
    assert_non_null(strstr(embed_error_message(), "documents is"));
    options.documents = 0;
    options.num_beams = 17;
    assert_int_equal(embed_pool_create(&pool, &model, 1, &options), EMBED_INVALID_ARGUMENT);
    options.num_beams = 0;
    options.max_length = 129;
    assert_int_equal(embed_pool_create(&pool, &model, 1, &options), EMBED_INVALID_ARGUMENT);
    assert_null(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_mixed_options),
        cmocka_unit_test(test_short_ones_pass),
        cmocka_unit_test(test_other_beams_get_their_turn),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_under_way),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_full_queue),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_close_cancels),
        cmocka_unit_test(test_called_off),
        cmocka_unit_test(test_wrong_calls),
    };
    return cmocka_run_group_tests(tests, open_tiny_bart, close_tiny_bart);
}
