/* gRPC's health protocol over nghttp2 (see grpc_health.h). */
#include "proto/grpc_health.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

#define PATH "/grpc.health.v1.Health/Check"
#define PREFIX 5 /* of a message: a flag and its length */
#define HEADERS_MAX 16384

struct np_grpc_health {
    nghttp2_session *session;
    bool secure, done;
    enum neap_err err;
    const char *why;
    int32_t stream; /* 0: none is under way */
    char *authority;
    size_t sent; /* of the request's body */
    size_t request_len;
    size_t answer_len;
    bool answer_long; /* longer than fits, or compressed */
    struct np_grpc_health_result result;
    uint8_t answer[PREFIX + NP_GRPC_MESSAGE_MAX];
    uint8_t request[PREFIX + 3 + NP_GRPC_NAME_MAX];
};

/* --- the messages */

/* HealthCheckRequest{ string service = 1; } behind gRPC's prefix; absent when empty. */
static size_t write_request(uint8_t *p, const char *service, size_t n)
{
    size_t at = PREFIX;
    if (n > 0) {
        p[at++] = 1 << 3 | 2;
        if (n >= 128) p[at++] = (uint8_t)(n & 127) | 128;
        p[at++] = (uint8_t)(n >= 128 ? n >> 7 : n);
        memcpy(p + at, service, n);
        at += n;
    }
    size_t len = at - PREFIX;
    p[0] = 0;
    p[1] = p[2] = 0;
    p[3] = (uint8_t)(len >> 8);
    p[4] = (uint8_t)len;
    return at;
}

static bool read_varint(const uint8_t **p, const uint8_t *end, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && *p < end; shift += 7) {
        uint8_t byte = *(*p)++;
        v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *out = v;
            return true;
        }
    }
    return false;
}

/* Passes over a field of a type that is not looked at. */
static bool skip(const uint8_t **p, const uint8_t *end, unsigned wire)
{
    uint64_t n = 0;
    switch (wire) {
    case 0:
        return read_varint(p, end, &n);
    case 1:
        n = 8;
        break;
    case 2:
        if (!read_varint(p, end, &n)) return false;
        break;
    case 5:
        n = 4;
        break;
    default:
        return false;
    }
    if (n > (uint64_t)(end - *p)) return false;
    *p += n;
    return true;
}

/* HealthCheckResponse{ ServingStatus status = 1; }: the last one counts, none is UNKNOWN. */
static bool read_answer(const uint8_t *p, size_t n, enum np_grpc_serving *out)
{
    const uint8_t *end = p + n;
    uint64_t serving = 0, key;
    while (p < end) {
        if (!read_varint(&p, end, &key)) return false;
        if (key == (1 << 3 | 0)) {
            if (!read_varint(&p, end, &serving)) return false;
        } else if (!skip(&p, end, (unsigned)(key & 7))) {
            return false;
        }
    }
    *out = serving <= NP_GRPC_SERVICE_UNKNOWN ? (enum np_grpc_serving)serving : NP_GRPC_UNKNOWN;
    return true;
}

/* --- the result */

static const char *serving_name(enum np_grpc_serving s)
{
    static const char *const names[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
    return names[s];
}

/* The one message that an answer has to be. */
static bool whole_answer(const struct np_grpc_health *h)
{
    const uint8_t *a = h->answer;
    if (h->answer_long || h->answer_len < PREFIX || a[0] != 0) return false;
    size_t len = (size_t)a[1] << 24 | (size_t)a[2] << 16 | (size_t)a[3] << 8 | a[4];
    return len == h->answer_len - PREFIX;
}

static void conclude(struct np_grpc_health *h, uint32_t reset)
{
    struct np_grpc_health_result *r = &h->result;
    char words[NP_GRPC_TEXT_MAX + 1];
    memcpy(words, r->text, sizeof words); /* of grpc-message, so far */
    h->done = true;
    h->stream = 0;
    if (r->http_status != 0 && r->http_status != 200) {
        snprintf(r->text, sizeof r->text, "HTTP status %d", r->http_status);
    } else if (r->grpc_status > 0) {
        snprintf(r->text, sizeof r->text, "grpc-status %d%s%.*s", r->grpc_status,
                 words[0] ? ": " : "", NP_GRPC_TEXT_MAX - 32, words);
    } else if (r->grpc_status < 0) {
        snprintf(r->text, sizeof r->text, "no grpc-status (%s)",
                 reset ? nghttp2_http2_strerror(reset) : "the stream ended");
    } else if (!whole_answer(h) ||
               !read_answer(h->answer + PREFIX, h->answer_len - PREFIX, &r->serving)) {
        snprintf(r->text, sizeof r->text, "not a HealthCheckResponse");
    } else {
        r->healthy = r->serving == NP_GRPC_SERVING;
        snprintf(r->text, sizeof r->text, "%s", serving_name(r->serving));
    }
}

/* --- nghttp2's callbacks */

static bool named(const uint8_t *name, size_t n, const char *want)
{
    return n == strlen(want) && memcmp(name, want, n) == 0;
}

/* 0 … 999; -1 for what is none. */
static int small_number(const uint8_t *p, size_t n)
{
    int v = 0;
    if (n == 0 || n > 3) return -1;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9') return -1;
        v = v * 10 + (p[i] - '0');
    }
    return v;
}

