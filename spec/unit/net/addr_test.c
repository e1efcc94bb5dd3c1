/* Addresses as text and back. */
#include <string.h>
#include <sys/un.h>

#include "net/addr.h"
#include "np_test.h"

static void round_trip(const char *ip, int port, const char *text)
{
    union np_addr a;
    char out[NP_ADDR_TEXT_MAX];
    assert_ok(np_addr_from_ip(ip, port, &a));
    np_addr_format(&a.sa, out, sizeof out);
    assert_string_equal(out, text);
    np_addr_format_ip(&a.sa, out, sizeof out);
    assert_string_equal(out, ip);
    assert_int_equal(np_addr_port(&a.sa), port);
}

static void formats_what_it_reads(void **state)
{
    round_trip("127.0.0.1", 80, "127.0.0.1:80");
    round_trip("255.255.255.255", 65535, "255.255.255.255:65535");
    round_trip("::1", 0, "[::1]:0");
    round_trip("2001:db8::42", 443, "[2001:db8::42]:443");
    round_trip("fe80::1%lo", 53, "[fe80::1%lo]:53");
}

static void refuses_what_is_no_literal_address(void **state)
{
    static const char *const bad[] = {"",          "localhost", "1.2.3",    "1.2.3.4.5",
                                      "256.1.1.1", "::g",       "[::1]",    "fe80::1%nosuch",
                                      "1.2.3.4 ",  "0x7f.1",    ":::::::::"};
    union np_addr a;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_err(np_addr_from_ip(bad[i], 1, &a), NEAP_EINVAL);
    assert_err(np_addr_from_ip("1.2.3.4", -1, &a), NEAP_EINVAL);
    assert_err(np_addr_from_ip("1.2.3.4", 65536, &a), NEAP_EINVAL);
}

static void formats_paths(void **state)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char out[NP_ADDR_TEXT_MAX];
    np_addr_format((struct sockaddr *)&un, out, sizeof out);
    assert_string_equal(out, "unix:");
    strcpy(un.sun_path + 1, "abstract");
    np_addr_format((struct sockaddr *)&un, out, sizeof out);
    assert_string_equal(out, "unix:@abstract");
    memset(un.sun_path, 'p', sizeof un.sun_path); /* no NUL: the kernel allows that */
    np_addr_format((struct sockaddr *)&un, out, sizeof out);
    assert_int_equal(strlen(out), 5 + sizeof un.sun_path);
}

static void cuts_what_does_not_fit(void **state)
{
    union np_addr a;
    char out[6];
    assert_ok(np_addr_from_ip("127.0.0.1", 80, &a));
    np_addr_format(&a.sa, out, sizeof out);
    assert_string_equal(out, "127.0");
}

static void splits_to(const char *text, const char *host, int port)
{
    char h[64];
    int p;
    assert_ok(np_addr_split(text, h, sizeof h, &p, NULL));
    assert_string_equal(h, host);
    assert_int_equal(p, port);
}

static void splits_host_and_port(void **state)
{
    splits_to("localhost:80", "localhost", 80);
    splits_to("10.0.0.1:0", "10.0.0.1", 0);
    splits_to("[::1]:65535", "::1", 65535);
    splits_to("a.b-c.example:443", "a.b-c.example", 443);
    splits_to("unix:/run/x.sock", "unix:/run/x.sock", 0);
}

static void refuses_what_it_cannot_split(void **state)
{
    static const char *const bad[] = {"",
                                      "host",
                                      ":80",
                                      "host:",
                                      "host:x",
                                      "h:65536",
                                      "h:-1",
                                      "h: 80",
                                      "::1:80",
                                      "[::1]",
                                      "[::1:80",
                                      "[]:80",
                                      "unix:",
                                      "h:99999999999999999999",
                                      "averyveryveryveryverylonghostname:80"};
    char h[32] = "untouched";
    int p = 7;
    struct neap_errinfo info;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memset(&info, 0, sizeof info);
        assert_err(np_addr_split(bad[i], h, sizeof h, &p, &info), NEAP_EINVAL);
        assert_string_equal(h, "untouched");
        assert_int_equal(p, 7);
        assert_non_null(strstr(info.message, bad[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_what_it_reads),
        cmocka_unit_test(refuses_what_is_no_literal_address),
        cmocka_unit_test(formats_paths),
        cmocka_unit_test(cuts_what_does_not_fit),
        cmocka_unit_test(splits_host_and_port),
        cmocka_unit_test(refuses_what_it_cannot_split),
    };
    return cmocka_run_group_tests_name("net.addr", tests, NULL, NULL);
}
