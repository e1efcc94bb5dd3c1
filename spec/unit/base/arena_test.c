/* base/arena: alignment, reuse, large requests, running out of memory. */
#include "np_test.h"

#include <stdalign.h>
#include <string.h>

#include "base/arena.h"

static void blocks_are_aligned_and_apart(void **state)
{
    struct np_arena a;
    np_arena_init(&a, 0);
    char *last = NULL;
    for (size_t n = 0; n < 200; n++) {
        char *p = np_arena_alloc(&a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % alignof(max_align_t), 0);
        memset(p, (int)n, n);
        if (last && n > 1) assert_int_equal((unsigned char)last[0], n - 1);
        last = p;
    }
    np_arena_fini(&a);
}

static void strings_pack_without_gaps(void **state)
{
    struct np_arena a;
    np_arena_init(&a, 0);
    char *p = np_arena_strndup(&a, "abc", 2);
    char *q = np_arena_strndup(&a, "xyz", 3);
    assert_string_equal(p, "ab");
    assert_string_equal(q, "xyz");
    assert_ptr_equal(q, p + 3);
    assert_string_equal(np_arena_strndup(&a, NULL, 0), "");
    assert_int_equal(a.used, 3 + 4 + 1);
    np_arena_fini(&a);
}

static void a_recycled_arena_allocates_nothing(void **state)
{
    struct np_arena a;
    np_arena_init(&a, 1024);
    assert_non_null(np_arena_alloc(&a, 10));
    int64_t live = np_alloc_live();
    for (int i = 0; i < 50; i++) {
        np_arena_reset(&a);
        assert_int_equal(a.used, 0);
        np_alloc_fail_at(1); /* any allocation now would fail */
        for (int k = 0; k < 10; k++) {
            assert_non_null(np_arena_alloc(&a, 96));
        }
        np_alloc_fail_at(0);
    }
    assert_no_leak(live);
    np_arena_fini(&a);
}

static void reset_keeps_one_chunk_only(void **state)
{
    int64_t live = np_alloc_live();
    struct np_arena a;
    np_arena_init(&a, 512);
    for (int i = 0; i < 100; i++) {
        assert_non_null(np_arena_alloc(&a, 100));
    }
    assert_true(np_alloc_live() > live + 10);
    np_arena_reset(&a);
    assert_int_equal(np_alloc_live(), live + 1);
    np_arena_fini(&a);
    assert_no_leak(live);
    np_arena_reset(&a);
    assert_non_null(np_arena_alloc(&a, 1));
    np_arena_fini(&a);
}

static void a_giant_request_leaves_the_current_chunk_in_use(void **state)
{
    struct np_arena a;
    np_arena_init(&a, 1024);
    char *p = np_arena_strndup(&a, "a", 1);
    char *giant = np_arena_alloc(&a, 100000);
    assert_non_null(giant);
    memset(giant, 'g', 100000);
    char *q = np_arena_strndup(&a, "b", 1);
    assert_ptr_equal(q, p + 2);
    np_arena_fini(&a);
}

static void a_giant_first_chunk_is_not_kept(void **state)
{
    int64_t live = np_alloc_live();
    struct np_arena a;
    np_arena_init(&a, 1024);
    assert_non_null(np_arena_alloc(&a, 100000));
    np_arena_reset(&a);
    assert_no_leak(live);
    assert_non_null(np_arena_alloc(&a, 8));
    np_arena_fini(&a);
}

static void an_impossible_size_is_out_of_memory(void **state)
{
    struct np_arena a;
    np_arena_init(&a, 0);
    assert_null(np_arena_alloc(&a, SIZE_MAX));
    assert_null(np_arena_strndup(&a, "x", SIZE_MAX));
    assert_non_null(np_arena_alloc(&a, 1));
    assert_null(np_arena_alloc(&a, SIZE_MAX - 8));
    np_arena_fini(&a);
}

static enum neap_err fill(void *arg)
{
    struct np_arena a;
    enum neap_err err = NEAP_OK;
    np_arena_init(&a, 256);
    for (int i = 0; !err && i < 20; i++) {
        char *p = np_arena_alloc(&a, i % 5 == 0 ? 500 : 60);
        if (p) {
            memset(p, i, i % 5 == 0 ? 500 : 60);
        } else {
            err = NEAP_ENOMEM;
        }
    }
    np_arena_reset(&a);
    np_arena_fini(&a);
    return err;
}

static void survives_running_out_of_memory(void **state)
{
    assert_true(np_test_oom(fill, NULL) >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_apart),
        cmocka_unit_test(strings_pack_without_gaps),
        cmocka_unit_test(a_recycled_arena_allocates_nothing),
        cmocka_unit_test(reset_keeps_one_chunk_only),
        cmocka_unit_test(a_giant_request_leaves_the_current_chunk_in_use),
        cmocka_unit_test(a_giant_first_chunk_is_not_kept),
        cmocka_unit_test(an_impossible_size_is_out_of_memory),
        cmocka_unit_test(survives_running_out_of_memory),
    };
    return cmocka_run_group_tests_name("base.arena", tests, NULL, NULL);
}
