/* The server against raw protocol text, through pipes in memory and once through TCP. */
#include "np_test.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "bus/server.h"
#include "bus/sub.h"
#include "net/dial.h"
#include "net/share.h"

static const int64_t linger = NP_NS_PER_SEC;
#define BYTES(s) ((struct np_bytes){(s), strlen(s)})

/* The other end of a session: what came, and what became of the stream. */
struct peer {
    struct np_stream *stream;
    struct np_buf got;
    bool opened, ended, closed, failed;
};

struct world {
    int64_t live;
    struct np_loop loop;
    struct np_bus *bus;
    struct np_bus_server *server;
    struct np_bus_server_options opts;
    bool server_closed;
    bool refused; /* the next to join is above the limit */
    struct peer peers[4];
    size_t npeers;
};

static void on_open(struct np_stream *s)
{
    ((struct peer *)s->arg)->opened = true;
}

static void on_read(struct np_stream *s, const char *data, size_t n)
{
    struct peer *p = s->arg;
    assert_ok(np_buf_append(&p->got, data, n));
}

static void on_stream_end(struct np_stream *s)
{
    struct peer *p = s->arg;
    p->ended = true;
    np_stream_close(s);
}

static void on_error(struct np_stream *s, enum neap_err err)
{
    struct peer *p = s->arg;
    p->failed = true;
    np_stream_close(s);
}

static void on_close(struct np_stream *s)
{
    ((struct peer *)s->arg)->closed = true;
}

static const struct np_stream_handler peer_handler = {.on_open = on_open,
                                                      .on_read = on_read,
                                                      .on_end = on_stream_end,
                                                      .on_error = on_error,
                                                      .on_close = on_close};

/* Runs the loop until nothing is deferred any more: pipes in memory move by that alone. */
static void settle(struct world *w)
{
    for (int quiet = 0; quiet < 3;) {
        np_loop_poll(&w->loop);
        quiet = np_list_empty(&w->loop.deferred) ? quiet + 1 : 0;
    }
}

static int setup(void **state)
{
    static struct world w;
    memset(&w, 0, sizeof w);
    w.live = np_alloc_live();
    assert_ok(np_loop_init(&w.loop, NULL, NULL));
    assert_ok(np_bus_new(&w.loop, NULL, &w.bus));
    w.opts = (struct np_bus_server_options)NP_BUS_SERVER_OPTIONS_INIT;
    *state = &w;
    return 0;
}

static void start(struct world *w)
{
    assert_ok(np_bus_server_new(w->bus, &w->opts, &w->server));
}

static void on_server_closed(void *arg)
{
    ((struct world *)arg)->server_closed = true;
}

static int teardown(void **state)
{
    struct world *w = *state;
    if (w->server) np_bus_server_close(w->server, linger, on_server_closed, w);
    for (size_t i = 0; i < w->npeers; i++)
        if (!w->peers[i].closed) np_stream_close(w->peers[i].stream);
    settle(w);
    assert_true(!w->server || w->server_closed);
    np_bus_free(w->bus);
    assert_int_equal(w->loop.handles, 0);
    np_loop_fini(&w->loop, NULL, NULL);
    for (size_t i = 0; i < w->npeers; i++)
        np_buf_fini(&w->peers[i].got);
    assert_no_leak(w->live);
    return 0;
}

/* What came since the last look is exactly this. */
static void expect(struct world *w, struct peer *p, const char *want)
{
    settle(w);
    assert_ok(np_buf_append(&p->got, "", 1));
    assert_string_equal(np_buf_data(&p->got), want);
    np_buf_clear(&p->got);
}

static void say(struct peer *p, const char *text)
{
    assert_ok(np_stream_write(p->stream, text, strlen(text)));
}

/* A client that has read INFO and said nothing. */
static struct peer *join_quiet(struct world *w, size_t capacity)
{
    struct peer *p = &w->peers[w->npeers++];
    struct np_stream *theirs;
    assert_ok(np_pipe_pair(&w->loop, capacity, &p->stream, &theirs));
    np_stream_set_handler(p->stream, &peer_handler, p);
    assert_ok(np_stream_read_start(p->stream));
    assert_int_equal(np_bus_server_adopt(w->server, theirs), w->refused ? NEAP_ELIMIT : NEAP_OK);
    return p;
}