/* For people: printable, cut to fit. (Percent-encoded bytes stay so.) */
static void keep_words(struct np_grpc_health_result *r, const uint8_t *p, size_t n)
{
    size_t len = n < NP_GRPC_TEXT_MAX ? n : NP_GRPC_TEXT_MAX;
    for (size_t i = 0; i < len; i++)
        r->text[i] = p[i] >= ' ' && p[i] < 127 ? (char)p[i] : '?';
    r->text[len] = '\0';
}

static int on_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t len, uint8_t flags, void *arg)
{
    struct np_grpc_health *h = arg;
    if (frame->hd.stream_id != h->stream) return 0;
    if (named(name, name_len, ":status")) {
        h->result.http_status = small_number(value, len);
    } else if (named(name, name_len, "grpc-status")) {
        /* A number there is not counts as UNKNOWN, as gRPC has it. */
        int status = small_number(value, len);
        h->result.grpc_status = status < 0 ? 2 : status;
    } else if (named(name, name_len, "grpc-message")) {
        keep_words(&h->result, value, len);
    } else if (named(name, name_len, "grpc-encoding") && !named(value, len, "identity")) {
        h->answer_long = true;
    }
    return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t stream, const uint8_t *data, size_t n,
                   void *arg)
{
    struct np_grpc_health *h = arg;
    if (stream != h->stream) return 0;
    if (n > sizeof h->answer - h->answer_len) {
        h->answer_long = true;
        return nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL) == 0
                   ? 0
                   : NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    memcpy(h->answer + h->answer_len, data, n);
    h->answer_len += n;
    return 0;
}

static int on_close(nghttp2_session *s, int32_t stream, uint32_t error, void *arg)
{
    struct np_grpc_health *h = arg;
    if (stream == h->stream) conclude(h, error);
    return 0;
}

static ssize_t read_body(nghttp2_session *s, int32_t stream, uint8_t *buf, size_t n,
                         uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct np_grpc_health *h = arg;
    size_t left = h->request_len - h->sent;
    if (n > left) n = left;
    memcpy(buf, h->request + h->sent, n);
    h->sent += n;
    if (h->sent == h->request_len) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

/* --- nghttp2's memory */

static void *mem_alloc(size_t n, void *arg)
{
    return np_alloc(n);
}

static void mem_free(void *p, void *arg)
{
    np_free(p);
}

static void *mem_calloc(size_t count, size_t n, void *arg)
{
    return np_calloc(count, n);
}

static void *mem_realloc(void *p, size_t n, void *arg)
{
    return np_realloc(p, n);
}

/* --- making */

static enum neap_err fail(struct np_grpc_health *h, enum neap_err err, const char *why)
{
    if (h->err == NEAP_OK) {
        h->err = err;
        h->why = why;
    }
    return h->err;
}

static enum neap_err check(struct np_grpc_health *h, int code)
{
    if (code >= 0) return NEAP_OK;
    return fail(h, code == NGHTTP2_ERR_NOMEM ? NEAP_ENOMEM : NEAP_EPROTO, nghttp2_strerror(code));
}

static enum neap_err make_session(struct np_grpc_health *h)
{
    nghttp2_mem mem = {NULL, mem_alloc, mem_free, mem_calloc, mem_realloc};
    nghttp2_session_callbacks *calls = NULL;
    nghttp2_option *option = NULL;
    int code = nghttp2_session_callbacks_new(&calls);
    if (code == 0) code = nghttp2_option_new(&option);
    if (code == 0) {
        nghttp2_session_callbacks_set_on_header_callback(calls, on_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(calls, on_close);
        nghttp2_option_set_max_reserved_remote_streams(option, 0);
        nghttp2_option_set_max_deflate_dynamic_table_size(option, 4096);
        code = nghttp2_session_client_new3(&h->session, calls, h, option, &mem);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(calls);
    if (code != 0) return NEAP_ENOMEM; /* nothing else can go wrong there */
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADERS_MAX},
    };
    code = nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, 2);
    return code == 0 ? NEAP_OK : NEAP_ENOMEM;
}

static bool authority_ok(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n > NP_GRPC_NAME_MAX) return false;
    return nghttp2_check_authority((const uint8_t *)s, n) != 0;
}

