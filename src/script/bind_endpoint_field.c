/* The fields of endpoints (see bind_endpoint_field.h).
 *
 * Policies in Lua read fields on the hot path. Lua keeps one copy of each short string, so a name
 * is found by its address, in a small table made once.
 */
#include "script/bind_endpoint_field.h"

#include <stdlib.h>

#include "mesh/selector.h"
#include "script/luax.h"

enum { SLOTS = 128 }; /* a power of two, several times the number of fields */

struct slot {
    const char *name;
    enum np_field field;
};
struct np_field_map {
    struct slot slots[SLOTS];
};

static const char *const names[NP_FIELDS] = {
    [NP_FIELD_TAGS] = "tags",
    [NP_FIELD_META] = "meta",
    [NP_FIELD_ID] = "id",
    [NP_FIELD_NAME] = "name",
    [NP_FIELD_SERVICE] = "service",
    [NP_FIELD_ADDRESS] = "address",
    [NP_FIELD_HOST] = "host",
    [NP_FIELD_PATH] = "path",
    [NP_FIELD_ZONE] = "zone",
    [NP_FIELD_WEIGHT] = "weight",
    [NP_FIELD_PORT] = "port",
    [NP_FIELD_PRIORITY] = "priority",
    [NP_FIELD_ACTIVE] = "active",
    [NP_FIELD_TOTAL] = "total",
    [NP_FIELD_ERRORS] = "errors",
    [NP_FIELD_EWMA] = "ewma",
    [NP_FIELD_COST] = "cost",
    [NP_FIELD_P95] = "p95",
    [NP_FIELD_SUCCESS_RATE] = "success_rate",
    [NP_FIELD_BYTES_IN] = "bytes_in",
    [NP_FIELD_BYTES_OUT] = "bytes_out",
    [NP_FIELD_EJECTIONS] = "ejections",
    [NP_FIELD_SINCE] = "since",
    [NP_FIELD_AVAILABLE] = "available",
    [NP_FIELD_EJECTED] = "ejected",
    [NP_FIELD_HEALTHY] = "healthy",
    [NP_FIELD_DRAINING] = "draining",
};

static size_t place_of(const char *name)
{
    uintptr_t at = (uintptr_t)name;
    return (at >> 4 ^ at >> 11) & (SLOTS - 1);
}

struct np_field_map *np_field_map_push(lua_State *L)
{
    struct np_field_map *m = lua_newuserdatauv(L, sizeof *m, 1);
    *m = (struct np_field_map){0};
    lua_createtable(L, NP_FIELDS, 0); /* keeps the strings where they are */
    for (enum np_field f = NP_FIELD_TAGS; f < NP_FIELDS; f++) {
        const char *name = lua_pushstring(L, names[f]);
        lua_rawseti(L, -2, f);
        size_t at = place_of(name);
        while (m->slots[at].name != NULL)
            at = (at + 1) & (SLOTS - 1);
        m->slots[at] = (struct slot){name, f};
    }
    lua_setiuservalue(L, -2, 1);
    return m;
}

enum np_field np_field_find(const struct np_field_map *m, const char *name)
{
    size_t at = place_of(name);
    while (m->slots[at].name != NULL && m->slots[at].name != name)
        at = (at + 1) & (SLOTS - 1);
    return m->slots[at].field;
}

static uint64_t counter(const atomic_ullong *n)
{
    return atomic_load_explicit(n, memory_order_relaxed);
}

/* Whole numbers. */
static uint64_t count_of(const struct np_endpoint *e, enum np_field f)
{
    switch (f) {
    case NP_FIELD_WEIGHT:
        return e->weight;
    case NP_FIELD_PORT:
        return e->port;
    case NP_FIELD_PRIORITY:
        return np_endpoint_level(e);
    case NP_FIELD_ACTIVE:
        return np_endpoint_active(e);
    case NP_FIELD_TOTAL:
        return np_endpoint_total(e);
    case NP_FIELD_ERRORS:
        return np_endpoint_errors(e);
    case NP_FIELD_BYTES_IN:
        return counter(&e->stats->bytes_in);
    case NP_FIELD_BYTES_OUT:
        return counter(&e->stats->bytes_out);
    case NP_FIELD_EJECTIONS:
        return atomic_load_explicit(&e->stats->ejections, memory_order_relaxed);
    default:
        return 0;
    }
}

/* Times, in seconds, and shares. */
static bool is_real(enum np_field f)
{
    return f == NP_FIELD_EWMA || f == NP_FIELD_COST || f == NP_FIELD_P95 ||
           f == NP_FIELD_SUCCESS_RATE || f == NP_FIELD_SINCE;
}

static double real_of(const struct np_endpoint *e, enum np_field f, int64_t now)
{
    switch (f) {
    case NP_FIELD_EWMA:
        return np_endpoint_ewma(e) / 1e9;
    case NP_FIELD_COST:
        return np_endpoint_cost(e, now) / 1e9;
    case NP_FIELD_P95:
        return np_endpoint_p95(e) / 1e9;
    case NP_FIELD_SUCCESS_RATE:
        return np_endpoint_success(e);
    case NP_FIELD_SINCE:
        return (double)atomic_load_explicit(&e->stats->since_ns, memory_order_relaxed) / 1e9;
    default:
        return 0;
    }
}

double np_field_number(const struct np_endpoint *e, enum np_field f, int64_t now)
{
    return is_real(f) ? real_of(e, f, now) : (double)count_of(e, f);
}

static bool flag_of(const struct np_endpoint *e, enum np_field f, int64_t now)
{
    unsigned health = atomic_load_explicit(&e->stats->health, memory_order_relaxed);
    switch (f) {
    case NP_FIELD_AVAILABLE:
        return np_endpoint_availability(e, now) == NP_AVAILABLE;
    case NP_FIELD_EJECTED:
        return atomic_load_explicit(&e->stats->ejected_until, memory_order_relaxed) != 0;
    case NP_FIELD_HEALTHY:
        return (health & NP_HEALTH_UNHEALTHY) == 0;
    default:
        return (health & NP_HEALTH_DRAINING) != 0;
    }
}

static const char *word_of(const struct np_endpoint *e, enum np_field f)
{
    switch (f) {
    case NP_FIELD_ID:
        return e->id;
    case NP_FIELD_NAME:
    case NP_FIELD_SERVICE:
        return e->service;
    case NP_FIELD_ADDRESS:
        return e->address;
    case NP_FIELD_HOST:
        return e->host;
    case NP_FIELD_PATH:
        return e->path;
    case NP_FIELD_ZONE:
        return e->zone;
    default:
        return NULL;
    }
}

void np_field_push(lua_State *L, const struct np_endpoint *e, enum np_field f, int64_t now)
{
    if (f < NP_FIELD_WEIGHT) {
        lua_pushstring(L, word_of(e, f)); /* NULL: nil */
    } else if (f >= NP_FIELD_AVAILABLE) {
        lua_pushboolean(L, flag_of(e, f, now));
    } else if (f == NP_FIELD_PORT && e->host == NULL) {
        lua_pushnil(L);
    } else if (is_real(f)) {
        lua_pushnumber(L, real_of(e, f, now));
    } else {
        lua_pushinteger(L, (lua_Integer)count_of(e, f));
    }
}
