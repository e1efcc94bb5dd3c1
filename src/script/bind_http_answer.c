/* What a handler returned becomes the answer; see bind_http_answer.h. */
#include "script/bind_http_answer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "script/bind_http.h"
#include "script/bind_http_compress.h"
#include "script/bind_http_reqbody.h"
#include "script/json.h"
#include "script/luax.h"
#include "script/sandbox.h"
#include "script/watch.h"

#define TEXT "text/plain; charset=utf-8"
#define JSON "application/json"
#define MAX_RETRY_AFTER 86400 /* seconds; nobody waits for longer */

/* The status for an error: what the request's body lacked, or what a gateway would say of it. */
static int status_of(const struct np_http_req *r, enum neap_err err)
{
    int of_body = r ? np_http_reqbody_status(r->body, err) : 0;
    if (of_body) return of_body;
    switch (err) {
    case NEAP_ETIMEDOUT:
        return 504;
    case NEAP_ENOENDPOINT:
    case NEAP_ENORESPONDERS:
    case NEAP_ELIMIT:
    case NEAP_EBUSY:
        return 503;
    case NEAP_ECONNREFUSED:
    case NEAP_ECONNRESET:
    case NEAP_ECONNABORTED:
    case NEAP_EPIPE:
    case NEAP_EHOSTUNREACH:
    case NEAP_ENETUNREACH:
    case NEAP_EPROTO:
    case NEAP_EDNS:
    case NEAP_ENOTFOUND: /* a name that is to be connected to */
    case NEAP_ETLS:
    case NEAP_EPROXY:
    case NEAP_EREDIRECTS:
        return 502;
    default:
        return 500;
    }
}

/* The status that an error asks for itself (400 to 599): one that is the client's fault, say. */
static int status_given(lua_State *L, int idx)
{
    if (!lua_istable(L, idx) || !lua_checkstack(L, 2)) return 0;
    idx = lua_absindex(L, idx);
    lua_pushliteral(L, "status");
    lua_rawget(L, idx);
    lua_Integer status = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
    lua_pop(L, 1);
    return status >= 400 && status <= 599 ? (int)status : 0;
}

static int status_for(lua_State *L, int idx, const struct np_http_req *r)
{
    int status = status_given(L, idx);
    return status ? status : status_of(r, np_error_code(L, idx));
}

bool np_http_answer_blames_client(struct np_task *t)
{
    np_task_error(t);
    int status = np_stop_is(t->co, -2) ? 0 : status_given(t->co, -2);
    lua_pop(t->co, 2);
    return status >= 400 && status < 500;
}

/* Seconds that an error asks to be left alone (its `retry_after`), rounded up; 0: it does not. */
static int retry_after_given(lua_State *L, int idx)
{
    if (!lua_istable(L, idx) || !lua_checkstack(L, 2)) return 0;
    idx = lua_absindex(L, idx);
    lua_pushliteral(L, "retry_after");
    lua_rawget(L, idx);
    lua_Number seconds = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
    lua_pop(L, 1);
    if (!(seconds > 0)) return 0;
    return seconds < MAX_RETRY_AFTER ? (int)ceil(seconds) : MAX_RETRY_AFTER;
}

/* `after`: seconds for Retry-After, which a 503 always has; 0: a second there, none elsewhere. */
static void answer_plain(struct np_http_exchange *x, int status, int after)
{
    char body[96], seconds[16];
    if (status == 503 && after == 0) after = 1;
    int len = snprintf(seconds, sizeof seconds, "%d", after);
    const struct np_http_header head[] = {{{"Content-Type", 12}, {JSON, sizeof JSON - 1}},
                                          {{"Retry-After", 11}, {seconds, (size_t)len}}};
    const char *what = status == 500 ? "internal error" : np_http_reason(status);
    int n = snprintf(body, sizeof body, "{\"error\":\"%s\"}", what);
    if (np_http_respond(x, status, head, after > 0 ? 2 : 1, body, (size_t)n)) np_http_abort(x);
}

void np_http_answer_plain(struct np_http_exchange *x, int status)
{
    answer_plain(x, status, 0);
}

void np_http_answer_failure(struct np_task *t, struct np_http_exchange *x,
                            const struct np_http_req *r)
{
    if (r && r->answered) {
        np_http_abort(x);
        return;
    }
    np_task_error(t);
    bool stopped = np_stop_is(t->co, -2);
    int status = stopped ? 500 : status_for(t->co, -2, r);
    int after = stopped ? 0 : retry_after_given(t->co, -2);
    lua_pop(t->co, 2);
    answer_plain(x, status, after);
}

static void log_returned_error(struct np_http_req *r, lua_State *L, int idx)
{
    const char *text = luaL_tolstring(L, idx, NULL);
    struct np_bytes target = r->x->head.target;
    struct np_log_field field = {.name = "target", .type = NP_LOG_STR};
    field.as.str.p = target.p;
    field.as.str.n = target.n;
    np_log_write(r->task->script->log, NP_LOG_ERROR, text, strlen(text), &field, 1);
}

/* nil, err */
static int answer_error(lua_State *L, struct np_http_req *r, int err)
{
    int status = status_for(L, err, r);
    int after = retry_after_given(L, err);
    if (status == 500) log_returned_error(r, L, err);
    struct np_http_exchange *x = r->x;
    r->answered = true;
    np_http_req_detach(r, NEAP_ECLOSED);
    answer_plain(x, status, after);
    return 0;
}

