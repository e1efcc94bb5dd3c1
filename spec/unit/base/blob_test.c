/* base/blob: contents and counting. */
#include "np_test.h"

#include <pthread.h>
#include <string.h>

#include "base/blob.h"

static void holds_a_copy_of_its_bytes(void **state)
{
    char bytes[] = "a\0b";
    struct np_blob *b = np_blob_new(bytes, 3);
    assert_non_null(b);
    bytes[0] = 'x';
    assert_int_equal(b->len, 3);
    assert_memory_equal(b->data, "a\0b\0", 4);
    np_blob_unref(b);
}

static void bytes_may_be_left_to_the_caller(void **state)
{
    struct np_blob *b = np_blob_new(NULL, 5);
    assert_non_null(b);
    memcpy(b->data, "hello", 5);
    assert_string_equal(b->data, "hello");
    np_blob_unref(b);

    struct np_blob *empty = np_blob_new(NULL, 0);
    assert_non_null(empty);
    assert_string_equal(empty->data, "");
    np_blob_unref(empty);
    np_blob_unref(NULL);
}

static void an_impossible_size_is_out_of_memory(void **state)
{
    assert_null(np_blob_new(NULL, SIZE_MAX));
    assert_null(np_blob_new(NULL, SIZE_MAX - sizeof(struct np_blob)));
}

static void the_last_reference_frees(void **state)
{
    int64_t live = np_alloc_live();
    struct np_blob *b = np_blob_new("x", 1);
    assert_ptr_equal(np_blob_ref(b), b);
    np_blob_unref(b);
    assert_string_equal(b->data, "x");
    np_blob_unref(b);
    assert_no_leak(live);
}

static void *ref_and_unref(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        np_blob_unref(np_blob_ref(arg));
    }
    np_blob_unref(arg);
    return NULL;
}

static void threads_may_share_it(void **state)
{
    int64_t live = np_alloc_live();
    struct np_blob *b = np_blob_new("shared", 6);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, np_blob_ref(b)), 0);
    }
    np_blob_unref(b);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_no_leak(live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_a_copy_of_its_bytes),
        cmocka_unit_test(bytes_may_be_left_to_the_caller),
        cmocka_unit_test(an_impossible_size_is_out_of_memory),
        cmocka_unit_test(the_last_reference_frees),
        cmocka_unit_test(threads_may_share_it),
    };
    return cmocka_run_group_tests_name("base.blob", tests, NULL, NULL);
}
