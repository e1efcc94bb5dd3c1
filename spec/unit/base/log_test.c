/* base/log: levels, what reaches the descriptor, a full pipe, a closed one, many threads. */
#include "np_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"

struct fixture {
    int fds[2];
    struct np_log *log;
    struct np_buf got;
};

static struct np_log_options options(int fd)
{
    struct np_log_options opts = NP_LOG_OPTIONS_INIT;
    opts.fd = fd;
    opts.flush_seconds = 30;
    return opts;
}

static void open_log(struct fixture *f, size_t ring_bytes)
{
    memset(f, 0, sizeof *f);
    assert_int_equal(pipe(f->fds), 0);
    struct np_log_options opts = options(f->fds[1]);
    opts.ring_bytes = ring_bytes;
    assert_ok(np_log_new(&opts, &f->log));
}

/* Reads what is there; with `to_end` until the end of the stream. */
static void read_pipe(struct fixture *f, bool to_end)
{
    for (;;) {
        struct pollfd pfd = {.fd = f->fds[0], .events = POLLIN};
        if (!to_end && poll(&pfd, 1, 0) == 0) return;
        char *at;
        assert_ok(np_buf_reserve(&f->got, 65536, &at));
        ssize_t n = read(f->fds[0], at, 65535);
        assert_true(n >= 0);
        if (n == 0) return;
        np_buf_added(&f->got, (size_t)n);
    }
}

/* Closes the log and gives all it wrote, as a string. */
static char *close_log(struct fixture *f)
{
    np_log_free(f->log);
    close(f->fds[1]);
    read_pipe(f, true);
    close(f->fds[0]);
    assert_ok(np_buf_append(&f->got, "", 1));
    return (char *)np_buf_data(&f->got);
}

static size_t count_of(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++) {
        n++;
    }
    return n;
}

static void levels_have_names(void **state)
{
    enum np_log_level level;
    for (int i = NP_LOG_TRACE; i <= NP_LOG_OFF; i++) {
        assert_true(np_log_level_parse(np_log_level_name((enum np_log_level)i), &level));
        assert_int_equal(level, i);
    }
    assert_false(np_log_level_parse("INFO", &level));
    assert_false(np_log_level_parse("", &level));
}

static void only_lines_of_the_level_and_above_are_written(void **state)
{
    struct fixture f;
    open_log(&f, 0);
    assert_int_equal(np_log_get_level(f.log), NP_LOG_INFO);
    assert_false(np_log_enabled(f.log, NP_LOG_DEBUG));
    np_logf(f.log, NP_LOG_DEBUG, "unseen");
    np_logf(f.log, NP_LOG_INFO, "seen %d", 1);
    np_log_set_level(f.log, NP_LOG_TRACE);
    np_logf(f.log, NP_LOG_TRACE, "seen %d", 2);
    np_log_set_level(f.log, NP_LOG_OFF);
    np_logf(f.log, NP_LOG_ERROR, "unseen");
    assert_false(np_log_enabled(f.log, NP_LOG_OFF));
    assert_false(np_log_enabled(NULL, NP_LOG_ERROR));
    char *out = close_log(&f);
    assert_non_null(strstr(out, "\"level\":\"info\",\"msg\":\"seen 1\"}\n"));
    assert_non_null(strstr(out, "\"level\":\"trace\",\"msg\":\"seen 2\"}\n"));
    assert_null(strstr(out, "unseen"));
    np_buf_fini(&f.got);
}

static void flush_waits_until_it_is_written(void **state)
{
    struct fixture f;
    open_log(&f, 0);
    np_log_flush(f.log, 30); /* nothing yet, and no thread yet */
    for (int i = 0; i < 10; i++) {
        np_logf(f.log, NP_LOG_INFO, "line %d", i);
        np_log_flush(f.log, 30);
        read_pipe(&f, false);
        assert_ok(np_buf_append(&f.got, "", 1));
        assert_int_equal(count_of(np_buf_data(&f.got), "\n"), 1);
        np_buf_clear(&f.got);
    }
    np_log_flush(NULL, 1);
    close_log(&f);
    np_buf_fini(&f.got);
}

/* Lines written and lines that notices say were dropped. */
static size_t accounted(struct fixture *f)
{
    assert_ok(np_buf_append(&f->got, "", 1));
    f->got.tail--;
    const char *out = np_buf_data(&f->got);
    size_t n = count_of(out, "xxx\",\"n\":");
    for (const char *p = out; (p = strstr(p, "\"dropped\":")); p++) {
        if (strchr(p, '}')) n += (size_t)atol(p + 10);
    }
    return n;
}

/* Fills a pipe that nobody reads: the caller goes on, the rest is dropped and counted, and once
 * somebody reads the count is told, without waiting for another line. */
static void a_full_pipe_drops_lines_and_says_how_many(void **state)
{
    enum { LINES = 20000 };
    struct fixture f;
    char filler[200];
    memset(filler, 'x', sizeof filler);
    open_log(&f, 65536);
    for (int i = 0; i < LINES; i++) {
        struct np_log_field n = {.name = "n", .type = NP_LOG_INT, .as.i = i};
        np_log_write(f.log, NP_LOG_INFO, filler, sizeof filler, &n, 1);
    }
    while (accounted(&f) < LINES) {
        assert_int_equal(poll(&(struct pollfd){.fd = f.fds[0], .events = POLLIN}, 1, 60000), 1);
        read_pipe(&f, false);
    }
    assert_int_equal(accounted(&f), LINES);
    np_logf(f.log, NP_LOG_INFO, "after");
    char *out = close_log(&f);
    assert_non_null(strstr(out, "\"msg\":\"log lines dropped\",\"dropped\":"));
    assert_true(count_of(out, "xxx\",\"n\":") < LINES / 2);
    assert_non_null(strstr(out, "\"msg\":\"after\""));
    np_buf_fini(&f.got);
}

