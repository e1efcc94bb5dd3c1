/* The server: listeners, too many connections, draining, and lost memory. */
#include "site.h"

static void dial(struct site *t, struct end *c)
{
    memset(c, 0, sizeof *c);
    assert_ok(np_tcp_dial(&t->f->loop, "127.0.0.1", np_http_server_port(t->server), NULL,
                          &end_handler, c, &c->s));
    assert_ok(np_stream_read_start(c->s));
}

static void it_listens_on_tcp_and_unix(void **state)
{
    struct site t;
    struct end c, d;
    char address[NP_ADDR_TEXT_MAX], want[NP_ADDR_TEXT_MAX], path[256];
    char *dir = np_test_tmpdir();
    snprintf(path, sizeof path, "%s/s", dir);
    site_open(*state, &t, NULL);
    np_http_server_address(t.server, address, sizeof address);
    assert_string_equal(address, "");
    assert_ok(np_http_server_listen(t.server, "127.0.0.1", 0, NULL, NULL));
    assert_ok(np_http_server_listen_unix(t.server, path, NULL, NULL));
    snprintf(want, sizeof want, "127.0.0.1:%d", np_http_server_port(t.server));
    np_http_server_address(t.server, address, sizeof address);
    assert_string_equal(address, want);
    struct neap_errinfo info = {0};
    assert_err(
        np_http_server_listen(t.server, "127.0.0.1", np_http_server_port(t.server), NULL, &info),
        NEAP_EADDRINUSE);
    dial(&t, &c);
    memset(&d, 0, sizeof d);
    assert_ok(np_unix_dial(&t.f->loop, path, NULL, &end_handler, &d, &d.s));
    assert_ok(np_stream_read_start(d.s));
    send_text(&c, GET("/hello"));
    send_text(&d, GET("/later"));
    run_until(t.f, has(&c, "hello") && t.nheld == 1);
    np_http_exchange_peer(t.held[0], address, sizeof address);
    assert_memory_equal(address, "unix:", 5);
    site_text(t.held[0], 200, "hello");
    run_until(t.f, has(&d, "hello"));
    end_finish(t.f, &c);
    end_finish(t.f, &d);
    site_close(&t);
    np_test_tmpdir_remove(dir);
}

/* What the loop read it into is overwritten by the next read. */
static void a_request_that_waits_keeps_its_head(void **state)
{
    struct site t;
    struct end c, d;
    site_open(*state, &t, NULL);
    assert_ok(np_http_server_listen(t.server, "127.0.0.1", 0, NULL, NULL));
    dial(&t, &c);
    dial(&t, &d);
    send_text(&c, "GET /later?mine HTTP/1.1\r\nHost: a\r\nX-Mark: one\r\n\r\n");
    run_until(t.f, t.nheld == 1);
    send_text(
        &d, "GET /hello?XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX HTTP/1.1\r\nHost: a\r\n\r\n");
    run_until(t.f, has(&d, "hello"));
    const struct np_http_head *h = &t.held[0]->head;
    assert_memory_equal(h->target.p, "/later?mine", 11);
    assert_memory_equal(h->path.p, "/later", 6);
    assert_memory_equal(h->query.p, "mine", 4);
    assert_memory_equal(h->method_name.p, "GET", 3);
    assert_memory_equal(np_http_header_get(h, "x-mark", 6).p, "one", 3);
    site_text(t.held[0], 200, "x");
    run_until(t.f, status_of(&c) == 200);
    end_finish(t.f, &c);
    end_finish(t.f, &d);
    site_close(&t);
}

static void too_many_connections_are_told_so(void **state)
{
    struct site t;
    struct end c[3];
    struct np_http_server_options o;
    struct np_stream *a, *b;
    np_http_server_options_init(&o);
    o.max_connections = 2;
    site_open(*state, &t, &o);
    assert_ok(np_http_server_listen(t.server, "127.0.0.1", 0, NULL, NULL));
    for (int i = 0; i < 2; i++) {
        dial(&t, &c[i]);
        send_text(&c[i], GET("/hello"));
        run_until(t.f, has(&c[i], "hello"));
    }
    dial(&t, &c[2]);
    run_until(t.f, c[2].ended);
    assert_int_equal(status_of(&c[2]), 503);
    assert_ok(np_pipe_pair(&t.f->loop, 0, &a, &b));
    assert_err(np_http_server_adopt(t.server, b), NEAP_ELIMIT);
    np_stream_close(a);
    np_stream_close(b);
    end_finish(t.f, &c[2]);
    end_finish(t.f, &c[0]);
    run_until(t.f, np_http_server_connections(t.server) == 1);
    dial(&t, &c[2]); /* there is room again */
    send_text(&c[2], GET("/hello"));
    run_until(t.f, has(&c[2], "hello"));
    end_finish(t.f, &c[1]);
    end_finish(t.f, &c[2]);
    site_close(&t);
}

