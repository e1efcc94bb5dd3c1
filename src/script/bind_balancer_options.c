/* The options of balancers (see bind_balancer.h). */
#include <string.h>

#include "base/clock.h"
#include "script/bind_balancer.h"
#include "script/luax.h"

struct options {
    const char *service;
    int seed, choices, ring_points, ring_max, table_size, max_active, zone_min_endpoints;
    bool full_scan;
    double active_bias, load_factor, error_penalty;
    int64_t blackout, expiry, update;
    double panic_threshold, overprovisioning, zone_spill, zone_callers;
    const char *zone;
};
#define AT(field) offsetof(struct options, field)

static const struct np_opt option_list[] = {
    {"service", NP_OPT_STRING, AT(service), 0, 0},
    {"endpoints", NP_OPT_TABLE, 0, 0, 0},
    {"tags", NP_OPT_TABLE, 0, 0, 0},
    {"seed", NP_OPT_INT, AT(seed), 0, 2147483647},
    {"choices", NP_OPT_INT, AT(choices), 1, 64},
    {"full_scan", NP_OPT_BOOL, AT(full_scan), 0, 0},
    {"active_bias", NP_OPT_NUMBER, AT(active_bias), 0, 100},
    {"ring_points", NP_OPT_INT, AT(ring_points), 1, 65536},
    {"ring_max", NP_OPT_INT, AT(ring_max), 1, 8 << 20},
    {"table_size", NP_OPT_INT, AT(table_size), 2, 8 << 20},
    {"load_factor", NP_OPT_NUMBER, AT(load_factor), 0, 1e6},
    {"max_active", NP_OPT_INT, AT(max_active), 1, 2147483647},
    {"error_penalty", NP_OPT_NUMBER, AT(error_penalty), 0, 1e6},
    {"blackout", NP_OPT_SECONDS, AT(blackout), 0, 0},
    {"expiry", NP_OPT_SECONDS, AT(expiry), 0, 0},
    {"update_interval", NP_OPT_SECONDS, AT(update), 0, 0},
    {"panic_threshold", NP_OPT_NUMBER, AT(panic_threshold), 0, 1},
    {"overprovisioning", NP_OPT_NUMBER, AT(overprovisioning), 1, 100},
    {"zone", NP_OPT_STRING, AT(zone), 0, 0},
    {"zone_min_endpoints", NP_OPT_INT, AT(zone_min_endpoints), 0, 2147483647},
    {"zone_spill", NP_OPT_NUMBER, AT(zone_spill), 0, 1},
    {"zone_callers", NP_OPT_NUMBER, AT(zone_callers), 0, 1},
    {"subset", NP_OPT_TABLE, 0, 0, 0},
    {"slow_start", NP_OPT_TABLE, 0, 0, 0},
    {"sticky", NP_OPT_ANY, 0, 0, 0},
    {NULL, NP_OPT_ANY, 0, 0, 0},
};

static void give_balancer(const struct options *o, struct np_balancer_options *d)
{
    d->seed = (uint64_t)o->seed;
    d->choices = (uint32_t)o->choices;
    d->full_scan = o->full_scan;
    d->active_bias = o->active_bias;
    d->ring_points = (uint32_t)o->ring_points;
    d->ring_max = (uint32_t)o->ring_max;
    d->load_factor = o->load_factor;
    d->table_size = (uint32_t)o->table_size;
    d->max_active = (uint32_t)o->max_active;
    d->error_penalty = o->error_penalty;
    d->blackout_ns = o->blackout;
    d->expiry_ns = o->expiry;
    d->update_ns = o->update;
}

static void give_selector(const struct options *o, struct np_selector_options *d)
{
    d->panic_threshold = o->panic_threshold;
    d->overprovisioning = o->overprovisioning;
    d->zone = o->zone;
    d->zone_min_endpoints = (uint32_t)o->zone_min_endpoints;
    d->zone_spill = o->zone_spill;
    d->zone_callers = o->zone_callers;
}

