/* base/alloc: sizes, overflow, the countdown to failure and the count of live blocks. */
#include "np_test.h"

#include <string.h>

static void a_size_of_zero_gives_a_block(void **state)
{
    void *a = np_alloc(0);
    void *b = np_alloc(0);
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    np_free(a);
    np_free(b);
    void *c = np_calloc(0, 8);
    assert_non_null(c);
    c = np_realloc(c, 0);
    assert_non_null(c);
    np_free(c);
    np_free(NULL);
}

static void calloc_refuses_a_product_that_overflows(void **state)
{
    volatile size_t half = SIZE_MAX / 2;
    int64_t live = np_alloc_live();
    assert_null(np_calloc(half, 3));
    assert_no_leak(live);
}

static void strings_are_copied_with_their_nul(void **state)
{
    char *s = np_strndup("abcdef", 3);
    assert_string_equal(s, "abc");
    np_free(s);
    s = np_strndup("a\0b", 3);
    assert_memory_equal(s, "a\0b\0", 4);
    np_free(s);
    s = np_strdup("");
    assert_string_equal(s, "");
    np_free(s);
    assert_null(np_strndup("x", SIZE_MAX));
}

static void the_nth_allocation_fails_and_the_rest_succeed(void **state)
{
    int64_t live = np_alloc_live();
    np_alloc_fail_at(2);
    void *a = np_alloc(1);
    assert_non_null(a);
    assert_false(np_alloc_did_fail());
    assert_null(np_calloc(1, 1));
    assert_true(np_alloc_did_fail());
    void *c = np_strdup("x");
    assert_non_null(c);
    assert_int_equal(np_alloc_live(), live + 2);
    np_alloc_fail_at(0);
    assert_false(np_alloc_did_fail());
    np_free(a);
    np_free(c);
    assert_no_leak(live);
}

static void a_failing_realloc_leaves_the_block(void **state)
{
    int64_t live = np_alloc_live();
    char *p = np_strdup("kept");
    np_alloc_fail_at(1);
    assert_null(np_realloc(p, 1000));
    assert_string_equal(p, "kept");
    p = np_realloc(p, 1000);
    assert_string_equal(p, "kept");
    assert_int_equal(np_alloc_live(), live + 1);
    np_free(p);
    assert_no_leak(live);
}

static enum neap_err three_allocations(void *arg)
{
    unsigned *runs = arg;
    ++*runs;
    void *a = np_alloc(1);
    void *b = a ? np_calloc(1, 1) : NULL;
    void *c = b ? np_realloc(NULL, 1) : NULL;
    enum neap_err err = c ? NEAP_OK : NEAP_ENOMEM;
    np_free(c);
    np_free(b);
    np_free(a);
    return err;
}

static void the_oom_helper_fails_each_in_turn(void **state)
{
    unsigned runs = 0;
    assert_int_equal(np_test_oom(three_allocations, &runs), 3);
    assert_int_equal(runs, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_size_of_zero_gives_a_block),
        cmocka_unit_test(calloc_refuses_a_product_that_overflows),
        cmocka_unit_test(strings_are_copied_with_their_nul),
        cmocka_unit_test(the_nth_allocation_fails_and_the_rest_succeed),
        cmocka_unit_test(a_failing_realloc_leaves_the_block),
        cmocka_unit_test(the_oom_helper_fails_each_in_turn),
    };
    return cmocka_run_group_tests_name("base.alloc", tests, NULL, NULL);
}
