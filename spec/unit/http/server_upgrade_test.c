/* Beyond plain answers: 1xx, trailers both ways, upgrades and CONNECT. The site's paths stay; those
 * of its own say what they do below. */
#include "site.h"

struct up {
    struct site site;
    struct end tunnel; /* the server's side of an upgraded connection */
    enum neap_err err; /* of np_http_upgrade */
    const char *protocol;
    bool plain;             /* answers as if nothing but plain answers were known */
    struct np_buf trailers; /* of the request, as text */
};

static const struct np_http_header link_header[] = {{{"Link", 4}, {"</a.css>; rel=preload", 21}}};
static const struct np_http_header sum[] = {{{"X-Sum", 5}, {"42", 2}}};

static void upgrade(struct up *u, struct np_http_exchange *x)
{
    struct np_stream *s = NULL;
    struct np_http_header h = {{"Upgrade", 7}, {u->protocol, strlen(u->protocol)}};
    int status = x->head.method == HTTP_CONNECT ? 200 : 101;
    u->err = np_http_upgrade(x, status, &h, status == 101, &s);
    if (u->err)
        site_text(x, 422, neap_err_name(u->err));
    else {
        end_take(&u->tunnel, s);
        assert_ok(np_stream_read_start(s));
    }
}

static void on_request(struct np_http_exchange *x, void *arg)
{
    struct up *u = arg;
    x->user = u;
    if (u->plain) {
        assert_err(np_http_respond(x, 200, NULL, 0, "hi", 2), NEAP_EINVAL); /* it would tunnel */
        assert_err(np_http_start(x, 204, NULL, 0, 0), NEAP_EINVAL);
        site_text(x, 403, "no");
    } else if (path_is(x, "/up") || x->head.method == HTTP_CONNECT) {
        upgrade(u, x);
    } else if (path_is(x, "/inform")) {
        assert_ok(np_http_inform(x, 103, link_header, 1));
        assert_ok(np_http_inform(x, 103, NULL, 0));
        site_text(x, 200, "informed");
    } else if (path_is(x, "/sum")) {
        assert_ok(np_http_start(x, 200, NULL, 0, x->head.query.n ? 4 : -1));
        assert_ok(np_http_write(x, "body", 4));
        assert_ok(np_http_finish_with(x, sum, 1));
    } else {
        site_request(x, arg);
    }
}

static void on_body_end(struct np_http_exchange *x, enum neap_err err)
{
    struct up *u = x->user;
    for (size_t i = 0; i < x->ntrailers; i++)
        assert_ok(np_buf_printf(&u->trailers, "%.*s=%.*s;", (int)x->trailers[i].name.n,
                                x->trailers[i].name.p, (int)x->trailers[i].value.n,
                                x->trailers[i].value.p));
    site_body_end(x, err);
}

static const struct np_http_server_handler handler = {.on_request = on_request,
                                                      .on_body = site_body,
                                                      .on_body_end = on_body_end,
                                                      .on_drain = site_drain,
                                                      .on_abort = site_abort,
                                                      .on_close = site_closed};

static void open_up(struct fix *f, struct up *u)
{
    memset(u, 0, sizeof *u);
    u->site.f = f;
    u->protocol = "echo/2";
    assert_ok(np_http_server_new(&f->loop, NULL, &handler, u, &u->site.server));
}

static void close_up(struct up *u)
{
    if (u->tunnel.s) end_finish(u->site.f, &u->tunnel);
    site_close(&u->site);
    np_buf_fini(&u->trailers);
}

#define UPGRADE(path) \
    "GET " path " HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x, Echo/2\r\n\r\n"

