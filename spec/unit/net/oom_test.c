/* Running out of memory anywhere in net: a conversation over each transport, and a lookup, with
 * each allocation failing in turn. Whatever fails, everything closes and nothing leaks.
 */
#include "fixture.h"

#include "net/udp.h"

struct talk {
    struct np_loop loop;
    struct np_listener *l;
    struct np_stream *client;
    struct np_stream *server;
    size_t client_got;
    enum neap_err err;
    bool over;
};

enum { QUESTION = 300000 };

static void over(struct talk *t, enum neap_err err)
{
    if (!t->err) t->err = err;
    t->over = true;
    np_loop_stop(&t->loop);
}

static void client_read(struct np_stream *s, const char *data, size_t n)
{
    struct talk *t = s->arg;
    t->client_got += n;
    if (t->client_got == QUESTION) over(t, NEAP_OK);
}

static void failed(struct np_stream *s, enum neap_err err)
{
    over(s->arg, err);
}

static void ended(struct np_stream *s)
{
    over(s->arg, NEAP_ECONNRESET);
}

static void closed(struct np_stream *s)
{
}

static void server_read(struct np_stream *s, const char *data, size_t n)
{
    enum neap_err err = np_stream_write(s, data, n);
    if (err) over(s->arg, err);
}

static const struct np_stream_handler client_handler = {
    .on_read = client_read, .on_end = ended, .on_error = failed, .on_close = closed};
static const struct np_stream_handler server_handler = {
    .on_read = server_read, .on_error = failed, .on_close = closed};

static enum neap_err serve(struct talk *t, struct np_stream *s)
{
    t->server = s;
    np_stream_set_handler(s, &server_handler, t);
    enum neap_err err = np_stream_set_timeouts(s, NP_NS_PER_SEC, NP_NS_PER_SEC, 0);
    return err ? err : np_stream_read_start(s);
}

static void on_accept(struct np_listener *l, struct np_stream *s)
{
    struct talk *t = np_listener_arg(l);
    enum neap_err err = serve(t, s);
    if (err) over(t, err);
}

static const struct np_listener_handler listener_handler = {on_accept, NULL};

static enum neap_err connect_tcp(struct talk *t, const char *host)
{
    enum neap_err err =
        np_tcp_listen(&t->loop, "127.0.0.1", 0, NULL, &listener_handler, t, &t->l, NULL);
    if (err) return err;
    return np_tcp_dial(&t->loop, host, np_listener_port(t->l), NULL, &client_handler, t,
                       &t->client);
}

static enum neap_err connect_unix(struct talk *t, const char *dir)
{
    char path[200];
    snprintf(path, sizeof path, "%s/s", dir);
    enum neap_err err = np_unix_listen(&t->loop, path, NULL, &listener_handler, t, &t->l, NULL);
    if (err) return err;
    return np_unix_dial(&t->loop, path, NULL, &client_handler, t, &t->client);
}

static enum neap_err connect_pipe(struct talk *t, const char *arg)
{
    struct np_stream *s;
    enum neap_err err = np_pipe_pair(&t->loop, 1000, &t->client, &s);
    if (err) return err;
    np_stream_set_handler(t->client, &client_handler, t);
    return serve(t, s);
}

struct way {
    enum neap_err (*connect)(struct talk *t, const char *arg);
    const char *arg;
};

static enum neap_err ask(struct talk *t)
{
    static char question[QUESTION];
    enum neap_err err = np_stream_read_start(t->client);
    if (!err) err = np_stream_write(t->client, question, sizeof question);
    return err;
}

static enum neap_err talk(void *arg)
{
    const struct way *way = arg;
    struct talk t = {0};
    enum neap_err err = np_loop_init(&t.loop, NULL, NULL);
    if (err) return err;
    err = way->connect(&t, way->arg);
    if (!err) err = ask(&t);
    while (!err && !t.over && uv_run(t.loop.uv, UV_RUN_ONCE))
        continue;
    if (!err) err = t.err;
    if (t.l) np_listener_close(t.l);
    if (t.client) np_stream_close(t.client);
    if (t.server) np_stream_close(t.server);
    np_loop_fini(&t.loop, NULL, NULL);
    /* What one side runs out of, the other may see as its peer's going. */
    if (err == NEAP_ECONNRESET || err == NEAP_EPIPE) err = NEAP_ENOMEM;
    return err;
}

static void tcp_survives(void **state)
{
    struct way way = {connect_tcp, "127.0.0.1"};
    assert_int_not_equal(np_test_oom(talk, &way), 0);
    way.arg = "localhost";
    assert_int_not_equal(np_test_oom(talk, &way), 0);
}

static void unix_sockets_survive(void **state)
{
    struct way way = {connect_unix, np_test_tmpdir()};
    assert_int_not_equal(np_test_oom(talk, &way), 0);
    np_test_tmpdir_remove((char *)way.arg);
}

static void pipes_survive(void **state)
{
    struct way way = {connect_pipe, NULL};
    assert_int_not_equal(np_test_oom(talk, &way), 0);
}

/* A lookup that nobody answers, cancelled. */

static void on_addrs(void *arg, enum neap_err err, const char *why, const union np_addr *addrs,
                     size_t n)
{
    *(enum neap_err *)arg = err;
}

static enum neap_err look_up(void *arg)
{
    struct np_loop loop;
    struct np_dns_query *q;
    enum neap_err answer = NEAP_EINTERNAL;
    enum neap_err err = np_loop_init(&loop, NULL, NULL);
    if (err) return err;
    err = np_dns_set_servers(&loop, "127.0.0.1:1");
    if (!err) err = np_dns_resolve(&loop, arg, AF_UNSPEC, 80, on_addrs, &answer, &q);
    if (!err && strcmp(arg, "localhost") != 0) np_dns_cancel(q);
    np_loop_run(&loop);
    np_loop_fini(&loop, NULL, NULL);
    return !err && answer != NEAP_ECANCELED ? answer : err;
}

static void lookups_survive(void **state)
{
    assert_int_not_equal(np_test_oom(look_up, "localhost"), 0);
    assert_int_not_equal(np_test_oom(look_up, "some.test"), 0);
}

/* A datagram. */

static void on_recv(struct np_udp *u, const char *data, size_t n, const struct sockaddr *from,
                    bool truncated)
{
    np_udp_close(u);
}

static const struct np_udp_handler udp_handler = {.on_recv = on_recv};

static enum neap_err send_to_self(void *arg)
{
    struct np_loop loop;
    struct np_udp *u = NULL;
    union np_addr self;
    char text[NP_ADDR_TEXT_MAX];
    int port;
    enum neap_err err = np_loop_init(&loop, NULL, NULL);
    if (err) return err;
    err = np_udp_open(&loop, "127.0.0.1", 0, NULL, &udp_handler, NULL, &u, NULL);
    if (!err) err = np_udp_recv_start(u);
    if (!err) err = np_udp_local(u, text, sizeof text, &port);
    if (!err) err = np_addr_from_ip("127.0.0.1", port, &self);
    if (!err) err = np_udp_send(u, "x", 1, &self.sa);
    if (err && u) np_udp_close(u);
    np_loop_run(&loop);
    np_loop_fini(&loop, NULL, NULL);
    return err;
}

static void datagrams_survive(void **state)
{
    assert_int_not_equal(np_test_oom(send_to_self, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp_survives),      cmocka_unit_test(unix_sockets_survive),
        cmocka_unit_test(pipes_survive),     cmocka_unit_test(lookups_survive),
        cmocka_unit_test(datagrams_survive),
    };
    return cmocka_run_group_tests_name("net.oom", tests, NULL, NULL);
}
