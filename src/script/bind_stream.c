/* The life of a script's stream, and neap.core.stream. See bind_stream.h. */
#include "script/bind_stream.h"

#include <string.h>

#include "base/alloc.h"
#include "net/dial.h"
#include "script/bind_proxy.h"
#include "script/bind_tls.h"
#include "script/modules.h"

#define TYPE "neap.stream"

static const char list_key; /* of the state's list in the Lua registry */

struct list {
    struct np_link all;
    struct np_at_close at_close;
    struct np_script *script;
};

/* --- what the transport says */

static void wake_all(struct np_lstream *ls, enum neap_err err)
{
    np_wake(&ls->opener, err);
    np_wake(&ls->reader, NEAP_OK); /* it looks for itself */
    np_wake_all(&ls->writers, err);
}

static void on_open(struct np_stream *s)
{
    struct np_lstream *ls = s->arg;
    np_wake(&ls->opener, NEAP_OK);
}

static size_t limit(const struct np_lstream *ls)
{
    return ls->want > ls->read_ahead ? ls->want : ls->read_ahead;
}

static void on_error(struct np_stream *s, enum neap_err err)
{
    struct np_lstream *ls = s->arg;
    ls->err = err;
    if (!ls->why && s->ops->why) ls->why = np_strdup(np_stream_why(s, err));
    wake_all(ls, err);
}

static void on_read(struct np_stream *s, const char *data, size_t n)
{
    struct np_lstream *ls = s->arg;
    if (np_buf_append(&ls->in, data, n) != NEAP_OK) {
        on_error(s, NEAP_ENOMEM);
        np_stream_close(s);
        return;
    }
    size_t len = np_buf_len(&ls->in);
    if (len >= limit(ls)) np_stream_read_stop(s);
    if (len >= ls->want) np_wake(&ls->reader, NEAP_OK);
}

static void on_end(struct np_stream *s)
{
    struct np_lstream *ls = s->arg;
    ls->ended = true;
    np_wake(&ls->reader, NEAP_OK);
}

static void on_drain(struct np_stream *s)
{
    struct np_lstream *ls = s->arg;
    np_wake_all(&ls->writers, NEAP_OK);
}

static void release(struct np_lstream *ls)
{
    if (ls->s || ls->handle || ls->held) return;
    np_list_remove(&ls->link);
    np_buf_fini(&ls->in);
    np_free(ls->why);
    np_free(ls);
}

static void on_close(struct np_stream *s)
{
    struct np_lstream *ls = s->arg;
    ls->s = NULL;
    wake_all(ls, ls->err ? ls->err : NEAP_ECLOSED);
    if (ls->gone)
        ls->gone(ls->gone_arg); /* and releases it */
    else
        release(ls);
}

const struct np_stream_handler np_lstream_handler = {
    .on_open = on_open,
    .on_read = on_read,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_error = on_error,
    .on_close = on_close,
};

int np_lstream_fail(lua_State *L, const struct np_lstream *ls, enum neap_err err)
{
    return np_fail(L, err, ls->why && err == ls->err ? "%s" : NULL, ls->why);
}

/* --- making and closing */

static void on_state_close(struct np_at_close *c)
{
    struct list *list = np_container_of(c, struct list, at_close);
    struct np_link *l, *tmp;
    np_list_each_safe (l, tmp, &list->all) {
        np_lstream_close(np_container_of(l, struct np_lstream, link), 0);
    }
    /* They may outlive the list, which goes with the state. */
    while (np_list_pop_front(&list->all))
        continue;
}

static void link_in(struct np_lstream *ls)
{
    lua_State *L = ls->script->L;
    if (!lua_checkstack(L, 1)) return; /* it is then closed by its finaliser */
    lua_rawgetp(L, LUA_REGISTRYINDEX, &list_key);
    struct list *list = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (list) np_list_push_back(&list->all, &ls->link);
}

struct np_lstream *np_lstream_new(struct np_script *script, const struct np_lstream_options *opts)
{
    struct np_lstream *ls = np_calloc(1, sizeof *ls);
    if (!ls) return NULL;
    ls->script = script;
    ls->read_ahead = opts->read_ahead;
    np_link_init(&ls->link);
    np_link_init(&ls->writers);
    link_in(ls);
    return ls;
}

void np_lstream_drop(struct np_lstream *ls)
{
    release(ls);
}

