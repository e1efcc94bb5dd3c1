/* Lookups, against a server of the test's own. */
#include "dns_server.h"

static const struct dns_record table[] = {
    {"one.test", DNS_A, "192.0.2.1", 60},
    {"both.test", DNS_A, "192.0.2.2", 60},
    {"both.test", DNS_A, "192.0.2.3", 60},
    {"both.test", DNS_AAAA, "2001:db8::2", 60},
    {"six.test", DNS_AAAA, "2001:db8::6", 60},
    {"_http._tcp.shop.test", DNS_SRV, "20 0 8020 c.test", 300},
    {"_http._tcp.shop.test", DNS_SRV, "10 60 8010 a.test", 300},
    {"_http._tcp.shop.test", DNS_SRV, "10 40 8011 b.test", 300},
    {"_no._tcp.shop.test", DNS_SRV, "0 0 0 .", 300},
    {"silent.test", 0, NULL, 0},
    {NULL, 0, NULL, 0},
};

struct answer {
    struct fix *f;
    struct np_dns_query *q;
    int calls;
    bool inside;
    enum neap_err err;
    char why[128];
    union np_addr addrs[8];
    struct np_dns_srv srvs[8];
    size_t n;
    struct answer *cancels; /* in its callback */
};

static void note(struct answer *a, enum neap_err err, const char *why, size_t n)
{
    assert_false(a->inside);
    a->calls++;
    a->err = err;
    a->n = n;
    if (err) snprintf(a->why, sizeof a->why, "%s", why);
    assert_true((err != NEAP_OK) == (why != NULL));
    if (a->cancels) {
        np_dns_cancel(a->q); /* too late: changes nothing */
        np_dns_cancel(a->cancels->q);
    }
    np_loop_stop(&a->f->loop);
}

static void on_addrs(void *arg, enum neap_err err, const char *why, const union np_addr *addrs,
                     size_t n)
{
    struct answer *a = arg;
    if (n) memcpy(a->addrs, addrs, n * sizeof *addrs);
    note(a, err, why, n);
}

static void on_srvs(void *arg, enum neap_err err, const char *why, const struct np_dns_srv *v,
                    size_t n)
{
    struct answer *a = arg;
    if (n) memcpy(a->srvs, v, n * sizeof *v);
    note(a, err, why, n);
}

static void ask(struct fix *f, struct answer *a, const char *name, int family)
{
    *a = (struct answer){.f = f, .inside = true};
    assert_ok(np_dns_resolve(&f->loop, name, family, 80, on_addrs, a, &a->q));
    a->inside = false;
}

static void ask_srv(struct fix *f, struct answer *a, const char *name)
{
    *a = (struct answer){.f = f, .inside = true};
    assert_ok(np_dns_resolve_srv(&f->loop, name, on_srvs, a, &a->q));
    a->inside = false;
}

static bool has(const struct answer *a, const char *text)
{
    char s[NP_ADDR_TEXT_MAX];
    for (size_t i = 0; i < a->n; i++) {
        np_addr_format(&a->addrs[i].sa, s, sizeof s);
        if (strcmp(s, text) == 0) return true;
    }
    return false;
}

static void resolves_addresses_of_either_family(void **state)
{
    struct fix *f = *state;
    struct dns_server s;
    struct answer one, both, four, six;
    dns_server_start(f, &s, table);
    ask(f, &one, "one.test", AF_UNSPEC);
    ask(f, &both, "both.test", AF_UNSPEC);
    ask(f, &four, "both.test", AF_INET);
    ask(f, &six, "both.test", AF_INET6);
    run_until(f, one.calls && both.calls && four.calls && six.calls);
    assert_int_equal(one.err, NEAP_OK);
    assert_true(one.n == 1 && has(&one, "192.0.2.1:80"));
    assert_int_equal(both.n, 3);
    assert_true(has(&both, "[2001:db8::2]:80") && has(&both, "192.0.2.3:80"));
    assert_true(four.n == 2 && has(&four, "192.0.2.2:80"));
    assert_true(six.n == 1 && has(&six, "[2001:db8::2]:80"));
    dns_server_stop(f, &s);
}

static void says_when_there_is_no_such_name_or_record(void **state)
{
    struct fix *f = *state;
    struct dns_server s;
    struct answer none, four;
    dns_server_start(f, &s, table);
    ask(f, &none, "none.test", AF_UNSPEC);
    ask(f, &four, "six.test", AF_INET);
    run_until(f, none.calls && four.calls);
    assert_int_equal(none.err, NEAP_ENOTFOUND);
    assert_int_equal(four.err, NEAP_ENOTFOUND);
    assert_true(strlen(none.why) > 0);
    dns_server_stop(f, &s);
}

