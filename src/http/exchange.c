/* Answers: heads, whole and streamed bodies, and what the handler asks of the request's body.
 *
 * A head is checked in full before a byte of it is written; writing it cannot fail half way.
 * Everything goes to the connection's `out`; it leaves at the end of the present turn, or at once
 * when the answer is complete and no turn is on. A large body is not copied. One thread, the
 * loop's.
 */
#include <string.h>

#include "base/alloc.h"
#include "http/server_impl.h"

#define COPY_MAX ((size_t)16 * 1024) /* a larger body goes to the stream from where it stands */

struct answer {
    int status;
    const struct np_http_header *headers;
    size_t nheaders;
    int64_t length; /* of the body; -1 unknown */
    struct np_http_given given;
    enum np_http_framing framing;
    bool keep_alive;
};

static enum neap_err once(bool *seen)
{
    if (*seen) return NEAP_EINVAL;
    *seen = true;
    return NEAP_OK;
}

const char np_http_own_type[] = "Content-Type";

/* Headers that the server writes itself: refused, or noted. */
static enum neap_err check_own(const struct np_http_header *h, struct np_http_given *g)
{
    switch (h->name.n) {
    case 4:
        if (np_http_name_is(h->name, "date", 4)) return once(&g->date);
        break;
    case 6:
        if (np_http_name_is(h->name, "server", 6)) return once(&g->server);
        break;
    case 7:
        if (np_http_name_is(h->name, "upgrade", 7)) g->upgrade = true;
        break;
    case 10:
        if (!np_http_name_is(h->name, "connection", 10)) break;
        g->connection = true;
        if (np_http_name_is(h->value, "close", 5)) return once(&g->close);
        return np_http_name_is(h->value, "keep-alive", 10) ? NEAP_OK : NEAP_EINVAL;
    case 14:
        if (np_http_name_is(h->name, "content-length", 14)) return NEAP_EINVAL;
        break;
    case 17:
        if (np_http_name_is(h->name, "transfer-encoding", 17)) return NEAP_EINVAL;
        break;
    default:
        break;
    }
    return NEAP_OK;
}

enum neap_err np_http_check_headers(const struct np_http_header *headers, size_t n,
                                    struct np_http_given *given)
{
    for (size_t i = 0; i < n; i++) {
        const struct np_http_header *h = &headers[i];
        bool ours = h->name.p == np_http_own_type;
        if (!ours &&
            (!np_http_is_token(h->name.p, h->name.n) || !np_http_is_value(h->value.p, h->value.n)))
            return NEAP_EINVAL;
        enum neap_err err = ours ? NEAP_OK : check_own(h, given);
        if (err) return err;
        given->bytes += h->name.n + h->value.n + 4;
    }
    return NEAP_OK;
}

/* How many bytes of the request's body have not come; INT64_MAX when nobody knows. */
static int64_t body_left(const struct np_http_conn *c)
{
    if (c->t->x.body_complete) return 0;
    if (c->t->x.head.chunked) return INT64_MAX;
    return c->t->x.head.content_length - (int64_t)c->t->parser.body_bytes;
}

/* Whether another request may follow this one. */
static bool keeps_alive(const struct np_http_conn *c, const struct answer *a)
{
    const struct np_http_server *s = c->server;
    if (s->closing && !s->successor) return false;
    if (!c->t->x.head.keep_alive || c->close_after || a->given.close) return false;
    if (s->opts.max_requests && c->requests >= s->opts.max_requests) return false;
    if (a->framing == NP_FRAMING_CLOSE) return false;
    if (c->t->x.body_complete) return true;
    if (c->want_continue) return false; /* nobody knows whether the body will come */
    return c->body_wanted || c->t->x.head.chunked || body_left(c) <= (int64_t)NP_HTTP_MAX_DISCARD;
}

static enum np_http_framing framing_of(const struct np_http_conn *c, const struct answer *a)
{
    if (c->t->x.head.method == HTTP_HEAD || a->status == 204 || a->status == 304)
        return NP_FRAMING_NONE;
    if (a->length >= 0) return NP_FRAMING_LENGTH;
    return c->t->x.head.minor > 0 ? NP_FRAMING_CHUNKED : NP_FRAMING_CLOSE;
}

/* --- the head */

