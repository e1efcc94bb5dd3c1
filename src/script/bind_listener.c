/* The listener that scripts hold; see bind_listener.h.
 *
 * The C object lives until it has no transport, no userdata and no task. With a handler the
 * userdata is anchored while it listens, so that one nobody keeps goes on. Without, it accepts from
 * the kernel only while a task waits in accept.
 */
#include "script/bind_listener.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "script/bind_proxy.h"
#include "script/bind_tls.h"

#define TYPE "neap.listener"
#define DRAIN_LINGER NP_NS_PER_SEC
enum { MAX_SHAKING = 1024 };

struct llistener {
    struct np_script *script; /* NULL once the state closes */
    struct np_listener *l;    /* NULL when its transport is gone */
    struct llistener **handle;
    struct np_proxied *proxied; /* in front of it, or NULL */
    struct np_llistener_options opts;
    bool has_handler;
    bool closed;
    int handler_ref;
    int self_ref;
    size_t tasks;           /* that run the handler */
    struct np_link conns;   /* of struct conn: their streams are not gone yet */
    struct np_link shaking; /* of struct conn: TLS handshakes under way */
    size_t nshaking;
    struct np_link acceptors; /* waits */
    struct np_link accepted;  /* of struct conn: not yet taken by the task that was woken */
    struct np_drain drain;
    struct np_at_close at_close;
    bool ending; /* the state closes: not to be freed just now */
};

/* A connection between the loop and the task that gets it. */
struct conn {
    struct np_link link; /* in `shaking`, then in `accepted` or, with a handler, in `conns` */
    struct llistener *ll;
    struct np_lstream *ls;
    struct np_stream *s; /* during the handshake */
};

/* --- life */

static void release(struct llistener *ll)
{
    if (ll->l || !np_list_empty(&ll->conns) || ll->nshaking > 0 || ll->ending) return;
    if (ll->proxied && np_proxied_waiting(ll->proxied) > 0) return;
    if (ll->proxied && ll->closed) {
        np_proxied_close(ll->proxied);
        ll->proxied = NULL;
    }
    np_drain_remove(&ll->drain);
    if (ll->script && !ll->script->closing) {
        if (ll->handler_ref != LUA_NOREF) np_unref(ll->script, ll->handler_ref);
        if (ll->self_ref != LUA_NOREF) np_unref(ll->script, ll->self_ref);
        ll->handler_ref = ll->self_ref = LUA_NOREF;
    }
    np_tls_context_unref(ll->opts.tls);
    ll->opts.tls = NULL;
    if (ll->handle) return;
    np_at_close_remove(&ll->at_close);
    np_free(ll);
}

static void drop_accepted(struct llistener *ll)
{
    for (struct np_link *k; (k = np_list_pop_front(&ll->accepted));) {
        struct conn *c = np_container_of(k, struct conn, link);
        np_lstream_close(c->ls, 0);
        np_lstream_drop(c->ls);
        np_free(c);
    }
}

static void drop_shaking(struct llistener *ll)
{
    struct np_link *k, *tmp;
    np_list_each_safe (k, tmp, &ll->shaking) {
        np_stream_close(np_container_of(k, struct conn, link)->s);
    }
}

static void close_listener(struct llistener *ll)
{
    if (ll->closed) return;
    ll->closed = true;
    if (ll->l) np_listener_close(ll->l);
    if (ll->proxied && (!ll->has_handler || !ll->script || ll->script->closing)) {
        np_proxied_close(ll->proxied);
        ll->proxied = NULL;
    }
    if (!ll->has_handler) drop_shaking(ll); /* with one, they are served like those before */
    drop_accepted(ll);
    np_wake_all(&ll->acceptors, NEAP_ECLOSED);
}

static void on_listener_close(struct np_listener *l)
{
    struct llistener *ll = np_listener_arg(l);
    ll->l = NULL;
    release(ll);
}

/* Handlers that wait for their peer's next message are told to end; the others go on until they do.
 */
static void on_hurry(struct np_drain *d)
{
    struct llistener *ll = np_container_of(d, struct llistener, drain);
    struct np_link *l;
    np_list_each (l, &ll->conns) {
        struct np_lstream *ls = np_container_of(l, struct conn, link)->ls;
        if (ls->detached) continue;
        ls->stopping = true;
        np_wake(&ls->reader, NEAP_OK);
    }
}

/* It is drained when the last stream has gone. While another state does the work, a stream may take
 * its time. */
