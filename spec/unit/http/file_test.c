/* Files as answers, over every transport: whole and in parts, to clients that are slow or leave, of
 * files that change on their way, with memory that runs out. */
#include "http/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../net/fixture.h"
#include "http/file_site.h"

enum { BIG = 3 << 20 };

struct shop {
    struct fix *f;
    struct np_http_server *server;
    struct np_file_site site;
    char *dir;
    int closed, failures;
    uint64_t epoch, step; /* as the scheduler's; what each request adds to it */
};

static void shop_request(struct np_http_exchange *x, void *arg)
{
    struct shop *t = arg;
    t->epoch += t->step;
    enum np_site_outcome o =
        np_file_site_serve(&t->site, x, x->head.path.p + 1, x->head.path.n - 1);
    if (o == NP_SITE_ANSWERED) return;
    t->failures++;
    if (np_http_respond(x, 404, NULL, 0, NULL, 0)) np_http_abort(x);
}

/* Whoever answers with a file hears nothing more of it. */
static void not_body(struct np_http_exchange *x, const char *data, size_t n)
{
    fail();
}
static void not_told(struct np_http_exchange *x, enum neap_err err)
{
    fail();
}
static void not_drained(struct np_http_exchange *x)
{
    fail();
}

static void shop_closed(struct np_http_server *s, void *arg)
{
    struct shop *t = arg;
    t->closed++;
    t->server = NULL;
    if (t->f) np_loop_stop(&t->f->loop);
}

static const struct np_http_server_handler shop_handler = {
    shop_request, not_body, not_told, not_drained, not_told, shop_closed, NULL};

static void put(struct shop *t, const char *name, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", t->dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++)
        fputc("abcdefghijklmnopqrstuvwxyz"[i % 26], f);
    fclose(f);
}

static void shop_open(struct fix *f, struct shop *t)
{
    *t = (struct shop){.f = f, .dir = np_test_tmpdir()};
    put(t, "big", BIG);
    put(t, "small", 26);
    put(t, "none", 0);
    assert_ok(np_file_root_open(&t->site.root, t->dir, NP_LINKS_INSIDE));
    t->site.answer.status = 200;
    assert_ok(np_http_server_new(&f->loop, NULL, &shop_handler, t, &t->server));
}

static void shop_close(struct shop *t)
{
    if (t->server) np_http_server_close(t->server, 0);
    if (t->server) run_until(t->f, t->closed);
    np_file_site_fini(&t->site);
    np_test_tmpdir_remove(t->dir);
}

static void connect_to(struct shop *t, int kind, struct end *client)
{
    struct end server;
    join(t->f, kind, client, &server);
    assert_ok(np_http_server_adopt(t->server, server.s));
    assert_ok(np_stream_read_start(client->s));
}

static void ask(struct end *e, const char *path, const char *more)
{
    char text[512];
    int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", path, more);
    assert_ok(np_stream_write(e->s, text, (size_t)n));
}

/* Regular files that are open. */
static int open_files(void)
{
    int n = 0;
    struct stat st;
    for (int fd = 0; fd < 256; fd++)
        n += fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    return n;
}

/* The body of the answer at the front of what came; NULL until all of it is there. */
static const char *whole(struct end *e, size_t *n)
{
    size_t all = np_buf_len(&e->in);
    const char *p = np_buf_data(&e->in);
    const char *end = memmem(p, all, "\r\n\r\n", 4);
    const char *at = end ? memmem(p, (size_t)(end - p), "Content-Length: ", 16) : NULL;
    if (!at) return NULL;
    *n = strtoul(at + 16, NULL, 10);
    return all - (size_t)(end + 4 - p) >= *n ? end + 4 : NULL;
}

static void is_alphabet(const char *p, size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != "abcdefghijklmnopqrstuvwxyz"[(from + i) % 26]) fail_msg("at %zu", from + i);
    }
}

static void files_arrive_whole_over_every_transport(void **state)
{
    int before = open_files();
    for (int kind = 0; kind < KINDS; kind++) {
        struct shop t;
        struct end c;
        size_t n;
        shop_open(*state, &t);
        connect_to(&t, kind, &c);
        for (int i = 0; i < 3; i++) { /* on one connection */
            np_buf_clear(&c.in);
            ask(&c, "/big", "");
            run_until(t.f, whole(&c, &n));
            assert_int_equal(n, BIG);
            is_alphabet(whole(&c, &n), 0, n);
            np_buf_clear(&c.in);
            ask(&c, "/none", "");
            run_until(t.f, whole(&c, &n));
            assert_int_equal(n, 0);
        }
        assert_int_equal(t.failures, 0);
        end_finish(t.f, &c);
        shop_close(&t);
    }
    assert_int_equal(open_files(), before);
}

