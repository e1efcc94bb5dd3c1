/* Files that change, in a directory of the test's own. */
#include "host/watch.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utime.h>

#include "net/timer.h"
#include "np_test.h"

struct fix {
    char *dir;
    char a[256], b[256], other[256];
    struct np_loop loop;
    struct np_filewatch *w;
    int changes;
    bool gave_up;
    struct np_timer bound;
    bool free_inside;
};

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void on_change(void *arg)
{
    struct fix *f = arg;
    f->changes++;
    if (f->free_inside) {
        np_filewatch_free(f->w);
        f->w = NULL;
    }
    np_loop_stop(&f->loop);
}

static void on_bound(struct np_timer *t)
{
    struct fix *f = np_container_of(t, struct fix, bound);
    f->gave_up = true;
    np_loop_stop(&f->loop);
}

static void set_up(struct fix *f)
{
    memset(f, 0, sizeof *f);
    f->dir = np_test_tmpdir();
    snprintf(f->a, sizeof f->a, "%s/a.lua", f->dir);
    snprintf(f->b, sizeof f->b, "%s/b.lua", f->dir);
    snprintf(f->other, sizeof f->other, "%s/other", f->dir);
    write_file(f->a, "return 1");
    assert_ok(np_loop_init(&f->loop, NULL, NULL));
    np_timer_init(&f->bound, &f->loop, on_bound);
    assert_ok(np_filewatch_new(&f->loop, on_change, f, &f->w));
    assert_ok(np_filewatch_add(f->w, f->a));
    assert_ok(np_filewatch_add(f->w, f->b)); /* is not there yet */
    assert_ok(np_filewatch_add(f->w, f->a));
}

static void tear_down(struct fix *f)
{
    np_timer_stop(&f->bound);
    np_filewatch_free(f->w);
    np_loop_fini(&f->loop, NULL, NULL);
    np_test_tmpdir_remove(f->dir);
}

/* Runs until a change is told, or for `seconds`; how many were told. */
static int changes_within(struct fix *f, double seconds)
{
    f->changes = 0;
    f->gave_up = false;
    assert_ok(np_timer_start(&f->bound, np_seconds(seconds)));
    np_loop_run(&f->loop);
    np_timer_stop(&f->bound);
    return f->changes;
}

static void tells_of_a_file_that_is_written(void **state)
{
    struct fix f;
    (void)state;
    int64_t live = np_alloc_live();
    set_up(&f);
    write_file(f.a, "return 22");
    assert_int_equal(changes_within(&f, 20), 1);
    write_file(f.a, "return 333");
    assert_int_equal(changes_within(&f, 20), 1);
    tear_down(&f);
    assert_no_leak(live);
}

static void many_writes_are_one_change(void **state)
{
    struct fix f;
    (void)state;
    set_up(&f);
    write_file(f.a, "return 22");
    write_file(f.b, "return 22");
    write_file(f.a, "return 333");
    assert_int_equal(changes_within(&f, 20), 1);
    assert_int_equal(changes_within(&f, 0.3), 0);
    tear_down(&f);
}

static void tells_of_a_file_that_is_renamed_into_its_place(void **state)
{
    struct fix f;
    (void)state;
    set_up(&f);
    write_file(f.other, "return 9");
    assert_int_equal(rename(f.other, f.a), 0);
    assert_int_equal(changes_within(&f, 20), 1);
    tear_down(&f);
}

static void tells_of_a_new_file(void **state)
{
    struct fix f;
    (void)state;
    set_up(&f);
    write_file(f.b, "return 2");
    assert_int_equal(changes_within(&f, 20), 1);
    tear_down(&f);
}

static void a_file_that_goes_and_comes_is_one_change(void **state)
{
    struct fix f;
    (void)state;
    set_up(&f);
    assert_int_equal(unlink(f.a), 0);
    assert_int_equal(changes_within(&f, 0.3), 0);
    write_file(f.a, "");
    assert_int_equal(changes_within(&f, 0.3), 0);
    write_file(f.a, "return 2");
    assert_int_equal(changes_within(&f, 20), 1);
    tear_down(&f);
}

static void says_nothing_of_what_does_not_concern_it(void **state)
{
    struct fix f;
    char text[16];
    (void)state;
    set_up(&f);
    write_file(f.other, "x");
    assert_int_equal(chmod(f.a, 0600), 0);
    FILE *file = fopen(f.a, "r");
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    assert_int_equal(changes_within(&f, 0.3), 0);
    tear_down(&f);
}

static void may_end_in_its_own_call(void **state)
{
    struct fix f;
    (void)state;
    int64_t live = np_alloc_live();
    set_up(&f);
    f.free_inside = true;
    write_file(f.a, "return 22");
    assert_int_equal(changes_within(&f, 20), 1);
    tear_down(&f);
    assert_no_leak(live);
}

static void keeps_no_loop_alive(void **state)
{
    struct fix f;
    (void)state;
    set_up(&f);
    write_file(f.a, "return 22");
    np_loop_run(&f.loop); /* ends at once */
    assert_int_equal(f.changes, 0);
    tear_down(&f);
}

static void says_when_a_directory_is_missing(void **state)
{
    struct fix f;
    (void)state;
    set_up(&f);
    assert_err(np_filewatch_add(f.w, "/nonexistent/x.lua"), NEAP_ENOENT);
    tear_down(&f);
}

static enum neap_err make(void *arg)
{
    struct fix *f = arg;
    struct np_filewatch *w;
    enum neap_err err = np_filewatch_new(&f->loop, on_change, f, &w);
    if (err) return err;
    err = np_filewatch_add(w, f->a);
    np_filewatch_free(w);
    while (np_loop_poll(&f->loop))
        ;
    np_loop_poll(&f->loop);
    return err;
}

static void survives_want_of_memory(void **state)
{
    struct fix f;
    (void)state;
    set_up(&f);
    assert_true(np_test_oom(make, &f) >= 3);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_of_a_file_that_is_written),
        cmocka_unit_test(many_writes_are_one_change),
        cmocka_unit_test(tells_of_a_file_that_is_renamed_into_its_place),
        cmocka_unit_test(tells_of_a_new_file),
        cmocka_unit_test(a_file_that_goes_and_comes_is_one_change),
        cmocka_unit_test(says_nothing_of_what_does_not_concern_it),
        cmocka_unit_test(may_end_in_its_own_call),
        cmocka_unit_test(keeps_no_loop_alive),
        cmocka_unit_test(says_when_a_directory_is_missing),
        cmocka_unit_test(survives_want_of_memory),
    };
    return cmocka_run_group_tests_name("host.watch", tests, NULL, NULL);
}