static void on_drain(struct np_drain *d, int64_t grace)
{
    struct llistener *ll = np_container_of(d, struct llistener, drain);
    close_listener(ll);
    if (!ll->script->shutdown.retiring) on_hurry(d);
}

static void update_pause(struct llistener *ll)
{
    if (ll->closed || !ll->l) return;
    bool wanted =
        ll->has_handler ? ll->tasks < ll->opts.max_connections : !np_list_empty(&ll->acceptors);
    if (ll->nshaking >= MAX_SHAKING) wanted = false;
    np_listener_pause(ll->l, !wanted);
}

/* --- a connection with a handler */

static int connection_over(lua_State *L, int status, lua_KContext ctx)
{
    return 0;
}

/* What its task runs. Stack: the connection. */
static int run_connection(lua_State *L)
{
    struct conn *c = lua_touserdata(L, 1);
    np_lstream_hold(np_lstream_push(L), c->ls); /* stays at 2 for as long as the task lives */
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->ll->handler_ref);
    lua_pushvalue(L, 2);
    lua_callk(L, 1, 0, 0, connection_over);
    return 0;
}

static void conn_gone(void *arg)
{
    struct conn *c = arg;
    struct llistener *ll = c->ll;
    c->ls->held = false;
    c->ls->gone = NULL;
    np_list_remove(&c->link);
    np_lstream_drop(c->ls);
    np_free(c);
    release(ll);
}

/* Its task has ended. The stream takes its time to flush and close. */
static void conn_end(struct conn *c)
{
    struct llistener *ll = c->ll;
    struct np_lstream *ls = c->ls;
    bool draining = np_shutting_down(&ll->script->shutdown);
    ll->tasks--;
    update_pause(ll);
    if (!ls->detached) np_lstream_close(ls, draining ? DRAIN_LINGER : NP_LSTREAM_LINGER);
    if (ls->detached || !ls->s) {
        conn_gone(c);
    } else {
        ls->gone = conn_gone;
        ls->gone_arg = c;
    }
}

/* Tasks that did not end by now get no further turn. */
static void on_state_closing(struct np_at_close *a)
{
    struct llistener *ll = np_container_of(a, struct llistener, at_close);
    struct np_link *l, *tmp;
    ll->ending = true;
    close_listener(ll);
    if (ll->proxied) np_proxied_close(ll->proxied);
    ll->proxied = NULL;
    drop_shaking(ll);
    np_list_each_safe (l, tmp, &ll->conns) {
        struct conn *c = np_container_of(l, struct conn, link);
        if (!c->ls->gone) conn_end(c);
    }
    ll->ending = false;
    ll->script = NULL;
    release(ll);
}

static void on_connection_done(struct np_task *t, bool ok, int nresults)
{
    if (!ok) np_task_log_error(t);
    conn_end(t->arg);
}

static void start_handler(struct llistener *ll, struct conn *c)
{
    c->ls->held = true;
    np_list_push_back(&ll->conns, &c->link);
    ll->tasks++;
    struct np_task *t = np_task_new_c(ll->script, run_connection, c, NULL, "connection");
    if (!t) {
        conn_end(c);
        return;
    }
    t->done = on_connection_done;
    t->arg = c;
    update_pause(ll);
    np_task_start(t, false);
}

/* --- accepting */

/* The stream is open, and the script's from here on. */
static void hand_over(struct conn *c, struct np_stream *s)
{
    struct llistener *ll = c->ll;
    s->max_queue = ll->opts.stream.max_queue;
    np_lstream_attach(c->ls, s);
    if (ll->has_handler) {
        start_handler(ll, c);
        return;
    }
    np_list_push_back(&ll->accepted, &c->link);
    np_wake_first(&ll->acceptors, NEAP_OK);
    update_pause(ll);
}

/* A handshake under way: nobody hears of it before it is done. */

static void end_shaking(struct conn *c)
{
    struct llistener *ll = c->ll;
    np_list_remove(&c->link);
    ll->nshaking--;
    update_pause(ll);
}

static void on_secured(struct np_stream *s)
{
    struct conn *c = s->arg;
    struct llistener *ll = c->ll;
    c->ls = ll->closed && !ll->has_handler ? NULL : np_lstream_new(ll->script, &ll->opts.stream);
    if (!c->ls) {
        np_stream_close(s);
        return;
    }
    end_shaking(c);
    hand_over(c, s);
}

