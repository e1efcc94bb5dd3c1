/* Shared maps: values, times to live, the bound, and many threads at once. */
#include <pthread.h>

#include "mesh_helpers.h"

#include "mesh/shared_map.h"

enum { THREADS = 4, CALLS = 20000 };

static struct np_shared_value integer(int64_t v)
{
    return (struct np_shared_value){.type = NP_SHARED_INTEGER, .as.integer = v};
}

static struct np_shared_value text(const char *p)
{
    struct np_shared_value v = {.type = NP_SHARED_STRING};
    v.as.string.p = p;
    v.as.string.n = strlen(p);
    return v;
}

static void open_map(struct np_shared_maps **maps, struct np_shared_map **m, size_t bytes)
{
    assert_ok(np_shared_maps_new(maps));
    assert_ok(np_shared_maps_get(*maps, "test", bytes, m));
}

static void an_entry_ends_with_its_time(void **state)
{
    struct np_shared_maps *maps;
    struct np_shared_map *m;
    struct np_shared_value v = integer(1), out;
    struct np_buf room;
    int64_t left = 0;
    (void)state;
    open_map(&maps, &m, 0);
    np_buf_init(&room);
    assert_ok(np_shared_set(m, "k", 1, &v, 10, 100, NP_SHARED_ALWAYS));
    assert_ok(np_shared_ttl(m, "k", 1, 104, &left));
    assert_int_equal(left, 6);
    assert_ok(np_shared_get(m, "k", 1, 109, &room, &out));
    assert_err(np_shared_get(m, "k", 1, 110, &room, &out), NEAP_ENOTFOUND);
    assert_ok(np_shared_set(m, "k", 1, &v, 0, 110, NP_SHARED_IF_ABSENT));
    assert_ok(np_shared_expire(m, "k", 1, 5, 110));
    assert_false(np_shared_delete(m, "k", 1, 115));
    np_buf_fini(&room);
    np_shared_maps_free(maps);
    assert_int_equal(np_alloc_live(), 0);
}

static void what_has_expired_makes_room_before_what_has_not(void **state)
{
    struct np_shared_maps *maps;
    struct np_shared_map *m;
    struct np_shared_stats stats;
    char key[16];
    struct np_shared_value v = integer(1);
    (void)state;
    /* Keys fall into parts of the map by chance: half as many again would still not fill one, and
     * twice as many fill all. */
    enum { COUNT = 5120 };
    open_map(&maps, &m, 16 * NP_SHARED_MIN_BYTES);
    for (int i = 0; i < COUNT; i++) { /* older, and over by then */
        snprintf(key, sizeof key, "old%d", i);
        assert_ok(np_shared_set(m, key, strlen(key), &v, 10, 0, NP_SHARED_ALWAYS));
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "new%d", i);
        assert_ok(np_shared_set(m, key, strlen(key), &v, 0, 20, NP_SHARED_ALWAYS));
    }
    np_shared_get_stats(m, &stats);
    assert_true(stats.expired > 0);
    assert_int_equal(stats.evictions, 0);
    assert_true(stats.bytes <= stats.capacity);
    np_shared_maps_free(maps);
}

struct job {
    struct np_shared_map *m;
    int worker;
};

static void *count_up(void *arg)
{
    struct job *j = arg;
    struct np_shared_value one = integer(1), zero = integer(0), out;
    for (int i = 0; i < CALLS; i++) {
        if (np_shared_incr(j->m, "n", 1, &one, &zero, 0, 0, &out)) return "incr failed";
    }
    return NULL;
}

/* Adds one by compare and swap. */
static void *swap_up(void *arg)
{
    struct job *j = arg;
    struct np_buf room;
    np_buf_init(&room);
    for (int i = 0; i < CALLS / 10; i++) {
        struct np_shared_value now, next;
        do {
            if (np_shared_get(j->m, "c", 1, 0, &room, &now)) return "get failed";
            next = integer(now.as.integer + 1);
        } while (np_shared_cas(j->m, "c", 1, &now, &next, 0, 0) == NEAP_EBUSY);
    }
    np_buf_fini(&room);
    return NULL;
}

