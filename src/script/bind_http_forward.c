/* neap.core.http.forward: an exchange answered by a call, in C (http/forward.h); where to is chosen
 * by lua/neap/http/forward.lua. */
#include <string.h>

#include "http/forward.h"
#include "script/bind_cluster.h"
#include "script/bind_http_alone.h"
#include "script/bind_http_client.h"
#include "script/bind_http_deadline.h"
#include "script/bind_http_request.h"

#define DEFAULT_TIMEOUT (30 * NP_NS_PER_SEC)

enum {
    OPTIONS = 1,
    REQUEST,
    HOST,
    PORT,
    TARGET,
    HEADERS,
    KEEP_HOST,
    BODY,
    METHOD,
    HOLD,
    NAME,
    VALUE,
    CALL
};

#define HELD "neap.http.held"
enum { RETRY_AFTER_MAX = 64 }; /* bytes that are kept of it; a date has 29 */

struct forwarding {
    struct np_http_forward *f; /* NULL when it is over */
    struct np_http_req *r;
    struct np_wait wait;
    void *call;      /* of a cluster, whose last attempt this is; NULL: none */
    bool held;       /* an answer's head is there, and it is to be said what becomes of it */
    bool unanswered; /* it failed, and the request is as it was */
    bool body_begun;
    enum np_http_phase phase;
    int status;
    int64_t head_took;
    struct neap_errinfo error;
    size_t retry_after_len;
    char retry_after[RETRY_AFTER_MAX]; /* of an answer that is held */
};

static void on_done(void *arg, const struct np_http_forwarded *how)
{
    struct forwarding *w = arg;
    w->f = NULL;
    w->held = false;
    w->unanswered = how->x != NULL;
    w->body_begun = how->body_begun;
    w->phase = how->phase;
    w->status = how->status;
    w->head_took = how->head_took;
    if (how->err) np_err_set(&w->error, how->err, "%s", how->why ? how->why : "");
    if (w->unanswered) {
        w->r->answered = false;
    } else if (w->r->x) {
        w->r->x = NULL; /* the exchange is over: it is not to be touched */
        w->r->why = how->err ? how->err : NEAP_ECLOSED;
    }
    np_wake(&w->wait, NEAP_OK);
}

static void on_held(void *arg, const struct np_http_head *head, int64_t head_took)
{
    struct forwarding *w = arg;
    struct np_bytes after = np_http_header_get(head, "retry-after", 11);
    w->held = true;
    w->call = NULL; /* it hears of this answer from who decides */
    w->status = head->status;
    w->head_took = head_took;
    w->retry_after_len = after.p && after.n <= RETRY_AFTER_MAX ? after.n : 0;
    if (w->retry_after_len > 0) memcpy(w->retry_after, after.p, after.n);
    np_wake(&w->wait, NEAP_OK);
}

/* The attempt's latency ends here, and waits for no other. */
static void on_answered(void *arg)
{
    struct forwarding *w = arg;
    if (w->call) np_cluster_call_answered(w->call);
}

static void drop(struct forwarding *w)
{
    struct np_http_exchange *x = w->r->x;
    if (!w->f) return;
    w->held = false;
    bool begun = x && x->started;
    np_http_forward_cancel(w->f);
    w->f = NULL;
    if (x && !begun) w->r->answered = false;
    if (begun) { /* broken off */
        w->r->x = NULL;
        w->r->why = NEAP_ECLOSED;
    }
}

static void on_cancel(struct np_wait *wait)
{
    drop(np_container_of(wait, struct forwarding, wait));
}

/* false, held, status, seconds, Retry-After | nil. The forwarding is on top. */
static int push_held(lua_State *L, const struct forwarding *w)
{
    luaL_setmetatable(L, HELD);
    lua_pushvalue(L, REQUEST);
    lua_setiuservalue(L, -2, 1);
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    lua_pushinteger(L, w->status);
    lua_pushnumber(L, (lua_Number)w->head_took / NP_NS_PER_SEC);
    if (w->retry_after_len > 0)
        lua_pushlstring(L, w->retry_after, w->retry_after_len);
    else
        lua_pushnil(L);
    return 5;
}

