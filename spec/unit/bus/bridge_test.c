/* Bridges: buses joined over TCP on one loop, and one against a remote played line by line. */
#include "bridge_rig.h"

static void messages_cross_both_ways_once_each(void **state)
{
    struct world *w = *state;
    struct node *hub = node(w, 0, true), *leaf = node(w, 1, false);
    struct taker early, at_hub, twice, wild;
    take(leaf, &early, "a.*", NULL, 0); /* before it is joined */
    join(w, leaf, hub);
    take(leaf, &twice, "a.*", NULL, 0); /* the same pattern again */
    take(leaf, &wild, ">", NULL, 0);    /* a pattern that takes the same messages */
    take(hub, &at_hub, "a.*", NULL, 0);
    settle(w, leaf);
    publish(leaf, "a.x", "leaf");
    settle(w, leaf);
    publish(hub, "a.y", "hub");
    settle(w, leaf);
    struct taker *all[] = {&early, &twice, &wild, &at_hub};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(all[i]->got, "a.x=leaf a.y=hub ");
        np_bus_unsubscribe(all[i]->sub);
    }
    publish(leaf, "a.x", "");
    settle(w, leaf);
    struct np_bus_stats stats;
    np_bus_get_stats(hub->bus, &stats);
    assert_int_equal(stats.subs, 0);
}

static void publishing_here_comes_back_from_the_loop(void **state)
{
    struct world *w = *state;
    struct node *hub = node(w, 0, true), *leaf = node(w, 1, false);
    struct taker t;
    join(w, leaf, hub);
    take(leaf, &t, "a", NULL, 0);
    publish(leaf, "a", "1"); /* right behind the subscription */
    settle(w, leaf);
    assert_string_equal(t.got, "a=1 ");
    np_bus_bridge_close(leaf->bridge, linger, NULL, NULL);
    leaf->bridge = NULL;
    publish(leaf, "a", "2"); /* on its own again */
    while (t.count < 2)
        np_loop_poll(&w->loop);
    assert_string_equal(t.got, "a=1 a=2 ");
    np_bus_unsubscribe(t.sub);
}

static void queue_groups_balance_over_processes(void **state)
{
    struct world *w = *state;
    struct node *hub = node(w, 0, true), *one = node(w, 1, false), *two = node(w, 2, false);
    struct taker at_hub, at_one, at_two, at_two_too;
    join(w, one, hub);
    join(w, two, hub);
    take(hub, &at_hub, "jobs", "q", 0);
    take(one, &at_one, "jobs", "q", 0);
    take(two, &at_two, "jobs", "q", 0);
    take(two, &at_two_too, "jobs", "q", 0);
    settle(w, one);
    settle(w, two);
    for (int i = 0; i < 300; i++)
        publish(one, "jobs", "");
    settle(w, one);
    settle(w, two);
    int both = at_two.count + at_two_too.count;
    assert_int_equal(at_hub.count + at_one.count + both, 300);
    assert_in_range(at_hub.count, 60, 140);
    assert_in_range(at_one.count, 60, 140);
    assert_in_range(both, 60, 140);
    assert_in_range(at_two.count - at_two_too.count + 1, 0, 2); /* in turn */
    struct taker *all[] = {&at_hub, &at_one, &at_two, &at_two_too};
    for (int i = 0; i < 4; i++)
        np_bus_unsubscribe(all[i]->sub);
}

static void a_maximum_holds_over_the_bridge(void **state)
{
    struct world *w = *state;
    struct node *hub = node(w, 0, true), *leaf = node(w, 1, false);
    struct taker two, later, rest;
    join(w, leaf, hub);
    take(leaf, &two, "a", "q", 2);
    take(leaf, &later, "a", NULL, 0);
    np_bus_sub_limit(later.sub, 3);
    settle(w, leaf);
    take(hub, &rest, "a", "q", 0);
    for (int i = 0; i < 50; i++)
        publish(hub, "a", "");
    settle(w, leaf);
    assert_int_equal(two.count, 2);
    assert_int_equal(rest.count, 48); /* none was lost on the way to one that had enough */
    assert_int_equal(later.count, 3);
    np_bus_unsubscribe(two.sub);
    np_bus_unsubscribe(later.sub);
    np_bus_unsubscribe(rest.sub);
}

/* --- requests --- */

static struct {
    int ended;
    enum neap_err err;
    char answer[64];
} call;

static void on_answer(struct np_bus_request *r, enum neap_err err, struct np_bus_msg *m)
{
    call.ended++;
    call.err = err;
    snprintf(call.answer, sizeof call.answer, "%s", m ? m->payload.p : "");
}

