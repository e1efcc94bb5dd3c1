/* req:body, req:read, req:chunks. The bytes that came and were not read yet stand in a buffer of
 * the body's own userdata (which alone needs a finaliser, so that a request without a body costs
 * none).
 */
#include "script/bind_http_reqbody.h"

#include <string.h>

#include "base/buf.h"
#include "script/luax.h"

#define BODY_TYPE "neap.http.body"
#define BODY_VALUE 2               /* the request's user value */
#define HIGH_WATER ((size_t)65536) /* unread bytes at which the client is held back */

struct np_http_reqbody {
    struct np_buf buf;
    struct np_wait wait;
    bool ended;
    bool stopped;                  /* body_stop was called */
    bool collected;                /* all of it is the body userdata's user value */
    bool collecting;               /* somebody wants all of it: no holding back */
    bool asked;                    /* body_start was called, or there is nothing to start */
    bool input_ended;              /* no more comes to be decoded */
    struct np_http_unpack *unpack; /* decodes what comes; NULL: nothing does */
    enum neap_err err;             /* why it ended, if not well */
    const char *why;               /* … in words of the decoder's, or NULL */
    size_t max;                    /* of what is collected; 0: the server's limit alone */
};

static int body_gc(lua_State *L)
{
    struct np_http_reqbody *b = lua_touserdata(L, 1);
    np_buf_fini(&b->buf);
    np_http_unpack_free(b->unpack);
    b->unpack = NULL;
    return 0;
}

struct np_http_reqbody *np_http_reqbody_new(lua_State *L, int idx, struct np_http_req *r)
{
    idx = lua_absindex(L, idx);
    struct np_http_reqbody *b = lua_newuserdatauv(L, sizeof *b, 1);
    memset(b, 0, sizeof *b);
    luaL_setmetatable(L, BODY_TYPE);
    lua_setiuservalue(L, idx, BODY_VALUE);
    r->body = b;
    return b;
}

void np_http_reqbody_unpack(struct np_http_reqbody *b, struct np_http_unpack *u)
{
    b->unpack = u;
}

/* Decodes what is wanted of what has come; ends the body when that was the last of it. */
static void unpack_more(struct np_http_reqbody *b)
{
    size_t upto = HIGH_WATER;
    if (!b->unpack || b->ended) return;
    if (b->collecting) upto = b->max ? b->max + 1 : SIZE_MAX;
    enum neap_err err = np_http_unpack_some(b->unpack, upto, &b->buf);
    if (!err && b->max && np_buf_len(&b->buf) > b->max) err = NEAP_ELIMIT;
    bool last = !err && b->input_ended && np_http_unpack_dry(b->unpack);
    if (last) err = np_http_unpack_finish(b->unpack);
    if (!err && !last) return;
    if (err == NEAP_EPROTO) b->why = np_http_unpack_why(b->unpack);
    np_http_reqbody_end(b, err);
}

static void end_of_input(struct np_http_reqbody *b, enum neap_err err)
{
    b->input_ended = true;
    if (b->unpack && !err)
        unpack_more(b);
    else
        np_http_reqbody_end(b, err);
}

/* The body of the request at 1; asks the exchange for it the first time. NULL when that is gone. */
static struct np_http_reqbody *open_body(lua_State *L)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    struct np_http_reqbody *b = r->body;
    if (b && b->asked) return b;
    if (!r->x) return NULL;
    if (!b) b = np_http_reqbody_new(L, 1, r);
    b->asked = true;
    if (!r->x || r->x->body_complete) {
        end_of_input(b, NEAP_OK);
    } else {
        np_http_body_start(r->x);
    }
    return b;
}

void np_http_reqbody_end(struct np_http_reqbody *b, enum neap_err why)
{
    if (b->ended) return;
    b->ended = true;
    b->err = why;
    np_http_unpack_free(b->unpack);
    b->unpack = NULL;
    np_wake(&b->wait, NEAP_OK);
}

static void hold_back(struct np_http_exchange *x, struct np_http_reqbody *b)
{
    if (b->collecting || np_buf_len(&b->buf) < HIGH_WATER) return;
    b->stopped = true;
    np_http_body_stop(x);
}

static enum neap_err take(struct np_http_reqbody *b, const char *data, size_t n)
{
    if (b->unpack) return np_http_unpack_feed(b->unpack, data, n);
    if (b->max && np_buf_len(&b->buf) + n > b->max) return NEAP_ELIMIT;
    return np_buf_append(&b->buf, data, n);
}

void np_http_req_on_body(struct np_http_exchange *x, const char *data, size_t n)
{
    struct np_http_req *r = x->user;
    struct np_http_reqbody *b = r ? r->body : NULL;
    if (!b || b->ended) return;
    enum neap_err err = take(b, data, n);
    if (err) {
        np_http_reqbody_end(b, err);
        return;
    }
    unpack_more(b);
    if (b->ended) return;
    hold_back(x, b);
    if (!b->collecting && np_buf_len(&b->buf) > 0) np_wake(&b->wait, NEAP_OK);
}

void np_http_req_on_body_end(struct np_http_exchange *x, enum neap_err err)
{
    struct np_http_req *r = x->user;
    if (!r || !r->body) return;
    struct np_sched *s = &r->task->script->sched;
    end_of_input(r->body, err);
    if (!r->body->collecting) np_wake(&r->body->wait, NEAP_OK);
    np_sched_run(s); /* so that the answer leaves with the others of this read */
}

