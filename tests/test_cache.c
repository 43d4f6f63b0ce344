/* test_cache.c - a cache of several models: what is loaded, what is dropped, how much memory it
 * takes */
#include "cache_models.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- entries -------------------------------------------------------------------------------- */

static void test_one_folder_is_one_entry(void **state)
{
    (void)state;
    char link[] = "/tmp/libembed-test-XXXXXX", spelt[PATH_MAX];
    int file = mkstemp(link); /* only for its name */
    assert_int_not_equal(file, -1);
    assert_int_equal(close(file), 0);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink(folders[0], link), 0);
    snprintf(spelt, sizeof spelt, "%s/../%s/.//", folders[1], strrchr(folders[0], '/'));

    embed_cache *cache = cache_of(0);
    embed_pool *pool = acquire(cache, folders[0]);
    assert_ptr_equal(acquire(cache, link), pool);
    assert_ptr_equal(acquire(cache, spelt), pool);
    assert_true(computes_as(pool, 0));
    embed_cache_metrics metrics = metrics_of(cache);
    assert_int_equal(metrics.loads, 1);
    assert_int_equal(metrics.hits, 2);
    assert_int_equal(metrics.resident, 1);
    assert_int_equal(metrics.in_use, 1);
    assert_int_equal(metrics.resident_bytes, bytes_of_one);
    assert_true(metrics.load_seconds > 0 && metrics.load_seconds < 60);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(metrics_of(cache).in_use, 1);
        embed_cache_release(cache, pool);
    }
    assert_int_equal(metrics_of(cache).in_use, 0);
    embed_cache_destroy(cache);
    unlink(link);
}

static void test_least_recently_used_is_dropped(void **state)
{
    (void)state;
    embed_cache *cache = cache_of(3);
    use(cache, 0);
    use(cache, 1);
    use(cache, 2);
    use(cache, 0);
    assert_resident(cache, "012");
    use(cache, 3);
    assert_resident(cache, "023");
    use(cache, 2);
    use(cache, 4);
    assert_resident(cache, "234");
    use(cache, 1);
    assert_resident(cache, "124");
    embed_cache_metrics metrics = metrics_of(cache);
    assert_int_equal(metrics.evictions, 3);
    assert_int_equal(metrics.loads, 6);
    assert_int_equal(metrics.hits, 2);

    /* A model counts as used until it is released. */
    embed_pool *long_used = acquire(cache, folders[4]);
    use(cache, 1);
    use(cache, 2);
    embed_cache_release(cache, long_used);
    use(cache, 0);
    assert_resident(cache, "024");
    embed_cache_destroy(cache);
}

static void test_what_is_in_use_stays(void **state)
{
    (void)state;
    embed_cache *cache = cache_of(2);
    embed_pool *first = acquire(cache, folders[0]), *second = acquire(cache, folders[1]);
    assert_int_equal(try_to_acquire(cache, 2), EMBED_BUSY);
    const char *message = embed_error_message();
    for (int i = 0; i < 3; i++) assert_non_null(strstr(message, folders[i]));
    assert_non_null(strstr(message, "in use by 1"));
    assert_int_equal(embed_cache_pin(cache, folders[2]), EMBED_BUSY);
    assert_int_equal(metrics_of(cache).refusals, 2);
    assert_int_equal(metrics_of(cache).load_failures, 0);
    assert_true(computes_as(first, 0) && computes_as(second, 1));

    embed_cache_release(cache, first); /* used last, but the only one that may be dropped */
    embed_pool *third = acquire(cache, folders[2]);
    assert_resident(cache, "12");
    assert_true(computes_as(second, 1) && computes_as(third, 2));
    embed_cache_release(cache, second);
    embed_cache_release(cache, third);
    embed_cache_destroy(cache);
}

