/* Forwarding: a gateway between a client and a raw peer, both of which are the test's. */
#include "client_rig.h"
#include "http/forward.h"

struct gate {
    struct site site; /* the gateway's; its handler forwards */
    struct np_http_client *client;
    struct peer peer;
    struct np_http_forward *f; /* the last one, while it lasts */
    struct np_http_forwarded how;
    char why[128];
    int dones;
    bool keep_host;
    const struct np_http_header *changes;
    size_t nchanges;
    int port; /* instead of the peer's */
    int64_t began;
};

static void on_done(void *arg, const struct np_http_forwarded *how)
{
    struct gate *g = arg;
    g->dones++;
    g->how = *how;
    assert_true(how->status ? how->head_took >= 0 : how->head_took == -1);
    assert_true(how->head_took <= np_loop_hrtime() - g->began); /* a span, not a moment */
    g->f = NULL;
    snprintf(g->why, sizeof g->why, "%s", how->why ? how->why : "");
    np_loop_stop(&g->site.f->loop);
    if (how->x) site_text(how->x, 502, "gateway");
}

static void on_request(struct np_http_exchange *x, void *arg)
{
    struct gate *g = arg;
    struct np_http_forward_options o = {.keep_host = g->keep_host};
    o.request.host = "127.0.0.1";
    o.request.port = g->port ? g->port : np_listener_port(g->peer.l);
    o.request.headers = g->changes;
    o.request.nheaders = g->nchanges;
    g->site.requests++;
    g->began = np_loop_hrtime();
    x->user = g;
    np_loop_stop(&g->site.f->loop);
    assert_ok(np_http_forward_start(g->client, x, &o, on_done, g, &g->f, NULL));
}

static void on_abort(struct np_http_exchange *x, enum neap_err why)
{
    struct gate *g = x->user; /* ours again */
    site_abort(x, why);
    assert_int_equal(g->dones, 0);
}

/* What comes of a body after it was given back, and nobody wants. */
static void on_body(struct np_http_exchange *x, const char *data, size_t n)
{
    assert_ptr_equal(((struct gate *)x->user)->f, NULL);
}

static void on_body_end(struct np_http_exchange *x, enum neap_err err)
{
    assert_ptr_equal(((struct gate *)x->user)->f, NULL);
}

static void gate_open(struct fix *f, struct gate *g, struct end *c)
{
    static const struct np_http_server_handler handler = {.on_request = on_request,
                                                          .on_body = on_body,
                                                          .on_body_end = on_body_end,
                                                          .on_abort = on_abort,
                                                          .on_close = site_closed};
    struct np_http_server_options so;
    np_http_server_options_init(&so);
    so.limits.max_body = UINT64_MAX;
    memset(g, 0, sizeof *g);
    g->site.f = f;
    assert_ok(np_http_server_new(&f->loop, &so, &handler, g, &g->site.server));
    assert_ok(np_http_client_new(&f->loop, NULL, &g->client));
    peer_open(f, &g->peer);
    site_connect(&g->site, c);
}

static void gate_close(struct gate *g, struct end *c)
{
    struct fix *f = g->site.f;
    end_finish(f, c);
    np_http_client_close(g->client);
    peer_close(&g->peer);
    site_close(&g->site);
}

/* What the peer has got so far, once `what` is in it. */
static const char *peer_hears(struct gate *g, const char *what)
{
    run_until(g->site.f, g->peer.n > 0);
    run_until(g->site.f, has(&g->peer.c[0], what));
    return text_of(&g->peer.c[0]);
}

