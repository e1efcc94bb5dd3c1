/* base/list: order, removal, splicing. */
#include "np_test.h"

#include "base/list.h"

struct item {
    int n;
    struct np_link link;
};

static void assert_order(struct np_link *head, const int *want, size_t count)
{
    struct np_link *pos;
    size_t i = 0;
    np_list_each (pos, head) {
        assert_true(i < count);
        assert_int_equal(np_container_of(pos, struct item, link)->n, want[i++]);
    }
    assert_int_equal(i, count);
}

static void keeps_order(void **state)
{
    struct np_link head;
    struct item a = {.n = 1}, b = {.n = 2}, c = {.n = 3};
    np_link_init(&head);
    assert_true(np_list_empty(&head));
    np_list_push_back(&head, &b.link);
    np_list_push_back(&head, &c.link);
    np_list_push_front(&head, &a.link);
    assert_order(&head, (int[]){1, 2, 3}, 3);
    assert_ptr_equal(np_list_pop_front(&head), &a.link);
    assert_false(np_link_linked(&a.link));
    assert_order(&head, (int[]){2, 3}, 2);
}

static void removing_twice_does_nothing(void **state)
{
    struct np_link head;
    struct item a = {.n = 1}, b = {.n = 2};
    np_link_init(&head);
    np_list_push_back(&head, &a.link);
    np_list_push_back(&head, &b.link);
    np_list_remove(&a.link);
    np_list_remove(&a.link);
    assert_order(&head, (int[]){2}, 1);
    np_list_remove(&b.link);
    assert_null(np_list_pop_front(&head));
}

static void safe_iteration_allows_removal(void **state)
{
    struct np_link head, *pos, *tmp;
    struct item items[6];
    np_link_init(&head);
    for (int i = 0; i < 6; i++) {
        items[i].n = i;
        np_list_push_back(&head, &items[i].link);
    }
    np_list_each_safe (pos, tmp, &head) {
        if (np_container_of(pos, struct item, link)->n % 2) np_list_remove(pos);
    }
    assert_order(&head, (int[]){0, 2, 4}, 3);
}

static void splice_moves_all_to_the_end(void **state)
{
    struct np_link to, from;
    struct item a = {.n = 1}, b = {.n = 2}, c = {.n = 3};
    np_link_init(&to);
    np_link_init(&from);
    np_list_splice(&to, &from);
    assert_true(np_list_empty(&to));
    np_list_push_back(&to, &a.link);
    np_list_push_back(&from, &b.link);
    np_list_push_back(&from, &c.link);
    np_list_splice(&to, &from);
    assert_true(np_list_empty(&from));
    assert_order(&to, (int[]){1, 2, 3}, 3);
    np_list_splice(&from, &to);
    assert_order(&from, (int[]){1, 2, 3}, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_order),
        cmocka_unit_test(removing_twice_does_nothing),
        cmocka_unit_test(safe_iteration_allows_removal),
        cmocka_unit_test(splice_moves_all_to_the_end),
    };
    return cmocka_run_group_tests_name("base.list", tests, NULL, NULL);
}
