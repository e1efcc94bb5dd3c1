/* Files beneath a directory: what is opened and what is not, with openat2 and without it. */
#include "net/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "np_test.h"

struct tree {
    char *top;
    char pub[512];
};

static void path_in(struct tree *t, const char *name, char *out, size_t size)
{
    snprintf(out, size, "%s/%s", t->top, name);
}

static void put(struct tree *t, const char *name, const char *text)
{
    char path[1024];
    path_in(t, name, path, sizeof path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void make_dir(struct tree *t, const char *name)
{
    char path[1024];
    path_in(t, name, path, sizeof path);
    assert_int_equal(mkdir(path, 0755), 0);
}

static void make_link(struct tree *t, const char *to, const char *name)
{
    char path[1024];
    path_in(t, name, path, sizeof path);
    assert_int_equal(symlink(to, path), 0);
}

static int setup(void **state)
{
    struct tree *t = test_calloc(1, sizeof *t);
    char path[1024];
    t->top = np_test_tmpdir();
    make_dir(t, "pub");
    make_dir(t, "pub/sub");
    make_dir(t, "pubx");
    put(t, "secret", "SECRET");
    put(t, "pubx/secret", "SECRET");
    put(t, "pub/a", "0123456789");
    put(t, "pub/sub/b", "b");
    make_link(t, "a", "pub/near");
    make_link(t, "../a", "pub/sub/up");
    make_link(t, "sub", "pub/dir");
    make_link(t, "../secret", "pub/out");
    make_link(t, "..", "pub/parent");
    make_link(t, "/", "pub/root");
    make_link(t, "../pubx", "pub/beside");
    make_link(t, "loop", "pub/loop");
    make_link(t, "nowhere", "pub/dangling");
    path_in(t, "pub/a", path, sizeof path);
    make_link(t, path, "pub/far");
    path_in(t, "secret", path, sizeof path);
    make_link(t, path, "pub/away");
    path_in(t, "pub/fifo", path, sizeof path);
    assert_int_equal(mkfifo(path, 0600), 0);
    make_link(t, "/dev/null", "pub/null");
    path_in(t, "pub", t->pub, sizeof t->pub);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct tree *t = *state;
    np_test_tmpdir_remove(t->top);
    test_free(t);
    return 0;
}

static void opens(struct np_file_root *r, const char *path, enum neap_err want)
{
    struct np_file f = {.fd = -1};
    enum neap_err err = np_file_open_beneath(r, path, &f);
    if (err != want)
        fail_msg("%s (links %d%s): %s, wanted %s", path, (int)r->links,
                 r->no_openat2 ? ", without openat2" : "", neap_err_name(err), neap_err_name(want));
    np_file_close(&f);
}

static void escapes_fail(struct np_file_root *r)
{
    static const char *const bad[] = {"..",
                                      "../secret",
                                      "sub/../../secret",
                                      "out",
                                      "away",
                                      "parent",
                                      "parent/secret",
                                      "root/etc/passwd",
                                      "root",
                                      "beside/secret",
                                      "loop",
                                      "loop/x",
                                      "dangling",
                                      "fifo",
                                      "null",
                                      "nothing",
                                      "a/b",
                                      "a/",
                                      "dir/../../secret"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        opens(r, bad[i], NEAP_ENOENT);
    opens(r, "/etc/passwd", NEAP_ENOENT);
}

static void each_way(struct tree *t, enum np_file_links links,
                     void (*check)(struct np_file_root *r, struct tree *t))
{
    for (int without = 0; without < 2; without++) {
        struct np_file_root r;
        assert_ok(np_file_root_open(&r, t->pub, links));
        if (without) r.no_openat2 = true;
        check(&r, t);
        np_file_root_close(&r);
    }
}

static void check_inside(struct np_file_root *r, struct tree *t)
{
    static const char *const good[] = {".", "a", "sub/b", "sub", "near", "sub/up", "dir/b", "far"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        opens(r, good[i], NEAP_OK);
    escapes_fail(r);
}

static void links_that_stay_inside(void **state)
{
    each_way(*state, NP_LINKS_INSIDE, check_inside);
}

static void check_none(struct np_file_root *r, struct tree *t)
{
    static const char *const bad[] = {"near", "sub/up", "dir/b", "dir", "far"};
    opens(r, "a", NEAP_OK);
    opens(r, "sub/b", NEAP_OK);
    opens(r, ".", NEAP_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        opens(r, bad[i], NEAP_ENOENT);
    escapes_fail(r);
}

static void no_links(void **state)
{
    each_way(*state, NP_LINKS_NONE, check_none);
}

static void check_moved(struct np_file_root *r, struct tree *t)
{
    char to[1024];
    path_in(t, "moved", to, sizeof to);
    assert_int_equal(rename(t->pub, to), 0);
    opens(r, "a", NEAP_OK);
    opens(r, "near", NEAP_OK);
    opens(r, "out", NEAP_ENOENT);
    assert_int_equal(rename(to, t->pub), 0);
}

static void a_root_that_is_renamed_stays_the_root(void **state)
{
    each_way(*state, NP_LINKS_INSIDE, check_moved);
}

static void all_links(void **state)
{
    struct tree *t = *state;
    struct np_file_root r;
    assert_ok(np_file_root_open(&r, t->pub, NP_LINKS_ALL));
    opens(&r, "out", NEAP_OK);
    opens(&r, "away", NEAP_OK);
    opens(&r, "fifo", NEAP_ENOENT);
    opens(&r, "null", NEAP_ENOENT);
    np_file_root_close(&r);
}

static void what_it_says_of_a_file(void **state)
{
    struct tree *t = *state;
    struct np_file_root r;
    struct np_file f;
    char path[1024], text[16];
    path_in(t, "pub/a", path, sizeof path);
    struct timeval times[2] = {{1700000000, 5}, {1700000000, 250000}};
    assert_int_equal(utimes(path, times), 0);
    assert_ok(np_file_root_open(&r, t->pub, NP_LINKS_INSIDE));
    assert_ok(np_file_open_beneath(&r, "a", &f));
    assert_false(f.directory);
    assert_int_equal(f.size, 10);
    assert_int_equal(f.mtime, INT64_C(1700000000250000000));
    assert_ok(np_file_read(&f, 2, text, 3));
    assert_memory_equal(text, "234", 3);
    assert_err(np_file_read(&f, 8, text, 3), NEAP_EOF);
    assert_false(np_file_changed(&f));
    put(t, "pub/a", "0123456789+");
    assert_true(np_file_changed(&f));
    np_file_close(&f);
    np_file_close(&f);
    assert_ok(np_file_open_beneath(&r, "sub", &f));
    assert_true(f.directory);
    np_file_close(&f);
    np_file_root_close(&r);
}

static void what_is_no_directory_is_no_root(void **state)
{
    struct tree *t = *state;
    struct np_file_root r;
    char path[1024];
    path_in(t, "secret", path, sizeof path);
    assert_err(np_file_root_open(&r, path, NP_LINKS_INSIDE), NEAP_EINVAL);
    path_in(t, "nothing", path, sizeof path);
    assert_err(np_file_root_open(&r, path, NP_LINKS_INSIDE), NEAP_ENOENT);
}

static void when_no_descriptor_is_left(void **state)
{
    struct tree *t = *state;
    struct np_file_root r;
    struct rlimit was, none;
    assert_ok(np_file_root_open(&r, t->pub, NP_LINKS_INSIDE));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = (struct rlimit){(rlim_t)r.fd + 1, was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int fill[64], n = 0;
    while (n < 64 && (fill[n] = dup(r.fd)) >= 0)
        n++;
    struct np_file f;
    enum neap_err err = np_file_open_beneath(&r, "a", &f);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    while (n > 0)
        close(fill[--n]);
    assert_err(err, NEAP_EMFILE);
    opens(&r, "a", NEAP_OK);
    np_file_root_close(&r);
}

static void names(void **state)
{
    static const struct {
        const char *path;
        size_t n;
        bool ok, ok_with_dots;
    } rows[] = {
        {"", 0, true, true},
        {"a", 1, true, true},
        {"a/b", 3, true, true},
        {"a/", 2, true, true},
        {"a b", 3, true, true},
        {"\xc3\xbc", 2, true, true},
        {"..a", 3, false, true},
        {"a..", 3, true, true},
        {"...", 3, false, true},
        {".a", 2, false, true},
        {"a/.b/c", 6, false, true},
        {".well-known/x", 13, true, true},
        {"a/.well-known", 13, false, true},
        {"/", 1, false, false},
        {"/a", 2, false, false},
        {"a//b", 4, false, false},
        {"a//", 3, false, false},
        {".", 1, false, false},
        {"..", 2, false, false},
        {"a/.", 3, false, false},
        {"a/..", 4, false, false},
        {"../a", 4, false, false},
        {"a/../b", 6, false, false},
        {"a\\b", 3, false, false},
        {"a\0b", 3, false, false},
        {"a\nb", 3, false, false},
        {"a\x7f", 2, false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (np_file_path_ok(rows[i].path, rows[i].n, false) != rows[i].ok ||
            np_file_path_ok(rows[i].path, rows[i].n, true) != rows[i].ok_with_dots)
            fail_msg("\"%s\"", rows[i].path);
    }
    char longest[5000];
    memset(longest, 'a', sizeof longest);
    assert_true(np_file_path_ok(longest, 4095, false));
    assert_false(np_file_path_ok(longest, 4096, false));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(links_that_stay_inside, setup, teardown),
        cmocka_unit_test_setup_teardown(no_links, setup, teardown),
        cmocka_unit_test_setup_teardown(a_root_that_is_renamed_stays_the_root, setup, teardown),
        cmocka_unit_test_setup_teardown(all_links, setup, teardown),
        cmocka_unit_test_setup_teardown(what_it_says_of_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_directory_is_no_root, setup, teardown),
        cmocka_unit_test_setup_teardown(when_no_descriptor_is_left, setup, teardown),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests_name("net.file", tests, NULL, NULL);
}
