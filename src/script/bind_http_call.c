/* A call of the HTTP client, as a script has it; see bind_http_client.h.
 *
 * Bytes of the answer's body wait in a bounded buffer; the connection is paused while it is full,
 * unless all of it is being collected.
 */
#include <string.h>

#include "base/alloc.h"
#include "script/bind_http.h"
#include "script/bind_http_client.h"

#define CALL "neap.http.call"
#define RESPONSE "neap.http.response"
#define HIGH_WATER ((size_t)256 * 1024)

static void free_call(struct np_lcall *lc)
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

static struct np_http_header *copy_fields(struct np_arena *a, const struct np_http_header *from,
                                          size_t n)
{
    bool ok = true;
    struct np_http_header *to = np_arena_alloc(a, sizeof *to * (n + 1));
    if (!to) return NULL;
    for (size_t i = 0; i < n; i++) {
        to[i].name = copy_bytes(a, from[i].name, &ok);
        to[i].value = copy_bytes(a, from[i].value, &ok);
    }
    return ok ? to : NULL;
}

static bool copy_head(struct np_lcall *lc, struct np_http_head *to, const struct np_http_head *h)
{
    bool ok = true;
    struct np_http_head copy = *h;
    copy.headers = copy_fields(&lc->arena, h->headers, h->nheaders);
    copy.reason = copy_bytes(&lc->arena, h->reason, &ok);
    copy.trailers = NULL;
    copy.ntrailers = 0;
    if (!copy.headers || !ok) return false;
    *to = copy;
    return true;
}

/* Ends the call from our side; on_end comes later and finds the error set. */
static void break_off(struct np_lcall *lc, enum neap_err err, const char *why)
{
    np_err_set(&lc->error, err, "%s", why);
    np_http_call_cancel(lc->call);
}

static void on_head(struct np_http_call *c, const struct np_http_head *h)
{
    struct np_lcall *lc = np_http_call_arg(c);
    if (!copy_head(lc, &lc->head, h)) {
        break_off(lc, NEAP_ENOMEM, "out of memory");
        return;
    }
    lc->has_head = true;
    lc->coding = np_http_call_coding(c);
    np_wake(&lc->interim_wait, NEAP_OK);
    if (!lc->collect) np_wake(&lc->wait, NEAP_OK);
}

static void on_interim(struct np_http_call *c, const struct np_http_head *h)
{
    struct np_lcall *lc = np_http_call_arg(c);
    if (!lc->wants_interim) return;
    if (!copy_head(lc, &lc->interim, h))
        break_off(lc, NEAP_ENOMEM, "out of memory");
    else
        np_wake(&lc->interim_wait, NEAP_OK);
}

static void on_trailers(struct np_http_call *c, const struct np_http_header *fields, size_t n)
{
    struct np_lcall *lc = np_http_call_arg(c);
    lc->head.trailers = copy_fields(&lc->arena, fields, n);
    lc->head.ntrailers = n;
    if (!lc->head.trailers) break_off(lc, NEAP_ENOMEM, "out of memory");
}

static void on_body(struct np_http_call *c, const char *data, size_t n)
{
    struct np_lcall *lc = np_http_call_arg(c);
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
    struct np_lcall *lc = np_http_call_arg(c);
    np_wake(&lc->write_wait, NEAP_OK);
}

static void on_end(struct np_http_call *c, enum neap_err err, const char *why)
{
    struct np_lcall *lc = np_http_call_arg(c);
    lc->ended = true;
    if (err && !lc->error.code) np_err_set(&lc->error, err, "%s", why ? why : neap_err_text(err));
    if (err) {
        lc->phase = np_http_phase_name(np_http_call_phase(c));
        lc->bound = np_http_call_bound(c);
    }
    lc->call = NULL;
    np_wake(&lc->wait, NEAP_OK);
    np_wake(&lc->write_wait, NEAP_OK);
    np_wake(&lc->interim_wait, NEAP_OK);
    free_call(lc);
}

const struct np_http_call_handler np_lcall_handler = {.on_head = on_head,
                                                      .on_body = on_body,
                                                      .on_drain = on_drain,
                                                      .on_end = on_end,
                                                      .on_interim = on_interim,
                                                      .on_trailers = on_trailers};

/* --- life */

struct np_lcall *np_lcall_new(lua_State *L)
{
    struct np_lcall **handle = lua_newuserdatauv(L, sizeof *handle, 1);
    *handle = NULL;
    luaL_setmetatable(L, CALL);
    struct np_lcall *lc = np_calloc(1, sizeof *lc);
    if (!lc) luaL_error(L, "not enough memory");
    np_arena_init(&lc->arena, 1024);
    np_buf_init(&lc->body);
    lc->script = np_script_of(L);
    lc->held = true;
    *handle = lc;
    return lc;
}

