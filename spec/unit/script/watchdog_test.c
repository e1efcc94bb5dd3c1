/* Scripts that keep their thread from the loop: each is stopped, and all goes on as if it had not
 * been. The watchdog's thread is real and its timeout tiny; nothing here looks at the clock. A
 * script that would not be stopped hangs the test, which ctest ends.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "rig.h"
#include "script/watch.h"

#define MS INT64_C(1000000)
#define NEVER (3600 * 1000 * MS)

struct dog {
    struct rig *rig;
    struct np_watchdog *watchdog;
    struct np_watch_slot *slot;
    atomic_bool stuck;
    atomic_bool hard;
    atomic_bool ended;
    char what[160]; /* of the last report; read after the flag */
};

static struct dog *dog_of(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "dog");
    struct dog *d = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return d;
}

static void on_stuck(unsigned worker, const char *what, void *arg)
{
    struct dog *d = arg;
    (void)worker;
    snprintf(d->what, sizeof d->what, "%s", what);
    atomic_store(&d->stuck, true);
}

static void on_hard(unsigned worker, const char *what, void *arg)
{
    struct dog *d = arg;
    (void)worker;
    (void)what;
    atomic_store(&d->hard, true);
}

/* busy(): a C function that comes back when the watchdog has reported it. */
static int busy(lua_State *L)
{
    struct dog *d = dog_of(L);
    while (!atomic_load(&d->stuck)) {
    }
    return 0;
}

static int busier(lua_State *L)
{
    struct dog *d = dog_of(L);
    while (!atomic_load(&d->hard)) {
    }
    return 0;
}

/* interrupt(): what another thread does at any time, done at a certain one. */
static int interrupt_me(lua_State *L)
{
    np_watchdog_interrupt(dog_of(L)->slot);
    return 0;
}

/* reported() → boolean */
static int reported(lua_State *L)
{
    lua_pushboolean(L, atomic_load(&dog_of(L)->stuck));
    return 1;
}

static void wait_looks(struct dog *d, unsigned n)
{
    unsigned from = np_watch_looked(d->slot);
    while (np_watch_looked(d->slot) - from < n) {
    }
}

/* look(): comes back when the watchdog has looked once more. */
static int look(lua_State *L)
{
    wait_looks(dog_of(L), 1);
    return 0;
}

/* unlucky(): while the watchdog would send its signal, none can be queued. */
static int unlucky(lua_State *L)
{
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_SIGPENDING, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &none), 0);
    wait_looks(dog_of(L), 15);
    assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &before), 0);
    return 0;
}

static void open_dog(struct dog *d, struct rig *r, struct np_watchdog_options o)
{
    *d = (struct dog){.rig = r};
    o.stuck = on_stuck;
    o.arg = d;
    assert_ok(np_watchdog_new(&o, &d->watchdog));
    assert_ok(np_watchdog_add(d->watchdog, 3, &d->slot));
    r->script->watchdog = d->slot;
    lua_State *L = r->script->L;
    lua_pushlightuserdata(L, d);
    lua_setfield(L, LUA_REGISTRYINDEX, "dog");
    lua_register(L, "interrupt", interrupt_me);
    lua_register(L, "busy", busy);
    lua_register(L, "busier", busier);
    lua_register(L, "reported", reported);
    lua_register(L, "look", look);
    lua_register(L, "unlucky", unlucky);
    assert_int_equal(luaL_dostring(L, "function spin() while true do end end\n"
                                      "task = require 'neap.task'"),
                     LUA_OK);
}

static void close_dog(struct dog *d)
{
    d->rig->script->watchdog = NULL;
    np_watchdog_remove(d->slot);
    np_watchdog_free(d->watchdog);
}

static const struct np_watchdog_options quick = {.timeout = 20 * MS, .load_timeout = NEVER};

static const struct np_watchdog_options by_hand = {.timeout = 0};

