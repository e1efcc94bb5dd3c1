/* neap.core.http.request, start and pool: making calls of the HTTP client; see bind_http_client.h.
 *
 * A state has one pool of connections, made at its first call, and those that its script makes.
 */
#include "script/bind_http_client.h"

#include <string.h>

#include "base/alloc.h"
#include "script/bind_http.h"
#include "script/bind_tls.h"
#include "script/sandbox.h"

#define POOL "neap.http.pool"
#define MAX_LENGTH 9007199254740992.0 /* the largest count that every double before it can tell */
#define DEFAULT_MAX_BODY ((size_t)64 * 1024 * 1024)

/* --- pools */

struct pool {
    struct np_at_close at_close;
    struct np_http_client *client; /* NULL when it is closed */
};

static void close_pool(struct pool *p)
{
    if (p->client) np_http_client_close(p->client);
    p->client = NULL;
}

static void state_closes(struct np_at_close *c)
{
    close_pool(np_container_of(c, struct pool, at_close));
}

/* The state's own. */
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
    if (!h || np_http_client_new(s->loop, NULL, &s->http)) {
        np_free(h);
        luaL_error(L, "not enough memory");
    }
    h->script = s;
    h->at_close.fn = close_client;
    np_link_init(&h->at_close.link);
    np_at_close_add(s, &h->at_close);
    return s->http;
}

struct np_http_client *np_lcall_client(lua_State *L)
{
    return client_of(L, np_script_of(L));
}

static const struct np_opt pool_spec[] = {
    {"max_connections", NP_OPT_SIZE, offsetof(struct np_http_client_options, max_per_origin), 0, 0},
    {"max_idle", NP_OPT_SIZE, offsetof(struct np_http_client_options, max_idle_per_origin), 0, 0},
    {"max_idle_total", NP_OPT_SIZE, offsetof(struct np_http_client_options, max_idle), 0, 0},
    {"max_waiting", NP_OPT_SIZE, offsetof(struct np_http_client_options, max_waiting), 0, 0},
    {"idle_timeout", NP_OPT_SECONDS, offsetof(struct np_http_client_options, idle_timeout), 0, 0},
    {"max_age", NP_OPT_SECONDS, offsetof(struct np_http_client_options, max_age), 0, 0},
    {"attempt_delay", NP_OPT_SECONDS, offsetof(struct np_http_client_options, attempt_delay), 0, 0},
    {"max_requests", NP_OPT_SIZE, offsetof(struct np_http_client_options, max_requests), 0, 0},
    {0}};

/* pool([opts]) → connections of one's own, with limits of their own */
static int http_pool(lua_State *L)
{
    struct np_script *script = np_script_of(L);
    struct np_http_client_options o;
    np_http_client_options_init(&o);
    lua_settop(L, 1);
    np_opts_read(L, 1, "opts.pool", pool_spec, &o);
    if (script->closing) return luaL_error(L, "the host is closing");
    struct pool *p = lua_newuserdatauv(L, sizeof *p, 0);
    *p = (struct pool){.at_close.fn = state_closes};
    np_link_init(&p->at_close.link);
    luaL_setmetatable(L, POOL);
    if (np_http_client_new(script->loop, &o, &p->client)) return luaL_error(L, "not enough memory");
    np_at_close_add(script, &p->at_close);
    return 1;
}

static int pool_gc(lua_State *L)
{
    struct pool *p = luaL_checkudata(L, 1, POOL);
    np_list_remove(&p->at_close.link);
    close_pool(p);
    return 0;
}

/* pool:close(): its calls end with ECLOSED. Idempotent. */
static int pool_close(lua_State *L)
{
    close_pool(luaL_checkudata(L, 1, POOL));
    return 0;
}

static int push_stats(lua_State *L, const struct np_http_client *c)
{
    struct np_http_client_stats s = {0};
    if (c) np_http_client_get_stats(c, &s);
    lua_createtable(L, 0, 8);
    np_set_count(L, "open", s.open);
    np_set_count(L, "idle", s.idle);
    np_set_count(L, "waiting", s.waiting);
    np_set_count(L, "origins", s.origins);
    np_set_count(L, "calls", s.calls);
    np_set_count(L, "reused", s.reused);
    np_set_count(L, "retried", s.retried);
    np_set_count(L, "connects", s.connects);
    return 1;
}

/* pool:stats(), client_stats() → {open=, idle=, waiting=, origins=, calls=, reused=, retried=,
 * connects=}; the second of the state's own */
static int pool_stats(lua_State *L)
{
    const struct pool *p = luaL_checkudata(L, 1, POOL);
    return push_stats(L, p->client);
}

static int http_client_stats(lua_State *L)
{
    return push_stats(L, np_script_of(L)->http);
}

/* --- options of a call */