static void answers_literals_and_localhost_without_asking(void **state)
{
    struct fix *f = *state;
    struct answer v4, v6, wrong, local, sub;
    ask(f, &v4, "192.0.2.7", AF_UNSPEC);
    ask(f, &v6, "::1", AF_INET6);
    ask(f, &wrong, "::1", AF_INET);
    ask(f, &local, "localhost", AF_UNSPEC);
    ask(f, &sub, "A.LocalHost.", AF_INET);
    run_until(f, v4.calls && v6.calls && wrong.calls && local.calls && sub.calls);
    assert_true(v4.n == 1 && has(&v4, "192.0.2.7:80"));
    assert_true(v6.n == 1 && has(&v6, "[::1]:80"));
    assert_int_equal(wrong.err, NEAP_ENOTFOUND);
    assert_true(local.n == 2 && has(&local, "127.0.0.1:80") && has(&local, "[::1]:80"));
    assert_true(sub.n == 1 && has(&sub, "127.0.0.1:80"));
    assert_null(f->loop.dns); /* resolv.conf has not been read */
}

static void resolves_services_in_order_of_priority(void **state)
{
    struct fix *f = *state;
    struct dns_server s;
    struct answer a;
    int first_a = 0;
    dns_server_start(f, &s, table);
    for (int i = 0; i < 40; i++) {
        ask_srv(f, &a, "_http._tcp.shop.test");
        run_until(f, a.calls);
        assert_int_equal(a.err, NEAP_OK);
        assert_int_equal(a.n, 3);
        assert_string_equal(a.srvs[2].target, "c.test");
        assert_int_equal(a.srvs[2].port, 8020);
        assert_int_equal(a.srvs[0].priority, 10);
        assert_true(a.srvs[0].ttl == 300 * NP_NS_PER_SEC);
        assert_string_not_equal(a.srvs[0].target, a.srvs[1].target);
        first_a += strcmp(a.srvs[0].target, "a.test") == 0;
    }
    assert_in_range(first_a, 5, 38); /* by weight, not by place: 24 expected */
    dns_server_stop(f, &s);
}

static void a_service_may_be_absent_or_declined(void **state)
{
    struct fix *f = *state;
    struct dns_server s;
    struct answer no, none;
    dns_server_start(f, &s, table);
    ask_srv(f, &no, "_no._tcp.shop.test");
    ask_srv(f, &none, "_none._tcp.shop.test");
    run_until(f, no.calls && none.calls);
    assert_int_equal(no.err, NEAP_ENOTFOUND);
    assert_int_equal(none.err, NEAP_ENOTFOUND);
    s.garbage = true;
    ask_srv(f, &no, "_http._tcp.shop.test");
    run_until(f, no.calls);
    assert_int_equal(no.err, NEAP_EDNS);
    dns_server_stop(f, &s);
}

static void cancelling_ends_a_lookup_once_from_the_loop(void **state)
{
    struct fix *f = *state;
    struct dns_server s;
    struct answer a, b, c;
    dns_server_start(f, &s, table);
    ask(f, &a, "silent.test", AF_UNSPEC);
    ask_srv(f, &b, "silent.test");
    ask(f, &c, "127.0.0.1", AF_UNSPEC);
    run_until(f, s.asked >= 2);
    a.inside = c.inside = true;
    np_dns_cancel(a.q);
    np_dns_cancel(a.q);
    a.inside = c.inside = false;
    run_until(f, a.calls && c.calls);
    assert_int_equal(a.err, NEAP_ECANCELED);
    assert_int_equal(c.err, NEAP_OK);
    assert_int_equal(b.calls, 0);
    assert_true(np_loop_poll(&f->loop)); /* one is still awaited */
    np_dns_cancel(b.q);
    np_loop_run(&f->loop); /* nothing holds it: c-ares has given up */
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 1);
    assert_int_equal(b.err, NEAP_ECANCELED);
    dns_server_stop(f, &s);
}

static void a_callback_may_cancel_others(void **state)
{
    struct fix *f = *state;
    struct dns_server s;
    struct answer a, b;
    dns_server_start(f, &s, table);
    ask(f, &a, "one.test", AF_INET);
    ask(f, &b, "silent.test", AF_INET);
    a.cancels = &b;
    run_until(f, a.calls && b.calls);
    assert_int_equal(a.err, NEAP_OK);
    assert_int_equal(b.err, NEAP_ECANCELED);
    np_loop_run(&f->loop);
    assert_int_equal(a.calls, 1);
    dns_server_stop(f, &s);
}

static void the_end_of_the_channel_cancels_what_is_pending(void **state)
{
    struct fix *f = *state;
    struct dns_server s;
    struct answer a, b;
    dns_server_start(f, &s, table);
    ask(f, &a, "silent.test", AF_UNSPEC);
    ask(f, &b, "silent.test", AF_UNSPEC);
    np_dns_cancel(b.q);
    np_dns_free(&f->loop);
    assert_int_equal(a.calls, 0);
    run_until(f, a.calls && b.calls);
    assert_int_equal(a.err, NEAP_ECANCELED);
    dns_server_stop(f, &s);
}

