/* gRPC's health check: against a server made of nghttp2, and against bytes that no server sends. */
#include "np_test.h"

#include <nghttp2/nghttp2.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "proto/grpc_health.h"

/* --- a peer that answers as it is told */

struct answer {
    const char *http; /* :status */
    const char *body; /* NULL: none */
    size_t body_len;
    const char *grpc_status;  /* in trailers; NULL: none */
    const char *grpc_message; /* NULL: none */
    bool trailers_only;
    uint32_t reset; /* instead of an answer */
};

struct peer {
    nghttp2_session *session;
    const struct answer *answer;
    struct np_buf request; /* the body */
    struct np_buf headers; /* "name: value\n" */
    size_t sent;
    unsigned requests;
};

#define NV(name, value)                                                                           \
    {                                                                                             \
        (uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), strlen(name), strlen(value), \
            0                                                                                     \
    }

static size_t trailers_of(const struct answer *a, nghttp2_nv *out)
{
    size_t n = 0;
    if (a->grpc_status) out[n++] = (nghttp2_nv)NV("grpc-status", a->grpc_status);
    if (a->grpc_message) out[n++] = (nghttp2_nv)NV("grpc-message", a->grpc_message);
    return n;
}

static ssize_t peer_body(nghttp2_session *s, int32_t stream, uint8_t *buf, size_t n,
                         uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct peer *p = arg;
    (void)source;
    size_t left = p->answer->body_len - p->sent;
    if (n > left) n = left;
    memcpy(buf, p->answer->body + p->sent, n);
    p->sent += n;
    if (p->sent < p->answer->body_len) return (ssize_t)n;
    nghttp2_nv trailers[2];
    size_t count = trailers_of(p->answer, trailers);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (count > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        (void)nghttp2_submit_trailer(s, stream, trailers, count);
    }
    return (ssize_t)n;
}

static void respond(struct peer *p, int32_t stream)
{
    const struct answer *a = p->answer;
    nghttp2_nv headers[4] = {NV(":status", a->http ? a->http : "200"),
                             NV("content-type", "application/grpc")};
    nghttp2_data_provider body = {.read_callback = peer_body};
    size_t n = 2;
    p->sent = 0;
    if (a->reset) {
        (void)nghttp2_submit_rst_stream(p->session, 0, stream, a->reset);
        return;
    }
    if (a->trailers_only) n += trailers_of(a, headers + n);
    (void)nghttp2_submit_response(p->session, stream, headers, n, a->body ? &body : NULL);
}