/* The tunnel's two ends talk. */
static void check_tunnel(struct up *u, struct end *c, const char *first)
{
    struct fix *f = u->site.f;
    size_t n = strlen(first);
    run_until(f, np_buf_len(&u->tunnel.in) >= n);
    assert_string_equal(text_of(&u->tunnel), first);
    send_text(&u->tunnel, "down");
    run_until(f, has(c, "\r\n\r\ndown"));
    send_text(c, "up");
    run_until(f, np_buf_len(&u->tunnel.in) >= n + 2);
    assert_string_equal(text_of(&u->tunnel) + n, "up");
    assert_int_equal(np_http_server_connections(u->site.server), 0);
    assert_ok(np_stream_shutdown(c->s));
    run_until(f, u->tunnel.ended);
}

static void an_upgrade_hands_the_stream_over(void **state)
{
    for (int later = 0; later < 2; later++) {
        struct up u;
        struct end c;
        open_up(*state, &u);
        site_connect(&u.site, &c);
        send_text(&c, GET("/hello"));
        if (later) {
            send_text(&c, UPGRADE("/later") "behind");
            run_until(u.site.f, u.site.nheld);
            upgrade(&u, u.site.held[0]);
        } else {
            send_text(&c, UPGRADE("/up") "behind");
        }
        run_until(u.site.f, u.tunnel.s);
        assert_ok(u.err);
        check_tunnel(&u, &c, "behind");
        const char *answer = strstr(text_of(&c), "helloHTTP/1.1 101 Switching Protocols\r\n");
        assert_non_null(answer);
        assert_non_null(strstr(answer, "\r\nUpgrade: echo/2\r\nConnection: upgrade\r\n\r\n"));
        assert_null(strstr(answer, "Content-Length"));
        end_finish(u.site.f, &c);
        close_up(&u);
    }
}

