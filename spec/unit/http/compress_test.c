/* Compression of answers: which are compressed, what their heads say then, and no memory for it. */
#include "http/compress.h"

#include <string.h>

#include "np_test.h"

#define PLAN                                                                            \
    {                                                                                   \
        .min_bytes = 100, .offered = {NP_CODING_BR, NP_CODING_GZIP}, .noffered = 2,     \
        .levels = {-1, -1, -1, -1, -1}, .types = "text/*\0application/json\0+xml\0*b\0" \
    }

static const struct np_http_plan plan = PLAN;

struct answer {
    struct np_http_exchange x;
    struct np_http_header accept;
    struct np_http_header headers[8];
    struct np_http_compress_head h;
};

static struct np_bytes bytes(const char *s)
{
    return (struct np_bytes){s, s ? strlen(s) : 0};
}

static void say(struct answer *a, const char *name, const char *value)
{
    a->headers[a->h.n++] = (struct np_http_header){bytes(name), bytes(value)};
}

static struct answer *answer(struct answer *a, const char *accept, const char *type)
{
    memset(a, 0, sizeof *a);
    a->accept = (struct np_http_header){bytes("Accept-Encoding"), bytes(accept)};
    a->x.head.method = HTTP_GET;
    a->x.head.headers = &a->accept;
    a->x.head.nheaders = accept ? 1 : 0;
    a->h.status = 200;
    a->h.headers = a->headers;
    if (type) say(a, "Content-Type", type);
    return a;
}

static const char *header(const struct answer *a, const char *name)
{
    static char text[400];
    for (size_t i = 0; i < a->h.n; i++) {
        struct np_bytes v = a->headers[i].value;
        if (!np_http_name_is(a->headers[i].name, name, strlen(name))) continue;
        memcpy(text, v.p, v.n);
        text[v.n] = 0;
        return text;
    }
    return "none";
}

static const char *choice(struct answer *a, int64_t length)
{
    return np_coding_name(np_http_compress_choice(&plan, &a->x, &a->h, length));
}

static void follows_the_client_and_the_type(void **state)
{
    struct answer a;
    assert_string_equal(choice(answer(&a, "gzip, br", "text/css"), 1000), "br");
    assert_string_equal(choice(answer(&a, "gzip", "text/css; charset=x"), 1000), "gzip");
    assert_string_equal(choice(answer(&a, "gzip", "TEXT/CSS"), -1), "gzip");
    assert_string_equal(choice(answer(&a, "gzip", "image/svg+xml"), -1), "gzip");
    assert_string_equal(choice(answer(&a, "gzip", "a/blob"), -1), "gzip");
    assert_string_equal(choice(answer(&a, "gzip", "application/json \t;x"), -1), "gzip");
    assert_string_equal(choice(answer(&a, "zstd", "text/css"), 1000), "identity");
    assert_string_equal(choice(answer(&a, NULL, "text/css"), 1000), "identity");
    assert_string_equal(choice(answer(&a, "gzip", "image/png"), 1000), "identity");
    assert_string_equal(choice(answer(&a, "gzip", "application/jsonp"), 1000), "identity");
    assert_string_equal(choice(answer(&a, "gzip", "text"), 1000), "identity");
    assert_string_equal(choice(answer(&a, "gzip", "+xml"), 1000), "identity");
    assert_string_equal(choice(answer(&a, "gzip", ""), 1000), "identity");
    assert_string_equal(choice(answer(&a, "gzip", NULL), 1000), "identity");
    answer(&a, "gzip", NULL)->h.type = "text/plain; charset=utf-8";
    assert_string_equal(choice(&a, 1000), "gzip");
}

static void leaves_what_may_not_be_changed(void **state)
{
    static const int statuses[] = {204, 206, 304};
    struct answer a;
    assert_string_equal(choice(answer(&a, "gzip", "text/css"), 99), "identity");
    assert_string_equal(choice(answer(&a, "gzip", "text/css"), 100), "gzip");
    for (int i = 0; i < 3; i++) {
        answer(&a, "gzip", "text/css")->h.status = statuses[i];
        assert_string_equal(choice(&a, 1000), "identity");
    }
    answer(&a, "gzip", "text/css")->h.status = 404;
    assert_string_equal(choice(&a, 1000), "gzip");
    say(answer(&a, "gzip", "text/css"), "content-encoding", "br");
    assert_string_equal(choice(&a, 1000), "identity");
    say(answer(&a, "gzip", "text/css"), "Content-Range", "bytes */7");
    assert_string_equal(choice(&a, 1000), "identity");
    say(answer(&a, "gzip", "text/css"), "Cache-Control", "public,no-transform");
    assert_string_equal(choice(&a, 1000), "identity");
    answer(&a, "gzip", "text/css")->x.head.method = HTTP_CONNECT;
    assert_string_equal(choice(&a, 1000), "identity");
}

