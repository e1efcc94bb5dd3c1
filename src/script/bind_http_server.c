/* neap.core.http.serve: a server whose requests each run a Lua handler in a task.
 *
 * The C object outlives its userdata. The userdata is anchored while the server is open, so that a
 * server nobody keeps goes on serving. A request's task is cancelled when its client leaves;
 * whatever the handler returns becomes the answer (bind_http_answer.c).
 *
 * When the state closes the server may outlive it a little, and so may requests whose tasks did not
 * end: `script` is NULL from then on, and no event goes further than this file.
 */
#include <string.h>

#include "base/alloc.h"
#include "script/bind_access_log.h"
#include "script/bind_http.h"
#include "script/bind_http_answer.h"
#include "script/bind_http_deadline.h"
#include "script/bind_http_front.h"
#include "script/bind_http_gate.h"
#include "script/bind_http_request.h"
#include "script/bind_tls.h"
#include "script/luax.h"

#define SERVER "neap.http.server"
#define DEFAULT_GRACE (30 * NP_NS_PER_SEC)

struct lua_server {
    struct np_script *script;      /* NULL once the state closes */
    struct np_http_server *server; /* NULL when closed */
    struct lua_server **handle;    /* the userdata; NULL when collected */
    struct np_link waiters;        /* for the end, in close */
    struct np_drain drain;
    struct np_at_close at_close;
    int handler_ref;
    int self_ref;              /* anchors the userdata while open */
    struct np_http_gate *gate; /* in front of the handler; or NULL */
    bool closing;
    bool deadline; /* requests say how long they are waited for */
};

/* --- a request */

static int on_handler_returned(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct np_http_req *r = (struct np_http_req *)ctx;
    return np_http_answer(L, r, 2);
}

static void on_request_done(struct np_task *t, bool ok, int nresults)
{
    (void)nresults;
    struct np_http_req *r = t->arg;
    struct np_http_exchange *x = r->x;
    np_http_req_detach(r, NEAP_ECLOSED);
    np_http_req_forget(r);
    if (ok) {
        if (x) np_http_abort(x); /* a streamed answer that was not brought to its end */
        return;
    }
    if (x) np_http_answer_failure(t, x, r);
    if (!np_http_answer_blames_client(t)) np_task_log_error(t);
}

/* It did not come to having a request: out of memory, or the client left before its turn. */
static void on_unborn_done(struct np_task *t, bool ok, int nresults)
{
    (void)nresults;
    struct np_http_exchange *x = t->arg;
    if (ok) return;
    if (x) np_http_answer_failure(t, x, NULL);
    np_task_log_error(t);
}

/* Its `arg` is the exchange, and then the request. */
int np_http_run_request(lua_State *L)
{
    struct np_task *t = np_script_of(L)->sched.current;
    struct np_http_exchange *x = t->arg;
    if (!x) return 0;
    struct lua_server *ls = np_http_server_arg(x->server);
    t->arg = np_http_req_push(L, x, t);
    t->done = on_request_done;
    lua_replace(L, 1); /* where it stays for as long as the task lives */
    lua_rawgeti(L, LUA_REGISTRYINDEX, ls->handler_ref);
    lua_pushvalue(L, 1);
    /* what every router asks for first, without the way through the request's fields */
    lua_pushstring(L, np_http_method_name(x->head.method)); /* Lua knows it by its address */
    lua_pushlstring(L, x->head.path.p, x->head.path.n);
    lua_callk(L, 3, 3, (lua_KContext)t->arg, on_handler_returned);
    return on_handler_returned(L, LUA_OK, (lua_KContext)t->arg);
}

static struct lua_server *server_of(struct np_http_exchange *x)
{
    return np_http_server_arg(x->server);
}

static void on_request(struct np_http_exchange *x, void *arg)
{
    struct lua_server *ls = arg;
    x->user = NULL;
    int64_t left = ls->deadline ? np_http_deadline_read(&x->head) : -1;
    if (left == 0) { /* nobody waits for it any more */
        np_http_answer_plain(x, 504);
        return;
    }
    if (ls->gate && !np_http_gate_admit(ls->gate, x)) return;
    struct np_task *t =
        ls->script ? np_task_new_c(ls->script, np_http_run_request, NULL, NULL, "request") : NULL;
    if (!t) {
        np_http_answer_plain(x, 503);
        return;
    }
    if (left > 0) np_task_set_deadline(t, np_time_add(np_loop_now(ls->script->loop), left));
    t->done = on_unborn_done;
    t->arg = x;
    np_task_start(t, false);
}

