/* Writing heads and chunks: what goes out, and what is refused before a byte is appended. */
#include <string.h>

#include "np_test.h"
#include "proto/http1.h"

static const char *text_of(struct np_buf *b)
{
    assert_ok(np_buf_append(b, "", 1));
    b->tail--;
    return np_buf_data(b);
}

static void heads_and_chunks(void **state)
{
    struct np_buf b = {0};
    assert_ok(np_http_write_status_line(&b, 1, 404));
    assert_ok(np_http_write_status_line(&b, 0, 799));
    assert_ok(np_http_write_request_line(&b, "GET", 3, "/a?b", 4));
    assert_ok(np_http_write_header(&b, "X-A", 3, "b \xc3\xa9", 4));
    assert_ok(np_http_write_chunk(&b, "hello world, again", 18));
    assert_ok(np_http_write_chunk(&b, "", 0));
    assert_ok(np_http_write_last_chunk(&b));
    assert_string_equal(text_of(&b), "HTTP/1.1 404 Not Found\r\nHTTP/1.0 799 Unknown\r\n"
                                     "GET /a?b HTTP/1.1\r\nX-A: b \xc3\xa9\r\n"
                                     "12\r\nhello world, again\r\n0\r\n\r\n");
    np_buf_fini(&b);
}

static void what_must_not_reach_the_wire(void **state)
{
    struct np_buf b = {0};
    static const char *const names[] = {"", "a b", "a:", "a\r", "a\n", "\x80", "a(b"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        assert_err(np_http_write_header(&b, names[i], n, "x", 1), NEAP_EINVAL);
        assert_err(np_http_write_request_line(&b, names[i], n, "/", 1), NEAP_EINVAL);
    }
    assert_err(np_http_write_header(&b, "a\0b", 3, "x", 1), NEAP_EINVAL);
    assert_err(np_http_write_header(&b, "a", 1, "x\r\nSet-Cookie: y", 16), NEAP_EINVAL);
    assert_err(np_http_write_header(&b, "a", 1, "x\ny", 3), NEAP_EINVAL);
    assert_err(np_http_write_header(&b, "a", 1, "x\0y", 3), NEAP_EINVAL);
    assert_err(np_http_write_header(&b, "a", 1, "\x7f", 1), NEAP_EINVAL);
    assert_err(np_http_write_request_line(&b, "GET", 3, "/a b", 4), NEAP_EINVAL);
    assert_err(np_http_write_request_line(&b, "GET", 3, "/a\r\n", 4), NEAP_EINVAL);
    assert_err(np_http_write_request_line(&b, "GET", 3, "", 0), NEAP_EINVAL);
    assert_err(np_http_write_status_line(&b, 1, 99), NEAP_EINVAL);
    assert_err(np_http_write_status_line(&b, 1, 1000), NEAP_EINVAL);
    assert_int_equal(np_buf_len(&b), 0);
    np_buf_fini(&b);
}

static void dates(void **state)
{
    static const struct {
        int64_t second;
        const char *want;
    } cases[] = {
        {0, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"},
        {784887151, "Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n"},
        {951782399, "Date: Mon, 28 Feb 2000 23:59:59 GMT\r\n"},
        {951782400, "Date: Tue, 29 Feb 2000 00:00:00 GMT\r\n"},
        {4102444800, "Date: Fri, 01 Jan 2100 00:00:00 GMT\r\n"},
    };
    struct np_http_date cache = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct np_buf b = {0};
        assert_ok(np_http_write_date(&b, &cache, cases[i].second));
        assert_string_equal(text_of(&b), cases[i].want);
        np_buf_fini(&b);
    }
}

static void lists_and_methods(void **state)
{
    struct np_bytes list = {"gzip,  Chunked ,x", 17};
    assert_true(np_http_list_has(list, "chunked", 7));
    assert_true(np_http_list_has(list, "x", 1));
    assert_false(np_http_list_has(list, "chunk", 5));
    assert_int_equal(np_http_method("GET", 3), HTTP_GET);
    assert_int_equal(np_http_method("PATCH", 5), HTTP_PATCH);
    assert_int_equal(np_http_method("M-SEARCH", 8), HTTP_MSEARCH);
    assert_int_equal(np_http_method("get", 3), -1);
    assert_int_equal(np_http_method("", 0), -1);
    assert_string_equal(np_http_reason(431), "Request Header Fields Too Large");
    assert_string_equal(np_http_reason(299), "Unknown");
}

/* Every byte, at every place of a text. */
static void which_bytes_a_value_may_hold(void **state)
{
    for (int c = 0; c < 256; c++) {
        bool good = c == '\t' || (c >= ' ' && c != 0x7f);
        for (size_t n = 1; n < 20; n++) {
            for (size_t at = 0; at < n; at++) {
                char text[20];
                memset(text, at % 2 ? 'x' : '\xff', sizeof text);
                text[at] = (char)c;
                if (np_http_is_value(text, n) != good) fail_msg("%d at %zu of %zu", c, at, n);
            }
        }
    }
    assert_true(np_http_is_value("", 0));
}

static enum neap_err survive(void *arg)
{
    struct np_buf b = {0};
    struct np_http_date cache = {0};
    static char large[3000];
    memset(large, 'x', sizeof large);
    enum neap_err err = np_http_write_status_line(&b, 1, 200);
    if (!err) err = np_http_write_date(&b, &cache, 5);
    for (int i = 0; i < 8 && !err; i++)
        err = np_http_write_header(&b, "x", 1, large, 3000);
    if (!err) err = np_http_write_chunk(&b, large, 3000);
    np_buf_fini(&b);
    return err;
}

static void lost_memory_is_an_error_like_any_other(void **state)
{
    assert_true(np_test_oom(survive, NULL) > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_and_chunks),
        cmocka_unit_test(what_must_not_reach_the_wire),
        cmocka_unit_test(dates),
        cmocka_unit_test(lists_and_methods),
        cmocka_unit_test(which_bytes_a_value_may_hold),
        cmocka_unit_test(lost_memory_is_an_error_like_any_other),
    };
    return cmocka_run_group_tests_name("proto.http1_write", tests, NULL, NULL);
}
