/* The cache of lookups: how long, how many, and what is remembered of names that do not exist. */
#include "net/dns_cache.h"

#include "dns_server.h"

static const int64_t sec = NP_NS_PER_SEC;

static union np_addr addr_of(const char *ip)
{
    union np_addr a;
    assert_ok(np_addr_from_ip(ip, 0, &a));
    return a;
}

static void put(struct np_dns_cache *c, const char *name, int64_t now, int64_t ttl)
{
    union np_addr a = addr_of("192.0.2.1");
    np_dns_cache_put(c, name, AF_UNSPEC, now, ttl, NEAP_OK, &a, 1);
}

static void lasts_as_long_as_its_records(void **state)
{
    struct np_dns_cache c;
    np_dns_cache_init(&c);
    put(&c, "a.test", 0, 10 * sec);
    put(&c, "now.test", 0, 0);
    put(&c, "long.test", 0, 90000 * sec);
    assert_non_null(np_dns_cache_get(&c, "a.test", AF_UNSPEC, 10 * sec - 1));
    assert_non_null(np_dns_cache_get(&c, "A.Test", AF_UNSPEC, 0));
    assert_null(np_dns_cache_get(&c, "a.test", AF_INET, 0));
    assert_null(np_dns_cache_get(&c, "a.test", AF_UNSPEC, 10 * sec));
    assert_null(np_dns_cache_get(&c, "now.test", AF_UNSPEC, 0));
    assert_non_null(np_dns_cache_get(&c, "long.test", AF_UNSPEC, 3599 * sec));
    assert_null(np_dns_cache_get(&c, "long.test", AF_UNSPEC, 3600 * sec));
    assert_int_equal(c.n, 0);
    np_dns_cache_fini(&c);
}

static void a_name_that_does_not_exist_is_remembered_shortly(void **state)
{
    struct np_dns_cache c;
    np_dns_cache_init(&c);
    np_dns_cache_put(&c, "none.test", AF_UNSPEC, 0, 0, NEAP_ENOTFOUND, NULL, 0);
    const struct np_dns_cached *e = np_dns_cache_get(&c, "none.test", AF_UNSPEC, 5 * sec - 1);
    assert_non_null(e);
    assert_int_equal(e->err, NEAP_ENOTFOUND);
    assert_null(np_dns_cache_get(&c, "none.test", AF_UNSPEC, 5 * sec));
    np_dns_cache_fini(&c);
}

static void who_was_not_asked_for_the_longest_goes_first(void **state)
{
    struct np_dns_cache c;
    np_dns_cache_init(&c);
    c.opts.max_names = 2;
    put(&c, "a.test", 0, sec);
    put(&c, "b.test", 0, sec);
    assert_non_null(np_dns_cache_get(&c, "a.test", AF_UNSPEC, 0));
    put(&c, "c.test", 0, sec);
    assert_null(np_dns_cache_get(&c, "b.test", AF_UNSPEC, 0));
    assert_non_null(np_dns_cache_get(&c, "a.test", AF_UNSPEC, 0));
    assert_int_equal(c.n, 2);
    c.opts.max_names = 0;
    np_dns_cache_trim(&c);
    put(&c, "d.test", 0, sec);
    assert_int_equal(c.n, 0);
    np_dns_cache_fini(&c);
}

static void lost_memory_loses_no_more_than_the_name(void **state)
{
    for (int at = 1; at < 6; at++) {
        struct np_dns_cache c;
        int64_t live = np_alloc_live();
        np_dns_cache_init(&c);
        np_alloc_fail_at(at);
        put(&c, "a.test", 0, sec);
        np_alloc_fail_at(0);
        put(&c, "b.test", 0, sec);
        assert_non_null(np_dns_cache_get(&c, "b.test", AF_UNSPEC, 0));
        np_dns_cache_fini(&c);
        assert_no_leak(live);
    }
}

struct answer {
    struct np_dns_query *q;
    int calls;
    enum neap_err err;
    size_t n;
    int port;
};

static void on_addrs(void *arg, enum neap_err err, const char *why, const union np_addr *addrs,
                     size_t n)
{
    struct answer *a = arg;
    a->calls++;
    a->err = err;
    a->n = n;
    a->port = n ? np_addr_port(&addrs[0].sa) : 0;
}

