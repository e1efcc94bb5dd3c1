/* Compression of answers; see bind_http_compress.h. The loop's thread. */
#include "script/bind_http_compress.h"

#include <string.h>
#include <strings.h>

#include "script/bind_http.h"
#include "script/bind_http_plan.h"
#include "script/luax.h"
#include "script/sandbox.h"

#define CODER "neap.http.coder"
#define EVENTS_SIZE                                                               \
    16384 /* as if so long: streams of events are many, and each holds an encoder \
           */

struct np_http_coder {
    struct np_encoder *e; /* NULL: dropped */
    struct np_http_req *r;
    struct np_loop *loop;
    struct np_buf out;
    struct np_defer later; /* flushes what was written in this turn */
    bool prompt;           /* flushes every piece */
    bool ended;
    bool broken;
};

/* --- what is compressed */

static bool type_fits(const char *pattern, struct np_bytes type)
{
    size_t n = strlen(pattern);
    if (strcmp(pattern, "*/*") == 0) return true;
    if (n > 1 && strcmp(pattern + n - 2, "/*") == 0)
        return type.n >= n && strncasecmp(type.p, pattern, n - 1) == 0;
    if (pattern[0] == '*' || pattern[0] == '+') {
        if (*pattern == '*') pattern++, n--;
        return type.n > n && strncasecmp(type.p + type.n - n, pattern, n) == 0;
    }
    return type.n == n && strncasecmp(type.p, pattern, n) == 0;
}

/* The type without its parameters. */
static struct np_bytes bare_type(struct np_bytes value)
{
    const char *end = value.n ? memchr(value.p, ';', value.n) : NULL;
    if (end) value.n = (size_t)(end - value.p);
    while (value.n && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t'))
        value.n--;
    return value;
}

static bool type_is_listed(const struct np_http_plan *plan, struct np_bytes value)
{
    struct np_bytes type = bare_type(value);
    if (!type.p || type.n == 0) return false;
    for (const char *t = plan->types; *t; t += strlen(t) + 1) {
        if (type_fits(t, type)) return true;
    }
    return false;
}

static struct np_http_header *find(const struct np_http_req_head *head, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < head->n; i++) {
        if (np_http_name_is(head->headers[i].name, name, n))
            return (struct np_http_header *)&head->headers[i];
    }
    return NULL;
}

static bool has_token(const struct np_http_req_head *head, const char *name, const char *token)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < head->n; i++) {
        if (np_http_name_is(head->headers[i].name, name, n) &&
            np_http_list_has(head->headers[i].value, token, strlen(token)))
            return true;
    }
    return false;
}

/* Whether the answer may be compressed, whoever gets it. `length` -1: not known. */
static bool eligible(const struct np_http_req *r, const struct np_http_req_head *head,
                     const char *content_type, int64_t length)
{
    int status = head->status;
    if (status == 204 || status == 206 || status == 304) return false;
    if (r->x->head.method == HTTP_CONNECT) return false;
    if (length >= 0 && (uint64_t)length < r->plan->min_bytes) return false;
    if (find(head, "content-encoding") || find(head, "content-range")) return false;
    if (has_token(head, "cache-control", "no-transform")) return false;
    const struct np_http_header *type = find(head, "content-type");
    struct np_bytes value = {content_type, content_type ? strlen(content_type) : 0};
    return type_is_listed(r->plan, type ? type->value : value);
}

static enum np_coding negotiate(const struct np_http_req *r)
{
    return np_coding_negotiate(&r->x->head, r->plan->offered, r->plan->noffered);
}

/* --- the head */

static void add(struct np_http_req_head *head, const char *name, const char *value)
{
    head->headers[head->n].name = (struct np_bytes){name, strlen(name)};
    head->headers[head->n].value = (struct np_bytes){value, strlen(value)};
    head->n++;
}

static void add_vary(struct np_http_req_head *head)
{
    if (!has_token(head, "vary", "accept-encoding") && !has_token(head, "vary", "*"))
        add(head, "Vary", "Accept-Encoding");
}

static bool is_strong(const struct np_http_header *etag)
{
    return etag && !(etag->value.n > 1 && etag->value.p[0] == 'W' && etag->value.p[1] == '/');
}

/* A strong tag that could not be weakened says something that is not so. */
static bool etag_fits(const struct np_http_req_head *head, const struct np_http_compressed *z)
{
    const struct np_http_header *etag = find(head, "etag");
    return !is_strong(etag) || etag->value.n + 2 <= sizeof z->etag;
}

/* The bytes are others than those that a strong tag stands for. */
static void mark_encoded(struct np_http_req_head *head, enum np_coding c,
                         struct np_http_compressed *z)
{
    struct np_http_header *etag = find(head, "etag");
    if (is_strong(etag)) {
        z->etag[0] = 'W';
        z->etag[1] = '/';
        memcpy(z->etag + 2, etag->value.p, etag->value.n);
        etag->value = (struct np_bytes){z->etag, etag->value.n + 2};
    }
    add(head, "Content-Encoding", np_coding_name(c));
    const struct np_http_header *ranges = find(head, "accept-ranges");
    if (ranges) *(struct np_http_header *)ranges = head->headers[--head->n]; /* none of these */
}

/* --- whole bodies */

