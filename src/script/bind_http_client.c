/* neap.core.http.request and start: calls of the HTTP client.
 *
 * The C object (struct lua_call) lives from the call's start until both its end (on_end) and the
 * end of its userdata. Bytes of the answer's body wait in a bounded buffer; the connection is
 * paused while it is full, unless all of it is being collected.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "http/client.h"
#include "script/bind_http.h"
#include "script/luax.h"
#include "script/sandbox.h"
#include "script/state.h"

#define CALL "neap.http.call"
#define RESPONSE "neap.http.response"
#define HIGH_WATER ((size_t)256 * 1024)
#define MAX_LENGTH 9007199254740992.0 /* the largest count that every double before it can tell */
#define DEFAULT_MAX_BODY ((size_t)64 * 1024 * 1024)

struct lua_call {
    struct np_script *script;
    struct np_http_call *call; /* NULL when it has ended */
    bool held;                 /* by its userdata */
    struct np_wait wait;       /* for the head, a piece of body, or the end */
    struct np_wait write_wait; /* for room to write the request's body */
    struct np_arena arena;     /* the head's copy */
    struct np_http_head head;
    bool has_head;
    bool ended;
    bool paused;
    bool collect;
    struct np_buf body;
    size_t max_body; /* of a collected body */
    struct neap_errinfo error;
};

static void free_call(struct lua_call *lc)
{
    if (lc->held || lc->call) return;
    np_arena_fini(&lc->arena);
    np_buf_fini(&lc->body);
    np_free(lc);
}

/* --- events */

static struct np_bytes copy_bytes(struct np_arena *a, struct np_bytes b, bool *ok)
{
    char *p = np_arena_strndup(a, b.p ? b.p : "", b.n);
    if (!p) *ok = false;
    return (struct np_bytes){p, b.n};
}

static bool copy_head(struct lua_call *lc, const struct np_http_head *h)
{
    bool ok = true;
    lc->head = *h;
    lc->head.headers = np_arena_alloc(&lc->arena, sizeof *h->headers * (h->nheaders + 1));
    if (!lc->head.headers) return false;
    lc->head.reason = copy_bytes(&lc->arena, h->reason, &ok);
    for (size_t i = 0; i < h->nheaders; i++) {
        lc->head.headers[i].name = copy_bytes(&lc->arena, h->headers[i].name, &ok);
        lc->head.headers[i].value = copy_bytes(&lc->arena, h->headers[i].value, &ok);
    }
    return ok;
}

/* Ends the call from our side; on_end comes later and finds the error set. */
static void break_off(struct lua_call *lc, enum neap_err err, const char *why)
{
    np_err_set(&lc->error, err, "%s", why);
    np_http_call_cancel(lc->call);
}

static void on_head(struct np_http_call *c, const struct np_http_head *h)
{
    struct lua_call *lc = np_http_call_arg(c);
    if (!copy_head(lc, h)) {
        break_off(lc, NEAP_ENOMEM, "out of memory");
        return;
    }
    lc->has_head = true;
    if (!lc->collect) np_wake(&lc->wait, NEAP_OK);
}

static void on_body(struct np_http_call *c, const char *data, size_t n)
{
    struct lua_call *lc = np_http_call_arg(c);
    if (lc->error.code) return;
    if (lc->collect && np_buf_len(&lc->body) + n > lc->max_body) {
        break_off(lc, NEAP_ELIMIT, "the answer's body is larger than max_body");
        return;
    }
    if (np_buf_append(&lc->body, data, n)) {
        break_off(lc, NEAP_ENOMEM, "out of memory");
        return;
    }
    if (lc->collect) return;
    np_wake(&lc->wait, NEAP_OK);
    if (np_buf_len(&lc->body) < HIGH_WATER) return;
    lc->paused = true;
    np_http_call_pause(c, true);
}

static void on_drain(struct np_http_call *c)
{
    struct lua_call *lc = np_http_call_arg(c);
    np_wake(&lc->write_wait, NEAP_OK);
}

static void on_end(struct np_http_call *c, enum neap_err err, const char *why)
{
    struct lua_call *lc = np_http_call_arg(c);
    lc->ended = true;
    if (err && !lc->error.code) np_err_set(&lc->error, err, "%s", why ? why : neap_err_text(err));
    lc->call = NULL;
    np_wake(&lc->wait, NEAP_OK);
    np_wake(&lc->write_wait, NEAP_OK);
    free_call(lc);
}

/* --- the client of a script state */

struct client_holder {
    struct np_at_close at_close;
    struct np_script *script;
};