void np_lstream_attach(struct np_lstream *ls, struct np_stream *s)
{
    ls->s = s;
    np_stream_set_handler(s, &np_lstream_handler, ls);
    enum neap_err err = np_stream_read_start(s); /* while connecting: reads when it is open */
    if (err) np_stream_fail_later(s, err);
}

struct np_lstream **np_lstream_push(lua_State *L)
{
    struct np_lstream **handle = lua_newuserdatauv(L, sizeof(struct np_lstream *), 0);
    *handle = NULL;
    luaL_setmetatable(L, TYPE);
    return handle;
}

void np_lstream_hold(struct np_lstream **handle, struct np_lstream *ls)
{
    *handle = ls;
    ls->handle = handle;
}

void np_lstream_close(struct np_lstream *ls, int64_t linger)
{
    bool first = !ls->closed;
    ls->closed = true;
    if (first) {
        np_buf_fini(&ls->in);
        wake_all(ls, NEAP_ECLOSED);
    }
    if (!ls->s) return;
    if (linger > 0 && !ls->script->closing)
        np_stream_finish(ls->s, linger);
    else
        np_stream_close(ls->s);
}

/* --- the userdata */

static struct np_lstream *check_any(lua_State *L, int idx)
{
    return *(struct np_lstream **)luaL_checkudata(L, idx, TYPE);
}

struct np_lstream *np_lstream_check(lua_State *L, int idx)
{
    struct np_lstream *ls = check_any(L, idx);
    if (!ls || ls->closed) np_misuse(L, "this stream is closed");
    return ls;
}

int64_t np_lstream_timeout(lua_State *L, int idx, int64_t def)
{
    static const struct np_opt spec[] = {{"timeout", NP_OPT_SECONDS, 0, 0, 0}, {0}};
    np_opts_read(L, idx, "opts", spec, &def);
    return def;
}

/* s:close{linger=5}: what is queued still leaves. Does not wait. */
static int stream_close(lua_State *L)
{
    struct {
        int64_t linger;
    } opts = {NP_LSTREAM_LINGER};
    static const struct np_opt spec[] = {{"linger", NP_OPT_SECONDS, 0, 0, 0}, {0}};
    struct np_lstream *ls = check_any(L, 1);
    np_opts_read(L, 2, "opts", spec, &opts);
    if (ls) np_lstream_close(ls, opts.linger);
    return 0;
}

/* __close gets the error as its second argument. */
static int stream_meta_close(lua_State *L)
{
    lua_settop(L, 1);
    return stream_close(L);
}

static int stream_gc(lua_State *L)
{
    struct np_lstream **handle = lua_touserdata(L, 1);
    struct np_lstream *ls = *handle;
    *handle = NULL;
    if (!ls) return 0;
    ls->handle = NULL;
    np_lstream_close(ls, NP_LSTREAM_LINGER);
    release(ls);
    return 0;
}

static int push_name(lua_State *L, struct np_lstream *ls,
                     enum neap_err (*get)(struct np_stream *, char *, size_t))
{
    char text[NP_ADDR_TEXT_MAX];
    enum neap_err err = ls->s ? get(ls->s, text, sizeof text) : NEAP_ECLOSED;
    if (err) return np_fail(L, ls->err ? ls->err : err, NULL);
    lua_pushstring(L, text);
    return 1;
}

static int stream_peer(lua_State *L)
{
    return push_name(L, np_lstream_check(L, 1), np_stream_peer);
}

static int stream_local(lua_State *L)
{
    return push_name(L, np_lstream_check(L, 1), np_stream_local);
}

static int stream_tostring(lua_State *L)
{
    struct np_lstream *ls = check_any(L, 1);
    char text[NP_ADDR_TEXT_MAX];
    if (!ls || ls->closed || !ls->s)
        lua_pushliteral(L, "neap.stream: closed");
    else if (np_stream_peer(ls->s, text, sizeof text) == NEAP_OK)
        lua_pushfstring(L, "neap.stream: %s to %s", ls->s->ops->kind, text);
    else
        lua_pushfstring(L, "neap.stream: %s", ls->s->ops->kind);
    return 1;
}

/* s:detach(): it outlives the handler it was given to. */
static int stream_detach(lua_State *L)
{
    np_lstream_check(L, 1)->detached = true;
    lua_settop(L, 1);
    return 1;
}

static int stream_is_closed(lua_State *L)
{
    struct np_lstream *ls = check_any(L, 1);
    lua_pushboolean(L, !ls || ls->closed);
    return 1;
}