static void request(struct world *w, struct node *n, const char *subject)
{
    struct np_bus_request r;
    struct np_bus_out m = {.subject = BYTES(subject), .payload = BYTES("?")};
    memset(&call, 0, sizeof call);
    np_bus_request_init(&r, n->bus, on_answer);
    assert_ok(np_bus_request_start(&r, &m, 0));
    while (!call.ended)
        np_loop_poll(&w->loop);
}

static void on_request(struct np_bus_sub *s, struct np_bus_msg *m)
{
    struct node *n = np_bus_sub_arg(s);
    struct np_bus_out out = {.subject = m->reply, .payload = BYTES("answer")};
    assert_ok(np_bus_publish(n->bus, &out, NULL, NULL));
}

static void requests_cross(void **state)
{
    static const struct np_bus_sub_handler answering = {.on_message = on_request};
    struct world *w = *state;
    struct node *hub = node(w, 0, true), *one = node(w, 1, false), *two = node(w, 2, false);
    struct np_bus_sub *s;
    join(w, one, hub);
    join(w, two, hub);
    assert_ok(np_bus_subscribe(two->bus, BYTES("svc"), NULL, &answering, two, &s));
    settle(w, two);
    struct node *from[] = {one, hub, two};
    for (int i = 0; i < 3; i++) {
        request(w, from[i], "svc");
        assert_ok(call.err);
        assert_string_equal(call.answer, "answer");
        request(w, from[i], "nobody");
        assert_int_equal(call.err, NEAP_ENORESPONDERS);
    }
    np_bus_unsubscribe(s);
}

/* --- away --- */

static void publishes_are_kept_while_away_and_sent_in_order(void **state)
{
    struct world *w = *state;
    struct node *hub = node(w, 0, true), *leaf = node(w, 1, false);
    struct taker here, there;
    bridge_with(leaf, np_bus_server_port(hub->server), quick(true));
    take(leaf, &here, "a", NULL, 0);
    take(hub, &there, "a", NULL, 0);
    publish(leaf, "a", "1"); /* not connected yet */
    publish(leaf, "a", "2");
    run_until_state(w, leaf, NP_BUS_BRIDGE_CONNECTED);
    publish(leaf, "a", "3");
    settle(w, leaf);
    assert_string_equal(here.got, "a=1 a=2 a=3 ");
    assert_string_equal(there.got, "a=1 a=2 a=3 ");
    np_bus_unsubscribe(here.sub);
    np_bus_unsubscribe(there.sub);
}

static void it_comes_back_and_subscribes_again(void **state)
{
    struct world *w = *state;
    struct node *hub = node(w, 0, true), *leaf = node(w, 1, false);
    struct taker t, limited;
    struct np_bus_flush f;
    int port = np_bus_server_port(hub->server);
    join(w, leaf, hub);
    take(leaf, &t, "a", NULL, 0);
    take(leaf, &limited, "a", NULL, 3);
    publish(leaf, "a", "1");
    settle(w, leaf);
    np_bus_server_close(hub->server, linger, NULL, NULL);
    hub->server = NULL;
    run_until_state(w, leaf, NP_BUS_BRIDGE_AWAY);
    assert_int_equal(np_bus_bridge_get_state(leaf->bridge), NP_BUS_BRIDGE_AWAY);
    while (w->loop.handles > 0) /* the streams of the lost connection */
        np_loop_poll(&w->loop);
    assert_true(w->loop.foreground_timers > 0); /* waiting to try again keeps a process alive */
    np_bus_flush_init(&f, on_flush);
    assert_err(np_bus_flush_start(leaf->bus, &f), NEAP_ENOTCONN);
    publish(leaf, "a", "2");
    assert_ok(np_bus_server_new(hub->bus, NULL, &hub->server));
    assert_ok(np_bus_server_listen(hub->server, "127.0.0.1", port, NULL));
    run_until_state(w, leaf, NP_BUS_BRIDGE_CONNECTED);
    publish(hub, "a", "3");
    publish(hub, "a", "4");
    settle(w, leaf);
    assert_string_equal(t.got, "a=1 a=2 a=3 a=4 ");
    assert_string_equal(limited.got, "a=1 a=2 a=3 ");
    np_bus_unsubscribe(t.sub);
    np_bus_unsubscribe(limited.sub);
}

static void what_is_kept_is_bounded(void **state)
{
    struct world *w = *state;
    struct node *leaf = node(w, 0, false);
    struct np_bus_bridge_options opts = quick(true);
    opts.max_away = 100;
    bridge_with(leaf, 1, opts); /* nobody listens there */
    enum neap_err err = NEAP_OK;
    int kept = 0;
    while (!(err = try_publish(leaf, "a", "1234567890")))
        kept++;
    assert_int_equal(err, NEAP_ELIMIT);
    assert_in_range(kept, 3, 10);
}

