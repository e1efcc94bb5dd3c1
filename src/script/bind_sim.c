/* neap.core.sim: runs of the simulator (see bind_sim.h). */
#include "script/bind_sim.h"

#include "base/clock.h"
#include "script/bind_endpoint.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/state.h"

#define TYPE "neap.sim"

static struct np_sim_box *check_any(lua_State *L)
{
    return luaL_checkudata(L, 1, TYPE);
}

struct np_sim_box *np_sim_check_open(lua_State *L)
{
    struct np_sim_box *b = check_any(L);
    if (b->sim == NULL) np_misuse(L, "this simulator is closed");
    return b;
}

/* spec[name], a function or nil, as the user value n of the userdata at the
 * top. */
static bool take_hook(lua_State *L, const char *name, int n)
{
    bool there = lua_getfield(L, 1, name) != LUA_TNIL;
    lua_setiuservalue(L, -2, n);
    return there;
}

/* new(spec) → sim */
static int sim_new(lua_State *L)
{
    struct np_sim_options o;
    struct neap_errinfo info = {0};
    luaL_checktype(L, 1, LUA_TTABLE);
    np_sim_read_options(L, &o);
    struct np_sim_box *b = lua_newuserdatauv(L, sizeof *b, NP_SIM_UVS);
    *b = (struct np_sim_box){.buckets = o.buckets, .servers = o.nservers};
    luaL_setmetatable(L, TYPE);
    if (take_hook(L, "pick", NP_SIM_UV_PICK)) o.hooks.pick = np_sim_script_pick;
    if (take_hook(L, "release", NP_SIM_UV_RELEASE)) o.hooks.release = np_sim_script_release;
    o.hooks.arg = b;
    lua_newtable(L);
    lua_setiuservalue(L, -2, NP_SIM_UV_LISTS);

    enum neap_err err = np_sim_new(&o, &b->sim, &info);
    if (err == NEAP_ENOMEM) return luaL_error(L, "not enough memory");
    if (err != NEAP_OK) return np_misuse(L, "opts: %s", info.message);
    return 1;
}

static int sim_close(lua_State *L)
{
    struct np_sim_box *b = check_any(L);
    if (b->L != NULL) return np_misuse(L, "this simulator is running");
    np_sim_free(b->sim);
    b->sim = NULL;
    return 0;
}

/* sim:step(events) → over, progress, now */
static int sim_step(lua_State *L)
{
    struct np_sim_box *b = np_sim_check_open(L);
    lua_Integer events = luaL_checkinteger(L, 2);
    luaL_argcheck(L, events > 0, 2, "must be above 0");
    if (b->L != NULL) return np_misuse(L, "this simulator is running");
    lua_settop(L, 1);
    bool over = false;
    b->L = L;
    b->self = 1;
    enum neap_err err = np_sim_step(b->sim, (uint64_t)events, &over);
    b->L = NULL;
    if (err != NEAP_OK) return luaL_error(L, "%s", neap_err_text(err));
    lua_pushboolean(L, over);
    lua_pushnumber(L, np_sim_progress(b->sim));
    lua_pushnumber(L, np_to_seconds(np_sim_now(b->sim) - NP_SIM_EPOCH));
    return 3;
}

int np_open_sim(lua_State *L)
{
    static const luaL_Reg methods[] = {{"step", sim_step},
                                       {"totals", np_sim_push_totals},
                                       {"series", np_sim_push_series},
                                       {"servers", np_sim_push_servers},
                                       {"load", np_sim_push_load},
                                       {"close", sim_close},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", sim_close}, {"__close", sim_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"new", sim_new}, {NULL, NULL}};
    np_endpoint_open(L);
    np_type_new(L, TYPE, methods, meta);
    luaL_newlib(L, functions);
    return 1;
}
