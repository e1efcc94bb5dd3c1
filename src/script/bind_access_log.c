/* Access logs of scripts: options, and functions that get the entries.
 *
 * A function is called in a task of its own, after the answers, entry by entry; while it is at it
 * (it may wait), further entries gather, up to a bound. An entry that makes it fail is logged, and
 * the next one goes on. The object that holds it outlives the server until all is told.
 */
#include "script/bind_access_log.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "script/runtime.h"
#include "script/state.h"

#define MAX_FIELDS 64
#define HANDLER_FLUSH (NP_NS_PER_SEC / 10)

/* --- options */

static int compare_fields(const void *a, const void *b)
{
    const struct np_access_field *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The table on top: names to formats. By name, so that every line has the same order. */
static void read_fields(lua_State *L, struct np_laccess *out)
{
    int table = lua_gettop(L);
    struct np_access_field *f = lua_newuserdatauv(L, MAX_FIELDS * sizeof *f, 0);
    size_t n = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
            np_misuse(L, "opts.access_log.fields: expected names with formats, got %s with %s",
                      luaL_typename(L, -2), luaL_typename(L, -1));
        if (n == MAX_FIELDS) np_misuse(L, "opts.access_log.fields: at most %d of them", MAX_FIELDS);
        f[n++] = (struct np_access_field){lua_tostring(L, -2), lua_tostring(L, -1)};
    }
    qsort(f, n, sizeof *f, compare_fields);
    out->log.fields = f;
    out->log.nfields = n;
}

static void read_table(lua_State *L, int idx, struct np_laccess *out)
{
    static const struct np_opt spec[] = {
        {"format", NP_OPT_STRING, offsetof(struct np_laccess, format), 0, 0},
        {"path", NP_OPT_STRING, offsetof(struct np_laccess, path), 0, 0},
        {"escape", NP_OPT_STRING, offsetof(struct np_laccess, escape), 0, 0},
        {"flush", NP_OPT_SECONDS, offsetof(struct np_laccess, log.flush), 0, 0},
        {"buffer", NP_OPT_SIZE, offsetof(struct np_laccess, log.buffer), 1024, 1 << 24},
        {"max_pending", NP_OPT_SIZE, offsetof(struct np_laccess, max_pending), 1024, 0},
        {"fields", NP_OPT_TABLE, 0, 0, 0},
        {"handler", NP_OPT_FUNCTION, 0, 0, 0},
        {0}};
    np_opts_read(L, idx, "opts.access_log", spec, out);
    if (lua_getfield(L, idx, "fields") == LUA_TTABLE) read_fields(L, out);
    if (lua_getfield(L, idx, "handler") == LUA_TFUNCTION) out->handler_idx = lua_gettop(L);
    if (out->handler_idx && (out->format || out->path || out->escape))
        np_misuse(L, "opts.access_log: a handler takes no format, path or escape");
    if (out->escape && strcmp(out->escape, "json") != 0 && strcmp(out->escape, "hex") != 0)
        np_misuse(L, "opts.access_log.escape: expected \"hex\" or \"json\", got '%s'", out->escape);
}

/* What the words say. */
static void choose_style(lua_State *L, struct np_laccess *out)
{
    const char *f = out->format;
    bool json = f && strcmp(f, "json") == 0;
    if (out->handler_idx) {
        out->log.style = NP_ACCESS_RECORD;
    } else if (json || (!f && out->log.fields)) {
        out->log.style = NP_ACCESS_JSON;
    } else {
        if (out->log.fields) np_misuse(L, "opts.access_log: fields are for \"json\" and handlers");
        out->log.style = NP_ACCESS_TEXT;
        out->log.format = !f || strcmp(f, "combined") == 0 ? np_access_combined
                          : strcmp(f, "common") == 0       ? np_access_common
                                                           : f;
    }
    out->log.json_escape = out->escape && strcmp(out->escape, "json") == 0;
}