static void a_first_attempt_that_fails_is_final_without_retry(void **state)
{
    struct world *w = *state;
    struct node *leaf = node(w, 0, false);
    struct taker t;
    take(leaf, &t, "a", NULL, 0);
    bridge_with(leaf, 1, quick(false));
    run_until_state(w, leaf, NP_BUS_BRIDGE_FAILED);
    assert_int_equal(leaf->err, NEAP_ECONNREFUSED);
    assert_int_equal(leaf->told, 1);
    publish(leaf, "a", "local");
    while (!t.count)
        np_loop_poll(&w->loop);
    np_bus_unsubscribe(t.sub);
}

static void a_bus_has_one_bridge(void **state)
{
    struct world *w = *state;
    struct node *hub = node(w, 0, true), *leaf = node(w, 1, false);
    struct np_bus_bridge *second;
    struct neap_errinfo info;
    join(w, leaf, hub);
    assert_err(np_bus_bridge_open(leaf->bus, "127.0.0.1", 1, NULL, NULL, NULL, &second, &info),
               NEAP_EBUSY);
}

static void a_loop_of_bridges_is_refused(void **state)
{
    struct world *w = *state;
    struct node *a = node(w, 0, true), *b = node(w, 1, true), *c = node(w, 2, true);
    bridge_with(a, np_bus_server_port(a->server), quick(false)); /* to itself */
    run_until_state(w, a, NP_BUS_BRIDGE_FAILED);
    assert_int_equal(a->err, NEAP_EPROTO);
    assert_non_null(strstr(a->why, "loop"));
    np_bus_bridge_close(a->bridge, linger, NULL, NULL);
    a->state = NP_BUS_BRIDGE_CONNECTING;

    join(w, a, b);
    join(w, b, c);
    settle(w, a); /* by now a knows of c */
    bridge_with(c, np_bus_server_port(a->server), quick(false));
    run_until_state(w, c, NP_BUS_BRIDGE_FAILED);
    assert_int_equal(c->err, NEAP_EPROTO);
}

static void a_chain_of_bridges_carries(void **state)
{
    struct world *w = *state;
    struct node *a = node(w, 0, true), *b = node(w, 1, true), *c = node(w, 2, false);
    struct taker at_a, at_b, at_c;
    join(w, b, a);
    join(w, c, b);
    take(a, &at_a, "x", NULL, 0);
    take(b, &at_b, "x", NULL, 0);
    take(c, &at_c, "x", NULL, 0);
    settle(w, c);
    settle(w, b);
    publish(c, "x", "1");
    settle(w, c);
    settle(w, b);
    settle(w, c);
    assert_string_equal(at_a.got, "x=1 ");
    assert_string_equal(at_b.got, "x=1 ");
    assert_string_equal(at_c.got, "x=1 ");
    np_bus_unsubscribe(at_a.sub);
    np_bus_unsubscribe(at_b.sub);
    np_bus_unsubscribe(at_c.sub);
}

/* --- a remote played by hand --- */

struct remote {
    struct np_listener *listener;
    struct np_stream *stream;
    struct np_buf got;
    int accepted;
};

static void remote_read(struct np_stream *s, const char *data, size_t n)
{
    assert_ok(np_buf_append(&((struct remote *)s->arg)->got, data, n));
}
static void remote_gone(struct np_stream *s)
{
}
static void remote_error(struct np_stream *s, enum neap_err err)
{
}
static const struct np_stream_handler remote_handler = {
    .on_read = remote_read, .on_error = remote_error, .on_close = remote_gone};

static void remote_accept(struct np_listener *l, struct np_stream *s)
{
    struct remote *r = np_listener_arg(l);
    r->accepted++;
    if (r->stream) np_stream_close(r->stream);
    r->stream = s;
    np_stream_set_handler(s, &remote_handler, r);
    assert_ok(np_stream_read_start(s));
}

static void remote_open(struct world *w, struct remote *r)
{
    static const struct np_listener_handler h = {.on_accept = remote_accept};
    struct np_listen_options lo = NP_LISTEN_OPTIONS_INIT;
    memset(r, 0, sizeof *r);
    assert_ok(np_tcp_listen(&w->loop, "127.0.0.1", 0, &lo, &h, r, &r->listener, NULL));
}

static void remote_close(struct remote *r)
{
    if (r->stream) np_stream_close(r->stream);
    np_listener_close(r->listener);
    np_buf_fini(&r->got);
}

