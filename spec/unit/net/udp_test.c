/* Datagrams. */
#include "fixture.h"

#include "net/udp.h"

struct sock {
    struct np_udp *u;
    char text[NP_ADDR_TEXT_MAX];
    int port;
    union np_addr addr;
    int received, errors, closed;
    bool inside;
    enum neap_err err;
    char data[70000];
    size_t n;
    char from[NP_ADDR_TEXT_MAX];
};

static void on_recv(struct np_udp *u, const char *data, size_t n, const struct sockaddr *from,
                    bool truncated)
{
    struct sock *k = np_udp_arg(u);
    assert_false(k->inside);
    assert_false(truncated);
    k->received++;
    k->n = n;
    memcpy(k->data, data, n);
    np_addr_format(from, k->from, sizeof k->from);
}

static void on_error(struct np_udp *u, enum neap_err err)
{
    struct sock *k = np_udp_arg(u);
    k->errors++;
    k->err = err;
}

static void on_close(struct np_udp *u)
{
    struct sock *k = np_udp_arg(u);
    assert_false(k->inside);
    k->closed++;
}

static const struct np_udp_handler handler = {on_recv, on_error, on_close};

static struct sock *sock_open(struct fix *f)
{
    struct sock *k = test_calloc(1, sizeof *k);
    assert_ok(np_udp_open(&f->loop, "127.0.0.1", 0, NULL, &handler, k, &k->u, NULL));
    assert_ok(np_udp_local(k->u, k->text, sizeof k->text, &k->port));
    assert_ok(np_addr_from_ip("127.0.0.1", k->port, &k->addr));
    assert_ok(np_udp_recv_start(k->u));
    return k;
}

static void sock_close(struct fix *f, struct sock *k)
{
    k->inside = true;
    np_udp_close(k->u);
    np_udp_close(k->u);
    k->inside = false;
    run_until(f, k->closed);
    assert_int_equal(k->closed, 1);
    test_free(k);
}

static void datagrams_keep_their_borders_and_name_their_sender(void **state)
{
    struct fix *f = *state;
    struct sock *a = sock_open(f), *b = sock_open(f);
    assert_ok(np_udp_send(a->u, "ping", 4, &b->addr.sa));
    run_until(f, b->received);
    assert_int_equal(b->n, 4);
    assert_memory_equal(b->data, "ping", 4);
    assert_string_equal(b->from, a->text);
    assert_ok(np_udp_send(a->u, "", 0, &b->addr.sa));
    run_until(f, b->received == 2);
    assert_int_equal(b->n, 0);
    assert_ok(np_udp_send(a->u, "x", 1, &b->addr.sa));
    assert_ok(np_udp_send(a->u, "yz", 2, &b->addr.sa));
    run_until(f, b->received == 4);
    assert_int_equal(b->n, 2);
    sock_close(f, a);
    sock_close(f, b);
}

static void carries_the_largest_and_refuses_more(void **state)
{
    struct fix *f = *state;
    struct sock *a = sock_open(f), *b = sock_open(f);
    static char big[66000];
    memset(big, 'q', sizeof big);
    assert_ok(np_udp_send(a->u, big, 65507, &b->addr.sa));
    run_until(f, b->received);
    assert_int_equal(b->n, 65507);
    assert_memory_equal(b->data, big, b->n);
    assert_err(np_udp_send(a->u, big, 65508, &b->addr.sa), NEAP_EMSGSIZE);
    assert_err(np_udp_send(a->u, big, sizeof big, &b->addr.sa), NEAP_EMSGSIZE);
    sock_close(f, a);
    sock_close(f, b);
}

static void a_connected_socket_hears_its_peer_alone(void **state)
{
    struct fix *f = *state;
    struct sock *a = sock_open(f), *b = sock_open(f), *c = sock_open(f);
    assert_err(np_udp_send(a->u, "x", 1, NULL), NEAP_ENOTCONN);
    assert_ok(np_udp_connect(a->u, &b->addr.sa));
    assert_ok(np_udp_send(a->u, "hello", 5, NULL));
    run_until(f, b->received);
    assert_ok(np_udp_send(c->u, "stranger", 8, &a->addr.sa));
    assert_ok(np_udp_send(b->u, "friend", 6, &a->addr.sa));
    run_until(f, a->received);
    assert_int_equal(a->n, 6);
    run_some(f);
    assert_int_equal(a->received, 1);
    assert_ok(np_udp_connect(a->u, &c->addr.sa)); /* another peer */
    assert_ok(np_udp_send(a->u, "you", 3, NULL));
    run_until(f, c->received);
    sock_close(f, a);
    sock_close(f, b);
    sock_close(f, c);
}

