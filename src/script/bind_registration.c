/* Registrations that a script made; see bind_registration.h.
 *
 * The object has two owners: its being registered, and the userdata that scripts hold. It is freed
 * when both are gone.
 */
#include "script/bind_registration.h"

#include <string.h>

#include "base/alloc.h"
#include "mesh/view.h"
#include "script/bind_endpoint.h"
#include "script/luax.h"

#define TYPE "neap.registration"
#define ID_MAX 512
#define BEATS 3 /* heartbeats within a time to live */

static const char list_key; /* of the state's list in the Lua registry */

struct registration {
    struct np_link link; /* among the state's */
    struct np_script *script;
    struct np_drain drain;
    struct np_timer timer;
    struct np_activation activation; /* registers it, where the state is held until then */
    struct np_view_watch *watch;     /* NULL when it has ended */
    struct np_endpoint *endpoint;    /* as it stands, or as it last stood */
    int64_t ttl;
    bool waiting;   /* for the state's activation */
    bool automatic; /* the id was not the script's choice */
    unsigned boxes; /* userdata that point to it: one, or two while one waits for its end */
};

static bool is_open(const struct registration *r)
{
    return r->watch != NULL;
}

static void release(struct registration *r)
{
    if (is_open(r) || r->boxes > 0) return;
    np_endpoint_unref(r->endpoint);
    np_free(r);
}

/* It is registered no longer. Frees it unless a script holds it. */
static void end(struct registration *r)
{
    if (!is_open(r)) return;
    np_view_watch_close(r->watch);
    r->watch = NULL;
    np_activation_cancel(&r->activation);
    np_timer_stop(&r->timer);
    np_drain_remove(&r->drain);
    np_list_remove(&r->link);
    release(r);
}

static void take_back(struct registration *r)
{
    struct np_registry *registry = r->script->registry;
    if (r->waiting) {
        np_registry_unreserve(registry, r->endpoint->id, r->script);
    } else if (np_registry_leave(registry, r->endpoint->id, r->script) == NEAP_EBUSY) {
        np_logf(r->script->log, NP_LOG_ERROR, "%s could not be deregistered", r->endpoint->id);
    }
}

static void deregister(struct registration *r)
{
    take_back(r);
    end(r);
}

static void arm(struct registration *r)
{
    if (r->ttl == 0) {
        np_timer_stop(&r->timer);
    } else if (np_timer_start(&r->timer, r->ttl / BEATS) != NEAP_OK) {
        np_logf(r->script->log, NP_LOG_WARN, "no memory to renew the lease of %s", r->endpoint->id);
    }
}

static void set_endpoint(struct registration *r, struct np_endpoint *e)
{
    np_endpoint_unref(r->endpoint);
    r->endpoint = e;
}

/* As it is to be once the state is active. */
static enum neap_err describe(struct registration *r, const struct np_registration *reg,
                              struct neap_errinfo *info)
{
    char id[ID_MAX];
    struct np_endpoint *e = NULL;
    struct np_endpoint_desc d = reg->desc;
    enum neap_err err =
        np_registry_reserve(r->script->registry, reg, r->script, id, sizeof id, info);
    if (err != NEAP_OK) return err;
    d.id = id;
    err = np_endpoint_new(&d, NULL, &e, info);
    if (err == NEAP_OK) {
        set_endpoint(r, e);
    } else if (r->endpoint == NULL) {
        np_registry_unreserve(r->script->registry, id, r->script);
    }
    return err;
}

static enum neap_err put(struct registration *r, const struct np_registration *reg,
                         struct neap_errinfo *info)
{
    struct np_script *s = r->script;
    struct np_endpoint *e = NULL;
    enum neap_err err = NEAP_OK;
    if (r->waiting) {
        err = describe(r, reg, info);
    } else {
        err = np_registry_join(s->registry, reg, s, s->worker, np_loop_now(s->loop), &e, info);
        if (err == NEAP_OK) set_endpoint(r, e);
    }
    if (err != NEAP_OK) return err;
    r->ttl = reg->ttl;
    if (!r->waiting) arm(r);
    return NEAP_OK;
}