/* Nothing is left of a stop. On a busy machine this, too, may take too long now and then. */
static void assert_healthy(struct rig *r)
{
    for (int i = 0; i < 20; i++) {
        unsigned ended = r->ended;
        rig_run(r, "healthy = nil assert(not debug.gethook()) local n = 0 "
                   "for i = 1, 5000 do n = n + i end "
                   "assert(coroutine.wrap(function() for i = 1, 999 do end return true end)()) "
                   "healthy = 'yes'");
        assert_int_equal(r->ended, ended + 1);
        if (r->ok || strcmp(r->failure, "ETIMEDOUT") != 0) break;
    }
    assert_true(r->ok);
    assert_string_equal(rig_global(r, "healthy"), "yes");
}

static void a_script_that_spins_gets_an_error_that_names_its_line(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, quick);
    rig_run(r, "local _, err = task.spawn(spin):await() message, code = err.message, err.code");
    np_sched_run(&r->script->sched);
    np_sched_run(&r->script->sched);
    assert_string_equal(rig_global(r, "code"), "ETIMEDOUT");
    assert_non_null(strstr(rig_global(r, "message"), ":1: the script kept its worker"));
    assert_non_null(strstr(rig_global(r, "message"), "more than 0.02 s (--script-timeout)"));
    assert_healthy(r);
    close_dog(&d);
}

/* Each would go on for ever. */
static const struct shape {
    const char *code;
    bool may_go_on; /* what it does ends, and it goes on if it is quick */
} shapes[] = {
    {"spin()", false},
    {"::a:: goto a", false},
    {"local a, b a = function() return b() end b = function() return a() end a()", false},
    {"while true do pcall(spin) end", false},
    {"while true do pcall(error) end", false},
    {"while true do pcall(string.rep, 'x', 100) end", false},
    {"while true do pcall(pcall, pcall, spin) end", false},
    {"while true do pcall(function() local _, e = pcall(spin) error(e) end) end", false},
    {"xpcall(spin, spin)", false},
    {"while true do xpcall(spin, spin) end", false},
    {"while true do xpcall(error, spin) end", false},
    {"while true do xpcall(spin, debug.traceback) end", false},
    {"while true do xpcall(spin, function(e) xpcall(spin, spin) error(e) end) end", false},
    {"coroutine.wrap(spin)()", false},
    {"while true do coroutine.wrap(spin)() end", false},
    {"while true do coroutine.resume(coroutine.create(spin)) end", false},
    {"while true do coroutine.resume(coroutine.create(function() end)) end", false},
    {"while true do pcall(coroutine.wrap(function() while true do pcall(spin) end end)) end",
     false},
    {"local function f(n) if n == 0 then spin() end coroutine.wrap(f)(n - 1) end f(60)", false},
    {"local co = coroutine.wrap(function() while true do coroutine.yield() end end) "
     "while true do co() end",
     false},
    {"coroutine.wrap(function() while true do coroutine.resume(coroutine.running()) end end)()",
     false},
    {"local x <close> = setmetatable({}, {__close = spin}) spin()", false},
    {"while true do pcall(function() "
     "local x <close> = setmetatable({}, {__close = spin}) error 'x' end) end",
     false},
    {"local co = coroutine.create(function() "
     "local x <close> = setmetatable({}, {__close = spin}) coroutine.yield() end) "
     "coroutine.resume(co) coroutine.close(co)",
     true},
    {"table.sort({1, 2, 3}, spin)", false},
    {"table.sort({3, 1, 2}, function() while true do pcall(spin) end end)", false},
    {"string.gsub('aaa', 'a', function() while true do xpcall(spin, spin) end end)", false},
    {"return setmetatable({}, {__index = spin}).x", false},
    {"return setmetatable({}, {__eq = spin}) == setmetatable({}, {__eq = spin})", false},
    {"tostring(setmetatable({}, {__tostring = spin}))", false},
    {"error(setmetatable({}, {__tostring = spin}))", false},
    {"load(spin)", true},
    {"while true do load(function() error 'x' end) end", false},
    {"while true do pcall(function() debug.sethook() spin() end) debug.sethook() end", false},
    {"local co = coroutine.create(spin) pcall(spin) debug.sethook(co) coroutine.resume(co)", false},
    {"package.preload.m = spin while true do pcall(require, 'm') end", false},
    {"while true do pcall(task.shield, spin) end", false},
    {"local t = {} while true do t = {t, pcall(error)} t = t[3] or {} end", false},
    {"local n = 0 local function f() n = n + 1 f() end while true do pcall(f) end", false},
};

