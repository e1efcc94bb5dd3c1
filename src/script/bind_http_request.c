/* "neap.http.request": fields and answering. Its body stands in bind_http_reqbody.c. */
#include "script/bind_http_request.h"

#include <string.h>

#include "script/bind_http.h"
#include "script/bind_http_compress.h"
#include "script/bind_http_reqbody.h"
#include "script/luax.h"

#define REQUEST "neap.http.request"
#define FIELDS 1 /* user value: what the script set, and what was computed */
#define BODY 2   /* user value: the body's userdata */
#define TEXT "text/plain; charset=utf-8"

enum field { METHOD = 1, TARGET, PATH, QUERY_STRING, VERSION, HEADERS, TRAILERS, REMOTE };

static const char type_key; /* of the metatable, found without its name: one for every request */

struct np_http_req *np_http_req_push(lua_State *L, struct np_http_exchange *x, struct np_task *t)
{
    struct np_http_req *r = lua_newuserdatauv(L, sizeof *r, 4);
    memset(r, 0, sizeof *r);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &type_key);
    lua_setmetatable(L, -2);
    r->x = x;
    r->task = t;
    x->user = r;
    return r;
}

void np_http_req_over(struct np_http_req *r, enum neap_err why)
{
    if (!r->x) return;
    r->x = NULL;
    r->why = why;
    np_http_req_disarm(r);
    np_wake(&r->drain, why);
    if (r->body) np_http_reqbody_end(r->body, why);
}

void np_http_req_detach(struct np_http_req *r, enum neap_err why)
{
    if (r->x) r->x->user = NULL;
    np_http_req_over(r, why);
}

struct np_http_req *np_http_req_check(lua_State *L, int idx)
{
    void *r = lua_touserdata(L, idx);
    if (r && lua_getmetatable(L, idx)) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &type_key);
        bool yes = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
        if (yes) return r;
    }
    return luaL_checkudata(L, idx, REQUEST); /* which says what is wrong */
}

int np_http_req_gone(lua_State *L, struct np_http_req *r)
{
    if (r->why == NEAP_ECLOSED) return np_misuse(L, "the request has been answered");
    return np_fail(L, r->why, "the client has left");
}

/* NULL when there is neither the exchange nor a copy. */
static const struct np_http_head *head_of(const struct np_http_req *r)
{
    if (r->x) return &r->x->head;
    return r->kept ? &r->kept->head : NULL;
}

static const struct np_http_head *check_head(lua_State *L, const struct np_http_req *r)
{
    const struct np_http_head *h = head_of(r);
    if (!h) np_misuse(L, "the request has been answered, or its client has left");
    return h;
}

/* --- fields */

static void push_bytes(lua_State *L, struct np_bytes b)
{
    lua_pushlstring(L, b.p, b.n);
}

static void push_field(lua_State *L, struct np_http_req *r, enum field f)
{
    const struct np_http_head *h = head_of(r);
    char text[NP_ADDR_TEXT_MAX];
    switch (f) {
    case METHOD:
        push_bytes(L, h->method_name);
        break;
    case TARGET:
        push_bytes(L, h->target);
        break;
    case PATH:
        push_bytes(L, h->path);
        break;
    case QUERY_STRING:
        push_bytes(L, h->query);
        break;
    case VERSION:
        lua_pushfstring(L, "%d.%d", h->major, h->minor);
        break;
    case HEADERS:
        np_push_headers(L, h->headers, h->nheaders);
        if (r->decoded) np_http_decompress_hide(L);
        break;
    case TRAILERS: /* nobody knows them before the body's end */
        if (r->x ? r->x->body_complete : r->kept->body_complete)
            np_push_headers(L, h->trailers, h->ntrailers);
        else
            lua_pushnil(L);
        break;
    case REMOTE:
        if (r->x) np_http_exchange_peer(r->x, text, sizeof text);
        lua_pushstring(L, r->x ? text : r->kept->remote);
        break;
    }
}

