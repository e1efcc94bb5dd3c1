/* Conditional requests: the precedence of RFC 9110, 13.2.2, tags, dates. */
#include "proto/conditional.h"

#include <string.h>

#include "np_test.h"
#include "proto/http_date.h"

#define NOW INT64_C(1700000000)
#define BEFORE "Tue, 14 Nov 2023 22:13:19 GMT" /* NOW - 1 */
#define AT "Tue, 14 Nov 2023 22:13:20 GMT"
#define AFTER "Tue, 14 Nov 2023 22:13:21 GMT"

struct line {
    const char *name, *value;
};

static struct np_http_head head_of(int method, const struct line *lines, struct np_http_header *out)
{
    struct np_http_head h = {.method = method, .headers = out};
    for (; lines && lines->name; lines++) {
        out[h.nheaders].name = (struct np_bytes){lines->name, strlen(lines->name)};
        out[h.nheaders++].value = (struct np_bytes){lines->value, strlen(lines->value)};
    }
    return h;
}

static struct np_validators strong(void)
{
    return (struct np_validators){{"\"a\"", 3}, NOW, true, false};
}

static void decides(int method, const struct line *lines, enum np_condition want)
{
    struct np_http_header out[8];
    struct np_http_head h = head_of(method, lines, out);
    struct np_validators v = strong();
    enum np_condition got = np_conditional(&h, &v, NOW);
    if (got != want)
        fail_msg("%s: %s: %d, wanted %d", lines->name, lines->value, (int)got, (int)want);
}
#define DECIDES(method, want, ...) decides(method, (struct line[]){__VA_ARGS__, {0}}, want)

static const enum np_condition GO = NP_CONDITION_HOLDS, SAME = NP_CONDITION_SAME,
                               FAILED = NP_CONDITION_FAILED;

static void if_none_match(void **state)
{
    DECIDES(HTTP_GET, SAME, {"If-None-Match", "\"a\""});
    DECIDES(HTTP_HEAD, SAME, {"if-none-match", "W/\"a\""});
    DECIDES(HTTP_GET, SAME, {"If-None-Match", "\"x\", \"y\" , W/\"a\""});
    DECIDES(HTTP_GET, SAME, {"If-None-Match", "*"});
    DECIDES(HTTP_PUT, FAILED, {"If-None-Match", "*"});
    DECIDES(HTTP_PUT, FAILED, {"If-None-Match", "\"a\""});
    DECIDES(HTTP_GET, GO, {"If-None-Match", "\"b\""});
    DECIDES(HTTP_GET, GO, {"If-None-Match", "a"});
    DECIDES(HTTP_GET, GO, {"If-None-Match", "\"b\" junk \"a\""});
    DECIDES(HTTP_GET, SAME, {"If-None-Match", "\"b\""}, {"If-None-Match", "\"a\""});
    DECIDES(HTTP_GET, GO, {"If-None-Match", ""});
}

static void if_match(void **state)
{
    DECIDES(HTTP_PUT, GO, {"If-Match", "\"a\""});
    DECIDES(HTTP_PUT, GO, {"If-Match", "*"});
    DECIDES(HTTP_PUT, FAILED, {"If-Match", "W/\"a\""});
    DECIDES(HTTP_GET, FAILED, {"If-Match", "\"b\""});
    DECIDES(HTTP_GET, FAILED, {"If-Match", ""});
}

static void dates(void **state)
{
    DECIDES(HTTP_GET, SAME, {"If-Modified-Since", AT});
    DECIDES(HTTP_GET, SAME, {"If-Modified-Since", AFTER});
    DECIDES(HTTP_GET, GO, {"If-Modified-Since", BEFORE});
    DECIDES(HTTP_POST, GO, {"If-Modified-Since", AFTER});
    DECIDES(HTTP_GET, GO, {"If-Modified-Since", "yesterday"});
    DECIDES(HTTP_GET, GO, {"If-Modified-Since", AT}, {"If-Modified-Since", AT});
    DECIDES(HTTP_PUT, GO, {"If-Unmodified-Since", AT});
    DECIDES(HTTP_PUT, FAILED, {"If-Unmodified-Since", BEFORE});
    DECIDES(HTTP_PUT, GO, {"If-Unmodified-Since", "now"});
}

static void precedence(void **state)
{
    DECIDES(HTTP_GET, GO, {"If-None-Match", "\"b\""}, {"If-Modified-Since", AFTER});
    DECIDES(HTTP_GET, SAME, {"If-None-Match", "\"a\""}, {"If-Modified-Since", BEFORE});
    DECIDES(HTTP_PUT, GO, {"If-Match", "\"a\""}, {"If-Unmodified-Since", BEFORE});
    DECIDES(HTTP_GET, FAILED, {"If-Match", "\"b\""}, {"If-None-Match", "\"a\""});
    DECIDES(HTTP_GET, SAME, {"If-Match", "\"a\""}, {"If-None-Match", "\"a\""});
    DECIDES(HTTP_GET, SAME, {"If-Unmodified-Since", AT}, {"If-Modified-Since", AT});
}