static void register_again(struct registration *r)
{
    struct neap_errinfo info;
    struct np_endpoint *e = np_endpoint_ref(r->endpoint);
    struct np_registration reg = {.desc = np_endpoint_describe(e), .ttl = r->ttl};
    np_logf(r->script->log, NP_LOG_WARN, "the lease of %s ran out; registering again", e->id);
    if (put(r, &reg, &info) != NEAP_OK) {
        np_logf(r->script->log, NP_LOG_ERROR, "cannot register %s: %s", e->id, info.message);
        arm(r);
    }
    np_endpoint_unref(e);
}

/* The state takes over: now it is registered, or joins what its predecessor registered. */
static void on_activated(struct np_activation *a)
{
    struct registration *r = np_container_of(a, struct registration, activation);
    struct neap_errinfo info;
    struct np_endpoint *e = np_endpoint_ref(r->endpoint);
    struct np_registration reg = {.desc = np_endpoint_describe(e), .ttl = r->ttl};
    r->waiting = false;
    if (put(r, &reg, &info) != NEAP_OK) {
        np_logf(r->script->log, NP_LOG_ERROR, "cannot register %s: %s", e->id, info.message);
        arm(r);
    }
    np_endpoint_unref(e);
}

static void on_timer(struct np_timer *t)
{
    struct registration *r = np_container_of(t, struct registration, timer);
    int64_t now = np_loop_now(r->script->loop);
    if (np_registry_heartbeat(r->script->registry, r->endpoint->id, now) == NEAP_OK) {
        arm(r);
    } else {
        register_again(r);
    }
}

/* It was told later: perhaps somebody has registered it again. */
static bool is_gone(const struct registration *r)
{
    return np_registry_heartbeat(r->script->registry, r->endpoint->id,
                                 np_loop_now(r->script->loop)) == NEAP_ENOTFOUND;
}

static void on_change(const struct np_change *c, void *arg)
{
    struct registration *r = arg;
    if (strcmp(c->endpoint->id, r->endpoint->id) != 0) return;
    if (r->waiting) return;
    if (c->kind != NP_CHANGE_REMOVED) {
        set_endpoint(r, np_endpoint_ref(c->endpoint));
    } else if (!c->expired && is_gone(r)) {
        end(r);
    }
}

static void on_drain(struct np_drain *d, int64_t grace)
{
    (void)grace;
    deregister(np_container_of(d, struct registration, drain));
}

static void on_close(struct np_at_close *c)
{
    struct np_registrations *list = np_container_of(c, struct np_registrations, at_close);
    while (!np_list_empty(&list->all)) {
        deregister(np_container_of(list->all.next, struct registration, link));
    }
    if (list->script->registry) np_registry_drop_holder(list->script->registry, list->script);
}

/* --- options */

struct options {
    const char *name, *id, *address, *zone;
    int64_t ttl;
    int weight;
};

/* The first two are not for update. */
static const struct np_opt option_list[] = {
    {"name", NP_OPT_STRING, offsetof(struct options, name), 0, 0},
    {"id", NP_OPT_STRING, offsetof(struct options, id), 0, 0},
    {"address", NP_OPT_STRING, offsetof(struct options, address), 0, 0},
    {"ttl", NP_OPT_SECONDS, offsetof(struct options, ttl), 0, 0},
    {"weight", NP_OPT_INT, offsetof(struct options, weight), 1, NP_WEIGHT_MAX},
    {"zone", NP_OPT_STRING, offsetof(struct options, zone), 0, 0},
    {"tags", NP_OPT_TABLE, 0, 0, 0},
    {"meta", NP_OPT_TABLE, 0, 0, 0},
    {NULL, NP_OPT_ANY, 0, 0, 0},
};

