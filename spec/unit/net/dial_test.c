/* Dialling several addresses: the order, the race, who wins, and what becomes of the others. */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dns_server.h"

/* A port on loopback that takes no connection: its backlog is full, so that the kernel drops who
 * knocks. */
struct hole {
    int fd;
    int filler[4];
    union np_addr addr;
};

static void hole_open(struct hole *h, const char *ip)
{
    socklen_t n = sizeof h->addr.in;
    assert_ok(np_addr_from_ip(ip, 0, &h->addr));
    h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(h->fd >= 0);
    assert_int_equal(bind(h->fd, &h->addr.sa, n), 0);
    assert_int_equal(getsockname(h->fd, &h->addr.sa, &n), 0);
    assert_int_equal(listen(h->fd, 0), 0);
    for (int i = 0; i < 4; i++) {
        h->filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(h->filler[i], &h->addr.sa, n);
    }
}

static void hole_close(struct hole *h)
{
    for (int i = 0; i < 4; i++)
        close(h->filler[i]);
    close(h->fd);
}

/* An address where nobody listens. */
static union np_addr nobody(const char *ip)
{
    union np_addr a;
    socklen_t n = sizeof a.in;
    assert_ok(np_addr_from_ip(ip, 0, &a));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, &a.sa, n), 0);
    assert_int_equal(getsockname(fd, &a.sa, &n), 0);
    close(fd);
    return a;
}

static union np_addr listen_at(struct fix *f, struct acceptor *a, const char *ip)
{
    union np_addr addr;
    assert_ok(np_tcp_listen(&f->loop, ip, 0, NULL, &acceptor_handler, a, &a->l, NULL));
    assert_ok(np_addr_from_ip(ip, np_listener_port(a->l), &addr));
    return addr;
}

static void close_listener(struct fix *f, struct acceptor *a)
{
    np_listener_close(a->l);
    run_until(f, a->closed);
}

static bool has_ipv6(void)
{
    union np_addr a;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok =
        fd >= 0 && np_addr_from_ip("::1", 0, &a) == NEAP_OK && bind(fd, &a.sa, sizeof a.in6) == 0;
    if (fd >= 0) close(fd);
    return ok;
}

static struct np_dial_options delay_of(int64_t ns)
{
    struct np_dial_options o = NP_DIAL_OPTIONS_INIT;
    o.attempt_delay = ns;
    return o;
}

static const int64_t never = 3600 * NP_NS_PER_SEC;

static void race(struct fix *f, struct end *e, const union np_addr *addrs, size_t n, int64_t delay)
{
    struct np_dial_options o = delay_of(delay);
    *e = (struct end){0};
    assert_ok(np_tcp_dial_addrs(&f->loop, addrs, n, &o, &end_handler, e, &e->s));
}

static void an_address_that_does_not_answer_is_overtaken(void **state)
{
    struct fix *f = *state;
    struct hole h;
    struct end e, server = {0};
    struct acceptor a = {.to = &server};
    hole_open(&h, "127.0.0.2");
    union np_addr addrs[] = {h.addr, listen_at(f, &a, "127.0.0.1")};
    race(f, &e, addrs, 2, 10 * NP_NS_PER_MS);
    assert_ok(np_stream_write(e.s, "early", 5));
    run_until(f, e.opened && a.accepted);
    assert_ok(np_stream_read_start(server.s));
    run_until(f, server.got == 5);
    assert_int_equal(e.errors, 0);
    char peer[NP_ADDR_TEXT_MAX];
    assert_ok(np_stream_peer(e.s, peer, sizeof peer));
    assert_memory_equal(peer, "127.0.0.1:", 10);
    close_listener(f, &a);
    end_finish(f, &e);
    end_finish(f, &server);
    hole_close(&h);
}

static void the_next_is_tried_at_once_when_one_fails(void **state)
{
    struct fix *f = *state;
    struct end e, server = {0};
    struct acceptor a = {.to = &server};
    union np_addr addrs[] = {nobody("127.0.0.3"), nobody("127.0.0.4"),
                             listen_at(f, &a, "127.0.0.1")};
    race(f, &e, addrs, 3, never);
    run_until(f, e.opened && a.accepted);
    close_listener(f, &a);
    end_finish(f, &e);
    end_finish(f, &server);
}