enum neap_err np_grpc_health_new(const struct np_grpc_health_options *o,
                                 struct np_grpc_health **out)
{
    enum neap_err err = NEAP_ENOMEM;
    if (!authority_ok(o->authority)) return NEAP_EINVAL;
    struct np_grpc_health *h = np_calloc(1, sizeof *h);
    if (h == NULL) return NEAP_ENOMEM;
    h->secure = o->secure;
    h->authority = np_strdup(o->authority);
    if (h->authority == NULL) goto fail;
    err = make_session(h);
    if (err != NEAP_OK) goto fail;
    *out = h;
    return NEAP_OK;
fail:
    np_grpc_health_free(h);
    return err;
}

void np_grpc_health_free(struct np_grpc_health *h)
{
    if (h == NULL) return;
    h->stream = 0; /* whatever closes now is nobody's */
    nghttp2_session_del(h->session);
    np_free(h->authority);
    np_free(h);
}

/* --- a check */

#define HEADER(name, value, value_len)                                                 \
    {                                                                                  \
        (uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), sizeof(name) - 1, \
            (value_len), NGHTTP2_NV_FLAG_NONE                                          \
    }

/* At most eight digits, as gRPC has it: in milliseconds, or in seconds. */
static int write_timeout(char out[16], int64_t ns)
{
    int64_t ms = ns / NP_NS_PER_MS + (ns % NP_NS_PER_MS != 0);
    if (ms <= 99999999) return snprintf(out, 16, "%dm", (int)ms);
    int64_t s = ms / 1000 < 99999999 ? ms / 1000 : 99999999;
    return snprintf(out, 16, "%dS", (int)s);
}

static enum neap_err submit(struct np_grpc_health *h, int64_t timeout_ns)
{
    char timeout[16] = "";
    int n = timeout_ns > 0 ? write_timeout(timeout, timeout_ns) : 0;
    const nghttp2_nv headers[] = {
        HEADER(":method", "POST", 4),
        HEADER(":scheme", h->secure ? "https" : "http", h->secure ? 5 : 4),
        HEADER(":path", PATH, sizeof PATH - 1),
        HEADER(":authority", h->authority, strlen(h->authority)),
        HEADER("te", "trailers", 8),
        HEADER("content-type", "application/grpc", 16),
        HEADER("user-agent", "neap-health", 11),
        HEADER("grpc-timeout", timeout, (size_t)n),
    };
    nghttp2_data_provider body = {.read_callback = read_body};
    size_t count = sizeof headers / sizeof *headers - (n == 0);
    int32_t id = nghttp2_submit_request(h->session, NULL, headers, count, &body, NULL);
    if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE) return NEAP_ECLOSED;
    if (id < 0) return check(h, id);
    h->stream = id;
    return NEAP_OK;
}

enum neap_err np_grpc_health_begin(struct np_grpc_health *h, const char *service,
                                   int64_t timeout_ns)
{
    size_t n = strlen(service);
    if (h->err != NEAP_OK) return h->err;
    if (h->stream != 0) return NEAP_EBUSY;
    if (n > NP_GRPC_NAME_MAX) return NEAP_EINVAL;
    if (nghttp2_session_check_request_allowed(h->session) == 0) return NEAP_ECLOSED;
    h->request_len = write_request(h->request, service, n);
    h->sent = h->answer_len = 0;
    h->done = h->answer_long = false;
    h->result = (struct np_grpc_health_result){.grpc_status = -1};
    return submit(h, timeout_ns);
}

/* The peer has broken the protocol, and the GOAWAY that tells it so is sent; or it said goodbye. */
static bool over(struct np_grpc_health *h)
{
    if (nghttp2_session_want_read(h->session) != 0) return false;
    (void)fail(h, NEAP_EPROTO, "the peer speaks no HTTP/2, or has ended the connection");
    return true;
}

enum neap_err np_grpc_health_output(struct np_grpc_health *h, struct np_bytes *out)
{
    const uint8_t *data = NULL;
    if (h->err != NEAP_OK) return h->err;
    ssize_t n = nghttp2_session_mem_send(h->session, &data);
    if (n < 0) return check(h, (int)n);
    if (n == 0 && over(h)) return h->err;
    *out = (struct np_bytes){n > 0 ? (const char *)data : "", (size_t)n};
    return NEAP_OK;
}

enum neap_err np_grpc_health_feed(struct np_grpc_health *h, const void *data, size_t n)
{
    if (h->err != NEAP_OK) return h->err;
    ssize_t used = nghttp2_session_mem_recv(h->session, data, n);
    if (used < 0) return check(h, (int)used);
    if (over(h)) return h->err;
    return NEAP_OK;
}

const struct np_grpc_health_result *np_grpc_health_result(const struct np_grpc_health *h)
{
    return h->done ? &h->result : NULL;
}

const char *np_grpc_health_why(const struct np_grpc_health *h)
{
    return h->why;
}