static void compress(struct answer *a, struct np_buf *out, struct np_bytes *body)
{
    static char text[2000];
    memset(text, 'x', sizeof text);
    *body = (struct np_bytes){text, sizeof text};
    np_http_compress_whole(&plan, &a->x, &a->h, body, out);
}

static void says_what_was_done(void **state)
{
    struct answer a;
    struct np_buf out = {0};
    struct np_bytes body;
    answer(&a, "gzip", "text/css");
    say(&a, "ETag", "\"v\"");
    say(&a, "Accept-Ranges", "bytes");
    say(&a, "X-Last", "1");
    compress(&a, &out, &body);
    assert_true(body.n < 100 && body.p == np_buf_data(&out));
    assert_string_equal(header(&a, "content-encoding"), "gzip");
    assert_string_equal(header(&a, "vary"), "Accept-Encoding");
    assert_string_equal(header(&a, "etag"), "W/\"v\"");
    assert_string_equal(header(&a, "accept-ranges"), "none");
    assert_string_equal(header(&a, "x-last"), "1");
    assert_string_equal(header(&a, "content-type"), "text/css");

    np_buf_clear(&out);
    say(answer(&a, "gzip", "text/css"), "Vary", "Cookie, accept-encoding");
    say(&a, "ETag", "W/\"v\"");
    compress(&a, &out, &body);
    assert_int_equal(a.h.n, 4);
    assert_string_equal(header(&a, "etag"), "W/\"v\"");

    np_buf_clear(&out);
    say(answer(&a, "zstd", "text/css"), "ETag", "\"v\"");
    compress(&a, &out, &body);
    assert_int_equal(body.n, 2000);
    assert_string_equal(header(&a, "vary"), "Accept-Encoding");
    assert_string_equal(header(&a, "etag"), "\"v\"");
    assert_string_equal(header(&a, "content-encoding"), "none");
    np_buf_fini(&out);
}

static void a_tag_that_cannot_be_weakened_stays_true(void **state)
{
    char tag[300];
    struct answer a;
    struct np_buf out = {0};
    struct np_bytes body;
    memset(tag, 'e', sizeof tag);
    tag[0] = '"';
    for (size_t n = 250; n < 260; n++) {
        tag[n - 1] = '"';
        tag[n] = 0;
        say(answer(&a, "gzip", "text/css"), "ETag", tag);
        compress(&a, &out, &body);
        bool weak = n + 2 <= sizeof a.h.etag;
        assert_string_equal(header(&a, "content-encoding"), weak ? "gzip" : "none");
        assert_int_equal(strlen(header(&a, "etag")), weak ? n + 2 : n);
        tag[n - 1] = 'e';
        np_buf_clear(&out);
    }
    np_buf_fini(&out);
}

static enum neap_err compress_once(void *arg)
{
    struct answer a;
    struct np_buf out = {0};
    struct np_bytes body;
    answer(&a, arg, "text/css");
    compress(&a, &out, &body);
    bool encoded = strcmp(header(&a, "content-encoding"), "none") != 0;
    assert_true(encoded == (body.n < 2000));
    np_buf_fini(&out);
    return encoded ? NEAP_OK : NEAP_ENOMEM;
}

static void answers_are_plain_for_want_of_memory(void **state)
{
    assert_true(np_test_oom(compress_once, "gzip") > 3);
    assert_true(np_test_oom(compress_once, "br") > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_client_and_the_type),
        cmocka_unit_test(leaves_what_may_not_be_changed),
        cmocka_unit_test(says_what_was_done),
        cmocka_unit_test(a_tag_that_cannot_be_weakened_stays_true),
        cmocka_unit_test(answers_are_plain_for_want_of_memory),
    };
    return cmocka_run_group_tests_name("http.compress", tests, NULL, NULL);
}
