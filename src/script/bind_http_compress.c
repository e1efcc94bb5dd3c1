/* Compression of answers as scripts have it; see bind_http_compress.h. The loop's thread. */
#include "script/bind_http_compress.h"

#include "script/bind_http.h"
#include "script/bind_http_plan.h"
#include "script/luax.h"
#include "script/sandbox.h"

#define CODER "neap.http.coder"

/* The userdata is a pointer to the coder, NULL when that is gone. */
static int coder_gc(lua_State *L)
{
    struct np_http_coder **c = lua_touserdata(L, 1);
    np_http_coder_free(*c);
    *c = NULL;
    return 0;
}

static struct np_http_compress_head head_of(struct np_http_req_head *head)
{
    return (struct np_http_compress_head){head->status, head->headers, head->n, NULL, ""};
}

enum neap_err np_http_req_send(struct np_http_req *r, struct np_http_req_head *head,
                               struct np_bytes body)
{
    if (!r->plan || !body.p)
        return np_http_respond(r->x, head->status, head->headers, head->n, body.p, body.n);
    struct np_http_compress_head h = head_of(head);
    struct np_buf small = {0};
    np_http_compress_whole(r->plan, r->x, &h, &body, &small);
    enum neap_err err = np_http_respond(r->x, h.status, h.headers, h.n, body.p, body.n);
    np_buf_fini(&small);
    return err;
}

enum neap_err np_http_req_begin(lua_State *L, struct np_http_req *r, struct np_http_req_head *head,
                                int64_t length)
{
    if (!r->plan) return np_http_start(r->x, head->status, head->headers, head->n, length);
    struct np_http_coder **c = lua_newuserdatauv(L, sizeof(struct np_http_coder *), 0);
    *c = NULL;
    luaL_setmetatable(L, CODER);
    if (!r->x) return NEAP_ECLOSED; /* by a finaliser, meanwhile */
    struct np_http_compress_head h = head_of(head);
    enum neap_err err = np_http_coder_new(r->plan, r->x, &h, &length, c);
    if (!err) err = np_http_start(r->x, h.status, h.headers, h.n, length);
    if (err) return err;
    r->plan = NULL;
    if (*c) r->coder = c;
    lua_setiuservalue(L, 1, NP_HTTP_REQ_CODING);
    return NEAP_OK;
}

enum neap_err np_http_req_put(struct np_http_req *r, const char *p, size_t n)
{
    return r->coder ? np_http_coder_write(*r->coder, p, n) : np_http_write(r->x, p, n);
}

enum neap_err np_http_req_put_end(struct np_http_req *r)
{
    return r->coder ? np_http_coder_end(*r->coder) : NEAP_OK;
}

void np_http_req_disarm(struct np_http_req *r)
{
    r->plan = NULL;
    if (!r->coder) return;
    np_http_coder_free(*r->coder);
    *r->coder = NULL;
    r->coder = NULL;
}

bool np_http_compress_in_pieces(const struct np_http_req *r, struct np_http_req_head *head,
                                const char *type, size_t n)
{
    if (!r->plan || !r->x || n <= NP_HTTP_COMPRESS_WHOLE) return false;
    struct np_http_compress_head h = head_of(head);
    h.type = type;
    return np_http_compress_choice(r->plan, r->x, &h, (int64_t)n) != NP_CODING_IDENTITY;
}

/* --- what is long */

static int in_pieces_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return lua_toboolean(L, -2) ? (lua_pop(L, 1), 1) : 2;
}

/* Hands the arguments at 1 to `n` to a function of neap.http.answer, written where loops wait. */
static int in_pieces(lua_State *L, const char *name, int n)
{
    lua_settop(L, n);
    np_sandbox_push_require(L);
    lua_pushliteral(L, "neap.http.answer");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, name);
    lua_replace(L, -2);
    for (int i = 1; i <= n; i++)
        lua_pushvalue(L, i);
    lua_callk(L, n, 2, 0, in_pieces_k);
    return in_pieces_k(L, LUA_OK, 0);
}

int np_http_compress_respond(lua_State *L, const struct np_http_req_head *head, const char *type)
{
    bool named = np_has_header(head->headers, head->n, "content-type");
    lua_settop(L, 4);
    lua_pushstring(L, named ? NULL : type);
    return in_pieces(L, "respond_pieces", 5);
}

int np_http_compress_write(lua_State *L)
{
    return in_pieces(L, "write_pieces", 2);
}

/* --- arming */

/* compress(req, plan): its answer, if it is not begun, goes by the plan */
static int http_compress(lua_State *L)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    const struct np_http_plan *plan = luaL_checkudata(L, 2, NP_HTTP_PLAN);
    if (!r->x || r->answered) return 0;
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, NP_HTTP_REQ_CODING);
    r->plan = plan;
    return 0;
}

void np_http_add_compress(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", coder_gc}, {NULL, NULL}};
    np_type_new(L, CODER, NULL, meta);
    np_http_add_compression(L);
    lua_pushcfunction(L, http_compress);
    lua_setfield(L, -2, "compress");
}