void np_registration_read(lua_State *L, int idx, bool update, struct np_registration *reg)
{
    struct np_endpoint_desc *d = &reg->desc;
    struct options o = {d->service, d->id, d->address, d->zone, reg->ttl, (int)d->weight};
    luaL_checktype(L, idx, LUA_TTABLE);
    np_opts_read(L, idx, "opts", option_list + (update ? 2 : 0), &o);
    if (o.name == NULL) np_misuse(L, "opts.name: required");
    if (o.address == NULL) np_misuse(L, "opts.address: required");
    d->service = o.name;
    d->id = o.id;
    d->address = o.address;
    d->zone = o.zone;
    d->weight = (uint32_t)o.weight;
    reg->ttl = o.ttl;
    if (lua_getfield(L, idx, "tags") != LUA_TNIL) np_endpoint_read_tags(L, -1, "opts.tags", d);
    if (lua_getfield(L, idx, "meta") != LUA_TNIL) np_endpoint_read_meta(L, -1, "opts.meta", d);
}

/* --- the object */

/* What became of it elsewhere is known from here on. */
static struct registration *check(lua_State *L)
{
    struct registration *r = *(struct registration **)luaL_checkudata(L, 1, TYPE);
    if (r != NULL && is_open(r)) np_registry_view_dispatch(r->script->view);
    return r;
}

static struct registration *check_open(lua_State *L)
{
    struct registration *r = check(L);
    if (r == NULL || !is_open(r)) np_misuse(L, "this registration has ended");
    return r;
}

static int fail_or_misuse(lua_State *L, const struct neap_errinfo *info)
{
    if (info->code == NEAP_EINVAL) return np_misuse(L, "register: %s", info->message);
    return np_fail_info(L, info);
}

/* r:deregister(): it may be called twice. */
static int registration_deregister(lua_State *L)
{
    struct registration *r = check(L);
    if (r != NULL && is_open(r)) deregister(r);
    return 0;
}

/* r:update{address=, ttl=, weight=, zone=, tags=, meta=} → r | nil, err */
static int registration_update(lua_State *L)
{
    struct registration *r = check_open(L);
    struct neap_errinfo info = {0};
    /* The values of the description must hold while Lua runs, whatever becomes of `r`. */
    lua_settop(L, 2);
    np_endpoint_push(L, r->endpoint);
    struct np_registration reg = {.desc = np_endpoint_describe(r->endpoint), .ttl = r->ttl};
    if (np_endpoint_meta(r->endpoint, "zone") != NULL && lua_istable(L, 2) &&
        lua_getfield(L, 2, "meta") == LUA_TTABLE) {
        reg.desc.zone = NULL; /* it came from the metadata, and does so again */
    }
    np_registration_read(L, 2, true, &reg);
    if (!is_open(r)) return np_misuse(L, "this registration has ended");
    if (put(r, &reg, &info) != NEAP_OK) return fail_or_misuse(L, &info);
    lua_settop(L, 1);
    return 1;
}

static int registration_index(lua_State *L)
{
    struct registration *r = check(L);
    const char *key = luaL_checkstring(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
    if (r == NULL) return 1;
    if (strcmp(key, "id") == 0) return lua_pushstring(L, r->endpoint->id), 1;
    if (strcmp(key, "name") == 0) return lua_pushstring(L, r->endpoint->service), 1;
    if (strcmp(key, "address") == 0) return lua_pushstring(L, r->endpoint->address), 1;
    if (strcmp(key, "ttl") == 0) return lua_pushnumber(L, np_to_seconds(r->ttl)), 1;
    if (strcmp(key, "active") == 0) return lua_pushboolean(L, is_open(r)), 1;
    if (strcmp(key, "automatic") == 0) return lua_pushboolean(L, r->automatic), 1;
    if (strcmp(key, "endpoint") == 0) return np_endpoint_push(L, r->endpoint), 1;
    return 1;
}

static int registration_tostring(lua_State *L)
{
    struct registration *r = check(L);
    lua_pushfstring(L, "neap.registration: %s%s", r ? r->endpoint->id : "none",
                    r && is_open(r) ? "" : " (ended)");
    return 1;
}

static int registration_gc(lua_State *L)
{
    struct registration **box = lua_touserdata(L, 1);
    struct registration *r = *box;
    *box = NULL;
    if (r == NULL) return 0;
    r->boxes--;
    release(r);
    return 0;
}

static struct registration **push_box(lua_State *L)
{
    struct registration **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, TYPE);
    return box;
}