struct call_options {
    struct np_http_request r;
    struct np_http_proxy proxy;
    size_t max_body;
    bool stream;
    bool stream_body;
    bool interim;
    double content_length;
    double wait, dns, connect, handshake; /* seconds; 0: the pool's option, negative: none */
};

#define AT(field) offsetof(struct call_options, field)
/* Those that most calls have come first. */
static const struct np_opt call_spec[] = {
    {"method", NP_OPT_STRING, AT(r.method), 0, 0},
    {"target", NP_OPT_STRING, AT(r.target), 0, 0},
    {"headers", NP_OPT_TABLE, 0, 0, 0},
    {"host", NP_OPT_STRING, AT(r.host), 0, 0},
    {"port", NP_OPT_INT, AT(r.port), 1, 65535},
    {"timeout", NP_OPT_SECONDS, AT(r.timeout), 0, 0},
    {"decompress", NP_OPT_BOOL, AT(r.decode), 0, 0},
    {"body", NP_OPT_ANY, 0, 0, 0},
    {"tls", NP_OPT_ANY, 0, 0, 0},
    {"pool", NP_OPT_ANY, 0, 0, 0},
    {"unix", NP_OPT_STRING, AT(r.unix_path), 0, 0},
    {"tls_name", NP_OPT_STRING, AT(r.tls_name), 0, 0},
    {"proxy", NP_OPT_TABLE, 0, 0, 0},
    {"idempotent", NP_OPT_INT, AT(r.idempotent), -1, 1},
    {"expect_continue", NP_OPT_SECONDS, AT(r.expect_continue), 0, 0},
    {"wait_timeout", NP_OPT_NUMBER, AT(wait), -1, 1e9},
    {"dns_timeout", NP_OPT_NUMBER, AT(dns), -1, 1e9},
    {"connect_timeout", NP_OPT_NUMBER, AT(connect), -1, 1e9},
    {"tls_timeout", NP_OPT_NUMBER, AT(handshake), -1, 1e9},
    {"first_byte_timeout", NP_OPT_SECONDS, AT(r.first_byte_timeout), 0, 0},
    {"idle_timeout", NP_OPT_SECONDS, AT(r.idle_timeout), 0, 0},
    {"max_header_bytes", NP_OPT_SIZE, AT(r.max_head), 0, 0},
    {"max_body", NP_OPT_SIZE, AT(max_body), 0, 0},
    {"stream", NP_OPT_BOOL, AT(stream), 0, 0},
    {"stream_body", NP_OPT_BOOL, AT(stream_body), 0, 0},
    {"interim", NP_OPT_BOOL, AT(interim), 0, 0},
    {"content_length", NP_OPT_NUMBER, AT(content_length), 0, MAX_LENGTH},
    {0}};

static const struct np_opt proxy_spec[] = {
    {"host", NP_OPT_STRING, offsetof(struct np_http_proxy, host), 0, 0},
    {"port", NP_OPT_INT, offsetof(struct np_http_proxy, port), 1, 65535},
    {"authorization", NP_OPT_STRING, offsetof(struct np_http_proxy, authorization), 0, 0},
    {"tls", NP_OPT_ANY, 0, 0, 0},
    {0}};

/* Of a span in seconds: 0, the pool's option; negative, none. */
static int64_t span_of(double seconds)
{
    return seconds < 0 ? -1 : np_seconds(seconds);
}

static void read_body(lua_State *L, struct call_options *o)
{
    int type = lua_getfield(L, 1, "body"); /* stays on the stack, as does the option table */
    if (type == LUA_TSTRING) {
        o->r.body = lua_tolstring(L, -1, &o->r.body_len);
    } else if (type != LUA_TNIL) {
        np_misuse(L, "opts.body: expected string or function, got %s", luaL_typename(L, -1));
    }
}

/* What holds the contexts stays on the stack. */
static enum neap_err read_way(lua_State *L, struct call_options *o, struct neap_errinfo *info)
{
    enum neap_err err = NEAP_OK;
    if (lua_getfield(L, 1, "tls") != LUA_TNIL)
        err = np_ltls_option(L, -1, "opts.tls", NP_LTLS_CLIENT, &o->r.tls, info);
    if (err || lua_getfield(L, 1, "proxy") == LUA_TNIL) return err;
    int idx = lua_gettop(L);
    np_opts_read(L, idx, "opts.proxy", proxy_spec, &o->proxy);
    if (!o->proxy.host) np_misuse(L, "opts.proxy.host: expected string, got nil");
    o->r.proxy = &o->proxy;
    if (lua_getfield(L, idx, "tls") == LUA_TNIL) return NEAP_OK;
    return np_ltls_option(L, -1, "opts.proxy.tls", NP_LTLS_CLIENT, &o->proxy.tls, info);
}

