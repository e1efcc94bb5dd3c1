/* neap.core.dns: names to addresses, services to hosts and ports.
 *
 * A lookup's C object is owned by its userdata and by the resolver until that has answered; the
 * task that asked has the userdata on its stack.
 */
#include "base/alloc.h"
#include "net/dns.h"
#include "net/netpolicy.h"

#include <string.h>

#include "script/luax.h"
#include "script/modules.h"
#include "script/state.h"

#define LOOKUP "neap.dns.lookup"
#define DEFAULT_TIMEOUT (10 * NP_NS_PER_SEC)

struct lookup {
    struct np_dns_query *query; /* NULL once it has answered */
    bool owned;                 /* by a userdata */
    struct np_wait wait;
    enum neap_err err;
    char why[96];
    union np_addr *addrs;
    struct np_dns_srv *srvs;
    size_t n;
};

static void release(struct lookup *k)
{
    if (k->query || k->owned) return;
    np_free(k->addrs);
    np_free(k->srvs);
    np_free(k);
}

/* Copies what is lent; NULL for nothing and when out of memory. */
static void *keep(struct lookup *k, const void *from, size_t n, size_t size)
{
    if (n == 0) return NULL;
    void *copy = np_calloc(n, size);
    if (copy)
        memcpy(copy, from, n * size);
    else
        k->err = NEAP_ENOMEM;
    k->n = n;
    return copy;
}

static void answered(struct lookup *k, enum neap_err err, const char *why)
{
    k->query = NULL;
    if (err) {
        k->err = err;
        strncpy(k->why, why, sizeof k->why - 1);
    }
    np_wake(&k->wait, NEAP_OK);
    release(k);
}

static void on_addrs(void *arg, enum neap_err err, const char *why, const union np_addr *addrs,
                     size_t n)
{
    struct lookup *k = arg;
    k->addrs = keep(k, addrs, n, sizeof *addrs);
    answered(k, err, why);
}

static void on_srvs(void *arg, enum neap_err err, const char *why, const struct np_dns_srv *v,
                    size_t n)
{
    struct lookup *k = arg;
    k->srvs = keep(k, v, n, sizeof *v);
    answered(k, err, why);
}

static void cancel(struct np_wait *w)
{
    struct lookup *k = np_container_of(w, struct lookup, wait);
    if (k->query) np_dns_cancel(k->query);
}

static int lookup_gc(lua_State *L)
{
    struct lookup **box = lua_touserdata(L, 1);
    struct lookup *k = *box;
    *box = NULL;
    if (!k) return 0;
    k->owned = false;
    if (k->query) np_dns_cancel(k->query);
    release(k);
    return 0;
}

static struct lookup *lookup_new(lua_State *L)
{
    struct lookup **box = lua_newuserdatauv(L, sizeof(struct lookup *), 0);
    *box = NULL;
    luaL_setmetatable(L, LOOKUP);
    struct lookup *k = np_calloc(1, sizeof *k);
    if (!k) luaL_error(L, "not enough memory");
    k->owned = true;
    *box = k;
    return k;
}

/* Stack: the name, …, the lookup. */
static int fail(lua_State *L, struct lookup *k, enum neap_err err)
{
    if (!err) err = k->err;
    if (err == NEAP_EACCES) return np_fail(L, err, NP_NETPOLICY_WORDS, lua_tostring(L, 1));
    const char *why = k->why[0] ? k->why : neap_err_text(err);
    return np_fail(L, err, "cannot resolve %.100s: %s", lua_tostring(L, 1), why);
}

