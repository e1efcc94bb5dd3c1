/* Small blocks: none overlaps another, what is in them stays, memory goes back. */
#include "base/slab.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "np_test.h"

enum { MANY = 4000 };

struct block {
    unsigned char *p;
    size_t size;
};

static void fill(struct block *b, unsigned i)
{
    memset(b->p, (int)(i * 31 + 7), b->size);
}

static void check(const struct block *b, unsigned i, size_t n)
{
    for (size_t k = 0; k < n; k++)
        assert_int_equal(b->p[k], (unsigned char)(i * 31 + 7));
}

/* A walk of takes, changes and gives, always the same. */
static void blocks_keep_what_is_in_them(void **state)
{
    static struct block blocks[MANY];
    int64_t live = np_alloc_live();
    struct np_slabs s;
    uint32_t draw = 1;
    np_slabs_init(&s);
    memset(blocks, 0, sizeof blocks);
    for (int turn = 0; turn < 60000; turn++) {
        draw = draw * 1664525 + 1013904223;
        unsigned i = (draw >> 8) % MANY;
        struct block *b = &blocks[i];
        size_t size = 1 + (draw >> 20) % 300;
        size_t old = b->p ? b->size : 0;
        if (b->p && draw % 3 == 0) {
            check(b, i, b->size);
            np_slab_free(&s, b->p, b->size);
            b->p = NULL;
            continue;
        }
        b->p = np_slab_realloc(&s, b->p, old, size);
        assert_non_null(b->p);
        assert_int_equal((uintptr_t)b->p % 16, 0);
        check(b, i, old < size ? old : size);
        b->size = size;
        fill(b, i);
    }
    for (unsigned i = 0; i < MANY; i++) {
        if (!blocks[i].p) continue;
        check(&blocks[i], i, blocks[i].size);
        np_slab_free(&s, blocks[i].p, blocks[i].size);
    }
    np_slabs_fini(&s);
    assert_int_equal(np_alloc_live(), live);
}

static void memory_that_nobody_uses_goes_back(void **state)
{
    static void *p[MANY];
    struct np_slabs s;
    np_slabs_init(&s);
    for (size_t i = 0; i < MANY; i++)
        assert_non_null(p[i] = np_slab_alloc(&s, 200));
    int64_t live = np_alloc_live();
    for (size_t i = 0; i < MANY; i++)
        np_slab_free(&s, p[i], 200);
    assert_true(np_alloc_live() < live / 2);
    np_slabs_fini(&s);
}

/* A state that is closed by force leaves nothing behind; under a sanitizer, which sees each block,
 * there is nothing to be left. */
static void the_end_takes_all(void **state)
{
    int64_t live = np_alloc_live();
    struct np_slabs s;
    np_slabs_init(&s);
    void *p = np_slab_alloc(&s, 24);
    assert_non_null(p);
    np_slab_free(&s, p, 24);
    np_slabs_fini(&s);
    np_slab_free(&s, NULL, 0);
    assert_int_equal(np_alloc_live(), live);
}

static void lost_memory_leaves_the_block(void **state)
{
    struct np_slabs s;
    np_slabs_init(&s);
    unsigned char *p = np_slab_alloc(&s, 16);
    assert_non_null(p);
    p[0] = 42;
    np_alloc_fail_at(1);
    assert_null(np_slab_realloc(&s, p, 16, 250));
    np_alloc_fail_at(0);
    assert_int_equal(p[0], 42);
    np_slab_free(&s, p, 16);
    np_alloc_fail_at(1);
    assert_null(np_slab_alloc(&s, 100));
    np_alloc_fail_at(0);
    np_slabs_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_keep_what_is_in_them),
        cmocka_unit_test(memory_that_nobody_uses_goes_back),
        cmocka_unit_test(the_end_takes_all),
        cmocka_unit_test(lost_memory_leaves_the_block),
    };
    return cmocka_run_group_tests_name("base.slab", tests, NULL, NULL);
}