/* → true, nil, status, seconds to the head | nil, err, unanswered, body_begun | what is held */
static int forward_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct forwarding *w = ctx;
    (void)err;
    if (w->held) return push_held(L, w);
    if (!w->error.code) {
        lua_pushboolean(L, 1);
        lua_pushnil(L);
        lua_pushinteger(L, w->status);
        lua_pushnumber(L, (lua_Number)w->head_took / NP_NS_PER_SEC);
        return 4;
    }
    np_fail_info(L, &w->error);
    lua_pushstring(L, np_http_phase_name(w->phase));
    lua_setfield(L, -2, "phase");
    lua_pushboolean(L, w->unanswered);
    lua_pushboolean(L, w->body_begun);
    return 4;
}

/* Values of `false` take a field away. The bytes are held by values left on the stack. */
static size_t read_changes(lua_State *L, int idx, struct np_http_header *out)
{
    size_t n = 0;
    if (lua_isnoneornil(L, idx)) return 0;
    lua_createtable(L, 0, 8); /* what is not false, for the reader of header tables */
    int rest = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        if (lua_isboolean(L, -1) && !lua_toboolean(L, -1) && lua_type(L, -2) == LUA_TSTRING &&
            n < NP_LUA_MAX_HEADERS) {
            out[n].name.p = lua_tolstring(L, -2, &out[n].name.n);
            out[n++].value = (struct np_bytes){NULL, 0};
        } else {
            lua_pushvalue(L, -2);
            lua_pushvalue(L, -2);
            lua_rawset(L, rest);
        }
        lua_pop(L, 1);
    }
    return n + np_read_headers(L, rest, out + n);
}

static void swap(lua_State *L)
{
    lua_pushvalue(L, OPTIONS);
    lua_copy(L, REQUEST, OPTIONS);
    lua_replace(L, REQUEST);
}

/* What the script wants any answer to have. */
static void read_added(lua_State *L, struct np_http_req *r, struct np_http_req_head *out)
{
    out->n = 0;
    if (!r->added) return;
    int top = lua_gettop(L);
    swap(L); /* the request is looked for at 1 */
    np_http_req_read_head(L, r, 200, top + 1, out);
    swap(L);
}

/* A task that has a deadline waits no longer, and tells the upstream. */
static void keep_deadline(lua_State *L, struct np_http_request *r, struct np_http_header *headers,
                          char text[NP_HTTP_DEADLINE_TEXT])
{
    const struct np_task *t = np_task_current(L);
    if (t->deadline == NP_TIME_NEVER) return;
    int64_t left = t->deadline - np_loop_now(t->script->loop);
    if (left < 1) left = 1; /* the wait tells that it is over */
    if (r->timeout <= 0 || left < r->timeout) r->timeout = left;
    if (np_has_header(headers, r->nheaders, NP_HTTP_DEADLINE)) return;
    headers[r->nheaders++] = (struct np_http_header){
        {NP_HTTP_DEADLINE, NP_HTTP_DEADLINE_LEN}, {text, np_http_deadline_write(r->timeout, text)}};
}

static void read_place(lua_State *L, struct np_http_request *r)
{
    r->host = luaL_optstring(L, HOST, r->host);
    r->port = (int)luaL_optinteger(L, PORT, r->port);
    r->target = luaL_optstring(L, TARGET, NULL);
    r->method = luaL_optstring(L, METHOD, NULL);
    if (!lua_isnoneornil(L, BODY)) r->body = luaL_checklstring(L, BODY, &r->body_len);
}

/* forward(options | seconds | nil, req, host, port, target | nil, headers | nil, keep_host, body |
 * nil, method | nil, hold | nil, name, value, call). `options` as for request(), read for the way
 * and the timeouts alone. Answers whose status is among `hold` are not passed on: they come as
 * false, held, status, seconds, Retry-After's text; then held:pass() gives what this would have, or
 * held:drop() gives the request back as it was but for its body. */