static void close_client(struct np_at_close *c)
{
    struct client_holder *h = np_container_of(c, struct client_holder, at_close);
    np_http_client_close(h->script->http);
    h->script->http = NULL;
    np_free(h);
}

static struct np_http_client *client_of(lua_State *L, struct np_script *s)
{
    if (s->http) return s->http;
    if (s->closing) luaL_error(L, "the host is closing");
    struct client_holder *h = np_calloc(1, sizeof *h);
    struct np_http_client_options o;
    np_http_client_options_init(&o);
    if (!h || np_http_client_new(s->loop, &o, &s->http)) {
        np_free(h);
        luaL_error(L, "not enough memory");
    }
    h->script = s;
    h->at_close.fn = close_client;
    np_link_init(&h->at_close.link);
    np_at_close_add(s, &h->at_close);
    return s->http;
}

/* --- starting a call */

struct call_options {
    struct np_http_request r;
    size_t max_body;
    bool stream;
    bool stream_body;
    double content_length;
};

static const struct np_opt call_spec[] = {
    {"host", NP_OPT_STRING, offsetof(struct call_options, r.host), 0, 0},
    {"port", NP_OPT_INT, offsetof(struct call_options, r.port), 1, 65535},
    {"unix", NP_OPT_STRING, offsetof(struct call_options, r.unix_path), 0, 0},
    {"method", NP_OPT_STRING, offsetof(struct call_options, r.method), 0, 0},
    {"target", NP_OPT_STRING, offsetof(struct call_options, r.target), 0, 0},
    {"headers", NP_OPT_TABLE, 0, 0, 0},
    {"body", NP_OPT_ANY, 0, 0, 0},
    {"timeout", NP_OPT_SECONDS, offsetof(struct call_options, r.timeout), 0, 0},
    {"first_byte_timeout", NP_OPT_SECONDS, offsetof(struct call_options, r.first_byte_timeout), 0,
     0},
    {"idle_timeout", NP_OPT_SECONDS, offsetof(struct call_options, r.idle_timeout), 0, 0},
    {"max_body", NP_OPT_SIZE, offsetof(struct call_options, max_body), 0, 0},
    {"stream", NP_OPT_BOOL, offsetof(struct call_options, stream), 0, 0},
    {"stream_body", NP_OPT_BOOL, offsetof(struct call_options, stream_body), 0, 0},
    {"content_length", NP_OPT_NUMBER, offsetof(struct call_options, content_length), 0, MAX_LENGTH},
    {0}};

static void read_body(lua_State *L, struct call_options *o)
{
    int type = lua_getfield(L, 1, "body"); /* stays on the stack, as does the option table */
    if (type == LUA_TSTRING) {
        o->r.body = lua_tolstring(L, -1, &o->r.body_len);
    } else if (type != LUA_TNIL) {
        np_misuse(L, "opts.body: expected string or function, got %s", luaL_typename(L, -1));
    }
}

static void read_options(lua_State *L, struct call_options *o, struct np_http_header *headers)
{
    *o = (struct call_options){.max_body = DEFAULT_MAX_BODY, .content_length = -1};
    o->r.method = "GET";
    o->r.target = "/";
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    np_opts_read(L, 1, "opts", call_spec, o);
    if (!o->r.host && !o->r.unix_path) np_misuse(L, "opts.host: expected string, got nil");
    if (!o->r.port) o->r.port = 80;
    read_body(L, o);
    lua_getfield(L, 1, "headers");
    o->r.nheaders = np_read_headers(L, -1, headers);
    o->r.headers = headers;
    o->r.stream_body = o->stream_body;
    o->r.content_length = o->stream_body ? (int64_t)o->content_length : -1;
}

static struct lua_call *new_call(lua_State *L)
{
    struct lua_call **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = NULL;
    luaL_setmetatable(L, CALL);
    struct lua_call *lc = np_calloc(1, sizeof *lc);
    if (!lc) luaL_error(L, "not enough memory");
    np_arena_init(&lc->arena, 1024);
    np_buf_init(&lc->body);
    lc->script = np_script_of(L);
    lc->held = true;
    *handle = lc;
    return lc;
}

