/* neap.core.tls: contexts. See bind_tls.h and net/tls.h.
 *
 * A context's userdata holds one reference, each server and connection others: it lives on in those
 * when nobody holds it. Its function for names is cut off when the state closes.
 */
#include "script/bind_tls.h"

#include <string.h>

#include "base/alloc.h"
#include "script/bind_tls_options.h"
#include "script/modules.h"
#include "script/task.h"

#define TYPE "neap.tls.context"
#define NAMING "neap.tls.naming"

static const char default_key; /* of the default client context in the Lua registry */

struct ltls {
    struct np_script *script; /* NULL once the state closes */
    struct np_tls_context *context;
    struct np_at_close at_close;
    int sni_ref;
};

/* --- a name without a certificate: the script is asked, in a task */

struct question {
    struct np_tls_naming *naming; /* NULL when it was answered */
};

static void answer(struct question *q, struct np_tls_context *c)
{
    struct np_tls_naming *n = q->naming;
    q->naming = NULL;
    if (n) np_tls_naming_answer(n, c);
}

static int question_gc(lua_State *L)
{
    answer(lua_touserdata(L, 1), NULL);
    return 0;
}

/* On its way to the task that asks. */
struct asking {
    struct ltls *l;
    struct np_tls_naming *naming;
    char name[256];
};

static struct ltls *check(lua_State *L, int idx)
{
    return luaL_checkudata(L, idx, TYPE);
}

/* Stack: the question, …, what the function gave: a context or a table of options; nil: no. */
static int named_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct question *q = (struct question *)ctx;
    struct np_tls_context *c = NULL;
    struct neap_errinfo info = {0};
    enum neap_err err = np_ltls_option(L, -1, "sni's result", NP_LTLS_SERVER, &c, &info);
    answer(q, c);
    if (err) return luaL_error(L, "sni: %s", info.message);
    return 0;
}

static int ask(lua_State *L)
{
    struct asking *a = lua_touserdata(L, 1);
    struct question *q = lua_newuserdatauv(L, sizeof *q, 0);
    q->naming = NULL;
    luaL_setmetatable(L, NAMING);
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->l->sni_ref);
    lua_pushstring(L, a->name);
    q->naming = a->naming;
    np_script_of(L)->sched.current->arg = NULL;
    np_free(a);
    lua_callk(L, 1, 1, (lua_KContext)q, named_k);
    return named_k(L, LUA_OK, (lua_KContext)q);
}

static void asked(struct np_task *t, bool ok, int nresults)
{
    (void)nresults;
    struct asking *a = t->arg;
    if (!ok) np_task_log_error(t);
    if (a) np_tls_naming_answer(a->naming, NULL); /* it did not come to asking */
    np_free(a);
}

static void on_sni(void *arg, struct np_tls_naming *n, const char *name)
{
    struct ltls *l = arg;
    struct asking *a = l->script ? np_alloc(sizeof *a) : NULL;
    struct np_task *t = a ? np_task_new_c(l->script, ask, a, NULL, "sni") : NULL;
    if (!t) {
        np_free(a);
        np_tls_naming_answer(n, NULL);
        return;
    }
    *a = (struct asking){.l = l, .naming = n};
    strncpy(a->name, name, sizeof a->name - 1);
    t->done = asked;
    t->arg = a;
    np_task_start(t, false);
}

/* --- life */

static void cut(struct ltls *l)
{
    if (!l->script) return;
    if (l->context) np_tls_context_end_sni(l->context);
    np_at_close_remove(&l->at_close);
    l->script = NULL;
}

static void on_state_closing(struct np_at_close *c)
{
    cut(np_container_of(c, struct ltls, at_close));
}

static int context_gc(lua_State *L)
{
    struct ltls *l = check(L, 1);
    struct np_script *script = l->script;
    cut(l);
    if (script && l->sni_ref != LUA_NOREF) np_unref(script, l->sni_ref);
    l->sni_ref = LUA_NOREF;
    np_tls_context_unref(l->context);
    l->context = NULL;
    return 0;
}

/* Makes one from the options at `idx` and pushes it. */
static enum neap_err new_context(lua_State *L, int idx, const char *path, enum np_ltls_side side,
                                 struct neap_errinfo *info)
{
    struct np_script *script = np_script_of(L);
    struct np_ltls_options o;
    np_ltls_read_options(L, idx, path, side, &o); /* leaves what it needs on the stack */
    struct ltls *l = lua_newuserdatauv(L, sizeof *l, 0);
    *l = (struct ltls){.sni_ref = LUA_NOREF, .at_close.fn = on_state_closing};
    luaL_setmetatable(L, TYPE);
    if (o.sni_idx) {
        lua_pushvalue(L, o.sni_idx);
        l->sni_ref = np_ref(L);
        o.tls.on_sni = on_sni;
        o.tls.on_sni_arg = l;
    }
    l->script = script;
    np_at_close_add(script, &l->at_close);
    enum neap_err err = np_tls_context_new(script->loop, &o.tls, &l->context, info);
    if (err) return err;
    if (o.reload_interval && np_tls_context_watch(l->context, o.reload_interval)) {
        np_err_plain(info, NEAP_ENOMEM);
        return NEAP_ENOMEM;
    }
    return NEAP_OK;
}

