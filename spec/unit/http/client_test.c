/* The client against our own server: calls, reuse, the pool's limits, streaming both ways. */
#include "client_rig.h"

struct pair {
    struct site t;
    struct np_http_client *c;
    int port;
};

static void pair_open(struct fix *f, struct pair *p, const struct np_http_client_options *o)
{
    site_open(f, &p->t, NULL);
    assert_ok(np_http_server_listen(p->t.server, "127.0.0.1", 0, NULL, NULL));
    p->port = np_http_server_port(p->t.server);
    assert_ok(np_http_client_new(&f->loop, o, &p->c));
}

static void pair_close(struct pair *p)
{
    np_http_client_close(p->c);
    site_close(&p->t);
}

static struct np_http_client_stats stats(struct pair *p)
{
    struct np_http_client_stats s;
    np_http_client_get_stats(p->c, &s);
    return s;
}

static void calls_reuse_a_connection(void **state)
{
    struct pair p;
    pair_open(*state, &p, NULL);
    struct np_http_request q = get_from(p.port, "/hello?x=1");
    for (int i = 0; i < 5; i++) {
        struct heard r;
        call(*state, p.c, &r, &q);
        run_until(p.t.f, r.ends);
        assert_ok(r.err);
        assert_int_equal(r.status, 200);
        assert_int_equal(r.heads, 1);
        assert_string_equal(heard_text(&r), "hello");
        heard_fini(&r);
    }
    assert_int_equal(np_http_server_connections(p.t.server), 1);
    assert_int_equal(stats(&p).calls, 5);
    assert_int_equal(stats(&p).reused, 4);
    assert_int_equal(stats(&p).idle, 1);
    assert_int_equal(stats(&p).open, 1);
    pair_close(&p);
}

static void a_call_made_in_on_end_reuses_too(void **state)
{
    struct pair p;
    struct heard a, b;
    pair_open(*state, &p, NULL);
    struct np_http_request q = get_from(p.port, "/hello");
    call(*state, p.c, &a, &q);
    a.then = &b;
    a.then_request = &q;
    b.ends = 0;
    run_until(p.t.f, a.ends && b.ends);
    assert_int_equal(stats(&p).reused, 1);
    heard_fini(&a);
    heard_fini(&b);
    pair_close(&p);
}

static void methods_and_bodies(void **state)
{
    static const struct {
        const char *method, *target, *body;
        int status;
        const char *want;
    } cases[] = {
        {"POST", "/echo", "hello", 200, "hello"},
        {"PUT", "/echo", "", 200, ""},
        {"HEAD", "/hello", NULL, 200, ""},
        {"DELETE", "/none", NULL, 204, ""},
        {"GET", "/pieces", NULL, 200, "onetwothree"},
        {"PATCH", "/count", "four", 200, "4"},
    };
    struct pair p;
    pair_open(*state, &p, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct heard r;
        struct np_http_request q = get_from(p.port, cases[i].target);
        q.method = cases[i].method;
        q.body = cases[i].body;
        q.body_len = q.body ? strlen(q.body) : 0;
        call(*state, p.c, &r, &q);
        run_until(p.t.f, r.ends);
        assert_ok(r.err);
        assert_int_equal(r.status, cases[i].status);
        assert_string_equal(heard_text(&r), cases[i].want);
        heard_fini(&r);
    }
    assert_int_equal(stats(&p).reused, 5);
    pair_close(&p);
}

static void calls_over_a_unix_socket(void **state)
{
    struct pair p;
    struct heard r;
    char path[256];
    char *dir = np_test_tmpdir();
    snprintf(path, sizeof path, "%s/s", dir);
    pair_open(*state, &p, NULL);
    assert_ok(np_http_server_listen_unix(p.t.server, path, NULL, NULL));
    struct np_http_request q = get_from(0, "/hello");
    q.unix_path = path;
    call(*state, p.c, &r, &q);
    run_until(p.t.f, r.ends);
    assert_string_equal(heard_text(&r), "hello");
    heard_fini(&r);
    pair_close(&p);
    np_test_tmpdir_remove(dir);
}