static struct peer *join(struct world *w, const char *connect)
{
    struct peer *p = join_quiet(w, 0);
    settle(w);
    np_buf_clear(&p->got);
    if (connect) {
        say(p, connect);
        say(p, "\r\nPING\r\n");
        expect(w, p, "PONG\r\n");
    }
    return p;
}

static const char plain[] = "CONNECT {\"verbose\":false}";
static const char modern[] =
    "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true,\"protocol\":1}";

static void publish(struct world *w, const char *subject, const char *reply, const char *payload)
{
    struct np_bus_out m = {
        .subject = BYTES(subject), .reply = BYTES(reply), .payload = BYTES(payload)};
    assert_ok(np_bus_publish(w->bus, &m, NULL, NULL));
}

static void info_comes_first(void **state)
{
    struct world *w = *state;
    w->opts.name = "it's \"me\"";
    start(w);
    struct peer *p = join_quiet(w, 0);
    settle(w);
    assert_ok(np_buf_append(&p->got, "", 1));
    const char *got = np_buf_data(&p->got);
    assert_memory_equal(got, "INFO {\"server_id\":\"", 19);
    assert_non_null(strstr(got, np_bus_id(w->bus)));
    assert_non_null(strstr(got, "\"server_name\":\"it's \\\"me\\\"\""));
    assert_non_null(strstr(got, "\"max_payload\":1048576"));
    assert_non_null(strstr(got, "\"headers\":true"));
    assert_non_null(strstr(got, "\"auth_required\":false"));
    assert_non_null(strstr(got, "}\r\n"));
}

static void verbose_is_the_default(void **state)
{
    struct world *w = *state;
    start(w);
    struct peer *p = join(w, NULL);
    say(p, "SUB a 1\r\nPUB a 2\r\nhi\r\nUNSUB 1\r\nCONNECT {\"verbose\":true}\r\nPING\r\n");
    expect(w, p, "+OK\r\n+OK\r\nMSG a 1 2\r\nhi\r\n+OK\r\n+OK\r\nPONG\r\n");
    say(p, "CONNECT {\"verbose\":false}\r\nSUB a 1\r\nPING\r\n");
    expect(w, p, "PONG\r\n");
}

static void clients_and_scripts_share_one_bus(void **state)
{
    struct world *w = *state;
    start(w);
    struct peer *a = join(w, plain), *b = join(w, plain);
    say(a, "SUB orders.* 1\r\n");
    settle(w);
    publish(w, "orders.eu", "", "local");
    expect(w, a, "MSG orders.eu 1 5\r\nlocal\r\n");
    say(b, "PUB orders.eu reply.to 6\r\nremote\r\n");
    expect(w, a, "MSG orders.eu 1 reply.to 6\r\nremote\r\n");
    expect(w, b, "");
}

static void a_pong_comes_after_what_was_published_before(void **state)
{
    struct world *w = *state;
    start(w);
    struct peer *p = join(w, plain);
    say(p, "SUB a 1\r\nPING\r\nPUB a 1\r\nx\r\nPING\r\nPUB a 1\r\ny\r\n");
    expect(w, p, "PONG\r\nMSG a 1 1\r\nx\r\nPONG\r\nMSG a 1 1\r\ny\r\n");
}

static void unsub_ends_at_once_or_after_a_maximum(void **state)
{
    struct world *w = *state;
    start(w);
    struct peer *p = join(w, plain);
    say(p, "SUB a 1\r\nUNSUB 1 2\r\nSUB a 2\r\nPUB a 1\r\nx\r\nUNSUB 2\r\nUNSUB 99\r\n"
           "PUB a 1\r\ny\r\nPUB a 1\r\nz\r\n");
    expect(w, p, "MSG a 2 1\r\nx\r\nMSG a 1 1\r\nx\r\nMSG a 1 1\r\ny\r\n");
    say(p, "SUB a 1\r\nPUB a 0\r\n\r\n"); /* the name may be used again */
    expect(w, p, "MSG a 1 0\r\n\r\n");
}

