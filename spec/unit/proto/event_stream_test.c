/* Server-sent events: the standard's examples, in pieces of every size, and limits. */
#include "proto/event_stream.h"

#include <stdio.h>
#include <string.h>

#include "np_test.h"

/* What came: "type|data|id;" an event. */
static enum neap_err parse(const char *text, size_t n, size_t piece, size_t max, struct np_buf *out,
                           int64_t *retry)
{
    struct np_event_stream s;
    enum neap_err err = NEAP_OK;
    np_event_stream_init(&s, max);
    for (size_t at = 0; at < n && !err; at += piece) {
        size_t end = at + piece > n ? n : at + piece;
        for (size_t from = at; from < end && !err;) {
            size_t used = 0;
            bool got;
            struct np_event e;
            err = np_event_stream_next(&s, text + from, end - from, &used, &got, &e);
            if (err) break;
            assert_true(got || used == end - from);
            from += used;
            if (got)
                err = np_buf_printf(out, "%.*s|%.*s|%.*s;", (int)e.type.n, e.type.p, (int)e.data.n,
                                    e.data.p, (int)e.id.n, e.id.p);
        }
    }
    if (retry) *retry = s.retry;
    np_event_stream_fini(&s);
    return err;
}

static void gives_n(const char *text, size_t n, const char *want)
{
    for (size_t piece = 1; piece <= n; piece++) {
        struct np_buf out = {0};
        assert_ok(parse(text, n, piece, 1000, &out, NULL));
        assert_ok(np_buf_append(&out, "", 1));
        assert_string_equal(np_buf_data(&out), want);
        np_buf_fini(&out);
    }
}

static void gives(const char *text, const char *want)
{
    gives_n(text, strlen(text), want);
}

static void reads_the_examples_of_the_standard(void **state)
{
    gives("data: This is the first message.\n\ndata: This is the second message, it\n"
          "data: has two lines.\n\ndata: This is the third message.\n\n",
          "|This is the first message.|;|This is the second message, it\nhas two lines.|;"
          "|This is the third message.|;");
    gives("event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
          "add|73857293|;remove|2153|;");
    gives("data: YHOO\ndata: +2\ndata: 10\n\n", "|YHOO\n+2\n10|;");
    gives(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third\n\n",
          "|first event|1;|second event|;| third|;");
    gives("data\n\ndata\ndata\n\ndata:", "||;|\n|;");
    gives("data:test\n\ndata: test\n\n", "|test|;|test|;");
}

static void takes_every_end_of_line(void **state)
{
    gives("data: a\r\rdata: b\r\n\r\ndata: c\n\r\ndata: d\r\n\n", "|a|;|b|;|c|;|d|;");
    gives("data: a\r\ndata: b\rdata: c\n\n", "|a\nb\nc|;");
    gives("\r\n\r\n\n\r\rdata:x\n\n", "|x|;");
}

static void drops_a_byte_order_mark(void **state)
{
    gives("\xef\xbb\xbf"
          "data: a\n\n",
          "|a|;");
    gives("\xef\xbb\xbf\xef\xbb\xbf"
          "data: a\n\ndata: b\n\n",
          "|b|;");
    gives("\xef\xbb"
          "data: a\n\ndata: b\n\n",
          "|b|;");
    gives("data: a\xef\xbb\xbf\n\n", "|a\xef\xbb\xbf|;");
}

static void ignores_what_it_does_not_know(void **state)
{
    gives("datax: 1\n: data: 2\nDATA: 3\n data: 4\nfoo\n\ndata: 5\nevent\n\n", "|5|;");
    gives("event: x\n\ndata: 1\n\n", "|1|;"); /* without data an event is none */
    gives("event: x\nevent: y\ndata: 1\n\n", "y|1|;");
    gives("id: 7\n\ndata: 1\n\nid:\ndata: 2\n\n", "|1|7;|2|;"); /* an id holds */
    gives_n("id: 7\nid: a\0b\ndata: 1\n\n", 23, "|1|7;");
    gives("data: never ended\n", "");
}

static int64_t retry_of(const char *text)
{
    struct np_buf out = {0};
    int64_t retry = 0;
    assert_ok(parse(text, strlen(text), 3, 1000, &out, &retry));
    np_buf_fini(&out);
    return retry;
}

static void reads_the_delay(void **state)
{
    assert_int_equal(retry_of("data: 1\n\n"), -1);
    assert_int_equal(retry_of("retry: 1500\n"), 1500);
    assert_int_equal(retry_of("retry: 10\nretry: 15s\nretry:\nretry: -1\n"), 10);
    assert_int_equal(retry_of("retry: 99999999999999999999999\n"), NP_EVENT_RETRY_MAX);
}

static void keeps_to_its_limit(void **state)
{
    struct np_buf out = {0};
    assert_err(parse("data: 123456789\n\n", 17, 4, 14, &out, NULL), NEAP_ELIMIT);
    assert_err(parse("data: 12345\ndata: 12345\n\n", 25, 4, 11, &out, NULL), NEAP_OK);
    assert_err(parse("data: 12345\ndata: 12345\ndata: 1\n\n", 33, 4, 11, &out, NULL), NEAP_ELIMIT);
    assert_err(parse(": a long comment is no matter\ndata: 1\n\n", 39, 4, 11, &out, NULL), NEAP_OK);
    np_buf_fini(&out);
}

static void begins_anew_with_the_same_id(void **state)
{
    struct np_event_stream s;
    size_t used;
    bool got;
    struct np_event e;
    np_event_stream_init(&s, 100);
    assert_ok(np_event_stream_next(&s, "id: 7\nretry: 5\ndata: 1\n\n", 24, &used, &got, &e));
    assert_true(got);
    assert_ok(np_event_stream_next(&s, "id: 8\ndata: cut", 15, &used, &got, &e));
    np_event_stream_restart(&s);
    assert_ok(np_event_stream_next(&s,
                                   "\xef\xbb\xbf"
                                   "data: 2\n\n",
                                   12, &used, &got, &e));
    assert_true(got);
    assert_int_equal(e.data.n, 1);
    assert_memory_equal(e.id.p, "7", 1);
    assert_int_equal(s.retry, 5);
    np_event_stream_fini(&s);
}

static enum neap_err parse_once(void *arg)
{
    struct np_buf out = {0};
    const char *text = arg;
    enum neap_err err = parse(text, strlen(text), 5, 1000, &out, NULL);
    np_buf_fini(&out);
    return err;
}

static void lives_without_memory(void **state)
{
    static char text[] = "\xef\xbb"
                         "x: y\nid: 1\nevent: 2\ndata: 3\n\n";
    assert_true(np_test_oom(parse_once, text) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_examples_of_the_standard),
        cmocka_unit_test(takes_every_end_of_line),
        cmocka_unit_test(drops_a_byte_order_mark),
        cmocka_unit_test(ignores_what_it_does_not_know),
        cmocka_unit_test(reads_the_delay),
        cmocka_unit_test(keeps_to_its_limit),
        cmocka_unit_test(begins_anew_with_the_same_id),
        cmocka_unit_test(lives_without_memory),
    };
    return cmocka_run_group_tests_name("proto.event_stream", tests, NULL, NULL);
}
