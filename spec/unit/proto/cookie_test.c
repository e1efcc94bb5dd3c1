/* Cookies: reading as browsers do, dates, and writing what they take. */
#include "proto/cookie.h"

#include <stdio.h>
#include <string.h>

#include "np_test.h"

static struct np_bytes text(const char *s)
{
    return (struct np_bytes){s, s ? strlen(s) : 0};
}

static void is(struct np_bytes b, const char *want)
{
    if (!want) {
        assert_null(b.p);
        return;
    }
    assert_int_equal(b.n, strlen(want));
    assert_memory_equal(b.p, want, b.n);
}

/* "name:value," for each cookie of a header. */
static void reads(const char *header, const char *want)
{
    char got[256] = "";
    struct np_bytes rest = text(header), name, value;
    while (np_cookie_next(&rest, &name, &value))
        sprintf(got + strlen(got), "%.*s:%.*s,", (int)name.n, name.p, (int)value.n, value.p);
    assert_string_equal(got, want);
}

static void reads_a_cookie_header(void **state)
{
    reads("a=1; b=2", "a:1,b:2,");
    reads("a=1;b=x=y;  c = q r ;d=;\te=\"f\"", "a:1,b:x=y,c:q r,d:,e:f,");
    reads("broken; =nameless; ;;; a=1", "a:1,");
    reads("a=\"; b=\"\"; c=\"x", "a:\",b:,c:\"x,");
    reads("a=b\rc; d=1\x7f; e=\xc3\xa9", "e:\xc3\xa9,");
    reads("", "");
    reads("a=1; a=2", "a:1,a:2,");
}

static void reads_a_set_cookie_header(void **state)
{
    struct np_set_cookie c;
    const char *full = "id = a=b ; Path=/x; domain=.Example.com; MAX-AGE=60; Secure ; httponly;"
                       "SameSite=none; Partitioned; Expires=Wed, 21 Oct 2015 07:28:00 GMT; x=y";
    assert_true(np_set_cookie_parse(full, strlen(full), &c));
    is(c.name, "id");
    is(c.value, "a=b");
    is(c.path, "/x");
    is(c.domain, "Example.com");
    assert_true(c.secure && c.http_only && c.partitioned && c.has_expires && c.has_max_age);
    assert_int_equal(c.max_age, 60);
    assert_int_equal(c.expires, 1445412480);
    assert_int_equal(c.same_site, NP_SAME_SITE_NONE);
}

static struct np_set_cookie taken(const char *s)
{
    struct np_set_cookie c;
    assert_true(np_set_cookie_parse(s, strlen(s), &c));
    return c;
}

static void is_tolerant_of_attributes(void **state)
{
    is(taken("a=1; path=x").path, NULL);
    is(taken("a=1; path=/x; path=").path, NULL);
    is(taken("a=1; domain=a.b; domain=c.d").domain, "c.d");
    is(taken("a=1; domain=").domain, NULL);
    assert_false(taken("a=1; max-age=1x").has_max_age);
    assert_false(taken("a=1; max-age=-").has_max_age);
    assert_false(taken("a=1; max-age=+1").has_max_age);
    assert_int_equal(taken("a=1; max-age=-5").max_age, -5);
    assert_int_equal(taken("a=1; max-age=99999999999999999999999").max_age, NP_COOKIE_AGE_MAX);
    assert_false(taken("a=1; expires=soon").has_expires);
    assert_int_equal(taken("a=1; samesite=what").same_site, NP_SAME_SITE_UNSET);
    assert_true(taken("a=1; secure=no").secure);
    char large[1200] = "a=1; path=/";
    memset(large + strlen(large), 'x', NP_COOKIE_ATTRIBUTE_MAX);
    is(taken(large).path, NULL);
}

static void ignores(const char *s)
{
    struct np_set_cookie c;
    if (np_set_cookie_parse(s, strlen(s), &c)) fail_msg("taken: %s", s);
}

static void ignores_what_is_no_cookie(void **state)
{
    ignores("");
    ignores("novalue");
    ignores("=x");
    ignores(" ; secure");
    ignores("a=1\r\nb=2");
    ignores("a=1; path=/\x01");
    ignores("__Secure-a=1");
    ignores("__secure-a=1");
    ignores("__Host-a=1; Secure");
    ignores("__Host-a=1; Secure; Path=/x");
    ignores("__Host-a=1; Secure; Path=/; Domain=a.b");
    taken("__Host-a=1; Secure; Path=/");
    taken("__Secure-a=1; Secure; Domain=a.b");
    char large[NP_COOKIE_MAX + 8] = "ab=";
    memset(large + 3, 'x', NP_COOKIE_MAX - 2);
    taken(large);
    strcat(large, "x");
    ignores(large);
}