/* Makes and starts the call; its userdata replaces the stack's contents at 1. */
static enum neap_err begin(lua_State *L, struct call_options *o, struct lua_call **out,
                           struct neap_errinfo *info)
{
    static const struct np_http_call_handler handler = {
        .on_head = on_head, .on_body = on_body, .on_drain = on_drain, .on_end = on_end};
    struct np_http_header headers[NP_LUA_MAX_HEADERS];
    read_options(L, o, headers);
    struct np_http_client *client = client_of(L, np_script_of(L));
    struct lua_call *lc = new_call(L);
    lc->collect = !o->stream;
    lc->max_body = o->max_body ? o->max_body : SIZE_MAX;
    struct np_http_call *call;
    enum neap_err err = np_http_client_call(client, &o->r, &handler, lc, &call, info);
    if (err) return err;
    lc->call = call;
    lua_replace(L, 1);
    lua_settop(L, 1);
    *out = lc;
    return NEAP_OK;
}

static void cancel_call(struct np_wait *w)
{
    struct lua_call *lc = np_container_of(w, struct lua_call, wait);
    if (lc->call) np_http_call_cancel(lc->call);
}

static void cancel_nothing(struct np_wait *w)
{
    (void)w;
}

/* --- the response */

/* The response table: status, reason, headers and, when collected, body; else the call itself under
 * "call", for reading on. The call's userdata is at 1. */
static void push_response(lua_State *L, struct lua_call *lc)
{
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, lc->head.status);
    lua_setfield(L, -2, "status");
    lua_pushlstring(L, lc->head.reason.p, lc->head.reason.n);
    lua_setfield(L, -2, "reason");
    np_push_headers(L, lc->head.headers, lc->head.nheaders);
    lua_setfield(L, -2, "headers");
    if (lc->collect) {
        lua_pushlstring(L, np_buf_data(&lc->body), np_buf_len(&lc->body));
        lua_setfield(L, -2, "body");
        np_buf_fini(&lc->body);
        np_buf_init(&lc->body);
    } else {
        lua_pushvalue(L, 1);
        lua_setfield(L, -2, "call");
    }
    luaL_setmetatable(L, RESPONSE);
}

static int response_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct lua_call *lc = ctx;
    if (err) return np_fail(L, err, NULL);
    if (lc->error.code) return np_fail_info(L, &lc->error);
    push_response(L, lc);
    return 1;
}

static int await_response(lua_State *L, struct lua_call *lc)
{
    bool ready = lc->ended || (lc->has_head && !lc->collect);
    if (ready) return response_k(L, NEAP_OK, lc);
    return np_wait(L, &lc->wait, NP_NO_TIMEOUT, cancel_call, response_k, lc);
}

static int with_transport(lua_State *L)
{
    np_sandbox_push_require(L);
    lua_pushliteral(L, "neap.http.transport");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "request");
    lua_pushvalue(L, 1);
    return 1;
}

static int transport_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    return lua_gettop(L) - (int)ctx;
}

/* request(opts) → response | nil, err. A body that is a function is sent by
 * lua/neap/http/transport.lua. */
static int http_request(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (lua_getfield(L, 1, "body") == LUA_TFUNCTION) {
        with_transport(L);
        int base = lua_gettop(L) - 2;
        lua_callk(L, 1, LUA_MULTRET, base, transport_k);
        return transport_k(L, LUA_OK, base);
    }
    struct call_options o;
    struct lua_call *lc;
    struct neap_errinfo info;
    if (begin(L, &o, &lc, &info)) return np_fail_info(L, &info);
    return await_response(L, lc);
}

/* start(opts) → call | nil, err: for bodies that are streamed both ways */
static int http_start(lua_State *L)
{
    struct call_options o;
    struct lua_call *lc;
    struct neap_errinfo info;
    if (begin(L, &o, &lc, &info)) return np_fail_info(L, &info);
    return 1;
}

/* --- methods of a call */

static struct lua_call *check_call(lua_State *L)
{
    struct lua_call *lc = *(struct lua_call **)luaL_checkudata(L, 1, CALL);
    if (!lc) np_misuse(L, "the call was collected"); /* a finaliser of the script's came later */
    return lc;
}

static int call_response(lua_State *L)
{
    struct lua_call *lc = check_call(L);
    if (np_waiting(&lc->wait)) return np_misuse(L, "another task is waiting for this call");
    return await_response(L, lc);
}

static int read_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct lua_call *lc = ctx;
    if (np_buf_len(&lc->body) > 0) {
        lua_pushlstring(L, np_buf_data(&lc->body), np_buf_len(&lc->body));
        np_buf_clear(&lc->body);
        if (lc->paused && lc->call) np_http_call_pause(lc->call, false);
        lc->paused = false;
        return 1;
    }
    if (err) return np_fail(L, err, NULL);
    if (lc->error.code) return np_fail_info(L, &lc->error);
    lua_pushnil(L);
    return 1;
}

