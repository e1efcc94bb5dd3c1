/* neap.core.http.gate: see bind_http_gate.h. The worker's thread. */
#include "script/bind_http_gate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cidr.h"
#include "http/asker.h"
#include "mesh/admission.h"
#include "script/bind_concurrency.h"
#include "script/bind_http_deadline.h"
#include "script/bind_http_request.h"
#include "script/bind_limiter.h"
#include "script/luax.h"
#include "script/rules.h"

#define GATE "neap.http.gate"
#define MAX_HEADER 128
#define PRIORITY_HEADER "x-neap-priority"
#define MAX_RETRY_AFTER 86400
#define KEY_MAX 512 /* bytes of a header that are a key */

enum key_kind { KEY_NONE, KEY_ADDRESS, KEY_HEADER };

struct np_http_gate {
    size_t refs;
    struct np_common *limiter, *admission, *concurrency; /* NULL: there is none */
    bool by_script;                                      /* lua/neap/http/gate.lua works it */
    enum key_kind key;
    char key_header[MAX_HEADER], priority_header[MAX_HEADER];
    struct np_rng rng;
};

/* --- deciding */

struct verdict {
    int status; /* 0: let in */
    int64_t retry_after_ns;
    struct np_limit limit;
    bool limited; /* `limit` is filled in */
};

/* The key of an address, with or without a port: an IPv4 address, or the /64 of an IPv6 one, as
 * whoever has one address of it has them all; else (a unix socket's) the text itself. */
static const char *network_of(const char *text, char room[8], size_t *n)
{
    struct np_ip ip;
    *n = strlen(text);
    if (np_ip_parse_host(text, *n, &ip, NULL) != NEAP_OK) return text;
    *n = ip.family == 4 ? 4 : 8;
    memcpy(room, ip.bytes, *n);
    return room;
}

/* NULL: one for all. */
static const char *key_of(const struct np_http_gate *g, struct np_http_exchange *x, char room[8],
                          size_t *n)
{
    struct np_http_asker asker;
    if (g->key == KEY_HEADER) {
        struct np_bytes v = np_http_header_get(&x->head, g->key_header, strlen(g->key_header));
        *n = v.n < KEY_MAX ? v.n : KEY_MAX;
        return v.p ? v.p : "";
    }
    if (g->key == KEY_NONE) return NULL;
    if (!np_http_trusts_anybody(x)) return network_of(np_http_exchange_peer_name(x), room, n);
    np_http_exchange_asker(x, &asker);
    const char *key = network_of(asker.client, room, n);
    return key == room ? key : "";
}

static enum np_priority priority_of(const struct np_http_gate *g, struct np_http_exchange *x)
{
    enum np_priority p = NP_PRIORITY_NORMAL;
    struct np_bytes v =
        np_http_header_get(&x->head, g->priority_header, strlen(g->priority_header));
    if (v.p) (void)np_priority_parse(v.p, v.n, &p);
    return p;
}

/* `key` NULL: one for all. Sets x->admitted if its end is to be heard of. */
static void decide(struct np_http_gate *g, struct np_http_exchange *x, const char *key, size_t n,
                   double cost, enum np_priority p, struct verdict *v)
{
    int64_t now = np_loop_hrtime();
    *v = (struct verdict){.status = 0};
    if (g->limiter && cost > 0) {
        /* without memory for the table of keys nobody is limited */
        v->limited = np_shared_limiter_check(g->limiter->object, key, n, cost, now, &v->limit) == 0;
        if (v->limited && !v->limit.allowed) {
            v->status = 429;
            v->retry_after_ns = v->limit.wait_ns;
            return;
        }
    }
    if (g->admission && !np_admission_enter(g->admission->object, p, np_rng_unit(&g->rng), now)) {
        v->status = 503;
        return;
    }
    if (g->concurrency && !np_concurrency_enter(g->concurrency->object, p, now)) {
        v->status = 503;
        return;
    }
    if (g->admission || g->concurrency) x->admitted = now;
}

static int seconds_of(int64_t ns)
{
    double s = ceil(np_to_seconds(ns));
    return s < 1 ? 1 : s > MAX_RETRY_AFTER ? MAX_RETRY_AFTER : (int)s;
}