/* One registration has one object: they stand in a weak table in the Lua registry. */
static void push_object(lua_State *L, struct np_registrations *list, struct registration *r)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, list);
    if (lua_rawgetp(L, -1, r) != LUA_TUSERDATA) {
        lua_pop(L, 1);
        struct registration **box = push_box(L);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, -3, r);
        *box = r;
        r->boxes++;
    }
    lua_remove(L, -2);
}

static int push_all(lua_State *L)
{
    struct np_registrations *list = lua_touserdata(L, 1);
    struct np_link *l = NULL;
    lua_Integer n = 0;
    lua_newtable(L);
    np_list_each (l, &list->all) {
        push_object(L, list, np_container_of(l, struct registration, link));
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

int np_registrations_push(lua_State *L, struct np_registrations *list)
{
    np_call_whole(L, push_all, list, 1);
    return 1;
}

/* --- making one */

/* Takes the place of the registration that this state has under the id, if it has one. */
static void replace(struct np_registrations *list, const char *id)
{
    struct np_link *l, *tmp;
    np_list_each_safe (l, tmp, &list->all) {
        struct registration *r = np_container_of(l, struct registration, link);
        if (strcmp(r->endpoint->id, id) == 0) end(r);
    }
}

static struct registration *new_object(struct np_script *s, const struct np_registration *reg)
{
    struct registration *r = np_calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    r->script = s;
    r->ttl = reg->ttl;
    r->automatic = reg->desc.id == NULL;
    r->waiting = s->held;
    r->activation.fn = on_activated;
    r->drain.drain = on_drain;
    np_link_init(&r->link);
    np_timer_init(&r->timer, s->loop, on_timer);
    np_timer_set_background(&r->timer, true);
    return r;
}

static struct registration *make(struct np_registrations *list, const struct np_registration *reg,
                                 struct neap_errinfo *info)
{
    struct np_script *s = list->script;
    struct registration *r = new_object(s, reg);
    if (r == NULL) {
        np_err_plain(info, NEAP_ENOMEM);
        return NULL;
    }
    enum neap_err err = put(r, reg, info);
    if (err != NEAP_OK) goto fail;
    replace(list, r->endpoint->id);
    err = np_registry_view_watch(s->view, r->endpoint->service, on_change, r, &r->watch);
    if (err != NEAP_OK) {
        np_err_plain(info, err);
        take_back(r);
        goto fail;
    }
    np_list_push_back(&list->all, &r->link);
    np_drain_add(&s->shutdown, &r->drain);
    if (r->waiting) np_activate(s, &r->activation);
    return r;
fail:
    np_timer_stop(&r->timer);
    np_endpoint_unref(r->endpoint);
    np_free(r);
    return NULL;
}

int np_registration_new(lua_State *L, struct np_registrations *list, struct np_registration *reg)
{
    struct neap_errinfo info = {0};
    lua_rawgetp(L, LUA_REGISTRYINDEX, list);
    struct registration **box = push_box(L);
    struct registration *r = make(list, reg, &info);
    if (r == NULL) return fail_or_misuse(L, &info);
    *box = r;
    r->boxes++;
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, r); /* should this raise, it stays registered and the box's end is its own */
    return 1;
}

static void make_type(lua_State *L)
{
    static const luaL_Reg methods[] = {{"deregister", registration_deregister},
                                       {"close", registration_deregister},
                                       {"update", registration_update},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", registration_gc},
                                    {"__close", registration_deregister},
                                    {"__tostring", registration_tostring},
                                    {NULL, NULL}};
    luaL_setfuncs(L, meta, 0);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_pushcclosure(L, registration_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

struct np_registrations *np_registrations_open(lua_State *L)
{
    if (luaL_newmetatable(L, TYPE)) make_type(L);
    lua_pop(L, 1);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &list_key) == LUA_TUSERDATA) {
        return lua_touserdata(L, -1); /* the module was opened before */
    }
    lua_pop(L, 1);
    struct np_registrations *list = lua_newuserdatauv(L, sizeof *list, 0);
    *list = (struct np_registrations){.script = np_script_of(L)};
    np_link_init(&list->all);
    np_link_init(&list->at_close.link);
    list->at_close.fn = on_close;
    /* the objects, by registration */
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, list);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &list_key);
    np_at_close_add(list->script, &list->at_close);
    return list;
}
