/* What the tests of net share: a loop whose end is checked, and an end of a stream that records
 * what it hears. Every test has a loop of its own, and fails when a handle or a block is left.
 */
#ifndef NET_FIXTURE_H
#define NET_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/dial.h"
#include "net/dns.h"
#include "net/listener.h"
#include "net/stream.h"
#include "net/tls.h"
#include "np_test.h"
#include "tls_certs.h"

struct fix {
    struct np_loop loop;
    int64_t live;
    struct np_tls_context *server, *client; /* made when TLS is first joined */
};

static inline int fix_setup(void **state)
{
    struct fix *f = test_calloc(1, sizeof *f);
    f->live = np_alloc_live();
    assert_ok(np_loop_init(&f->loop, NULL, NULL));
    *state = f;
    return 0;
}

static inline void fix_count_open(uv_handle_t *h, void *arg)
{
    struct fix *f = arg;
    if (h == (uv_handle_t *)&f->loop.timer || h == (uv_handle_t *)&f->loop.idle) return;
    if (h == (uv_handle_t *)&f->loop.wake) return;
    print_error("a %s handle is left\n", uv_handle_type_name(h->type));
    fail();
}

static inline int fix_teardown(void **state)
{
    struct fix *f = *state;
    np_loop_run(&f->loop); /* ends by itself when all is closed */
    np_tls_context_unref(f->server);
    np_tls_context_unref(f->client);
    np_dns_free(&f->loop);
    np_loop_run(&f->loop);
    assert_int_equal(f->loop.handles, 0);
    assert_int_equal(f->loop.timers.len, 0);
    uv_walk(f->loop.uv, fix_count_open, f);
    np_loop_fini(&f->loop, NULL, NULL);
    assert_no_leak(f->live);
    test_free(f);
    return 0;
}

/* Turns the loop until `cond`; a loop with nothing left to wait for is a failure. A callback that
 * makes it true from a timer calls np_loop_stop, or the loop would wait once more first. */