static void refuse(struct np_http_exchange *x, const struct verdict *v)
{
    static const char many[] = "{\"error\":\"too many requests\"}";
    static const char busy[] = "{\"error\":\"overloaded\"}";
    char seconds[16];
    int n = snprintf(seconds, sizeof seconds, "%d", seconds_of(v->retry_after_ns));
    const struct np_http_header headers[] = {
        {{"Content-Type", 12}, {"application/json", 16}},
        {{"Retry-After", 11}, {seconds, (size_t)n}},
    };
    const char *body = v->status == 429 ? many : busy;
    size_t nheaders = v->retry_after_ns == NP_TIME_NEVER ? 1 : 2;
    if (np_http_respond(x, v->status, headers, nheaders, body, strlen(body))) np_http_abort(x);
}

bool np_http_gate_admit(struct np_http_gate *g, struct np_http_exchange *x)
{
    char room[8];
    struct verdict v;
    size_t n = 0;
    if (g->by_script) return true;
    const char *key = g->limiter ? key_of(g, x, room, &n) : NULL;
    enum np_priority p = g->concurrency || g->admission ? priority_of(g, x) : NP_PRIORITY_NORMAL;
    decide(g, x, key, n, 1, p, &v);
    if (v.status == 0) return true;
    refuse(x, &v);
    return false;
}

void np_http_gate_leave(struct np_http_gate *g, struct np_http_exchange *x, int status,
                        bool aborted)
{
    int64_t now = np_loop_hrtime();
    struct np_result r = {.latency_ns = x->answered ? x->answered - x->admitted : -1};
    bool silent = status == 0 || status == 101 || (aborted && !x->answered);
    /* A client that gives too little time says nothing of this server. */
    if (status == 504 && np_http_deadline_read(&x->head) >= 0) silent = true;
    if (silent) {
        r.outcome = NP_OUTCOME_CANCELED;
    } else if (status == 503 || status == 504) {
        r.outcome = NP_OUTCOME_FAILED;
        r.fault = NP_FAULT_OVERLOAD;
    } else if (status >= 500) {
        r.outcome = NP_OUTCOME_FAILED;
        r.fault = NP_FAULT_SERVER;
    }
    if (g->concurrency) np_concurrency_leave(g->concurrency->object, &r, now);
    if (g->admission && !silent) np_admission_leave(g->admission->object, status < 500, now);
}

/* --- life */

void np_http_gate_unref(struct np_http_gate *g)
{
    if (!g || --g->refs > 0) return;
    np_common_unref(g->limiter);
    np_common_unref(g->admission);
    np_common_unref(g->concurrency);
    np_free(g);
}

static struct np_http_gate *check_gate(lua_State *L, int idx)
{
    struct np_http_gate *g = *(struct np_http_gate **)luaL_checkudata(L, idx, GATE);
    if (!g) np_misuse(L, "this gate is closed");
    return g;
}

struct np_http_gate *np_http_gate_read(lua_State *L, int idx)
{
    struct np_http_gate *g = NULL;
    if (lua_getfield(L, idx, "gate") != LUA_TNIL) {
        g = check_gate(L, -1);
        g->refs++;
    }
    lua_pop(L, 1);
    return g;
}

static int gate_gc(lua_State *L)
{
    struct np_http_gate **handle = luaL_checkudata(L, 1, GATE), *g = *handle;
    *handle = NULL;
    np_http_gate_unref(g);
    return 0;
}

/* --- options */

static void copy_header(lua_State *L, const char *path, const char *value, char *out)
{
    size_t n = strlen(value);
    if (n == 0 || n >= MAX_HEADER || !np_http_is_token(value, n))
        np_misuse(L, "%s: no name of a header", path);
    for (size_t i = 0; i <= n; i++)
        out[i] = value[i] >= 'A' && value[i] <= 'Z' ? (char)(value[i] + 32) : value[i];
}

/* The options of one rule, in the table at `idx`: what stands in its field `name`. True: it is on,
 * and a table with its options is on top. */
static bool push_rule(lua_State *L, int idx, const char *name)
{
    int type = lua_getfield(L, idx, name);
    if (type == LUA_TBOOLEAN && lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
        return true;
    }
    if (type == LUA_TTABLE) return true;
    if (type != LUA_TNIL && type != LUA_TBOOLEAN)
        np_misuse(L, "opts.%s: expected table or boolean, got %s", name, luaL_typename(L, -1));
    lua_pop(L, 1);
    return false;
}

