/* neap.core.cluster: making clusters, and what they follow; see bind_cluster.h.
 */
#include "script/bind_cluster.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "script/bind_endpoint.h"
#include "script/bind_endpoint_list.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/rules.h"
#include "script/state.h"

/* --- the types' own */

void np_cluster_type(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta)
{
    np_type_new(L, name, methods, meta);
    luaL_getmetatable(L, name);
    lua_getfield(L, -1, "__index");
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, methods, 1);
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    luaL_setfuncs(L, meta, 1);
    lua_pop(L, 1);
}

void *np_cluster_self(lua_State *L, const char *name)
{
    void *p = lua_touserdata(L, 1);
    if (p != NULL && lua_getmetatable(L, 1)) {
        bool same = lua_rawequal(L, -1, lua_upvalueindex(1));
        lua_pop(L, 1);
        if (same) return p;
    }
    return luaL_checkudata(L, 1, name);
}

static struct np_cluster_box *check_any(lua_State *L)
{
    return np_cluster_self(L, NP_CLUSTER_TYPE);
}

void np_cluster_shell_unref(struct np_cluster_shell *s)
{
    if (s == NULL || --s->refs > 0) return;
    np_cluster_free(s->cluster);
    np_free(s);
}

/* --- what it follows */

static enum neap_err take(struct np_cluster_box *b, struct np_snapshot *set, int64_t now)
{
    enum neap_err err = np_cluster_update(b->shell->cluster, set, now);
    if (err != NEAP_OK) return err;
    np_snapshot_unref(b->taken);
    b->taken = np_snapshot_ref(set);
    return NEAP_OK;
}

struct np_cluster_box *np_cluster_box_check(lua_State *L, int64_t now)
{
    struct np_cluster_box *b = check_any(L);
    if (b->shell == NULL) np_misuse(L, "this cluster is closed");
    if (b->up == NULL) return b;
    bool changed = false;
    struct np_snapshot *set = np_upstream_poll(b->up, &changed);
    /* For want of memory it goes on with what it knows, and the next call tries
     * again. */
    if (set != NULL && set != b->taken) (void)!take(b, set, now);
    return b;
}

/* --- making */

static enum neap_err new_shell(const struct np_cluster_read *r, struct np_cluster_rules *rules,
                               struct np_cluster_shell **out)
{
    struct np_cluster_shell *s = np_calloc(1, sizeof *s);
    if (s == NULL) return NEAP_ENOMEM;
    enum neap_err err = np_cluster_new(&r->o, rules, &s->cluster);
    if (err != NEAP_OK) {
        np_free(s);
        return err;
    }
    s->refs = 1;
    memcpy(s->statuses, r->statuses, sizeof s->statuses);
    *out = s;
    return NEAP_OK;
}

/* --- rules that clusters of one name share */

static enum neap_err make_rules(void *arg, void **object, struct neap_errinfo *info)
{
    const struct np_cluster_options *o = arg;
    struct np_cluster_rules *rules = NULL;
    enum neap_err err = np_cluster_rules_new(o, o->balancer.seed, np_loop_hrtime(), &rules, info);
    if (err == NEAP_OK) *object = rules;
    return err;
}

/* Other options have another key. */
static enum neap_err same_rules(void *object, void *arg, struct neap_errinfo *info)
{
    (void)object, (void)arg, (void)info;
    return NEAP_OK;
}

static void free_rules(void *object)
{
    np_cluster_rules_unref(object);
}

static const struct np_common_kind rules_kind = {"cluster", make_rules, same_rules, free_rules};

/* A long name is told apart by the hash. */
static void key_of(const struct np_cluster_read *r, char *key, size_t size)
{
    uint64_t h = np_hash_stable(r->share, strlen(r->share), np_cluster_rules_hash(&r->o));
    snprintf(key, size, "%.200s#%016llx", r->share, (unsigned long long)h);
}

/* The cluster's machine, with its rules. */
static enum neap_err open_machine(lua_State *L, struct np_cluster_box *b,
                                  const struct np_cluster_read *r, struct neap_errinfo *info)
{
    char key[NP_COMMONS_MAX_KEY + 1];
    if (r->share != NULL) key_of(r, key, sizeof key);
    enum neap_err err = np_script_rule(np_script_of(L), &rules_kind, r->share ? key : NULL, &r->o,
                                       sizeof r->o, &b->rules, info);
    if (err != NEAP_OK) return err;
    err = new_shell(r, b->rules->object, &b->shell);
    return err == NEAP_OK ? err : np_err_plain(info, err);
}

static enum neap_err open_upstream(lua_State *L, struct np_cluster_box *b, const char *service)
{
    struct np_registry_view *view = np_script_of(L)->view;
    struct np_endpoint_desc wanted = {0};
    if (view == NULL) np_misuse(L, "this host has no registry");
    lua_getfield(L, 1, "tags");
    np_endpoint_read_tags(L, -1, "opts.tags", &wanted);
    enum neap_err err = np_upstream_new(view, service, wanted.tags, wanted.ntags, &b->up);
    if (err == NEAP_EINVAL) np_misuse(L, "opts.service: bad name '%s'", service);
    return err;
}

static enum neap_err take_list(lua_State *L, struct np_cluster_box *b, int idx)
{
    struct np_snapshot *set = np_endpoint_read_list(L, idx, b->taken);
    if (set == NULL) return NEAP_ENOMEM;
    enum neap_err err = take(b, set, np_loop_hrtime());
    np_snapshot_unref(set);
    return err;
}