void np_laccess_read(lua_State *L, int opts_idx, struct np_laccess *out)
{
    *out = (struct np_laccess){.wanted = true};
    luaL_checkstack(L, 10, NULL);
    int type = lua_getfield(L, opts_idx, "access_log");
    int idx = lua_gettop(L);
    if (type == LUA_TNIL || (type == LUA_TBOOLEAN && !lua_toboolean(L, -1)))
        out->wanted = false;
    else if (type == LUA_TSTRING)
        out->format = lua_tostring(L, -1);
    else if (type == LUA_TFUNCTION)
        out->handler_idx = idx;
    else if (type == LUA_TTABLE)
        read_table(L, idx, out);
    else if (type != LUA_TBOOLEAN)
        np_misuse(L, "opts.access_log: expected boolean, string, function or table, got %s",
                  lua_typename(L, type));
    choose_style(L, out);
    struct np_script *s = np_script_of(L);
    out->log.worker = s->worker;
}

/* --- a function that gets the entries */

struct listener {
    struct np_script *script; /* NULL once the state closes */
    bool open;                /* the log lives: more may come */
    struct np_append_block *first, *last;
    size_t at; /* in the first: what was told */
    size_t pending, max_pending;
    int ref;      /* of what `tell` has at 1 */
    bool running; /* a task tells */
    struct np_drain drain;
    struct np_at_close at_close;
};

static void start_telling(struct listener *l);

static void drop_blocks(struct listener *l)
{
    for (struct np_append_block *b; (b = l->first);) {
        l->first = b->next;
        np_free(b);
    }
    l->last = NULL;
    l->at = l->pending = 0;
}

static void release(struct listener *l)
{
    if (l->running || l->first) return;
    np_drain_remove(&l->drain);
    if (l->open) return;
    if (l->script) {
        np_unref(l->script, l->ref);
        np_at_close_remove(&l->at_close);
    }
    np_free(l);
}

/* The next entry as a table; false when there is none. */
static bool push_entry(lua_State *L, struct listener *l)
{
    enum np_access_kind kind;
    struct np_bytes text;
    while (l->first && l->at >= l->first->len) {
        struct np_append_block *b = l->first;
        l->first = b->next;
        if (!l->first) l->last = NULL;
        l->pending -= b->len;
        l->at = 0;
        np_free(b);
    }
    if (!l->first) return false;
    size_t n = lua_rawlen(L, 1);
    lua_createtable(L, 0, (int)n);
    for (size_t i = 1; i <= n && np_access_read(l->first, &l->at, &kind, &text); i++) {
        if (kind == NP_ACCESS_NONE) continue;
        lua_rawgeti(L, 1, (lua_Integer)i);
        if (kind == NP_ACCESS_BOOL)
            lua_pushboolean(L, text.n > 0 && *text.p == '1');
        else if (kind != NP_ACCESS_NUMBER || !lua_stringtonumber(L, text.p))
            lua_pushlstring(L, text.p, text.n);
        lua_rawset(L, -3);
    }
    return true;
}

/* Stack: the table of the fields' names, with the function as `fn`. */
static int tell(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct listener *l = (struct listener *)ctx;
    for (;;) {
        lua_settop(L, 1);
        lua_getfield(L, 1, "fn");
        if (!l->script || !push_entry(L, l)) return 0;
        lua_callk(L, 1, 0, ctx, tell);
    }
}

static int run_telling(lua_State *L)
{
    struct listener *l = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, l->ref);
    lua_replace(L, 1);
    return tell(L, LUA_OK, (lua_KContext)l);
}

static void on_told(struct np_task *t, bool ok, int nresults)
{
    (void)nresults;
    struct listener *l = t->arg;
    if (!ok) np_task_log_error(t);
    l->running = false;
    if (l->script && l->first)
        start_telling(l);
    else
        release(l);
}

static void start_telling(struct listener *l)
{
    struct np_task *t = np_task_new_c(l->script, run_telling, l, NULL, "access log");
    if (!t) {
        np_logf(l->script->log, NP_LOG_ERROR, "access log: no memory to tell its entries");
        drop_blocks(l);
        release(l);
        return;
    }
    t->done = on_told;
    t->arg = l;
    l->running = true;
    np_drain_add(&l->script->shutdown, &l->drain);
    np_task_start(t, true);
}