static int64_t wall_second(struct np_http_server *s)
{
    int64_t now = np_loop_now(s->loop);
    if (now != s->wall_checked || !s->wall_second) {
        s->wall_checked = now;
        s->wall_second = np_clock_wall() / NP_NS_PER_SEC;
    }
    return s->wall_second;
}

static enum neap_err write_lines(struct np_http_server *s, struct np_buf *b, int status, bool date,
                                 bool server)
{
    enum neap_err err = np_http_write_status_line(b, 1, status);
    if (!err && date) err = np_http_write_date(b, &s->date, wall_second(s));
    if (!err && server && s->server_name)
        err = np_http_write_header(b, "Server", 6, s->server_name, strlen(s->server_name));
    return err;
}

enum neap_err np_http_write_prefix(struct np_http_server *s, struct np_buf *b, int status)
{
    struct np_http_prefix *p = &s->prefixes[(unsigned)status % NP_HTTP_PREFIXES];
    int64_t second = wall_second(s);
    if (p->status == status && p->second == second) return np_buf_append(b, p->text, p->len);
    size_t before = np_buf_len(b);
    enum neap_err err = write_lines(s, b, status, true, true);
    size_t n = np_buf_len(b) - before;
    if (err || n > sizeof p->text) return err;
    memcpy(p->text, np_buf_data(b) + before, n);
    p->len = n;
    p->status = status;
    p->second = second;
    return NEAP_OK;
}

static char *put(char *at, const char *p, size_t n)
{
    if (n) memcpy(at, p, n);
    return at + n;
}
#define PUT(at, text) put(at, text, sizeof(text) - 1)

