/* Files that grow: whole blocks in their order, one file for one path, a new file after a rotation,
 * a bound on what waits. */
#include "base/append.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "np_test.h"

static char *file_in(const char *dir, const char *name)
{
    static char path[2][300];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
    return path[turn];
}

static char *slurp(const char *path)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char *text = NULL;
    size_t n = 0, cap = 0;
    for (int c; (c = fgetc(f)) != EOF; text[n++] = (char)c)
        if (n + 1 >= cap) text = realloc(text, cap = cap ? cap * 2 : 256);
    fclose(f);
    if (!text) text = malloc(1);
    text[n] = '\0';
    return text;
}

static void assert_file(const char *path, const char *want)
{
    char *text = slurp(path);
    assert_string_equal(text, want);
    free(text);
}

static void put(struct np_append *a, const char *line)
{
    struct np_append_block *b = np_append_block(a, 1000);
    assert_non_null(b);
    b->len = strlen(line);
    memcpy(b->data, line, b->len);
    b->lines = 1;
    np_append_put(a, b);
}

static void lines_come_in_their_order(void **state)
{
    int64_t live = np_alloc_live();
    char *dir = np_test_tmpdir();
    struct np_append_set *set;
    struct np_append *a, *same;
    assert_ok(np_append_set_new(&set));
    assert_ok(np_append_open(set, file_in(dir, "log"), 0, &a, NULL));
    assert_ok(np_append_open(set, file_in(dir, "log"), 0, &same, NULL));
    assert_ptr_equal(a, same);
    put(a, "one\n");
    put(same, "two\n");
    np_append_close(same);
    put(a, "");
    put(a, "three\n");
    assert_true(np_append_flush(a, 10));
    assert_file(file_in(dir, "log"), "one\ntwo\nthree\n");
    np_append_close(a);
    assert_ok(np_append_open(set, file_in(dir, "log"), 0, &a, NULL));
    put(a, "four\n");
    np_append_close(a); /* waits by itself */
    assert_file(file_in(dir, "log"), "one\ntwo\nthree\nfour\n");
    np_append_set_free(set);
    np_test_tmpdir_remove(dir);
    assert_no_leak(live);
}

static void a_rotation_divides_before_and_after(void **state)
{
    char *dir = np_test_tmpdir();
    struct np_append_set *set;
    struct np_append *a, *unused;
    assert_ok(np_append_set_new(&set));
    assert_ok(np_append_open(set, file_in(dir, "log"), 0, &a, NULL));
    assert_ok(np_append_open(set, file_in(dir, "unused"), 0, &unused, NULL));
    for (int i = 0; i < 3; i++) {
        char name[10], line[20];
        for (int k = 0; k < 50; k++)
            put(a, "before\n");
        snprintf(name, sizeof name, "old.%d", i);
        assert_int_equal(rename(file_in(dir, "log"), file_in(dir, name)), 0);
        np_append_set_reopen(set);
        snprintf(line, sizeof line, "after %d\n", i);
        put(a, line);
        assert_true(np_append_flush(a, 10));
        assert_file(file_in(dir, "log"), line);
        char *old = slurp(file_in(dir, name));
        assert_int_equal(strlen(old), 350 + (i ? 8 : 0));
        free(old);
    }
    np_append_close(a);
    np_append_close(unused);
    np_append_set_free(set);
    np_test_tmpdir_remove(dir);
}

static void a_rotation_that_fails_keeps_the_file(void **state)
{
    char *dir = np_test_tmpdir();
    struct np_append_set *set;
    struct np_append *a;
    struct neap_errinfo info = {0};
    assert_ok(np_append_set_new(&set));
    assert_ok(np_append_open(set, file_in(dir, "log"), 0, &a, NULL));
    put(a, "one\n");
    assert_true(np_append_flush(a, 10));
    assert_int_equal(rename(file_in(dir, "log"), file_in(dir, "old")), 0);
    assert_int_equal(mkdir(file_in(dir, "log"), 0700), 0); /* no file will be opened there */
    np_append_set_reopen(set);
    put(a, "two\n");
    assert_true(np_append_flush(a, 10));
    assert_file(file_in(dir, "old"), "one\ntwo\n");
    assert_true(np_append_trouble(a, &info));
    assert_non_null(strstr(info.message, "log"));
    assert_false(np_append_trouble(a, &info));
    np_append_close(a);
    np_append_set_free(set);
    np_test_tmpdir_remove(dir);
}

