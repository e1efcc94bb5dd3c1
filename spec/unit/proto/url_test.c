/* URLs: parsed, refused, resolved, normalised, encoded. */
#include "proto/url.h"

#include <stdio.h>
#include <string.h>

#include "np_test.h"

static struct np_url parse(const char *text)
{
    struct np_url u;
    struct neap_errinfo info;
    enum neap_err err = np_url_parse(text, strlen(text), &u, &info);
    if (err) fail_msg("%s: %s", text, info.message);
    return u;
}

static void assert_bytes(struct np_bytes b, const char *want)
{
    if (!want) {
        assert_null(b.p);
        return;
    }
    if (b.n != strlen(want) || (b.n && memcmp(b.p, want, b.n) != 0))
        fail_msg("\"%.*s\", wanted \"%s\"", (int)b.n, b.p, want);
}

static const char *text_of(struct np_buf *b)
{
    assert_ok(np_buf_append(b, "", 1));
    return np_buf_data(b);
}

static void parts_of_a_url(void **state)
{
    struct np_url u = parse("HTTPS://user:pa@Shop.Test:8443/a/b;c?x=1&y#top");
    assert_int_equal(u.scheme, NP_URL_HTTPS);
    assert_bytes(u.userinfo, "user:pa");
    assert_bytes(u.host, "Shop.Test");
    assert_int_equal(u.port, 8443);
    assert_bytes(u.path, "/a/b;c");
    assert_bytes(u.query, "x=1&y");
    assert_bytes(u.fragment, "top");

    u = parse("http://h");
    assert_int_equal(u.port, 80);
    assert_false(u.port_given);
    assert_bytes(u.path, "");
    assert_bytes(u.query, NULL);
    assert_bytes(u.userinfo, NULL);

    u = parse("http://[::1]:81?q");
    assert_true(u.ipv6);
    assert_bytes(u.host, "::1");
    assert_int_equal(u.port, 81);
    assert_bytes(u.query, "q");
    assert_int_equal(parse("https://h:/").port, 443);
}

static void unix_urls(void **state)
{
    struct np_url u = parse("unix:/run/app.sock:/goods?x");
    assert_int_equal(u.scheme, NP_URL_UNIX);
    assert_bytes(u.socket, "/run/app.sock");
    assert_bytes(u.path, "/goods");
    assert_bytes(u.query, "x");
    assert_bytes(parse("unix:///run/a.sock").socket, "/run/a.sock");
    assert_bytes(parse("unix:/run/a.sock").path, "");
}

static void what_is_no_url(void **state)
{
    static const char *const cases[] = {
        "",
        "h",
        "/path",
        "ftp://h/",
        "http:/h",
        "http://",
        "http:///x",
        "http://a b/",
        "http://h/\x01",
        "http://h/\xc3\xa9",
        "http://h:0/",
        "http://h:65536/",
        "http://h:8o/",
        "http://h:99999999999999999999/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[]/",
        "http://[g::1]/",
        "http://a:b:c/",
        "http://a%00b/",
        "http://a\\b/",
        "unix:relative.sock",
        "unix:",
        "unix:/a:b",
        "http://h/<x>",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct np_url u = {.port = 77};
        struct neap_errinfo info = {0};
        if (np_url_parse(cases[i], strlen(cases[i]), &u, &info) != NEAP_EINVAL)
            fail_msg("\"%s\" passed", cases[i]);
        assert_int_equal(u.port, 77); /* untouched */
        assert_true(info.message[0] != 0);
    }
    char long_one[NP_URL_MAX + 20];
    struct np_url u;
    memset(long_one, 'a', sizeof long_one);
    memcpy(long_one, "http://h/", 9);
    assert_err(np_url_parse(long_one, sizeof long_one, &u, NULL), NEAP_EINVAL);
    assert_ok(np_url_parse(long_one, NP_URL_MAX, &u, NULL));
}