static int http_forward(lua_State *L)
{
    struct np_http_header headers[2 * NP_LUA_MAX_HEADERS + 1];
    char deadline[NP_HTTP_DEADLINE_TEXT];
    struct np_http_proxy proxy;
    struct np_http_forward_options o = {.request = {.port = 80, .timeout = DEFAULT_TIMEOUT}};
    struct np_http_client *client;
    struct neap_errinfo info = {0};
    lua_settop(L, CALL);
    struct np_http_req *r = np_http_req_check(L, REQUEST);
    if (r->x && r->answered) return np_misuse(L, "an answer was already begun");
    if (!r->x) return np_http_req_gone(L, r);
    if (lua_type(L, OPTIONS) == LUA_TNUMBER) {
        o.request.timeout = np_check_seconds(L, OPTIONS, DEFAULT_TIMEOUT);
        lua_pushnil(L);
        lua_replace(L, OPTIONS);
    }
    if (np_lcall_way(L, &o.request, &proxy, &client, &info)) return np_fail_info(L, &info);
    read_place(L, &o.request);
    o.keep_host = lua_toboolean(L, KEEP_HOST);
    o.request.nheaders = read_changes(L, HEADERS, headers);
    o.request.headers = headers;
    keep_deadline(L, &o.request, headers, deadline);
    o.compress = r->plan;
    if (!lua_isnil(L, HOLD)) o.hold = luaL_checkudata(L, HOLD, NP_HTTP_STATUSES);
    o.on_held = on_held;
    o.on_answered = on_answered;
    struct np_http_req_head added;
    read_added(L, r, &added);
    if (!lua_isnil(L, NAME)) {
        struct np_http_header *h = &added.headers[added.n++];
        h->name.p = luaL_checklstring(L, NAME, &h->name.n);
        h->value.p = luaL_checklstring(L, VALUE, &h->value.n);
    }
    o.answer_headers = added.headers;
    o.nanswer_headers = added.n;
    np_http_req_keep(L, REQUEST, r);
    void *call = lua_isnil(L, CALL) ? NULL : np_cluster_call_check(L, CALL);
    struct forwarding *w = lua_newuserdatauv(L, sizeof *w, 2);
    memset(w, 0, sizeof *w);
    if (call) {
        lua_pushvalue(L, CALL);
        lua_setiuservalue(L, -2, 2);
        w->call = call;
    }
    if (!r->x) return np_fail(L, NEAP_ECLOSED, NULL);
    w->r = r;
    enum neap_err err = np_http_forward_start(client, r->x, &o, on_done, w, &w->f, &info);
    if (err == NEAP_EBUSY)
        return np_misuse(L, "the request's body was asked for already: give opts.body");
    if (err) {
        np_fail_info(L, &info);
        lua_pushboolean(L, 1);
        lua_pushboolean(L, 0);
        return 4;
    }
    r->answered = true;
    return np_wait(L, &w->wait, NP_NO_TIMEOUT, on_cancel, forward_k, w);
}

/* --- answers that are held */

static struct forwarding *check_held(lua_State *L)
{
    return luaL_checkudata(L, 1, HELD);
}

/* held:pass() → as forward() */
static int held_pass(lua_State *L)
{
    struct forwarding *w = check_held(L);
    if (np_waiting(&w->wait)) return np_misuse(L, "it is being passed on already");
    if (w->f && w->held) {
        w->held = false;
        np_http_forward_go(w->f);
    }
    if (!w->f) return forward_k(L, NEAP_OK, w);
    return np_wait(L, &w->wait, NP_NO_TIMEOUT, on_cancel, forward_k, w);
}

/* held:drop(): the answer is not wanted. Idempotent; not once it is being passed on. */
static int held_drop(lua_State *L)
{
    struct forwarding *w = check_held(L);
    if (w->held) drop(w);
    return 0;
}

/* statuses{503, …} → those of them that an answer may be held for: 400 to 599 */
static int http_statuses(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct np_http_statuses *s = lua_newuserdatauv(L, sizeof *s, 0);
    *s = (struct np_http_statuses){{0}};
    luaL_setmetatable(L, NP_HTTP_STATUSES);
    lua_Integer n = luaL_len(L, 1);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_geti(L, 1, i);
        lua_Integer status = lua_tointeger(L, -1);
        lua_pop(L, 1);
        if (status < 400 || status > 599) continue;
        s->bits[(status - 400) / 8] |= (uint8_t)(1u << (status - 400) % 8);
    }
    return 1;
}

/* break_off(req): an answer that was begun and cannot be brought to its end; so that the client
 * knows it is not whole. */
static int http_break_off(lua_State *L)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    struct np_http_exchange *x = r->x;
    if (!x || !r->answered) return 0;
    np_http_req_detach(r, NEAP_ECLOSED);
    np_http_abort(x);
    return 0;
}

void np_http_add_forward(lua_State *L)
{
    static const luaL_Reg methods[] = {{"pass", held_pass}, {"drop", held_drop}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", held_drop}, {"__close", held_drop}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"forward", http_forward},
                                         {"break_off", http_break_off},
                                         {"statuses", http_statuses},
                                         {NULL, NULL}};
    np_type_new(L, HELD, methods, meta);
    np_type_new(L, NP_HTTP_STATUSES, NULL, NULL);
    luaL_setfuncs(L, functions, 0);
}