static char *put_number(char *at, uint64_t v)
{
    char digits[20];
    size_t k = 0;
    do {
        digits[k++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    while (k)
        *at++ = digits[--k];
    return at;
}

/* What follows the prefix: the owner's headers, framing, the empty line. */
static enum neap_err write_rest(struct np_http_conn *c, const struct answer *a)
{
    enum { OWN_MAX = 96 };
    char *at;
    enum neap_err err = np_buf_reserve(&c->t->out, a->given.bytes + OWN_MAX, &at);
    if (err) return err;
    char *start = at;
    for (size_t i = 0; i < a->nheaders; i++) {
        const struct np_http_header *h = &a->headers[i];
        if (h->name.n == 10 && np_http_name_is(h->name, "connection", 10)) continue;
        at = put(at, h->name.p, h->name.n);
        at = PUT(at, ": ");
        at = put(at, h->value.p, h->value.n);
        at = PUT(at, "\r\n");
    }
    if (a->status != 204 && a->status != 304) {
        if (a->length >= 0) {
            at = PUT(at, "Content-Length: ");
            at = put_number(at, (uint64_t)a->length);
            at = PUT(at, "\r\n");
        } else if (c->t->x.head.minor > 0) {
            at = PUT(at, "Transfer-Encoding: chunked\r\n");
        }
    }
    if (a->given.upgrade) /* what is offered, with 426 say, is offered for this connection */
        at = PUT(at, "Connection: upgrade\r\n");
    if (!a->keep_alive)
        at = PUT(at, "Connection: close\r\n");
    else if (c->t->x.head.minor == 0)
        at = PUT(at, "Connection: keep-alive\r\n");
    at = PUT(at, "\r\n");
    np_buf_added(&c->t->out, (size_t)(at - start));
    return NEAP_OK;
}

/* Writes the head, or nothing. */
static enum neap_err write_head(struct np_http_conn *c, struct answer *a)
{
    if (c->state != NP_CONN_EXCHANGE || c->t->x.finished) return NEAP_ECLOSED;
    if (c->t->x.started || a->status < 200 || a->status > 999) return NEAP_EINVAL;
    if (c->t->x.head.method == HTTP_CONNECT && a->status < 300) return NEAP_EINVAL; /* a tunnel's */
    enum neap_err err = np_http_check_headers(a->headers, a->nheaders, &a->given);
    if (err) return err;
    a->framing = framing_of(c, a);
    a->keep_alive = keeps_alive(c, a);
    np_http_conn_lend_out(c);
    size_t before = np_buf_len(&c->t->out);
    if (a->given.date || a->given.server)
        err = write_lines(c->server, &c->t->out, a->status, !a->given.date, !a->given.server);
    else
        err = np_http_write_prefix(c->server, &c->t->out, a->status);
    if (!err) err = write_rest(c, a);
    if (err) {
        c->t->out.tail = c->t->out.head + before;
        return err;
    }
    if (!a->keep_alive) c->close_after = true;
    c->t->framing = a->framing;
    c->t->x.started = true;
    np_http_account_head(c, a->status);
    np_http_account_headers(c, a->headers, a->nheaders);
    return NEAP_OK;
}

/* --- bodies */

/* Hands `out` and these slices to the stream in one go. */
static enum neap_err write_through(struct np_http_conn *c, const char *p, size_t n,
                                   const char *tail, size_t tn)
{
    struct np_slice v[3] = {{np_buf_data(&c->t->out), np_buf_len(&c->t->out)}, {p, n}, {tail, tn}};
    enum neap_err err = np_stream_writev(c->stream, v, 3);
    if (!err) np_buf_clear(&c->t->out);
    return err;
}

bool np_http_conn_is_full(const struct np_http_conn *c, size_t n)
{
    const struct np_stream *s = c->stream;
    size_t has = np_stream_queued(s) + np_buf_len(&c->t->out);
    return n > s->max_queue || has > s->max_queue - n;
}

enum neap_err np_http_respond(struct np_http_exchange *x, int status,
                              const struct np_http_header *headers, size_t nheaders,
                              const char *body, size_t n)
{
    struct np_http_conn *c = np_http_conn_of(x);
    struct answer a = {status, headers, nheaders, (int64_t)n, .keep_alive = false};
    if (x->finished) return NEAP_ECLOSED;
    if (np_http_conn_is_full(c, n + NP_HTTP_FLUSH_AT)) return NEAP_ELIMIT;
    size_t before = np_buf_len(&c->t->out);
    bool close_before = c->close_after;
    enum neap_err err = write_head(c, &a);
    if (err) return err;
    if (a.framing == NP_FRAMING_LENGTH && n > 0)
        err =
            n <= COPY_MAX ? np_buf_append(&c->t->out, body, n) : write_through(c, body, n, NULL, 0);
    if (err) {
        if (!c->stream->err) c->t->out.tail = c->t->out.head + before;
        x->started = false;
        c->t->account.status = 0;
        c->close_after = close_before;
        return err;
    }
    x->finished = true;
    np_http_conn_answered(c);
    return NEAP_OK;
}

enum neap_err np_http_start(struct np_http_exchange *x, int status,
                            const struct np_http_header *headers, size_t nheaders, int64_t length)
{
    struct np_http_conn *c = np_http_conn_of(x);
    struct answer a = {status, headers, nheaders, length < 0 ? -1 : length, .keep_alive = false};
    enum neap_err err = write_head(c, &a);
    if (err) return err;
    c->t->left = a.framing == NP_FRAMING_LENGTH ? (uint64_t)a.length : 0;
    if (!c->corked) np_http_conn_pump_later(c);
    return NEAP_OK;
}

static enum neap_err append_piece(struct np_http_conn *c, const char *p, size_t n, bool chunked)
{
    char head[NP_HTTP_CHUNK_HEAD];
    size_t before = np_buf_len(&c->t->out);
    enum neap_err err;
    if (n <= COPY_MAX) {
        if (chunked) return np_http_write_chunk(&c->t->out, p, n);
        return np_buf_append(&c->t->out, p, n);
    }
    if (chunked) {
        err = np_buf_append(&c->t->out, head, np_http_chunk_head(head, n));
        if (err) return err;
    }
    err = write_through(c, p, n, "\r\n", chunked ? 2 : 0);
    if (err && !c->stream->err) c->t->out.tail = c->t->out.head + before;
    return err;
}

enum neap_err np_http_write(struct np_http_exchange *x, const char *p, size_t n)
{
    struct np_http_conn *c = np_http_conn_of(x);
    if (x->finished || c->state != NP_CONN_EXCHANGE) return NEAP_ECLOSED;
    if (!x->started) return NEAP_EINVAL;
    if (c->stream->err) return c->stream->err;
    if (n == 0 || c->t->framing == NP_FRAMING_NONE) return NEAP_OK;
    if (c->t->framing == NP_FRAMING_LENGTH && n > c->t->left) return NEAP_EINVAL;
    if (np_http_conn_is_full(c, n + NP_HTTP_CHUNK_HEAD + 2)) return NEAP_ELIMIT;
    np_http_conn_lend_out(c);
    enum neap_err err = append_piece(c, p, n, c->t->framing == NP_FRAMING_CHUNKED);
    if (err) return err;
    if (c->t->framing == NP_FRAMING_LENGTH) c->t->left -= n;
    if (np_buf_len(&c->t->out) >= NP_HTTP_FLUSH_AT)
        np_http_conn_flush(c);
    else if (!c->corked)
        np_http_conn_pump_later(c);
    return NEAP_OK;
}

bool np_http_writable(const struct np_http_exchange *x)
{
    const struct np_http_conn *c = ((const struct np_http_turn *)x)->c;
    return !x->finished && np_stream_writable(c->stream);
}

/* The last chunk is written, or there is none. */
static void finished(struct np_http_conn *c)
{
    struct np_http_exchange *x = &c->t->x;
    if (c->t->framing == NP_FRAMING_LENGTH && c->t->left > 0) c->close_after = true;
    if (!x->body_complete && body_left(c) > (int64_t)NP_HTTP_MAX_DISCARD && !x->head.chunked)
        c->close_after = true;
    x->finished = true;
    np_http_conn_answered(c);
}

void np_http_finish(struct np_http_exchange *x)
{
    struct np_http_conn *c = np_http_conn_of(x);
    if (x->finished || c->state != NP_CONN_EXCHANGE) return;
    if (!x->started && np_http_respond(x, 204, NULL, 0, NULL, 0) == NEAP_OK) return;
    np_http_conn_lend_out(c);
    if (!x->started ||
        (c->t->framing == NP_FRAMING_CHUNKED && np_http_write_last_chunk(&c->t->out)))
        np_http_conn_drop(c);
    else
        finished(c);
}

static enum neap_err check_trailers(const struct np_http_header *t, size_t n)
{
    struct np_http_given given = {0};
    for (size_t i = 0; i < n; i++) {
        if (!np_http_may_trail(t[i].name)) return NEAP_EINVAL;
    }
    return np_http_check_headers(t, n, &given);
}

enum neap_err np_http_finish_with(struct np_http_exchange *x, const struct np_http_header *trailers,
                                  size_t n)
{
    struct np_http_conn *c = np_http_conn_of(x);
    if (x->finished || c->state != NP_CONN_EXCHANGE) return NEAP_ECLOSED;
    if (!x->started) return NEAP_EINVAL;
    enum neap_err err = check_trailers(trailers, n);
    if (err) return err;
    np_http_conn_lend_out(c);
    if (c->t->framing == NP_FRAMING_CHUNKED) err = np_http_write_trailer(&c->t->out, trailers, n);
    if (!err) finished(c);
    return err;
}

void np_http_abort(struct np_http_exchange *x)
{
    struct np_http_conn *c = np_http_conn_of(x);
    if (x->finished || c->state != NP_CONN_EXCHANGE) return;
    if (!c->t->account.status) c->t->account.status = 500;
    np_http_conn_flush(c); /* what it did say leaves */
    np_http_conn_drop(c);
}

/* --- the request's body, and the peer */

void np_http_body_start(struct np_http_exchange *x)
{
    struct np_http_conn *c = np_http_conn_of(x);
    if (x->finished || c->state != NP_CONN_EXCHANGE || c->body_told) return;
    c->body_wanted = true;
    np_http1_pause(&c->t->parser, false);
    if (c->want_continue) np_http_conn_say_continue(c);
    if (!c->corked) np_http_conn_pump_later(c);
}

void np_http_body_stop(struct np_http_exchange *x)
{
    struct np_http_conn *c = np_http_conn_of(x);
    if (x->finished || c->state != NP_CONN_EXCHANGE || x->body_complete) return;
    np_http1_pause(&c->t->parser, true);
}

const char *np_http_exchange_peer_name(struct np_http_exchange *x)
{
    struct np_http_conn *c = np_http_conn_of(x);
    char text[NP_ADDR_TEXT_MAX];
    if (!c->peer && c->stream && np_stream_peer(c->stream, text, sizeof text) == NEAP_OK)
        c->peer = np_strdup(text);
    return c->peer ? c->peer : "";
}

void np_http_exchange_peer(struct np_http_exchange *x, char *out, size_t size)
{
    const char *name = np_http_exchange_peer_name(x);
    size_t n = strlen(name);
    if (size == 0) return;
    if (n >= size) n = size - 1;
    memcpy(out, name, n);
    out[n] = '\0';
}