static void concurrent_calls_open_connections_and_keep_some(void **state)
{
    struct pair p;
    struct heard r[6];
    struct np_http_client_options o;
    np_http_client_options_init(&o);
    o.max_idle_per_origin = 2;
    pair_open(*state, &p, &o);
    struct np_http_request q = get_from(p.port, "/later");
    for (int i = 0; i < 6; i++)
        call(*state, p.c, &r[i], &q);
    run_until(p.t.f, p.t.nheld == 6);
    assert_int_equal(stats(&p).open, 6);
    for (int i = 0; i < 6; i++)
        site_text(p.t.held[i], 200, "x");
    for (int i = 0; i < 6; i++) {
        run_until(p.t.f, r[i].ends);
        heard_fini(&r[i]);
    }
    assert_int_equal(stats(&p).open, 2);
    assert_int_equal(stats(&p).idle, 2);
    pair_close(&p);
}

static void calls_wait_in_order_for_a_connection(void **state)
{
    struct pair p;
    struct heard r[4], more;
    struct np_http_client_options o;
    struct neap_errinfo info;
    char targets[4][16];
    np_http_client_options_init(&o);
    o.max_per_origin = 1;
    o.max_waiting = 3;
    pair_open(*state, &p, &o);
    struct np_http_request q = get_from(p.port, "/later");
    for (int i = 0; i < 4; i++) {
        snprintf(targets[i], sizeof targets[i], "/later?%d", i);
        q.target = targets[i];
        call(*state, p.c, &r[i], &q);
    }
    assert_int_equal(stats(&p).waiting, 3);
    assert_err(np_http_client_call(p.c, &q, &heard_handler, &more, &more.call, &info), NEAP_ELIMIT);
    assert_non_null(strstr(info.message, "waiting"));
    np_http_call_cancel(r[2].call);
    run_until(p.t.f, r[2].ends);
    assert_err(r[2].err, NEAP_ECANCELED);
    static const char order[] = {'0', '1', '3'};
    for (size_t i = 0; i < 3; i++) {
        run_until(p.t.f, p.t.nheld == i + 1);
        assert_int_equal(*p.t.held[i]->head.query.p, order[i]);
        assert_int_equal(np_http_server_connections(p.t.server), 1);
        site_text(p.t.held[i], 200, "x");
    }
    run_until(p.t.f, r[3].ends);
    for (int i = 0; i < 4; i++)
        heard_fini(&r[i]);
    assert_int_equal(stats(&p).waiting, 0);
    pair_close(&p);
}

static void idle_connections_time_out_and_keep_no_loop_alive(void **state)
{
    struct pair p;
    struct heard r;
    struct np_http_client_options o;
    np_http_client_options_init(&o);
    o.idle_timeout = 5 * NP_NS_PER_MS;
    pair_open(*state, &p, &o);
    struct np_http_request q = get_from(p.port, "/hello");
    call(*state, p.c, &r, &q);
    run_until(p.t.f, r.ends);
    assert_int_equal(stats(&p).idle, 1);
    run_until(p.t.f, np_http_server_connections(p.t.server) == 0);
    assert_int_equal(stats(&p).open, 0);
    heard_fini(&r);
    call(*state, p.c, &r, &q);
    run_until(p.t.f, r.ends);
    heard_fini(&r);
    pair_close(&p);
}

