/* test_pool_generate_faults.c - failures in a pool that generates, on the CPU, with operations
 * replaced by ones that fail on demand
 */
#include "base/status.h"
#include "model/model.h"

#include "pool_generate_test.h"

#include "test_folder.h"

#include <stdatomic.h>

/* ---- operations that fail: (fail) is the library's, fail() cmocka's ------------------------ */

static struct {
    embed_status (*beam_start)(const struct beam_slots *beams, const struct beam_document *documents,
                               size_t D, struct execution *execution);
    embed_status (*run)(struct executor *executor, size_t count, const struct chunk_work *work);
    embed_status status;
    size_t guilty[4];   /* documents with this many tokens cannot begin */
    atomic_int after;   /* after this many runs, the next `times` fail */
    atomic_int times;
    atomic_uint failed;
    atomic_size_t most; /* most documents begun in one chunk */
} faults;

static embed_status fail_guilty(const struct beam_slots *beams, const struct beam_document *documents,
                                size_t D, struct execution *execution)
{
    size_t most = atomic_load(&faults.most);
    while (D > most && !atomic_compare_exchange_weak(&faults.most, &most, D)) {}
    for (size_t d = 0; d < D; d++) {
        for (size_t g = 0; g < 4; g++) {
            if ((size_t)documents[d].source != faults.guilty[g]) continue;
            atomic_fetch_add(&faults.failed, 1);
            return (fail)(faults.status, "a document of %zu tokens", faults.guilty[g]);
        }
    }
    return faults.beam_start(beams, documents, D, execution);
}

static embed_status fail_some(struct executor *executor, size_t count, const struct chunk_work *work)
{
    if (atomic_fetch_sub(&faults.after, 1) <= 0 && atomic_fetch_sub(&faults.times, 1) > 0) {
        atomic_fetch_add(&faults.failed, 1);
        return (fail)(faults.status, "a run that was told to fail");
    }
    return faults.run(executor, count, work);
}

/* Makes `times` runs fail with `status`, after `after` runs that succeed. */
static void fail_runs(embed_status status, int after, int times)
{
    faults.status = status;
    atomic_store(&faults.failed, 0);
    atomic_store(&faults.times, times);
    atomic_store(&faults.after, after);
}

static int open_with_faults(void **state)
{
    open_tiny_bart(state);
    faults.beam_start = model->backend->beam_start;
    faults.run = model->backend->run;
    model->backend->beam_start = fail_guilty;
    model->backend->run = fail_some;
    return 0;
}

static embed_pool *create_with(size_t documents)
{
    fail_runs(EMBED_OK, 0, 0);
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.documents = documents;
    options.warm_up = EMBED_OFF;
    return create(&options);
}

/* ---- requests of one text each ------------------------------------------------------------- */

struct submitted {
    embed_ticket *ticket;
    embed_strings out;
    atomic_uint calls;
};

static void note_done(void *user, embed_status status, const char *message)
{
    (void)status;
    (void)message;
    atomic_fetch_add(&((struct submitted *)user)->calls, 1);
}

static struct submitted all[DOCUMENTS];

static embed_status submit_one(embed_pool *pool, size_t i)
{
    memset(&all[i], 0, sizeof all[i]);
    all[i].out = (embed_strings)EMBED_STRINGS_INIT;
    embed_request request = EMBED_REQUEST_INIT;
    request.texts = texts + i;
    request.n = 1;
    request.generate = &kinds[1];
    request.strings = &all[i].out;
    request.done = note_done;
    request.user = &all[i];
    return embed_pool_submit(pool, &request, &all[i].ticket);
}

static void submit_all(embed_pool *pool)
{
    for (size_t i = 0; i < DOCUMENTS; i++) assert_int_equal(submit_one(pool, i), EMBED_OK);
}

/* Returns how many: the first may end the only instance before the last is submitted. */
static size_t submit_until_refused(embed_pool *pool)
{
    size_t submitted = 0;
    while (submitted < DOCUMENTS && submit_one(pool, submitted) == EMBED_OK) submitted++;
    assert_true(submitted > 0);
    return submitted;
}

static bool is_guilty(size_t i)
{
    for (size_t g = 0; g < 4; g++)
        if (summaries[1].items[i].source_tokens == faults.guilty[g]) return true;
    return false;
}

/* Checks that the request completed once: with its summary or, if the document is guilty, with
 * `status`. Returns whether it is guilty. */