static int push_addrs(lua_State *L, enum neap_err err, void *ctx)
{
    struct lookup *k = ctx;
    char text[NP_ADDR_TEXT_MAX];
    if (err || k->err) return fail(L, k, err);
    lua_createtable(L, (int)k->n, 0);
    for (size_t i = 0; i < k->n; i++) {
        np_addr_format_ip(&k->addrs[i].sa, text, sizeof text);
        lua_pushstring(L, text);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int push_srvs(lua_State *L, enum neap_err err, void *ctx)
{
    struct lookup *k = ctx;
    if (err || k->err) return fail(L, k, err);
    lua_createtable(L, (int)k->n, 0);
    for (size_t i = 0; i < k->n; i++) {
        const struct np_dns_srv *s = &k->srvs[i];
        lua_createtable(L, 0, 5);
        lua_pushstring(L, s->target);
        lua_setfield(L, -2, "target");
        lua_pushinteger(L, s->port);
        lua_setfield(L, -2, "port");
        lua_pushinteger(L, s->priority);
        lua_setfield(L, -2, "priority");
        lua_pushinteger(L, s->weight);
        lua_setfield(L, -2, "weight");
        lua_pushnumber(L, np_to_seconds(s->ttl));
        lua_setfield(L, -2, "ttl");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* --- the functions */

struct options {
    int family;
    int64_t timeout;
};

static const struct np_opt resolve_spec[] = {
    {"family", NP_OPT_INT, offsetof(struct options, family), 0, 0},
    {"timeout", NP_OPT_SECONDS, offsetof(struct options, timeout), 0, 0},
    {0}};

static const char *check_name(lua_State *L)
{
    size_t n;
    const char *name = luaL_checklstring(L, 1, &n);
    luaL_argcheck(L, n > 0 && strlen(name) == n, 1, "not a name");
    return name;
}

static int family_of(lua_State *L, int number)
{
    if (number == 0) return AF_UNSPEC;
    if (number == 4) return AF_INET;
    if (number == 6) return AF_INET6;
    return np_misuse(L, "opts.family: expected 4 or 6, got %d", number);
}

/* resolve(name[, {family=4|6, timeout=10}]) → addresses as strings | nil, err */
static int dns_resolve(lua_State *L)
{
    struct options o = {0, DEFAULT_TIMEOUT};
    const char *name = check_name(L);
    np_opts_read(L, 2, "opts", resolve_spec, &o);
    int family = family_of(L, o.family);
    np_task_current(L);
    struct lookup *k = lookup_new(L);
    struct np_loop *loop = np_script_of(L)->loop;
    enum neap_err err = np_dns_resolve(loop, name, family, 0, on_addrs, k, &k->query);
    if (err) return fail(L, k, err);
    return np_wait(L, &k->wait, o.timeout, cancel, push_addrs, k);
}

/* srv(name[, {timeout=10}]) → records in the order to try them | nil, err */
static int dns_srv(lua_State *L)
{
    struct options o = {0, DEFAULT_TIMEOUT};
    const char *name = check_name(L);
    np_opts_read(L, 2, "opts", resolve_spec + 1, &o);
    np_task_current(L);
    struct lookup *k = lookup_new(L);
    enum neap_err err = np_dns_resolve_srv(np_script_of(L)->loop, name, on_srvs, k, &k->query);
    if (err) return fail(L, k, err);
    return np_wait(L, &k->wait, o.timeout, cancel, push_srvs, k);
}

/* cache{max_names=, max_ttl=, negative_ttl=}: what this worker remembers of answers. */
static int dns_cache(lua_State *L)
{
    static const struct np_opt spec[] = {
        {"max_names", NP_OPT_SIZE, offsetof(struct np_dns_cache_options, max_names), 0, 0},
        {"max_ttl", NP_OPT_SECONDS, offsetof(struct np_dns_cache_options, max_ttl), 0, 0},
        {"negative_ttl", NP_OPT_SECONDS, offsetof(struct np_dns_cache_options, negative_ttl), 0, 0},
        {0}};
    struct np_dns_cache_options o = NP_DNS_CACHE_OPTIONS_INIT;
    luaL_checktype(L, 1, LUA_TTABLE);
    np_opts_read(L, 1, "opts", spec, &o);
    enum neap_err err = np_dns_set_cache(np_script_of(L)->loop, &o);
    if (err) return np_fail(L, err, NULL);
    lua_pushboolean(L, 1);
    return 1;
}

/* forget(): what is remembered is asked for anew. */
static int dns_forget(lua_State *L)
{
    np_dns_forget(np_script_of(L)->loop);
    return 0;
}

/* stats() → {names=, hits=, misses=} */
static int dns_stats(lua_State *L)
{
    struct np_dns_stats s;
    np_dns_get_stats(np_script_of(L)->loop, &s);
    lua_createtable(L, 0, 3);
    np_set_count(L, "names", s.names);
    np_set_count(L, "hits", s.hits);
    np_set_count(L, "misses", s.misses);
    return 1;
}

/* set_servers("ip:port,…") → true | nil, err: others than resolv.conf's, for this worker. */
static int dns_set_servers(lua_State *L)
{
    const char *servers = luaL_checkstring(L, 1);
    enum neap_err err = np_dns_set_servers(np_script_of(L)->loop, servers);
    if (err == NEAP_EACCES) return np_fail(L, err, "not allowed under --allow-net");
    if (err == NEAP_EBUSY) return np_fail(L, err, "lookups are under way");
    if (err) return np_fail(L, err, "not a list of name servers: %.100s", servers);
    lua_pushboolean(L, 1);
    return 1;
}

int np_open_dns(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", lookup_gc}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"resolve", dns_resolve},
                                         {"srv", dns_srv},
                                         {"set_servers", dns_set_servers},
                                         {"cache", dns_cache},
                                         {"forget", dns_forget},
                                         {"stats", dns_stats},
                                         {NULL, NULL}};
    np_type_new(L, LOOKUP, NULL, meta);
    luaL_newlib(L, functions);
    return 1;
}