static void what_is_not_there_yet(void **state)
{
    struct np_http_header out[2];
    struct np_validators v = {.last_modified = NP_NO_DATE, .absent = true};
    struct line create[] = {{"If-None-Match", "*"}, {0}}, update[] = {{"If-Match", "*"}, {0}};
    struct np_http_head h = head_of(HTTP_PUT, create, out);
    assert_int_equal(np_conditional(&h, &v, NOW), GO);
    h = head_of(HTTP_PUT, update, out);
    assert_int_equal(np_conditional(&h, &v, NOW), FAILED);
}

static void if_range(void **state)
{
    static const struct {
        const char *value;
        bool holds, weak_date;
    } rows[] = {{"\"a\"", true, false}, {"W/\"a\"", false, false}, {"\"b\"", false, false},
                {AT, true, false},      {AT, false, true},         {AFTER, false, false},
                {BEFORE, false, false}, {"junk", false, false},    {"", false, false}};
    struct np_http_header out[2];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct line lines[] = {{"If-Range", rows[i].value}, {0}};
        struct np_http_head h = head_of(HTTP_GET, lines, out);
        struct np_validators v = strong();
        if (rows[i].weak_date) v.date_strong = false;
        if (np_if_range_holds(&h, &v, NOW) != rows[i].holds)
            fail_msg("If-Range: %s", rows[i].value);
    }
    struct np_validators v = strong();
    struct np_http_head none = head_of(HTTP_GET, NULL, out);
    assert_true(np_if_range_holds(&none, &v, NOW));
    assert_false(np_has_conditions(&none));
}

static bool parse(const char *text, int64_t *out)
{
    return np_http_date_parse((struct np_bytes){text, strlen(text)}, NOW, out);
}

static void three_forms_of_dates(void **state)
{
    static const char *const same[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
                                       "Sunday, 06-Nov-94 08:49:37 GMT",
                                       "Sun Nov  6 08:49:37 1994"};
    int64_t t;
    for (int i = 0; i < 3; i++) {
        assert_true(parse(same[i], &t));
        assert_int_equal(t, 784111777);
    }
    assert_true(parse("Monday, 01-Jan-73 00:00:00 GMT", &t)); /* 50 years from 2023 */
    assert_true(t > NOW);
    assert_true(parse("Tuesday, 01-Jan-74 00:00:00 GMT", &t));
    assert_int_equal(t, 126230400);
}

static void what_is_no_date(void **state)
{
    static const char *const bad[] = {"",
                                      "Sun",
                                      "0",
                                      "Sun, 06 Nov 1994 08:49:37",
                                      "Sun, 06 Nov 1994 08:49:37 GMT ",
                                      "Sun, 6 Nov 1994 08:49:37 GMT",
                                      "Sun, 31 Feb 1994 08:49:37 GMT",
                                      "Sun, 29 Feb 1900 08:49:37 GMT",
                                      "Sun, 00 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 24:49:37 GMT",
                                      "Sun, 06 Nov 1994 08:60:37 GMT",
                                      "Sun, 06 Foo 1994 08:49:37 GMT",
                                      "Xun, 06 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 08:49:37 CET",
                                      "Sunday, 06-Nov-1994 08:49:37 GMT",
                                      "Sun Nov 6 08:49:37 1994"};
    int64_t t;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (parse(bad[i], &t)) fail_msg("%s", bad[i]);
    }
}

static void dates_come_back_as_they_went(void **state)
{
    char text[NP_HTTP_DATE_LEN];
    int64_t t;
    for (int64_t s = 0; s < INT64_C(253402300800); s += 86399 * 97 + 1) {
        np_http_date_format(s, text);
        assert_true(np_http_date_parse((struct np_bytes){text, sizeof text}, NOW, &t));
        assert_int_equal(t, s);
    }
    np_http_date_format(784111777, text);
    assert_memory_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT", sizeof text);
    np_http_date_format(-5, text);
    assert_memory_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT", sizeof text);
    np_http_date_format(INT64_MAX, text);
    assert_memory_equal(text, "Fri, 31 Dec 9999 23:59:59 GMT", sizeof text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(if_none_match),
        cmocka_unit_test(if_match),
        cmocka_unit_test(dates),
        cmocka_unit_test(precedence),
        cmocka_unit_test(what_is_not_there_yet),
        cmocka_unit_test(if_range),
        cmocka_unit_test(three_forms_of_dates),
        cmocka_unit_test(what_is_no_date),
        cmocka_unit_test(dates_come_back_as_they_went),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
