/* How a turn is stopped: the signal handler's part, the hook that raises, and who names the error.
 * See watch.h for the stages and why the error travels as it does.
 *
 * What is safe in the handler, on whatever it has interrupted: lua_sethook, which Lua makes for
 * that; following the frames, which are linked by single stores; lua_gc(LUA_GCCOUNT), which only
 * reads. lua_getstack and lua_getinfo("nSl") read the chain of calls and, of those, where the
 * functions stand in the Lua stack. That is stale for as long as it takes Lua to mend it after the
 * stack was moved, which is right after a call of the allocator that moves memory; so nothing is
 * looked at when the last call of the allocator was such, unless it was so already a look ago. And
 * it is in the making while Lua calls a function: a stuck C function calls none, and a finaliser,
 * which may, is recognised without looking.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "script/luax.h"
#include "script/state.h"
#include "script/watch.h"

#define GRACE 100000 /* instructions */
#define TOO_LONG "%s: the script kept its worker from the loop for more than %g s (%s)"
#define STEP 1000                        /* … counted in such steps */
#define AGAIN (60 * NP_NS_PER_SEC)       /* who is stopped twice within this has no grace */
#define MAX_LEVELS 200                   /* of calls, in which the nearest xpcall is looked for */
#define MEMORY_ERROR "not enough memory" /* Lua's own word; see lua_error */

/* In the registry: the failure box of the stop that goes on, see task_run.c: the error it raised,
 * and the traceback of where. */
static const char box_key;

static void on_hook(lua_State *L, lua_Debug *ar);
static bool push_kept_error(lua_State *L);

/* --- on the worker's thread, inside the signal handler */

NP_UNSANITIZED static size_t put(char *to, size_t at, size_t size, const char *text)
{
    while (*text && at + 1 < size) {
        to[at++] = *text++;
    }
    to[at] = '\0';
    return at;
}

NP_UNSANITIZED static size_t put_number(char *to, size_t at, size_t size, int n)
{
    char digits[12];
    size_t i = sizeof digits;
    digits[--i] = '\0';
    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0 && i > 0);
    return put(to, at, size, digits + i);
}