static void a_peer_that_is_not_there_is_reported(void **state)
{
    struct fix *f = *state;
    struct sock *a = sock_open(f), *b = sock_open(f);
    union np_addr gone = b->addr;
    sock_close(f, b);
    assert_ok(np_udp_connect(a->u, &gone.sa));
    assert_ok(np_udp_send(a->u, "anybody?", 8, NULL));
    run_until(f, a->errors);
    assert_int_equal(a->err, NEAP_ECONNREFUSED);
    sock_close(f, a);
}

static void receiving_stops_and_goes_on(void **state)
{
    struct fix *f = *state;
    struct sock *a = sock_open(f), *b = sock_open(f);
    np_udp_recv_stop(b->u);
    np_udp_recv_stop(b->u);
    assert_ok(np_udp_send(a->u, "kept", 4, &b->addr.sa));
    run_some(f);
    assert_int_equal(b->received, 0);
    assert_ok(np_udp_recv_start(b->u));
    assert_ok(np_udp_recv_start(b->u));
    run_until(f, b->received);
    np_udp_close(a->u);
    assert_err(np_udp_send(a->u, "x", 1, &b->addr.sa), NEAP_ECLOSED);
    assert_err(np_udp_recv_start(a->u), NEAP_ECLOSED);
    sock_close(f, a);
    sock_close(f, b);
}

static void says_what_is_wrong_with_an_address(void **state)
{
    struct fix *f = *state;
    struct sock *a = sock_open(f);
    struct np_udp *u;
    struct neap_errinfo info;
    assert_err(np_udp_open(&f->loop, "127.0.0.1", a->port, NULL, &handler, NULL, &u, &info),
               NEAP_EADDRINUSE);
    assert_err(np_udp_open(&f->loop, "a.name", 0, NULL, &handler, NULL, &u, &info), NEAP_EINVAL);
    assert_non_null(strstr(info.message, "a.name"));
    assert_err(np_udp_open(&f->loop, "192.0.2.1", 0, NULL, &handler, NULL, &u, &info),
               NEAP_EADDRNOTAVAIL);
    sock_close(f, a);
}

static void joins_and_leaves_a_group(void **state)
{
    struct fix *f = *state;
    struct sock *k = test_calloc(1, sizeof *k);
    struct np_udp_options opts = {.reuse_port = true, .broadcast = true, .recv_buffer = 65536};
    assert_ok(np_udp_open(&f->loop, "0.0.0.0", 0, &opts, &handler, k, &k->u, NULL));
    assert_ok(np_udp_membership(k->u, "239.1.2.3", "127.0.0.1", true));
    assert_ok(np_udp_multicast(k->u, 1, true));
    assert_ok(np_udp_membership(k->u, "239.1.2.3", "127.0.0.1", false));
    assert_int_not_equal(np_udp_membership(k->u, "10.0.0.1", "127.0.0.1", true), NEAP_OK);
    sock_close(f, k);
}

static void an_ephemeral_port_is_taken_at_the_first_send(void **state)
{
    struct fix *f = *state;
    struct sock *b = sock_open(f), *k = test_calloc(1, sizeof *k);
    assert_ok(np_udp_open(&f->loop, NULL, 0, NULL, &handler, k, &k->u, NULL));
    assert_ok(np_udp_send(k->u, "x", 1, &b->addr.sa));
    run_until(f, b->received);
    assert_ok(np_udp_local(k->u, k->text, sizeof k->text, &k->port));
    assert_true(k->port > 0);
    sock_close(f, k);
    sock_close(f, b);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(datagrams_keep_their_borders_and_name_their_sender),
        T(carries_the_largest_and_refuses_more),
        T(a_connected_socket_hears_its_peer_alone),
        T(a_peer_that_is_not_there_is_reported),
        T(receiving_stops_and_goes_on),
        T(says_what_is_wrong_with_an_address),
        T(joins_and_leaves_a_group),
        T(an_ephemeral_port_is_taken_at_the_first_send),
    };
    return cmocka_run_group_tests_name("net.udp", tests, NULL, NULL);
}
