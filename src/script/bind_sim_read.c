/* neap.core.sim: a scenario, written out by lua/neap/sim, as options of the
 * simulator. */
#include <string.h>

#include "base/clock.h"
#include "script/bind_cluster.h"
#include "script/bind_endpoint.h"
#include "script/bind_sim.h"
#include "script/luax.h"

#define YEAR 31536000.0
#define END_OF_LIST               \
    {                             \
        NULL, NP_OPT_ANY, 0, 0, 0 \
    }
#define F(type, structure, name, field, min, max)                        \
    {                                                                    \
        name, NP_OPT_##type, offsetof(struct structure, field), min, max \
    }

/* Where the spec stands on the stack, and a table that holds what options point
 * to. */
enum { SPEC = 1, KEEPER = 2 };

/* Pops a value; it lives as long as the keeper. */
static void keep(lua_State *L)
{
    lua_rawseti(L, KEEPER, (lua_Integer)lua_rawlen(L, KEEPER) + 1);
}

/* Memory for n objects, kept. */
static void *array(lua_State *L, size_t n, size_t size)
{
    void *p = lua_newuserdatauv(L, (n + 1) * size, 0);
    memset(p, 0, (n + 1) * size);
    keep(L);
    return p;
}

/* --- distributions */

struct dist {
    struct np_dist d;
    const char *kind;
};
static const struct np_opt dist_list[] = {
    F(STRING, dist, "kind", kind, 0, 0),
    F(NUMBER, dist, "a", d.a, 0, 1e12),
    F(NUMBER, dist, "b", d.b, 0, 1e12),
    F(NUMBER, dist, "c", d.c, 0, 1e12),
    F(NUMBER, dist, "tail_share", d.tail_share, 0, 1),
    F(NUMBER, dist, "tail_factor", d.tail_factor, 0, 1e9),
    {"values", NP_OPT_TABLE, 0, 0, 0},
    END_OF_LIST,
};

static enum np_dist_kind kind_of(lua_State *L, const char *path, const char *name)
{
    static const char *const names[] = {"constant",    "uniform", "normal",   "lognormal",
                                        "exponential", "pareto",  "empirical"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0) return (enum np_dist_kind)i;
    }
    np_misuse(L, "%s.kind: no distribution '%s'", path, name);
    return NP_DIST_CONSTANT;
}

/* What of a distribution is an amount, and no shape. */
static void scale_dist(struct np_dist *d, double scale)
{
    bool spread = d->kind == NP_DIST_UNIFORM || d->kind == NP_DIST_NORMAL;
    d->a *= scale;
    if (spread) d->b *= scale;
    d->c *= scale;
}

static void read_values(lua_State *L, double scale, struct np_dist *d)
{
    if (lua_getfield(L, -1, "values") == LUA_TTABLE) {
        size_t n = lua_rawlen(L, -1);
        double *values = array(L, n, sizeof *values);
        for (size_t i = 0; i < n; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
            values[i] = lua_tonumber(L, -1) * scale;
            lua_pop(L, 1);
        }
        d->values = values;
        d->nvalues = n;
    }
    lua_pop(L, 1);
}

/* t[name] of the table at the top. */
static void read_dist(lua_State *L, const char *name, double scale, struct np_dist *out)
{
    struct dist r = {.kind = "constant"};
    if (lua_getfield(L, -1, name) == LUA_TTABLE) {
        np_opts_read(L, -1, name, dist_list, &r);
        r.d.kind = kind_of(L, name, r.kind);
        scale_dist(&r.d, scale);
        read_values(L, scale, &r.d);
        *out = r.d;
    }
    lua_pop(L, 1);
}

/* --- arrays of tables */

/* opts[name] as a table at the top; its length. */
static size_t open_array(lua_State *L, const char *name, size_t most)
{
    if (lua_getfield(L, -1, name) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
    }
    if (!lua_istable(L, -1)) np_misuse(L, "opts.%s: expected table", name);
    size_t n = lua_rawlen(L, -1);
    if (n > most) np_misuse(L, "opts.%s: more than %d", name, (int)most);
    return n;
}

