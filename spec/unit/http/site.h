/* A server for the tests: what a request gets is said by its path; what was heard is counted.
 *
 *   /hello       200 "hello" at once
 *   /later       nothing; the test answers (site.held)
 *   /echo        the body, when it is complete
 *   /count       how long the body was (its bytes are not kept)
 *   /ignore      200 "ignored" at once, whatever the body
 *   /stopped     asks for the body and stops it at its first piece
 *   /none        204
 *   /pieces      "one", "two", "three" in one go, streamed
 */
#ifndef HTTP_SITE_H
#define HTTP_SITE_H

#include "../net/fixture.h"
#include "http/server.h"

enum { SITE_HELD = 256 };

struct site {
    struct fix *f;
    struct np_http_server *server;
    struct np_http_exchange *held[SITE_HELD];
    size_t nheld;
    int requests, bodies, drains, aborts, closed;
    enum neap_err abort_why, body_err;
    struct np_buf body;
    size_t body_bytes;
    bool answer_failed_body; /* with 422, in on_body_end */
};

static inline bool path_is(struct np_http_exchange *x, const char *path)
{
    return x->head.path.n == strlen(path) && memcmp(x->head.path.p, path, x->head.path.n) == 0;
}

static inline void site_text(struct np_http_exchange *x, int status, const char *text)
{
    static const struct np_http_header type = {{"Content-Type", 12}, {"text/plain", 10}};
    assert_ok(np_http_respond(x, status, &type, 1, text, strlen(text)));
}

static inline void site_pieces(struct np_http_exchange *x)
{
    assert_ok(np_http_start(x, 200, NULL, 0, -1));
    assert_ok(np_http_write(x, "one", 3));
    assert_ok(np_http_write(x, "", 0));
    assert_ok(np_http_write(x, "two", 3));
    assert_ok(np_http_write(x, "three", 5));
    np_http_finish(x);
}

static inline void site_request(struct np_http_exchange *x, void *arg)
{
    struct site *t = arg;
    t->requests++;
    x->user = t;
    np_loop_stop(&t->f->loop);
    if (path_is(x, "/hello")) {
        site_text(x, 200, "hello");
    } else if (path_is(x, "/later")) {
        assert_true(t->nheld < SITE_HELD);
        t->held[t->nheld++] = x;
    } else if (path_is(x, "/echo") || path_is(x, "/count") || path_is(x, "/stopped")) {
        np_buf_clear(&t->body);
        t->body_bytes = 0;
        np_http_body_start(x);
    } else if (path_is(x, "/none")) {
        assert_ok(np_http_respond(x, 204, NULL, 0, NULL, 0));
    } else if (path_is(x, "/pieces")) {
        site_pieces(x);
    } else {
        site_text(x, 200, "ignored");
    }
}

static inline void site_body(struct np_http_exchange *x, const char *data, size_t n)
{
    struct site *t = x->user;
    t->body_bytes += n;
    if (!path_is(x, "/count")) assert_ok(np_buf_append(&t->body, data, n));
    if (path_is(x, "/stopped")) np_http_body_stop(x);
    np_loop_stop(&t->f->loop);
}

static inline void site_body_end(struct np_http_exchange *x, enum neap_err err)
{
    struct site *t = x->user;
    char text[32];
    t->bodies++;
    t->body_err = err;
    np_loop_stop(&t->f->loop);
    if (err && t->answer_failed_body) site_text(x, 422, "no");
    if (err) return;
    assert_true(x->body_complete);
    snprintf(text, sizeof text, "%zu", t->body_bytes);
    if (path_is(x, "/echo"))
        assert_ok(np_http_respond(x, 200, NULL, 0, np_buf_data(&t->body), np_buf_len(&t->body)));
    else
        site_text(x, 200, text);
}

static inline void site_drain(struct np_http_exchange *x)
{
    struct site *t = x->user;
    t->drains++;
    np_loop_stop(&t->f->loop);
}

static inline void site_abort(struct np_http_exchange *x, enum neap_err why)
{
    struct site *t = x->user;
    t->aborts++;
    t->abort_why = why;
    np_loop_stop(&t->f->loop);
}

static inline void site_closed(struct np_http_server *s, void *arg)
{
    struct site *t = arg;
    t->closed++;
    t->server = NULL;
    np_loop_stop(&t->f->loop);
}

static const struct np_http_server_handler site_handler = {
    site_request, site_body, site_body_end, site_drain, site_abort, site_closed, NULL};

static inline void site_open(struct fix *f, struct site *t, const struct np_http_server_options *o)
{
    *t = (struct site){.f = f};
    assert_ok(np_http_server_new(&f->loop, o, &site_handler, t, &t->server));
}

static inline void site_close(struct site *t)
{
    if (t->server) np_http_server_close(t->server, 0);
    if (t->server) run_until(t->f, t->closed);
    assert_int_equal(t->closed, 1);
    np_buf_fini(&t->body);
}

/* A client of the site through a pipe in memory; reads from the start. */
static inline void site_connect(struct site *t, struct end *client)
{
    struct np_stream *a, *b;
    assert_ok(np_pipe_pair(&t->f->loop, 0, &a, &b));
    end_take(client, a);
    assert_ok(np_http_server_adopt(t->server, b));
    assert_ok(np_stream_read_start(a));
}

static inline void send_text(struct end *e, const char *text)
{
    assert_ok(np_stream_write(e->s, text, strlen(text)));
}

static inline const char *text_of(struct end *e)
{
    assert_ok(np_buf_append(&e->in, "", 1));
    e->in.tail--;
    return np_buf_data(&e->in);
}

static inline bool has(struct end *e, const char *what)
{
    return strstr(text_of(e), what) != NULL;
}

static inline int count_of(struct end *e, const char *what)
{
    int n = 0;
    for (const char *at = text_of(e); (at = strstr(at, what)); at++)
        n++;
    return n;
}

/* The status of the first answer; 0 when there is none. */
static inline int status_of(struct end *e)
{
    int status = 0;
    if (sscanf(text_of(e), "HTTP/1.1 %3d ", &status) != 1) return 0;
    return status;
}

static inline const char *body_of(struct end *e)
{
    const char *at = strstr(text_of(e), "\r\n\r\n");
    return at ? at + 4 : "";
}

#define CRLF "\r\n"
#define GET(path) "GET " path " HTTP/1.1" CRLF "Host: a" CRLF CRLF

#endif