static void whatever_it_does_it_ends(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, quick);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        unsigned ended = r->ended;
        print_message("             %s\n", shapes[i].code);
        rig_run(r, shapes[i].code);
        assert_int_equal(r->ended, ended + 1);
        if (!shapes[i].may_go_on) assert_false(r->ok);
        assert_healthy(r);
    }
    close_dog(&d);
}

static void who_catches_it_may_clean_up(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, by_hand);
    rig_run(r, "local ok, err = pcall(function() interrupt() spin() end) "
               "local t = {} for i = 1, 1000 do t[i] = i end "
               "cleaned = err.code .. #t");
    assert_true(r->ok);
    assert_string_equal(rig_global(r, "cleaned"), "ECANCELED1000");
    assert_healthy(r);
    close_dog(&d);
}

static void closing_variables_and_handlers_are_told_the_error(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, by_hand);
    rig_run(r, "pcall(function() "
               "  local x <close> = setmetatable({}, {__close = function(_, e) code = e.code end}) "
               "  interrupt() spin() end)");
    assert_string_equal(rig_global(r, "code"), "ECANCELED");
    rig_run(r, "function f() interrupt() spin() end "
               "ok, err = xpcall(f, function(e) return 'handled ' .. e.code end)");
    assert_string_equal(rig_global(r, "err"), "handled ECANCELED");
    rig_run(r, "local ok, e = pcall(coroutine.wrap(f)) err = e.code");
    assert_string_equal(rig_global(r, "err"), "ECANCELED");
    close_dog(&d);
}

/* It waits between two spins, so each is a turn of its own; it is not let off twice. */
static void a_task_that_does_it_again_is_not_let_off(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, by_hand);
    rig_run(r, "turns = 0 while true do pcall(function() interrupt() spin() end) "
               "turns = turns + 1 wait() end");
    assert_int_equal(r->ended, 0);
    np_wake(&r->wait, NEAP_OK);
    np_sched_run(&r->script->sched);
    assert_int_equal(r->ended, 1);
    assert_string_equal(r->failure, "ECANCELED");
    assert_string_equal(rig_global(r, "turns"), "1");
    close_dog(&d);
}

static void a_coroutine_made_in_a_stopped_turn_is_free_in_the_next(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, by_hand);
    rig_run(r, "pcall(function() interrupt() spin() end) "
               "kept = coroutine.wrap(function() local n = 0 "
               "while true do n = n + 1 coroutine.yield(n) end end) kept() "
               "fresh = coroutine.wrap(function() for i = 1, 9999 do end return 'fresh' end)");
    assert_true(r->ok);
    rig_run(r, "for i = 1, 5000 do n = tostring(kept()) end n = n .. fresh()");
    assert_true(r->ok);
    assert_string_equal(rig_global(r, "n"), "5001fresh");
    close_dog(&d);
}

static void a_group_of_which_one_is_stopped_ends(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, by_hand);
    rig_run(r, "_, err = task.all(function() interrupt() spin() end, function() wait() end) "
               "code = err.code");
    for (int i = 0; i < 4; i++)
        np_sched_run(&r->script->sched);
    assert_int_equal(r->ended, 1);
    assert_string_equal(rig_global(r, "code"), "ECANCELED");
    close_dog(&d);
}

