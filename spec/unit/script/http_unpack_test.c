/* What stands between a request's bytes and those that scripts read: bounded pieces, ends, damage,
 * and no memory. */
#include <stdio.h>

#include "np_test.h"
#include "script/bind_http_decompress.h"

enum { SIZE = 300000 };

static struct np_buf packed(enum np_coding c)
{
    struct np_buf wire = {0};
    struct np_encoder *e;
    char line[40];
    assert_ok(np_encoder_new(c, NULL, &e));
    for (int i = 0; i < SIZE / 10; i++) {
        snprintf(line, sizeof line, "%09d\n", i * 7919 % 100003);
        assert_ok(np_encoder_write(e, line, 10, NP_CODING_GO_ON, &wire));
    }
    assert_ok(np_encoder_write(e, NULL, 0, NP_CODING_FINISH, &wire));
    np_encoder_free(e);
    return wire;
}

static void gives_no_more_than_is_wanted(void **state)
{
    enum np_coding gzip = NP_CODING_GZIP;
    struct np_buf wire = packed(gzip), out = {0};
    struct np_http_unpack *u;
    size_t total = 0;
    assert_ok(np_http_unpack_new(&gzip, 1, NULL, &u));
    assert_true(np_http_unpack_dry(u));
    assert_ok(np_http_unpack_feed(u, np_buf_data(&wire), np_buf_len(&wire)));
    while (!np_http_unpack_dry(u)) {
        assert_ok(np_http_unpack_some(u, 1000, &out));
        assert_true(np_buf_len(&out) <= 1000);
        total += np_buf_len(&out);
        np_buf_clear(&out);
    }
    assert_int_equal(total, SIZE);
    assert_ok(np_http_unpack_finish(u));
    np_http_unpack_free(u);
    np_buf_fini(&wire);
    np_buf_fini(&out);
}

static void leaves_the_output_as_it_was_when_it_fails(void **state)
{
    enum np_coding gzip = NP_CODING_GZIP;
    struct np_decoder_options o = {.max_output = 100};
    struct np_buf wire = packed(gzip), out = {0};
    struct np_http_unpack *u;
    assert_ok(np_buf_append_str(&out, "before"));
    assert_ok(np_http_unpack_new(&gzip, 1, &o, &u));
    assert_ok(np_http_unpack_feed(u, np_buf_data(&wire), np_buf_len(&wire)));
    assert_err(np_http_unpack_some(u, SIZE_MAX, &out), NEAP_ELIMIT);
    assert_int_equal(np_buf_len(&out), 6);
    np_http_unpack_free(u);

    assert_ok(np_http_unpack_new(&gzip, 1, NULL, &u));
    assert_ok(np_http_unpack_feed(u, np_buf_data(&wire), np_buf_len(&wire) - 1));
    assert_ok(np_http_unpack_some(u, SIZE_MAX, &out));
    assert_int_equal(np_buf_len(&out), 6 + SIZE);
    assert_err(np_http_unpack_finish(u), NEAP_EPROTO);
    assert_string_equal(np_http_unpack_why(u), "the compressed data is cut off");
    np_http_unpack_free(u);
    np_buf_fini(&wire);
    np_buf_fini(&out);
}

static enum neap_err unpack_all(void *arg)
{
    const struct np_buf *wire = arg;
    enum np_coding zstd = NP_CODING_ZSTD;
    struct np_buf out = {0};
    struct np_http_unpack *u;
    enum neap_err err = np_http_unpack_new(&zstd, 1, NULL, &u);
    if (err) return err;
    for (size_t at = 0; !err && at < np_buf_len(wire); at += 5000) {
        size_t n = np_buf_len(wire) - at;
        err = np_http_unpack_feed(u, np_buf_data(wire) + at, n < 5000 ? n : 5000);
        if (!err) err = np_http_unpack_some(u, SIZE_MAX, &out);
    }
    if (!err) err = np_http_unpack_finish(u);
    if (!err) assert_int_equal(np_buf_len(&out), SIZE);
    np_http_unpack_free(u);
    np_buf_fini(&out);
    return err;
}

static void survives_the_want_of_memory(void **state)
{
    struct np_buf wire = packed(NP_CODING_ZSTD);
    assert_true(np_test_oom(unpack_all, &wire) > 5);
    np_buf_fini(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_no_more_than_is_wanted),
        cmocka_unit_test(leaves_the_output_as_it_was_when_it_fails),
        cmocka_unit_test(survives_the_want_of_memory),
    };
    return cmocka_run_group_tests_name("script.http_unpack", tests, NULL, NULL);
}