/* context{cert=, key=, …} → context | nil, err */
static int tls_context(lua_State *L)
{
    struct neap_errinfo info = {0};
    lua_settop(L, 1);
    if (lua_isnoneornil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    enum neap_err err = new_context(L, 1, "opts", NP_LTLS_CLIENT, &info);
    return err ? np_fail_info(L, &info) : 1;
}

enum neap_err np_ltls_default_client(lua_State *L, struct np_tls_context **out,
                                     struct neap_errinfo *info)
{
    int top = lua_gettop(L);
    luaL_checkstack(L, 24, NULL);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &default_key) != LUA_TUSERDATA) {
        lua_newtable(L);
        enum neap_err err = new_context(L, lua_gettop(L), "opts", NP_LTLS_CLIENT, info);
        if (err) {
            lua_settop(L, top);
            lua_pushnil(L);
            return err;
        }
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &default_key);
        lua_replace(L, top + 1);
        lua_settop(L, top + 1);
    }
    *out = check(L, -1)->context;
    return NEAP_OK;
}

/* A table of options, as a context on top. */
static enum neap_err from_table(lua_State *L, int idx, const char *path, enum np_ltls_side side,
                                struct neap_errinfo *info)
{
    int top = lua_gettop(L);
    enum neap_err err = new_context(L, idx, path, side, info);
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
    return err;
}

enum neap_err np_ltls_option(lua_State *L, int idx, const char *path, enum np_ltls_side side,
                             struct np_tls_context **out, struct neap_errinfo *info)
{
    idx = lua_absindex(L, idx);
    *out = NULL;
    if (lua_isnoneornil(L, idx) || (lua_isboolean(L, idx) && !lua_toboolean(L, idx))) {
        lua_pushnil(L);
        return NEAP_OK;
    }
    if (lua_isboolean(L, idx) && side == NP_LTLS_CLIENT)
        return np_ltls_default_client(L, out, info);
    if (!luaL_testudata(L, idx, TYPE) && !lua_istable(L, idx))
        np_misuse(L, "%s: expected neap.tls.context or table, got %s", path, luaL_typename(L, idx));
    enum neap_err err = NEAP_OK;
    if (lua_istable(L, idx))
        err = from_table(L, idx, path, side, info);
    else
        lua_pushvalue(L, idx);
    if (err) return err;
    struct ltls *l = check(L, -1);
    if (!l->context) np_misuse(L, "%s: this context was finalised", path);
    if (side == NP_LTLS_SERVER && !np_tls_context_has_cert(l->context) && l->sni_ref == LUA_NOREF)
        np_misuse(L, "%s: a server needs a certificate (cert, key) or sni", path);
    *out = l->context;
    return NEAP_OK;
}

/* --- methods */

/* context:reload() → true | nil, err: reads its files again; on failure it is as it was. */
static int context_reload(lua_State *L)
{
    struct neap_errinfo info = {0};
    enum neap_err err = np_tls_context_reload(check(L, 1)->context, &info);
    if (err) return np_fail_info(L, &info);
    lua_pushboolean(L, 1);
    return 1;
}

/* context:reloads(): how often its files were read anew. */
static int context_reloads(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)np_tls_context_generation(check(L, 1)->context));
    return 1;
}

/* rotate_ticket_keys() → true | nil, err: a new key for session tickets in the whole process. */
static int tls_rotate(lua_State *L)
{
    struct np_tls_shared *shared = np_script_of(L)->loop->tls;
    enum neap_err err = shared ? np_tls_shared_rotate(shared) : NEAP_ENOTSUP;
    if (err) return np_fail(L, err, NULL);
    lua_pushboolean(L, 1);
    return 1;
}

static const char opened_key;

void np_ltls_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"reload", context_reload}, {"reloads", context_reloads}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", context_gc}, {NULL, NULL}};
    static const luaL_Reg naming[] = {{"__gc", question_gc}, {NULL, NULL}};
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &opened_key) == LUA_TNIL) {
        np_type_new(L, TYPE, methods, meta);
        np_type_new(L, NAMING, NULL, naming);
        lua_pushboolean(L, 1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &opened_key);
    }
    lua_pop(L, 1);
}

int np_open_tls(lua_State *L)
{
    static const luaL_Reg functions[] = {{"context", tls_context},
                                         {"rotate_ticket_keys", tls_rotate},
                                         {"of_request", np_ltls_of_request},
                                         {NULL, NULL}};
    np_ltls_open(L);
    luaL_newlib(L, functions);
    return 1;
}