/* The table of set fields is made when it is first needed. */
static void push_fields_table(lua_State *L)
{
    if (lua_getiuservalue(L, 1, FIELDS) == LUA_TTABLE) return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 4);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, FIELDS);
}

static void cache_field(lua_State *L)
{
    push_fields_table(L);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -3);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static bool push_set_field(lua_State *L)
{
    if (lua_getiuservalue(L, 1, FIELDS) == LUA_TTABLE) {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, -2) != LUA_TNIL) return true;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return false;
}

/* Upvalues: fields (name → enum field, or method), getters (name → function, added by Lua modules).
 */
static int request_index(lua_State *L)
{
    struct np_http_req *r = lua_touserdata(L, 1);
    lua_pushvalue(L, 2);
    int type = lua_rawget(L, lua_upvalueindex(1));
    if (type == LUA_TFUNCTION) return 1;
    bool computed = type == LUA_TNUMBER;
    enum field f = computed ? (enum field)lua_tointeger(L, -1) : METHOD;
    if (computed && f < HEADERS && r->x) {
        push_field(L, r, f);
        return 1;
    }
    if (push_set_field(L)) return 1;
    if (computed) {
        check_head(L, r);
        push_field(L, r, f);
        if (!lua_isnil(L, -1)) cache_field(L);
        return 1;
    }
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TFUNCTION) return 0;
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    if (!lua_isnil(L, -1)) cache_field(L);
    return 1;
}

static int request_newindex(lua_State *L)
{
    push_fields_table(L);
    lua_insert(L, 2);
    lua_rawset(L, 2);
    return 0;
}

/* req:header(name) → string | nil, without making the table of all */
static int request_header(lua_State *L)
{
    const struct np_http_req *r = np_http_req_check(L, 1);
    const struct np_http_head *h = check_head(L, r);
    size_t n;
    const char *name = luaL_checklstring(L, 2, &n);
    struct np_bytes value = np_http_header_get(h, name, n);
    bool hidden = r->decoded && np_http_decompress_hides((struct np_bytes){name, n});
    if (!value.p || hidden) return lua_pushnil(L), 1;
    push_bytes(L, value);
    return 1;
}

static int request_tostring(lua_State *L)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    if (!r->x) {
        lua_pushliteral(L, "neap.http.request (answered)");
        return 1;
    }
    lua_pushliteral(L, "neap.http.request: ");
    push_bytes(L, r->x->head.method_name);
    lua_pushliteral(L, " ");
    push_bytes(L, r->x->head.target);
    lua_concat(L, 4);
    return 1;
}

/* --- answering */

static int fail_answer(lua_State *L, enum neap_err err)
{
    if (err == NEAP_EINVAL) {
        return np_misuse(L, "the answer has a header or status that may not go on the wire");
    }
    if (err == NEAP_ELIMIT) {
        return np_fail(L, err, "more is waiting to be sent than the connection holds");
    }
    return np_fail(L, err, NULL);
}

static void add_content_type(struct np_http_header *headers, size_t *n, const char *type)
{
    if (!type || np_has_header(headers, *n, "content-type")) return;
    headers[*n].name = (struct np_bytes){np_http_own_type, 12};
    headers[*n].value = (struct np_bytes){type, strlen(type)};
    (*n)++;
}

static const char added_key; /* of the fields: names and values, one after the other */

/* What the answer of the request at 1 gets besides: its fields hold the strings. */
static void read_added(lua_State *L, struct np_http_req_head *out)
{
    int top = lua_gettop(L);
    luaL_checkstack(L, 4, NULL);
    if (lua_getiuservalue(L, 1, FIELDS) == LUA_TTABLE &&
        lua_rawgetp(L, -1, &added_key) == LUA_TTABLE) {
        lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
        for (lua_Integer i = 1; i < n; i += 2) {
            struct np_http_header *h = &out->headers[out->n];
            if (out->n++ == NP_LUA_MAX_HEADERS) np_misuse(L, "headers: too many");
            lua_rawgeti(L, -1, i);
            h->name.p = lua_tolstring(L, -1, &h->name.n);
            lua_rawgeti(L, -2, i + 1);
            h->value.p = lua_tolstring(L, -1, &h->value.n);
            lua_pop(L, 2);
        }
    }
    lua_settop(L, top);
}