/* The task that waits for its first turn, as it does when a script runs the loop from inside. */
static struct np_task *unborn_task(struct np_script *s, struct np_http_exchange *x)
{
    struct np_link *l;
    np_list_each (l, &s->sched.root->children) {
        struct np_task *t = np_container_of(l, struct np_task, sibling);
        if (t->arg == x && t->done == on_unborn_done) return t;
    }
    return NULL;
}

static void on_abort(struct np_http_exchange *x, enum neap_err why)
{
    struct np_script *s = server_of(x)->script;
    struct np_http_req *r = x->user;
    if (!s) return;
    struct np_task *t = r ? r->task : unborn_task(s, x);
    if (r) {
        np_http_req_keep_from_loop(r);
        np_http_req_detach(r, why);
    } else if (t) {
        t->arg = NULL;
    }
    if (t) np_task_cancel(t, NEAP_ECANCELED);
}

static void on_body(struct np_http_exchange *x, const char *data, size_t n)
{
    if (server_of(x)->script) np_http_req_on_body(x, data, n);
}

static void on_body_end(struct np_http_exchange *x, enum neap_err err)
{
    if (server_of(x)->script) np_http_req_on_body_end(x, err);
}

/* Of one that the gate has let in. */
static void on_end(struct np_http_exchange *x, int status, bool aborted)
{
    struct lua_server *ls = server_of(x);
    if (ls->gate) np_http_gate_leave(ls->gate, x, status, aborted);
}

static void on_drain(struct np_http_exchange *x)
{
    if (server_of(x)->script) np_http_req_on_drain(x);
}

/* --- life */

static void release(struct lua_server *ls)
{
    if (ls->handle || ls->server) return;
    if (ls->script) np_at_close_remove(&ls->at_close);
    np_http_gate_unref(ls->gate);
    np_free(ls);
}

static void on_server_close(struct np_http_server *server, void *arg)
{
    (void)server;
    struct lua_server *ls = arg;
    ls->server = NULL;
    np_drain_remove(&ls->drain);
    np_wake_all(&ls->waiters, NEAP_OK);
    if (ls->script) {
        np_unref(ls->script, ls->handler_ref);
        np_unref(ls->script, ls->self_ref);
    }
    release(ls);
}

static void close_server(struct lua_server *ls, int64_t grace)
{
    if (ls->server) np_http_server_close(ls->server, grace);
    ls->closing = true;
}

static void on_drain_asked(struct np_drain *d, int64_t grace)
{
    close_server(np_container_of(d, struct lua_server, drain), grace);
}

/* Tasks that did not end by now get no further turn. */
static void on_state_closing(struct np_at_close *c)
{
    struct lua_server *ls = np_container_of(c, struct lua_server, at_close);
    np_drain_remove(&ls->drain);
    close_server(ls, 0);
    ls->script = NULL;
}

/* NULL when it was finalised, which a finaliser of the script's may come to see. */
static struct lua_server *check_server(lua_State *L)
{
    return *(struct lua_server **)luaL_checkudata(L, 1, SERVER);
}

static int server_gc(lua_State *L)
{
    struct lua_server *ls = check_server(L);
    if (!ls) return 0;
    *(struct lua_server **)lua_touserdata(L, 1) = NULL;
    ls->handle = NULL;
    close_server(ls, 0);
    release(ls);
    return 0;
}

static int server_tostring(lua_State *L)
{
    struct lua_server *ls = check_server(L);
    char address[NP_ADDR_TEXT_MAX] = "closed";
    if (ls && ls->server) np_http_server_address(ls->server, address, sizeof address);
    lua_pushfstring(L, "neap.http.server: %s", address);
    return 1;
}

static int close_k(lua_State *L, enum neap_err err, void *ctx)
{
    (void)ctx;
    if (err) return np_fail(L, err, "the server is still draining");
    lua_pushboolean(L, 1);
    return 1;
}

/* Whether the task answers a request of this server: the server cannot end before it does. */
static bool serves_for(const struct np_task *t, const struct lua_server *ls)
{
    if (t->done != on_request_done) return false;
    const struct np_http_req *r = t->arg;
    return r && r->x && r->x->server == ls->server;
}

/* server:close{grace=30}: stops accepting, finishes what is in flight, waits for the end. grace=0
 * ends at once. With a grace, a handler that closes its own server does not wait: its answer still
 * goes out. */