#define run_until(f, cond)                                                    \
    do {                                                                      \
        while (!(cond)) {                                                     \
            if (!uv_run((f)->loop.uv, UV_RUN_ONCE) && !(cond))                \
                fail_msg("nothing left to wait for, and not yet: %s", #cond); \
        }                                                                     \
    } while (0)

/* Turns the loop a few times without waiting, for what must not happen. */
static inline void run_some(struct fix *f)
{
    for (int i = 0; i < 5; i++)
        np_loop_poll(&f->loop);
}

/* One end. `close_in` names the callback that closes it. */
struct end {
    struct np_stream *s;
    struct np_buf in;
    int opened, read, ended, drained, errors, closed;
    enum neap_err err;
    const char *close_in;
    bool count_only; /* bytes go into `got` and `sum`, not into `in` */
    size_t got;
    uint64_t sum;
    bool inside; /* a call on the stream is under way: no callback may come */
    void (*on_read)(struct end *e);
};

static inline uint64_t checksum(uint64_t sum, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum = (sum ^ (unsigned char)p[i]) * UINT64_C(1099511628211);
    return sum;
}

static inline void end_maybe_close(struct end *e, const char *where)
{
    assert_false(e->inside);
    np_loop_stop(e->s->loop); /* run_until looks again before the loop waits */
    if (e->close_in && strcmp(e->close_in, where) == 0) np_stream_close(e->s);
}

static inline void end_opened(struct np_stream *s)
{
    struct end *e = s->arg;
    e->opened++;
    end_maybe_close(e, "open");
}

static inline void end_read(struct np_stream *s, const char *data, size_t n)
{
    struct end *e = s->arg;
    e->read++;
    e->got += n;
    e->sum = checksum(e->sum, data, n);
    if (!e->count_only) assert_ok(np_buf_append(&e->in, data, n));
    if (e->on_read) e->on_read(e);
    end_maybe_close(e, "read");
}

static inline void end_ended(struct np_stream *s)
{
    struct end *e = s->arg;
    e->ended++;
    end_maybe_close(e, "end");
}

static inline void end_drained(struct np_stream *s)
{
    struct end *e = s->arg;
    e->drained++;
    end_maybe_close(e, "drain");
}

static inline void end_failed(struct np_stream *s, enum neap_err err)
{
    struct end *e = s->arg;
    e->errors++;
    e->err = err;
    end_maybe_close(e, "error");
}

static inline void end_closed(struct np_stream *s)
{
    struct end *e = s->arg;
    assert_false(e->inside);
    np_loop_stop(s->loop);
    e->closed++;
    e->s = NULL;
}

static const struct np_stream_handler end_handler = {
    .on_open = end_opened,
    .on_read = end_read,
    .on_end = end_ended,
    .on_drain = end_drained,
    .on_error = end_failed,
    .on_close = end_closed,
};

static inline void end_take(struct end *e, struct np_stream *s)
{
    *e = (struct end){.s = s};
    np_stream_set_handler(s, &end_handler, e);
}

static inline void end_finish(struct fix *f, struct end *e)
{
    if (e->s) np_stream_close(e->s);
    if (e->s) run_until(f, e->closed);
    np_buf_fini(&e->in);
    assert_int_equal(e->closed, 1);
    assert_true(e->errors <= 1 && e->ended <= 1 && e->opened <= 1);
}

static inline void end_text_is(struct end *e, const char *text)
{
    assert_int_equal(np_buf_len(&e->in), strlen(text));
    assert_memory_equal(np_buf_data(&e->in), text, strlen(text));
}

/* A listener that takes one connection. */
struct acceptor {
    struct np_listener *l;
    struct end *to;
    int accepted;
    int closed;
};

static inline void acceptor_accept(struct np_listener *l, struct np_stream *s)
{
    struct acceptor *a = np_listener_arg(l);
    a->accepted++;
    end_take(a->to, s);
}

static inline void acceptor_closed(struct np_listener *l)
{
    struct acceptor *a = np_listener_arg(l);
    a->closed++;
}

static const struct np_listener_handler acceptor_handler = {acceptor_accept, acceptor_closed};

/* Two ends joined by a transport. */
enum { TCP, UNIX, PIPE, TLS, TLS_PIPE, KINDS };

static inline void fix_make_tls(struct fix *f)
{
    if (f->server) return;
    struct test_cert ca = test_cert_new("Test CA", NULL, NULL, 30, false);
    struct test_cert leaf = test_cert_new("leaf", "DNS:a.example", &ca, 30, false);
    struct np_tls_cert_source source = {.cert = leaf.cert_pem, .key = leaf.key_pem};
    struct np_tls_options server = {.certs = &source, .ncerts = 1};
    struct np_tls_options client = {.ca = ca.cert_pem};
    assert_ok(np_tls_context_new(&f->loop, &server, &f->server, NULL));
    assert_ok(np_tls_context_new(&f->loop, &client, &f->client, NULL));
    test_cert_free(&leaf);
    test_cert_free(&ca);
}

/* Puts TLS over both ends, and waits for the handshake. */
static inline void secure(struct fix *f, struct end *a, struct end *b)
{
    struct np_tls_client_options o = {.host = "a.example", .session_key = "a.example:443"};
    struct np_stream *s, *t;
    fix_make_tls(f);
    assert_ok(np_tls_wrap_client(f->client, a->s, &o, &end_handler, a, &s));
    a->s = s;
    assert_ok(np_tls_wrap_server(f->server, b->s, 0, &end_handler, b, &t));
    b->s = t;
    run_until(f, a->opened && b->opened);
    a->opened = b->opened = 0;
}

static inline void join(struct fix *f, int kind, struct end *a, struct end *b)
{
    struct acceptor acc = {.to = b};
    struct np_stream *s, *t;
    char *dir = NULL;
    char path[256];
    if (kind == PIPE || kind == TLS_PIPE) {
        assert_ok(np_pipe_pair(&f->loop, 0, &s, &t));
        end_take(a, s);
        end_take(b, t);
        if (kind == TLS_PIPE) secure(f, a, b);
        return;
    }
    memset(a, 0, sizeof *a);
    if (kind == TCP || kind == TLS) {
        assert_ok(
            np_tcp_listen(&f->loop, "127.0.0.1", 0, NULL, &acceptor_handler, &acc, &acc.l, NULL));
        assert_ok(np_tcp_dial(&f->loop, "127.0.0.1", np_listener_port(acc.l), NULL, &end_handler, a,
                              &a->s));
    } else {
        dir = np_test_tmpdir();
        snprintf(path, sizeof path, "%s/s", dir);
        assert_ok(np_unix_listen(&f->loop, path, NULL, &acceptor_handler, &acc, &acc.l, NULL));
        assert_ok(np_unix_dial(&f->loop, path, NULL, &end_handler, a, &a->s));
    }
    assert_int_equal(a->opened, 0);
    run_until(f, a->opened && acc.accepted);
    a->opened = 0;
    np_listener_close(acc.l);
    run_until(f, acc.closed);
    np_test_tmpdir_remove(dir);
    if (kind == TLS) secure(f, a, b);
}

#endif