static enum neap_err read_options(lua_State *L, struct call_options *o,
                                  struct np_http_header *headers, struct neap_errinfo *info)
{
    *o = (struct call_options){.max_body = DEFAULT_MAX_BODY, .content_length = -1};
    o->r.method = "GET";
    o->r.target = "/";
    luaL_checktype(L, 1, LUA_TTABLE);
    np_opts_read(L, 1, "opts", call_spec, o);
    o->r.wait_timeout = span_of(o->wait);
    o->r.dns_timeout = span_of(o->dns);
    o->r.connect_timeout = span_of(o->connect);
    o->r.tls_timeout = span_of(o->handshake);
    enum neap_err err = read_way(L, o, info);
    if (err) return err;
    if (!o->r.port) o->r.port = o->r.tls ? 443 : 80;
    read_body(L, o);
    lua_getfield(L, 1, "headers");
    o->r.nheaders = np_read_headers(L, -1, headers);
    o->r.headers = headers;
    o->r.stream_body = o->stream_body;
    o->r.content_length = o->stream_body ? (int64_t)o->content_length : -1;
    if (o->r.decode && !o->stream && o->max_body) o->r.max_decoded = o->max_body;
    return NEAP_OK;
}

/* --- starting a call */

static struct np_http_client *pool_of(lua_State *L, struct neap_errinfo *info)
{
    if (lua_getfield(L, 1, "pool") == LUA_TNIL) return client_of(L, np_script_of(L));
    const struct pool *p = luaL_testudata(L, -1, POOL);
    if (!p) np_misuse(L, "opts.pool: expected a pool, got %s", luaL_typename(L, -1));
    if (!p->client) np_err_set(info, NEAP_ECLOSED, "the client was closed");
    return p->client;
}

/* The options are read, and say what the headers are; pushes the call's userdata, which holds the
 * pool. */
static enum neap_err start(lua_State *L, const struct call_options *o, struct np_lcall **out,
                           struct neap_errinfo *info)
{
    struct np_http_client *client = pool_of(L, info);
    if (!client) return info->code;
    struct np_lcall *lc = np_lcall_new(L);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
    lc->collect = !o->stream;
    lc->wants_interim = o->interim;
    lc->max_body = o->max_body ? o->max_body : SIZE_MAX;
    struct np_http_call *call;
    enum neap_err err = np_http_client_call(client, &o->r, &np_lcall_handler, lc, &call, info);
    if (err) return err;
    lc->call = call;
    *out = lc;
    return NEAP_OK;
}

/* Makes and starts the call; its userdata replaces the stack's contents at 1. */
static enum neap_err begin(lua_State *L, struct np_lcall **out, struct neap_errinfo *info)
{
    struct np_http_header headers[NP_LUA_MAX_HEADERS];
    struct call_options o;
    lua_settop(L, 1);
    enum neap_err err = read_options(L, &o, headers, info);
    if (err) return err;
    if (!o.r.host && !o.r.unix_path) np_misuse(L, "opts.host: expected string, got nil");
    err = start(L, &o, out, info);
    if (err) return err;
    lua_replace(L, 1);
    lua_settop(L, 1);
    return NEAP_OK;
}

enum neap_err np_lcall_way(lua_State *L, struct np_http_request *r, struct np_http_proxy *proxy,
                           struct np_http_client **client, struct neap_errinfo *info)
{
    struct np_http_header headers[NP_LUA_MAX_HEADERS];
    struct call_options o;
    if (lua_isnil(L, 1)) {
        *client = client_of(L, np_script_of(L));
        return NEAP_OK;
    }
    enum neap_err err = read_options(L, &o, headers, info);
    if (err) return err;
    *client = pool_of(L, info);
    if (!*client) return info->code;
    *r = o.r;
    *proxy = o.proxy;
    if (r->proxy) r->proxy = proxy;
    r->headers = NULL;
    r->nheaders = 0;
    r->body = NULL;
    r->body_len = 0;
    r->decode = false;
    return NEAP_OK;
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
    struct np_lcall *lc;
    struct neap_errinfo info;
    if (begin(L, &lc, &info)) return np_fail_info(L, &info);
    return np_lcall_await(L, lc);
}

/* start(opts) → call | nil, err: for bodies that are streamed both ways */
static int http_start(lua_State *L)
{
    struct np_lcall *lc;
    struct neap_errinfo info;
    if (begin(L, &lc, &info)) return np_fail_info(L, &info);
    return 1;
}

void np_http_add_client(lua_State *L)
{
    static const luaL_Reg methods[] = {{"close", pool_close}, {"stats", pool_stats}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", pool_gc}, {"__close", pool_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"request", http_request},
                                         {"start", http_start},
                                         {"pool", http_pool},
                                         {"client_stats", http_client_stats},
                                         {NULL, NULL}};
    np_ltls_open(L);
    np_type_new(L, POOL, methods, meta);
    luaL_setfuncs(L, functions, 0);
    np_lcall_open(L);
}