static void on_shaking_error(struct np_stream *s, enum neap_err err)
{
    (void)err; /* logged by the filter */
    np_stream_close(s);
}

static void on_shaking_close(struct np_stream *s)
{
    struct conn *c = s->arg;
    struct llistener *ll = c->ll;
    end_shaking(c);
    np_free(c);
    release(ll);
}

static enum neap_err shake(struct conn *c, struct np_stream *s)
{
    static const struct np_stream_handler shaking = {
        .on_open = on_secured, .on_error = on_shaking_error, .on_close = on_shaking_close};
    struct llistener *ll = c->ll;
    enum neap_err err =
        np_tls_wrap_server(ll->opts.tls, s, ll->opts.handshake_timeout, &shaking, c, &c->s);
    if (err) return err;
    np_list_push_back(&ll->shaking, &c->link);
    ll->nshaking++;
    update_pause(ll);
    return NEAP_OK;
}

/* It has been accepted, and its PROXY header read if it has one. */
static void take(void *arg, struct np_stream *s)
{
    struct llistener *ll = arg;
    bool plain = !ll->opts.tls;
    struct conn *c = np_alloc(sizeof *c);
    struct np_lstream *ls = c && plain ? np_lstream_new(ll->script, &ll->opts.stream) : NULL;
    if (c) {
        *c = (struct conn){.ll = ll, .ls = ls};
        np_link_init(&c->link);
    }
    if (!c || (plain && !ls) || (!plain && shake(c, s))) {
        np_logf(ll->script->log, NP_LOG_WARN, "dropped a connection: out of memory");
        np_free(c);
        np_stream_close(s);
    } else if (plain) {
        hand_over(c, s);
    }
}

static void on_accept(struct np_listener *l, struct np_stream *s)
{
    struct llistener *ll = np_listener_arg(l);
    if (ll->proxied)
        np_proxied_take(ll->proxied, s);
    else
        take(ll, s);
}

static void on_proxied_left(void *arg)
{
    release(arg);
}

bool np_llistener_read_layers(lua_State *L, int opts_idx, struct np_llistener_options *out)
{
    struct neap_errinfo info = {0};
    lua_getfield(L, opts_idx, "proxy_protocol");
    out->is_proxied = np_lproxy_listen_option(L, -1, "opts.proxy_protocol", &out->proxied);
    lua_remove(L, -2);
    lua_getfield(L, opts_idx, "tls");
    enum neap_err err = np_ltls_option(L, -1, "opts.tls", NP_LTLS_SERVER, &out->tls, &info);
    lua_remove(L, -2);
    if (!err) return true;
    lua_pop(L, 1);
    np_fail_info(L, &info);
    return false;
}

static const struct np_listener_handler handler = {on_accept, on_listener_close};

static struct llistener *check(lua_State *L)
{
    return *(struct llistener **)luaL_checkudata(L, 1, TYPE);
}

static int accept_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct llistener *ll = ctx;
    update_pause(ll);
    if (ll->closed) return np_fail(L, NEAP_ECLOSED, "the listener was closed");
    if (np_list_empty(&ll->accepted)) return np_fail(L, err ? err : NEAP_EAGAIN, NULL);
    struct np_lstream **handle = np_lstream_push(L);
    struct conn *c = np_container_of(np_list_pop_front(&ll->accepted), struct conn, link);
    np_lstream_hold(handle, c->ls);
    np_free(c);
    return 1;
}

static void cancel_accept(struct np_wait *w)
{
    np_wait_dequeue(w);
}

/* l:accept{timeout=} → stream | nil, err */
static int listener_accept(lua_State *L)
{
    struct llistener *ll = check(L);
    if (!ll || ll->closed) return np_misuse(L, "this listener is closed");
    if (ll->has_handler) return np_misuse(L, "this listener has a handler that gets the streams");
    lua_settop(L, 2);
    int64_t timeout = np_lstream_timeout(L, 2, NP_NO_TIMEOUT);
    if (!np_list_empty(&ll->accepted)) return accept_k(L, NEAP_OK, ll);
    struct np_task *t = np_task_current(L);
    np_wait_enqueue(&ll->acceptors, &t->sleep);
    update_pause(ll);
    return np_wait(L, &t->sleep, timeout, cancel_accept, accept_k, ll);
}

/* --- the userdata */

static int listener_close(lua_State *L)
{
    struct llistener *ll = check(L);
    if (ll) close_listener(ll);
    return 0;
}