static void open_item(lua_State *L, const char *name, size_t i)
{
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    if (!lua_istable(L, -1)) np_misuse(L, "opts.%s[%d]: expected table", name, (int)i + 1);
}

struct server {
    struct np_sim_server_options o;
    int weight, servers, reject_status;
    double queue;
};
static const struct np_opt server_list[] = {
    F(STRING, server, "name", o.name, 0, 0),
    F(STRING, server, "zone", o.zone, 0, 0),
    F(INT, server, "weight", weight, 1, NP_WEIGHT_MAX),
    F(INT, server, "servers", servers, 1, 1000000),
    F(NUMBER, server, "queue", queue, 0, 1e9),
    F(NUMBER, server, "contention", o.contention, 0, 1000),
    F(SECONDS, server, "rtt", o.rtt_ns, 0, YEAR),
    F(SECONDS, server, "reject", o.reject_ns, 0, YEAR),
    F(INT, server, "reject_status", reject_status, 400, 599),
    F(SECONDS, server, "retry_after", o.retry_after_ns, 0, YEAR),
    F(BOOL, server, "cancels", o.cancels, 0, 0),
    F(BOOL, server, "absent", o.absent, 0, 0),
    {"group", NP_OPT_ANY, 0, 0, 0}, /* for plots */
    {"service", NP_OPT_TABLE, 0, 0, 0},
    {"meta", NP_OPT_TABLE, 0, 0, 0},
    END_OF_LIST,
};

static void read_meta(lua_State *L, struct np_sim_server_options *o)
{
    struct np_endpoint_desc d = {0};
    lua_getfield(L, -1, "meta");
    np_endpoint_read_meta(L, -1, "meta", &d);
    keep(L);
    o->meta = d.meta;
    o->nmeta = d.nmeta;
    lua_pop(L, 1);
}