static void freeing_does_not_wait_for_a_stuck_pipe(void **state)
{
    struct fixture f;
    open_log(&f, 65536);
    np_log_free(f.log);
    struct np_log_options opts = options(f.fds[1]);
    opts.flush_seconds = 0;
    assert_ok(np_log_new(&opts, &f.log));
    for (int i = 0; i < 5000; i++) {
        np_logf(f.log, NP_LOG_INFO, "a line that nobody will ever read, number %d", i);
    }
    np_log_flush(f.log, 0.01);
    np_log_free(f.log); /* would hang here for ever: ctest's time limit says so */
    close(f.fds[0]);
    close(f.fds[1]);
}

static void a_closed_pipe_ends_nothing(void **state)
{
    struct fixture f;
    open_log(&f, 0);
    close(f.fds[0]);
    for (int i = 0; i < 100; i++) {
        np_logf(f.log, NP_LOG_INFO, "into the void");
    }
    np_log_flush(f.log, 30);
    np_log_free(f.log);
    close(f.fds[1]);
}

static void a_nonblocking_descriptor_loses_nothing(void **state)
{
    struct fixture f;
    open_log(&f, 1 << 20);
    fcntl(f.fds[1], F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 3000; i++) { /* more than a pipe holds */
        np_logf(f.log, NP_LOG_INFO, "line %d", i);
        if (i % 100 == 0) read_pipe(&f, false);
    }
    for (const char *last = "\"line 2999\"";
         !memmem(np_buf_data(&f.got), np_buf_len(&f.got), last, 11);) {
        poll(&(struct pollfd){.fd = f.fds[0], .events = POLLIN}, 1, 10000);
        read_pipe(&f, false);
    }
    char *out = close_log(&f);
    assert_int_equal(count_of(out, "\n"), 3000);
    np_buf_fini(&f.got);
}

static void a_line_longer_than_the_ring_is_dropped(void **state)
{
    struct fixture f;
    char *huge = malloc(100000);
    memset(huge, 'h', 100000);
    open_log(&f, 4096);
    np_log_write(f.log, NP_LOG_INFO, huge, 100000, NULL, 0);
    np_log_write(f.log, NP_LOG_INFO, huge, 2000, NULL, 0);
    char *out = close_log(&f);
    assert_non_null(strstr(out, "\"dropped\":1}"));
    assert_int_equal(count_of(out, "\n"), 2);
    free(huge);
    np_buf_fini(&f.got);
}

static void *log_much(void *arg)
{
    char text[300];
    memset(text, 'w', sizeof text);
    for (int i = 0; i < 500; i++) {
        struct np_log_field n = {.name = "n", .type = NP_LOG_INT, .as.i = i};
        np_log_write(arg, NP_LOG_WARN, text, (size_t)i % sizeof text, &n, 1);
        np_log_set_level(arg, i % 2 ? NP_LOG_INFO : NP_LOG_DEBUG);
    }
    return NULL;
}

static void threads_never_mix_their_lines(void **state)
{
    pthread_t threads[4];
    FILE *file = tmpfile();
    struct np_log_options opts = options(fileno(file));
    struct np_log *log;
    assert_ok(np_log_new(&opts, &log));
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, log_much, log), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    np_log_free(log);
    rewind(file);
    char line[1024];
    unsigned lines = 0;
    while (fgets(line, sizeof line, file)) {
        assert_memory_equal(line, "{\"time\":\"", 9);
        assert_non_null(strstr(line, ",\"n\":"));
        assert_string_equal(line + strlen(line) - 2, "}\n");
        lines++;
    }
    assert_int_equal(lines, 2000);
    fclose(file);
}

static enum neap_err make_and_use(void *arg)
{
    int *fd = arg;
    struct np_log_options opts = options(*fd);
    struct np_log *log;
    char text[3000] = {0};
    enum neap_err err = np_log_new(&opts, &log);
    if (err) return err;
    np_log_write(log, NP_LOG_INFO, text, sizeof text, NULL, 0); /* needs the heap; may be dropped */
    np_log_free(log);
    return NEAP_OK;
}

static void survives_running_out_of_memory(void **state)
{
    FILE *file = tmpfile();
    int fd = fileno(file);
    assert_true(np_test_oom(make_and_use, &fd) >= 2);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_have_names),
        cmocka_unit_test(only_lines_of_the_level_and_above_are_written),
        cmocka_unit_test(flush_waits_until_it_is_written),
        cmocka_unit_test(a_full_pipe_drops_lines_and_says_how_many),
        cmocka_unit_test(freeing_does_not_wait_for_a_stuck_pipe),
        cmocka_unit_test(a_closed_pipe_ends_nothing),
        cmocka_unit_test(a_nonblocking_descriptor_loses_nothing),
        cmocka_unit_test(a_line_longer_than_the_ring_is_dropped),
        cmocka_unit_test(threads_never_mix_their_lines),
        cmocka_unit_test(survives_running_out_of_memory),
    };
    return cmocka_run_group_tests_name("base.log", tests, NULL, NULL);
}
