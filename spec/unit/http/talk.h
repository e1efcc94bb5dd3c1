/* A client and a raw peer of it, for the tests of one conversation. */
#ifndef HTTP_TALK_H
#define HTTP_TALK_H

#include "client_rig.h"

struct talk {
    struct peer p;
    struct np_http_client *c;
    struct np_http_request q;
};

static inline void talk_open(struct fix *f, struct talk *t, const struct np_http_client_options *o)
{
    peer_open(f, &t->p);
    assert_ok(np_http_client_new(&f->loop, o, &t->c));
    t->q = get_from(np_listener_port(t->p.l), "/x");
}

static inline void talk_close(struct talk *t)
{
    np_http_client_close(t->c);
    peer_close(&t->p);
}

static inline struct np_http_client_stats stats(struct talk *t)
{
    struct np_http_client_stats s;
    np_http_client_get_stats(t->c, &s);
    return s;
}

/* Waits for the request on connection `n`, answers it, and forgets it. */
static inline void say(struct talk *t, int n, const char *text)
{
    run_until(t->p.f, peer_has_request(&t->p, n));
    np_buf_clear(&t->p.c[n].in);
    send_text(&t->p.c[n], text);
}

#define OK_X "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"

#endif