/* req:add_header(name, value): the answer gets it, whatever it is otherwise */
static int request_add_header(lua_State *L)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    size_t n;
    const char *name = luaL_checklstring(L, 2, &n);
    luaL_argcheck(L, np_http_is_token(name, n), 2, "no name of a header");
    const char *value = luaL_checklstring(L, 3, &n);
    for (size_t i = 0; i < n; i++)
        luaL_argcheck(L, value[i] == '\t' || ((unsigned char)value[i] >= 0x20 && value[i] != 0x7f),
                      3, "has control characters");
    if (r->answered) return np_misuse(L, "an answer was already begun");
    lua_settop(L, 3);
    r->added = true;
    push_fields_table(L);
    if (lua_rawgetp(L, -1, &added_key) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, -3, &added_key);
    }
    lua_Integer len = (lua_Integer)lua_rawlen(L, -1);
    if (len / 2 >= NP_LUA_MAX_HEADERS) return np_misuse(L, "headers: too many");
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, len + 1);
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, len + 2);
    return 0;
}

void np_http_req_read_head(lua_State *L, const struct np_http_req *r, lua_Integer status,
                           int headers, struct np_http_req_head *out)
{
    if (status < 200 || status > 599) np_misuse(L, "status must be between 200 and 599");
    out->status = (int)status;
    out->n = np_read_headers(L, headers, out->headers);
    if (r->added) read_added(L, out);
}

int np_http_req_respond(lua_State *L, struct np_http_req *r, struct np_http_req_head *head,
                        struct np_bytes body, const char *content_type)
{
    if (!r->x) return np_fail(L, NEAP_ECLOSED, NULL); /* by a finaliser, meanwhile */
    if (body.p) add_content_type(head->headers, &head->n, content_type);
    enum neap_err err = np_http_req_send(r, head, body);
    if (err) return fail_answer(L, err);
    r->answered = true;
    np_http_req_over(r, NEAP_ECLOSED);
    lua_pushboolean(L, 1);
    return 1;
}

struct np_http_req *np_http_req_check_unanswered(lua_State *L)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    if (r->x && r->answered) np_misuse(L, "an answer was already begun");
    return r;
}

/* req:respond(status, [body], [headers]) → true | nil, err */
static int request_respond(lua_State *L)
{
    struct np_http_req *r = np_http_req_check_unanswered(L);
    if (!r->x) return np_http_req_gone(L, r);
    lua_Integer status = luaL_checkinteger(L, 2);
    struct np_bytes body = {NULL, 0};
    if (!lua_isnoneornil(L, 3)) body.p = luaL_checklstring(L, 3, &body.n);
    struct np_http_req_head head;
    np_http_req_read_head(L, r, status, 4, &head);
    np_http_req_keep(L, 1, r);
    if (np_http_compress_in_pieces(r, &head, TEXT, body.n))
        return np_http_compress_respond(L, &head, TEXT);
    return np_http_req_respond(L, r, &head, body, TEXT);
}

/* req:start(status, [headers], [length]) → true | nil, err: begins a streamed answer */
static int request_start(lua_State *L)
{
    struct np_http_req *r = np_http_req_check_unanswered(L);
    if (!r->x) return np_http_req_gone(L, r);
    lua_Integer status = luaL_checkinteger(L, 2);
    int64_t length = luaL_optinteger(L, 4, -1);
    luaL_argcheck(L, length >= -1, 4, "must not be negative");
    struct np_http_req_head head;
    np_http_req_read_head(L, r, status, 3, &head);
    if (!r->x) return np_fail(L, NEAP_ECLOSED, NULL);
    enum neap_err err = np_http_req_begin(L, r, &head, length);
    if (err) return fail_answer(L, err);
    r->answered = true;
    lua_pushboolean(L, 1);
    return 1;
}