/* Fills it over and over, and reads what others write. */
static void *fill(void *arg)
{
    struct job *j = arg;
    struct np_buf room;
    struct np_shared_value out;
    char key[16];
    np_buf_init(&room);
    for (int i = 0; i < CALLS / 4; i++) {
        struct np_shared_value v = text("a value that is as good as any other one");
        snprintf(key, sizeof key, "%d", (i * 7 + j->worker) % 2000);
        if (np_shared_set(j->m, key, strlen(key), &v, i % 3, i, NP_SHARED_ALWAYS)) return "set";
        enum neap_err err = np_shared_get(j->m, key, strlen(key), i, &room, &out);
        if (!err && (out.type != NP_SHARED_STRING || out.as.string.n != 40)) return "torn";
    }
    np_buf_fini(&room);
    return NULL;
}

static void all_at_once(struct np_shared_map *m, void *(*fn)(void *arg))
{
    pthread_t threads[THREADS];
    struct job jobs[THREADS];
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (struct job){m, i};
        assert_int_equal(pthread_create(&threads[i], NULL, fn, &jobs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        if (wrong) fail_msg("%s", (const char *)wrong);
    }
}

static int64_t value_of(struct np_shared_map *m, const char *key)
{
    struct np_shared_value out;
    struct np_buf room;
    np_buf_init(&room);
    assert_ok(np_shared_get(m, key, 1, 0, &room, &out));
    return out.as.integer;
}

static void threads_lose_no_count(void **state)
{
    struct np_shared_maps *maps;
    struct np_shared_map *m;
    struct np_shared_value zero = integer(0);
    (void)state;
    open_map(&maps, &m, 0);
    all_at_once(m, count_up);
    assert_int_equal(value_of(m, "n"), THREADS * CALLS);
    assert_ok(np_shared_set(m, "c", 1, &zero, 0, 0, NP_SHARED_ALWAYS));
    all_at_once(m, swap_up);
    assert_int_equal(value_of(m, "c"), THREADS * (CALLS / 10));
    np_shared_maps_free(maps);
}

static void threads_keep_to_the_bound(void **state)
{
    struct np_shared_maps *maps;
    struct np_shared_map *m;
    struct np_shared_stats stats;
    (void)state;
    open_map(&maps, &m, NP_SHARED_MIN_BYTES);
    all_at_once(m, fill);
    np_shared_get_stats(m, &stats);
    assert_true(stats.bytes <= stats.capacity);
    assert_true(stats.evictions > 0);
    np_shared_clear(m);
    np_shared_get_stats(m, &stats);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.bytes, 0);
    np_shared_maps_free(maps);
    assert_int_equal(np_alloc_live(), 0);
}

static enum neap_err use_a_map(void *arg)
{
    struct np_shared_maps *maps = NULL;
    struct np_shared_map *m = NULL;
    struct np_shared_value v = text("value"), one = integer(1), out;
    struct np_buf room;
    (void)arg;
    np_buf_init(&room);
    enum neap_err err = np_shared_maps_new(&maps);
    if (!err) err = np_shared_maps_get(maps, "a", 0, &m);
    if (!err) err = np_shared_set(m, "k", 1, &v, 5, 0, NP_SHARED_ALWAYS);
    if (!err) err = np_shared_set(m, "k", 1, &v, 0, 0, NP_SHARED_ALWAYS);
    if (!err) err = np_shared_incr(m, "n", 1, &one, &one, 3, 0, &out);
    if (!err) err = np_shared_get(m, "k", 1, 0, &room, &out);
    np_buf_fini(&room);
    np_shared_maps_free(maps);
    return err;
}

static void survives_running_out_of_memory(void **state)
{
    (void)state;
    assert_int_not_equal(np_test_oom(use_a_map, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_ends_with_its_time),
        cmocka_unit_test(what_has_expired_makes_room_before_what_has_not),
        cmocka_unit_test(threads_lose_no_count),
        cmocka_unit_test(threads_keep_to_the_bound),
        cmocka_unit_test(survives_running_out_of_memory),
    };
    return cmocka_run_group_tests_name("mesh.shared_map", tests, NULL, NULL);
}
