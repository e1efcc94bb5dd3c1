/* base/log_line: what a line looks like, as JSON and as text, whatever a peer put into it. */
#include "np_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log_line.h"

/* 2024-02-29 23:59:59.000123 UTC */
#define LEAP_DAY (INT64_C(1709251199) * NP_NS_PER_SEC + 123456)

static struct np_log_field str_field(const char *name, const char *s, size_t n)
{
    return (struct np_log_field){.name = name, .type = NP_LOG_STR, .as.str = {s, n}};
}

static void assert_line(enum np_log_style style, int64_t wall, const char *msg, size_t n,
                        const struct np_log_field *fields, size_t nfields, const char *want)
{
    struct np_log_line l;
    np_log_line_init(&l);
    np_log_line_format(&l, style, wall, NP_LOG_WARN, msg, n, fields, nfields);
    char *got = strndup(l.p, l.len);
    assert_string_equal(got, want);
    free(got);
    np_log_line_fini(&l);
}

static void assert_json_msg(const char *msg, size_t n, const char *want)
{
    char expected[512];
    snprintf(expected, sizeof expected,
             "{\"time\":\"1970-01-01T00:00:00.000000Z\",\"level\":\"warn\",\"msg\":%s}\n", want);
    assert_line(NP_LOG_STYLE_JSON, 0, msg, n, NULL, 0, expected);
}

static void json_has_time_level_message_and_fields(void **state)
{
    struct np_log_field fields[] = {
        str_field("user", "ann", 3),
        {.name = "n", .type = NP_LOG_INT, .as.i = INT64_MIN},
        {.name = "x", .type = NP_LOG_NUM, .as.num = 0.1},
        {.name = "ok", .type = NP_LOG_BOOL, .as.b = true},
    };
    assert_line(NP_LOG_STYLE_JSON, LEAP_DAY, "hi", 2, fields, 4,
                "{\"time\":\"2024-02-29T23:59:59.000123Z\",\"level\":\"warn\",\"msg\":\"hi\","
                "\"user\":\"ann\",\"n\":-9223372036854775808,\"x\":0.1,\"ok\":true}\n");
}