static void read_servers(lua_State *L, struct np_sim_options *o)
{
    size_t n = open_array(L, "servers", NP_SIM_SERVERS_MAX);
    struct np_sim_server_options *list = array(L, n, sizeof *list);
    for (size_t i = 0; i < n; i++) {
        struct server v = {.weight = 1, .servers = 1, .reject_status = 503, .queue = 1e9};
        open_item(L, "servers", i);
        np_opts_read(L, -1, "server", server_list, &v);
        read_dist(L, "service", 1e9, &v.o.service);
        read_meta(L, &v.o);
        v.o.weight = (uint32_t)v.weight;
        v.o.servers = (uint32_t)v.servers;
        v.o.queue = (uint32_t)v.queue;
        v.o.reject_status = v.reject_status;
        list[i] = v.o;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    o->servers = list;
    o->nservers = n;
}

static const struct np_opt change_list[] = {
    F(SECONDS, np_sim_change, "at", at, 0, YEAR),
    F(SECONDS, np_sim_change, "until", until, 0, YEAR),
    F(SECONDS, np_sim_change, "ramp", ramp_ns, 0, YEAR),
    F(NUMBER, np_sim_change, "slow", slow, 0, 1e9),
    F(SECONDS, np_sim_change, "delay", delay_ns, 0, YEAR),
    F(NUMBER, np_sim_change, "error_rate", error_rate, 0, 1),
    F(INT, np_sim_change, "error_status", error_status, 400, 599),
    F(SECONDS, np_sim_change, "error_time", error_ns, 0, YEAR),
    F(NUMBER, np_sim_change, "refuse", refuse, 0, 1),
    F(NUMBER, np_sim_change, "black_hole", black_hole, 0, 1),
    F(NUMBER, np_sim_change, "capacity", capacity, 0, 1),
    F(BOOL, np_sim_change, "restart", restart, 0, 0),
    F(SECONDS, np_sim_change, "cold", cold_ns, 0, YEAR),
    F(NUMBER, np_sim_change, "cold_slow", cold_slow, 0, 1e9),
    F(BOOL, np_sim_change, "leave", leave, 0, 0),
    F(BOOL, np_sim_change, "join", join, 0, 0),
    {"servers", NP_OPT_TABLE, 0, 0, 0},
    END_OF_LIST,
};

static void read_targets(lua_State *L, struct np_sim_change *c)
{
    size_t n = open_array(L, "servers", NP_SIM_SERVERS_MAX);
    uint32_t *list = array(L, n, sizeof *list);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        lua_Integer at = lua_tointeger(L, -1) - 1;
        list[i] = at >= 0 && at < NP_SIM_SERVERS_MAX ? (uint32_t)at : UINT32_MAX;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    c->servers = list;
    c->nservers = n;
}

static void read_changes(lua_State *L, struct np_sim_options *o)
{
    size_t n = open_array(L, "changes", 10000);
    struct np_sim_change *list = array(L, n, sizeof *list);
    for (size_t i = 0; i < n; i++) {
        list[i] = (struct np_sim_change){.until = INT64_MAX, .error_ns = -1};
        open_item(L, "changes", i);
        np_opts_read(L, -1, "change", change_list, &list[i]);
        read_targets(L, &list[i]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    o->changes = list;
    o->nchanges = n;
}

/* --- the load */

static const struct np_opt segment_list[] = {
    F(SECONDS, np_sim_segment, "from", from, 0, YEAR),
    F(NUMBER, np_sim_segment, "rate", rate, 0, 1e8),
    F(NUMBER, np_sim_segment, "rate_to", rate_to, 0, 1e8),
    END_OF_LIST,
};
static void read_segments(lua_State *L, struct np_sim_load *l)
{
    size_t n = open_array(L, "segments", 100000);
    struct np_sim_segment *list = array(L, n, sizeof *list);
    for (size_t i = 0; i < n; i++) {
        open_item(L, "segments", i);
        np_opts_read(L, -1, "segment", segment_list, &list[i]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    l->segments = list;
    l->nsegments = n;
}

struct class_ {
    struct np_sim_class c;
    int priority;
};
static const struct np_opt class_list[] = {
    F(NUMBER, class_, "share", c.share, 0, 1e9),
    F(BOOL, class_, "safe", c.safe, 0, 0),
    F(INT, class_, "priority", priority, 0, NP_PRIORITY_CLASSES - 1),
    {"cost", NP_OPT_TABLE, 0, 0, 0},
    END_OF_LIST,
};
static void read_classes(lua_State *L, struct np_sim_load *l)
{
    size_t n = open_array(L, "classes", NP_SIM_CLASSES_MAX);
    struct np_sim_class *list = array(L, n, sizeof *list);
    for (size_t i = 0; i < n; i++) {
        struct class_ c = {.c = {.share = 1, .safe = true}, .priority = NP_PRIORITY_NORMAL};
        c.c.cost.a = 1;
        open_item(L, "classes", i);
        np_opts_read(L, -1, "class", class_list, &c);
        read_dist(L, "cost", 1, &c.c.cost);
        c.c.priority = (enum np_priority)c.priority;
        list[i] = c.c;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    l->classes = list;
    l->nclasses = n;
}

struct load {
    struct np_sim_load l;
    int users, keys, retries;
};
static const struct np_opt load_list[] = {
    F(BOOL, load, "closed", l.closed, 0, 0),
    F(BOOL, load, "even", l.even, 0, 0),
    F(INT, load, "users", users, 0, 1000000),
    F(INT, load, "keys", keys, 0, 1000000000),
    F(NUMBER, load, "key_skew", l.key_skew, 0, 100),
    F(SECONDS, load, "timeout", l.timeout_ns, 0, YEAR),
    F(SECONDS, load, "slo", l.slo_ns, 0, YEAR),
    F(INT, load, "retries", retries, 0, 100),
    {"segments", NP_OPT_TABLE, 0, 0, 0},
    {"classes", NP_OPT_TABLE, 0, 0, 0},
    {"think", NP_OPT_TABLE, 0, 0, 0},
    {"retry_delay", NP_OPT_TABLE, 0, 0, 0},
    END_OF_LIST,
};
static void read_load(lua_State *L, struct np_sim_options *o)
{
    struct load r = {0};
    if (lua_getfield(L, -1, "load") != LUA_TTABLE) np_misuse(L, "opts.load: required");
    np_opts_read(L, -1, "opts.load", load_list, &r);
    read_segments(L, &r.l);
    read_classes(L, &r.l);
    read_dist(L, "think", 1e9, &r.l.think);
    read_dist(L, "retry_delay", 1e9, &r.l.retry_delay);
    lua_pop(L, 1);
    o->load = r.l;
    o->load.users = (uint32_t)r.users;
    o->load.keys = (uint32_t)r.keys;
    o->load.retries = (uint32_t)r.retries;
}

/* --- all of it */

struct top {
    struct np_sim_options o;
    double seed, requests;
    int callers, buckets;
};
static const struct np_opt top_list[] = {
    F(NUMBER, top, "seed", seed, 0, 9007199254740992.0),
    F(NUMBER, top, "requests", requests, 0, 1e15),
    F(INT, top, "callers", callers, 1, NP_SIM_CALLERS_MAX),
    F(INT, top, "buckets", buckets, 1, 10000),
    F(BOOL, top, "shared", o.shared, 0, 0),
    F(SECONDS, top, "duration", o.duration_ns, 0, YEAR),
    F(SECONDS, top, "warmup", o.warmup_ns, 0, YEAR),
    F(SECONDS, top, "discovery", o.discovery_ns, 0, YEAR),
    F(SECONDS, top, "zone_rtt", o.zone_rtt_ns, 0, YEAR),
    {"zones", NP_OPT_TABLE, 0, 0, 0},
    {"servers", NP_OPT_TABLE, 0, 0, 0},
    {"changes", NP_OPT_TABLE, 0, 0, 0},
    {"load", NP_OPT_TABLE, 0, 0, 0},
    {"policy", NP_OPT_TABLE, 0, 0, 0},
    {"pick", NP_OPT_FUNCTION, 0, 0, 0},
    {"release", NP_OPT_FUNCTION, 0, 0, 0},
    END_OF_LIST,
};

static void read_zones(lua_State *L, struct np_sim_options *o)
{
    size_t n = open_array(L, "zones", NP_SIM_CALLERS_MAX);
    const char **list = array(L, n, sizeof *list);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        if (lua_type(L, -1) != LUA_TSTRING) np_misuse(L, "opts.zones: expected strings");
        list[i] = lua_tostring(L, -1); /* the table holds it */
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    o->caller_zones = list;
    o->ncaller_zones = n;
}

static void read_policy(lua_State *L, struct np_sim_options *o)
{
    struct np_cluster_read r;
    if (lua_getfield(L, -1, "policy") != LUA_TTABLE) np_misuse(L, "opts.policy: required");
    int at = lua_gettop(L);
    np_cluster_read_options(L, at, &r);
    o->cluster = r.o;
    memcpy(o->retry_statuses, r.statuses, sizeof o->retry_statuses);
    while (lua_gettop(L) > at)
        keep(L);
    lua_pop(L, 1);
}

void np_sim_read_options(lua_State *L, struct np_sim_options *o)
{
    struct top t = {.callers = 1, .buckets = 100};
    lua_settop(L, SPEC);
    lua_newtable(L);
    lua_pushvalue(L, SPEC);
    np_opts_read(L, -1, "opts", top_list, &t);
    *o = t.o;
    o->seed = (uint64_t)t.seed;
    o->requests = (uint64_t)t.requests;
    o->callers = (uint32_t)t.callers;
    o->buckets = (uint32_t)t.buckets;
    read_zones(L, o);
    read_servers(L, o);
    read_changes(L, o);
    read_load(L, o);
    read_policy(L, o);
    lua_settop(L, KEEPER);
}
