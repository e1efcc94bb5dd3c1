/* Addresses, networks, lists of them: what is in, what is out, what is refused. */
#include <string.h>

#include "base/cidr.h"
#include "np_test.h"

static struct np_cidr cidr(const char *text)
{
    struct np_cidr c;
    struct neap_errinfo info = {0};
    assert_ok(np_cidr_parse(text, strlen(text), &c, &info));
    return c;
}

static bool has(const char *net, const char *address)
{
    struct np_cidr c = cidr(net);
    struct np_ip ip;
    assert_ok(np_ip_parse(address, strlen(address), &ip));
    return np_cidr_has(&c, &ip);
}

static void networks_hold_what_is_inside(void **state)
{
    static const struct {
        const char *net, *ip;
        bool in;
    } t[] = {
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "9.255.255.255", false},
        {"192.168.1.128/25", "192.168.1.127", false},
        {"192.168.1.128/25", "192.168.1.128", true},
        {"192.168.1.4/30", "192.168.1.7", true},
        {"192.168.1.4/30", "192.168.1.8", false},
        {"127.0.0.1", "127.0.0.1", true},
        {"127.0.0.1", "127.0.0.2", false},
        {"127.0.0.1/32", "127.0.0.1", true},
        {"0.0.0.0/0", "8.8.8.8", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "10.0.0.1", false},
        {"fd00::/8", "fdff::1", true},
        {"fd00::/8", "fe00::1", false},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"::1", "::1", true},
        {"10.0.0.0/8", "::ffff:10.1.2.3", true},
        {"::ffff:10.0.0.0/104", "10.1.2.3", true},
        {"::ffff:10.0.0.0/104", "11.1.2.3", false},
        {"::ffff:127.0.0.1", "127.0.0.1", true},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        if (has(t[i].net, t[i].ip) != t[i].in) fail_msg("%s in %s", t[i].ip, t[i].net);
}

static void what_is_no_network_is_refused_in_words(void **state)
{
    static const char *const bad[] = {
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/8x",
        "10.0.0/8",
        "010.0.0.0",
        "10.0.0.0/08",
        "::/129",
        "::ffff:0.0.0.0/95",
        "10.0.0.1/8",
        "fd00::1/8",
        "localhost",
        "10.0.0.0/-1",
        "10.0.0.0/255.0.0.0",
        "fe80::1%lo",
        "[::1]",
        "10.0.0.1:80",
        "10.0.0.0/8,127.0.0.1",
        " 10.0.0.1",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct np_cidr c;
        struct neap_errinfo info = {0};
        if (np_cidr_parse(bad[i], strlen(bad[i]), &c, &info) != NEAP_EINVAL)
            fail_msg("'%s' was taken", bad[i]);
        assert_true(info.message[0]);
    }
    struct np_cidr c;
    struct neap_errinfo info = {0};
    assert_err(np_cidr_parse("10.1.2.3/8", 10, &c, &info), NEAP_EINVAL);
    assert_non_null(strstr(info.message, "10.0.0.0/8?"));
    assert_err(np_cidr_parse("1.2.3.4\0", 8, &c, &info), NEAP_EINVAL);
}

static void hosts_come_with_and_without_ports(void **state)
{
    static const struct {
        const char *text, *ip;
        int port;
    } t[] = {{"10.0.0.1", "10.0.0.1", -1},
             {"10.0.0.1:80", "10.0.0.1", 80},
             {"::1", "::1", -1},
             {"[::1]", "::1", -1},
             {"[2001:DB8::0:1]:65535", "2001:db8::1", 65535},
             {"10.0.0.1:0", "10.0.0.1", 0},
             {"[::ffff:1.2.3.4]:5", "1.2.3.4", 5}};
    static const char *const bad[] = {"",         ":80",     "10.0.0.1:",      "10.0.0.1:65536",
                                      "[::1",     "[::1]80", "[::1]:",         "[10.0.0.1]",
                                      "[]",       "a:1",     "10.0.0.1:+1",    "10.0.0.1:80 ",
                                      "[::1]:1x", "unknown", "10.0.0.1:000080"};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct np_ip ip;
        int port = 7;
        char text[NP_IP_TEXT_MAX];
        assert_ok(np_ip_parse_host(t[i].text, strlen(t[i].text), &ip, &port));
        np_ip_format(&ip, text);
        assert_string_equal(text, t[i].ip);
        assert_int_equal(port, t[i].port);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct np_ip ip;
        if (np_ip_parse_host(bad[i], strlen(bad[i]), &ip, NULL) != NEAP_EINVAL)
            fail_msg("'%s' was taken", bad[i]);
    }
}

static void add(struct np_cidr_list *l, const char *text)
{
    assert_ok(np_cidr_list_add(l, text, strlen(text), NULL));
}

static void a_list_is_asked_for_peers_as_streams_name_them(void **state)
{
    struct np_cidr_list l = {0};
    assert_false(np_cidr_list_has_peer(&l, "127.0.0.1:1"));
    add(&l, "127.0.0.1");
    add(&l, "fe80::/10");
    assert_true(np_cidr_list_has_peer(&l, "127.0.0.1:1"));
    assert_true(np_cidr_list_has_peer(&l, "[::ffff:127.0.0.1]:1"));
    assert_true(np_cidr_list_has_peer(&l, "[fe80::1%eth0]:1"));
    assert_true(np_cidr_list_has_peer(&l, "fe80::1%eth0"));
    assert_false(np_cidr_list_has_peer(&l, "127.0.0.2:1"));
    assert_false(np_cidr_list_has_peer(&l, "unix:"));
    assert_false(np_cidr_list_has_peer(&l, "pipe"));
    assert_err(np_cidr_list_add(&l, "nonsense", 8, NULL), NEAP_EINVAL);
    assert_int_equal(l.n, 2);
    add(&l, "unix");
    assert_true(np_cidr_list_has_peer(&l, "unix:"));
    assert_true(np_cidr_list_has_peer(&l, "unix:/run/x.sock"));
    add(&l, "*");
    assert_true(np_cidr_list_has_peer(&l, "pipe"));
    np_cidr_list_fini(&l);
}

static enum neap_err make_list(void *arg)
{
    struct np_cidr_list l = {0};
    enum neap_err err = np_cidr_list_add(&l, "10.0.0.0/8", 10, NULL);
    if (!err) err = np_cidr_list_add(&l, "::1", 3, NULL);
    struct np_cidr_list copy = {0};
    if (!err) err = np_cidr_list_copy(&l, &copy);
    if (!err) assert_true(np_cidr_list_has_peer(&copy, "10.1.1.1"));
    np_cidr_list_fini(&copy);
    np_cidr_list_fini(&l);
    return err;
}

static void lost_memory_is_survived(void **state)
{
    assert_true(np_test_oom(make_list, NULL) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_hold_what_is_inside),
        cmocka_unit_test(what_is_no_network_is_refused_in_words),
        cmocka_unit_test(hosts_come_with_and_without_ports),
        cmocka_unit_test(a_list_is_asked_for_peers_as_streams_name_them),
        cmocka_unit_test(lost_memory_is_survived),
    };
    return cmocka_run_group_tests_name("base.cidr", tests, NULL, NULL);
}