static bool assert_one_ended(size_t i, embed_status status)
{
    embed_status ended = embed_ticket_wait(all[i].ticket, EMBED_WAIT_FOREVER);
    if (ended != (is_guilty(i) ? status : EMBED_OK))
        fail_msg("document %zu: %s", i, embed_error_message());
    assert_int_equal(atomic_load(&all[i].calls), 1);
    if (ended == EMBED_OK) assert_summaries(&all[i].out, 1, i, 1);
    else assert_null(all[i].out.items);
    embed_strings_free(&all[i].out);
    embed_ticket_free(all[i].ticket);
    return ended != EMBED_OK;
}

/* Checks all requests. Returns how many were guilty. */
static size_t assert_all_ended(embed_status status)
{
    size_t guilty = 0;
    for (size_t i = 0; i < DOCUMENTS; i++) guilty += assert_one_ended(i, status);
    return guilty;
}

/* The first instance does not take what the other could begin at the same time. */
static void test_instances_share(void **state)
{
    (void)state;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.instances = 2;
    options.documents = 16;
    options.warm_up = EMBED_OFF;
    fail_runs(EMBED_OK, 0, 0);
    embed_pool *pool = create(&options);
    atomic_store(&faults.most, 0);
    for (int round = 0; round < 20; round++) {
        embed_strings out = EMBED_STRINGS_INIT;
        assert_int_equal(embed_pool_generate(pool, texts, 10, &kinds[1], &out), EMBED_OK);
        assert_summaries(&out, 1, 0, 10);
        embed_strings_free(&out);
    }
    assert_in_range(atomic_load(&faults.most), 2, 5);
    embed_pool_destroy(pool);
}

/* ---- creation ------------------------------------------------------------------------------ */

/* A pool begins with the instances that can be created. The others follow when they can. */
static void test_some_instances(void **state)
{
    (void)state;
    enum { MANY = 1 << 20 };
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.documents = 2;
    options.instances = 1;
    fail_runs(EMBED_DEVICE_FAILED, MANY, 1);
    embed_pool_destroy(create(&options));
    int runs = MANY - atomic_load(&faults.after); /* to warm up one */
    assert_true(runs > 0);
    options.instances = 3;
    fail_runs(EMBED_DEVICE_FAILED, runs + 1, 1);
    embed_pool *pool = create(&options);
    assert_int_equal(atomic_load(&faults.failed), 1);
    assert_int_equal(metrics_of(pool).instances, 2);
    embed_pool_destroy(pool);

    embed_pool *none = NULL; /* and fails with the reason if there are none */
    fail_runs(EMBED_DEVICE_FAILED, 0, 3);
    assert_int_equal(embed_pool_create(&none, &model, 1, &options), EMBED_DEVICE_FAILED);
    assert_non_null(strstr(embed_error_message(), "told to fail"));
    assert_null(none);
    fail_runs(EMBED_OK, 0, 0);
}

/* ---- failures ------------------------------------------------------------------------------ */

/* One run fails, at any point: it shows only in the metrics. */
static void test_once(void **state)
{
    (void)state;
    for (int after = 0; after < 60; after += 3) {
        embed_pool *pool = create_with(4);
        fail_runs(EMBED_DEVICE_FAILED, after, 1);
        submit_all(pool);
        assert_int_equal(assert_all_ended(EMBED_OK), 0);
        assert_int_equal(atomic_load(&faults.failed), 1);
        embed_metrics metrics = metrics_of(pool);
        assert_in_range(metrics.texts_retried, 1, 4);
        assert_int_equal(metrics.texts_split, 0);
        assert_int_equal(metrics.texts, DOCUMENTS);
        embed_pool_destroy(pool);
    }
}

/* Documents that cannot be computed fail alone. */
static void test_guilty(void **state)
{
    (void)state;
    static const size_t of[] = {3, 11, 12, 30};
    for (size_t documents = 1; documents <= 16; documents *= 4) {
        embed_pool *pool = create_with(documents);
        faults.status = EMBED_DEVICE_FAILED;
        for (size_t g = 0; g < 4; g++) faults.guilty[g] = summaries[1].items[of[g]].source_tokens;
        submit_all(pool);
        size_t guilty = assert_all_ended(EMBED_DEVICE_FAILED);
        assert_in_range(guilty, 4, DOCUMENTS / 2);
        embed_metrics metrics = metrics_of(pool);
        assert_int_equal(metrics.requests[EMBED_DEVICE_FAILED], guilty);
        assert_int_equal(metrics.state, EMBED_POOL_READY);
        assert_true(metrics.texts_retried >= guilty);
        if (documents > 1) assert_true(metrics.texts_split >= guilty - 1);
        else assert_int_equal(metrics.texts_split, 0);
        memset(faults.guilty, 0, sizeof faults.guilty);
        embed_pool_destroy(pool);
    }
}