/* subset = { keys = {"version", …}, fallback = "any" | "none" } */
static void read_subset(lua_State *L, int idx, struct np_balancer_settings *out)
{
    static const struct np_opt list[] = {{"keys", NP_OPT_TABLE, 0, 0, 0},
                                         {"fallback", NP_OPT_STRING, 0, 0, 0},
                                         {NULL, NP_OPT_ANY, 0, 0, 0}};
    const char *fallback = "any";
    if (lua_getfield(L, idx, "subset") == LUA_TNIL) return;
    int at = lua_gettop(L);
    np_opts_read(L, at, "opts.subset", list, &fallback);
    if (strcmp(fallback, "any") != 0 && strcmp(fallback, "none") != 0) {
        np_misuse(L, "opts.subset.fallback: expected \"any\" or \"none\", got \"%s\"", fallback);
    }
    out->selector.subset_fallback = strcmp(fallback, "none") == 0 ? NP_SUBSET_NONE : NP_SUBSET_ANY;
    if (lua_getfield(L, at, "keys") != LUA_TTABLE) np_misuse(L, "opts.subset.keys: required");
    size_t n = lua_rawlen(L, -1);
    if (n > NP_SUBSET_KEYS) np_misuse(L, "opts.subset.keys: more than %d", NP_SUBSET_KEYS);
    for (size_t i = 0; i < n; i++) {
        if (lua_rawgeti(L, -1, (lua_Integer)i + 1) != LUA_TSTRING) {
            np_misuse(L, "opts.subset.keys[%d]: expected string, got %s", (int)i + 1,
                      luaL_typename(L, -1));
        }
        out->keys[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    out->selector.subset_keys = out->keys;
    out->selector.nsubset_keys = n;
}

struct slow_start {
    int64_t duration;
    double min, aggression;
    const char *curve;
};

/* slow_start = { duration =, min =, aggression =, curve = "envoy" | "linear" } */
static void read_slow_start(lua_State *L, int idx, struct np_selector_options *d)
{
    static const struct np_opt list[] = {
        {"duration", NP_OPT_SECONDS, offsetof(struct slow_start, duration), 0, 0},
        {"min", NP_OPT_NUMBER, offsetof(struct slow_start, min), 0, 1},
        {"aggression", NP_OPT_NUMBER, offsetof(struct slow_start, aggression), 0.001, 100},
        {"curve", NP_OPT_STRING, offsetof(struct slow_start, curve), 0, 0},
        {NULL, NP_OPT_ANY, 0, 0, 0}};
    struct slow_start o = {0, d->slow_start_min, d->slow_start_aggression, "envoy"};
    if (lua_getfield(L, idx, "slow_start") == LUA_TNIL) return;
    np_opts_read(L, lua_gettop(L), "opts.slow_start", list, &o);
    bool linear = strcmp(o.curve, "linear") == 0;
    if (!linear && strcmp(o.curve, "envoy") != 0) {
        np_misuse(L, "opts.slow_start.curve: expected \"envoy\" or \"linear\", got \"%s\"",
                  o.curve);
    }
    if (o.duration <= 0) np_misuse(L, "opts.slow_start.duration: required");
    d->slow_start_ns = o.duration;
    d->slow_start_min = o.min;
    d->slow_start_aggression = o.aggression;
    d->slow_start_curve = linear ? NP_SLOW_START_LINEAR : NP_SLOW_START_ENVOY;
}

struct sticky {
    const char *cookie, *header, *secret, *path, *same_site;
    bool secure;
    int64_t ttl;
};

/* sticky = "key" | { cookie = name, ttl =, … } | { header = name }; what the two say beside the
 * secret is for who speaks HTTP. */
static void read_sticky(lua_State *L, int idx, struct np_selector_options *d)
{
    static const struct np_opt list[] = {
        {"cookie", NP_OPT_STRING, offsetof(struct sticky, cookie), 0, 0},
        {"header", NP_OPT_STRING, offsetof(struct sticky, header), 0, 0},
        {"secret", NP_OPT_STRING, offsetof(struct sticky, secret), 0, 0},
        {"path", NP_OPT_STRING, offsetof(struct sticky, path), 0, 0},
        {"same_site", NP_OPT_STRING, offsetof(struct sticky, same_site), 0, 0},
        {"secure", NP_OPT_BOOL, offsetof(struct sticky, secure), 0, 0},
        {"ttl", NP_OPT_SECONDS, offsetof(struct sticky, ttl), 0, 0},
        {NULL, NP_OPT_ANY, 0, 0, 0}};
    struct sticky o = {0};
    int type = lua_getfield(L, idx, "sticky");
    if (type == LUA_TNIL) return;
    if (type == LUA_TSTRING && strcmp(lua_tostring(L, -1), "key") == 0) {
        d->keyed = np_balancer_find("ring_hash");
        return;
    }
    if (type != LUA_TTABLE) np_misuse(L, "opts.sticky: expected \"key\" or a table");
    np_opts_read(L, lua_gettop(L), "opts.sticky", list, &o);
    if ((o.cookie != NULL) == (o.header != NULL)) {
        np_misuse(L, "opts.sticky: either a cookie or a header");
    }
    d->sticky = o.secret ? o.secret : "";
}

void np_balancer_read_options(lua_State *L, int idx, struct np_balancer_settings *out)
{
    static const struct np_balancer_options balancer = NP_BALANCER_OPTIONS_INIT;
    static const struct np_selector_options selector = NP_SELECTOR_OPTIONS_INIT;
    const struct np_balancer_options *d = &balancer;
    const struct np_selector_options *s = &selector;
    struct options o = {
        .choices = (int)d->choices,
        .ring_points = (int)d->ring_points,
        .ring_max = (int)d->ring_max,
        .table_size = (int)d->table_size,
        .max_active = (int)d->max_active,
        .full_scan = d->full_scan,
        .active_bias = d->active_bias,
        .load_factor = d->load_factor,
        .error_penalty = d->error_penalty,
        .blackout = d->blackout_ns,
        .expiry = d->expiry_ns,
        .update = d->update_ns,
        .panic_threshold = s->panic_threshold,
        .overprovisioning = s->overprovisioning,
        .zone_min_endpoints = (int)s->zone_min_endpoints,
        .zone_spill = s->zone_spill,
        .zone_callers = s->zone_callers,
    };
    np_opts_read(L, idx, "opts", option_list, &o);
    if (o.load_factor > 0 && o.load_factor < 1) {
        np_misuse(L, "opts.load_factor: must be 0 or at least 1");
    }
    *out = (struct np_balancer_settings){
        .service = o.service, .balancer = balancer, .selector = selector};
    give_balancer(&o, &out->balancer);
    give_selector(&o, &out->selector);
    read_subset(L, idx, out);
    read_slow_start(L, idx, &out->selector);
    read_sticky(L, idx, &out->selector);
    lua_settop(L, idx);
}