NP_UNSANITIZED static bool same(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

/* The standard library's functions that can take long, for their full names: a call says only the
 * last part. */
NP_UNSANITIZED static const char *library_of(const char *name)
{
    static const struct {
        const char *name;
        const char *library;
    } known[] = {{"find", "string."},   {"match", "string."}, {"gmatch", "string."},
                 {"gsub", "string."},   {"rep", "string."},   {"format", "string."},
                 {"concat", "table."},  {"sort", "table."},   {"move", "table."},
                 {"insert", "table."},  {"execute", "os."},   {"popen", "io."},
                 {"reverse", "string."}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (same(name, known[i].name)) return known[i].library;
    }
    return "";
}

NP_UNSANITIZED static size_t put_place(char *to, size_t at, size_t size, const lua_Debug *ar)
{
    at = put(to, at, size, ar->short_src);
    at = put(to, at, size, ":");
    return put_number(to, at, size, ar->currentline);
}

/* "string.find called at main.lua:12", or "main.lua:12" where it is Lua that runs. */
NP_UNSANITIZED static void describe_place(struct np_watch_slot *w, lua_State *L)
{
    lua_Debug ar;
    size_t at = 0;
    for (int level = 0; level < 8 && lua_getstack(L, level, &ar); level++) {
        if (!lua_getinfo(L, "nSl", &ar)) break;
        if (ar.currentline > 0) {
            if (at > 0) at = put(w->what, at, sizeof w->what, " called at ");
            put_place(w->what, at, sizeof w->what, &ar);
            return;
        }
        if (level > 0 || !ar.name) continue;
        at = put(w->what, at, sizeof w->what, library_of(ar.name));
        at = put(w->what, at, sizeof w->what, ar.name);
    }
    if (at == 0) put(w->what, 0, sizeof w->what, "a C function");
}

NP_UNSANITIZED static void look(struct np_watch_slot *w, lua_State *L)
{
    struct np_script *s = L ? *(struct np_script **)lua_getextraspace(L) : NULL;
    int seen = NP_SEEN;
    if (!s) {
        put(w->what, 0, sizeof w->what, "a finaliser (__gc) of a state that closes");
    } else if (lua_gc(L, LUA_GCCOUNT) < 0) { /* so it is while a finaliser runs */
        put(w->what, 0, sizeof w->what, "a finaliser (__gc)");
    } else if (s->moved && s->moves != w->moves_seen) {
        w->moves_seen = s->moves;
        seen = NP_SEEN_LATER;
    } else {
        describe_place(w, L);
    }
    atomic_store_explicit(&w->seen, seen, memory_order_release);
}

NP_UNSANITIZED static void set_hooks(struct np_watch_slot *w, int count)
{
    struct np_frame *f = atomic_load_explicit(&w->frames, memory_order_relaxed);
    for (; f; f = f->prev) {
        if (f->L) lua_sethook(f->L, on_hook, LUA_MASKCOUNT, count);
    }
}

NP_UNSANITIZED static void begin_stop(struct np_watch_slot *w, unsigned asked,
                                      unsigned long long beat)
{
    struct np_frame *f = atomic_load_explicit(&w->frames, memory_order_relaxed);
    while (!f->task && f->prev) {
        f = f->prev;
    }
    const char *label = f->task ? f->task->label : NULL;
    atomic_store_explicit(&w->label, label, memory_order_relaxed);
    w->reason = asked & NP_ASK_INTERRUPT ? NP_STOPPED_BY_PERSON : NP_STOPPED_BY_TIME;
    w->no_grace = false;
    w->in_flight = false;
    w->stop_beat = beat;
    w->stage = NP_STAGE_ASKED;
}

NP_UNSANITIZED void np_stop_signalled(struct np_watch_slot *w)
{
    unsigned asked = atomic_exchange_explicit(&w->asked, 0, memory_order_relaxed);
    unsigned long long beat = atomic_load_explicit(&w->beat, memory_order_relaxed);
    struct np_frame *frames = atomic_load_explicit(&w->frames, memory_order_relaxed);
    if (!frames || beat != atomic_load_explicit(&w->asked_beat, memory_order_relaxed)) return;
    bool begun = w->stage != NP_STAGE_NONE && w->stop_beat == beat;
    if (!begun && (asked & (NP_ASK_STOP | NP_ASK_INTERRUPT | NP_ASK_FINAL))) {
        begin_stop(w, asked, beat);
    } else if (begun && (asked & (NP_ASK_FINAL | NP_ASK_INTERRUPT))) {
        if (w->stage == NP_STAGE_GRACE) w->stage = NP_STAGE_FINAL;
        w->no_grace = true;
    }
    if (asked & ~(unsigned)NP_ASK_LOOK) set_hooks(w, 1);
    if (asked & NP_ASK_LOOK) look(w, frames->L);
}

/* --- in the script */

void np_stop_hook(struct np_watch_slot *w, lua_State *L)
{
    lua_sethook(L, on_hook, LUA_MASKCOUNT, w->stage == NP_STAGE_GRACE ? STEP : 1);
}

/* The line of the script's own that is to be named: not one of the standard library's, if there is
 * another. */
static void note_place(struct np_watch_slot *w, lua_State *L)
{
    lua_Debug ar;
    snprintf(w->where, sizeof w->where, "?");
    for (int level = 0; level < 64 && lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline <= 0) continue;
        bool first = w->where[0] == '?';
        bool ours = strncmp(ar.source, "@neap/", 6) == 0 || strncmp(ar.source, "=neap.", 6) == 0;
        if (first || !ours) {
            snprintf(w->where, sizeof w->where, "%s:%d", ar.short_src, ar.currentline);
        }
        if (!ours) return;
    }
}

/* Which bound it was. */
static const char *option_of(struct np_watch_slot *w)
{
    bool loading = atomic_load_explicit(&w->loading, memory_order_relaxed);
    return loading ? "--load-timeout" : "--script-timeout";
}

static void push_error(lua_State *L, struct np_watch_slot *w)
{
    if (w->reason == NP_STOPPED_BY_PERSON) {
        np_push_error(L, NEAP_ECANCELED, "interrupted");
    } else {
        np_push_error(L, NEAP_ETIMEDOUT, TOO_LONG, w->where, np_to_seconds(atomic_load(&w->limit)),
                      option_of(w));
    }
}

/* Of what runs, the innermost coroutine first. */
static void push_chain(lua_State *L, struct np_watch_slot *w, lua_State *of)
{
    luaL_traceback(L, of, NULL, of == L ? 1 : 0);
    struct np_frame *f = atomic_load(&w->frames);
    for (; f && f->prev && !f->task; f = f->prev) {
        luaL_traceback(L, f->prev->L, NULL, f->prev->L == L ? 1 : 0);
        const char *trace = strchr(lua_tostring(L, -1), '\n');
        lua_pushfstring(L, "%s\n\t(which was resumed by)%s", lua_tostring(L, -2),
                        trace ? trace : "");
        lua_replace(L, -3);
        lua_pop(L, 1);
    }
}

/* Argument: the coroutine that was struck, or NULL. */
static int keep_error(lua_State *L)
{
    struct np_watch_slot *w = np_script_of(L)->watchdog;
    lua_State *of = lua_touserdata(L, 1);
    lua_createtable(L, 2, 0);
    push_error(L, w);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &box_key);
    if (!of) return 0;
    push_chain(L, w, of);
    lua_rawseti(L, -2, 2);
    return 0;
}

/* Out of memory: there is none, until there is more. */
static bool make_error(lua_State *L, lua_State *of)
{
    if (!lua_checkstack(L, 4)) return false;
    lua_pushcfunction(L, keep_error);
    lua_pushlightuserdata(L, of);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK) return true;
    lua_pop(L, 1);
    return false;
}