static void a_queue_group_shares(void **state)
{
    struct world *w = *state;
    start(w);
    struct peer *a = join(w, plain), *b = join(w, plain);
    say(a, "SUB jobs workers 1\r\n");
    say(b, "SUB jobs workers 1\r\n");
    settle(w);
    for (int i = 0; i < 100; i++)
        publish(w, "jobs", "", "");
    settle(w);
    size_t one = strlen("MSG jobs 1 0\r\n\r\n");
    size_t na = np_buf_len(&a->got) / one, nb = np_buf_len(&b->got) / one;
    assert_int_equal(na + nb, 100);
    assert_in_range(na, 20, 80);
}

static void echo_may_be_switched_off(void **state)
{
    struct world *w = *state;
    start(w);
    struct peer *deaf = join(w, "CONNECT {\"verbose\":false,\"echo\":false}"),
                *other = join(w, plain);
    say(deaf, "SUB a 1\r\n");
    say(other, "SUB a 1\r\n");
    settle(w);
    say(deaf, "PUB a 1\r\nx\r\n");
    expect(w, deaf, "");
    expect(w, other, "MSG a 1 1\r\nx\r\n");
    say(other, "PUB a 1\r\ny\r\n");
    expect(w, deaf, "MSG a 1 1\r\ny\r\n");
}