/* call:read([timeout]) → the next piece of the answer's body | nil at the end | nil, err */
static int call_read(lua_State *L)
{
    struct lua_call *lc = check_call(L);
    int64_t timeout = np_check_seconds(L, 2, NP_NO_TIMEOUT);
    if (np_waiting(&lc->wait)) return np_misuse(L, "another task is waiting for this call");
    if (np_buf_len(&lc->body) > 0 || lc->ended) return read_k(L, NEAP_OK, lc);
    return np_wait(L, &lc->wait, timeout, cancel_nothing, read_k, lc);
}

static int write_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct lua_call *lc = ctx;
    if (err) return np_fail(L, err, NULL);
    if (lc->error.code) return np_fail_info(L, &lc->error);
    lua_pushboolean(L, 1);
    return 1;
}

/* call:write(data) → true | nil, err: a piece of the request's body; waits while the peer is slow.
 * False when the answer is complete already and no more is wanted. */
static int call_write(lua_State *L)
{
    struct lua_call *lc = check_call(L);
    size_t n;
    const char *data = luaL_checklstring(L, 2, &n);
    if (np_waiting(&lc->write_wait)) return np_misuse(L, "another task is writing this body");
    if (lc->ended && !lc->error.code) return lua_pushboolean(L, 0), 1;
    if (lc->ended) return np_fail_info(L, &lc->error);
    enum neap_err err = np_http_call_write(lc->call, data, n);
    if (err) return np_fail(L, err, NULL);
    if (np_http_call_writable(lc->call)) return write_k(L, NEAP_OK, lc);
    return np_wait(L, &lc->write_wait, NP_NO_TIMEOUT, cancel_nothing, write_k, lc);
}

static int call_finish(lua_State *L)
{
    struct lua_call *lc = check_call(L);
    if (lc->call) np_http_call_finish(lc->call);
    return 0;
}

/* call:close(): what has not come yet is not wanted. Idempotent. */
static int call_close(lua_State *L)
{
    struct lua_call *lc = *(struct lua_call **)luaL_checkudata(L, 1, CALL);
    if (lc && lc->call) np_http_call_cancel(lc->call);
    return 0;
}

static int call_gc(lua_State *L)
{
    struct lua_call *lc = *(struct lua_call **)luaL_checkudata(L, 1, CALL);
    if (!lc) return 0;
    *(struct lua_call **)lua_touserdata(L, 1) = NULL;
    lc->held = false;
    if (lc->call) {
        np_http_call_cancel(lc->call);
    } else {
        free_call(lc);
    }
    return 0;
}

/* The same on a response that was asked for with stream=true: the call is in its field `call`. */
static void response_to_call(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (lua_getfield(L, 1, "call") != LUA_TUSERDATA) {
        np_misuse(L, "the body was collected already: see res.body, or ask with stream = true");
    }
    lua_replace(L, 1);
}

static int response_read(lua_State *L)
{
    response_to_call(L);
    return call_read(L);
}

static int response_close(lua_State *L)
{
    if (lua_istable(L, 1) && lua_getfield(L, 1, "call") != LUA_TUSERDATA) return 0;
    lua_replace(L, 1);
    return call_close(L);
}

/* client_stats() → {open=, idle=, waiting=, calls=, reused=, retried=} */
static int http_client_stats(lua_State *L)
{
    struct np_http_client_stats s = {0};
    struct np_script *script = np_script_of(L);
    if (script->http) np_http_client_get_stats(script->http, &s);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {{"open", s.open},   {"idle", s.idle},     {"waiting", s.waiting},
                {"calls", s.calls}, {"reused", s.reused}, {"retried", s.retried}};
    lua_createtable(L, 0, 6);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lua_pushinteger(L, (lua_Integer)rows[i].value);
        lua_setfield(L, -2, rows[i].name);
    }
    return 1;
}

void np_http_add_client(lua_State *L)
{
    static const luaL_Reg methods[] = {{"response", call_response}, {"read", call_read},
                                       {"write", call_write},       {"finish", call_finish},
                                       {"close", call_close},       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", call_gc}, {"__close", call_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"request", http_request},
                                         {"start", http_start},
                                         {"client_stats", http_client_stats},
                                         {NULL, NULL}};
    np_type_new(L, CALL, methods, meta);
    luaL_setfuncs(L, functions, 0);
    static const luaL_Reg of_response[] = {
        {"read", response_read}, {"close", response_close}, {NULL, NULL}};
    luaL_newmetatable(L, RESPONSE);
    luaL_newlib(L, of_response);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -3, "response_methods"); /* lua/neap/http adds to it */
    lua_pop(L, 1);
}
