/* Length-prefixed messages: there and back in every format, bounds, and bytes that come one by one.
 */
#include "proto/frame.h"

#include <stdlib.h>
#include <string.h>

#include "np_test.h"

static struct np_bytes text(const char *s)
{
    return (struct np_bytes){s, s ? strlen(s) : 0};
}

static struct np_frame_format format(unsigned header, unsigned body, bool little)
{
    struct np_frame_format f = NP_FRAME_FORMAT_INIT;
    f.header_length = header;
    f.body_length = body;
    f.little_endian = little;
    assert_ok(np_frame_format_check(&f, NULL));
    return f;
}

static void writes(struct np_frame_format f, const char *header, const char *body, const char *wire,
                   size_t n)
{
    struct np_buf b = {0};
    assert_ok(np_frame_write(&f, text(header), text(body), &b, NULL));
    assert_int_equal(np_buf_len(&b), n);
    assert_memory_equal(np_buf_data(&b), wire, n);
    np_buf_fini(&b);
}

static void has_the_bytes_that_the_format_says(void **state)
{
    writes(format(0, 4, false), NULL, "hello", "\0\0\0\5hello", 9);
    writes(format(0, 4, true), NULL, "hello", "\5\0\0\0hello", 9);
    writes(format(1, 2, false), "h", "hi", "\1\0\2hhi", 6);
    writes(format(2, 1, true), "h", "", "\1\0\0h", 4);
    writes(format(8, 8, false), "", "x", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1x", 17);
}

static void is_there(const struct np_bytes *b, const char *s)
{
    assert_int_equal(b->n, strlen(s));
    assert_memory_equal(b->p, s, b->n);
}

static void goes_there_and_back_in_every_format(void **state)
{
    static const unsigned widths[] = {0, 1, 2, 4, 8};
    for (int h = 0; h < 5; h++) {
        for (int w = 1; w < 5; w++) {
            for (int little = 0; little < 2; little++) {
                struct np_frame_format f = format(widths[h], widths[w], little);
                const char *header = widths[h] ? "a: b" : NULL;
                struct np_buf b = {0};
                struct np_frame got;
                size_t size;
                assert_ok(np_frame_write(&f, text(header), text("one"), &b, NULL));
                assert_ok(np_frame_write(&f, text(NULL), text(""), &b, NULL));
                assert_ok(np_frame_parse(&f, np_buf_data(&b), np_buf_len(&b), &got, &size, NULL));
                is_there(&got.body, "one");
                if (header) is_there(&got.header, header);
                if (!header) assert_null(got.header.p);
                np_buf_consume(&b, size);
                assert_ok(np_frame_parse(&f, np_buf_data(&b), np_buf_len(&b), &got, &size, NULL));
                assert_int_equal(got.body.n, 0);
                assert_int_equal(size, np_buf_len(&b));
                np_buf_fini(&b);
            }
        }
    }
}

static void says_how_much_it_waits_for(void **state)
{
    struct np_frame_format f = format(2, 4, false);
    struct np_buf b = {0};
    struct np_frame got;
    size_t size = 0;
    assert_ok(np_frame_write(&f, text("head"), text("body!"), &b, NULL));
    for (size_t n = 0; n < np_buf_len(&b); n++) {
        char *part = malloc(n ? n : 1); /* exactly so long: a read beyond is seen */
        memcpy(part, np_buf_data(&b), n);
        assert_err(np_frame_parse(&f, part, n, &got, &size, NULL), NEAP_EAGAIN);
        assert_int_equal(size, n < 6 ? 6 : 15);
        free(part);
    }
    np_buf_fini(&b);
}

static void refuses_lengths_above_their_bounds_at_once(void **state)
{
    struct np_frame_format f = format(1, 8, false);
    struct np_frame got;
    struct neap_errinfo info;
    size_t size = 7;
    f.max_header = 3;
    f.max_body = 1000;
    assert_err(np_frame_parse(&f, "\4\0\0\0\0\0\0\0\1", 9, &got, &size, &info), NEAP_ELIMIT);
    assert_non_null(strstr(info.message, "header has 4 bytes, at most 3"));
    assert_err(np_frame_parse(&f, "\0\0\0\0\0\0\0\3\351", 9, &got, &size, &info), NEAP_ELIMIT);
    assert_non_null(strstr(info.message, "body has 1001 bytes, at most 1000"));
    assert_err(np_frame_parse(&f, "\0\377\377\377\377\377\377\377\377", 9, &got, &size, &info),
               NEAP_ELIMIT);
    assert_err(np_frame_parse(&f, "\3\0\0\0\0\0\0\3\350", 9, &got, &size, &info), NEAP_EAGAIN);
    assert_int_equal(size, 9 + 3 + 1000);
}

static void does_not_write_what_it_would_not_read(void **state)
{
    struct np_frame_format f = format(1, 1, false);
    struct neap_errinfo info;
    struct np_buf b = {0};
    char prefix[NP_FRAME_PREFIX_MAX];
    size_t n;
    assert_ok(np_frame_prefix(&f, 255, 255, prefix, &n, NULL));
    assert_int_equal(n, 2);
    assert_err(np_frame_prefix(&f, 256, 0, prefix, &n, &info), NEAP_ELIMIT);
    assert_err(np_frame_prefix(&f, 0, 256, prefix, &n, &info), NEAP_ELIMIT);
    f.max_body = 10;
    assert_err(np_frame_prefix(&f, 0, 11, prefix, &n, &info), NEAP_ELIMIT);
    f = format(0, 4, false);
    assert_err(np_frame_write(&f, text("h"), text("b"), &b, &info), NEAP_EINVAL);
    assert_int_equal(np_buf_len(&b), 0);
    assert_err(np_frame_prefix(&f, 0, (1 << 20) + 1, prefix, &n, &info), NEAP_ELIMIT);
}

static void knows_its_formats(void **state)
{
    struct neap_errinfo info;
    static const unsigned bad[] = {3, 5, 7, 9, 16, 0xffffffff};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct np_frame_format f = NP_FRAME_FORMAT_INIT;
        f.header_length = bad[i];
        assert_err(np_frame_format_check(&f, &info), NEAP_EINVAL);
        f.header_length = 0;
        f.body_length = bad[i];
        assert_err(np_frame_format_check(&f, &info), NEAP_EINVAL);
    }
    struct np_frame_format f = NP_FRAME_FORMAT_INIT;
    f.body_length = 0;
    assert_err(np_frame_format_check(&f, NULL), NEAP_EINVAL);
    f = (struct np_frame_format)NP_FRAME_FORMAT_INIT;
    f.max_body = SIZE_MAX;
    assert_err(np_frame_format_check(&f, NULL), NEAP_EINVAL);
}

static enum neap_err write_some(void *arg)
{
    struct np_frame_format f = NP_FRAME_FORMAT_INIT;
    struct np_buf b = {0};
    enum neap_err err = NEAP_OK;
    for (int i = 0; i < 10 && !err; i++) {
        size_t before = np_buf_len(&b);
        err = np_frame_write(&f, text(NULL), text("some bytes"), &b, NULL);
        if (err) assert_int_equal(np_buf_len(&b), before);
    }
    np_buf_fini(&b);
    return err;
}

static void survives_running_out_of_memory(void **state)
{
    assert_int_not_equal(np_test_oom(write_some, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_the_bytes_that_the_format_says),
        cmocka_unit_test(goes_there_and_back_in_every_format),
        cmocka_unit_test(says_how_much_it_waits_for),
        cmocka_unit_test(refuses_lengths_above_their_bounds_at_once),
        cmocka_unit_test(does_not_write_what_it_would_not_read),
        cmocka_unit_test(knows_its_formats),
        cmocka_unit_test(survives_running_out_of_memory),
    };
    return cmocka_run_group_tests_name("proto.frame", tests, NULL, NULL);
}