static void remote_wait(struct world *w, struct remote *r, const char *text)
{
    while (!memmem(np_buf_data(&r->got), np_buf_len(&r->got), text, strlen(text)))
        np_loop_poll(&w->loop);
    np_buf_clear(&r->got);
}

static void remote_say(struct remote *r, const char *text)
{
    assert_ok(np_stream_write(r->stream, text, strlen(text)));
}

static void refused_because(struct world *w, int i, const char *info, enum neap_err err)
{
    struct remote r;
    struct node *n = node(w, i, false);
    remote_open(w, &r);
    bridge_with(n, np_listener_port(r.listener), quick(false));
    while (!r.stream)
        np_loop_poll(&w->loop);
    remote_say(&r, info);
    run_until_state(w, n, NP_BUS_BRIDGE_FAILED);
    assert_int_equal(n->err, err);
    remote_close(&r);
}

static void a_remote_that_will_not_do_is_refused(void **state)
{
    struct world *w = *state;
    refused_because(w, 0, "INFO {\"headers\":true,\"auth_required\":true}\r\n", NEAP_EACCES);
    refused_because(w, 1, "INFO {\"headers\":true,\"tls_required\":true}\r\n", NEAP_ENOTSUP);
    refused_because(w, 2, "INFO {}\r\n", NEAP_ENOTSUP);
    refused_because(w, 3, "HTTP/1.1 400 Bad Request\r\n", NEAP_EPROTO);
}

static void it_says_what_a_client_should(void **state)
{
    struct world *w = *state;
    struct remote r;
    struct node *n = node(w, 0, false);
    struct taker plain, group, once;
    remote_open(w, &r);
    bridge_with(n, np_listener_port(r.listener), quick(true));
    take(n, &plain, "a.*", NULL, 0);
    take(n, &group, "a.*", "q", 0);
    take(n, &once, "b", NULL, 1);
    while (!r.stream)
        np_loop_poll(&w->loop);
    remote_say(&r, "INFO {\"headers\":true,\"max_payload\":10}\r\n");
    remote_wait(w, &r, "PING\r\n");
    assert_int_equal(n->told, 0); /* not before the PONG */
    remote_say(&r, "PONG\r\n");
    remote_wait(w, &r, "SUB a.* 1\r\nSUB a.* q 2\r\nSUB b 3\r\nUNSUB 3 1\r\nPING\r\n");
    assert_int_equal(n->told, 0); /* not before the subscriptions are in place */
    remote_say(&r, "PONG\r\n");
    run_until_state(w, n, NP_BUS_BRIDGE_CONNECTED);
    remote_say(&r, "PING\r\nMSG a.x 2 2\r\nhi\r\nMSG a.x 99 2\r\nno\r\n-ERR 'Permissions "
                   "Violation'\r\n");
    remote_wait(w, &r, "PONG\r\n");
    while (!group.count)
        np_loop_poll(&w->loop);
    assert_string_equal(group.got, "a.x=hi ");
    assert_int_equal(plain.count, 0);
    assert_err(try_publish(n, "a.x", "more than ten"), NEAP_EMSGSIZE);
    np_bus_unsubscribe(group.sub);
    remote_wait(w, &r, "UNSUB 2\r\n");
    np_bus_unsubscribe(plain.sub);
    np_bus_unsubscribe(once.sub);
    remote_close(&r);
}

static void a_silent_remote_is_left(void **state)
{
    struct world *w = *state;
    struct remote r;
    struct node *n = node(w, 0, false);
    struct np_bus_bridge_options opts = quick(true);
    struct np_bus_flush f;
    opts.ping_interval = NP_NS_PER_MS;
    remote_open(w, &r);
    bridge_with(n, np_listener_port(r.listener), opts);
    while (!r.stream)
        np_loop_poll(&w->loop);
    remote_say(&r, "INFO {\"headers\":true}\r\nPONG\r\nPONG\r\n");
    run_until_state(w, n, NP_BUS_BRIDGE_CONNECTED);
    np_bus_flush_init(&f, on_flush);
    flushed = false;
    assert_ok(np_bus_flush_start(n->bus, &f));
    while (!flushed)
        np_loop_poll(&w->loop);
    assert_int_equal(f.err, NEAP_ECONNRESET);
    assert_int_equal(n->state, NP_BUS_BRIDGE_AWAY);
    assert_int_equal(n->err, NEAP_ETIMEDOUT);
    while (r.accepted < 2) /* it tries again */
        np_loop_poll(&w->loop);
    remote_close(&r);
}