static void who_answers_in_time_is_not_raced(void **state)
{
    struct fix *f = *state;
    struct end e, one = {0}, two = {0};
    struct acceptor a = {.to = &one}, b = {.to = &two};
    union np_addr addrs[] = {listen_at(f, &a, "127.0.0.1"), listen_at(f, &b, "127.0.0.2")};
    race(f, &e, addrs, 2, never);
    run_until(f, e.opened && a.accepted);
    run_some(f);
    assert_int_equal(b.accepted, 0);
    close_listener(f, &a);
    close_listener(f, &b);
    end_finish(f, &e);
    end_finish(f, &one);
}

/* Two of IPv4 that are of no use come first, and the second would not be given up for an hour. */
static void the_families_take_turns(void **state)
{
    struct fix *f = *state;
    struct hole h;
    struct end e, server = {0};
    struct acceptor a = {.to = &server};
    if (!has_ipv6()) skip();
    hole_open(&h, "127.0.0.2");
    union np_addr addrs[] = {nobody("127.0.0.3"), h.addr, listen_at(f, &a, "::1")};
    race(f, &e, addrs, 3, never);
    run_until(f, e.opened && a.accepted);
    close_listener(f, &a);
    end_finish(f, &e);
    end_finish(f, &server);
    hole_close(&h);
}

static void when_all_fail_the_last_says_why(void **state)
{
    struct fix *f = *state;
    struct end e;
    union np_addr addrs[] = {nobody("127.0.0.3"), nobody("127.0.0.4")};
    race(f, &e, addrs, 2, never);
    run_until(f, e.errors);
    assert_int_equal(e.err, NEAP_ECONNREFUSED);
    assert_int_equal(e.opened, 0);
    end_finish(f, &e);
}

static void connecting_and_resolving_have_bounds_of_their_own(void **state)
{
    static const struct dns_record names[] = {{"silent.test", 0, NULL, 0}, {NULL, 0, NULL, 0}};
    struct fix *f = *state;
    struct dns_server s;
    struct hole h[2];
    struct end e = {0};
    struct np_dial_options o = NP_DIAL_OPTIONS_INIT;
    hole_open(&h[0], "127.0.0.2");
    hole_open(&h[1], "127.0.0.3");
    dns_server_start(f, &s, names);
    o.timeout = never;
    o.connect_timeout = 20 * NP_NS_PER_MS;
    union np_addr addrs[] = {h[0].addr, h[1].addr};
    for (size_t n = 1; n <= 2; n++) {
        e = (struct end){0};
        assert_ok(np_tcp_dial_addrs(&f->loop, addrs, n, &o, &end_handler, &e, &e.s));
        assert_false(np_tcp_dial_resolving(e.s));
        run_until(f, e.errors);
        assert_int_equal(e.err, NEAP_ETIMEDOUT);
        assert_false(np_tcp_dial_resolving(e.s));
        end_finish(f, &e);
    }
    o.resolve_timeout = 2 * NP_NS_PER_MS;
    e = (struct end){0};
    assert_ok(np_tcp_dial(&f->loop, "silent.test", 80, &o, &end_handler, &e, &e.s));
    run_until(f, e.errors);
    assert_int_equal(e.err, NEAP_ETIMEDOUT);
    assert_true(np_tcp_dial_resolving(e.s));
    end_finish(f, &e);
    dns_server_stop(f, &s);
    hole_close(&h[0]);
    hole_close(&h[1]);
}