/* s:set_timeouts{read=, write=, idle=}: seconds, false for none. */
static int stream_set_timeouts(lua_State *L)
{
    struct opts {
        int64_t read, write, idle;
    };
    static const struct np_opt spec[] = {
        {"read", NP_OPT_SECONDS, offsetof(struct opts, read), 0, 0},
        {"write", NP_OPT_SECONDS, offsetof(struct opts, write), 0, 0},
        {"idle", NP_OPT_SECONDS, offsetof(struct opts, idle), 0, 0},
        {0}};
    struct np_lstream *ls = np_lstream_check(L, 1);
    struct opts o = {ls->read_timeout, ls->s ? ls->s->write_timeout : 0,
                     ls->s ? ls->s->idle_timeout : 0};
    luaL_checktype(L, 2, LUA_TTABLE);
    np_opts_read(L, 2, "opts", spec, &o);
    if (ls->closed || !ls->s) return np_fail(L, ls->err ? ls->err : NEAP_ECLOSED, NULL);
    ls->read_timeout = o.read;
    enum neap_err err = np_stream_set_timeouts(ls->s, 0, o.write, o.idle);
    if (err) return np_fail(L, err, NULL);
    lua_settop(L, 1);
    return 1;
}

/* --- opening the module */

static void make_type(lua_State *L)
{
    static const luaL_Reg methods[] = {{"close", stream_close},
                                       {"is_closed", stream_is_closed},
                                       {"peer", stream_peer},
                                       {"local_address", stream_local},
                                       {"detach", stream_detach},
                                       {"set_timeouts", stream_set_timeouts},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", stream_gc},
                                    {"__close", stream_meta_close},
                                    {"__tostring", stream_tostring},
                                    {NULL, NULL}};
    np_type_new(L, TYPE, methods, meta);
    luaL_getmetatable(L, TYPE);
    lua_getfield(L, -1, "__index");
    luaL_setfuncs(L, np_lstream_read_methods, 0);
    luaL_setfuncs(L, np_lstream_write_methods, 0);
    luaL_setfuncs(L, np_ltls_stream_methods, 0);
    luaL_setfuncs(L, np_lproxy_stream_methods, 0);
    lua_pop(L, 2);
}

void np_lstream_open(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &list_key) != LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    lua_pop(L, 1);
    make_type(L);
    np_ltls_open(L);
    struct list *list = lua_newuserdatauv(L, sizeof *list, 0);
    np_link_init(&list->all);
    list->script = np_script_of(L);
    list->at_close = (struct np_at_close){.fn = on_state_close};
    lua_rawsetp(L, LUA_REGISTRYINDEX, &list_key);
    np_at_close_add(list->script, &list->at_close);
}

/* pipe{capacity=65536, read_ahead=, max_queue=} → a, b: what is written to one is read from the
 * other, in memory. */
static int stream_pipe(lua_State *L)
{
    struct opts {
        size_t capacity;
        struct np_lstream_options stream;
    } o = {(size_t)64 << 10, NP_LSTREAM_OPTIONS_INIT};
    static const struct np_opt spec[] = {
        {"capacity", NP_OPT_SIZE, offsetof(struct opts, capacity), 1, 1 << 30},
        NP_LSTREAM_OPTS(struct opts, stream),
        {0}};
    struct np_script *script = np_script_of(L);
    struct np_stream *end[2];
    np_opts_read(L, 1, "opts", spec, &o);
    luaL_checkstack(L, 8, NULL);
    if (script->closing) return np_fail(L, NEAP_ECLOSED, "the host is closing");
    struct np_lstream **handle[2] = {np_lstream_push(L), np_lstream_push(L)};
    for (int i = 0; i < 2; i++) {
        struct np_lstream *ls = np_lstream_new(script, &o.stream);
        if (!ls) return np_fail(L, NEAP_ENOMEM, NULL);
        np_lstream_hold(handle[i], ls);
    }
    enum neap_err err = np_pipe_pair(script->loop, o.capacity, &end[0], &end[1]);
    if (err) return np_fail(L, err, NULL);
    for (int i = 0; i < 2; i++) {
        end[i]->max_queue = o.stream.max_queue;
        np_lstream_attach(*handle[i], end[i]);
    }
    return 2;
}

int np_open_stream(lua_State *L)
{
    static const luaL_Reg functions[] = {{"pipe", stream_pipe}, {NULL, NULL}};
    np_lstream_open(L);
    luaL_newlib(L, functions);
    return 1;
}
