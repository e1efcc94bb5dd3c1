/* Log files: opened, moved away and opened anew without losing a line. */
#include "base/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "np_test.h"

struct fix {
    char *dir;
    char path[256];
    char old[256];
    int fd;
    struct np_log *log;
};

static void set_up(struct fix *f)
{
    struct neap_errinfo info = {0};
    f->dir = np_test_tmpdir();
    snprintf(f->path, sizeof f->path, "%s/log", f->dir);
    snprintf(f->old, sizeof f->old, "%s/log.1", f->dir);
    assert_ok(np_log_file_open(f->path, (uid_t)-1, (gid_t)-1, &f->fd, &info));
    struct np_log_options o = NP_LOG_OPTIONS_INIT;
    o.fd = f->fd;
    o.flush_seconds = 20;
    assert_ok(np_log_new(&o, &f->log));
}

static void tear_down(struct fix *f)
{
    np_log_free(f->log);
    close(f->fd);
    np_test_tmpdir_remove(f->dir);
}

/* How many whole lines hold `word`; fails for a line that is cut. */
static int lines_with(const char *path, const char *word)
{
    char line[1024];
    int n = 0;
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file)) {
        assert_int_equal(line[0], '{');
        assert_non_null(strstr(line, "}\n"));
        n += strstr(line, word) != NULL;
    }
    fclose(file);
    return n;
}

static void a_line_goes_where_the_file_was_when_it_was_logged(void **state)
{
    struct fix f;
    struct stat st;
    (void)state;
    set_up(&f);
    assert_int_equal(stat(f.path, &st), 0);
    assert_int_equal(st.st_mode & 0137, 0);
    np_logf(f.log, NP_LOG_INFO, "before");
    assert_int_equal(rename(f.path, f.old), 0);
    assert_ok(np_log_reopen(f.log, f.path));
    np_logf(f.log, NP_LOG_INFO, "after");
    np_log_flush(f.log, 20);
    assert_int_equal(lines_with(f.old, "before"), 1);
    assert_int_equal(lines_with(f.old, "after"), 0);
    assert_int_equal(lines_with(f.path, "after"), 1);
    assert_int_equal(lines_with(f.path, "before"), 0);
    tear_down(&f);
}

static void appends_to_what_is_there(void **state)
{
    struct fix f;
    (void)state;
    set_up(&f);
    np_logf(f.log, NP_LOG_INFO, "one");
    assert_ok(np_log_reopen(f.log, f.path));
    np_logf(f.log, NP_LOG_INFO, "two");
    np_log_flush(f.log, 20);
    assert_int_equal(lines_with(f.path, "\"level\""), 2);
    tear_down(&f);
}

static void keeps_the_old_file_when_there_can_be_no_new_one(void **state)
{
    struct fix f;
    char none[300];
    (void)state;
    set_up(&f);
    snprintf(none, sizeof none, "%s/none/log", f.dir);
    assert_ok(np_log_reopen(f.log, none));
    np_logf(f.log, NP_LOG_INFO, "still here");
    np_log_flush(f.log, 20);
    np_log_free(f.log); /* what the writer itself has to say comes later than the flush may */
    f.log = NULL;
    assert_int_equal(lines_with(f.path, "still here"), 1);
    assert_int_equal(lines_with(f.path, "cannot open the log file"), 1);
    tear_down(&f);
}

#define WRITERS 3
#define LINES 400

static void *write_lines(void *arg)
{
    struct np_log *log = arg;
    for (int i = 0; i < LINES; i++)
        np_logf(log, NP_LOG_INFO, "a line that is neither lost nor cut, whatever comes");
    return NULL;
}

static void no_line_is_lost_while_threads_log(void **state)
{
    struct fix f;
    pthread_t threads[WRITERS];
    char moved[300];
    int found = 0;
    (void)state;
    set_up(&f);
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, f.log), 0);
    for (int i = 0; i < 20; i++) {
        snprintf(moved, sizeof moved, "%s/log.%d", f.dir, i);
        assert_int_equal(rename(f.path, moved), 0);
        assert_ok(np_log_reopen(f.log, f.path));
        np_log_flush(f.log, 20);
        np_logf(f.log, NP_LOG_INFO, "so that there is a file to move");
        np_log_flush(f.log, 20);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    np_log_flush(f.log, 20);
    for (int i = 0; i < 20; i++) {
        snprintf(moved, sizeof moved, "%s/log.%d", f.dir, i);
        found += lines_with(moved, "neither lost nor cut");
    }
    found += lines_with(f.path, "neither lost nor cut");
    assert_int_equal(found, WRITERS * LINES);
    tear_down(&f);
}

static void says_what_is_wrong(void **state)
{
    struct neap_errinfo info = {0};
    int fd;
    (void)state;
    assert_err(np_log_file_open("/nonexistent/log", (uid_t)-1, (gid_t)-1, &fd, &info), NEAP_ENOENT);
    assert_non_null(strstr(info.message, "/nonexistent/log"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_goes_where_the_file_was_when_it_was_logged),
        cmocka_unit_test(appends_to_what_is_there),
        cmocka_unit_test(keeps_the_old_file_when_there_can_be_no_new_one),
        cmocka_unit_test(no_line_is_lost_while_threads_log),
        cmocka_unit_test(says_what_is_wrong),
    };
    return cmocka_run_group_tests_name("base.log_file", tests, NULL, NULL);
}