static void both_heads_are_made_anew(void **state)
{
    struct gate g;
    struct end c;
    char want[300];
    gate_open(*state, &g, &c);
    send_text(&c,
              "POST http://a/p?q HTTP/1.1\r\nHost: a\r\nConnection: x-hop\r\nX-Hop: 1\r\n"
              "TE: trailers\r\nExpect: 100-continue\r\nContent-Length: 2\r\nX-End: 2\r\n\r\nhi");
    const char *got = peer_hears(&g, "\r\n\r\nhi");
    snprintf(want, sizeof want,
             "POST /p?q HTTP/1.1\r\nX-End: 2\r\nHost: 127.0.0.1:%d\r\nContent-Length: 2\r\n\r\nhi",
             np_listener_port(g.peer.l));
    assert_string_equal(got, want);
    send_text(&g.peer.c[0],
              "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
              "HTTP/1.1 201 Made\r\nConnection: y-hop\r\nY-Hop: 1\r\nKeep-Alive: 5\r\n"
              "Date: then\r\nTransfer-Encoding: chunked\r\n\r\n2;ext\r\nok\r\n0\r\n"
              "X-Sum: 3\r\nContent-Length: 9\r\n\r\n");
    run_until(g.site.f, g.dones);
    run_until(g.site.f, has(&c, "X-Sum"));
    assert_ok(g.how.err);
    assert_string_equal(strstr(text_of(&c), "HTTP/1.1 103"),
                        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                        "HTTP/1.1 201 Created\r\nDate: then\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "2\r\nok\r\n0\r\nX-Sum: 3\r\n\r\n");
    gate_close(&g, &c);
}

static void what_the_owner_changes_is_changed(void **state)
{
    static const struct np_http_header changes[] = {
        {{"X-A", 3}, {"new", 3}}, {{"x-b", 3}, {NULL, 0}}, {{"Via", 3}, {"1.1 g", 5}}};
    struct gate g;
    struct end c;
    gate_open(*state, &g, &c);
    g.keep_host = true;
    g.changes = changes;
    g.nchanges = 3;
    send_text(&c, "GET / HTTP/1.1\r\nHost: a\r\nX-a: old\r\nX-B: old\r\nX-C: c\r\n\r\n");
    assert_string_equal(peer_hears(&g, "\r\n\r\n"),
                        "GET / HTTP/1.1\r\nHost: a\r\nX-C: c\r\nX-A: new\r\nVia: 1.1 g\r\n\r\n");
    gate_close(&g, &c);
}

static void each_side_is_held_back_by_the_other(void **state)
{
    static char piece[300000]; /* more of them than the kernel's buffers hold */
    struct gate g;
    struct end c;
    gate_open(*state, &g, &c);
    send_text(&c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n");
    peer_hears(&g, "\r\n\r\n");
    g.peer.c[0].count_only = c.count_only = true;
    np_stream_read_stop(g.peer.c[0].s);
    for (int i = 0; i < 100; i++)
        assert_ok(np_stream_write(c.s, piece, sizeof piece));
    for (int i = 0; i < 200; i++)
        run_some(g.site.f);
    assert_true(np_stream_queued(c.s) > 10000000); /* the rest waits at its source */
    assert_ok(np_stream_read_start(g.peer.c[0].s));
    run_until(g.site.f, g.peer.c[0].got > 30000000);
    send_text(&g.peer.c[0], "HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n");
    run_until(g.site.f, c.got > 0);
    np_stream_read_stop(c.s);
    for (int i = 0; i < 100; i++)
        assert_ok(np_stream_write(g.peer.c[0].s, piece, sizeof piece));
    for (int i = 0; i < 200; i++)
        run_some(g.site.f);
    assert_true(np_stream_queued(g.peer.c[0].s) > 10000000);
    assert_int_equal(g.dones, 0);
    assert_ok(np_stream_read_start(c.s));
    run_until(g.site.f, g.dones && c.got > 30000000);
    assert_ok(g.how.err);
    gate_close(&g, &c);
}

static void an_answer_that_breaks_off_is_broken_off(void **state)
{
    struct gate g;
    struct end c;
    gate_open(*state, &g, &c);
    send_text(&c, GET("/"));
    peer_hears(&g, "\r\n\r\n");
    send_text(&g.peer.c[0], "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    run_until(g.site.f, has(&c, "abc"));
    np_stream_close(g.peer.c[0].s);
    run_until(g.site.f, g.dones && (c.ended || c.errors));
    assert_err(g.how.err, NEAP_ECONNRESET);
    assert_null(g.how.x);
    gate_close(&g, &c);
}

/* The exchange is its owner's again, who answers by itself. */
static void what_was_not_answered_is_given_back(void **state)
{
    static const char *const answers[] = {"", "nonsense\r\n\r\n",
                                          "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n"};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct gate g;
        struct end c;
        gate_open(*state, &g, &c);
        send_text(&c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        peer_hears(&g, "\r\n\r\nhi");
        send_text(&g.peer.c[0], answers[i]);
        np_stream_finish(g.peer.c[0].s, NP_NS_PER_SEC);
        run_until(g.site.f, has(&c, "gateway"));
        assert_int_equal(status_of(&c), 502);
        assert_true(g.how.err == NEAP_EPROTO || g.how.err == NEAP_ECONNRESET);
        assert_true(g.how.body_begun);
        gate_close(&g, &c);
    }
}

static void a_body_waits_for_a_connection(void **state)
{
    struct gate g;
    struct end c;
    gate_open(*state, &g, &c);
    g.port = 1; /* nobody is there */
    send_text(&c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" GET("/"));
    run_until(g.site.f, count_of(&c, "gateway") == 2);
    assert_err(g.how.err, NEAP_ECONNREFUSED);
    assert_false(g.how.body_begun);
    assert_int_equal(g.how.phase, NP_HTTP_CONNECT);
    gate_close(&g, &c);
}

static void a_client_that_leaves_takes_the_call_along(void **state)
{
    for (int begun = 0; begun < 2; begun++) {
        struct gate g;
        struct end c;
        gate_open(*state, &g, &c);
        send_text(&c, GET("/"));
        peer_hears(&g, "\r\n\r\n");
        if (begun) {
            send_text(&g.peer.c[0], "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
            run_until(g.site.f, has(&c, "abc"));
        }
        np_stream_close(c.s);
        run_until(g.site.f, g.dones);
        assert_int_equal(g.site.aborts, 1);
        assert_null(g.how.x);
        assert_err(g.how.err, NEAP_ECONNRESET);
        run_until(g.site.f, g.peer.c[0].ended || g.peer.c[0].errors);
        gate_close(&g, &c);
    }
}

static void one_that_is_cancelled_gives_back_or_breaks_off(void **state)
{
    for (int begun = 0; begun < 2; begun++) {
        struct gate g;
        struct end c;
        gate_open(*state, &g, &c);
        send_text(&c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nh");
        peer_hears(&g, "\r\n\r\nh");
        if (begun) {
            send_text(&g.peer.c[0], "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
            run_until(g.site.f, has(&c, "abc"));
            np_http_forward_cancel(g.f);
            g.f = NULL;
            run_until(g.site.f, c.ended || c.errors);
        } else {
            np_http_forward_cancel(g.f);
            g.f = NULL;
            run_until(g.site.f, g.peer.c[0].ended || g.peer.c[0].errors);
        }
        assert_int_equal(g.dones, 0);
        gate_close(&g, &c);
    }
}

static void an_answer_may_come_before_the_whole_request(void **state)
{
    struct gate g;
    struct end c;
    gate_open(*state, &g, &c);
    send_text(&c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhi");
    peer_hears(&g, "\r\n\r\nhi");
    send_text(&g.peer.c[0], "HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    run_until(g.site.f, has(&c, "\r\n\r\nno"));
    assert_int_equal(status_of(&c), 403);
    gate_close(&g, &c);
}

/* --- without memory */

struct chain {
    struct np_loop loop;
    struct np_http_server *up, *gate;
    struct np_http_client *client;
    int closed, dones;
};

static void up_request(struct np_http_exchange *x, void *arg)
{
    static const struct np_http_header sum[] = {{{"X-Sum", 5}, {"1", 1}}};
    np_http_body_start(x);
    if (np_http_start(x, 200, NULL, 0, -1) || np_http_write(x, "hello", 5) ||
        np_http_finish_with(x, sum, 1))
        np_http_abort(x);
}

static void chain_done(void *arg, const struct np_http_forwarded *how)
{
    ((struct chain *)arg)->dones++;
    if (how->x && np_http_respond(how->x, 502, NULL, 0, NULL, 0)) np_http_abort(how->x);
}

static void gate_request(struct np_http_exchange *x, void *arg)
{
    static const struct np_http_header via[] = {{{"Via", 3}, {"1.1 g", 5}}};
    struct chain *c = arg;
    struct np_http_forward_options o = {0};
    struct np_http_forward *f;
    o.request.host = "127.0.0.1";
    o.request.port = np_http_server_port(c->up);
    o.request.headers = via;
    o.request.nheaders = 1;
    if (np_http_forward_start(c->client, x, &o, chain_done, c, &f, NULL)) np_http_abort(x);
}

static void chain_body(struct np_http_exchange *x, const char *data, size_t n)
{
}

static void chain_over(struct np_http_exchange *x, enum neap_err err)
{
}

static void chain_closed(struct np_http_server *s, void *arg)
{
    ((struct chain *)arg)->closed++;
}

static enum neap_err chain_open(struct chain *c)
{
    static const struct np_http_server_handler up = {.on_request = up_request,
                                                     .on_body = chain_body,
                                                     .on_body_end = chain_over,
                                                     .on_abort = chain_over,
                                                     .on_close = chain_closed};
    static const struct np_http_server_handler gate = {.on_request = gate_request,
                                                       .on_body = chain_body,
                                                       .on_body_end = chain_over,
                                                       .on_abort = chain_over,
                                                       .on_close = chain_closed};
    enum neap_err err = np_http_server_new(&c->loop, NULL, &up, c, &c->up);
    if (!err) err = np_http_server_listen(c->up, "127.0.0.1", 0, NULL, NULL);
    if (!err) err = np_http_server_new(&c->loop, NULL, &gate, c, &c->gate);
    if (!err) err = np_http_server_listen(c->gate, "127.0.0.1", 0, NULL, NULL);
    if (!err) err = np_http_client_new(&c->loop, NULL, &c->client);
    return err;
}

struct asked {
    int ends;
    int status;
    enum neap_err err;
};

static void asked_head(struct np_http_call *c, const struct np_http_head *h)
{
    ((struct asked *)np_http_call_arg(c))->status = h->status;
}

static void asked_end(struct np_http_call *c, enum neap_err err, const char *why)
{
    struct asked *a = np_http_call_arg(c);
    a->ends++;
    a->err = err;
}

static void asked_body(struct np_http_call *c, const char *data, size_t n)
{
}

static enum neap_err ask(struct chain *c)
{
    static const struct np_http_call_handler handler = {
        .on_head = asked_head, .on_body = asked_body, .on_end = asked_end};
    struct asked a = {0};
    struct np_http_request q = {.host = "127.0.0.1", .port = np_http_server_port(c->gate)};
    struct np_http_call *call;
    q.method = "POST";
    q.target = "/p?q";
    q.body = "hi";
    q.body_len = 2;
    enum neap_err err = np_http_client_call(c->client, &q, &handler, &a, &call, NULL);
    if (err) return err;
    for (int i = 0; i < 100000 && !a.ends; i++)
        np_loop_poll(&c->loop);
    assert_int_equal(a.ends, 1);
    return a.err || a.status != 200 ? NEAP_ENOMEM : NEAP_OK;
}

static enum neap_err forward_once(void *arg)
{
    struct chain c = {0};
    enum neap_err err = np_loop_init(&c.loop, NULL, NULL);
    if (err) return err;
    err = chain_open(&c);
    if (!err) err = ask(&c);
    int servers = (c.up != NULL) + (c.gate != NULL);
    if (c.client) np_http_client_close(c.client);
    if (c.gate) np_http_server_close(c.gate, 0);
    if (c.up) np_http_server_close(c.up, 0);
    for (int i = 0; i < 100000 && (c.loop.handles || c.closed < servers); i++)
        np_loop_poll(&c.loop);
    assert_int_equal(c.loop.handles, 0);
    np_loop_fini(&c.loop, NULL, NULL);
    return err;
}

static void lost_memory_is_survived(void **state)
{
    assert_true(np_test_oom(forward_once, NULL) > 20);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)
    const struct CMUnitTest tests[] = {
        TEST(both_heads_are_made_anew),
        TEST(what_the_owner_changes_is_changed),
        TEST(each_side_is_held_back_by_the_other),
        TEST(an_answer_that_breaks_off_is_broken_off),
        TEST(what_was_not_answered_is_given_back),
        TEST(a_body_waits_for_a_connection),
        TEST(a_client_that_leaves_takes_the_call_along),
        TEST(one_that_is_cancelled_gives_back_or_breaks_off),
        TEST(an_answer_may_come_before_the_whole_request),
        cmocka_unit_test(lost_memory_is_survived),
    };
    return cmocka_run_group_tests_name("http.forward", tests, NULL, NULL);
}