void np_http_answer_error(struct np_log *log, struct np_http_exchange *x, enum neap_err err,
                          const char *why)
{
    int status = status_of(NULL, err);
    if (status == 500) np_logf(log, NP_LOG_ERROR, "%s: %s", neap_err_name(err), why ? why : "");
    answer_plain(x, status, 0);
}

static int nothing_more(lua_State *L, int status, lua_KContext ctx)
{
    (void)L;
    (void)status;
    (void)ctx;
    return 0;
}

/* Hands over to `name` of neap.http.answer (Lua): what needs a loop that waits is written there. */
static int answer_in_lua(lua_State *L, const char *name, int nargs)
{
    int first = lua_gettop(L) - nargs + 1;
    np_sandbox_push_require(L);
    lua_pushliteral(L, "neap.http.answer");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, name);
    lua_insert(L, first);
    lua_pop(L, 1);
    lua_callk(L, nargs, 0, 0, nothing_more);
    return 0;
}

/* What cannot be sent is the handler's failure. */
static int respond(lua_State *L, struct np_http_req *r, struct np_http_req_head *head,
                   struct np_bytes body, const char *type)
{
    return np_http_req_respond(L, r, head, body, type) == 1 ? 0 : lua_error(L);
}

/* A long body that is compressed: other tasks get their turns in between. */
static int answer_in_pieces(lua_State *L, lua_Integer status, int body, int headers,
                            const struct np_http_req_head *head, const char *type)
{
    bool named = np_has_header(head->headers, head->n, "content-type");
    luaL_checkstack(L, 8, NULL);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, status);
    lua_pushvalue(L, body);
    lua_pushvalue(L, headers);
    lua_pushstring(L, named ? NULL : type);
    return answer_in_lua(L, "pieces", 5);
}

static int answer_bytes(lua_State *L, struct np_http_req *r, lua_Integer status, int body,
                        int headers)
{
    struct np_http_req_head head;
    struct np_bytes b = {NULL, 0};
    if (!lua_isnil(L, body)) b.p = lua_tolstring(L, body, &b.n);
    np_http_req_read_head(L, r, status, headers, &head);
    if (np_http_compress_in_pieces(r, &head, TEXT, b.n))
        return answer_in_pieces(L, status, body, headers, &head, TEXT);
    return respond(L, r, &head, b, TEXT);
}

/* The encoder's buffer is the state's: it comes last. */
static int answer_json(lua_State *L, struct np_http_req *r, lua_Integer status, int body,
                       int headers)
{
    struct np_http_req_head head;
    struct np_bytes b;
    np_http_req_read_head(L, r, status, headers, &head);
    if (np_json_encode_bytes(L, body, NULL, &b.p, &b.n)) return lua_error(L);
    if (np_http_compress_in_pieces(r, &head, JSON, b.n)) {
        lua_pushlstring(L, b.p, b.n);
        return answer_in_pieces(L, status, lua_gettop(L), headers, &head, JSON);
    }
    return respond(L, r, &head, b, JSON);
}

static int answer_body(lua_State *L, struct np_http_req *r, lua_Integer status, int body,
                       int headers)
{
    switch (lua_type(L, body)) {
    case LUA_TNIL:
    case LUA_TSTRING:
        return answer_bytes(L, r, status, body, headers);
    case LUA_TNUMBER:
    case LUA_TBOOLEAN:
        return np_misuse(L, "a handler returned a %s as the body", luaL_typename(L, body));
    case LUA_TFUNCTION:
        lua_pushvalue(L, 1);
        lua_pushinteger(L, status);
        lua_pushvalue(L, body);
        lua_pushvalue(L, headers);
        return answer_in_lua(L, "stream", 4);
    default:
        return answer_json(L, r, status, body, headers);
    }
}

static bool is_response(lua_State *L, int idx)
{
    if (!lua_istable(L, idx) || !lua_getmetatable(L, idx)) return false;
    luaL_getmetatable(L, "neap.http.response");
    bool yes = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return yes;
}

static int answer_nothing(lua_State *L, struct np_http_req *r, int first)
{
    if (!lua_isnil(L, first + 1) && !r->answered) return answer_error(L, r, first + 1);
    struct np_http_exchange *x = r->x;
    bool begun = r->answered;
    bool failed = begun && !lua_isnil(L, first + 1);
    if (failed) log_returned_error(r, L, first + 1);
    if (begun && !failed && np_http_req_put_end(r)) failed = true;
    r->answered = true;
    np_http_req_detach(r, NEAP_ECLOSED);
    if (failed) {
        np_http_abort(x); /* so that the client knows the answer is not whole */
    } else if (begun) {
        np_http_finish(x);
    } else if (x->head.method == HTTP_CONNECT) {
        np_http_answer_plain(x, 501); /* 204 would begin a tunnel */
    } else if (np_http_respond(x, 204, NULL, 0, NULL, 0)) {
        np_http_abort(x);
    }
    return 0;
}

int np_http_answer(lua_State *L, struct np_http_req *r, int first)
{
    if (!r->x) return 0; /* answered by hand, or the client has left */
    int type = lua_type(L, first);
    if (type == LUA_TSTRING && !r->answered) {
        return answer_bytes(L, r, 200, first, first + 1);
    }
    if (type == LUA_TNIL) return answer_nothing(L, r, first);
    if (r->answered) return np_misuse(L, "a handler that began an answer may not return another");
    if (lua_isinteger(L, first)) {
        return answer_body(L, r, lua_tointeger(L, first), first + 1, first + 2);
    }
    if (is_response(L, first)) {
        lua_pushvalue(L, 1);
        lua_pushvalue(L, first);
        return answer_in_lua(L, "pass", 2);
    }
    return answer_body(L, r, 200, first, first + 1);
}
