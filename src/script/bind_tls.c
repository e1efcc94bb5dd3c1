/* neap.core.tls: contexts. See bind_tls.h and net/tls.h.
 *
 * A context's userdata holds one reference, each server and connection others: it lives on in those
 * when nobody holds it. So does its function for names, which goes with the context (not with the
 * userdata) and is cut off when the state closes.
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
    struct np_tls_context *context; /* NULL when it was finalised */
    bool asks;                      /* the script for names */
};

/* --- a name without a certificate: the script is asked, in a task */

/* The script's function. The context holds it, and so does what is on its way to a task. */
struct sni {
    struct np_script *script; /* NULL once the state closes */
    struct np_at_close at_close;
    unsigned refs;
    int ref;
};

/* On its way to the task that asks. */
struct asking {
    struct sni *sni;
    struct np_tls_naming *naming;
    char name[256];
};

static void cut(struct np_at_close *c)
{
    struct sni *s = np_container_of(c, struct sni, at_close);
    np_at_close_remove(&s->at_close);
    s->script = NULL;
}

static void sni_unref(void *arg)
{
    struct sni *s = arg;
    if (--s->refs > 0) return;
    if (s->script) {
        np_unref(s->script, s->ref);
        cut(&s->at_close);
    }
    np_free(s);
}

static void asking_free(struct asking *a)
{
    sni_unref(a->sni);
    np_free(a);
}

struct question {
    struct np_tls_naming *naming; /* NULL when it was answered; then the rest is, too */
    struct sni *sni;
    struct np_task *task;
};

static void answer(struct question *q, struct np_tls_context *c)
{
    struct question was = *q;
    *q = (struct question){0};
    if (!was.naming) return;
    np_tls_naming_answer(was.naming, c);
    sni_unref(was.sni);
}

static int question_gc(lua_State *L)
{
    answer(lua_touserdata(L, 1), NULL);
    return 0;
}

/* The connection has: nobody waits for the answer. */
static void on_gone(void *arg)
{
    struct question *q = arg;
    if (q->sni->script) np_task_cancel(q->task, NEAP_ECANCELED);
}

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

/* An answer that did not come to be is none. */
static void on_named(struct np_task *t, bool ok, int nresults)
{
    (void)nresults;
    answer(t->arg, NULL);
    if (!ok) np_task_log_error(t);
}

static int ask(lua_State *L)
{
    struct np_task *t = np_script_of(L)->sched.current;
    struct asking *a = lua_touserdata(L, 1);
    struct question *q = lua_newuserdatauv(L, sizeof *q, 0);
    *q = (struct question){0};
    luaL_setmetatable(L, NAMING);
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->sni->ref);
    lua_pushstring(L, a->name);
    *q = (struct question){.naming = a->naming, .sni = a->sni, .task = t};
    np_free(a);
    t->arg = q;
    t->done = on_named;
    np_tls_naming_watch(q->naming, on_gone, q);
    lua_callk(L, 1, 1, (lua_KContext)q, named_k);
    return named_k(L, LUA_OK, (lua_KContext)q);
}

static void asked(struct np_task *t, bool ok, int nresults)
{
    (void)nresults;
    struct asking *a = t->arg;
    if (!ok) np_task_log_error(t);
    if (!a) return;
    np_tls_naming_answer(a->naming, NULL); /* it did not come to asking */
    asking_free(a);
}

static void on_sni(void *arg, struct np_tls_naming *n, const char *name)
{
    struct sni *s = arg;
    struct asking *a = s->script ? np_alloc(sizeof *a) : NULL;
    struct np_task *t = a ? np_task_new_c(s->script, ask, a, NULL, "sni") : NULL;
    if (!t) {
        np_free(a);
        np_tls_naming_answer(n, NULL);
        return;
    }
    *a = (struct asking){.sni = s, .naming = n};
    s->refs++;
    strncpy(a->name, name, sizeof a->name - 1);
    t->done = asked;
    t->arg = a;
    np_task_start(t, false);
}

/* --- life */

static int context_gc(lua_State *L)
{
    struct ltls *l = check(L, 1);
    struct np_tls_context *c = l->context;
    l->context = NULL;
    np_tls_context_unref(c);
    return 0;
}

/* For the function at `idx`: NULL without memory. */
static struct sni *sni_new(lua_State *L, int idx)
{
    lua_pushvalue(L, idx);
    int ref = np_ref(L);
    struct sni *s = np_calloc(1, sizeof *s);
    struct np_script *script = np_script_of(L);
    if (!s) {
        np_unref(script, ref);
        return NULL;
    }
    *s = (struct sni){.script = script, .refs = 1, .ref = ref, .at_close.fn = cut};
    np_at_close_add(script, &s->at_close);
    return s;
}

/* Makes one from the options at `idx` and pushes it. */
static enum neap_err new_context(lua_State *L, int idx, const char *path, enum np_ltls_side side,
                                 struct neap_errinfo *info)
{
    struct np_script *script = np_script_of(L);
    struct np_ltls_options o;
    np_ltls_read_options(L, idx, path, side, &o); /* leaves what it needs on the stack */
    struct ltls *l = lua_newuserdatauv(L, sizeof *l, 0);
    *l = (struct ltls){.asks = o.sni_idx != 0};
    luaL_setmetatable(L, TYPE);
    if (l->asks) {
        o.tls.on_sni = on_sni;
        o.tls.on_sni_end = sni_unref;
        o.tls.on_sni_arg = sni_new(L, o.sni_idx);
        if (!o.tls.on_sni_arg) return np_err_plain(info, NEAP_ENOMEM);
    }
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
    if (side == NP_LTLS_SERVER && !np_tls_context_has_cert(l->context) && !l->asks)
        np_misuse(L, "%s: a server needs a certificate (cert, key) or sni", path);
    *out = l->context;
    return NEAP_OK;
}

/* --- methods */

static struct np_tls_context *check_context(lua_State *L)
{
    struct ltls *l = check(L, 1);
    if (!l->context) np_misuse(L, "this context was finalised");
    return l->context;
}

/* context:reload() → true | nil, err: reads its files again; on failure it is as it was. */
static int context_reload(lua_State *L)
{
    struct neap_errinfo info = {0};
    enum neap_err err = np_tls_context_reload(check_context(L), &info);
    if (err) return np_fail_info(L, &info);
    lua_pushboolean(L, 1);
    return 1;
}

/* context:reloads(): how often its files were read anew. */
static int context_reloads(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)np_tls_context_generation(check_context(L)));
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