/* A pipe that nobody reads is a very slow disk. */
static void what_is_too_much_is_dropped_and_counted(void **state)
{
    struct np_append_set *set;
    struct np_append *a;
    int fds[2];
    char line[1001];
    memset(line, 'x', 999);
    line[999] = '\n';
    line[1000] = '\0';
    assert_int_equal(pipe(fds), 0);
    assert_ok(np_append_set_new(&set));
    assert_ok(np_append_open_fd(set, fds[1], 200000, &a));
    for (int i = 0; i < 1000; i++)
        put(a, line);
    uint64_t dropped = np_append_dropped(a);
    assert_true(dropped > 0 && dropped <= 800);
    assert_false(np_append_flush(a, 0));
    /* Somebody reads after all: what was not dropped comes, in whole lines. */
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    size_t got = 0;
    while (got < (1000 - dropped) * 1000) {
        ssize_t n = read(fds[0], line, 1000);
        if (n < 0) assert_int_equal(errno, EAGAIN);
        if (n > 0) got += (size_t)n;
    }
    assert_true(np_append_flush(a, 10));
    assert_int_equal(np_append_dropped(a), dropped);
    np_append_close(a);
    np_append_set_free(set);
    close(fds[0]);
    close(fds[1]);
}

static void closing_does_not_wait_for_a_pipe_that_nobody_reads(void **state)
{
    int64_t live = np_alloc_live();
    struct np_append_set *set;
    struct np_append *a;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_ok(np_append_set_new(&set));
    assert_ok(np_append_open_fd(set, fds[1], 0, &a));
    for (int i = 0; i < 200; i++) {
        struct np_append_block *b = np_append_block(a, 1000);
        memset(b->data, 'x', b->len = 1000);
        b->lines = 1;
        np_append_put(a, b);
    }
    np_append_close(a);
    np_append_set_free(set);
    close(fds[0]);
    close(fds[1]);
    assert_no_leak(live);
}

enum { THREADS = 4, LINES = 500 };

static void *write_many(void *arg)
{
    for (int i = 0; i < LINES; i++)
        put(arg, "0123456789012345678901234567890123456789\n");
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    char *dir = np_test_tmpdir();
    struct np_append_set *set;
    struct np_append *a;
    pthread_t t[THREADS];
    assert_ok(np_append_set_new(&set));
    assert_ok(np_append_open(set, file_in(dir, "log"), 0, &a, NULL));
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, write_many, a), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    np_append_close(a);
    char *text = slurp(file_in(dir, "log"));
    assert_int_equal(strlen(text), THREADS * LINES * 41);
    for (size_t i = 0; i < THREADS * LINES; i++)
        assert_memory_equal(text + i * 41, "0123456789012345678901234567890123456789\n", 41);
    free(text);
    np_append_set_free(set);
    np_test_tmpdir_remove(dir);
}

static void what_cannot_be_opened_says_why(void **state)
{
    struct np_append_set *set;
    struct np_append *a;
    struct neap_errinfo info = {0};
    assert_ok(np_append_set_new(&set));
    assert_err(np_append_open(set, "/nonexistent/log", 0, &a, &info), NEAP_ENOENT);
    assert_non_null(strstr(info.message, "/nonexistent/log"));
    np_append_set_free(set);
}

static enum neap_err open_and_write(void *arg)
{
    struct np_append_set *set = NULL;
    struct np_append *a = NULL;
    enum neap_err err = np_append_set_new(&set);
    if (!err) err = np_append_open(set, arg, 0, &a, NULL);
    struct np_append_block *b = err ? NULL : np_append_block(a, 10);
    if (!err && !b) err = NEAP_ENOMEM;
    if (b) np_append_put(a, b);
    if (a) np_append_close(a);
    np_append_set_free(set);
    return err;
}

static void lost_memory_is_survived(void **state)
{
    char *dir = np_test_tmpdir();
    assert_true(np_test_oom(open_and_write, file_in(dir, "log")) > 0);
    np_test_tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_in_their_order),
        cmocka_unit_test(a_rotation_divides_before_and_after),
        cmocka_unit_test(a_rotation_that_fails_keeps_the_file),
        cmocka_unit_test(what_is_too_much_is_dropped_and_counted),
        cmocka_unit_test(closing_does_not_wait_for_a_pipe_that_nobody_reads),
        cmocka_unit_test(lines_of_several_threads_do_not_mix),
        cmocka_unit_test(what_cannot_be_opened_says_why),
        cmocka_unit_test(lost_memory_is_survived),
    };
    return cmocka_run_group_tests_name("base.append", tests, NULL, NULL);
}
