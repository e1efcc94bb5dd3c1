/* Addresses: what is one, what is not, and how it is written. */
#include "np_test.h"

#include <stdio.h>
#include <string.h>

#include "mesh/address.h"

static void reads_and_writes_each_form(void **state)
{
    static const char *const cases[][2] = {
        {"127.0.0.1:8080", "127.0.0.1:8080"},
        {"goods.local:1", "goods.local:1"},
        {"[::1]:443", "[::1]:443"},
        {"[127.0.0.1]:65535", "127.0.0.1:65535"},
        {"unix:/run/neap.sock", "unix:/run/neap.sock"},
        {"/run/neap.sock", "unix:/run/neap.sock"},
        {"unix:@neap", "unix:@neap"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct np_address a;
        char text[NP_ADDRESS_TEXT_MAX + 1];
        assert_ok(np_address_parse(cases[i][0], strlen(cases[i][0]), &a, NULL));
        assert_int_equal(np_address_format(&a, text), strlen(cases[i][1]));
        assert_string_equal(text, cases[i][1]);
    }
}

static void parts_are_slices(void **state)
{
    struct np_address a;
    (void)state;
    assert_ok(np_address_parse("[fe80::1]:90", 12, &a, NULL));
    assert_int_equal(a.port, 90);
    assert_int_equal(a.host_len, 7);
    assert_memory_equal(a.host, "fe80::1", 7);
    assert_null(a.path);
    assert_ok(np_address_parse("/a/b", 4, &a, NULL));
    assert_null(a.host);
    assert_int_equal(a.port, 0);
    assert_memory_equal(a.path, "/a/b", 4);
}

static void refuses_what_is_no_address(void **state)
{
    static const char *const bad[] = {
        "",          "host",   "host:",         ":80",   "host:0",      "host:65536",  "host:-1",
        "host:8 0",  "::1:80", "[::1]80",       "[::1]", "[]:80",       "ho st:80",    "user@h:80",
        "h/p:80",    "unix:",  "unix:relative", "/",     "host:123456", "http://a:80", "a\x01:80",
        "unix:/a\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct np_address a = {0};
        struct neap_errinfo info = {0};
        assert_err(np_address_parse(bad[i], strlen(bad[i]), &a, &info), NEAP_EINVAL);
        assert_true(info.message[0] != '\0');
        assert_null(a.host);
    }
}

static void lengths_are_bounded(void **state)
{
    char text[512];
    struct np_address a;
    (void)state;
    memset(text, 'a', sizeof text);
    snprintf(text + NP_ADDRESS_HOST_MAX, 3, ":1");
    assert_ok(np_address_parse(text, NP_ADDRESS_HOST_MAX + 2, &a, NULL));
    memset(text, 'a', sizeof text);
    snprintf(text + NP_ADDRESS_HOST_MAX + 1, 3, ":1");
    assert_err(np_address_parse(text, NP_ADDRESS_HOST_MAX + 3, &a, NULL), NEAP_EINVAL);
    memset(text, 'a', sizeof text);
    text[0] = '/';
    assert_ok(np_address_parse(text, NP_ADDRESS_PATH_MAX, &a, NULL));
    assert_err(np_address_parse(text, NP_ADDRESS_PATH_MAX + 1, &a, NULL), NEAP_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes_each_form),
        cmocka_unit_test(parts_are_slices),
        cmocka_unit_test(refuses_what_is_no_address),
        cmocka_unit_test(lengths_are_bounded),
    };
    return cmocka_run_group_tests_name("mesh.address", tests, NULL, NULL);
}