static void target_and_authority(void **state)
{
    static const char *const cases[][3] = {
        {"http://h", "/", "h"},
        {"http://h:80/a?b#c", "/a?b", "h"},
        {"https://h:80/a?", "/a?", "h:80"},
        {"http://[::1]:81/", "/", "[::1]:81"},
        {"unix:/s:/x?y", "/x?y", "localhost"},
        {"http://h?x=/y", "/?x=/y", "h"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct np_buf b = {0};
        struct np_url u = parse(cases[i][0]);
        assert_ok(np_url_target(&b, &u));
        assert_string_equal(text_of(&b), cases[i][1]);
        np_buf_clear(&b);
        assert_ok(np_url_authority(&b, &u));
        assert_string_equal(text_of(&b), cases[i][2]);
        np_buf_fini(&b);
    }
}

static void same_origin(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {"http://h/a", "http://H:80/b", true},     {"http://h", "https://h", false},
        {"http://h", "http://h:81", false},        {"http://h", "http://hh", false},
        {"unix:/a:/x", "unix:/a:/y", true},        {"unix:/a", "unix:/b", false},
        {"https://h:443/", "https://h/x?y", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct np_url a = parse(cases[i].a), b = parse(cases[i].b);
        assert_int_equal(np_url_same_origin(&a, &b), cases[i].same);
    }
}

/* RFC 3986 §5.4 with http in place of its http, and what else redirects hold. */
static void references(void **state)
{
    static const char *const cases[][2] = {
        {"g", "http://a/b/c/g"},
        {"./g", "http://a/b/c/g"},
        {"g/", "http://a/b/c/g/"},
        {"/g", "http://a/g"},
        {"//g", "http://g/"},
        {"?y", "http://a/b/c/d;p?y"},
        {"g?y", "http://a/b/c/g?y"},
        {"#s", "http://a/b/c/d;p?q#s"},
        {"g#s", "http://a/b/c/g#s"},
        {"g?y#s", "http://a/b/c/g?y#s"},
        {";x", "http://a/b/c/;x"},
        {"", "http://a/b/c/d;p?q"},
        {".", "http://a/b/c/"},
        {"..", "http://a/b/"},
        {"../g", "http://a/b/g"},
        {"../..", "http://a/"},
        {"../../../g", "http://a/g"},
        {"/./g", "http://a/g"},
        {"/../g", "http://a/g"},
        {"g.", "http://a/b/c/g."},
        {"..g", "http://a/b/c/..g"},
        {"./g/.", "http://a/b/c/g/"},
        {"g;x=1/../y", "http://a/b/c/y"},
        {"g?y/../x", "http://a/b/c/g?y/../x"},
        {"%2e%2E/g", "http://a/b/g"},
        {"https://x.test:444/../z?q#f", "https://x.test:444/z?q#f"},
        {"//u@h:81/x", "http://h:81/x"},
        {"unix:/s:/x", "unix:/s:/x"},
    };
    struct np_url base = parse("http://a/b/c/d;p?q");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct np_buf b = {0};
        assert_ok(np_url_resolve(&b, &base, cases[i][0], strlen(cases[i][0]), NULL));
        if (strcmp(text_of(&b), cases[i][1]) != 0)
            fail_msg("\"%s\" gave %s, wanted %s", cases[i][0], np_buf_data(&b), cases[i][1]);
        np_buf_fini(&b);
    }
    struct np_buf b = {0};
    struct np_url bare = parse("http://a"), sock = parse("unix:/s:/x/y");
    assert_ok(np_url_resolve(&b, &bare, "g", 1, NULL));
    assert_string_equal(text_of(&b), "http://a/g");
    np_buf_clear(&b);
    assert_ok(np_url_resolve(&b, &sock, "../z", 4, NULL));
    assert_string_equal(text_of(&b), "unix:/s:/z");
    np_buf_clear(&b);
    assert_err(np_url_resolve(&b, &bare, "mailto:x", 8, NULL), NEAP_EINVAL);
    assert_err(np_url_resolve(&b, &bare, "a b", 3, NULL), NEAP_EINVAL);
    assert_int_equal(np_buf_len(&b), 0);
    np_buf_fini(&b);
}