static void a_streamed_body_with_back_pressure(void **state)
{
    enum { PIECE = 40000, PIECES = 25 };
    static char piece[PIECE];
    for (int chunked = 0; chunked < 2; chunked++) {
        struct pair p;
        struct heard r;
        pair_open(*state, &p, NULL);
        struct np_http_request q = get_from(p.port, "/count");
        q.method = "POST";
        q.stream_body = true;
        q.content_length = chunked ? -1 : PIECE * PIECES;
        call(*state, p.c, &r, &q);
        for (int i = 0; i < PIECES; i++) {
            while (!np_http_call_writable(r.call)) {
                int drains = r.drains;
                run_until(p.t.f, r.drains > drains);
            }
            assert_ok(np_http_call_write(r.call, piece, PIECE));
        }
        if (!chunked) assert_err(np_http_call_write(r.call, "x", 1), NEAP_EINVAL);
        np_http_call_finish(r.call);
        assert_err(np_http_call_write(r.call, "x", 1), NEAP_EINVAL);
        run_until(p.t.f, r.ends);
        assert_ok(r.err);
        assert_string_equal(heard_text(&r), "1000000");
        assert_true(r.drains > 0);
        heard_fini(&r);
        pair_close(&p);
    }
}

static void a_body_written_before_there_is_a_connection(void **state)
{
    struct pair p;
    struct heard a, b;
    struct np_http_client_options o;
    np_http_client_options_init(&o);
    o.max_per_origin = 1;
    pair_open(*state, &p, &o);
    struct np_http_request q = get_from(p.port, "/later");
    call(*state, p.c, &a, &q);
    q = get_from(p.port, "/count");
    q.method = "POST";
    q.stream_body = true;
    call(*state, p.c, &b, &q);
    char piece[1000] = {0};
    int n = 0;
    for (; np_http_call_writable(b.call); n++)
        assert_ok(np_http_call_write(b.call, piece, sizeof piece));
    assert_in_range(n, 50, 100);
    run_until(p.t.f, p.t.nheld == 1);
    assert_int_equal(b.drains, 0);
    site_text(p.t.held[0], 200, "x");
    run_until(p.t.f, b.drains == 1); /* it has the connection now */
    np_http_call_finish(b.call);
    run_until(p.t.f, a.ends && b.ends);
    assert_int_equal(atoi(heard_text(&b)), n * 1000);
    heard_fini(&a);
    heard_fini(&b);
    pair_close(&p);
}

static void a_paused_answer_is_held_back(void **state)
{
    enum { SIZE = 4000000 };
    struct pair p;
    struct heard r;
    char *body = test_calloc(1, SIZE);
    pair_open(*state, &p, NULL);
    struct np_http_request q = get_from(p.port, "/later");
    call(*state, p.c, &r, &q);
    r.count_only = r.pause_at_body = true;
    run_until(p.t.f, p.t.nheld == 1);
    assert_ok(np_http_respond(p.t.held[0], 200, NULL, 0, body, SIZE));
    run_until(p.t.f, r.body_bytes > 0);
    size_t got = r.body_bytes;
    run_some(p.t.f);
    assert_int_equal(r.body_bytes, got);
    assert_true(got <= NP_READ_BUF_SIZE);
    int pauses = 0;
    while (!r.ends) {
        pauses++;
        if (pauses == 20) r.pause_at_body = false;
        np_http_call_pause(r.call, false);
        got = r.body_bytes;
        run_until(p.t.f, r.body_bytes > got || r.ends);
        if (!r.pause_at_body) run_until(p.t.f, r.ends);
    }
    assert_ok(r.err);
    assert_int_equal(r.body_bytes, SIZE);
    assert_int_equal(stats(&p).idle, 1); /* and the connection is as good as before */
    test_free(body);
    heard_fini(&r);
    pair_close(&p);
}

static void cancelling(void **state)
{
    struct pair p;
    struct heard r;
    pair_open(*state, &p, NULL);
    struct np_http_request q = get_from(p.port, "/later");
    call(*state, p.c, &r, &q); /* before it is connected */
    np_http_call_cancel(r.call);
    np_http_call_cancel(r.call);
    assert_int_equal(r.ends, 0);
    run_until(p.t.f, r.ends);
    assert_err(r.err, NEAP_ECANCELED);
    heard_fini(&r);
    call(*state, p.c, &r, &q); /* while it waits for the answer */
    run_until(p.t.f, p.t.nheld == 1);
    np_http_call_cancel(r.call);
    run_until(p.t.f, r.ends && p.t.aborts == 1);
    assert_err(r.err, NEAP_ECANCELED);
    heard_fini(&r);
    q = get_from(p.port, "/hello"); /* in the middle of the answer */
    call(*state, p.c, &r, &q);
    r.cancel_at_head = true;
    run_until(p.t.f, r.ends);
    assert_err(r.err, NEAP_ECANCELED);
    assert_int_equal(r.body_bytes, 0);
    heard_fini(&r);
    assert_int_equal(stats(&p).open, 0);
    pair_close(&p);
}