static int peer_frame(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
    struct peer *p = arg;
    (void)s;
    bool ends = (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
                (frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
    if (!ends) return 0;
    p->requests++;
    if (p->answer) respond(p, frame->hd.stream_id);
    return 0;
}

static int peer_data(nghttp2_session *s, uint8_t flags, int32_t stream, const uint8_t *data,
                     size_t n, void *arg)
{
    struct peer *p = arg;
    (void)s, (void)flags, (void)stream;
    return np_buf_append(&p->request, data, n) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int peer_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name,
                       size_t name_len, const uint8_t *value, size_t len, uint8_t flags, void *arg)
{
    struct peer *p = arg;
    (void)s, (void)frame, (void)flags;
    enum neap_err err = np_buf_append(&p->headers, name, name_len);
    if (!err) err = np_buf_append(&p->headers, ": ", 2);
    if (!err) err = np_buf_append(&p->headers, value, len);
    if (!err) err = np_buf_append(&p->headers, "\n", 1);
    return err ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static void peer_open(struct peer *p, const struct answer *a)
{
    nghttp2_session_callbacks *calls;
    *p = (struct peer){.answer = a};
    assert_int_equal(nghttp2_session_callbacks_new(&calls), 0);
    nghttp2_session_callbacks_set_on_frame_recv_callback(calls, peer_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, peer_data);
    nghttp2_session_callbacks_set_on_header_callback(calls, peer_header);
    assert_int_equal(nghttp2_session_server_new(&p->session, calls, p), 0);
    nghttp2_session_callbacks_del(calls);
    assert_int_equal(nghttp2_submit_settings(p->session, 0, NULL, 0), 0);
}

static void peer_close(struct peer *p)
{
    nghttp2_session_del(p->session);
    np_buf_fini(&p->request);
    np_buf_fini(&p->headers);
}

/* Carries bytes both ways, in pieces of `piece`, until neither side has any. */
static enum neap_err carry(struct np_grpc_health *h, struct peer *p, size_t piece)
{
    for (bool any = true; any;) {
        struct np_bytes out;
        const uint8_t *back;
        any = false;
        for (;;) {
            enum neap_err err = np_grpc_health_output(h, &out);
            if (err) return err;
            if (out.n == 0) break;
            any = true;
            if (nghttp2_session_mem_recv(p->session, (const uint8_t *)out.p, out.n) < 0)
                return NEAP_EPROTO;
        }
        for (;;) {
            ssize_t n = nghttp2_session_mem_send(p->session, &back);
            if (n <= 0) break;
            any = true;
            for (size_t at = 0; at < (size_t)n; at += piece) {
                size_t len = (size_t)n - at < piece ? (size_t)n - at : piece;
                enum neap_err err = np_grpc_health_feed(h, back + at, len);
                if (err) return err;
            }
        }
    }
    return NEAP_OK;
}

static struct np_grpc_health *make(void)
{
    const struct np_grpc_health_options o = {.authority = "127.0.0.1:50051"};
    struct np_grpc_health *h;
    assert_ok(np_grpc_health_new(&o, &h));
    return h;
}

/* One check of a peer that answers so. */
static struct np_grpc_health_result ask(const struct answer *a, size_t piece)
{
    struct np_grpc_health *h = make();
    struct peer p;
    peer_open(&p, a);
    assert_ok(np_grpc_health_begin(h, "", 0));
    assert_null(np_grpc_health_result(h));
    assert_ok(carry(h, &p, piece));
    const struct np_grpc_health_result *r = np_grpc_health_result(h);
    assert_non_null(r);
    struct np_grpc_health_result copy = *r;
    np_grpc_health_free(h);
    peer_close(&p);
    return copy;
}

#define BODY(text) .body = (text), .body_len = sizeof(text) - 1
static const struct answer serving = {BODY("\0\0\0\0\2\x08\1"), .grpc_status = "0"};

/* --- */

static void a_peer_that_serves_is_healthy(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 100; piece = piece * 2 + 1) {
        struct np_grpc_health_result r = ask(&serving, piece);
        assert_true(r.healthy);
        assert_int_equal(r.grpc_status, 0);
        assert_int_equal(r.http_status, 200);
        assert_string_equal(r.text, "SERVING");
    }
}

static void what_else_it_may_say(void **state)
{
    static const struct {
        struct answer answer;
        const char *text;
    } cases[] = {
        {{BODY("\0\0\0\0\2\x08\2"), .grpc_status = "0"}, "NOT_SERVING"},
        {{BODY("\0\0\0\0\2\x08\3"), .grpc_status = "0"}, "SERVICE_UNKNOWN"},
        {{BODY("\0\0\0\0\0"), .grpc_status = "0"}, "UNKNOWN"},
        {{BODY("\0\0\0\0\2\x08\x63"), .grpc_status = "0"}, "UNKNOWN"},
        /* fields of a later version: a string, fixed numbers, a varint; then the status */
        {{BODY("\0\0\0\0\x17\x12\2hi\x19xxxxxxxx\x25yyyy\x18\xac\2\x08\1"), .grpc_status = "0"},
         "SERVING"},
        {{.grpc_status = "5", .grpc_message = "no such", .trailers_only = true},
         "grpc-status 5: no such"},
        {{.grpc_status = "12", .trailers_only = true}, "grpc-status 12"},
        {{.grpc_status = "boo", .trailers_only = true}, "grpc-status 2"},
        {{BODY("\0\0\0\0\2\x08\1"), .grpc_status = "14"}, "grpc-status 14"},
        {{BODY("\0\0\0\0\2\x08\1")}, "no grpc-status (the stream ended)"},
        {{.http = "404", .trailers_only = true}, "HTTP status 404"},
        {{.http = "503", .grpc_status = "0", .trailers_only = true}, "HTTP status 503"},
        {{.reset = NGHTTP2_REFUSED_STREAM}, "no grpc-status (REFUSED_STREAM)"},
        /* not one whole message */
        {{BODY(""), .grpc_status = "0"}, "not a HealthCheckResponse"},
        {{BODY("\0\0\0\0\3\x08\1"), .grpc_status = "0"}, "not a HealthCheckResponse"},
        {{BODY("\1\0\0\0\2\x08\1"), .grpc_status = "0"}, "not a HealthCheckResponse"},
        {{BODY("\0\0\0\0\1\x08"), .grpc_status = "0"}, "not a HealthCheckResponse"},
        {{BODY("\0\0\0\0\2\x12\x7f"), .grpc_status = "0"}, "not a HealthCheckResponse"},
        {{BODY("\0\0\0\0\1\x0b"), .grpc_status = "0"}, "not a HealthCheckResponse"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct np_grpc_health_result r = ask(&cases[i].answer, 1000);
        if (strncmp(r.text, cases[i].text, strlen(cases[i].text)) != 0)
            fail_msg("case %zu: \"%s\", not \"%s\"", i, r.text, cases[i].text);
        assert_int_equal(r.healthy, strcmp(cases[i].text, "SERVING") == 0);
    }
}

static void an_answer_has_a_bound(void **state)
{
    static char body[NP_GRPC_MESSAGE_MAX + 100];
    const struct answer a = {.body = body, .body_len = sizeof body, .grpc_status = "0"};
    (void)state;
    assert_false(ask(&a, 100000).healthy);
}

static void what_it_asks(void **state)
{
    struct np_grpc_health *h = make();
    struct peer p;
    char name[201];
    (void)state;
    peer_open(&p, &serving);
    assert_ok(np_grpc_health_begin(h, "my.Service", 1500 * NP_NS_PER_MS));
    assert_err(np_grpc_health_begin(h, "", 0), NEAP_EBUSY);
    assert_ok(carry(h, &p, 1000));
    assert_int_equal(np_buf_len(&p.request), 5 + 2 + 10);
    assert_memory_equal(np_buf_data(&p.request), "\0\0\0\0\x0c\x0a\x0amy.Service", 17);
    assert_ok(np_buf_append(&p.headers, "", 1));
    const char *headers = np_buf_data(&p.headers);
    assert_non_null(strstr(headers, ":method: POST\n"));
    assert_non_null(strstr(headers, ":path: /grpc.health.v1.Health/Check\n"));
    assert_non_null(strstr(headers, ":authority: 127.0.0.1:50051\n"));
    assert_non_null(strstr(headers, "te: trailers\n"));
    assert_non_null(strstr(headers, "grpc-timeout: 1500m\n"));

    /* The same connection carries the next one. */
    memset(name, 'x', 200);
    name[200] = '\0';
    np_buf_clear(&p.request);
    assert_ok(np_grpc_health_begin(h, name, 0));
    assert_null(np_grpc_health_result(h));
    assert_ok(carry(h, &p, 1000));
    assert_true(np_grpc_health_result(h)->healthy);
    assert_memory_equal(np_buf_data(&p.request), "\0\0\0\0\xcb\x0a\xc8\1xxx", 11);
    assert_int_equal(p.requests, 2);
    np_grpc_health_free(h);
    peer_close(&p);
}

static void long_timeouts_have_eight_digits(void **state)
{
    struct np_grpc_health *h = make();
    struct peer p;
    (void)state;
    peer_open(&p, &serving);
    assert_ok(np_grpc_health_begin(h, "", INT64_C(200000) * NP_NS_PER_SEC));
    assert_ok(carry(h, &p, 1000));
    assert_ok(np_grpc_health_begin(h, "", NP_TIME_NEVER));
    assert_ok(carry(h, &p, 1000));
    assert_ok(np_buf_append(&p.headers, "", 1));
    assert_non_null(strstr(np_buf_data(&p.headers), "grpc-timeout: 200000S\n"));
    assert_non_null(strstr(np_buf_data(&p.headers), "grpc-timeout: 99999999S\n"));
    np_grpc_health_free(h);
    peer_close(&p);
}

static void a_peer_that_goes_away(void **state)
{
    struct np_grpc_health *h = make();
    struct peer p;
    (void)state;
    peer_open(&p, NULL); /* answers nothing */
    assert_ok(np_grpc_health_begin(h, "", 0));
    assert_ok(carry(h, &p, 1000));
    assert_null(np_grpc_health_result(h));
    assert_int_equal(nghttp2_submit_goaway(p.session, 0, 0, NGHTTP2_NO_ERROR, NULL, 0), 0);
    enum neap_err err = carry(h, &p, 1000); /* its last stream is none: ours is closed */
    assert_true(err == NEAP_OK || err == NEAP_EPROTO);
    assert_non_null(np_grpc_health_result(h));
    assert_false(np_grpc_health_result(h)->healthy);
    err = np_grpc_health_begin(h, "", 0);
    assert_true(err == NEAP_ECLOSED || err == NEAP_EPROTO);
    np_grpc_health_free(h);
    peer_close(&p);
}

static void a_peer_that_speaks_something_else(void **state)
{
    struct np_grpc_health *h = make();
    static const char http1[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    struct np_bytes out;
    (void)state;
    assert_ok(np_grpc_health_begin(h, "", 0));
    enum neap_err err = np_grpc_health_feed(h, http1, sizeof http1 - 1);
    while (!err) /* it is told why, then that is all */
        err = np_grpc_health_output(h, &out);
    assert_err(err, NEAP_EPROTO);
    assert_non_null(np_grpc_health_why(h));
    const struct np_grpc_health_result *r = np_grpc_health_result(h);
    assert_true(r == NULL || (!r->healthy && r->http_status == 0));
    assert_err(np_grpc_health_feed(h, http1, sizeof http1 - 1), NEAP_EPROTO);
    assert_err(np_grpc_health_begin(h, "", 0), NEAP_EPROTO);
    np_grpc_health_free(h);
}

static void what_cannot_be_asked(void **state)
{
    struct np_grpc_health *h = NULL;
    char name[NP_GRPC_NAME_MAX + 2];
    (void)state;
    const char *bad[] = {"", "a b", "a\r\nx: y", "a/b\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct np_grpc_health_options o = {.authority = bad[i]};
        assert_err(np_grpc_health_new(&o, &h), NEAP_EINVAL);
    }
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    h = make();
    assert_err(np_grpc_health_begin(h, name, 0), NEAP_EINVAL);
    name[NP_GRPC_NAME_MAX] = '\0';
    assert_ok(np_grpc_health_begin(h, name, 0));
    np_grpc_health_free(h);
}

static enum neap_err with_scarce_memory(void *arg)
{
    const struct np_grpc_health_options o = {.authority = "a:1", .secure = true};
    struct np_grpc_health *h = NULL;
    struct peer p;
    (void)arg;
    enum neap_err err = np_grpc_health_new(&o, &h);
    if (err) return err;
    peer_open(&p, &serving);
    err = np_grpc_health_begin(h, "x", 0);
    if (!err) err = carry(h, &p, 7);
    bool healthy = np_grpc_health_result(h) && np_grpc_health_result(h)->healthy;
    if (!err) assert_true(healthy);
    np_grpc_health_free(h);
    peer_close(&p);
    return err && np_alloc_did_fail() ? NEAP_ENOMEM : err; /* the peer's buffers as well */
}

static void survives_scarce_memory(void **state)
{
    (void)state;
    assert_true(np_test_oom(with_scarce_memory, NULL) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_that_serves_is_healthy),
        cmocka_unit_test(what_else_it_may_say),
        cmocka_unit_test(an_answer_has_a_bound),
        cmocka_unit_test(what_it_asks),
        cmocka_unit_test(long_timeouts_have_eight_digits),
        cmocka_unit_test(a_peer_that_goes_away),
        cmocka_unit_test(a_peer_that_speaks_something_else),
        cmocka_unit_test(what_cannot_be_asked),
        cmocka_unit_test(survives_scarce_memory),
    };
    return cmocka_run_group_tests_name("proto.grpc_health", tests, NULL, NULL);
}