/* A peer that asks on and on is told with an answer, not by a closed connection. */
static void a_graceful_close_lets_who_was_asking_ask_once_more(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    assert_ok(np_http_server_listen(t.server, "127.0.0.1", 0, NULL, NULL));
    dial(&t, &c);
    send_text(&c, GET("/hello"));
    run_until(t.f, has(&c, "hello"));
    np_http_server_close(t.server, 10 * NP_NS_PER_SEC);
    for (int turns = 0; turns < 8; turns++)
        np_loop_poll(&t.f->loop);
    assert_false(c.ended);
    send_text(&c, GET("/hello"));
    run_until(t.f, c.ended);
    assert_int_equal(t.requests, 2);
    assert_true(has(&c, "Connection: close"));
    run_until(t.f, t.closed);
    end_finish(t.f, &c);
    site_close(&t);
}

static void a_graceful_close_answers_what_is_in_flight(void **state)
{
    struct site t;
    struct end idle, busy, half, fresh;
    site_open(*state, &t, NULL);
    assert_ok(np_http_server_listen(t.server, "127.0.0.1", 0, NULL, NULL));
    dial(&t, &idle);
    dial(&t, &busy);
    dial(&t, &half);
    dial(&t, &fresh);
    send_text(&idle, GET("/hello"));
    send_text(&busy, GET("/later"));
    send_text(&half, "GET /hel");
    run_until(t.f, has(&idle, "hello") && t.nheld == 1);
    while (np_http_server_connections(t.server) < 4)
        np_loop_poll(&t.f->loop);
    int port = np_http_server_port(t.server);
    send_text(&fresh, GET("/hello")); /* on its way when the end is asked for */
    np_http_server_close(t.server, 10 * NP_NS_PER_SEC);
    run_until(t.f, idle.ended);
    assert_int_equal(t.closed, 0);
    run_until(t.f, fresh.ended);
    assert_int_equal(status_of(&fresh), 200);
    assert_true(has(&fresh, "Connection: close"));
    struct end late = {0};
    assert_ok(np_tcp_dial(&t.f->loop, "127.0.0.1", port, NULL, &end_handler, &late, &late.s));
    run_until(t.f, late.errors);
    assert_err(late.err, NEAP_ECONNREFUSED);
    send_text(&half, "lo HTTP/1.1\r\nHost: a\r\n\r\n");
    run_until(t.f, half.ended);
    assert_true(has(&half, "Connection: close"));
    site_text(t.held[0], 200, "done");
    run_until(t.f, busy.ended);
    assert_string_equal(body_of(&busy), "done");
    end_finish(t.f, &idle);
    end_finish(t.f, &busy);
    end_finish(t.f, &half);
    end_finish(t.f, &fresh);
    end_finish(t.f, &late);
    run_until(t.f, t.closed);
    assert_int_equal(t.aborts, 0);
    site_close(&t);
}

static void a_streamed_answer_that_began_before_the_close_is_the_last(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, GET("/later"));
    run_until(t.f, t.nheld == 1);
    assert_ok(np_http_start(t.held[0], 200, NULL, 0, 3));
    run_until(t.f, status_of(&c) == 200);
    np_http_server_close(t.server, 10 * NP_NS_PER_SEC);
    run_some(t.f);
    assert_ok(np_http_write(t.held[0], "one", 3));
    np_http_finish(t.held[0]);
    run_until(t.f, c.ended);
    assert_string_equal(body_of(&c), "one");
    end_finish(t.f, &c);
    run_until(t.f, t.closed);
    site_close(&t);
}

static void grace_ends(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, GET("/later"));
    run_until(t.f, t.nheld == 1);
    np_http_server_close(t.server, 5 * NP_NS_PER_MS);
    run_until(t.f, t.closed);
    assert_int_equal(t.aborts, 1);
    assert_err(t.abort_why, NEAP_ECLOSED);
    end_finish(t.f, &c);
    site_close(&t);
}

static void closing_at_once_aborts_from_the_loop(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, GET("/later"));
    run_until(t.f, t.nheld == 1);
    np_http_server_close(t.server, 10 * NP_NS_PER_SEC);
    np_http_server_close(t.server, 0); /* second thoughts */
    np_http_server_close(t.server, 10 * NP_NS_PER_SEC);
    assert_int_equal(t.aborts, 0); /* not from inside */
    run_until(t.f, t.closed);
    assert_int_equal(t.aborts, 1);
    end_finish(t.f, &c);
    site_close(&t);
}

static void closing_at_once_waits_for_nobody_who_lingers(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    run_until(t.f, c.ended); /* and this side stays */
    np_http_server_close(t.server, 0);
    for (int i = 0; i < 20; i++)
        np_loop_poll(&t.f->loop);
    assert_int_equal(t.closed, 1);
    end_finish(t.f, &c);
    site_close(&t);
}