static void a_function_in_c_that_does_not_come_back_is_named(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, quick);
    rig_run(r, "\nlocal n = 1\nbusy()");
    assert_string_equal(d.what, "busy called at [string \"...\"]:3");
    assert_string_equal(r->failure, "ETIMEDOUT"); /* when it did come back */
    assert_healthy(r);
    close_dog(&d);
}

static void a_finaliser_that_does_not_end_is_named(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, quick);
    rig_run(r, "setmetatable({}, {__gc = function() while not reported() do end end}) "
               "collectgarbage()");
    assert_string_equal(d.what, "a finaliser (__gc)");
    assert_healthy(r);
    close_dog(&d);
}

static void what_goes_on_for_far_too_long_is_given_up(void **state)
{
    struct rig *r = *state;
    struct dog d;
    struct np_watchdog_options o = quick;
    o.hard_timeout = 60 * MS;
    o.hard = on_hard;
    open_dog(&d, r, o);
    rig_run(r, "busier()");
    assert_true(atomic_load(&d.stuck));
    assert_string_equal(d.what, "busier called at [string \"busier()\"]:1");
    close_dog(&d);
}

static void a_main_chunk_that_loads_has_a_time_of_its_own(void **state)
{
    struct rig *r = *state;
    struct dog d;
    struct np_watchdog_options o = {.timeout = NEVER, .load_timeout = 20 * MS};
    open_dog(&d, r, o);
    struct np_task *t = rig_task(r, "wait() spin()");
    t->loading = true;
    np_task_start(t, false);
    assert_int_equal(r->ended, 0);
    np_wake(&r->wait, NEAP_OK);
    np_sched_run(&r->script->sched);
    assert_string_equal(r->failure, "ETIMEDOUT");
    close_dog(&d);
}

static void *interrupt(void *arg)
{
    struct dog *d = arg;
    while (!atomic_load(&d->ended)) {
        np_watchdog_interrupt(d->slot);
        sched_yield();
    }
    return NULL;
}

static void a_turn_is_interrupted_from_another_thread(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, by_hand);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, interrupt, &d), 0);
    rig_run(r, "while true do pcall(spin) end");
    assert_string_equal(r->failure, "ECANCELED");
    atomic_store(&d.ended, true);
    pthread_join(thread, NULL);
    assert_healthy(r);
    close_dog(&d);
}

/* --- the signal */

static void on_programs_own(int signum)
{
    (void)signum;
}

static int find_signal(void)
{
    for (int s = SIGRTMAX; s >= SIGRTMIN; s--) {
        struct sigaction a;
        if (sigaction(s, NULL, &a) == 0 && (a.sa_flags & SA_SIGINFO)) return s;
    }
    return 0;
}

static void a_signal_of_the_programs_is_left_to_it(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, quick);
    struct sigaction a;
    assert_int_equal(sigaction(SIGRTMAX - 7, NULL, &a), 0);
    assert_ptr_equal(a.sa_handler, on_programs_own); /* main has set it */
    rig_run(r, "spin()");
    assert_string_equal(r->failure, "ETIMEDOUT");
    close_dog(&d);
}

static void a_strangers_signal_does_nothing(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, quick);
    int signum = find_signal();
    if (signum) { /* the thread sanitizer has its own handlers */
        kill(getpid(), signum);
        pthread_kill(pthread_self(), signum);
        sigqueue(getpid(), signum, (union sigval){.sival_ptr = NULL});
    }
    assert_healthy(r);
    close_dog(&d);
}

static void a_signal_that_is_late_finds_no_slot(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, by_hand);
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    atomic_store(&d.stuck, true);
    pthread_t thread;
    pthread_create(&thread, NULL, interrupt, &d);
    rig_run(r, "for i = 1, 100000 do end");
    atomic_store(&d.ended, true);
    pthread_join(thread, NULL);
    close_dog(&d);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    assert_true(r->ok);
    assert_healthy(r);
}