static struct np_log_field text_field(const char *name, const char *text)
{
    struct np_log_field f = {.name = name, .type = NP_LOG_STR};
    f.as.str.p = text;
    f.as.str.n = strlen(text);
    return f;
}

static void log_stop(struct np_watch_slot *w, lua_State *L, struct np_task *t)
{
    struct np_log *log = np_script_of(L)->log;
    char text[200];
    if (w->reason != NP_STOPPED_BY_TIME || !np_log_enabled(log, NP_LOG_ERROR)) return;
    int n = snprintf(text, sizeof text, TOO_LONG, w->where, np_to_seconds(atomic_load(&w->limit)),
                     option_of(w));
    int top = lua_gettop(L);
    bool boxed = np_stop_push_box(L) && lua_rawgeti(L, -1, 2) == LUA_TSTRING;
    const char *trace = boxed ? lua_tostring(L, -1) : NULL;
    struct np_log_field fields[2] = {text_field("task", t && t->label ? t->label : "task"),
                                     text_field("traceback", trace ? trace : "")};
    np_log_write(log, NP_LOG_ERROR, text, (size_t)n, fields, trace ? 2 : 1);
    lua_settop(L, top);
}

/* The hook's first: names the line, and decides whether there is a grace. */
static void strike(struct np_watch_slot *w, lua_State *L)
{
    struct np_task *t = np_script_of(L)->sched.current;
    int64_t now = np_clock_now(&np_clock_system);
    bool again = t && t->stopped_at && now - t->stopped_at < AGAIN;
    if (t) t->stopped_at = now;
    note_place(w, L);
    make_error(L, L);
    log_stop(w, L, t);
    w->grace = GRACE;
    w->stage = again || w->no_grace ? NP_STAGE_FINAL : NP_STAGE_GRACE;
    np_stop_hook(w, L);
}

/* Whether the error, if raised plainly, may call a message handler of the script's. */
static bool has_handler(lua_State *L)
{
    lua_Debug ar;
    if (!lua_checkstack(L, 1)) return true;
    for (int level = 0; level < MAX_LEVELS; level++) {
        if (!lua_getstack(L, level, &ar)) return false;
        lua_getinfo(L, "f", &ar);
        lua_CFunction fn = lua_tocfunction(L, -1);
        lua_pop(L, 1);
        if (fn == np_protected_call) return false;
        if (fn == np_protected_call_with) return true;
    }
    return true;
}

NP_UNSANITIZED static int throw_error(struct np_watch_slot *w, lua_State *L)
{
    if (has_handler(L) || !push_kept_error(L)) {
        w->in_flight = true;
        lua_pushliteral(L, MEMORY_ERROR);
    }
    return lua_error(L);
}

NP_UNSANITIZED static void on_hook(lua_State *L, lua_Debug *ar)
{
    struct np_watch_slot *w = np_script_of(L)->watchdog;
    (void)ar;
    if (!np_stopping(w)) { /* it was meant for a turn that is over */
        lua_sethook(L, NULL, 0, 0);
        return;
    }
    if (w->stage == NP_STAGE_ASKED) {
        strike(w, L);
    } else if (w->stage == NP_STAGE_GRACE) {
        w->grace -= STEP;
        np_stop_hook(w, L);
        if (w->grace > 0) return;
        w->stage = NP_STAGE_FINAL;
        set_hooks(w, 1);
    }
    throw_error(w, L);
}

/* --- who catches it */

bool np_stop_push_box(lua_State *L)
{
    if (!np_stopping(np_script_of(L)->watchdog) || !lua_checkstack(L, 2)) return false;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &box_key) == LUA_TTABLE) return true;
    lua_pop(L, 1);
    return false;
}

static bool push_kept_error(lua_State *L)
{
    if (!np_stop_push_box(L)) return false;
    lua_rawgeti(L, -1, 1);
    lua_remove(L, -2);
    return true;
}

void np_stop_caught(lua_State *L, int status)
{
    struct np_watch_slot *w = np_script_of(L)->watchdog;
    if (status != LUA_ERRMEM || !np_stopping(w) || !w->in_flight) return;
    w->in_flight = false;
    if (!push_kept_error(L)) return;
    lua_replace(L, -2);
}

bool np_stop_is(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    if (!push_kept_error(L)) return false;
    bool is = lua_rawequal(L, -1, idx);
    lua_pop(L, 1);
    return is;
}

void np_stop_over(struct np_watch_slot *w, lua_State *L)
{
    w->stage = NP_STAGE_NONE;
    w->in_flight = false;
    if (!L) return;
    lua_sethook(L, NULL, 0, 0);
    if (!lua_checkstack(L, 1)) return;
    lua_pushnil(L); /* taking out allocates nothing */
    lua_rawsetp(L, LUA_REGISTRYINDEX, &box_key);
}