static void a_server_without_anything_closes(void **state)
{
    struct site t;
    site_open(*state, &t, NULL);
    np_http_server_close(t.server, NP_NS_PER_SEC);
    assert_int_equal(t.closed, 0);
    run_until(t.f, t.closed);
    site_close(&t);
}

static void connections_are_recycled(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    uint64_t generation = 0;
    for (int i = 0; i < 5; i++) {
        site_connect(&t, &c);
        send_text(&c, GET("/later"));
        run_until(t.f, t.nheld == (size_t)i + 1);
        assert_true(t.held[i]->generation > generation);
        generation = t.held[i]->generation;
        site_text(t.held[i], 200, "x");
        run_until(t.f, status_of(&c) == 200);
        end_finish(t.f, &c);
        run_until(t.f, np_http_server_connections(t.server) == 0);
    }
    assert_ptr_equal(t.held[0], t.held[4]);
    site_close(&t);
}

/* --- lost memory: handlers that take errors as they come */

static void meek_request(struct np_http_exchange *x, void *arg)
{
    if (path_is(x, "/body"))
        np_http_body_start(x);
    else if (path_is(x, "/pieces") && np_http_start(x, 200, NULL, 0, -1) == NEAP_OK &&
             np_http_write(x, "one", 3) == NEAP_OK)
        np_http_finish(x);
    else if (np_http_respond(x, 200, NULL, 0, "hello", 5))
        np_http_abort(x);
}
static void meek_body(struct np_http_exchange *x, const char *data, size_t n)
{
}
static void meek_body_end(struct np_http_exchange *x, enum neap_err err)
{
    if (!err && np_http_respond(x, 200, NULL, 0, "body", 4)) np_http_abort(x);
}
static void meek_drain(struct np_http_exchange *x)
{
}
static void meek_abort(struct np_http_exchange *x, enum neap_err why)
{
}
static void meek_closed(struct np_http_server *s, void *arg)
{
    *(bool *)arg = true;
}

static void ear_closed(struct np_stream *s)
{
    *(bool *)s->arg = true;
}

/* Serves a few requests on a loop of its own, coping; every path ends with all memory free. */
static enum neap_err serve(void *arg)
{
    static const struct np_http_server_handler handler = {
        meek_request, meek_body, meek_body_end, meek_drain, meek_abort, meek_closed, NULL};
    static const struct np_stream_handler ear = {.on_close = ear_closed};
    static const char text[] =
        GET("/hello") GET("/pieces") "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
                                     "hello" GET("/hel");
    struct np_loop loop;
    struct np_http_server *s = NULL;
    struct np_stream *a = NULL, *b = NULL;
    bool closed = false, a_closed = false;
    enum neap_err err = np_loop_init(&loop, NULL, NULL);
    if (err) return err;
    err = np_http_server_new(&loop, NULL, &handler, &closed, &s);
    if (err) goto fail;
    err = np_pipe_pair(&loop, 0, &a, &b);
    if (err) goto fail;
    np_stream_set_handler(a, &ear, &a_closed);
    err = np_http_server_adopt(s, b);
    if (err) np_stream_close(b);
    if (!err) err = np_stream_read_start(a);
    for (size_t i = 0; !err && i < sizeof text - 1; i += 40) {
        err = np_stream_write(a, text + i, sizeof text - 1 - i < 40 ? sizeof text - 1 - i : 40);
        for (int k = 0; k < 4; k++)
            np_loop_poll(&loop);
    }
    if (err == NEAP_ECLOSED || err == NEAP_EPIPE || err == NEAP_ECONNRESET) err = NEAP_ENOMEM;
fail:
    if (a) np_stream_close(a);
    if (s) np_http_server_close(s, 0);
    for (int k = 0; k < 1000 && ((a && !a_closed) || (s && !closed)); k++)
        np_loop_poll(&loop);
    assert_true((!a || a_closed) && (!s || closed));
    assert_int_equal(loop.handles, 0);
    np_loop_fini(&loop, NULL, NULL);
    return err;
}

static void lost_memory_is_survived(void **state)
{
    assert_true(np_test_oom(serve, NULL) > 10);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)
    const struct CMUnitTest tests[] = {
        TEST(it_listens_on_tcp_and_unix),
        TEST(a_request_that_waits_keeps_its_head),
        TEST(too_many_connections_are_told_so),
        TEST(a_graceful_close_lets_who_was_asking_ask_once_more),
        TEST(a_graceful_close_answers_what_is_in_flight),
        TEST(a_streamed_answer_that_began_before_the_close_is_the_last),
        TEST(grace_ends),
        TEST(closing_at_once_aborts_from_the_loop),
        TEST(closing_at_once_waits_for_nobody_who_lingers),
        TEST(a_server_without_anything_closes),
        TEST(connections_are_recycled),
        cmocka_unit_test(lost_memory_is_survived),
    };
    return cmocka_run_group_tests_name("http.server_life", tests, NULL, NULL);
}