static void on_batch(void *arg, struct np_append_block *b)
{
    struct listener *l = arg;
    if (!l->script || b->len > l->max_pending || l->pending > l->max_pending - b->len) {
        if (l->script)
            np_logf(l->script->log, NP_LOG_WARN,
                    "access log: its function is too slow: %zu entries were dropped", b->lines);
        np_free(b);
        return;
    }
    if (l->last)
        l->last->next = b;
    else
        l->first = b;
    l->last = b;
    l->pending += b->len;
    if (!l->running) start_telling(l);
}

static void on_end(void *arg)
{
    struct listener *l = arg;
    l->open = false;
    release(l);
}

/* What waits is told; nothing is to be done about it but to wait. */
static void on_drain(struct np_drain *d, int64_t grace)
{
    (void)d;
    (void)grace;
}

static void on_state_closing(struct np_at_close *c)
{
    struct listener *l = np_container_of(c, struct listener, at_close);
    np_drain_remove(&l->drain);
    l->script = NULL;
    l->running = false; /* the task gets no further turn */
    drop_blocks(l);
    release(l);
}

/* The table that `tell` wants, from what is on the stack; pushes it. */
static void push_names(lua_State *L, const struct np_laccess *o)
{
    const struct np_access_field *f = o->log.fields ? o->log.fields : np_access_usual;
    size_t n = o->log.fields ? o->log.nfields : np_access_usual_count;
    lua_createtable(L, (int)n, 1);
    for (size_t i = 0; i < n; i++) {
        lua_pushstring(L, f[i].name);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_pushvalue(L, o->handler_idx);
    lua_setfield(L, -2, "fn");
}

static enum neap_err open_listener(lua_State *L, struct np_laccess *o, struct np_access_log **out,
                                   struct neap_errinfo *info)
{
    struct np_script *s = np_script_of(L);
    push_names(L, o);
    int ref = np_ref(L);
    struct listener *l = np_calloc(1, sizeof *l);
    enum neap_err err = l ? NEAP_OK : np_err_plain(info, NEAP_ENOMEM);
    if (!err) {
        o->log.on_batch = on_batch;
        o->log.on_end = on_end;
        o->log.arg = l;
        if (!o->log.flush) o->log.flush = HANDLER_FLUSH;
        err = np_access_log_new(s->loop, &o->log, out, info);
    }
    if (err) {
        np_unref(s, ref);
        np_free(l);
        return err;
    }
    l->script = s;
    l->open = true;
    l->ref = ref;
    l->max_pending = o->max_pending ? o->max_pending : NP_APPEND_BOUND;
    l->drain.drain = on_drain;
    l->at_close.fn = on_state_closing;
    np_at_close_add(s, &l->at_close);
    return NEAP_OK;
}

/* --- lines */

static enum neap_err open_file(struct np_script *s, struct np_laccess *o, struct np_append **out,
                               struct neap_errinfo *info)
{
    struct np_runtime *rt = s->host;
    struct np_append_set *set = rt ? rt->appends : NULL;
    bool is_path = o->path && strcmp(o->path, "stderr") != 0;
    if (!set) return np_err_set(info, NEAP_ENOTSUP, "access log: this state has no host");
    if (is_path && s->sandbox)
        return np_err_set(info, NEAP_EACCES, "access log: a sandbox opens no files");
    if (is_path) return np_append_open(set, o->path, o->max_pending, out, info);
    int fd = o->path ? 2 : np_log_fd(s->log);
    enum neap_err err = np_append_open_fd(set, fd, o->max_pending, out);
    return err ? np_err_plain(info, err) : NEAP_OK;
}

enum neap_err np_laccess_open(lua_State *L, struct np_laccess *o, struct np_access_log **out,
                              struct neap_errinfo *info)
{
    struct np_script *s = np_script_of(L);
    *out = NULL;
    if (!o->wanted) return NEAP_OK;
    if (o->handler_idx) return open_listener(L, o, out, info);
    enum neap_err err = open_file(s, o, &o->log.to, info);
    if (err) return err;
    err = np_access_log_new(s->loop, &o->log, out, info);
    if (err) np_append_close(o->log.to);
    return err;
}