static void test_pins(void **state)
{
    (void)state;
    embed_cache *cache = cache_of(2);
    assert_int_equal(embed_cache_pin(cache, folders[0]), EMBED_OK);
    assert_int_equal(embed_cache_pin(cache, folders[0]), EMBED_OK);
    assert_int_equal(metrics_of(cache).pinned, 1);
    assert_int_equal(metrics_of(cache).in_use, 0);
    use(cache, 1);
    use(cache, 2);
    assert_resident(cache, "02");

    embed_pool *pool = acquire(cache, folders[2]);
    assert_int_equal(try_to_acquire(cache, 3), EMBED_BUSY);
    assert_non_null(strstr(embed_error_message(), "is pinned"));
    embed_cache_release(cache, pool);

    embed_cache_unpin(cache, folders[0]); /* one of two pins */
    use(cache, 2);
    use(cache, 3);
    assert_resident(cache, "03");
    embed_cache_unpin(cache, folders[0]);
    embed_cache_unpin(cache, folders[0]); /* one unpin too many has no effect */
    embed_cache_unpin(cache, folders[4]);
    use(cache, 4);
    assert_resident(cache, "34");
    assert_int_equal(metrics_of(cache).pinned, 0);
    embed_cache_destroy(cache);
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static void test_bytes(void **state)
{
    (void)state;
    embed_cache *cache = cache_with((embed_cache_options){.max_bytes = 2 * bytes_of_one});
    for (int i = 0; i < 4; i++) {
        use(cache, i);
        assert_true(metrics_of(cache).resident_bytes <= 2 * bytes_of_one);
    }
    assert_resident(cache, "23");
    embed_cache_destroy(cache);

    cache = cache_with((embed_cache_options){.max_bytes = bytes_of_one - 1});
    assert_int_equal(try_to_acquire(cache, 0), EMBED_OUT_OF_MEMORY);
    assert_non_null(strstr(embed_error_message(), folders[0]));
    assert_int_equal(metrics_of(cache).load_failures, 1);
    embed_cache_destroy(cache);
}

static uint64_t planned_bytes(const char *folder)
{
    embed_memory plan = EMBED_MEMORY_INIT;
    embed_model_options model = model_options();
    assert_int_equal(embed_plan(folder, &model, NULL, &plan), EMBED_OK);
    return plan.total;
}

/* A large model takes the room of two small ones. If one of these is in use, the other stays. */
static void test_nothing_is_dropped_in_vain(void **state)
{
    (void)state;
    static const char small[] = "tests/vectors/tiny-bert-cls",
                      middle[] = "tests/vectors/tiny-mpnet";
    uint64_t both = planned_bytes(small) + planned_bytes(middle);
    uint64_t room = planned_bytes(middle) + bytes_of_one - 1;
    assert_true(both <= room && bytes_of_one + planned_bytes(small) <= room);

    embed_cache *cache = cache_with((embed_cache_options){.max_bytes = room});
    embed_cache_release(cache, acquire(cache, small));
    embed_pool *used = acquire(cache, middle);
    assert_int_equal(try_to_acquire(cache, 0), EMBED_BUSY);
    assert_int_equal(metrics_of(cache).resident_bytes, both);
    embed_cache_release(cache, used);
    use(cache, 0);
    assert_resident(cache, "0");
    assert_int_equal(metrics_of(cache).evictions, 2);
    use(cache, 0);
    embed_cache_release(cache, acquire(cache, small)); /* fits beside the large one */
    assert_int_equal(metrics_of(cache).resident_bytes, bytes_of_one + planned_bytes(small));
    embed_cache_destroy(cache);
}

/* A model that takes more than planned is loaded again with what it takes, and others make room. */
static void test_more_than_planned(void **state)
{
    (void)state;
    embed_pool_options pool = pool_options();
    pool.instance_bytes = 1;
    embed_cache_options options = {.max_bytes = 2 * bytes_of_one - 1, .pool = &pool};
    embed_cache *cache = cache_with(options);
    embed_pool *first = acquire(cache, folders[0]);
    assert_int_equal(metrics_of(cache).resident_bytes, bytes_of_one);
    assert_int_equal(try_to_acquire(cache, 1), EMBED_BUSY);
    assert_resident(cache, "0");
    embed_cache_release(cache, first);
    embed_cache_release(cache, acquire(cache, folders[1]));
    assert_resident(cache, "1");
    embed_cache_destroy(cache);

    options.max_bytes = bytes_of_one - 1;
    cache = cache_with(options);
    assert_int_equal(try_to_acquire(cache, 0), EMBED_OUT_OF_MEMORY);
    assert_resident(cache, "");
    embed_cache_destroy(cache);
}

/* ---- files ---------------------------------------------------------------------------------- */

static void test_folder_changes_while_resident(void **state)
{
    (void)state;
    char away[96];
    snprintf(away, sizeof away, "%s.away", folders[0]);
    embed_cache *cache = cache_of(1);
    assert_int_equal(embed_cache_pin(cache, folders[0]), EMBED_OK);
    move(folders[0], away);
    move(folders[1], folders[0]); /* replaced by another model */
    embed_pool *pool = acquire(cache, folders[0]);
    assert_true(computes_as(pool, 0)); /* what was read at first */
    embed_cache_release(cache, pool);

    move(folders[0], folders[1]); /* now missing; it can still be used and unpinned */
    pool = acquire(cache, folders[0]);
    assert_true(computes_as(pool, 0));
    embed_cache_release(cache, pool);
    embed_cache_unpin(cache, folders[0]);
    use(cache, 2);
    assert_resident(cache, "2");

    /* Nothing is dropped for a folder that cannot be read. */
    assert_int_equal(try_to_acquire(cache, 0), EMBED_IO);
    assert_non_null(strstr(embed_error_message(), folders[0]));
    assert_resident(cache, "2");
    move(away, folders[0]);
    pool = acquire(cache, folders[0]);
    assert_true(computes_as(pool, 0));
    embed_cache_release(cache, pool);
    embed_cache_destroy(cache);
}

/* ---- arguments ------------------------------------------------------------------------------ */

static void test_arguments(void **state)
{
    (void)state;
    embed_cache *cache = NULL;
    embed_pool *pool = NULL;
    embed_cache_options options = EMBED_CACHE_OPTIONS_INIT;
    embed_model_options model = model_options();
    assert_int_equal(embed_cache_create(NULL, NULL), EMBED_INVALID_ARGUMENT);
    model.threads = 1000000;
    options.model = &model;
    assert_int_equal(embed_cache_create(&cache, &options), EMBED_INVALID_ARGUMENT);
    assert_null(cache);
    assert_int_equal(embed_cache_create(&cache, NULL), EMBED_OK);
    assert_int_equal(embed_cache_acquire(NULL, TINY, &pool), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_cache_acquire(cache, NULL, &pool), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_cache_acquire(cache, TINY, NULL), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_cache_pin(cache, NULL), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_cache_get_metrics(cache, NULL), EMBED_INVALID_ARGUMENT);
    char longest[2 * PATH_MAX];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(embed_cache_acquire(cache, longest, &pool), EMBED_IO);
    assert_int_equal(embed_cache_acquire(cache, "", &pool), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_cache_acquire(cache, "tests/vectors/none", &pool), EMBED_IO);
    assert_null(pool);
    embed_cache_release(cache, NULL);
    embed_cache_release(NULL, NULL);
    embed_cache_unpin(cache, NULL);
    embed_cache_destroy(cache);
    embed_cache_destroy(NULL);
}

/* The caller's structs may be gone by the time a model is loaded. */
static void test_options_are_copied(void **state)
{
    (void)state;
    char profile[] = "tests/vectors/no-such-profile";
    embed_cache *cache = NULL;
    embed_pool *none = NULL;
    embed_cache_options options = EMBED_CACHE_OPTIONS_INIT;
    embed_model_options model = model_options();
    embed_pool_options pool = pool_options();
    pool.profile = profile;
    options.model = &model;
    options.pool = &pool;
    assert_int_equal(embed_cache_create(&cache, &options), EMBED_OK);
    memset(profile, 'x', sizeof profile - 1);
    memset(&model, 0, sizeof model);
    memset(&pool, 0, sizeof pool);
    memset(&options, 0, sizeof options);
    assert_int_equal(embed_cache_acquire(cache, folders[0], &none), EMBED_IO);
    assert_non_null(strstr(embed_error_message(), "no-such-profile"));
    embed_cache_destroy(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_options_are_copied),
        cmocka_unit_test(test_one_folder_is_one_entry),
        cmocka_unit_test(test_least_recently_used_is_dropped),
        cmocka_unit_test(test_what_is_in_use_stays),
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_nothing_is_dropped_in_vain),
        cmocka_unit_test(test_more_than_planned),
        cmocka_unit_test(test_folder_changes_while_resident),
    };
    return cmocka_run_group_tests(tests, make_models, remove_models);
}
