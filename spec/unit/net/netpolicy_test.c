/* Where scripts may connect to: the rules, and that every way out asks them. */
#include "net/netpolicy.h"

#include <string.h>

#include "net/dial.h"
#include "net/dns.h"
#include "net/listener.h"
#include "net/udp.h"
#include "np_test.h"

static struct np_netpolicy *policy_of(const char *rules)
{
    struct np_netpolicy *p;
    struct neap_errinfo info = {0};
    if (np_netpolicy_new(rules, true, &p, &info)) fail_msg("%s", info.message);
    return p;
}

struct question {
    const char *rules;
    const char *host;
    int port;
    bool allowed;
};

static void answers_by_name_and_address(void **state)
{
    static const struct question questions[] = {
        {"a.example:80", "a.example", 80, true},
        {"a.example:80", "A.Example.", 80, true},
        {"A.EXAMPLE.:80", "a.example", 80, true},
        {"a.example:80", "a.example", 81, false},
        {"a.example:80", "b.a.example", 80, false},
        {"a.example:80", "a.example.evil", 80, false},
        {"a.example:80", "xa.example", 80, false},
        {"a.example:80", "", 80, false},
        {"a.example:*", "a.example", 9, true},
        {"a.example:8000-8010", "a.example", 8010, true},
        {"a.example:8000-8010", "a.example", 8011, false},
        {"*.a.example:80", "b.a.example", 80, true},
        {"*.a.example:80", "c.b.A.example.", 80, true},
        {"*.a.example:80", "a.example", 80, false},
        {"*.a.example:80", "evila.example", 80, false},
        {"*.a.example:80", ".a.example", 80, false},
        {"*:443", "anything", 443, true},
        {"*:443", "10.1.2.3", 443, true},
        {"*:443", "::1", 443, true},
        {"*:443", "anything", 80, false},
        {"*", "anything", 80, true},
        {" a.example:80 , b.example:81 ", "b.example", 81, true},
        {"", "a.example", 80, false},
        {NULL, "127.0.0.1", 80, false},
        /* the many ways to write an address */
        {"127.0.0.1:80", "127.0.0.1", 80, true},
        {"127.0.0.1:80", "::ffff:127.0.0.1", 80, true},
        {"127.0.0.1:80", "::ffff:7f00:1", 80, true},
        {"127.0.0.1:80", "127.1", 80, false},
        {"127.0.0.1:80", "0x7f000001", 80, false},
        {"127.0.0.1:80", "2130706433", 80, false},
        {"127.0.0.1:80", "0177.0.0.1", 80, false},
        {"127.0.0.1:80", "127.0.0.1.", 80, false},
        {"127.0.0.1:80", " 127.0.0.1", 80, false},
        {"127.0.0.1:80", "127.0.0.2", 80, false},
        {"127.0.0.1:80", "0.0.0.0", 80, false},
        {"127.0.0.1:80", "localhost", 80, false},
        {"[::1]:80", "::1", 80, true},
        {"[::1]:80", "0:0:0:0:0:0:0:1", 80, true},
        {"[::1]:80", "::2", 80, false},
        {"[::1]:80", "::", 80, false},
        {"[::ffff:10.0.0.1]:80", "10.0.0.1", 80, true},
        {"localhost:80", "localhost", 80, true},
        {"localhost:80", "127.0.0.1", 80, true},
        {"localhost:80", "::1", 80, true},
        {"localhost:80", "127.0.0.2", 80, false},
        {"localhost:80", "evil.localhost", 80, false},
        /* networks */
        {"10.0.0.0/8:*", "10.255.1.2", 1, true},
        {"10.0.0.0/8:*", "::ffff:10.255.1.2", 1, true},
        {"10.0.0.0/8:*", "11.0.0.1", 1, false},
        {"10.0.0.0/8:*", "10.example", 1, false},
        {"10.128.0.0/9:*", "10.127.0.1", 1, false},
        {"10.128.0.0/9:*", "10.129.0.1", 1, true},
        {"0.0.0.0/0:*", "::1", 1, false},
        {"[::]/0:*", "10.0.0.1", 1, false},
        {"[::]/0:*", "::ffff:10.0.0.1", 1, false},
        {"[::/0]:*", "2001:db8::1", 1, true},
        {"[fd00::]/8:443", "fd12::1", 443, true},
        {"[fd00::/8]:443", "fe12::1", 443, false},
        {"10.0.0.1/32:80", "10.0.0.1", 80, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        const struct question *q = &questions[i];
        struct np_netpolicy *p = policy_of(q->rules);
        if (np_netpolicy_allows(p, q->host, q->port) != q->allowed)
            fail_msg("'%s' and %s port %d: wanted %d", q->rules ? q->rules : "(null)", q->host,
                     q->port, q->allowed);
        np_netpolicy_free(p);
    }
}

static void answers_for_any_port_when_a_name_is_looked_up(void **state)
{
    (void)state;
    struct np_netpolicy *p = policy_of("a.example:80");
    assert_true(np_netpolicy_allows(p, "a.example", 0));
    assert_false(np_netpolicy_allows(p, "b.example", 0));
    np_netpolicy_free(p);
}

static void knows_paths(void **state)
{
    (void)state;
    struct np_netpolicy *p = policy_of("unix:/run/a.sock,unix:/run/app/*,*:*");
    assert_true(np_netpolicy_allows_unix(p, "/run/a.sock"));
    assert_true(np_netpolicy_allows_unix(p, "//run/./a.sock"));
    assert_true(np_netpolicy_allows_unix(p, "/run/app/x"));
    assert_false(np_netpolicy_allows_unix(p, "/run/app/"));
    assert_false(np_netpolicy_allows_unix(p, "/run/app"));
    assert_false(np_netpolicy_allows_unix(p, "/run/app/x/y"));
    assert_false(np_netpolicy_allows_unix(p, "/run/app/../b.sock"));
    assert_false(np_netpolicy_allows_unix(p, "/run/app/.."));
    assert_false(np_netpolicy_allows_unix(p, "/run/a.sock2"));
    assert_false(np_netpolicy_allows_unix(p, "run/a.sock"));
    assert_false(np_netpolicy_allows_unix(p, ""));
    np_netpolicy_free(p);
    p = policy_of("unix:*");
    assert_true(np_netpolicy_allows_unix(p, "@anything"));
    np_netpolicy_free(p);
    /* An abstract socket is in no directory, the present one included. */
    char here[4096], rules[4200];
    assert_non_null(getcwd(here, sizeof here));
    snprintf(rules, sizeof rules, "unix:%s/*,unix:@one", here);
    p = policy_of(rules);
    assert_true(np_netpolicy_allows_unix(p, "x"));
    assert_true(np_netpolicy_allows_unix(p, "./@x"));
    assert_false(np_netpolicy_allows_unix(p, "@x"));
    assert_true(np_netpolicy_allows_unix(p, "@one"));
    assert_false(np_netpolicy_allows_unix(p, "@ones"));
    np_netpolicy_free(p);
    p = policy_of("unix:*");
    assert_true(np_netpolicy_allows_unix(p, "anything"));
    assert_false(np_netpolicy_allows(p, "anything", 80));
    np_netpolicy_free(p);
}

static void refuses_rules_in_words(void **state)
{
    static const char *const bad[] = {"a.example",      "a.example:",   "a.example:0", "a:65536",
                                      "a:9-8",          "a:8x",         ":80",         "a*b:80",
                                      "**:80",          "*.*.com:80",   "[::1:80",     "[::1]",
                                      "10.0.0.0/33:80", "10.0.0.0/:80", "x/8:80",      "unix:rel",
                                      "unix:/a*/b",     "unix:",        "::1:80",      ".:80"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct np_netpolicy *p = NULL;
        struct neap_errinfo info = {0};
        if (np_netpolicy_new(bad[i], false, &p, &info) != NEAP_EINVAL) fail_msg("'%s'", bad[i]);
        assert_non_null(strstr(info.message, bad[i]));
    }
}

/* --- the ways out */

struct fix {
    struct np_loop loop;
    struct np_netpolicy *policy;
};

static void set_up(struct fix *f, const char *rules)
{
    assert_ok(np_loop_init(&f->loop, NULL, NULL));
    f->policy = policy_of(rules);
    f->loop.policy = f->policy;
}

static void tear_down(struct fix *f)
{
    np_loop_fini(&f->loop, NULL, NULL);
    np_netpolicy_free(f->policy);
}

static void on_addrs(void *arg, enum neap_err err, const char *why, const union np_addr *addrs,
                     size_t n)
{
    (void)arg, (void)err, (void)why, (void)addrs, (void)n;
}

static void on_srvs(void *arg, enum neap_err err, const char *why, const struct np_dns_srv *v,
                    size_t n)
{
    (void)arg, (void)err, (void)why, (void)v, (void)n;
}

static void every_way_out_asks(void **state)
{
    static const struct np_stream_handler on_stream = {0};
    static const struct np_listener_handler on_listener = {0};
    static const struct np_udp_handler on_udp = {0};
    struct fix f;
    struct np_stream *s;
    struct np_listener *l;
    struct np_dns_query *q;
    struct np_udp *u;
    union np_addr to;
    struct neap_errinfo info = {0};
    (void)state;
    int64_t live = np_alloc_live();
    set_up(&f, "allowed.example:1");
    assert_err(np_tcp_dial(&f.loop, "127.0.0.1", 9, NULL, &on_stream, NULL, &s), NEAP_EACCES);
    assert_err(np_tcp_dial(&f.loop, "allowed.example", 9, NULL, &on_stream, NULL, &s), NEAP_EACCES);
    assert_err(np_unix_dial(&f.loop, "/run/x.sock", NULL, &on_stream, NULL, &s), NEAP_EACCES);
    assert_err(np_unix_listen(&f.loop, "/tmp/x.sock", NULL, &on_listener, NULL, &l, &info),
               NEAP_EACCES);
    assert_err(np_dns_resolve(&f.loop, "evil.example", AF_UNSPEC, 0, on_addrs, NULL, &q),
               NEAP_EACCES);
    assert_err(np_dns_resolve_srv(&f.loop, "_x._tcp.evil.example", on_srvs, NULL, &q), NEAP_EACCES);
    assert_err(np_dns_set_servers(&f.loop, "127.0.0.1:53"), NEAP_EACCES);
    assert_ok(np_udp_open(&f.loop, "127.0.0.1", 0, NULL, &on_udp, NULL, &u, &info));
    assert_ok(np_addr_from_ip("127.0.0.1", 9, &to));
    assert_err(np_udp_send(u, "x", 1, &to.sa), NEAP_EACCES);
    assert_err(np_udp_connect(u, &to.sa), NEAP_EACCES);
    assert_err(np_udp_membership(u, "239.1.2.3", NULL, true), NEAP_EACCES);
    np_udp_close(u);
    tear_down(&f);
    assert_no_leak(live);
}

static enum neap_err make(void *arg)
{
    struct np_netpolicy *p = NULL;
    (void)arg;
    enum neap_err err = np_netpolicy_new("a:1,b:2", false, &p, NULL);
    np_netpolicy_free(p);
    return err;
}

static void survives_want_of_memory(void **state)
{
    (void)state;
    assert_int_equal(np_test_oom(make, NULL), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_by_name_and_address),
        cmocka_unit_test(answers_for_any_port_when_a_name_is_looked_up),
        cmocka_unit_test(knows_paths),
        cmocka_unit_test(refuses_rules_in_words),
        cmocka_unit_test(every_way_out_asks),
        cmocka_unit_test(survives_want_of_memory),
    };
    return cmocka_run_group_tests_name("net.netpolicy", tests, NULL, NULL);
}
