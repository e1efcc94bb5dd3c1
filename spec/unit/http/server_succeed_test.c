/* A server that takes over from another: what a reload does with connections. No client notices. */
#include "site.h"

#include "http/server_impl.h"
#include "net/share.h"

/* Two servers, the second of which has begun to do the work of the first, which closes. */
struct pair {
    struct site a, b;
};

static void pair_open(struct fix *f, struct pair *p)
{
    site_open(f, &p->a, NULL);
    site_open(f, &p->b, NULL);
}

static void succeed(struct pair *p)
{
    np_http_server_succeed(p->b.server, p->a.server);
    np_http_server_close(p->a.server, 30 * NP_NS_PER_SEC);
}

static void pair_close(struct pair *p)
{
    site_close(&p->a);
    site_close(&p->b);
}

static void ask_hello(struct fix *f, struct end *c, int answers)
{
    send_text(c, GET("/hello"));
    run_until(f, count_of(c, "hello") == answers);
}

static void an_idle_connection_goes_over(void **state)
{
    struct fix *f = *state;
    struct pair p;
    struct end c;
    pair_open(f, &p);
    site_connect(&p.a, &c);
    ask_hello(f, &c, 1);
    succeed(&p);
    run_until(f, p.a.closed); /* it has no connection any more */
    assert_int_equal(np_http_server_connections(p.b.server), 1);
    ask_hello(f, &c, 2);
    assert_int_equal(p.a.requests, 1);
    assert_int_equal(p.b.requests, 1);
    assert_false(has(&c, "close"));
    end_finish(f, &c);
    pair_close(&p);
}

static void one_that_waits_for_its_answer_follows_when_it_has_it(void **state)
{
    struct fix *f = *state;
    struct pair p;
    struct end c;
    pair_open(f, &p);
    site_connect(&p.a, &c);
    send_text(&c, GET("/later"));
    run_until(f, p.a.nheld == 1);
    succeed(&p);
    run_some(f);
    assert_int_equal(p.a.closed, 0);
    site_text(p.a.held[0], 200, "late");
    run_until(f, has(&c, "late") && p.a.closed);
    assert_false(has(&c, "close"));
    ask_hello(f, &c, 1);
    assert_int_equal(p.b.requests, 1);
    assert_int_equal(p.a.aborts + p.b.aborts, 0);
    end_finish(f, &c);
    pair_close(&p);
}

/* Requests that wait behind the one being answered are the successor's. */
static void pipelined_requests_go_over_with_it(void **state)
{
    struct fix *f = *state;
    struct pair p;
    struct end c;
    pair_open(f, &p);
    site_connect(&p.a, &c);
    send_text(&c, GET("/later") GET("/hello") GET("/none") GET("/hello"));
    run_until(f, p.a.nheld == 1);
    succeed(&p);
    site_text(p.a.held[0], 200, "first");
    run_until(f, count_of(&c, "hello") == 2);
    assert_int_equal(p.a.requests, 1);
    assert_int_equal(p.b.requests, 3);
    assert_true(strstr(text_of(&c), "first") < strstr(text_of(&c), "hello"));
    end_finish(f, &c);
    run_until(f, p.a.closed);
    pair_close(&p);
}

static void half_a_head_goes_over(void **state)
{
    struct fix *f = *state;
    struct pair p;
    struct end c;
    pair_open(f, &p);
    site_connect(&p.a, &c);
    ask_hello(f, &c, 1);
    send_text(&c, "GET /hel");
    run_some(f);
    succeed(&p);
    run_until(f, p.a.closed);
    send_text(&c, "lo HTTP/1.1\r\nHost: a\r\n\r\n");
    run_until(f, count_of(&c, "hello") == 2);
    assert_int_equal(p.b.requests, 1);
    end_finish(f, &c);
    pair_close(&p);
}

