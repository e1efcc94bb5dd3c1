/* Workers for the tests of shared sockets: threads with a loop each, and what a script's state is
 * to the share: a user with its listeners. Each connection is told who serves it,
 * "<worker><state>", for each byte it sends. The test's own thread is the client, with sockets that
 * block.
 *
 * All that is a worker's happens on its thread: do_on() sends a function there and waits for it.
 */
#ifndef NET_SHARE_RIG_H
#define NET_SHARE_RIG_H

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/listener.h"
#include "net/share.h"
#include "net/udp.h"
#include "np_test.h"

enum { MAX_WORKERS = 4, MAX_LISTENERS = 4, PATIENCE_S = 20 };

struct worker;

/* A script's state, as the share sees it. */
struct state {
    struct worker *w;
    struct np_share_user *user;
    struct np_listener *l[MAX_LISTENERS];
    struct np_udp *udp;
    int n;
    int open_listeners;
    char mark; /* its generation: 'a', 'b' … */
};

struct worker {
    pthread_t thread;
    struct np_loop loop;
    unsigned id;
    struct np_share *share;
    struct state *now, *next;
    sem_t up;
    atomic_int accepted;
    atomic_int open;
};

struct order {
    struct np_post post;
    struct worker *w;
    void (*fn)(struct worker *w, void *arg);
    void *arg;
    sem_t done;
};

static void on_order(struct np_post *p, struct np_loop *loop)
{
    struct order *o = np_container_of(p, struct order, post);
    (void)loop;
    o->fn(o->w, o->arg);
    sem_post(&o->done);
}

static void order_send(struct order *o, struct worker *w, void (*fn)(struct worker *, void *),
                       void *arg)
{
    *o = (struct order){.post.fn = on_order, .w = w, .fn = fn, .arg = arg};
    sem_init(&o->done, 0, 0);
    np_loop_post(&w->loop, &o->post);
}

static void order_wait(struct order *o)
{
    while (sem_wait(&o->done) < 0)
        continue;
    sem_destroy(&o->done);
}

static void do_on(struct worker *w, void (*fn)(struct worker *, void *), void *arg)
{
    struct order o;
    order_send(&o, w, fn, arg);
    order_wait(&o);
}

/* Failures on a worker's thread: cmocka's are for the test's own. */
#define must(cond)                                                             \
    do {                                                                       \
        if (!(cond)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
            abort();                                                           \
        }                                                                      \
    } while (0)

/* --- the server's side */

static void conn_read(struct np_stream *s, const char *data, size_t n)
{
    const struct state *st = s->arg;
    (void)data;
    for (size_t i = 0; i < n; i++) {
        char answer[2] = {(char)('0' + st->w->id), st->mark};
        must(np_stream_write(s, answer, 2) == NEAP_OK);
    }
}

static void conn_end(struct np_stream *s)
{
    np_stream_close(s);
}

static void conn_error(struct np_stream *s, enum neap_err err)
{
    (void)err;
    np_stream_close(s);
}

static void conn_close(struct np_stream *s)
{
    const struct state *st = s->arg;
    atomic_fetch_sub(&st->w->open, 1);
}

static const struct np_stream_handler conn_handler = {
    .on_read = conn_read, .on_end = conn_end, .on_error = conn_error, .on_close = conn_close};

static void on_accept(struct np_listener *l, struct np_stream *s)
{
    struct state *st = np_listener_arg(l);
    atomic_fetch_add(&st->w->accepted, 1);
    atomic_fetch_add(&st->w->open, 1);
    np_stream_set_handler(s, &conn_handler, st);
    must(np_stream_read_start(s) == NEAP_OK);
}

static void on_listener_close(struct np_listener *l)
{
    struct state *st = np_listener_arg(l);
    st->open_listeners--;
}

static const struct np_listener_handler listener_handler = {on_accept, on_listener_close};

struct place {
    const char *host, *path;
    int port;           /* the one that was chosen … */
    bool fixed;         /* … or that is asked for */
    enum neap_err want; /* what listening is to give */
    bool reuse_port;
    char address[NP_ADDR_TEXT_MAX];
    struct neap_errinfo info;
};

static inline void state_listen(struct state *st, struct place *p)
{
    struct np_listen_options o = NP_LISTEN_OPTIONS_INIT;
    struct np_loop *loop = &st->w->loop;
    struct np_listener **l = &st->l[st->n];
    o.share = st->user;
    o.reuse_port = p->reuse_port;
    enum neap_err err =
        p->path ? np_unix_listen(loop, p->path, &o, &listener_handler, st, l, &p->info)
                : np_tcp_listen(loop, p->host ? p->host : "127.0.0.1", p->fixed ? p->port : 0, &o,
                                &listener_handler, st, l, &p->info);
    if (err != p->want) fprintf(stderr, "%s\n", p->info.message);
    must(err == p->want);
    if (err) return;
    np_listener_address(*l, p->address, sizeof p->address);
    p->port = np_listener_port(*l);
    st->n++;
    st->open_listeners++;
}