static void closing_the_client_ends_its_calls(void **state)
{
    struct pair p;
    struct heard r[3];
    struct np_http_client_options o;
    np_http_client_options_init(&o);
    o.max_per_origin = 2;
    pair_open(*state, &p, &o);
    struct np_http_request q = get_from(p.port, "/later");
    for (int i = 0; i < 3; i++)
        call(*state, p.c, &r[i], &q);
    run_until(p.t.f, p.t.nheld == 2);
    np_http_client_close(p.c);
    assert_int_equal(r[0].ends, 0);
    for (int i = 0; i < 3; i++) {
        run_until(p.t.f, r[i].ends);
        assert_err(r[i].err, NEAP_ECLOSED);
        heard_fini(&r[i]);
    }
    site_close(&p.t);
}

static void what_is_no_request(void **state)
{
    static const struct np_http_header bad[] = {
        {{"Content-Length", 14}, {"5", 1}},
        {{"Transfer-Encoding", 17}, {"chunked", 7}},
        {{"Connection", 10}, {"upgrade", 7}},
        {{"X", 1}, {"a\nb", 3}},
        {{"X:", 2}, {"a", 1}},
    };
    struct pair p;
    struct heard r;
    struct neap_errinfo info;
    pair_open(*state, &p, NULL);
    struct np_http_request good = get_from(p.port, "/hello"), q;
#define REFUSED(code)                                                                         \
    do {                                                                                      \
        info.message[0] = 0;                                                                  \
        assert_err(np_http_client_call(p.c, &q, &heard_handler, &r, &r.call, &info), (code)); \
        assert_true(info.message[0] != 0);                                                    \
    } while (0)
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        q = good;
        q.headers = &bad[i];
        q.nheaders = 1;
        REFUSED(NEAP_EINVAL);
    }
    q = good, q.target = "/a b";
    REFUSED(NEAP_EINVAL);
    q = good, q.target = "";
    REFUSED(NEAP_EINVAL);
    q = good, q.method = "G ET";
    REFUSED(NEAP_EINVAL);
    q = good, q.host = "a\r\nb";
    REFUSED(NEAP_EINVAL);
    q = good, q.host = NULL;
    REFUSED(NEAP_EINVAL);
    q = good, q.port = 70000;
    REFUSED(NEAP_EINVAL);
    q = good, q.method = "CONNECT";
    REFUSED(NEAP_ENOTSUP);
    assert_int_equal(stats(&p).calls, 0);
    assert_int_equal(stats(&p).open, 0);
    pair_close(&p);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)
    const struct CMUnitTest tests[] = {
        TEST(calls_reuse_a_connection),
        TEST(a_call_made_in_on_end_reuses_too),
        TEST(methods_and_bodies),
        TEST(calls_over_a_unix_socket),
        TEST(concurrent_calls_open_connections_and_keep_some),
        TEST(calls_wait_in_order_for_a_connection),
        TEST(idle_connections_time_out_and_keep_no_loop_alive),
        TEST(a_streamed_body_with_back_pressure),
        TEST(a_body_written_before_there_is_a_connection),
        TEST(a_paused_answer_is_held_back),
        TEST(cancelling),
        TEST(closing_the_client_ends_its_calls),
        TEST(what_is_no_request),
    };
    return cmocka_run_group_tests_name("http.client", tests, NULL, NULL);
}