static void parts_arrive_in_order_over_every_transport(void **state)
{
    for (int kind = 0; kind < KINDS; kind++) {
        struct shop t;
        struct end c;
        size_t n;
        char want[128];
        shop_open(*state, &t);
        connect_to(&t, kind, &c);
        ask(&c, "/big", "Range: bytes=2000000-2999999, 5-5, 26-1000025\r\n");
        run_until(t.f, whole(&c, &n));
        const char *body = whole(&c, &n);
        static const struct np_range parts[] = {{2000000, 2999999}, {5, 5}, {26, 1000025}};
        for (int i = 0; i < 3; i++) {
            snprintf(want, sizeof want, "Content-Range: bytes %d-%d/%d\r\n\r\n",
                     (int)parts[i].first, (int)parts[i].last, BIG);
            const char *at = memmem(body, n, want, strlen(want));
            assert_non_null(at);
            is_alphabet(at + strlen(want), parts[i].first, parts[i].last - parts[i].first + 1);
        }
        end_finish(t.f, &c);
        shop_close(&t);
    }
}

static void pipelined_files_leave_in_order(void **state)
{
    struct shop t;
    struct end c;
    size_t n;
    shop_open(*state, &t);
    connect_to(&t, TCP, &c);
    for (int i = 0; i < 3; i++) {
        ask(&c, "/small", "");
        ask(&c, "/big", "");
    }
    for (int i = 0; i < 6; i++) {
        run_until(t.f, whole(&c, &n));
        const char *body = whole(&c, &n);
        assert_int_equal(n, i % 2 ? BIG : 26);
        is_alphabet(body, 0, n);
        np_buf_consume(&c.in, (size_t)(body + n - np_buf_data(&c.in)));
    }
    end_finish(t.f, &c);
    shop_close(&t);
}

/* Until the server can send no more. */
static void begin_and_do_not_read(struct shop *t, int kind, struct end *c)
{
    connect_to(t, kind, c);
    put(t, "huge", 30 << 20);
    np_stream_read_stop(c->s);
    ask(c, "/huge", "");
    run_some(t->f);
    run_some(t->f);
    assert_int_equal(np_http_server_connections(t->server), 1);
}

static void a_client_that_leaves_costs_nothing(void **state)
{
    static const int kinds[] = {TCP, PIPE};
    int before = open_files();
    for (int i = 0; i < 2; i++) {
        struct shop t;
        struct end c;
        shop_open(*state, &t);
        begin_and_do_not_read(&t, kinds[i], &c);
        end_finish(t.f, &c);
        run_until(t.f, np_http_server_connections(t.server) == 0);
        shop_close(&t);
    }
    assert_int_equal(open_files(), before);
}

static void a_server_that_closes_leaves_nothing(void **state)
{
    int before = open_files();
    struct shop t;
    struct end c;
    shop_open(*state, &t);
    begin_and_do_not_read(&t, TCP, &c);
    shop_close(&t);
    end_finish(*state, &c);
    assert_int_equal(open_files(), before);
}

static void breaks_off(struct fix *f, int kind, bool shrink)
{
    struct shop t;
    struct end c;
    char path[512];
    shop_open(f, &t);
    begin_and_do_not_read(&t, kind, &c);
    snprintf(path, sizeof path, "%s/huge", t.dir);
    if (shrink) {
        assert_int_equal(truncate(path, 100), 0);
    } else { /* as many bytes, written again */
        struct timespec times[2] = {{1, 0}, {1700000000, 0}};
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    }
    assert_ok(np_stream_read_start(c.s));
    run_until(t.f, c.ended || c.errors);
    assert_true(np_buf_len(&c.in) < 30 << 20);
    end_finish(t.f, &c);
    shop_close(&t);
}

static void a_file_that_shrinks_breaks_off(void **state)
{
    breaks_off(*state, TCP, true);
    breaks_off(*state, PIPE, true);
}

static void a_file_that_changes_breaks_off(void **state)
{
    breaks_off(*state, TCP, false);
    breaks_off(*state, PIPE, false);
}

static void size_is(struct shop *t, struct end *c, uint64_t step, size_t want)
{
    size_t n;
    t->step = step;
    np_buf_clear(&c->in);
    ask(c, "/small", "");
    run_until(t->f, whole(c, &n));
    assert_int_equal(n, want);
}