static void headers_go_to_those_who_can_read_them(void **state)
{
    struct world *w = *state;
    start(w);
    struct peer *a = join(w, modern), *old = join(w, plain);
    say(a, "SUB a 1\r\n");
    say(old, "SUB a 1\r\n");
    settle(w);
    say(a, "HPUB a r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
    expect(w, a, "HMSG a 1 r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
    expect(w, old, "MSG a 1 r 2\r\nhi\r\n");
    say(old, "HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n");
    expect(w, old, "-ERR 'message headers not supported'\r\n");
    assert_true(old->closed);
}

static void a_request_without_responders_is_told_so(void **state)
{
    struct world *w = *state;
    start(w);
    struct peer *a = join(w, modern), *b = join(w, plain);
    say(a, "SUB _INBOX.x.* 7\r\nPUB nobody _INBOX.x.1 2\r\nhi\r\n");
    expect(w, a, "HMSG _INBOX.x.1 7 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
    say(a, "PUB nobody other 0\r\n\r\n"); /* it does not listen there itself */
    expect(w, a, "");
    say(b, "SUB r 1\r\nPUB nobody r 0\r\n\r\n"); /* it did not ask for it */
    expect(w, b, "");
    say(b, "SUB somebody 2\r\n");
    settle(w);
    say(a, "PUB somebody _INBOX.x.2 0\r\n\r\n");
    expect(w, a, "");
    expect(w, b, "MSG somebody 2 _INBOX.x.2 0\r\n\r\n");
    struct peer *c = join(w, NULL);
    say(c, "CONNECT {\"verbose\":false,\"no_responders\":true}\r\n");
    expect(w, c, "-ERR 'no responders requires headers support'\r\n");
}

static void bad_subjects_are_refused_and_the_client_stays(void **state)
{
    struct world *w = *state;
    start(w);
    struct peer *p = join(w, NULL);
    say(p, "SUB a..b 1\r\nPUB a.* 0\r\n\r\nPUB a > 0\r\n\r\nPING\r\n");
    expect(w, p,
           "-ERR 'Invalid Subject'\r\n-ERR 'Invalid Publish Subject'\r\n"
           "-ERR 'Invalid Publish Subject'\r\nPONG\r\n");
}

static void a_broken_protocol_closes(void **state)
{
    struct world *w = *state;
    start(w);
    struct peer *p = join(w, plain);
    say(p, "PING\r\nGET / HTTP/1.1\r\nPING\r\n");
    expect(w, p, "PONG\r\n-ERR 'Unknown Protocol Operation'\r\n");
    assert_true(p->closed);
    p = join(w, NULL);
    say(p, "CONNECT {\"verbose\":3}\r\n");
    expect(w, p, "-ERR 'Parser Error'\r\n");
    p = join(w, plain);
    say(p, "PUB a 1048577\r\n");
    expect(w, p, "-ERR 'Maximum Payload Violation'\r\n");
    assert_true(p->closed);
    struct np_bus_server_stats stats;
    np_bus_server_get_stats(w->server, &stats);
    assert_int_equal(stats.clients, 0);
}

static void a_long_line_closes(void **state)
{
    struct world *w = *state;
    start(w);
    struct peer *p = join(w, plain);
    char line[5000];
    memset(line, 'x', sizeof line);
    memcpy(line, "SUB ", 4);
    assert_ok(np_stream_write(p->stream, line, sizeof line));
    expect(w, p, "-ERR 'Maximum Control Line Exceeded'\r\n");
}

static void clients_and_their_subscriptions_are_bounded(void **state)
{
    struct world *w = *state;
    w->opts.max_clients = 1;
    w->opts.max_subs = 2;
    start(w);
    struct peer *p = join(w, plain);
    w->refused = true;
    struct peer *q = join_quiet(w, 0);
    expect(w, q, "-ERR 'maximum connections exceeded'\r\n");
    assert_true(q->closed);
    say(p, "SUB a 1\r\nSUB a 1\r\nSUB b 2\r\nSUB c 3\r\n");
    expect(w, p, "-ERR 'maximum subscriptions exceeded'\r\n");
    say(p, "UNSUB 1\r\nSUB c 3\r\nPUB c 0\r\n\r\n");
    expect(w, p, "MSG c 3 0\r\n\r\n");
}

static void a_slow_consumer_is_closed_and_delays_nobody(void **state)
{
    struct world *w = *state;
    char payload[1001];
    memset(payload, 'x', 1000);
    payload[1000] = '\0';
    w->opts.max_pending = 20000;
    start(w);
    struct peer *slow = join(w, plain), *quick = join(w, plain);
    say(slow, "SUB a 1\r\n");
    say(quick, "SUB a 1\r\n");
    settle(w);
    np_stream_read_stop(slow->stream);
    for (int i = 0; i < 200; i++) {
        publish(w, "a", "", payload);
        settle(w);
    }
    struct np_bus_server_stats stats;
    np_bus_server_get_stats(w->server, &stats);
    assert_int_equal(stats.slow_consumers, 1);
    assert_int_equal(stats.clients, 1);
    assert_int_equal(np_buf_len(&quick->got), 200 * strlen("MSG a 1 1000\r\n\r\n") + 200 * 1000);
    assert_ok(np_stream_read_start(slow->stream));
    settle(w);
    assert_true(slow->ended || slow->failed);
}

static void a_silent_client_is_pinged_and_then_closed(void **state)
{
    struct world *w = *state;
    w->opts.ping_interval = NP_NS_PER_MS;
    w->opts.max_pings = 2;
    start(w);
    struct peer *p = join_quiet(w, 0);
    while (!p->closed)
        np_loop_poll(&w->loop);
    assert_ok(np_buf_append(&p->got, "", 1));
    const char *end = strstr(np_buf_data(&p->got), "\r\n") + 2;
    assert_string_equal(end, "PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
    struct np_bus_server_stats stats;
    np_bus_server_get_stats(w->server, &stats);
    assert_int_equal(stats.stale, 1);
}

static void a_client_that_answers_pings_stays(void **state)
{
    struct world *w = *state;
    w->opts.ping_interval =
        20 * NP_NS_PER_MS; /* a busy machine may hold this process up that long */
    w->opts.max_pings = 2;
    start(w);
    struct peer *p = join(w, NULL);
    for (int pings = 0; pings < 5;) {
        np_loop_poll(&w->loop);
        assert_false(p->closed);
        if (np_buf_len(&p->got) < 6) continue;
        assert_memory_equal(np_buf_data(&p->got), "PING\r\n", 6);
        np_buf_consume(&p->got, 6);
        say(p, "PONG\r\n");
        pings++;
    }
}

static void a_client_that_leaves_is_forgotten(void **state)
{
    struct world *w = *state;
    start(w);
    struct peer *p = join(w, plain);
    struct np_bus_stats stats;
    say(p, "SUB a 1\r\nSUB b 2\r\n");
    settle(w);
    np_bus_get_stats(w->bus, &stats);
    assert_int_equal(stats.subs, 2);
    np_stream_close(p->stream);
    settle(w);
    np_bus_get_stats(w->bus, &stats);
    assert_int_equal(stats.subs, 0);
}

static void closing_sends_what_is_owed(void **state)
{
    struct world *w = *state;
    start(w);
    struct peer *p = join(w, plain);
    say(p, "SUB a 1\r\n");
    settle(w);
    publish(w, "a", "", "last");
    np_loop_poll(&w->loop);
    np_bus_server_close(w->server, linger, on_server_closed, w);
    np_bus_server_close(w->server, linger, on_server_closed, w);
    expect(w, p, "MSG a 1 4\r\nlast\r\n");
    assert_true(p->closed);
    assert_true(w->server_closed);
    w->server = NULL;
}

static void it_listens_on_tcp(void **state)
{
    struct world *w = *state;
    char address[NP_ADDR_TEXT_MAX];
    struct np_bus_server *second;
    struct neap_errinfo info;
    start(w);
    assert_ok(np_bus_server_listen(w->server, "127.0.0.1", 0, NULL));
    np_bus_server_address(w->server, address, sizeof address);
    assert_memory_equal(address, "127.0.0.1:", 10);
    int port = np_bus_server_port(w->server);
    struct peer *p = &w->peers[w->npeers++];
    assert_ok(np_tcp_dial(&w->loop, "127.0.0.1", port, NULL, &peer_handler, p, &p->stream));
    assert_ok(np_stream_read_start(p->stream));
    say(p, "CONNECT {\"verbose\":false}\r\nSUB a 1\r\nPUB a 2\r\nhi\r\n");
    while (!memmem(np_buf_data(&p->got), np_buf_len(&p->got), "hi\r\n", 4))
        np_loop_poll(&w->loop);
    assert_ok(np_buf_append(&p->got, "", 1));
    assert_non_null(strstr(np_buf_data(&p->got), "\"client_ip\":\"127.0.0.1\""));
    assert_non_null(strstr(np_buf_data(&p->got), "MSG a 1 2\r\nhi\r\n"));
    assert_ok(np_bus_server_new(w->bus, NULL, &second));
    assert_err(np_bus_server_listen(second, "127.0.0.1", port, &info), NEAP_EADDRINUSE);
    np_bus_server_close(second, linger, NULL, NULL);
    np_stream_close(p->stream);
    np_bus_server_close(w->server, linger, on_server_closed, w);
    while (w->loop.handles > 0)
        np_loop_poll(&w->loop);
    settle(w);
    w->server = NULL;
}

static enum neap_err a_session(void *arg)
{
    struct world *w = arg;
    struct np_stream *mine, *theirs;
    struct peer p = {0};
    struct np_bus_server *server;
    bool served = false;
    struct np_bus *bus;
    enum neap_err err = np_bus_new(&w->loop, NULL, &bus);
    if (err) return err;
    err = np_bus_server_new(bus, NULL, &server);
    if (err) {
        np_bus_free(bus);
        return err;
    }
    w->server_closed = false;
    err = np_pipe_pair(&w->loop, 0, &mine, &theirs);
    if (err) goto done;
    static const struct np_stream_handler quiet = {
        .on_end = on_stream_end, .on_error = on_error, .on_close = on_close};
    static const char text[] =
        "CONNECT {\"headers\":true}\r\nSUB a 1\r\nSUB a q 2\r\nPUB a r 1\r\nx\r\nPING\r\n";
    np_stream_set_handler(mine, &quiet, &p);
    err = np_bus_server_adopt(server, theirs);
    if (!err) err = np_stream_read_start(mine);
    if (!err) err = np_stream_write(mine, text, sizeof text - 1);
    settle(w);
    served = p.closed; /* the session was dropped for want of memory */
    if (!p.closed) np_stream_close(mine);
done:
    np_bus_server_close(server, linger, on_server_closed, w);
    settle(w);
    assert_true(w->server_closed);
    np_bus_free(bus);
    return served ? NEAP_ENOMEM : err;
}

static void out_of_memory_ends_a_session_at_most(void **state)
{
    struct world *w = *state;
    assert_ok(a_session(w)); /* the loop keeps what it has grown */
    assert_true(np_test_oom(a_session, w) > 5);
    w->server = NULL;
}

/* --- a reload, as the host does it */

static struct np_bus_server *successor(struct world *w, struct np_share *share, bool held,
                                       struct np_share_user **user)
{
    struct np_bus_server *s;
    assert_ok(np_share_user_new(share, &w->loop, 0, held, user));
    w->opts.share = *user;
    assert_ok(np_bus_server_new(w->bus, &w->opts, &s));
    assert_ok(np_bus_server_listen(s, "127.0.0.1", 0, NULL));
    return s;
}

static void await_bytes(struct world *w, struct peer *p, const char *want)
{
    while (np_buf_len(&p->got) < strlen(want) && !p->failed && !p->ended)
        uv_run(w->loop.uv, UV_RUN_ONCE);
    expect(w, p, want);
}

static void clients_stay_over_a_reload(void **state)
{
    struct world *w = *state;
    struct peer *p = &w->peers[w->npeers++];
    struct np_share *share;
    struct np_share_user *users[2];
    struct np_bus_server_stats stats;
    assert_ok(np_share_new(1, NP_SHARE_AUTO, &share));
    w->opts.max_control = 64;
    struct np_bus_server *old = successor(w, share, false, &users[0]);
    assert_ok(np_tcp_dial(&w->loop, "127.0.0.1", np_bus_server_port(old), NULL, &peer_handler, p,
                          &p->stream));
    assert_ok(np_stream_read_start(p->stream));
    while (np_buf_len(&p->got) == 0)
        uv_run(w->loop.uv, UV_RUN_ONCE);
    np_buf_clear(&p->got);
    say(p, plain);
    say(p, "\r\nSUB a 1\r\nPING\r\nPUB a 4\r\nha"); /* half a message */
    await_bytes(w, p, "PONG\r\n");

    w->opts.max_control = 1024;
    w->server = successor(w, share, true, &users[1]);
    publish(w, "a", "", "before");
    np_share_user_activate(users[1]);
    np_share_user_retire(users[0]);
    np_bus_server_close(old, linger, NULL, NULL);
    np_bus_server_get_stats(w->server, &stats);
    assert_int_equal(stats.clients, 1);
    publish(w, "a", "", "after");
    say(p, "lf\r\n");
    await_bytes(w, p, "MSG a 1 6\r\nbefore\r\nMSG a 1 5\r\nafter\r\nMSG a 1 4\r\nhalf\r\n");
    say(p,
        "SUB an.unusually.long.subject.that.the.old.server.would.not.have.let.pass 2\r\nPING\r\n");
    await_bytes(w, p, "PONG\r\n"); /* the limits are the new one's */
    assert_false(p->ended || p->failed);
    np_bus_server_close(w->server, linger, on_server_closed, w);
    w->server = NULL;
    np_stream_close(p->stream);
    while (!w->server_closed || !p->closed)
        uv_run(w->loop.uv, UV_RUN_ONCE);
    np_share_user_free(users[0]);
    np_share_user_free(users[1]);
    np_share_free(share);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(info_comes_first),
        TEST(verbose_is_the_default),
        TEST(clients_and_scripts_share_one_bus),
        TEST(a_pong_comes_after_what_was_published_before),
        TEST(unsub_ends_at_once_or_after_a_maximum),
        TEST(a_queue_group_shares),
        TEST(echo_may_be_switched_off),
        TEST(headers_go_to_those_who_can_read_them),
        TEST(a_request_without_responders_is_told_so),
        TEST(bad_subjects_are_refused_and_the_client_stays),
        TEST(a_broken_protocol_closes),
        TEST(a_long_line_closes),
        TEST(clients_and_their_subscriptions_are_bounded),
        TEST(a_slow_consumer_is_closed_and_delays_nobody),
        TEST(a_silent_client_is_pinged_and_then_closed),
        TEST(a_client_that_answers_pings_stays),
        TEST(a_client_that_leaves_is_forgotten),
        TEST(closing_sends_what_is_owed),
        TEST(it_listens_on_tcp),
        TEST(clients_stay_over_a_reload),
        TEST(out_of_memory_ends_a_session_at_most),
    };
    return cmocka_run_group_tests_name("bus.server", tests, NULL, NULL);
}
