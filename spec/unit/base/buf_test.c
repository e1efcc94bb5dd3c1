/* base/buf: appending, consuming, moving, growing, running out of memory. */
#include "np_test.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"

static void assert_holds(const struct np_buf *b, const char *text)
{
    assert_int_equal(np_buf_len(b), strlen(text));
    assert_memory_equal(np_buf_data(b), text, strlen(text));
}

static void an_empty_buffer_reads_as_nothing(void **state)
{
    struct np_buf b = {0};
    assert_int_equal(np_buf_len(&b), 0);
    assert_non_null(np_buf_data(&b));
    np_buf_consume(&b, 10);
    np_buf_clear(&b);
    np_buf_shrink(&b, 0);
    assert_ok(np_buf_append(&b, NULL, 0));
    assert_null(b.data);
    np_buf_fini(&b);
}

static void appends_follow_each_other(void **state)
{
    struct np_buf b;
    np_buf_init(&b);
    assert_ok(np_buf_append(&b, "GET ", 4));
    assert_ok(np_buf_append_str(&b, "/"));
    assert_ok(np_buf_append_u64(&b, 0));
    assert_ok(np_buf_append_u64(&b, UINT64_MAX));
    assert_ok(np_buf_printf(&b, " %s-%d", "x", -7));
    assert_holds(&b, "GET /018446744073709551615 x--7");
    np_buf_fini(&b);
    assert_int_equal(np_buf_len(&b), 0);
}

static void printf_may_be_longer_than_the_block(void **state)
{
    struct np_buf b;
    np_buf_init(&b);
    assert_ok(np_buf_append_str(&b, "<"));
    assert_ok(np_buf_printf(&b, "%0500d>", 1));
    assert_int_equal(np_buf_len(&b), 502);
    assert_int_equal(np_buf_data(&b)[501], '>');
    np_buf_fini(&b);
}

static void consuming_all_starts_over_at_the_front(void **state)
{
    struct np_buf b;
    np_buf_init(&b);
    assert_ok(np_buf_append_str(&b, "abcdef"));
    np_buf_consume(&b, 2);
    assert_holds(&b, "cdef");
    np_buf_consume(&b, 99);
    assert_int_equal(b.head, 0);
    assert_int_equal(np_buf_len(&b), 0);
    np_buf_fini(&b);
}

static void reserve_gives_room_behind_what_stands_there(void **state)
{
    struct np_buf b;
    char *at;
    np_buf_init(&b);
    assert_ok(np_buf_append_str(&b, "ab"));
    assert_ok(np_buf_reserve(&b, 3, &at));
    memcpy(at, "cde", 3);
    np_buf_added(&b, 3);
    assert_holds(&b, "abcde");
    assert_ok(np_buf_reserve(&b, 1000, NULL));
    assert_holds(&b, "abcde");
    np_buf_fini(&b);
}

static void a_sliding_window_stays_in_its_block(void **state)
{
    struct np_buf b;
    np_buf_init(&b);
    for (int i = 0; i < 10000; i++) {
        assert_ok(np_buf_append_str(&b, "0123456789"));
        if (i > 2) np_buf_consume(&b, 10);
    }
    assert_holds(&b, "012345678901234567890123456789");
    assert_true(b.cap <= 128);
    np_buf_fini(&b);
}

static void a_size_that_overflows_is_out_of_memory(void **state)
{
    struct np_buf b;
    np_buf_init(&b);
    assert_ok(np_buf_append_str(&b, "kept"));
    assert_err(np_buf_reserve(&b, SIZE_MAX, NULL), NEAP_ENOMEM);
    assert_err(np_buf_reserve(&b, SIZE_MAX - 2, NULL), NEAP_ENOMEM);
    assert_holds(&b, "kept");
    np_buf_fini(&b);
}

static void shrink_gives_back_a_large_empty_block(void **state)
{
    struct np_buf b;
    np_buf_init(&b);
    assert_ok(np_buf_reserve(&b, 5000, NULL));
    np_buf_shrink(&b, 100000);
    assert_true(b.cap >= 5000);
    assert_ok(np_buf_append_str(&b, "x"));
    np_buf_shrink(&b, 100);
    assert_holds(&b, "x");
    np_buf_clear(&b);
    np_buf_shrink(&b, 100);
    assert_int_equal(b.cap, 0);
    np_buf_fini(&b);
}

/* Random appends and consumes against a plain array that is never moved. */
static void agrees_with_a_plain_array(void **state)
{
    enum { TOTAL = 200000 };
    char *all = malloc(TOTAL + 512);
    size_t from = 0, to = 0;
    struct np_rng rng;
    struct np_buf b;
    np_rng_init(&rng, 1);
    np_buf_init(&b);
    while (to < TOTAL) {
        size_t n = np_rng_below(&rng, 300);
        for (size_t i = 0; i < n; i++) {
            all[to + i] = (char)np_rng_next(&rng);
        }
        assert_ok(np_buf_append(&b, all + to, n));
        to += n;
        n = np_rng_below(&rng, 330);
        if (n > to - from) n = to - from;
        np_buf_consume(&b, n);
        from += n;
        assert_int_equal(np_buf_len(&b), to - from);
        assert_memory_equal(np_buf_data(&b), all + from, to - from);
    }
    np_buf_fini(&b);
    free(all);
}

static enum neap_err grow_in_every_way(void *arg)
{
    struct np_buf b;
    np_buf_init(&b);
    enum neap_err err = np_buf_append(&b, "0123456789", 10);
    np_buf_consume(&b, 2);
    for (int i = 0; !err && i < 100; i++) {
        err = np_buf_printf(&b, "%d,", i);
    }
    if (!err) {
        assert_memory_equal(np_buf_data(&b), "234567890,1,", 12);
    } else {
        assert_true(np_buf_len(&b) == 0 || *np_buf_data(&b) == '2');
    }
    np_buf_fini(&b);
    return err;
}

static void survives_running_out_of_memory(void **state)
{
    assert_true(np_test_oom(grow_in_every_way, NULL) >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_reads_as_nothing),
        cmocka_unit_test(appends_follow_each_other),
        cmocka_unit_test(printf_may_be_longer_than_the_block),
        cmocka_unit_test(consuming_all_starts_over_at_the_front),
        cmocka_unit_test(reserve_gives_room_behind_what_stands_there),
        cmocka_unit_test(a_sliding_window_stays_in_its_block),
        cmocka_unit_test(a_size_that_overflows_is_out_of_memory),
        cmocka_unit_test(shrink_gives_back_a_large_empty_block),
        cmocka_unit_test(agrees_with_a_plain_array),
        cmocka_unit_test(survives_running_out_of_memory),
    };
    return cmocka_run_group_tests_name("base.buf", tests, NULL, NULL);
}