/* Its own name, or the server's. */
static enum neap_err join(lua_State *L, const struct np_common_kind *kind, const char *own,
                          const void *opts, size_t size, struct np_common **out,
                          struct neap_errinfo *info)
{
    const char *name = own ? own : lua_tostring(L, 2);
    return np_script_rule(np_script_of(L), kind, name, opts, size, out, info);
}

static enum neap_err read_limiter(lua_State *L, struct np_http_gate *g, struct neap_errinfo *info)
{
    static const char *const more[] = {"key", "headers", "cost", NULL};
    struct np_llimiter_options o;
    if (!push_rule(L, 1, "rate_limit")) return NEAP_OK;
    int at = lua_gettop(L);
    np_llimiter_read(L, at, "opts.rate_limit", more, &o);
    int type = lua_getfield(L, at, "key");
    if (type == LUA_TSTRING && strcmp(lua_tostring(L, -1), "address") == 0) {
        g->key = KEY_ADDRESS;
    } else if (type == LUA_TSTRING) {
        g->key = KEY_HEADER;
        copy_header(L, "opts.rate_limit.key", lua_tostring(L, -1), g->key_header);
    } else if (type != LUA_TNIL && type != LUA_TFUNCTION) {
        np_misuse(L, "opts.rate_limit.key: expected string or function, got %s",
                  luaL_typename(L, -1));
    }
    return join(L, &np_limiter_kind, o.name, &o.shared, sizeof o.shared, &g->limiter, info);
}

static enum neap_err read_concurrency(lua_State *L, struct np_http_gate *g,
                                      struct neap_errinfo *info)
{
    static const char *const more[] = {"priority", NULL};
    struct np_lconcurrency_options o;
    if (!push_rule(L, 1, "concurrency")) return NEAP_OK;
    int at = lua_gettop(L);
    np_lconcurrency_read(L, at, "opts.concurrency", more, &o);
    if (o.max_waiting) np_misuse(L, "opts.concurrency.max_waiting: a server keeps no queue");
    int type = lua_getfield(L, at, "priority");
    if (type == LUA_TSTRING) {
        copy_header(L, "opts.concurrency.priority", lua_tostring(L, -1), g->priority_header);
    } else if (type != LUA_TNIL && type != LUA_TFUNCTION) {
        np_misuse(L, "opts.concurrency.priority: expected string or function, got %s",
                  luaL_typename(L, -1));
    }
    return join(L, &np_concurrency_kind, o.name, &o.limit, sizeof o.limit, &g->concurrency, info);
}

struct admission_options {
    struct np_admission_options a;
    const char *name;
};
#define AT(f) offsetof(struct admission_options, f)
static const struct np_opt admission_spec[] = {
    {"name", NP_OPT_STRING, AT(name), 0, 0},
    {"window", NP_OPT_SECONDS, AT(a.window_ns), 0, 0},
    {"success_threshold", NP_OPT_NUMBER, AT(a.success_threshold), 0, 1},
    {"aggression", NP_OPT_NUMBER, AT(a.aggression), 0, 1000},
    {"max_rejection", NP_OPT_NUMBER, AT(a.max_rejection), 0, 1},
    {"min_rate", NP_OPT_NUMBER, AT(a.min_rate), 0, 1e15},
    {"shadow", NP_OPT_BOOL, AT(a.shadow), 0, 0},
    {0}};

static enum neap_err read_admission(lua_State *L, struct np_http_gate *g, struct neap_errinfo *info)
{
    struct admission_options o = {np_admission_defaults, NULL};
    if (!push_rule(L, 1, "admission")) return NEAP_OK;
    np_opts_read(L, lua_gettop(L), "opts.admission", admission_spec, &o);
    const char *problem = np_admission_problem(&o.a);
    if (problem) np_misuse(L, "opts.admission.%s", problem);
    return join(L, &np_admission_kind, o.name, &o.a, sizeof o.a, &g->admission, info);
}