static void cancel_drain(struct np_wait *w)
{
    (void)w; /* an event that nobody waits for does no harm */
}

static int write_k(lua_State *L, enum neap_err err, void *ctx)
{
    (void)ctx;
    if (err) return np_fail(L, err, NULL);
    lua_pushboolean(L, 1);
    return 1;
}

/* req:write(data) → true | nil, err: a piece of a streamed answer; waits while the client is slow
 */
static int request_write(lua_State *L)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    size_t n;
    const char *data = luaL_checklstring(L, 2, &n);
    if (!r->x && r->why == NEAP_ECLOSED) return np_fail(L, r->why, "the answer is complete");
    if (!r->x) return np_http_req_gone(L, r);
    if (!r->answered) return np_misuse(L, "write before start");
    if (np_waiting(&r->drain)) return np_misuse(L, "another task is writing this answer");
    if (r->coder && n > NP_HTTP_COMPRESS_WHOLE) return np_http_compress_write(L);
    enum neap_err err = np_http_req_put(r, data, n);
    if (err) return np_fail(L, err, NULL);
    if (np_http_writable(r->x)) return write_k(L, NEAP_OK, NULL);
    return np_wait(L, &r->drain, NP_NO_TIMEOUT, cancel_drain, write_k, NULL);
}

/* req:finish([trailers]): ends a streamed answer */
static int request_finish(lua_State *L)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    if (!r->x) return 0;
    if (!r->answered) return np_misuse(L, "finish before start");
    struct np_http_header trailers[NP_LUA_MAX_HEADERS];
    size_t n = np_read_headers(L, 2, trailers);
    np_http_req_keep(L, 1, r);
    struct np_http_exchange *x = r->x;
    if (!x) return 0;
    enum neap_err err = np_http_req_put_end(r);
    if (!err && n) err = np_http_finish_with(x, trailers, n);
    if (err == NEAP_EINVAL)
        return np_misuse(L, "the trailers have a field that may not stand there");
    if (!err && n)
        np_http_req_over(r, NEAP_ECLOSED);
    else
        np_http_req_detach(r, NEAP_ECLOSED);
    if (err)
        np_http_abort(x);
    else if (n == 0)
        np_http_finish(x);
    return 0;
}

void np_http_req_on_drain(struct np_http_exchange *x)
{
    struct np_http_req *r = x->user;
    if (r) np_wake(&r->drain, NEAP_OK);
}

/* --- the type */

static void add_fields(lua_State *L)
{
    static const struct {
        const char *name;
        enum field field;
    } fields[] = {{"method", METHOD},   {"target", TARGET},
                  {"path", PATH},       {"query_string", QUERY_STRING},
                  {"version", VERSION}, {"headers", HEADERS},
                  {"remote", REMOTE},   {"trailers", TRAILERS}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_pushinteger(L, fields[i].field);
        lua_setfield(L, -2, fields[i].name);
    }
}

void np_http_add_request(lua_State *L)
{
    static const luaL_Reg methods[] = {{"header", request_header},
                                       {"respond", request_respond},
                                       {"start", request_start},
                                       {"write", request_write},
                                       {"finish", request_finish},
                                       {"add_header", request_add_header},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__newindex", request_newindex}, {"__tostring", request_tostring}, {NULL, NULL}};
    np_type_new(L, REQUEST, NULL, meta);
    luaL_getmetatable(L, REQUEST);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &type_key);
    np_http_reqbody_open(L);

    lua_newtable(L); /* fields and methods */
    luaL_setfuncs(L, methods, 0);
    np_http_reqbody_methods(L);
    np_http_upgrade_methods(L);
    add_fields(L);
    lua_newtable(L); /* getters */
    lua_pushvalue(L, -2);
    lua_setfield(L, -4, "request_methods");
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, "request_getters");
    luaL_getmetatable(L, REQUEST);
    lua_insert(L, -3);
    lua_pushcclosure(L, request_index, 2);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