static void requests_that_come_together_share_an_opening(void **state)
{
    int before = open_files();
    struct shop t;
    struct end c;
    size_t n;
    char from[512], to[512];
    shop_open(*state, &t);
    t.site.epoch = &t.epoch;
    connect_to(&t, TCP, &c);
    snprintf(to, sizeof to, "%s/small", t.dir);
    snprintf(from, sizeof from, "%s/new", t.dir);
    size_is(&t, &c, 1, 26);
    put(&t, "new", 52);
    assert_int_equal(rename(from, to), 0);
    size_is(&t, &c, 1, 26); /* with the one before */
    size_is(&t, &c, 1, 26);
    size_is(&t, &c, 2, 52); /* something was in between */
    put(&t, "new", 78);
    assert_int_equal(rename(from, to), 0);
    size_is(&t, &c, 3, 78);
    t.step = 1;
    for (int i = 0; i < 3; i++) { /* larger than what leaves at once */
        np_buf_clear(&c.in);
        ask(&c, "/big", "");
        run_until(t.f, whole(&c, &n));
        is_alphabet(whole(&c, &n), 0, n);
    }
    size_is(&t, &c, 1, 78);
    end_finish(t.f, &c);
    shop_close(&t);
    assert_int_equal(open_files(), before);
}

static void tags(void **state)
{
    char tag[NP_FILE_ETAG_MAX];
    const struct np_bytes none = {NULL, 0}, gzip = {"gzip", 4};
    const int64_t second = INT64_C(1000000000), now = 1700000000 * second;
    struct np_file f = {.size = 255, .mtime = now - 2 * second};
    size_t n = np_file_etag(&f, none, now, tag);
    assert_int_equal(n, 21);
    assert_memory_equal(tag, "\"1797", 5);
    assert_memory_equal(tag + n - 4, "-ff\"", 4);
    n = np_file_etag(&f, gzip, now, tag);
    assert_memory_equal(tag + n - 9, "-ff-gzip\"", 9);
    f.mtime = now - second / 2;
    n = np_file_etag(&f, none, now, tag);
    assert_memory_equal(tag, "W/\"", 3);
    assert_memory_equal(tag + n - 8, "-ff-new\"", 8);
    f.mtime = second;
    assert_int_equal(np_file_etag(&f, none, now, tag), 0);
}

struct taker {
    size_t got;
    bool over, closed;
};

static void taker_read(struct np_stream *s, const char *data, size_t n)
{
    ((struct taker *)s->arg)->got += n;
}
static void taker_end(struct np_stream *s)
{
    ((struct taker *)s->arg)->over = true;
}
static void taker_error(struct np_stream *s, enum neap_err err)
{
    ((struct taker *)s->arg)->over = true;
}
static void taker_close(struct np_stream *s)
{
    ((struct taker *)s->arg)->closed = true;
}
static const struct np_stream_handler taker_handler = {
    .on_read = taker_read, .on_end = taker_end, .on_error = taker_error, .on_close = taker_close};

/* One answer of several parts, over a pipe, in a loop of its own; one allocation fails. */
static enum neap_err serve(void *arg)
{
    static const char text[] = "GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                               "Range: bytes=2000000-2999999, 5-5, 26-1000025\r\n\r\n";
    struct np_loop loop;
    struct shop t = {.site = ((struct shop *)arg)->site};
    struct np_stream *a = NULL, *b = NULL;
    struct taker c = {0};
    enum neap_err err = np_loop_init(&loop, NULL, NULL);
    if (err) return err;
    err = np_http_server_new(&loop, NULL, &shop_handler, &t, &t.server);
    if (!err) err = np_pipe_pair(&loop, 0, &a, &b);
    if (!err) {
        np_stream_set_handler(a, &taker_handler, &c);
        err = np_http_server_adopt(t.server, b);
        if (err) np_stream_close(b);
    }
    if (!err) err = np_stream_read_start(a);
    if (!err) err = np_stream_write(a, text, sizeof text - 1);
    for (int k = 0; !err && k < 10000 && !c.over; k++)
        np_loop_poll(&loop);
    if (err || c.got < 2000000) err = NEAP_ENOMEM;
    if (a) np_stream_close(a);
    if (t.server) np_http_server_close(t.server, 0);
    for (int k = 0; k < 1000 && ((a && !c.closed) || t.server); k++)
        np_loop_poll(&loop);
    np_loop_poll(&loop);
    assert_true((!a || c.closed) && !t.server);
    np_loop_fini(&loop, NULL, NULL);
    return err;
}

static void survives_without_memory(void **state)
{
    struct shop t;
    int before = open_files();
    shop_open(*state, &t);
    assert_true(np_test_oom(serve, &t) > 10);
    shop_close(&t);
    assert_int_equal(open_files(), before);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)
        TEST(files_arrive_whole_over_every_transport),
        TEST(parts_arrive_in_order_over_every_transport),
        TEST(pipelined_files_leave_in_order),
        TEST(a_client_that_leaves_costs_nothing),
        TEST(a_server_that_closes_leaves_nothing),
        TEST(a_file_that_shrinks_breaks_off),
        TEST(a_file_that_changes_breaks_off),
        TEST(requests_that_come_together_share_an_opening),
        TEST(tags),
        TEST(survives_without_memory),
    };
    return cmocka_run_group_tests_name("http.file", tests, NULL, NULL);
}