static void ask(struct fix *f, struct answer *a, const char *name, int port)
{
    *a = (struct answer){0};
    assert_ok(np_dns_resolve(&f->loop, name, AF_INET, port, on_addrs, a, &a->q));
    assert_int_equal(a->calls, 0); /* from the loop, even if it is known */
    run_until(f, a->calls);
}

static void a_server_is_asked_once(void **state)
{
    static const struct dns_record names[] = {{"a.test", DNS_A, "192.0.2.1", 60},
                                              {"zero.test", DNS_A, "192.0.2.1", 0},
                                              {NULL, 0, NULL, 0}};
    struct fix *f = *state;
    struct dns_server s;
    struct answer a;
    struct np_dns_stats stats;
    dns_server_start(f, &s, names);
    for (int i = 1; i <= 3; i++) {
        ask(f, &a, "a.test", 80 * i);
        assert_true(a.err == NEAP_OK && a.n == 1);
        assert_int_equal(a.port, 80 * i);
    }
    assert_int_equal(s.asked, 1);
    for (int i = 0; i < 2; i++) {
        ask(f, &a, "zero.test", 80);
        assert_ok(a.err);
    }
    assert_int_equal(s.asked, 3);
    ask(f, &a, "none.test", 80);
    int asked = s.asked;
    ask(f, &a, "none.test", 80);
    assert_int_equal(a.err, NEAP_ENOTFOUND);
    assert_int_equal(s.asked, asked);
    np_dns_get_stats(&f->loop, &stats);
    assert_int_equal(stats.hits, 3);
    assert_int_equal(stats.names, 2);
    np_dns_forget(&f->loop);
    ask(f, &a, "a.test", 80);
    assert_int_equal(s.asked, asked + 1);
    dns_server_stop(f, &s);
}

static void who_asks_the_same_at_once_shares_the_answer(void **state)
{
    static const struct dns_record names[] = {{"a.test", DNS_A, "192.0.2.1", 0},
                                              {NULL, 0, NULL, 0}};
    struct fix *f = *state;
    struct dns_server s;
    struct answer a[4] = {{0}};
    dns_server_start(f, &s, names);
    for (int i = 0; i < 4; i++)
        assert_ok(np_dns_resolve(&f->loop, i == 2 ? "A.test" : "a.test", AF_INET, i, on_addrs,
                                 &a[i], &a[i].q));
    np_dns_cancel(a[0].q);
    np_dns_cancel(a[0].q);
    run_until(f, a[0].calls && a[1].calls && a[2].calls && a[3].calls);
    assert_err(a[0].err, NEAP_ECANCELED);
    for (int i = 1; i < 4; i++) {
        assert_ok(a[i].err);
        assert_int_equal(a[i].port, i);
        assert_int_equal(a[i].calls, 1);
    }
    assert_int_equal(s.asked, 1);
    /* A question that nobody waits for any more is there for who comes next, or given up. */
    a[0] = a[1] = (struct answer){0};
    assert_ok(np_dns_resolve(&f->loop, "a.test", AF_INET, 1, on_addrs, &a[0], &a[0].q));
    np_dns_cancel(a[0].q);
    assert_ok(np_dns_resolve(&f->loop, "a.test", AF_INET, 1, on_addrs, &a[1], &a[1].q));
    run_until(f, a[0].calls && a[1].calls);
    assert_err(a[0].err, NEAP_ECANCELED);
    assert_ok(a[1].err);
    dns_server_stop(f, &s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lasts_as_long_as_its_records),
        cmocka_unit_test(a_name_that_does_not_exist_is_remembered_shortly),
        cmocka_unit_test(who_was_not_asked_for_the_longest_goes_first),
        cmocka_unit_test(lost_memory_loses_no_more_than_the_name),
        cmocka_unit_test_setup_teardown(a_server_is_asked_once, fix_setup, fix_teardown),
        cmocka_unit_test_setup_teardown(who_asks_the_same_at_once_shares_the_answer, fix_setup,
                                        fix_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
