/* base/heap: order against a reference, ties, moving, removing, running out of memory. */
#include "np_test.h"

#include <string.h>

#include "base/hash.h"
#include "base/heap.h"

enum { COUNT = 500 };

static struct np_heap_node *pop(struct np_heap *h)
{
    struct np_heap_node *n = np_heap_min(h);
    if (n) np_heap_remove(h, n);
    return n;
}

/* The reference: the least by (key, order of putting) among those that are in. */
struct reference {
    struct np_heap_node nodes[COUNT];
    bool in[COUNT];
    int64_t key[COUNT];
    uint64_t order[COUNT];
    uint64_t next;
};

static size_t reference_min(const struct reference *r)
{
    size_t best = COUNT;
    for (size_t i = 0; i < COUNT; i++) {
        if (!r->in[i]) continue;
        if (best == COUNT || r->key[i] < r->key[best] ||
            (r->key[i] == r->key[best] && r->order[i] < r->order[best])) {
            best = i;
        }
    }
    return best;
}

static void random_step(struct np_heap *h, struct reference *r, struct np_rng *rng)
{
    size_t i = np_rng_below(rng, COUNT);
    switch (np_rng_below(rng, 4)) {
    case 0:
        np_heap_remove(h, &r->nodes[i]);
        r->in[i] = false;
        break;
    case 1:
        i = reference_min(r);
        if (i == COUNT) {
            assert_null(pop(h));
        } else {
            assert_ptr_equal(pop(h), &r->nodes[i]);
            r->in[i] = false;
        }
        break;
    default: /* puts it, or moves it when it is in */
        r->key[i] = (int64_t)np_rng_below(rng, 100) - 50;
        assert_ok(np_heap_put(h, &r->nodes[i], r->key[i]));
        r->in[i] = true;
        r->order[i] = r->next++;
    }
}

static void agrees_with_a_reference(void **state)
{
    static struct reference r;
    memset(&r, 0, sizeof r);
    struct np_heap h;
    struct np_rng rng;
    np_heap_init(&h);
    np_rng_init(&rng, 42);
    for (int step = 0; step < 20000; step++) {
        random_step(&h, &r, &rng);
        size_t min = reference_min(&r);
        assert_ptr_equal(np_heap_min(&h), min == COUNT ? NULL : &r.nodes[min]);
    }
    while (np_heap_min(&h)) {
        size_t min = reference_min(&r);
        assert_ptr_equal(pop(&h), &r.nodes[min]);
        r.in[min] = false;
    }
    assert_int_equal(reference_min(&r), COUNT);
    np_heap_fini(&h);
}

static void equal_keys_come_out_in_order_of_putting(void **state)
{
    struct np_heap h;
    struct np_heap_node nodes[50] = {0};
    np_heap_init(&h);
    for (int i = 0; i < 50; i++) {
        assert_ok(np_heap_put(&h, &nodes[i], 7));
    }
    for (int i = 0; i < 50; i++) {
        assert_ptr_equal(pop(&h), &nodes[i]);
        assert_int_equal(nodes[i].index, 0);
    }
    np_heap_fini(&h);
}

static void removing_what_is_not_in_does_nothing(void **state)
{
    struct np_heap h;
    struct np_heap_node n = {0};
    np_heap_init(&h);
    np_heap_remove(&h, &n);
    assert_ok(np_heap_put(&h, &n, 1));
    np_heap_remove(&h, &n);
    np_heap_remove(&h, &n);
    assert_null(np_heap_min(&h));
    np_heap_fini(&h);
}

static enum neap_err fill_and_move(void *arg)
{
    struct np_heap h;
    struct np_heap_node nodes[100] = {0};
    enum neap_err err = NEAP_OK;
    size_t n = 0;
    np_heap_init(&h);
    while (!err && n < 100) {
        err = np_heap_put(&h, &nodes[n], -(int64_t)n);
        if (!err) n++;
    }
    assert_int_equal(h.len, n);
    /* Moving what is in cannot fail, whatever the allocator says. */
    for (size_t i = 0; i < n; i++) {
        assert_ok(np_heap_put(&h, &nodes[i], (int64_t)i));
    }
    for (size_t i = 0; i < n; i++) {
        assert_ptr_equal(pop(&h), &nodes[i]);
    }
    np_heap_fini(&h);
    return err;
}

static void survives_running_out_of_memory(void **state)
{
    assert_true(np_test_oom(fill_and_move, NULL) >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_reference),
        cmocka_unit_test(equal_keys_come_out_in_order_of_putting),
        cmocka_unit_test(removing_what_is_not_in_does_nothing),
        cmocka_unit_test(survives_running_out_of_memory),
    };
    return cmocka_run_group_tests_name("base.heap", tests, NULL, NULL);
}
