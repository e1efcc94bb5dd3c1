/* Subjects and patterns: the grammar, matching, covering. */
#include "np_test.h"

#include <string.h>

#include "mesh/subject.h"

static void tells_subjects_from_patterns(void **state)
{
    static const struct {
        const char *s;
        bool subject;
        bool pattern;
    } cases[] = {
        {"a", true, true},          {"orders.eu.created", true, true},
        {"$SRV.PING", true, true},  {"a*", true, true},
        {"a>b.c", true, true},      {"**", true, true},
        {"\xc3\xa4.b", true, true}, {"*", false, true},
        {"a.*", false, true},       {"*.b.*", false, true},
        {">", false, true},         {"a.>", false, true},
        {"*.>", false, true},       {">.a", false, false},
        {"a.>.b", false, false},    {"", false, false},
        {".", false, false},        {".a", false, false},
        {"a.", false, false},       {"a..b", false, false},
        {"a b", false, false},      {"a.b\t", false, false},
        {"a\r\n", false, false},    {"a\x7f", false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = strlen(cases[i].s);
        if (np_subject_ok(cases[i].s, n) != cases[i].subject ||
            np_pattern_ok(cases[i].s, n) != cases[i].pattern) {
            fail_msg("'%s'", cases[i].s);
        }
    }
    assert_false(np_subject_ok("a\0b", 3));
    assert_true(np_queue_name_ok("billing.v*", 10));
    assert_false(np_queue_name_ok("", 0));
    assert_false(np_queue_name_ok("a b", 3));
}

static void knows_wildcards(void **state)
{
    (void)state;
    assert_false(np_pattern_has_wildcard("a.b*.>c", 7));
    assert_true(np_pattern_has_wildcard("a.*.c", 5));
    assert_true(np_pattern_has_wildcard("a.>", 3));
}

static void patterns_take_subjects(void **state)
{
    static const struct {
        const char *pattern;
        const char *subject;
        bool match;
    } cases[] = {
        {"a.b", "a.b", true},     {"a.b", "a.c", false},     {"a.b", "a", false},
        {"a", "a.b", false},      {"*", "a", true},          {"*", "a.b", false},
        {"a.*", "a.b", true},     {"a.*", "a", false},       {"*.b", "a.b", true},
        {">", "a", true},         {">", "a.b.c", true},      {"a.>", "a", false},
        {"a.>", "a.b.c.d", true}, {"*.>", "a", false},       {"*.>", "a.b", true},
        {"a.*.c", "a.b.c", true}, {"a.*.c", "a.b.d", false}, {"ab", "a", false},
        {"a", "ab", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *p = cases[i].pattern;
        const char *s = cases[i].subject;
        if (np_pattern_match(p, strlen(p), s, strlen(s)) != cases[i].match) {
            fail_msg("'%s' against '%s'", p, s);
        }
    }
}

static void patterns_cover_patterns(void **state)
{
    static const struct {
        const char *outer;
        const char *inner;
        bool covers;
    } cases[] = {
        {">", "a.*", true},     {"a.>", "a.*", true},    {"a.>", "a.>", true},
        {"a.*", "a.>", false},  {"*.*", "a.*", true},    {"a.*", "*.*", false},
        {"a.b", "a.*", false},  {"*", "*", true},        {"*", ">", false},
        {"a.>", "a.b.>", true}, {"a.b.>", "a.>", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *o = cases[i].outer;
        const char *in = cases[i].inner;
        if (np_pattern_covers(o, strlen(o), in, strlen(in)) != cases[i].covers) {
            fail_msg("'%s' over '%s'", o, in);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_subjects_from_patterns),
        cmocka_unit_test(knows_wildcards),
        cmocka_unit_test(patterns_take_subjects),
        cmocka_unit_test(patterns_cover_patterns),
    };
    return cmocka_run_group_tests_name("mesh.subject", tests, NULL, NULL);
}