/* A name server that does not answer for one family keeps nobody from the other. */
static void a_family_that_is_not_answered_for_is_not_waited_for(void **state)
{
    static const struct dns_record names[] = {{"four.test", DNS_A, "127.0.0.1", 60},
                                              {"four.test", DNS_AAAA, NULL, 0},
                                              {"six.test", DNS_AAAA, "::1", 60},
                                              {"six.test", DNS_A, NULL, 0},
                                              {"dead.test", DNS_A, "127.0.0.3", 60},
                                              {"dead.test", DNS_AAAA, NULL, 0},
                                              {NULL, 0, NULL, 0}};
    struct fix *f = *state;
    struct dns_server s;
    struct np_dial_options o = NP_DIAL_OPTIONS_INIT;
    dns_server_start(f, &s, names);
    o.timeout = never;
    o.resolve_timeout = 4 * NP_NS_PER_SEC; /* c-ares itself asks again after five */
    for (int i = 0; i < 2; i++) {
        struct end e = {0}, server = {0};
        struct acceptor a = {.to = &server};
        if (i == 1 && !has_ipv6()) break;
        listen_at(f, &a, i == 0 ? "127.0.0.1" : "::1");
        assert_ok(np_tcp_dial(&f->loop, i == 0 ? "four.test" : "six.test", np_listener_port(a.l),
                              &o, &end_handler, &e, &e.s));
        run_until(f, (e.opened && a.accepted) || e.errors);
        assert_int_equal(e.errors, 0);
        close_listener(f, &a);
        end_finish(f, &e);
        end_finish(f, &server);
    }
    /* Nor for long where all that is known has failed. */
    struct end e = {0};
    o.attempt_delay = 10 * NP_NS_PER_MS;
    assert_ok(np_tcp_dial(&f->loop, "dead.test", 1, &o, &end_handler, &e, &e.s));
    run_until(f, e.errors);
    assert_int_equal(e.err, NEAP_ECONNREFUSED);
    end_finish(f, &e);
    dns_server_stop(f, &s);
}

static void may_be_closed_at_any_moment(void **state)
{
    struct fix *f = *state;
    struct hole h;
    struct end e, server = {0};
    struct acceptor a = {.to = &server};
    hole_open(&h, "127.0.0.2");
    union np_addr addrs[] = {h.addr, nobody("127.0.0.3"), listen_at(f, &a, "127.0.0.1")};
    for (int turns = 0; turns < 12; turns++) {
        race(f, &e, addrs, 3, turns % 2 ? never : NP_NS_PER_MS);
        for (int i = 0; i < turns; i++)
            np_loop_poll(&f->loop);
        end_finish(f, &e);
        run_some(f);
        if (a.accepted) end_finish(f, &server);
        a.accepted = 0;
    }
    close_listener(f, &a);
    hole_close(&h);
}

static void an_unreferenced_race_holds_no_loop(void **state)
{
    struct fix *f = *state;
    struct hole h[2];
    struct end e;
    hole_open(&h[0], "127.0.0.2");
    hole_open(&h[1], "127.0.0.3");
    union np_addr addrs[] = {h[0].addr, h[1].addr};
    race(f, &e, addrs, 2, never);
    np_stream_set_ref(e.s, false);
    np_loop_run(&f->loop); /* ends by itself */
    assert_int_equal(e.opened + e.errors, 0);
    end_finish(f, &e);
    hole_close(&h[0]);
    hole_close(&h[1]);
}

static void lost_memory_is_survived(void **state)
{
    struct fix *f = *state;
    int failed = 0;
    for (int at = 1; at < 40; at++) {
        struct end e = {0}, server = {0};
        struct acceptor a = {.to = &server};
        union np_addr addrs[] = {nobody("127.0.0.3"), listen_at(f, &a, "127.0.0.1")};
        np_alloc_fail_at(at);
        enum neap_err err = np_tcp_dial_addrs(&f->loop, addrs, 2, NULL, &end_handler, &e, &e.s);
        if (!err) run_until(f, e.opened || e.errors);
        np_alloc_fail_at(0);
        failed += err || e.errors;
        if (err) assert_int_equal(err, NEAP_ENOMEM);
        if (!err) end_finish(f, &e);
        run_some(f);
        if (a.accepted) end_finish(f, &server);
        close_listener(f, &a);
        run_some(f);
    }
    assert_true(failed > 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_address_that_does_not_answer_is_overtaken),
        T(the_next_is_tried_at_once_when_one_fails),
        T(who_answers_in_time_is_not_raced),
        T(the_families_take_turns),
        T(when_all_fail_the_last_says_why),
        T(connecting_and_resolving_have_bounds_of_their_own),
        T(a_family_that_is_not_answered_for_is_not_waited_for),
        T(may_be_closed_at_any_moment),
        T(an_unreferenced_race_holds_no_loop),
        T(lost_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