static struct state *state_new(struct worker *w, bool held, char mark)
{
    struct state *st = calloc(1, sizeof *st);
    must(st);
    st->w = w;
    st->mark = mark;
    must(np_share_user_new(w->share, &w->loop, w->id, held, &st->user) == NEAP_OK);
    return st;
}

/* Its connections are gone before. */
static void state_free(struct state *st)
{
    if (!st) return;
    for (int i = 0; i < st->n; i++)
        np_listener_close(st->l[i]);
    if (st->udp) np_udp_close(st->udp);
    np_share_user_free(st->user);
    while (st->open_listeners || st->udp)
        np_loop_poll(&st->w->loop);
    free(st);
}

/* --- orders */

static void do_start(struct worker *w, void *mark)
{
    w->now = state_new(w, false, *(char *)mark);
}

static inline void do_listen(struct worker *w, void *place)
{
    state_listen(w->next ? w->next : w->now, place);
}

static inline void do_loaded(struct worker *w, void *arg)
{
    (void)arg;
    np_share_user_loaded(w->next ? w->next->user : w->now->user);
}

static void do_load_next(struct worker *w, void *mark)
{
    w->next = state_new(w, true, *(char *)mark);
}

static inline void do_drop_next(struct worker *w, void *arg)
{
    (void)arg;
    state_free(w->next);
    w->next = NULL;
}

/* As the host does it; what the old one listened on is closed, its connections are its own still
 * and it is returned. */
static void do_switch(struct worker *w, void *old)
{
    struct state *st = w->now;
    w->now = w->next;
    w->next = NULL;
    np_share_user_activate(w->now->user);
    np_share_user_retire(st->user);
    *(struct state **)old = st;
}

static void do_free(struct worker *w, void *st)
{
    (void)w;
    state_free(st);
}

static void do_stop(struct worker *w, void *arg)
{
    (void)arg;
    state_free(w->next);
    state_free(w->now);
    w->next = w->now = NULL;
    while (atomic_load(&w->open)) /* their clients have gone */
        uv_run(w->loop.uv, UV_RUN_ONCE);
    np_loop_await_posts(&w->loop, false);
}

/* --- workers */

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    must(np_loop_init(&w->loop, NULL, NULL) == NEAP_OK);
    np_loop_await_posts(&w->loop, true);
    sem_post(&w->up);
    np_loop_run(&w->loop);
    must(w->loop.handles == 0);
    np_loop_fini(&w->loop, NULL, NULL);
    return NULL;
}

static void worker_begin(struct worker *w, struct np_share *share, unsigned id)
{
    memset(w, 0, sizeof *w);
    w->id = id;
    w->share = share;
    sem_init(&w->up, 0, 0);
    assert_int_equal(pthread_create(&w->thread, NULL, worker_main, w), 0);
    while (sem_wait(&w->up) < 0)
        continue;
    sem_destroy(&w->up);
    do_on(w, do_start, &(char){'a'});
}

static void worker_end(struct worker *w)
{
    do_on(w, do_stop, NULL);
    pthread_join(w->thread, NULL);
}

struct rig {
    struct np_share *share;
    struct worker w[MAX_WORKERS];
    unsigned n;
    int64_t live;
};

static void rig_open(struct rig *r, unsigned n, enum np_share_mode mode)
{
    r->live = np_alloc_live();
    r->n = n;
    assert_ok(np_share_new(n, mode, &r->share));
    for (unsigned i = 0; i < n; i++)
        worker_begin(&r->w[i], r->share, i);
}

/* All of them listen at `p`. */
static inline void rig_listen(struct rig *r, struct place *p)
{
    for (unsigned i = 0; i < r->n; i++)
        do_on(&r->w[i], do_listen, p);
}

static void rig_close(struct rig *r)
{
    for (unsigned i = 0; i < r->n; i++)
        worker_end(&r->w[i]);
    np_share_free(r->share);
    assert_no_leak(r->live);
}

/* --- the client's side */

static int client_socket(int family)
{
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

static inline int client_connect(const struct place *p)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)p->port)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = client_socket(p->path ? AF_UNIX : AF_INET);
    if (p->path) snprintf(un.sun_path, sizeof un.sun_path, "%s", p->path);
    int rc = p->path ? connect(fd, (struct sockaddr *)&un, sizeof un)
                     : connect(fd, (struct sockaddr *)&in, sizeof in);
    if (rc == 0) return fd;
    close(fd);
    return -1;
}

/* Who serves it: two characters and a NUL in `who`. */
static inline bool client_ask(int fd, char who[3])
{
    size_t got = 0;
    who[0] = who[2] = '\0';
    if (send(fd, "?", 1, MSG_NOSIGNAL) != 1) return false;
    while (got < 2) {
        ssize_t n = recv(fd, who + got, 2 - got, 0);
        if (n <= 0) return false;
        got += (size_t)n;
    }
    return true;
}

/* A connection that is served. */
static inline int client_open(const struct place *p, char who[3])
{
    int fd = client_connect(p);
    assert_true(fd >= 0);
    assert_true(client_ask(fd, who));
    return fd;
}

#endif