/* Who has begun to read it reads it to its end. */
static void half_a_body_stays_with_its_reader(void **state)
{
    struct fix *f = *state;
    struct pair p;
    struct end c;
    pair_open(f, &p);
    site_connect(&p.a, &c);
    send_text(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");
    run_until(f, p.a.body_bytes == 5);
    succeed(&p);
    send_text(&c, "67890" GET("/hello"));
    run_until(f, has(&c, "hello"));
    assert_true(has(&c, "1234567890"));
    assert_int_equal(p.a.requests, 1);
    assert_int_equal(p.b.requests, 1);
    end_finish(f, &c);
    run_until(f, p.a.closed);
    pair_close(&p);
}

/* A body nobody wants is thrown away before the connection goes over. */
static void the_rest_of_an_answered_request_is_not_taken_for_the_next(void **state)
{
    struct fix *f = *state;
    struct pair p;
    struct end c;
    pair_open(f, &p);
    site_connect(&p.a, &c);
    send_text(&c, "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");
    run_until(f, has(&c, "ignored"));
    succeed(&p);
    send_text(&c, "67890" GET("/hello"));
    run_until(f, has(&c, "hello"));
    assert_int_equal(p.b.requests, 1);
    end_finish(f, &c);
    run_until(f, p.a.closed);
    pair_close(&p);
}

static void a_streamed_answer_goes_on_to_its_end(void **state)
{
    struct fix *f = *state;
    struct pair p;
    struct end c;
    pair_open(f, &p);
    site_connect(&p.a, &c);
    send_text(&c, GET("/later"));
    run_until(f, p.a.nheld == 1);
    struct np_http_exchange *x = p.a.held[0];
    assert_ok(np_http_start(x, 200, NULL, 0, -1));
    assert_ok(np_http_write(x, "one,", 4));
    succeed(&p);
    run_until(f, has(&c, "one,"));
    assert_ok(np_http_write(x, "two", 3));
    np_http_finish(x);
    run_until(f, has(&c, "0\r\n\r\n") && p.a.closed);
    ask_hello(f, &c, 1);
    assert_int_equal(p.b.requests, 1);
    end_finish(f, &c);
    pair_close(&p);
}

/* Reload upon reload, while one answer takes its time. */
static void a_connection_goes_to_the_last_of_a_row(void **state)
{
    struct fix *f = *state;
    struct pair p;
    struct site last;
    struct end c, d;
    pair_open(f, &p);
    site_open(f, &last, NULL);
    site_connect(&p.a, &c);
    site_connect(&p.a, &d);
    send_text(&c, GET("/later"));
    run_until(f, p.a.nheld == 1);
    succeed(&p);
    ask_hello(f, &d, 1);
    np_http_server_succeed(last.server, p.b.server);
    np_http_server_close(p.b.server, 30 * NP_NS_PER_SEC);
    run_until(f, p.b.closed); /* the one in the middle is gone before the first is done */
    site_text(p.a.held[0], 200, "late");
    run_until(f, p.a.closed);
    ask_hello(f, &c, 1);
    ask_hello(f, &d, 2);
    assert_int_equal(p.b.requests, 1);
    assert_int_equal(last.requests, 2);
    end_finish(f, &c);
    end_finish(f, &d);
    pair_close(&p);
    site_close(&last);
}

/* A successor that has ended and left nobody: as on a stop. */
static void without_a_successor_the_answer_is_the_last(void **state)
{
    struct fix *f = *state;
    struct pair p;
    struct end c;
    pair_open(f, &p);
    site_connect(&p.a, &c);
    send_text(&c, GET("/later"));
    run_until(f, p.a.nheld == 1);
    succeed(&p);
    np_http_server_close(p.b.server, 0);
    run_until(f, p.b.closed);
    site_text(p.a.held[0], 200, "late");
    run_until(f, c.ended);
    assert_true(has(&c, "late"));
    assert_true(has(&c, "Connection: close"));
    end_finish(f, &c);
    run_until(f, p.a.closed);
    pair_close(&p);
}

/* What the successor allows is what holds. */
static void the_limits_are_the_successors(void **state)
{
    struct fix *f = *state;
    struct pair p;
    struct end c;
    struct np_http_server_options o;
    np_http_server_options_init(&o);
    o.limits.max_body = 4;
    o.write_timeout = NP_NS_PER_SEC;
    site_open(f, &p.a, NULL);
    site_open(f, &p.b, &o);
    site_connect(&p.a, &c);
    ask_hello(f, &c, 1);
    succeed(&p);
    send_text(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345");
    run_until(f, c.ended);
    assert_true(has(&c, "HTTP/1.1 413 "));
    end_finish(f, &c);
    run_until(f, p.a.closed);
    pair_close(&p);
}

/* --- as the host does it */

struct user {
    struct site site;
    struct np_share_user *share;
};

static void user_open(struct fix *f, struct np_share *s, struct user *u, bool held)
{
    struct np_listen_options lo = NP_LISTEN_OPTIONS_INIT;
    assert_ok(np_share_user_new(s, &f->loop, 0, held, &u->share));
    site_open(f, &u->site, NULL);
    lo.share = u->share;
    assert_ok(np_http_server_listen(u->site.server, "127.0.0.1", 0, &lo, NULL));
}

static void user_close(struct user *u)
{
    site_close(&u->site);
    np_share_user_free(u->share);
}

static void dial(struct fix *f, struct user *u, struct end *c)
{
    memset(c, 0, sizeof *c);
    assert_ok(np_tcp_dial(&f->loop, "127.0.0.1", np_http_server_port(u->site.server), NULL,
                          &end_handler, c, &c->s));
    assert_ok(np_stream_read_start(c->s));
}

static void a_reload_keeps_every_connection(void **state)
{
    enum { CLIENTS = 8, ROUNDS = 20 };
    struct fix *f = *state;
    struct np_share *s;
    struct end c[CLIENTS];
    static struct user u[ROUNDS + 1];
    assert_ok(np_share_new(1, NP_SHARE_AUTO, &s));
    user_open(f, s, &u[0], false);
    for (int i = 0; i < CLIENTS; i++)
        dial(f, &u[0], &c[i]);
    for (int k = 0; k < ROUNDS; k++) {
        for (int i = 0; i < CLIENTS; i++)
            send_text(&c[i], i % 2 ? GET("/hello") : GET("/pieces"));
        for (int turns = 0; turns < k % 4; turns++) /* the requests are ever elsewhere */
            uv_run(f->loop.uv, UV_RUN_NOWAIT);
        user_open(f, s, &u[k + 1], true);
        np_share_user_activate(u[k + 1].share);
        np_share_user_retire(u[k].share);
        np_http_server_close(u[k].site.server, 30 * NP_NS_PER_SEC);
        for (int i = 0; i < CLIENTS; i++)
            run_until(f, count_of(&c[i], i % 2 ? "hello" : "\r\n0\r\n\r\n") == k + 1);
        run_until(f, u[k].site.closed);
        user_close(&u[k]);
    }
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(c[i].ended + c[i].errors, 0);
        assert_false(has(&c[i], "close"));
        end_finish(f, &c[i]);
    }
    user_close(&u[ROUNDS]);
    np_share_free(s);
}

static void a_server_that_is_not_started_again_says_good_bye(void **state)
{
    struct fix *f = *state;
    struct np_share *s;
    struct np_share_user *next;
    struct user u;
    struct end idle, busy;
    assert_ok(np_share_new(1, NP_SHARE_AUTO, &s));
    user_open(f, s, &u, false);
    dial(f, &u, &idle);
    dial(f, &u, &busy);
    ask_hello(f, &idle, 1);
    send_text(&busy, GET("/later"));
    run_until(f, u.site.nheld == 1);
    assert_ok(np_share_user_new(s, &f->loop, 0, true, &next));
    np_share_user_activate(next);
    np_share_user_retire(u.share);
    np_http_server_close(u.site.server, 2 * NP_NS_PER_MS);
    site_text(u.site.held[0], 200, "late");
    run_until(f, busy.ended && idle.ended);
    assert_true(has(&busy, "Connection: close"));
    end_finish(f, &idle);
    end_finish(f, &busy);
    user_close(&u);
    np_share_user_free(next);
    np_share_free(s);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_idle_connection_goes_over),
        T(one_that_waits_for_its_answer_follows_when_it_has_it),
        T(pipelined_requests_go_over_with_it),
        T(half_a_head_goes_over),
        T(half_a_body_stays_with_its_reader),
        T(the_rest_of_an_answered_request_is_not_taken_for_the_next),
        T(a_streamed_answer_goes_on_to_its_end),
        T(a_connection_goes_to_the_last_of_a_row),
        T(without_a_successor_the_answer_is_the_last),
        T(the_limits_are_the_successors),
        T(a_reload_keeps_every_connection),
        T(a_server_that_is_not_started_again_says_good_bye),
    };
    return cmocka_run_group_tests_name("http.server_succeed", tests, NULL, NULL);
}