/* An instance that never succeeds is given up, and everything queued fails with it. */
static void test_always(void **state)
{
    (void)state;
    embed_pool *pool = create_with(4);
    embed_strings out = EMBED_STRINGS_INIT;
    fail_runs(EMBED_DEVICE_FAILED, 0, INT32_MAX);
    size_t submitted = submit_until_refused(pool);
    for (size_t i = 0; i < submitted; i++) {
        assert_int_equal(embed_ticket_wait(all[i].ticket, EMBED_WAIT_FOREVER), EMBED_DEVICE_FAILED);
        assert_int_equal(atomic_load(&all[i].calls), 1);
        embed_ticket_free(all[i].ticket);
    }
    assert_int_equal(embed_pool_generate(pool, texts, 1, NULL, &out), EMBED_DEVICE_FAILED);
    fail_runs(EMBED_OK, 0, 0);
    embed_pool_destroy(pool);
}

/* ---- out of memory ------------------------------------------------------------------------- */

/* Parses "instance 0 of a pool now computes 4 documents at a time: ...". */
static void note_size(void *user, embed_log_level level, const char *message)
{
    const char *number = strstr(message, "now computes ");
    (void)level;
    if (number != NULL) sscanf(number, "now computes %zu documents", (size_t *)user);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    size_t size = 0;
    embed_log_set(note_size, &size, EMBED_LOG_WARNING);
    for (int times = 1; times <= 3; times++) { /* 8, 4, 2, 1 documents */
        embed_pool *pool = create_with(8);
        fail_runs(EMBED_OUT_OF_MEMORY, 5, times);
        submit_all(pool);
        assert_int_equal(assert_all_ended(EMBED_OK), 0);
        assert_int_equal(atomic_load(&faults.failed), times);
        assert_int_equal(size, 8 >> times);
        assert_int_equal(metrics_of(pool).state, EMBED_POOL_READY);
        embed_pool_destroy(pool);
    }
    embed_log_set(NULL, NULL, EMBED_LOG_ERROR);
}

/* The instance becomes smaller once, and full size again after some seconds, under continuous
 * load. */
static void test_grows_back(void **state)
{
    (void)state;
    embed_pool *pool = create_with(8);
    uint64_t own = metrics_of(pool).instance_bytes;
    fail_runs(EMBED_OUT_OF_MEMORY, 5, 2);
    double before = seconds();
    size_t i = 0;
    submit_all(pool);
    for (; metrics_of(pool).instance_bytes == own && seconds() - before < 60; i = (i + 1) % DOCUMENTS) {
        assert_false(assert_one_ended(i, EMBED_OK));
        assert_int_equal(submit_one(pool, i), EMBED_OK);
    }
    for (; metrics_of(pool).instance_bytes < own && seconds() - before < 60; i = (i + 1) % DOCUMENTS) {
        assert_false(assert_one_ended(i, EMBED_OK));
        assert_int_equal(submit_one(pool, i), EMBED_OK);
    }
    assert_int_equal(metrics_of(pool).instance_bytes, own);
    assert_int_equal(metrics_of(pool).instance_batch_tokens, 8 * 128);
    assert_int_equal(assert_all_ended(EMBED_OK), 0);
    embed_pool_destroy(pool);
}

static void test_out_of_memory_for_ever(void **state)
{
    (void)state;
    embed_pool *pool = create_with(8);
    fail_runs(EMBED_OUT_OF_MEMORY, 0, INT32_MAX);
    size_t submitted = submit_until_refused(pool);
    for (size_t i = 0; i < submitted; i++) {
        assert_int_equal(embed_ticket_wait(all[i].ticket, EMBED_WAIT_FOREVER), EMBED_OUT_OF_MEMORY);
        assert_int_equal(atomic_load(&all[i].calls), 1);
        embed_ticket_free(all[i].ticket);
    }
    assert_int_equal(metrics_of(pool).state, EMBED_POOL_DEGRADED);
    assert_int_equal(submit_one(pool, 0), EMBED_OUT_OF_MEMORY);
    assert_non_null(strstr(embed_error_message(), "no instance is left"));
    fail_runs(EMBED_OK, 0, 0);
    embed_pool_destroy(pool);
}

/* ---- not finite ---------------------------------------------------------------------------- */