static void paths_are_normalised(void **state)
{
    static const char *const cases[][2] = {
        {"/", "/"},
        {"/a/./b", "/a/b"},
        {"/a/../../../b", "/b"},
        {"/..", "/"},
        {"/a/..", "/"},
        {"/a/b/..", "/a/"},
        {"/.%2E/x", "/x"},
        {"/a//b/../c", "/a//c"},
        {"/...", "/..."},
        {"/a/.", "/a/"},
        {"", ""},
        {"relative/../x", "relative/../x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s", cases[i][0]);
        size_t n = np_url_normalize_path(path, strlen(path));
        assert_bytes((struct np_bytes){path, n}, cases[i][1]);
    }
}

static void percent_coding(void **state)
{
    char out[64];
    size_t n;
    assert_true(np_url_decode("a%20b+c%2f%00", 13, false, out, &n));
    assert_int_equal(n, 7);
    assert_memory_equal(out, "a b+c/\0", 7);
    assert_true(np_url_decode("a+b", 3, true, out, &n));
    assert_memory_equal(out, "a b", 3);
    static const char *const bad[] = {"%", "%1", "a%g0", "%0g", "x%%20"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(np_url_decode(bad[i], strlen(bad[i]), false, out, &n));

    struct np_buf b = {0};
    assert_ok(np_url_encode(&b, "a b/\xc3\xa9~+", 9, NP_URL_COMPONENT));
    assert_string_equal(text_of(&b), "a%20b%2F%C3%A9~%2B%00");
    np_buf_clear(&b);
    assert_ok(np_url_encode(&b, "/a b@", 5, NP_URL_PATH));
    assert_string_equal(text_of(&b), "/a%20b@");
    np_buf_clear(&b);
    assert_ok(np_url_encode(&b, "a b+", 4, NP_URL_FORM));
    assert_string_equal(text_of(&b), "a+b%2B");
    np_buf_fini(&b);
}

static void queries(void **state)
{
    static const char text[] = "a=1&&b&c==2&=x&d=";
    static const char *const want[][2] = {
        {"a", "1"}, {"b", NULL}, {"c", "=2"}, {"", "x"}, {"d", ""}};
    struct np_bytes rest = {text, sizeof text - 1}, name, value;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_true(np_url_query_next(&rest, &name, &value));
        assert_bytes(name, want[i][0]);
        assert_bytes(value, want[i][1]);
    }
    assert_false(np_url_query_next(&rest, &name, &value));
}

static enum neap_err survive(void *arg)
{
    struct np_buf b = {0};
    struct np_url base = parse("http://[::1]:81/b/c/d;p?q");
    enum neap_err err = np_url_resolve(&b, &base, "../x?y#z", 8, NULL);
    if (err) assert_int_equal(np_buf_len(&b), 0);
    if (!err) err = np_url_authority(&b, &base);
    if (!err) err = np_url_target(&b, &base);
    if (!err) err = np_url_encode(&b, "x y", 3, NP_URL_FORM);
    np_buf_fini(&b);
    return err;
}

static void lost_memory_is_an_error_like_any_other(void **state)
{
    assert_true(np_test_oom(survive, NULL) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_of_a_url),
        cmocka_unit_test(unix_urls),
        cmocka_unit_test(what_is_no_url),
        cmocka_unit_test(target_and_authority),
        cmocka_unit_test(same_origin),
        cmocka_unit_test(references),
        cmocka_unit_test(paths_are_normalised),
        cmocka_unit_test(percent_coding),
        cmocka_unit_test(queries),
        cmocka_unit_test(lost_memory_is_an_error_like_any_other),
    };
    return cmocka_run_group_tests_name("proto.url", tests, NULL, NULL);
}