static void a_remote_that_says_nothing_times_out(void **state)
{
    struct world *w = *state;
    struct remote r;
    struct node *n = node(w, 0, false);
    struct np_bus_bridge_options opts = quick(false);
    opts.connect_timeout = 5 * NP_NS_PER_MS;
    remote_open(w, &r);
    bridge_with(n, np_listener_port(r.listener), opts);
    run_until_state(w, n, NP_BUS_BRIDGE_FAILED);
    assert_int_equal(n->err, NEAP_ETIMEDOUT);
    remote_close(&r);
}

/* --- out of memory --- */

static enum neap_err join_and_publish(struct world *w, struct node *hub, struct node *leaf)
{
    static const struct np_bus_sub_handler quiet = {.on_message = on_message};
    static struct taker t;
    struct np_bus_bridge_options opts = quick(false);
    memset(&t, 0, sizeof t);
    enum neap_err err = np_bus_new(&w->loop, NULL, &hub->bus);
    if (!err) err = np_bus_new(&w->loop, NULL, &leaf->bus);
    if (!err) err = np_bus_server_new(hub->bus, NULL, &hub->server);
    if (!err) err = np_bus_server_listen(hub->server, "127.0.0.1", 0, NULL);
    if (!err) err = np_bus_subscribe(leaf->bus, BYTES("a"), NULL, &quiet, &t, &t.sub);
    if (!err)
        err = np_bus_bridge_open(leaf->bus, "127.0.0.1", np_bus_server_port(hub->server), &opts,
                                 on_state, leaf, &leaf->bridge, NULL);
    while (!err && leaf->state == NP_BUS_BRIDGE_CONNECTING)
        np_loop_poll(&w->loop);
    if (!err && leaf->state == NP_BUS_BRIDGE_FAILED) err = NEAP_ENOMEM;
    if (!err) err = try_publish(leaf, "a", "x");
    for (int i = 0; i < 20 && !err; i++)
        np_loop_poll(&w->loop);
    np_bus_unsubscribe(t.sub);
    return err;
}

static enum neap_err a_bridged_life(void *arg)
{
    struct world *w = arg;
    enum neap_err err = join_and_publish(w, &w->nodes[0], &w->nodes[1]);
    stop(&w->nodes[0]);
    stop(&w->nodes[1]);
    while (w->loop.handles > 0 || !np_list_empty(&w->loop.deferred))
        np_loop_poll(&w->loop);
    return err;
}

static void out_of_memory_ends_a_connection_at_most(void **state)
{
    struct world *w = *state;
    assert_ok(a_bridged_life(w)); /* the loop keeps what it has grown */
    assert_true(np_test_oom(a_bridged_life, w) > 20);
}

static void urls_are_read(void **state)
{
    static const struct {
        const char *url, *host;
        int port;
    } good[] = {{"nats://127.0.0.1:4222", "127.0.0.1", 4222},
                {"nats://bus.local/", "bus.local", 4222},
                {"bus:1", "bus", 1},
                {"bus", "bus", 4222},
                {"nats://[::1]:5", "::1", 5},
                {"[::1]", "::1", 4222}};
    static const char *const bad[] = {
        "",    "nats://", "tls://a:1", "http://a", "nats://u:p@a:1", "nats://a:1/b",
        "a:0", "a:x",     "a:70000",   "unix:/x"};
    char host[256];
    int port;
    struct neap_errinfo info;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_ok(np_bus_parse_url(good[i].url, host, sizeof host, &port, &info));
        assert_string_equal(host, good[i].host);
        assert_int_equal(port, good[i].port);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_not_equal(np_bus_parse_url(bad[i], host, sizeof host, &port, &info), NEAP_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_cross_both_ways_once_each),
        TEST(publishing_here_comes_back_from_the_loop),
        TEST(queue_groups_balance_over_processes),
        TEST(a_maximum_holds_over_the_bridge),
        TEST(requests_cross),
        TEST(publishes_are_kept_while_away_and_sent_in_order),
        TEST(it_comes_back_and_subscribes_again),
        TEST(what_is_kept_is_bounded),
        TEST(a_first_attempt_that_fails_is_final_without_retry),
        TEST(a_bus_has_one_bridge),
        TEST(a_loop_of_bridges_is_refused),
        TEST(a_chain_of_bridges_carries),
        TEST(a_remote_that_will_not_do_is_refused),
        TEST(it_says_what_a_client_should),
        TEST(a_silent_remote_is_left),
        TEST(a_remote_that_says_nothing_times_out),
        TEST(out_of_memory_ends_a_connection_at_most),
        TEST(urls_are_read),
    };
    return cmocka_run_group_tests_name("bus.bridge", tests, NULL, NULL);
}