static int listener_gc(lua_State *L)
{
    struct llistener **box = lua_touserdata(L, 1);
    struct llistener *ll = *box;
    *box = NULL;
    if (!ll) return 0;
    ll->handle = NULL;
    close_listener(ll);
    release(ll);
    return 0;
}

static void address_of(struct llistener *ll, char *out, size_t size)
{
    if (ll && ll->l && !ll->closed)
        np_listener_address(ll->l, out, size);
    else
        snprintf(out, size, "closed");
}

static int listener_tostring(lua_State *L)
{
    char address[NP_ADDR_TEXT_MAX];
    address_of(check(L), address, sizeof address);
    lua_pushfstring(L, "neap.listener: %s", address);
    return 1;
}

static int listener_index(lua_State *L)
{
    struct llistener *ll = check(L);
    const char *key = luaL_checkstring(L, 2);
    char address[NP_ADDR_TEXT_MAX];
    if (strcmp(key, "accept") == 0) return lua_pushcfunction(L, listener_accept), 1;
    if (strcmp(key, "close") == 0) return lua_pushcfunction(L, listener_close), 1;
    bool open = ll && !ll->closed && ll->l;
    if (strcmp(key, "closed") == 0) return lua_pushboolean(L, !open), 1;
    if (strcmp(key, "connections") == 0)
        return lua_pushinteger(L, ll ? (lua_Integer)ll->tasks : 0), 1;
    if (open && strcmp(key, "address") == 0) {
        address_of(ll, address, sizeof address);
        return lua_pushstring(L, address), 1;
    }
    int port = open ? np_listener_port(ll->l) : 0;
    if (port > 0 && strcmp(key, "port") == 0) return lua_pushinteger(L, port), 1;
    lua_pushnil(L);
    return 1;
}

void np_llistener_open(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__index", listener_index},
                                    {"__gc", listener_gc},
                                    {"__close", listener_close},
                                    {"__tostring", listener_tostring},
                                    {NULL, NULL}};
    np_lstream_open(L);
    np_lproxy_open(L);
    np_type_new(L, TYPE, NULL, meta);
}

static struct llistener *object_new(lua_State *L, const struct np_llistener_options *opts)
{
    struct llistener **handle = lua_newuserdatauv(L, sizeof(struct llistener *), 0);
    *handle = NULL;
    luaL_setmetatable(L, TYPE);
    struct llistener *ll = np_calloc(1, sizeof *ll);
    if (!ll) luaL_error(L, "not enough memory");
    *handle = ll;
    ll->handle = handle;
    ll->script = np_script_of(L);
    ll->opts = *opts;
    ll->opts.listen.share = ll->script->share;
    if (ll->opts.tls) np_tls_context_ref(ll->opts.tls);
    ll->handler_ref = ll->self_ref = LUA_NOREF;
    np_link_init(&ll->conns);
    np_link_init(&ll->shaking);
    np_link_init(&ll->acceptors);
    np_link_init(&ll->accepted);
    ll->drain = (struct np_drain){.drain = on_drain, .hurry = on_hurry};
    ll->at_close.fn = on_state_closing;
    np_at_close_add(ll->script, &ll->at_close);
    return ll;
}

int np_llistener_new(lua_State *L, const struct np_llistener_options *opts, int handler_idx,
                     np_llistener_make make, const void *where)
{
    struct neap_errinfo info = {0};
    if (np_script_of(L)->closing) return np_fail(L, NEAP_ECLOSED, "the host is closing");
    struct llistener *ll = object_new(L, opts);
    if (lua_isfunction(L, handler_idx)) {
        ll->has_handler = true;
        lua_pushvalue(L, handler_idx);
        ll->handler_ref = np_ref(L);
        lua_pushvalue(L, -1);
        ll->self_ref = np_ref(L);
    }
    struct np_loop *loop = ll->script->loop;
    if (opts->is_proxied && np_proxied_new(loop, &opts->proxied, take, ll, &ll->proxied))
        return np_fail(L, NEAP_ENOMEM, NULL);
    if (ll->proxied) np_proxied_on_left(ll->proxied, on_proxied_left);
    enum neap_err err = make(loop, where, &ll->opts.listen, &handler, ll, &ll->l, &info);
    if (err) {
        release(ll);
        return np_fail_info(L, &info);
    }
    update_pause(ll);
    np_drain_add(&ll->script->shutdown, &ll->drain);
    return 1;
}