static void a_stream_dials_by_name(void **state)
{
    static const struct dns_record names[] = {
        {"up.test", DNS_A, "127.0.0.1", 60},
        {"mixed.test", DNS_A, "127.0.0.9", 60}, /* nobody listens there */
        {"mixed.test", DNS_A, "127.0.0.1", 60},
        {"down.test", DNS_A, "127.0.0.8", 60},
        {"down.test", DNS_A, "127.0.0.9", 60},
        {"silent.test", 0, NULL, 0},
        {NULL, 0, NULL, 0},
    };
    struct fix *f = *state;
    struct dns_server s;
    struct end a = {0}, b = {0};
    struct acceptor acc = {.to = &b};
    dns_server_start(f, &s, names);
    assert_ok(np_tcp_listen(&f->loop, "127.0.0.1", 0, NULL, &acceptor_handler, &acc, &acc.l, NULL));
    int port = np_listener_port(acc.l);
    static const char *const good[] = {"up.test", "mixed.test"};
    for (int i = 0; i < 2; i++) {
        a = (struct end){0};
        assert_ok(np_tcp_dial(&f->loop, good[i], port, NULL, &end_handler, &a, &a.s));
        assert_ok(np_stream_write(a.s, "early", 5));
        run_until(f, a.opened && acc.accepted == i + 1);
        assert_ok(np_stream_read_start(b.s));
        run_until(f, b.got == 5);
        end_finish(f, &a);
        end_finish(f, &b);
    }
    static const struct {
        const char *name;
        enum neap_err err;
    } bad[] = {{"down.test", NEAP_ECONNREFUSED}, {"none.test", NEAP_ENOTFOUND}};
    for (int i = 0; i < 2; i++) {
        a = (struct end){0};
        assert_ok(np_tcp_dial(&f->loop, bad[i].name, port, NULL, &end_handler, &a, &a.s));
        run_until(f, a.errors);
        assert_int_equal(a.err, bad[i].err);
        assert_int_equal(a.opened, 0);
        end_finish(f, &a);
    }
    struct np_dial_options quick = NP_DIAL_OPTIONS_INIT;
    quick.timeout = 2 * NP_NS_PER_MS;
    a = (struct end){0};
    assert_ok(np_tcp_dial(&f->loop, "silent.test", port, &quick, &end_handler, &a, &a.s));
    run_until(f, a.errors);
    assert_int_equal(a.err, NEAP_ETIMEDOUT);
    end_finish(f, &a);
    np_listener_close(acc.l);
    dns_server_stop(f, &s);
}

/* Closes a stream after so many turns of the loop, wherever dialling stands then. */
static void dialling_by_name_may_be_closed_at_any_moment(void **state)
{
    static const struct dns_record names[] = {
        {"mixed.test", DNS_A, "127.0.0.9", 60},
        {"mixed.test", DNS_A, "127.0.0.8", 60},
        {"mixed.test", DNS_A, "127.0.0.1", 60},
        {NULL, 0, NULL, 0},
    };
    struct fix *f = *state;
    struct dns_server s;
    struct end a, b = {0};
    struct acceptor acc = {.to = &b};
    dns_server_start(f, &s, names);
    assert_ok(np_tcp_listen(&f->loop, "127.0.0.1", 0, NULL, &acceptor_handler, &acc, &acc.l, NULL));
    for (int turns = 0; turns < 15; turns++) {
        a = (struct end){0};
        assert_ok(np_tcp_dial(&f->loop, "mixed.test", np_listener_port(acc.l), NULL, &end_handler,
                              &a, &a.s));
        for (int i = 0; i < turns; i++)
            np_loop_poll(&f->loop);
        end_finish(f, &a);
        run_some(f);
        if (acc.accepted) end_finish(f, &b);
        acc.accepted = 0;
    }
    np_listener_close(acc.l);
    dns_server_stop(f, &s);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(resolves_addresses_of_either_family),
        T(says_when_there_is_no_such_name_or_record),
        T(answers_literals_and_localhost_without_asking),
        T(resolves_services_in_order_of_priority),
        T(a_service_may_be_absent_or_declined),
        T(cancelling_ends_a_lookup_once_from_the_loop),
        T(a_callback_may_cancel_others),
        T(the_end_of_the_channel_cancels_what_is_pending),
        T(a_stream_dials_by_name),
        T(dialling_by_name_may_be_closed_at_any_moment),
    };
    return cmocka_run_group_tests_name("net.dns", tests, NULL, NULL);
}