/* gate(options of serve, name of the server | nil, by_script) → gate | nil, err */
static int http_gate(lua_State *L)
{
    struct neap_errinfo info;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 3);
    struct np_http_gate **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = NULL;
    luaL_setmetatable(L, GATE);
    struct np_http_gate *g = np_calloc(1, sizeof *g);
    if (!g) return np_fail(L, NEAP_ENOMEM, NULL);
    *handle = g;
    g->refs = 1;
    g->by_script = lua_toboolean(L, 3);
    memcpy(g->priority_header, PRIORITY_HEADER, sizeof PRIORITY_HEADER);
    np_rng_init(&g->rng, 0);
    enum neap_err err = read_limiter(L, g, &info);
    if (!err) err = read_admission(L, g, &info);
    if (!err) err = read_concurrency(L, g, &info);
    if (err) return np_fail_info(L, &info);
    lua_settop(L, 4);
    return 1;
}

/* --- for lua/neap/http/gate.lua */

/* gate:admit(req, key | nil, class | nil, cost) → whether it is let in, the status if not, seconds
 * to wait, remaining, reset; nothing if the client has left. A `key` of true: the one that C knows;
 * a cost of 0: it is not limited. */
static int gate_admit(lua_State *L)
{
    struct np_http_gate *g = check_gate(L, 1);
    struct np_http_req *r = np_http_req_check(L, 2);
    char room[8];
    struct verdict v;
    size_t n = 0;
    if (!r->x || r->x->admitted) return 0;
    const char *key =
        lua_isboolean(L, 3) ? key_of(g, r->x, room, &n) : luaL_optlstring(L, 3, NULL, &n);
    lua_Integer class = luaL_optinteger(L, 4, -1);
    enum np_priority p =
        class < 0 || class >= NP_PRIORITY_CLASSES ? priority_of(g, r->x) : (enum np_priority) class;
    decide(g, r->x, key, n, luaL_optnumber(L, 5, 1), p, &v);
    lua_pushboolean(L, v.status == 0);
    if (v.status != 0) {
        lua_pushinteger(L, v.status);
    } else {
        lua_pushnil(L);
    }
    if (v.retry_after_ns < NP_TIME_NEVER) {
        lua_pushinteger(L, seconds_of(v.retry_after_ns));
    } else {
        lua_pushnil(L);
    }
    lua_pushnumber(L, v.limited ? v.limit.remaining : 0);
    lua_pushnumber(L, v.limited ? np_to_seconds(v.limit.reset_ns) : 0);
    return 5;
}

static void set_count_for(lua_State *L, bool shadow, uint64_t refused)
{
    np_set_count(L, shadow ? "would_refuse" : "refused", refused);
}

void np_http_gate_stats(lua_State *L, const struct np_http_gate *g)
{
    if (g->limiter) {
        struct np_limiter_table_stats s;
        np_shared_limiter_get_stats(g->limiter->object, &s);
        lua_createtable(L, 0, 6);
        np_set_count(L, "allowed", s.allowed);
        set_count_for(L, np_shared_limiter_options(g->limiter->object).shadow, s.refused);
        np_set_count(L, "keys", s.keys);
        np_set_count(L, "evicted", s.evicted);
        np_set_count(L, "forgotten", s.forgotten);
        lua_setfield(L, -2, "rate_limit");
    }
    if (g->admission) {
        struct np_admission_counters k =
            np_admission_counters(g->admission->object, np_loop_hrtime());
        lua_createtable(L, 0, 4);
        np_set_count(L, "admitted", k.admitted);
        set_count_for(L, k.shadow, k.refused);
        lua_pushnumber(L, k.success_rate);
        lua_setfield(L, -2, "success_rate");
        lua_pushnumber(L, k.rejection);
        lua_setfield(L, -2, "rejection");
        lua_setfield(L, -2, "admission");
    }
    if (g->concurrency) {
        lua_createtable(L, 0, 8);
        np_lconcurrency_counters(L, g->concurrency->object);
        lua_setfield(L, -2, "concurrency");
    }
}

/* network(address) → the key that stands for it, see network_of */
static int http_network(lua_State *L)
{
    char room[8];
    size_t n;
    const char *key = network_of(luaL_checkstring(L, 1), room, &n);
    lua_pushlstring(L, key, n);
    return 1;
}

void np_http_add_gate(lua_State *L)
{
    static const luaL_Reg methods[] = {{"admit", gate_admit}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", gate_gc}, {NULL, NULL}};
    np_type_new(L, GATE, methods, meta);
    lua_pushcfunction(L, http_gate);
    lua_setfield(L, -2, "gate");
    lua_pushcfunction(L, http_network);
    lua_setfield(L, -2, "network");
}