static void two_watchdogs_may_watch_in_one_process(void **state)
{
    struct rig *r = *state;
    struct dog d;
    struct np_watchdog *other;
    struct np_watch_slot *slot;
    assert_ok(np_watchdog_new(&quick, &other));
    assert_ok(np_watchdog_add(other, 0, &slot));
    open_dog(&d, r, quick);
    rig_run(r, "spin()");
    assert_string_equal(r->failure, "ETIMEDOUT");
    np_watchdog_remove(slot);
    np_watchdog_free(other);
    rig_run(r, "coroutine.wrap(spin)()");
    assert_int_equal(r->ended, 2);
    close_dog(&d);
}

static void turns_that_follow_each_other_leave_the_loop_its_share(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, (struct np_watchdog_options){.timeout = 200 * MS, .load_timeout = NEVER});
    rig_run(r, "links = 0 function link() links = links + 1 look() "
               "if links < 50 then task.spawn(link) end end task.spawn(link)");
    np_sched_run(&r->script->sched);
    lua_getglobal(r->script->L, "links");
    assert_in_range(lua_tointeger(r->script->L, -1), 1, 3);
    lua_pop(r->script->L, 1);
    while (np_sched_busy(&r->script->sched))
        np_sched_run(&r->script->sched);
    assert_string_equal(rig_global(r, "links"), "50");
    close_dog(&d);
}

static void a_signal_that_cannot_be_queued_is_sent_later(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, quick);
    rig_run(r, "unlucky() spin()");
    assert_string_equal(r->failure, "ETIMEDOUT");
    assert_healthy(r);
    close_dog(&d);
}

static void beats_tell_that_turns_come_and_go(void **state)
{
    struct rig *r = *state;
    struct dog d;
    open_dog(&d, r, quick);
    unsigned long long before = np_watchdog_beats(d.slot);
    rig_run(r, "wait()");
    unsigned long long between = np_watchdog_beats(d.slot);
    np_wake(&r->wait, NEAP_OK);
    np_sched_run(&r->script->sched);
    assert_true(between > before);
    assert_true(np_watchdog_beats(d.slot) > between);
    close_dog(&d);
}

static enum neap_err open_and_close(void *arg)
{
    struct np_watchdog *w;
    struct np_watch_slot *slot = NULL;
    (void)arg;
    enum neap_err err = np_watchdog_new(&quick, &w);
    if (err) return err;
    err = np_watchdog_add(w, 0, &slot);
    np_watchdog_remove(slot);
    np_watchdog_free(w);
    return err;
}

static void running_out_of_memory_is_an_error(void **state)
{
    (void)state;
    np_test_oom(open_and_close, NULL);
}

int main(void)
{
    signal(SIGRTMAX - 7, on_programs_own);
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(a_script_that_spins_gets_an_error_that_names_its_line),
        T(whatever_it_does_it_ends),
        T(who_catches_it_may_clean_up),
        T(closing_variables_and_handlers_are_told_the_error),
        T(a_task_that_does_it_again_is_not_let_off),
        T(a_coroutine_made_in_a_stopped_turn_is_free_in_the_next),
        T(a_group_of_which_one_is_stopped_ends),
        T(a_function_in_c_that_does_not_come_back_is_named),
        T(a_finaliser_that_does_not_end_is_named),
        T(what_goes_on_for_far_too_long_is_given_up),
        T(a_main_chunk_that_loads_has_a_time_of_its_own),
        T(a_turn_is_interrupted_from_another_thread),
        T(a_signal_of_the_programs_is_left_to_it),
        T(a_strangers_signal_does_nothing),
        T(a_signal_that_is_late_finds_no_slot),
        T(two_watchdogs_may_watch_in_one_process),
        T(turns_that_follow_each_other_leave_the_loop_its_share),
        T(a_signal_that_cannot_be_queued_is_sent_later),
        T(beats_tell_that_turns_come_and_go),
        cmocka_unit_test(running_out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests_name("script.watchdog", tests, NULL, NULL);
}