static int server_close(lua_State *L)
{
    struct {
        int64_t grace;
    } opts = {DEFAULT_GRACE};
    static const struct np_opt spec[] = {{"grace", NP_OPT_SECONDS, 0, 0, 0}, {0}};
    struct lua_server *ls = check_server(L);
    np_opts_read(L, 2, "opts", spec, &opts);
    if (!ls || !ls->server) return close_k(L, NEAP_OK, NULL);
    struct np_task *t = np_task_current(L);
    close_server(ls, opts.grace);
    if (opts.grace > 0 && serves_for(t, ls)) return close_k(L, NEAP_OK, NULL);
    np_wait_enqueue(&ls->waiters, &t->sleep);
    return np_wait(L, &t->sleep, NP_NO_TIMEOUT, np_wait_dequeue, close_k, NULL);
}

/* server:stats() → what it and its gate have counted */
static int server_stats(lua_State *L)
{
    struct lua_server *ls = check_server(L);
    lua_createtable(L, 0, 4);
    np_set_count(L, "connections", ls && ls->server ? np_http_server_connections(ls->server) : 0);
    if (ls && ls->gate) np_http_gate_stats(L, ls->gate);
    return 1;
}

static int server_index(lua_State *L)
{
    struct lua_server *ls = check_server(L);
    const char *key = luaL_checkstring(L, 2);
    char address[NP_ADDR_TEXT_MAX];
    if (strcmp(key, "close") == 0) {
        lua_pushcfunction(L, server_close);
    } else if (strcmp(key, "stats") == 0) {
        lua_pushcfunction(L, server_stats);
    } else if (strcmp(key, "closed") == 0) {
        lua_pushboolean(L, !ls || !ls->server || ls->closing);
    } else if (!ls || !ls->server) {
        lua_pushnil(L);
    } else if (strcmp(key, "address") == 0) {
        np_http_server_address(ls->server, address, sizeof address);
        lua_pushstring(L, address);
    } else if (strcmp(key, "port") == 0) {
        lua_pushinteger(L, np_http_server_port(ls->server));
    } else if (strcmp(key, "connections") == 0) {
        lua_pushinteger(L, (lua_Integer)np_http_server_connections(ls->server));
    } else {
        lua_pushnil(L);
    }
    return 1;
}

/* --- serve */

struct serve_options {
    struct np_http_server_options http;
    struct np_listen_options listen;
    const char *host;
    const char *path;
    struct np_http_front front;
    struct np_laccess access;
    size_t max_body;
    size_t max_requests;
    int port;
    bool half_close;
    bool deadline;
};

static const struct np_opt serve_spec[] = {
    {"handler", NP_OPT_FUNCTION, 0, 0, 0},
    {"host", NP_OPT_STRING, offsetof(struct serve_options, host), 0, 0},
    {"port", NP_OPT_INT, offsetof(struct serve_options, port), 0, 65535},
    {"unix", NP_OPT_STRING, offsetof(struct serve_options, path), 0, 0},
    {"unix_mode", NP_OPT_INT, offsetof(struct serve_options, listen.unix_mode), 0, 0777},
    {"backlog", NP_OPT_INT, offsetof(struct serve_options, listen.backlog), 1, 65535},
    {"reuse_port", NP_OPT_BOOL, offsetof(struct serve_options, listen.reuse_port), 0, 0},
    {"max_header_bytes", NP_OPT_SIZE, offsetof(struct serve_options, http.limits.max_head), 256,
     1 << 20},
    {"max_headers", NP_OPT_SIZE, offsetof(struct serve_options, http.limits.max_headers), 1, 10000},
    {"max_body_bytes", NP_OPT_SIZE, offsetof(struct serve_options, max_body), 0, 0},
    {"header_timeout", NP_OPT_SECONDS, offsetof(struct serve_options, http.header_timeout), 0, 0},
    {"body_timeout", NP_OPT_SECONDS, offsetof(struct serve_options, http.body_timeout), 0, 0},
    {"keep_alive_timeout", NP_OPT_SECONDS, offsetof(struct serve_options, http.keep_alive_timeout),
     0, 0},
    {"write_timeout", NP_OPT_SECONDS, offsetof(struct serve_options, http.write_timeout), 0, 0},
    {"max_connections", NP_OPT_SIZE, offsetof(struct serve_options, http.max_connections), 0, 0},
    {"max_requests", NP_OPT_SIZE, offsetof(struct serve_options, max_requests), 0, 0},
    {"allow_half_close", NP_OPT_BOOL, offsetof(struct serve_options, half_close), 0, 0},
    {"deadline", NP_OPT_BOOL, offsetof(struct serve_options, deadline), 0, 0},
    {"server_name", NP_OPT_STRING, offsetof(struct serve_options, http.server_name), 0, 0},
    NP_HTTP_FRONT_OPTS(struct serve_options, front),
    {"access_log", NP_OPT_ANY, 0, 0, 0},
    {"gate", NP_OPT_ANY, 0, 0, 0},
    {"tls", NP_OPT_ANY, 0, 0, 0},
    {"handshake_timeout", NP_OPT_SECONDS, offsetof(struct serve_options, http.handshake_timeout), 0,
     0},
    {0}};