static struct np_lcall *check_call(lua_State *L)
{
    struct np_lcall *lc = *(struct np_lcall **)luaL_checkudata(L, 1, CALL);
    if (!lc) np_misuse(L, "the call was collected"); /* a finaliser of the script's came later */
    return lc;
}

static void cancel_call(struct np_wait *w)
{
    struct np_lcall *lc = np_container_of(w, struct np_lcall, wait);
    if (lc->call) np_http_call_cancel(lc->call);
}

static void cancel_nothing(struct np_wait *w)
{
    (void)w;
}

/* nil and the error, which says in which phase it was, and which timeout. */
static int fail(lua_State *L, const struct np_lcall *lc)
{
    int n = np_fail_info(L, &lc->error);
    if (lc->phase) {
        lua_pushstring(L, lc->phase);
        lua_setfield(L, -2, "phase");
    }
    if (lc->bound) {
        lua_pushstring(L, lc->bound);
        lua_setfield(L, -2, "timeout");
    }
    return n;
}

/* --- the response */

static void set_trailers(lua_State *L, int response, const struct np_lcall *lc)
{
    if (!lc->head.ntrailers) return;
    np_push_headers(L, lc->head.trailers, lc->head.ntrailers);
    lua_setfield(L, response, "trailers");
}

/* The response table: status, reason, headers and, when collected, body; else the call itself under
 * "call", for reading on. The call's userdata is at 1. */
static void push_response(lua_State *L, struct np_lcall *lc)
{
    lua_createtable(L, 0, 6);
    int response = lua_gettop(L);
    lua_pushinteger(L, lc->head.status);
    lua_setfield(L, -2, "status");
    lua_pushlstring(L, lc->head.reason.p, lc->head.reason.n);
    lua_setfield(L, -2, "reason");
    np_push_headers(L, lc->head.headers, lc->head.nheaders);
    lua_setfield(L, -2, "headers");
    if (lc->coding) {
        lua_pushstring(L, lc->coding);
        lua_setfield(L, -2, "coding");
    }
    if (lc->collect) {
        lua_pushlstring(L, np_buf_data(&lc->body), np_buf_len(&lc->body));
        lua_setfield(L, -2, "body");
        set_trailers(L, response, lc);
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
    struct np_lcall *lc = ctx;
    if (err) return np_fail(L, err, NULL);
    if (lc->error.code) return fail(L, lc);
    push_response(L, lc);
    return 1;
}

int np_lcall_await(lua_State *L, struct np_lcall *lc)
{
    bool ready = lc->ended || (lc->has_head && !lc->collect);
    if (ready) return response_k(L, NEAP_OK, lc);
    return np_wait(L, &lc->wait, NP_NO_TIMEOUT, cancel_call, response_k, lc);
}

static int call_response(lua_State *L)
{
    struct np_lcall *lc = check_call(L);
    if (np_waiting(&lc->wait)) return np_misuse(L, "another task is waiting for this call");
    return np_lcall_await(L, lc);
}

/* --- 1xx */

static int interim_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct np_lcall *lc = ctx;
    if (err || !lc->interim.status) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, lc->interim.status);
    np_push_headers(L, lc->interim.headers, lc->interim.nheaders);
    lc->interim.status = 0;
    return 2;
}

/* call:interim() → status, headers of the next 1xx answer | nil when there is the other one */
static int call_interim(lua_State *L)
{
    struct np_lcall *lc = check_call(L);
    if (np_waiting(&lc->interim_wait)) return np_misuse(L, "another task is waiting for this");
    if (lc->interim.status || lc->has_head || lc->ended) return interim_k(L, NEAP_OK, lc);
    return np_wait(L, &lc->interim_wait, NP_NO_TIMEOUT, cancel_nothing, interim_k, lc);
}

/* --- bodies */

/* The response, when it is one that reads, is at index 3. */
static int read_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct np_lcall *lc = ctx;
    if (np_buf_len(&lc->body) > 0) {
        lua_pushlstring(L, np_buf_data(&lc->body), np_buf_len(&lc->body));
        np_buf_clear(&lc->body);
        if (lc->paused && lc->call) np_http_call_pause(lc->call, false);
        lc->paused = false;
        return 1;
    }
    if (err) return np_fail(L, err, NULL);
    if (lc->error.code) return fail(L, lc);
    if (lua_istable(L, 3)) set_trailers(L, 3, lc);
    lua_pushnil(L);
    return 1;
}