/* Makes a copy of the folder whose encoder positions are NaN from `first` on. */
static const char *spoil_positions(size_t first)
{
    static char copy[600];
    char path[700];
    size_t length, from, to, header;
    snprintf(copy, sizeof copy, "%s", test_copy_folder(BART));
    snprintf(path, sizeof path, "%s/model.safetensors", copy);
    char *bytes = test_read_file(path, &length);
    memcpy(&header, bytes, sizeof header);
    const char *tensor = strstr(bytes + 8, "\"model.encoder.embed_positions.weight\"");
    assert_non_null(tensor);
    assert_int_equal(sscanf(strstr(tensor, "data_offsets"), "data_offsets\":[%zu,%zu]", &from, &to),
                     2);
    size_t row = (to - from) / (128 + 2); /* the first two are padding */
    memset(bytes + 8 + header + from + (first + 2) * row, 0xFF, row); /* F16: NaN */
    test_write_file(copy, "model.safetensors", bytes, length);
    free(bytes);
    return copy;
}

static void test_not_finite(void **state)
{
    (void)state;
    enum { FIRST = 60 };
    const char *folder = spoil_positions(FIRST);
    embed_model *spoilt = open_bart(folder);
    embed_pool *pool = create_pool(&spoilt, 1, NULL);
    embed_strings out = EMBED_STRINGS_INIT;
    size_t not_finite = 0;
    char message[128];
    assert_int_equal(embed_pool_generate(pool, texts, DOCUMENTS, &kinds[1], &out),
                     EMBED_NOT_FINITE);
    snprintf(message, sizeof message, "%s", embed_error_message());
    assert_int_equal(out.count, DOCUMENTS);
    for (size_t i = 0; i < DOCUMENTS; i++) {
        if (summaries[1].items[i].source_tokens > FIRST) {
            assert_int_equal(out.items[i].status, EMBED_NOT_FINITE);
            assert_null(out.items[i].text);
            not_finite++;
        } else {
            assert_null(check_summary(&out.items[i], 1, i));
        }
    }
    embed_strings_free(&out);
    char wanted[64];
    snprintf(wanted, sizeof wanted, "%zu of %d summaries", not_finite, DOCUMENTS);
    assert_in_range(not_finite, 5, DOCUMENTS - 5);
    assert_non_null(strstr(message, wanted));
    assert_int_equal(metrics_of(pool).texts_not_finite, not_finite);

    /* When split, no piece reaches that far. */
    assert_int_equal(embed_pool_generate(pool, texts, DOCUMENTS, &kinds[3], &out), EMBED_OK);
    assert_summaries(&out, 3, 0, DOCUMENTS);
    embed_strings_free(&out);
    embed_pool_destroy(pool);
    embed_model_close(spoilt);
    test_remove_folder(folder);
}

/* What is not finite in BF16 is generated again in F32: here because the BF16 weights are
 * corrupted. */
static void test_again_in_f32(void **state)
{
    (void)state;
    enum { FIRST = 60 };
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_model *bf16 = NULL;
    options.device = EMBED_DEVICE_CPU;
    options.dtype = EMBED_DTYPE_BF16;
    options.threads = 1;
    if (embed_model_open(&bf16, BART, &options) != EMBED_OK) {
        print_message("skipped: %s\n", embed_error_message());
        skip();
    }
    size_t row = bf16->encoder.config.C * 2;
    memset((char *)bf16->encoder.embeddings.position + (2 + FIRST) * row, 0xFF, (128 - FIRST) * row);
    embed_pool *pool = create_pool(&bf16, 1, NULL);
    embed_strings out = EMBED_STRINGS_INIT;
    size_t retried = 0;
    assert_int_equal(embed_pool_generate(pool, texts, DOCUMENTS, &kinds[1], &out), EMBED_OK);
    for (size_t i = 0; i < DOCUMENTS; i++) {
        if (summaries[1].items[i].source_tokens <= FIRST) continue;
        const char *wrong = check_summary(&out.items[i], 1, i);
        if (wrong != NULL) fail_msg("document %zu: %s", i, wrong);
        retried++;
    }
    assert_in_range(retried, 5, DOCUMENTS - 5);
    assert_int_equal(metrics_of(pool).texts_not_finite, retried);
    embed_strings_free(&out);
    embed_pool_destroy(pool);
    embed_model_close(bf16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instances_share),
        cmocka_unit_test(test_some_instances),
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_guilty),
        cmocka_unit_test(test_always),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_grows_back),
        cmocka_unit_test(test_out_of_memory_for_ever),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_again_in_f32),
    };
    return cmocka_run_group_tests(tests, open_with_faults, close_tiny_bart);
}