static void time_holds_before_1970_and_far_ahead(void **state)
{
    const char *tail = "\",\"level\":\"warn\",\"msg\":\"\"}\n";
    struct {
        int64_t ns;
        const char *want;
    } cases[] = {
        {-1000, "1969-12-31T23:59:59.999999Z"},
        {INT64_C(951782400) * NP_NS_PER_SEC, "2000-02-29T00:00:00.000000Z"},
        {INT64_C(4107542400) * NP_NS_PER_SEC, "2100-03-01T00:00:00.000000Z"},
        {INT64_C(-2208988800) * NP_NS_PER_SEC, "1900-01-01T00:00:00.000000Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char want[128];
        snprintf(want, sizeof want, "{\"time\":\"%s%s", cases[i].want, tail);
        assert_line(NP_LOG_STYLE_JSON, cases[i].ns, "", 0, NULL, 0, want);
    }
}

static void json_escapes_what_could_break_it(void **state)
{
    assert_json_msg("a\"b\\c", 5, "\"a\\\"b\\\\c\"");
    assert_json_msg("1\n2\r\t", 5, "\"1\\n2\\r\\t\"");
    assert_json_msg("\0\x1b\x7f", 3, "\"\\u0000\\u001b\\u007f\"");
    assert_json_msg("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 14,
                    "\"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"");
    assert_json_msg("\xc2\x9b", 2, "\"\\u009b\""); /* CSI, as one character */
    assert_json_msg("\xc2\xa0", 2, "\"\xc2\xa0\"");
}

static void json_is_valid_utf8_whatever_comes_in(void **state)
{
    assert_json_msg("\xff", 1, "\"\\ufffd\"");
    assert_json_msg("a\xc3", 2, "\"a\\ufffd\"");                                /* cut */
    assert_json_msg("\xc0\xaf", 2, "\"\\ufffd\\ufffd\"");                       /* overlong */
    assert_json_msg("\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\"");            /* a surrogate */
    assert_json_msg("\xf4\x90\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\""); /* too large */
    assert_json_msg("\xe0\x80\x80", 3, "\"\\ufffd\\ufffd\\ufffd\"");
    assert_json_msg("\xf0\x80\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
}

static void a_field_cannot_take_a_name_of_the_line(void **state)
{
    struct np_log_field field = str_field("level", "mine", 4);
    assert_line(NP_LOG_STYLE_JSON, 0, "m", 1, &field, 1,
                "{\"time\":\"1970-01-01T00:00:00.000000Z\",\"level\":\"warn\",\"msg\":\"m\","
                "\"_level\":\"mine\"}\n");
}

static void numbers_read_back_as_they_were(void **state)
{
    struct {
        double num;
        const char *want;
    } cases[] = {
        {0.1, "0.1"},
        {1e100, "1e+100"},
        {1.0 / 3, "0.3333333333333333"},
        {-0.0, "-0"},
        {5e-324, "4.94065645841247e-324"},
        {NAN, "\"nan\""},
        {INFINITY, "\"inf\""},
        {-INFINITY, "\"-inf\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char want[160];
        struct np_log_field f = {.name = "x", .type = NP_LOG_NUM, .as.num = cases[i].num};
        snprintf(want, sizeof want,
                 "{\"time\":\"1970-01-01T00:00:00.000000Z\",\"level\":\"warn\",\"msg\":\"\","
                 "\"x\":%s}\n",
                 cases[i].want);
        assert_line(NP_LOG_STYLE_JSON, 0, "", 0, &f, 1, want);
    }
}

static void plain_text_is_one_line(void **state)
{
    struct np_log_field fields[] = {
        str_field("path", "/a b", 4),
        str_field("empty", "", 0),
        str_field("plain", "x", 1),
        str_field("evil", "a\nlevel=error", 13),
    };
    assert_line(NP_LOG_STYLE_PLAIN, 0, "one\ntwo\x1b[2J\xff", 12, fields, 4,
                "1970-01-01T00:00:00.000000Z warn  one\\ntwo\\x1b[2J\\xff path=\"/a b\" empty=\"\" "
                "plain=x evil=\"a\\nlevel=error\"\n");
}

static void a_terminal_shows_a_traceback_as_a_block(void **state)
{
    struct np_log_field fields[] = {
        str_field("traceback", "stack:\n\tf", 9),
        str_field("task", "7", 1),
    };
    setenv("TZ", "UTC", 1);
    tzset();
    assert_line(NP_LOG_STYLE_TTY, LEAP_DAY, "oops", 4, fields, 2,
                "23:59:59.000 warn  oops task=7 traceback=\n    stack:\n      f\n");
    assert_line(NP_LOG_STYLE_COLOR, LEAP_DAY, "m\x1b", 2, &fields[1], 1,
                "\x1b[2m23:59:59.000\x1b[0m \x1b[33mwarn \x1b[0m m\\x1b \x1b[2mtask=\x1b[0m7\n");
}

static void a_long_line_moves_to_the_heap(void **state)
{
    int64_t live = np_alloc_live();
    char text[5000];
    struct np_log_line l;
    memset(text, 't', sizeof text);
    np_log_line_init(&l);
    np_log_line_format(&l, NP_LOG_STYLE_PLAIN, 0, NP_LOG_INFO, text, sizeof text, NULL, 0);
    assert_false(l.failed);
    assert_memory_equal(l.p, "1970-01-01T00:00:00.000000Z info  ttt", 37);
    assert_int_equal(l.len, 34 + sizeof text + 1);
    np_log_line_fini(&l);
    assert_no_leak(live);

    np_log_line_init(&l);
    np_alloc_fail_at(1);
    np_log_line_format(&l, NP_LOG_STYLE_JSON, 0, NP_LOG_INFO, text, sizeof text, NULL, 0);
    np_alloc_fail_at(0);
    assert_true(l.failed);
    np_log_line_fini(&l);
    assert_no_leak(live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_time_level_message_and_fields),
        cmocka_unit_test(time_holds_before_1970_and_far_ahead),
        cmocka_unit_test(json_escapes_what_could_break_it),
        cmocka_unit_test(json_is_valid_utf8_whatever_comes_in),
        cmocka_unit_test(a_field_cannot_take_a_name_of_the_line),
        cmocka_unit_test(numbers_read_back_as_they_were),
        cmocka_unit_test(plain_text_is_one_line),
        cmocka_unit_test(a_terminal_shows_a_traceback_as_a_block),
        cmocka_unit_test(a_long_line_moves_to_the_heap),
    };
    return cmocka_run_group_tests_name("base.log_line", tests, NULL, NULL);
}