static struct np_cluster_box *push_box(lua_State *L, const char *name)
{
    struct np_cluster_box *b = lua_newuserdatauv(L, sizeof *b, NP_CLUSTER_UVS);
    *b = (struct np_cluster_box){0};
    luaL_setmetatable(L, NP_CLUSTER_TYPE);
    lua_pushstring(L, name);
    lua_setiuservalue(L, -2, NP_CLUSTER_UV_NAME);
    lua_newtable(L);
    lua_setiuservalue(L, -2, NP_CLUSTER_UV_POOL);
    return b;
}

/* new(opts) → cluster | nil, err */
static int cluster_new(lua_State *L)
{
    struct np_cluster_read r;
    struct neap_errinfo info;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    np_cluster_read_options(L, 1, &r);
    bool has_list = lua_getfield(L, 1, "endpoints") != LUA_TNIL;
    int list = lua_gettop(L);
    if (has_list == (r.service != NULL)) np_misuse(L, "opts: either a service or endpoints");

    struct np_cluster_box *b = push_box(L, r.name);
    int box = lua_gettop(L);
    enum neap_err err = open_machine(L, b, &r, &info);
    if (err == NEAP_EINVAL) np_misuse(L, "opts.%s", info.message);
    if (err == NEAP_OK) {
        err = r.service ? open_upstream(L, b, r.service) : take_list(L, b, list);
    }
    if (err != NEAP_OK) return np_fail(L, err, NULL);
    lua_pushvalue(L, box);
    return 1;
}

/* cluster:update(endpoints) → true | nil, err */
static int cluster_update(lua_State *L)
{
    struct np_cluster_box *b = np_cluster_box_check(L, np_loop_hrtime());
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    if (b->up != NULL) np_misuse(L, "update: this cluster follows a service");
    enum neap_err err = take_list(L, b, 2);
    if (err != NEAP_OK) return np_fail(L, err, NULL);
    lua_pushboolean(L, 1);
    return 1;
}

/* cluster:close(): it may be called twice. */
static int cluster_close(lua_State *L)
{
    struct np_cluster_box *b = check_any(L);
    struct np_cluster_box old = *b;
    *b = (struct np_cluster_box){0};
    np_upstream_free(old.up);
    np_common_unref(old.rules);
    np_snapshot_unref(old.taken);
    np_snapshot_unref(old.listed[0]);
    np_snapshot_unref(old.listed[1]);
    np_cluster_shell_unref(old.shell);
    return 0;
}

/* --- its endpoints */

/* Pushes the array of `set`, the one that was made before while the set is the
 * same. */
static int push_list(lua_State *L, struct np_cluster_box *b, int which,
                     const struct np_snapshot *set)
{
    int uv = NP_CLUSTER_UV_ALL + which;
    if (set != b->listed[which]) {
        np_snapshot_unref(b->listed[which]);
        b->listed[which] = np_snapshot_ref((struct np_snapshot *)set);
        lua_pushnil(L);
        lua_setiuservalue(L, 1, uv);
    }
    if (lua_getiuservalue(L, 1, uv) == LUA_TTABLE) return 1;
    struct np_snapshot *held = b->listed[which]; /* a finaliser may list another one */
    np_endpoint_push_all(L, held);
    if (b->listed[which] != held) return 1;
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, uv);
    return 1;
}

static int cluster_endpoints(lua_State *L)
{
    struct np_cluster_box *b = np_cluster_box_check(L, np_loop_hrtime());
    return push_list(L, b, 0, np_selector_all(np_cluster_selector(b->shell->cluster)));
}

static int cluster_usable(lua_State *L)
{
    int64_t now = np_loop_hrtime();
    struct np_cluster_box *b = np_cluster_box_check(L, now);
    return push_list(L, b, 1, np_selector_usable(np_cluster_selector(b->shell->cluster), now));
}

/* cluster:sticky(endpoint) → string | nil */
static int cluster_sticky(lua_State *L)
{
    char text[NP_STICKY_TEXT + 1];
    struct np_cluster_box *b = np_cluster_box_check(L, np_loop_hrtime());
    const struct np_endpoint *e = np_endpoint_check(L, 2)->e;
    bool sticks = np_selector_sticky_text(np_cluster_selector(b->shell->cluster), e, text);
    lua_pushstring(L, sticks ? text : NULL);
    return 1;
}

static int cluster_tostring(lua_State *L)
{
    struct np_cluster_box *b = check_any(L);
    lua_getiuservalue(L, 1, NP_CLUSTER_UV_NAME);
    lua_pushfstring(L, "%s: %s%s", NP_CLUSTER_TYPE, lua_tostring(L, -1),
                    b->shell ? "" : " (closed)");
    return 1;
}

/* --- the module */

static void push_priorities(lua_State *L)
{
    lua_createtable(L, 0, NP_PRIORITY_CLASSES);
    for (int p = 0; p < NP_PRIORITY_CLASSES; p++) {
        lua_pushinteger(L, p);
        lua_setfield(L, -2, np_priority_name((enum np_priority)p));
    }
}

int np_open_cluster(lua_State *L)
{
    static const luaL_Reg methods[] = {{"begin", np_cluster_begin},
                                       {"pick", np_cluster_pick},
                                       {"endpoints", cluster_endpoints},
                                       {"usable", cluster_usable},
                                       {"update", cluster_update},
                                       {"sticky", cluster_sticky},
                                       {"stats", np_cluster_push_stats},
                                       {"close", cluster_close},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", cluster_close},
                                    {"__close", cluster_close},
                                    {"__tostring", cluster_tostring},
                                    {NULL, NULL}};
    static const luaL_Reg functions[] = {{"new", cluster_new}, {NULL, NULL}};
    np_endpoint_open(L);
    np_cluster_type(L, NP_CLUSTER_TYPE, methods, meta);
    np_cluster_open_calls(L);
    luaL_newlib(L, functions);
    push_priorities(L);
    lua_setfield(L, -2, "priorities");
    return 1;
}