static void connect_makes_a_tunnel(void **state)
{
    struct up u;
    struct end c;
    open_up(*state, &u);
    site_connect(&u.site, &c);
    send_text(&c, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03 early");
    run_until(u.site.f, u.tunnel.s);
    assert_ok(u.err);
    check_tunnel(&u, &c, "\x16\x03 early");
    assert_int_equal(status_of(&c), 200);
    assert_false(has(&c, "Content-Length"));
    assert_false(has(&c, "Transfer-Encoding"));
    end_finish(u.site.f, &c);
    close_up(&u);
}

static void a_tunnel_outlives_its_server(void **state)
{
    struct up u;
    struct end c;
    open_up(*state, &u);
    site_connect(&u.site, &c);
    send_text(&c, UPGRADE("/up"));
    run_until(u.site.f, u.tunnel.s);
    np_http_server_close(u.site.server, 0);
    run_until(u.site.f, u.site.closed);
    send_text(&c, "still");
    run_until(u.site.f, np_buf_len(&u.tunnel.in) == 5);
    end_finish(u.site.f, &c);
    close_up(&u);
}

static void what_was_not_asked_for_is_not_switched_to(void **state)
{
    static const struct {
        const char *request, *protocol;
        enum neap_err err;
    } cases[] = {
        {GET("/up"), "echo/2", NEAP_ENOTSUP},
        {UPGRADE("/up"), "echo", NEAP_ENOTSUP},
        {UPGRADE("/up"), "x, echo/2", NEAP_ENOTSUP},
        {UPGRADE("/up"), "echo/2\r\nX: y", NEAP_EINVAL},
        {"GET /up HTTP/1.1\r\nHost: a\r\nUpgrade: echo/2\r\n\r\n", "echo/2", NEAP_ENOTSUP},
        {"GET /up HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: echo/2\r\n\r\n", "echo/2",
         NEAP_ENOTSUP},
        {"PUT /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo/2\r\n"
         "Content-Length: 5\r\n\r\nhello",
         "echo/2", NEAP_EBUSY},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct up u;
        struct end c;
        open_up(*state, &u);
        u.protocol = cases[i].protocol;
        site_connect(&u.site, &c);
        send_text(&c, cases[i].request);
        run_until(u.site.f, has(&c, "\r\n\r\nE"));
        assert_int_equal(u.err, cases[i].err);
        assert_int_equal(status_of(&c), 422);
        end_finish(u.site.f, &c);
        close_up(&u);
    }
}

static void a_connect_that_is_not_tunnelled_closes_its_connection(void **state)
{
    struct up u;
    struct end c;
    open_up(*state, &u);
    u.plain = true;
    site_connect(&u.site, &c);
    send_text(&c, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" GET("/hello"));
    run_until(u.site.f, c.ended);
    assert_int_equal(status_of(&c), 403);
    assert_int_equal(count_of(&c, "HTTP/1.1 "), 1); /* the rest may have been the tunnel's */
    assert_true(has(&c, "Connection: close\r\n"));
    end_finish(u.site.f, &c);
    close_up(&u);
}

static void hints_come_before_the_answer(void **state)
{
    struct up u;
    struct end c;
    open_up(*state, &u);
    site_connect(&u.site, &c);
    send_text(&c, GET("/inform"));
    run_until(u.site.f, has(&c, "informed"));
    const char *want = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
                       "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n";
    assert_memory_equal(text_of(&c), want, strlen(want));
    np_buf_clear(&c.in);
    send_text(&c, "GET /inform HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    run_until(u.site.f, has(&c, "informed"));
    assert_int_equal(status_of(&c), 200); /* HTTP/1.0 knows no 1xx */
    end_finish(u.site.f, &c);
    close_up(&u);
}

static void hints_leave_while_the_handler_waits(void **state)
{
    struct up u;
    struct end c;
    struct np_http_header close = {{"Connection", 10}, {"close", 5}};
    open_up(*state, &u);
    site_connect(&u.site, &c);
    send_text(&c, GET("/later"));
    run_until(u.site.f, u.site.nheld);
    struct np_http_exchange *x = u.site.held[0];
    assert_err(np_http_inform(x, 101, NULL, 0), NEAP_EINVAL);
    assert_err(np_http_inform(x, 200, NULL, 0), NEAP_EINVAL);
    assert_err(np_http_inform(x, 103, &close, 1), NEAP_EINVAL);
    assert_ok(np_http_inform(x, 102, NULL, 0));
    run_until(u.site.f, has(&c, "HTTP/1.1 102 Processing\r\n\r\n"));
    assert_ok(np_http_start(x, 200, NULL, 0, -1));
    assert_err(np_http_inform(x, 103, NULL, 0), NEAP_EINVAL);
    np_http_finish(x);
    run_until(u.site.f, has(&c, "0\r\n\r\n"));
    end_finish(u.site.f, &c);
    close_up(&u);
}

static void an_answer_may_end_in_a_trailer(void **state)
{
    struct up u;
    struct end c;
    open_up(*state, &u);
    site_connect(&u.site, &c);
    send_text(&c, GET("/sum"));
    run_until(u.site.f, has(&c, "4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n"));
    np_buf_clear(&c.in);
    send_text(&c, GET("/sum?length")); /* where there is no place for one */
    run_until(u.site.f, has(&c, "\r\n\r\nbody"));
    send_text(&c, "HEAD /sum HTTP/1.1\r\nHost: a\r\n\r\n" GET("/hello"));
    run_until(u.site.f, has(&c, "hello"));
    assert_false(has(&c, "X-Sum"));
    end_finish(u.site.f, &c);
    close_up(&u);
}

static void a_trailer_cannot_frame_or_split(void **state)
{
    static const struct np_http_header bad[] = {
        {{"Content-Length", 14}, {"5", 1}},      {{"Transfer-Encoding", 17}, {"chunked", 7}},
        {{"Set-Cookie", 10}, {"a=b", 3}},        {{"Host", 4}, {"b", 1}},
        {{"X", 1}, {"a\r\n\r\nHTTP/1.1", 12}},   {{"X: y\r\nZ", 7}, {"a", 1}},
        {{"Connection", 10}, {"keep-alive", 10}}};
    struct up u;
    struct end c;
    open_up(*state, &u);
    site_connect(&u.site, &c);
    send_text(&c, GET("/later"));
    run_until(u.site.f, u.site.nheld);
    struct np_http_exchange *x = u.site.held[0];
    assert_err(np_http_finish_with(x, sum, 1), NEAP_EINVAL); /* not begun */
    assert_ok(np_http_start(x, 200, NULL, 0, -1));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_err(np_http_finish_with(x, &bad[i], 1), NEAP_EINVAL);
    assert_ok(np_http_finish_with(x, sum, 1));
    run_until(u.site.f, has(&c, "0\r\nX-Sum: 42\r\n\r\n"));
    end_finish(u.site.f, &c);
    close_up(&u);
}

static void a_request_keeps_its_trailers(void **state)
{
    struct up u;
    struct end c;
    open_up(*state, &u);
    site_connect(&u.site, &c);
    send_text(&c, "PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "2\r\nhi\r\n0\r\nX-Sum: 7\r\nY:z\r\n\r\n" GET("/hello"));
    run_until(u.site.f, has(&c, "hello"));
    assert_true(has(&c, "\r\n\r\nhi"));
    assert_ok(np_buf_append(&u.trailers, "", 1));
    assert_string_equal(np_buf_data(&u.trailers), "X-Sum=7;Y=z;");
    end_finish(u.site.f, &c);
    close_up(&u);
}

static void dial(struct site *t, struct end *e)
{
    memset(e, 0, sizeof *e);
    assert_ok(np_tcp_dial(&t->f->loop, "127.0.0.1", np_http_server_port(t->server), NULL,
                          &end_handler, e, &e->s));
    assert_ok(np_stream_read_start(e->s));
}

static void too_many_connections_say_when_to_come_back(void **state)
{
    struct site t;
    struct end a, b;
    struct np_http_server_options o;
    np_http_server_options_init(&o);
    o.max_connections = 1;
    site_open(*state, &t, &o);
    assert_ok(np_http_server_listen(t.server, "127.0.0.1", 0, NULL, NULL));
    dial(&t, &a);
    send_text(&a, GET("/hello"));
    run_until(t.f, has(&a, "hello"));
    dial(&t, &b);
    run_until(t.f, b.ended);
    assert_int_equal(status_of(&b), 503);
    assert_true(has(&b, "\r\nRetry-After: 1\r\n"));
    end_finish(t.f, &a);
    end_finish(t.f, &b);
    site_close(&t);
}

/* --- without memory: an upgrade in the handler or later, with a byte behind the head */

struct scarce {
    struct np_loop loop;
    struct np_http_server *server;
    struct np_stream *client, *tunnel;
    struct np_http_exchange *held;
    bool later;
    bool heard, failed;
    int open; /* streams that are not closed */
};

static void scarce_read(struct np_stream *s, const char *data, size_t n)
{
    struct scarce *t = s->arg;
    if (s == t->tunnel) t->heard = true;
}

static void scarce_error(struct np_stream *s, enum neap_err err)
{
    ((struct scarce *)s->arg)->failed = true;
}

static void scarce_end(struct np_stream *s)
{
    ((struct scarce *)s->arg)->failed = true;
}

static void scarce_closed(struct np_stream *s)
{
    struct scarce *t = s->arg;
    t->open--;
    if (s == t->client) t->client = NULL;
    if (s == t->tunnel) t->tunnel = NULL;
}

static const struct np_stream_handler scarce_stream = {.on_read = scarce_read,
                                                       .on_end = scarce_end,
                                                       .on_error = scarce_error,
                                                       .on_close = scarce_closed};

static void scarce_upgrade(struct scarce *t, struct np_http_exchange *x)
{
    static const struct np_http_header h = {{"Upgrade", 7}, {"echo/2", 6}};
    struct np_stream *s;
    t->held = NULL;
    if (np_http_upgrade(x, 101, &h, 1, &s)) {
        t->failed = true;
        np_http_abort(x);
        return;
    }
    t->tunnel = s;
    t->open++;
    np_stream_set_handler(s, &scarce_stream, t);
    if (np_stream_read_start(s)) t->failed = true;
}

static void scarce_request(struct np_http_exchange *x, void *arg)
{
    struct scarce *t = arg;
    if (t->later)
        t->held = x;
    else
        scarce_upgrade(t, x);
}

static void scarce_abort(struct np_http_exchange *x, enum neap_err why)
{
    struct scarce *t = np_http_server_arg(x->server);
    t->held = NULL;
    t->failed = true;
}

static void scarce_gone(struct np_http_server *s, void *arg)
{
    ((struct scarce *)arg)->server = NULL;
}

static enum neap_err scarce_open(struct scarce *t)
{
    static const struct np_http_server_handler serve = {
        .on_request = scarce_request, .on_abort = scarce_abort, .on_close = scarce_gone};
    struct np_stream *b;
    enum neap_err err = np_http_server_new(&t->loop, NULL, &serve, t, &t->server);
    if (!err) err = np_pipe_pair(&t->loop, 0, &t->client, &b);
    if (err) return err;
    t->open = 1;
    np_stream_set_handler(t->client, &scarce_stream, t);
    err = np_http_server_adopt(t->server, b);
    if (err) {
        t->open++;
        np_stream_set_handler(b, &scarce_stream, t);
        np_stream_close(b);
        return err;
    }
    return np_stream_write(t->client, UPGRADE("/") "behind", sizeof UPGRADE("/") + 5);
}

static enum neap_err upgrade_once(void *arg)
{
    struct scarce t = {.later = *(bool *)arg};
    enum neap_err err = np_loop_init(&t.loop, NULL, NULL);
    if (err) return err;
    err = scarce_open(&t);
    for (int i = 0; i < 10000 && !err && !t.heard && !t.failed; i++) {
        np_loop_poll(&t.loop);
        if (t.held) scarce_upgrade(&t, t.held);
    }
    if (!err && !t.heard) err = NEAP_ENOMEM;
    if (t.client) np_stream_close(t.client);
    if (t.tunnel) np_stream_close(t.tunnel);
    if (t.server) np_http_server_close(t.server, 0);
    for (int i = 0; i < 10000 && (t.open || t.server || t.loop.handles); i++)
        np_loop_poll(&t.loop);
    assert_int_equal(t.open, 0);
    assert_int_equal(t.loop.handles, 0);
    np_loop_fini(&t.loop, NULL, NULL);
    return err;
}

static void lost_memory_is_survived(void **state)
{
    for (int later = 0; later < 2; later++)
        assert_true(np_test_oom(upgrade_once, &(bool){later}) > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_upgrade_hands_the_stream_over, fix_setup, fix_teardown),
        cmocka_unit_test_setup_teardown(connect_makes_a_tunnel, fix_setup, fix_teardown),
        cmocka_unit_test_setup_teardown(a_tunnel_outlives_its_server, fix_setup, fix_teardown),
        cmocka_unit_test_setup_teardown(what_was_not_asked_for_is_not_switched_to, fix_setup,
                                        fix_teardown),
        cmocka_unit_test_setup_teardown(a_connect_that_is_not_tunnelled_closes_its_connection,
                                        fix_setup, fix_teardown),
        cmocka_unit_test_setup_teardown(hints_come_before_the_answer, fix_setup, fix_teardown),
        cmocka_unit_test_setup_teardown(hints_leave_while_the_handler_waits, fix_setup,
                                        fix_teardown),
        cmocka_unit_test_setup_teardown(an_answer_may_end_in_a_trailer, fix_setup, fix_teardown),
        cmocka_unit_test_setup_teardown(a_trailer_cannot_frame_or_split, fix_setup, fix_teardown),
        cmocka_unit_test_setup_teardown(a_request_keeps_its_trailers, fix_setup, fix_teardown),
        cmocka_unit_test_setup_teardown(too_many_connections_say_when_to_come_back, fix_setup,
                                        fix_teardown),
        cmocka_unit_test(lost_memory_is_survived),
    };
    return cmocka_run_group_tests_name("http.server_upgrade", tests, NULL, NULL);
}