static int read_piece(lua_State *L)
{
    struct np_lcall *lc = check_call(L);
    int64_t timeout = np_check_seconds(L, 2, NP_NO_TIMEOUT);
    if (np_waiting(&lc->wait)) return np_misuse(L, "another task is waiting for this call");
    if (np_buf_len(&lc->body) > 0 || lc->ended) return read_k(L, NEAP_OK, lc);
    return np_wait(L, &lc->wait, timeout, cancel_nothing, read_k, lc);
}

/* call:read([timeout]) → the next piece of the answer's body | nil at the end | nil, err */
static int call_read(lua_State *L)
{
    lua_settop(L, 2);
    return read_piece(L);
}

static int write_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct np_lcall *lc = ctx;
    if (err) return np_fail(L, err, NULL);
    if (lc->error.code) return fail(L, lc);
    lua_pushboolean(L, 1);
    return 1;
}

/* call:write(data) → true | nil, err: a piece of the request's body; waits while the peer is slow.
 * False when the answer is complete already and no more is wanted. */
static int call_write(lua_State *L)
{
    struct np_lcall *lc = check_call(L);
    size_t n;
    const char *data = luaL_checklstring(L, 2, &n);
    if (np_waiting(&lc->write_wait)) return np_misuse(L, "another task is writing this body");
    if (lc->ended && !lc->error.code) return lua_pushboolean(L, 0), 1;
    if (lc->ended) return fail(L, lc);
    enum neap_err err = np_http_call_write(lc->call, data, n);
    if (err) return np_fail(L, err, NULL);
    if (np_http_call_writable(lc->call)) return write_k(L, NEAP_OK, lc);
    return np_wait(L, &lc->write_wait, NP_NO_TIMEOUT, cancel_nothing, write_k, lc);
}

static int call_finish(lua_State *L)
{
    struct np_lcall *lc = check_call(L);
    if (lc->call) np_http_call_finish(lc->call);
    return 0;
}

/* --- the end */

/* call:close(): what has not come yet is not wanted. Idempotent. */
static int call_close(lua_State *L)
{
    struct np_lcall *lc = *(struct np_lcall **)luaL_checkudata(L, 1, CALL);
    if (lc && lc->call) np_http_call_cancel(lc->call);
    return 0;
}

static int call_gc(lua_State *L)
{
    struct np_lcall *lc = *(struct np_lcall **)luaL_checkudata(L, 1, CALL);
    if (!lc) return 0;
    *(struct np_lcall **)lua_touserdata(L, 1) = NULL;
    lc->held = false;
    if (lc->call) {
        np_http_call_cancel(lc->call);
    } else {
        free_call(lc);
    }
    return 0;
}

/* --- methods of a response that was asked for with stream = true: the call is in its field `call`
 */

static int response_read(lua_State *L)
{
    lua_settop(L, 2);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushvalue(L, 1);
    if (lua_getfield(L, 1, "call") != LUA_TUSERDATA) {
        np_misuse(L, "the body was collected already: see res.body, or ask with stream = true");
    }
    lua_replace(L, 1);
    return read_piece(L);
}

static int response_close(lua_State *L)
{
    if (lua_istable(L, 1) && lua_getfield(L, 1, "call") != LUA_TUSERDATA) return 0;
    lua_replace(L, 1);
    return call_close(L);
}

/* as_response(table) → the same, with a response's methods */
static int as_response(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_setmetatable(L, RESPONSE);
    return 1;
}

/* is_response(value) → whether a call gave it, or as_response */
static int is_response(lua_State *L)
{
    luaL_getmetatable(L, RESPONSE);
    lua_pushboolean(L, lua_getmetatable(L, 1) && lua_rawequal(L, -1, -2));
    return 1;
}

void np_lcall_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"as_response", as_response}, {"is_response", is_response}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"response", call_response},
                                       {"interim", call_interim},
                                       {"read", call_read},
                                       {"write", call_write},
                                       {"finish", call_finish},
                                       {"close", call_close},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", call_gc}, {"__close", call_close}, {NULL, NULL}};
    static const luaL_Reg of_response[] = {
        {"read", response_read}, {"close", response_close}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    np_type_new(L, CALL, methods, meta);
    luaL_newmetatable(L, RESPONSE);
    luaL_newlib(L, of_response);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -3, "response_methods"); /* lua/neap/http adds to it */
    lua_pop(L, 1);
}