static void reads_dates_as_browsers_do(void **state)
{
    static const struct {
        const char *text;
        long long want; /* -1: none */
    } table[] = {
        {"Wed, 21 Oct 2015 07:28:00 GMT", 1445412480},
        {"Wednesday, 21-Oct-15 07:28:00 GMT", 1445412480},
        {"Wed Oct 21 07:28:00 2015", 1445412480},
        {"21 OCTOBER 2015 7:28:0", 1445412480},
        {"07:28:00 2015 21 oct", 1445412480},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"29 Feb 2024 00:00:00", 1709164800},
        {"29 Feb 2023 00:00:00", -1},
        {"31 Apr 2024 00:00:00", -1},
        {"01 Jan 69 00:00:00", 3124224000},
        {"01 Jan 70 00:00:00", 0},
        {"01 Jan 1600 00:00:00", -1},
        {"01 Jan 2024 24:00:00", -1},
        {"01 Jan 2024 00:60:00", -1},
        {"00 Jan 2024 00:00:00", -1},
        {"01 Jan 20240 00:00:00", -1},
        {"01 Foo 2024 00:00:00", -1},
        {"01 Jan 2024", -1},
        {"", -1},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        int64_t got = -1;
        bool ok = np_cookie_date(table[i].text, strlen(table[i].text), &got);
        if (ok != (table[i].want >= 0) || got != table[i].want)
            fail_msg("%s: %lld", table[i].text, (long long)got);
    }
}

static struct np_set_cookie cookie(const char *name, const char *value)
{
    struct np_set_cookie c;
    memset(&c, 0, sizeof c);
    c.name = text(name);
    c.value = text(value);
    return c;
}

static void writes(struct np_set_cookie c, const char *want)
{
    struct np_buf b = {0};
    assert_ok(np_set_cookie_write(&b, &c, NULL));
    is((struct np_bytes){np_buf_data(&b), np_buf_len(&b)}, want);
    np_buf_fini(&b);
}

static void writes_a_set_cookie_header(void **state)
{
    struct np_set_cookie c = cookie("id", "42");
    writes(c, "id=42");
    c.path = text("/a b");
    c.domain = text("shop.example.com");
    c.has_max_age = c.has_expires = c.secure = c.http_only = c.partitioned = true;
    c.max_age = -1;
    c.expires = 1445412480;
    c.same_site = NP_SAME_SITE_NONE;
    writes(c,
           "id=42; Path=/a b; Domain=shop.example.com; Max-Age=-1; "
           "Expires=Wed, 21 Oct 2015 07:28:00 GMT; Secure; HttpOnly; SameSite=None; Partitioned");
}

static void wont_write(struct np_set_cookie c, const char *words)
{
    struct np_buf b = {0};
    struct neap_errinfo info;
    assert_err(np_set_cookie_write(&b, &c, &info), NEAP_EINVAL);
    assert_int_equal(np_buf_len(&b), 0);
    assert_non_null(strstr(info.message, words));
    np_buf_fini(&b);
}

static void refuses_what_browsers_would(void **state)
{
    static const char *names[] = {"", "a b", "a=b", "a;b", "a\r\nb", "\xc3\xa9", "a,b"};
    static const char *values[] = {"a b", "a;b", "a,b", "a\\b", "\"a\"", "a\r\nb", "\x7f", "\x80"};
    static const char *domains[] = {"",     ".a.b", "a..b", "a.",    "-a.b",
                                    "a-.b", "a b",  "a;b",  "a\r\nb"};
    static const char *paths[] = {"", "a", "/a;b", "/a\nb", "/\x80"};
    struct np_set_cookie c;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        wont_write(cookie(names[i], "1"), "name:");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        wont_write(cookie("a", values[i]), "value:");
    for (size_t i = 0; i < sizeof domains / sizeof *domains; i++) {
        c = cookie("a", "1");
        c.domain = text(domains[i]);
        wont_write(c, "domain:");
    }
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        c = cookie("a", "1");
        c.path = text(paths[i]);
        wont_write(c, "path:");
    }
    c = cookie("a", "1");
    c.same_site = NP_SAME_SITE_NONE;
    wont_write(c, "secure:");
    c = cookie("a", "1");
    c.partitioned = true;
    wont_write(c, "secure:");
    wont_write(cookie("__Host-a", "1"), "secure:");
    c = cookie("__Host-a", "1");
    c.secure = true;
    wont_write(c, "path:");
    c.path = text("/");
    writes(c, "__Host-a=1; Path=/; Secure");
    c.domain = text("a.b");
    wont_write(c, "domain:");
    c = cookie("a", "1");
    c.has_expires = true;
    c.expires = INT64_MAX;
    wont_write(c, "expires:");
}

static enum neap_err write_once(void *arg)
{
    struct np_buf b = {0};
    enum neap_err err = np_set_cookie_write(&b, arg, NULL);
    if (err) assert_int_equal(np_buf_len(&b), 0);
    np_buf_fini(&b);
    return err;
}

static void lives_without_memory(void **state)
{
    char value[3000];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    struct np_set_cookie c = cookie("a", value);
    c.path = text("/");
    c.has_expires = true;
    assert_true(np_test_oom(write_once, &c) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_cookie_header),       cmocka_unit_test(reads_a_set_cookie_header),
        cmocka_unit_test(is_tolerant_of_attributes),   cmocka_unit_test(ignores_what_is_no_cookie),
        cmocka_unit_test(reads_dates_as_browsers_do),  cmocka_unit_test(writes_a_set_cookie_header),
        cmocka_unit_test(refuses_what_browsers_would), cmocka_unit_test(lives_without_memory),
    };
    return cmocka_run_group_tests_name("proto.cookie", tests, NULL, NULL);
}