static enum neap_err encode(const struct np_http_plan *plan, enum np_coding c, struct np_bytes body,
                            struct np_buf *out)
{
    struct np_encoder_options o = {.level = plan->levels[c], .size = body.n};
    struct np_encoder *e;
    enum neap_err err = np_encoder_new(c, &o, &e);
    if (err) return err;
    err = np_encoder_write(e, body.p, body.n, NP_CODING_FINISH, out);
    np_encoder_free(e);
    return err;
}

void np_http_compress_whole(struct np_http_req *r, struct np_http_req_head *head,
                            struct np_bytes *body, struct np_http_compressed *z)
{
    if (!eligible(r, head, NULL, (int64_t)body->n)) return;
    add_vary(head);
    enum np_coding c = negotiate(r);
    if (c == NP_CODING_IDENTITY || !etag_fits(head, z)) return;
    if (encode(r->plan, c, *body, &z->body) || np_buf_len(&z->body) >= body->n) return;
    mark_encoded(head, c, z);
    *body = (struct np_bytes){np_buf_data(&z->body), np_buf_len(&z->body)};
}

bool np_http_compress_in_pieces(const struct np_http_req *r, const struct np_http_req_head *head,
                                const char *content_type, size_t n)
{
    return r->plan && r->x && n > NP_HTTP_COMPRESS_WHOLE &&
           eligible(r, head, content_type, (int64_t)n) && negotiate(r) != NP_CODING_IDENTITY;
}

/* --- streamed bodies */

static int coder_gc(lua_State *L)
{
    struct np_http_coder *c = lua_touserdata(L, 1);
    np_defer_cancel(&c->later);
    np_encoder_free(c->e);
    c->e = NULL;
    np_buf_fini(&c->out);
    return 0;
}

/* Encodes and hands over what comes out. */
static enum neap_err put(struct np_http_coder *c, const char *p, size_t n, enum np_coding_op op)
{
    if (c->broken) return NEAP_ECLOSED;
    enum neap_err err = np_encoder_write(c->e, p, n, op, &c->out);
    if (!err && np_buf_len(&c->out) > 0)
        err = np_http_write(c->r->x, np_buf_data(&c->out), np_buf_len(&c->out));
    np_buf_clear(&c->out);
    if (err) c->broken = true;
    return err;
}

/* Who wrote may be waiting for something else now, and the client for what was written. */
static void on_later(struct np_defer *d)
{
    struct np_http_coder *c = np_container_of(d, struct np_http_coder, later);
    if (c->broken || c->ended || !np_encoder_dirty(c->e)) return;
    if (put(c, NULL, 0, NP_CODING_FLUSH)) c->broken = true; /* whoever writes next is told */
}

void np_http_compress_begin(lua_State *L, struct np_http_req *r, struct np_http_req_head *head,
                            int64_t *length, struct np_http_compressed *z)
{
    if (!eligible(r, head, NULL, *length)) return;
    add_vary(head);
    enum np_coding coding = negotiate(r);
    if (coding == NP_CODING_IDENTITY || !etag_fits(head, z)) return;
    const struct np_http_header *type = find(head, "content-type");
    bool prompt = np_http_name_is(bare_type(type->value), "text/event-stream", 17);
    struct np_encoder_options o = {.level = r->plan->levels[coding]};
    if (*length > 0) o.size = (uint64_t)*length;
    if (prompt) o.size = EVENTS_SIZE;
    if (r->x->head.method != HTTP_HEAD) {
        struct np_http_coder *c = lua_newuserdatauv(L, sizeof *c, 0);
        memset(c, 0, sizeof *c);
        c->r = r;
        c->loop = r->task->script->loop;
        c->prompt = prompt;
        np_defer_init(&c->later, on_later);
        luaL_setmetatable(L, CODER);
        if (np_encoder_new(coding, &o, &c->e)) luaL_error(L, "not enough memory");
        r->plan = NULL;
        r->coder = c;
        lua_setiuservalue(L, 1, NP_HTTP_REQ_CODING);
    }
    mark_encoded(head, coding, z);
    *length = -1;
}

enum neap_err np_http_req_put(struct np_http_req *r, const char *p, size_t n)
{
    struct np_http_coder *c = r->coder;
    if (!c) return np_http_write(r->x, p, n);
    enum neap_err err = put(c, p, n, c->prompt ? NP_CODING_FLUSH : NP_CODING_GO_ON);
    if (!err && np_encoder_dirty(c->e)) np_loop_defer(c->loop, &c->later);
    return err;
}

enum neap_err np_http_req_put_end(struct np_http_req *r)
{
    struct np_http_coder *c = r->coder;
    if (!c || c->ended) return NEAP_OK;
    np_defer_cancel(&c->later);
    c->ended = true;
    return put(c, NULL, 0, NP_CODING_FINISH);
}

void np_http_compress_drop(struct np_http_req *r)
{
    struct np_http_coder *c = r->coder;
    r->plan = NULL;
    r->coder = NULL;
    if (!c) return;
    np_defer_cancel(&c->later);
    np_encoder_free(c->e);
    c->e = NULL;
    np_buf_fini(&c->out);
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

int np_http_compress_respond(lua_State *L, const struct np_http_req_head *head,
                             const char *content_type)
{
    bool named = np_has_header(head->headers, head->n, "content-type");
    lua_settop(L, 4);
    lua_pushstring(L, named ? NULL : content_type);
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
    struct np_http_plan *plan = luaL_checkudata(L, 2, NP_HTTP_PLAN);
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