/* What a client is told whose connection cannot be served for want of descriptors. */
static const char busy[] = "HTTP/1.1 503 Service Unavailable\r\n"
                           "Retry-After: 1\r\nConnection: close\r\n"
                           "Content-Type: text/plain\r\nContent-Length: 20\r\n\r\n"
                           "too many open files\n";

static enum neap_err open_server(struct lua_server *ls, const struct serve_options *o,
                                 struct neap_errinfo *info)
{
    static const struct np_http_server_handler handler = {.on_request = on_request,
                                                          .on_body = on_body,
                                                          .on_body_end = on_body_end,
                                                          .on_drain = on_drain,
                                                          .on_abort = on_abort,
                                                          .on_end = on_end,
                                                          .on_close = on_server_close};
    struct np_http_server *server;
    enum neap_err err = np_http_server_new(ls->script->loop, &o->http, &handler, ls, &server);
    if (err) {
        np_access_log_free(o->http.access_log);
        return np_err_plain(info, err);
    }
    ls->server = server;
    if (o->path) return np_http_server_listen_unix(server, o->path, &o->listen, info);
    return np_http_server_listen(server, o->host, o->port, &o->listen, info);
}

static struct lua_server *new_server(lua_State *L)
{
    struct lua_server **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = NULL;
    luaL_setmetatable(L, SERVER);
    struct lua_server *ls = np_calloc(1, sizeof *ls);
    if (!ls) luaL_error(L, "not enough memory");
    *handle = ls;
    ls->handle = handle;
    ls->script = np_script_of(L);
    ls->handler_ref = ls->self_ref = LUA_NOREF;
    np_link_init(&ls->waiters);
    ls->drain.drain = on_drain_asked;
    ls->at_close.fn = on_state_closing;
    np_at_close_add(ls->script, &ls->at_close);
    return ls;
}

/* serve{handler=fn(req, method, path), host="127.0.0.1", port=0, unix=path, limits…} → server |
 * nil, err */
static int http_serve(lua_State *L)
{
    struct serve_options o = {
        .listen = NP_LISTEN_OPTIONS_INIT, .host = "127.0.0.1", .deadline = true};
    np_http_server_options_init(&o.http);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    o.max_body = (size_t)o.http.limits.max_body;
    np_opts_read(L, 1, "opts", serve_spec, &o);
    o.http.limits.max_body = o.max_body ? o.max_body : UINT64_MAX;
    o.http.max_requests = o.max_requests;
    o.http.abort_on_end = !o.half_close;
    if (lua_getfield(L, 1, "handler") != LUA_TFUNCTION) {
        return np_misuse(L, "opts.handler: expected function, got nil");
    }
    if (np_script_of(L)->closing) return np_fail(L, NEAP_ECLOSED, "the host is closing");
    struct neap_errinfo info = {0};
    lua_getfield(L, 1, "tls");
    if (np_ltls_option(L, 3, "opts.tls", NP_LTLS_SERVER, &o.http.tls, &info))
        return np_fail_info(L, &info);
    lua_remove(L, 3); /* 3 is the context now, if any */
    np_http_front_read(L, 1, &o.front, &o.http);
    np_laccess_read(L, 1, &o.access);
    o.listen.share = np_script_of(L)->share;
    o.listen.busy = busy;
    o.listen.busy_len = sizeof busy - 1;
    struct lua_server *ls = new_server(L);
    ls->deadline = o.deadline;
    ls->gate = np_http_gate_read(L, 1);
    int self = lua_gettop(L);
    enum neap_err err = np_laccess_open(L, &o.access, &o.http.access_log, &info);
    if (err == NEAP_EINVAL) return np_misuse(L, "opts.access_log: %s", info.message);
    if (!err) err = open_server(ls, &o, &info);
    if (err) return np_fail_info(L, &info); /* the userdata's finaliser closes what was made */
    lua_pushvalue(L, 2);
    ls->handler_ref = np_ref(L);
    lua_pushvalue(L, self);
    ls->self_ref = np_ref(L);
    np_drain_add(&ls->script->shutdown, &ls->drain);
    lua_settop(L, self);
    return 1;
}

void np_http_add_server(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", server_gc},
                                    {"__tostring", server_tostring},
                                    {"__index", server_index},
                                    {NULL, NULL}};
    np_type_new(L, SERVER, NULL, meta);
    np_http_add_gate(L);
    np_ltls_open(L);
    lua_pushcfunction(L, http_serve);
    lua_setfield(L, -2, "serve");
}