int np_http_reqbody_status(const struct np_http_reqbody *b, enum neap_err err)
{
    if (!b || !b->ended || !err || b->err != err) return 0;
    switch (err) {
    case NEAP_ELIMIT:
        return 413;
    case NEAP_ETIMEDOUT:
        return 408;
    case NEAP_EPROTO:
        return 400;
    default:
        return 0;
    }
}

static const char *why_not(const struct np_http_reqbody *b)
{
    if (b->why) return b->why;
    switch (b->err) {
    case NEAP_ELIMIT:
        return "the body is larger than allowed";
    case NEAP_ETIMEDOUT:
        return "the body did not come in time";
    case NEAP_ECONNRESET:
        return "the client has left";
    default:
        return neap_err_text(b->err);
    }
}

/* What was held back may come. */
static void let_come(struct np_http_req *r, struct np_http_reqbody *b)
{
    if (!b->stopped || !r->x) return;
    b->stopped = false;
    np_http_body_start(r->x);
}

static int push_all(lua_State *L, struct np_http_req *r, struct np_http_reqbody *b)
{
    lua_pushlstring(L, np_buf_data(&b->buf), np_buf_len(&b->buf));
    np_buf_clear(&b->buf);
    if (!b->unpack || np_http_unpack_dry(b->unpack)) let_come(r, b);
    return 1;
}

/* --- req:read() → the next piece | nil at the end | nil, err */

static int read_k(lua_State *L, enum neap_err err, void *ctx)
{
    (void)err;
    struct np_http_req *r = ctx;
    struct np_http_reqbody *b = r->body;
    if (np_buf_len(&b->buf) > 0) return push_all(L, r, b);
    if (b->err) return np_fail(L, b->err, "%s", why_not(b));
    lua_pushnil(L);
    return 1;
}

static void cancel_read(struct np_wait *w)
{
    (void)w;
}

static int read_with(lua_State *L, np_wait_fn k)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    struct np_http_reqbody *b = open_body(L);
    if (!b) return np_http_req_gone(L, r);
    if (np_waiting(&b->wait)) return np_misuse(L, "another task is reading this body");
    b->collecting = false; /* as a req:body() that was cancelled left it */
    b->max = 0;
    if (np_buf_len(&b->buf) == 0) unpack_more(b);
    if (np_buf_len(&b->buf) > 0 || b->ended) return k(L, NEAP_OK, r);
    let_come(r, b);
    return np_wait(L, &b->wait, NP_NO_TIMEOUT, cancel_read, k, r);
}

static int request_read(lua_State *L)
{
    return read_with(L, read_k);
}

/* A loop cannot see an error that ends it. */
static int chunk_k(lua_State *L, enum neap_err err, void *ctx)
{
    return read_k(L, err, ctx) == 1 ? 1 : lua_error(L);
}

static int chunks_next(lua_State *L)
{
    return read_with(L, chunk_k);
}

/* for piece in req:chunks() do … end; raises when the body breaks off */
static int request_chunks(lua_State *L)
{
    np_http_req_check(L, 1);
    lua_pushcfunction(L, chunks_next);
    lua_pushvalue(L, 1);
    return 2;
}

/* --- req:body([max]) → string | nil, err: what is left of it; asked again, the same string */

static int body_k(lua_State *L, enum neap_err err, void *ctx)
{
    (void)err;
    struct np_http_req *r = ctx;
    struct np_http_reqbody *b = r->body;
    b->collecting = false;
    if (b->err) return np_fail(L, b->err, "%s", why_not(b));
    push_all(L, r, b);
    lua_getiuservalue(L, 1, BODY_VALUE);
    lua_pushvalue(L, -2);
    lua_setiuservalue(L, -2, 1);
    lua_pop(L, 1);
    b->collected = true;
    return 1;
}

static int request_body(lua_State *L)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    lua_Integer max = luaL_optinteger(L, 2, 0);
    luaL_argcheck(L, max >= 0, 2, "must not be negative");
    struct np_http_reqbody *b = open_body(L);
    if (!b) return np_http_req_gone(L, r);
    if (b->collected) {
        lua_getiuservalue(L, 1, BODY_VALUE);
        lua_getiuservalue(L, -1, 1);
        return 1;
    }
    if (np_waiting(&b->wait)) return np_misuse(L, "another task is reading this body");
    b->max = (size_t)max;
    if (b->max && np_buf_len(&b->buf) > b->max) np_http_reqbody_end(b, NEAP_ELIMIT);
    b->collecting = true;
    unpack_more(b);
    if (b->ended) return body_k(L, NEAP_OK, r);
    let_come(r, b);
    return np_wait(L, &b->wait, NP_NO_TIMEOUT, cancel_read, body_k, r);
}

void np_http_reqbody_open(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", body_gc}, {NULL, NULL}};
    np_type_new(L, BODY_TYPE, NULL, meta);
}

void np_http_reqbody_methods(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"body", request_body}, {"read", request_read}, {"chunks", request_chunks}, {NULL, NULL}};
    luaL_setfuncs(L, methods, 0);
}
