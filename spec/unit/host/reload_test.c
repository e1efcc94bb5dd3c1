/* Reloading, as a C program sees it: the script is a file that the test rewrites. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "rig.h"

struct rig {
    neap_t *n;
    char *dir;
    char path[512];
    int readies;
    int reloadings;
    int reloads;
    enum neap_err err; /* of the last */
    char words[256];
    char notes[512];
    neap_call *kept;
    /* What the test does at each step; NULL: nothing. */
    void (*ready)(struct rig *rig);
    void (*reloading)(struct rig *rig);
    void (*reloaded)(struct rig *rig);
    void (*noted)(struct rig *rig);
    const char *next; /* what rewrite() writes */
    int wanted;
    pthread_t helper;
    neap_subscription *sub;
    struct outcome outcome;
    bool closed;
};

/* --- its callbacks */

static void on_ready(neap_t *n, void *user)
{
    struct rig *rig = user;
    assert_ptr_equal(n, rig->n);
    rig->readies++;
    if (rig->ready) rig->ready(rig);
}

static void on_reloading(neap_t *n, void *user)
{
    struct rig *rig = user;
    (void)n;
    rig->reloadings++;
    if (rig->reloading) rig->reloading(rig);
}

static void on_reloaded(neap_t *n, enum neap_err err, const char *message, void *user)
{
    struct rig *rig = user;
    (void)n;
    rig->reloads++;
    rig->err = err;
    snprintf(rig->words, sizeof rig->words, "%s", message ? message : "");
    if (rig->reloaded) rig->reloaded(rig);
}

/* note(text) */
static void note(neap_call *call, void *user)
{
    struct rig *rig = user;
    const char *text = "?";
    if (neap_arg_string(call, 1, &text, NULL) == NEAP_OK)
        strncat(rig->notes, text, sizeof rig->notes - strlen(rig->notes) - 1);
    neap_call_finish(call);
    if (rig->noted) rig->noted(rig);
}

static void write_script(struct rig *rig, const char *text)
{
    FILE *out = fopen(rig->path, "w");
    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

/* rewrite(): what stands in the file is another script from now on. */
static void rewrite(neap_call *call, void *user)
{
    struct rig *rig = user;
    write_script(rig, rig->next);
    neap_call_finish(call);
}

static void rig_open(struct rig *rig, unsigned workers)
{
    neap_options o = NEAP_OPTIONS_INIT;
    *rig = (struct rig){.dir = np_test_tmpdir()};
    snprintf(rig->path, sizeof rig->path, "%s/service.lua", rig->dir);
    o.log_level = getenv("LOG") ? "debug" : "off";
    o.workers = workers;
    o.drain_timeout = 5;
    o.on_ready = on_ready;
    o.on_reloading = on_reloading;
    o.on_reloaded = on_reloaded;
    o.user = rig;
    assert_ok(neap_open(&o, &rig->n));
    assert_ok(neap_export(rig->n, "note", note, rig));
    assert_ok(neap_export(rig->n, "rewrite", rewrite, rig));
}

static void rig_load(struct rig *rig, const char *text)
{
    write_script(rig, text);
    enum neap_err err = neap_load_file(rig->n, rig->path);
    if (err) fail_msg("%s: %s", neap_err_name(err), neap_error(rig->n));
}

static void rig_run(struct rig *rig, const char *text)
{
    rig_load(rig, text);
    enum neap_err err = neap_run(rig->n);
    if (err) fail_msg("%s: %s", neap_err_name(err), neap_error(rig->n));
}

static void rig_close(struct rig *rig)
{
    neap_close(rig->n);
    np_test_tmpdir_remove(rig->dir);
}

static void stop(struct rig *rig)
{
    neap_stop(rig->n);
}

#define HEAD                                                                                       \
    "local host, worker, task = require 'neap.host', require 'neap.worker', require 'neap.task'\n" \
    "local neap = require 'neap'\n"
#define STAY "task.spawn(task.sleep, 600)\n" /* something is left to do */
#define V1 HEAD STAY "function version() return 1 end\n"
#define V2 HEAD STAY "function version() return 2 end\n"

static int64_t version(struct rig *rig)
{
    struct outcome o = {0};
    assert_ok(neap_call_now(rig->n, "version", NULL, 0, keep_outcome, &o));
    return o.integer;
}

/* --- who asks for it */

static void *reload_thread(void *arg)
{
    neap_reload(arg);
    return NULL;
}

static void reload_from_a_thread(struct rig *rig)
{
    write_script(rig, V2);
    assert_int_equal(pthread_create(&rig->helper, NULL, reload_thread, rig->n), 0);
}

static void see_new_code(struct rig *rig)
{
    assert_ok(rig->err);
    assert_int_equal(version(rig), 2); /* from the switch on */
    neap_stop(rig->n);
}

static void another_thread_reloads(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 4; workers *= 2) {
        int64_t live = np_alloc_live();
        struct rig rig;
        rig_open(&rig, workers);
        rig.ready = reload_from_a_thread;
        rig.reloaded = see_new_code;
        rig_run(&rig, V1);
        pthread_join(rig.helper, NULL);
        assert_int_equal(rig.readies, 1);
        assert_int_equal(rig.reloadings, 1);
        assert_int_equal(rig.reloads, 1);
        assert_int_equal(version(&rig), 2);
        rig_close(&rig);
        assert_no_leak(live);
    }
}

static void a_script_reloads_and_hears_of_a_failure(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    rig.next = "local worker = require 'neap.worker'\n"
               "if worker.id == 0 then error 'not here' end";
    rig_run(&rig, V1 "if worker.id == 1 then\n"
                     "  task.spawn(function()\n"
                     "    host.rewrite()\n"
                     "    local ok, err = neap.reload()\n"
                     "    assert(ok == nil and err.code == 'ESCRIPT', err)\n"
                     "    assert(err.message:find('worker 0: ') and err.message:find('not here'))\n"
                     "    host.note('old')\n"
                     "    require('neap.core.runtime').stop()\n"
                     "  end)\n"
                     "end");
    assert_string_equal(rig.notes, "old");
    assert_int_equal(rig.err, NEAP_ESCRIPT);
    assert_int_equal(version(&rig), 1);
    rig_close(&rig);
}

static void stop_after_two_notes(struct rig *rig)
{
    if (strlen(rig->notes) == 2) neap_stop(rig->n);
}

static void write_next_and_reload(struct rig *rig)
{
    write_script(rig, rig->next);
    neap_reload(rig->n);
}

static void natives_are_there_for_the_new_code(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    rig.ready = write_next_and_reload;
    rig.noted = stop_after_two_notes;
    rig.next = V2 "task.spawn(function() host.note('2') end)";
    rig_run(&rig, V1);
    assert_string_equal(rig.notes, "22");
    rig_close(&rig);
}

/* --- several at a time */

static void ask_often(struct rig *rig)
{
    if (rig->reloadings > 1) return;
    for (int i = 0; i < 5; i++)
        neap_reload(rig->n);
}

static void stop_after_two(struct rig *rig)
{
    assert_ok(rig->err);
    if (rig->reloads == 2) neap_stop(rig->n);
}

static void reload(struct rig *rig)
{
    neap_reload(rig->n);
}

static void those_asked_for_meanwhile_become_one(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    rig.ready = reload;
    rig.reloading = ask_often;
    rig.reloaded = stop_after_two;
    rig_run(&rig, V1);
    assert_int_equal(rig.reloadings, 2);
    assert_int_equal(rig.reloads, 2);
    rig_close(&rig);
}

static void stop_after_four_notes(struct rig *rig)
{
    if (strlen(rig->notes) == 4) neap_stop(rig->n);
}

static void each_script_that_asks_is_answered(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    rig.noted = stop_after_four_notes;
    rig.next = "this is no Lua";
    rig_run(&rig, V1 "local function ask()\n"
                     "  local ok, err = neap.reload()\n"
                     "  assert(ok == nil and err.code == 'ESCRIPT', err)\n"
                     "  host.note('.')\n"
                     "end\n"
                     "worker.on_message(ask)\n"
                     "if worker.id == 1 then task.spawn(function()\n"
                     "  host.rewrite()\n"
                     "  worker.broadcast('you, too')\n"
                     "  for i = 1, 3 do task.spawn(ask) end\n"
                     "end) end");
    assert_string_equal(rig.notes, "....");
    assert_int_equal(rig.reloadings, rig.reloads);
    rig_close(&rig);
}

/* --- and stops */

static void stop_and_reload(struct rig *rig)
{
    neap_stop(rig->n);
    neap_reload(rig->n);
}

static void one_that_comes_after_a_stop_is_none(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    rig.ready = stop_and_reload;
    rig_run(&rig, V1);
    assert_true(rig.reloads <= 1);
    assert_int_equal(rig.reloadings, rig.reloads);
    rig_close(&rig);
}

static void a_stop_ends_the_reload_that_is_under_way(void **state)
{
    int64_t live = np_alloc_live();
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    rig.noted = stop; /* by the new code, while it loads */
    rig.next = V2 "host.note('2') task.sleep(600)";
    rig_run(&rig, V1 "if worker.id == 1 then task.spawn(function()\n"
                     "  host.rewrite()\n"
                     "  local ok, err = neap.reload()\n"
                     "end) end");
    assert_int_equal(rig.reloadings, 1);
    assert_int_equal(rig.reloads, 1);
    assert_int_equal(rig.err, NEAP_ECANCELED);
    assert_int_equal(version(&rig), 1);
    rig_close(&rig);
    assert_no_leak(live);
}

static void a_close_ends_the_reload_that_is_under_way(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        int64_t live = np_alloc_live();
        struct rig rig;
        rig_open(&rig, 3);
        rig_load(&rig, V1 "task.spawn(neap.reload)");
        neap_reload(rig.n);
        rig_close(&rig);
        assert_no_leak(live);
    }
}

/* --- what goes over */

/* All have loaded, and one of them has got the job. */
static void go_on_with_the_job(struct rig *rig)
{
    if (strstr(rig->notes, "new")) neap_stop(rig->n);
    if (rig->readies == 1 && strcmp(rig->notes, "old ") == 0) write_next_and_reload(rig);
}

static void a_job_of_one_worker_goes_to_the_new_code(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 3);
    rig.ready = go_on_with_the_job;
    rig.noted = go_on_with_the_job;
    rig.next = V2 "worker.once('job', function() host.note('new') task.sleep(600) end)";
    rig_run(&rig, V1 "worker.once('job', function() host.note('old ') task.sleep(600) end)");
    assert_string_equal(rig.notes, "old new");
    assert_int_equal(rig.reloads, 1);
    rig_close(&rig);
}

static void hear(const neap_message *m, void *user)
{
    struct rig *rig = user;
    strncat(rig->notes, m->data, m->len);
    if (strlen(rig->notes) == 6) neap_stop(rig->n);
}

static void ask_all(struct rig *rig)
{
    assert_ok(neap_publish(rig->n, "ask.version", NULL, "", 0));
}

#define TELLS \
    "neap.bus.subscribe('ask.>', function() neap.bus.publish('told', tostring(version())) end)"

static void heard_three(struct rig *rig)
{
    write_script(rig, V2 TELLS);
    assert_ok(neap_subscribe(rig->n, "told", NULL, hear, rig, &rig->sub));
    ask_all(rig);
    neap_reload(rig->n);
}

static void messages_reach_c_and_all_workers_before_and_after(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 3);
    rig.ready = heard_three;
    rig.reloaded = ask_all;
    rig_run(&rig, V1 TELLS);
    assert_string_equal(rig.notes, "111222");
    rig_close(&rig);
}

static void call_slow(struct rig *rig)
{
    write_script(rig, V2);
    assert_ok(neap_call_function(rig->n, "slow", NULL, 0, keep_outcome, &rig->outcome));
}

/* The new code is there; the old one goes on. */
static void end_slow(struct rig *rig)
{
    assert_int_equal(rig->outcome.calls, 0);
    assert_int_equal(version(rig), 2);
    neap_return(rig->kept, neap_string("old"));
    neap_call_finish(rig->kept);
}

/* keep(): ends with the reload. */
static void keep(neap_call *call, void *user)
{
    struct rig *rig = user;
    rig->kept = call;
    neap_reload(rig->n);
}

#define SLOW V1 "function slow() local v = host.keep() host.note('ended') return v end\n"

static void stop_when_ended(struct rig *rig)
{
    if (strstr(rig->notes, "ended")) neap_stop(rig->n);
}

static void a_call_of_c_ends_on_the_code_it_began_on(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    assert_ok(neap_export(rig.n, "keep", keep, &rig));
    rig.ready = call_slow;
    rig.reloaded = end_slow;
    rig.noted = stop_when_ended;
    rig_load(&rig, SLOW);
    assert_ok(neap_run(rig.n));
    assert_string_equal(rig.notes, "ended");
    assert_int_equal(rig.outcome.calls, 1);
    assert_ok(rig.outcome.err);
    assert_string_equal(rig.outcome.text, "old");
    rig_close(&rig);
}

/* --- on a program's loop */

static void set_closed(void *user)
{
    ((struct rig *)user)->closed = true;
}

static void see_version_two(struct rig *rig)
{
    assert_int_equal(version(rig), 2);
}

static void a_host_on_a_programs_loop_reloads(void **state)
{
    int64_t live = np_alloc_live();
    uv_loop_t loop;
    struct rig rig;
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    rig_open(&rig, 3);
    rig.ready = reload_from_a_thread;
    rig.reloaded = see_version_two;
    assert_ok(neap_attach(rig.n, &loop));
    rig_load(&rig, V1);
    while (!rig.reloads)
        uv_run(&loop, UV_RUN_ONCE);
    pthread_join(rig.helper, NULL);
    assert_ok(rig.err);
    neap_close_with(rig.n, set_closed, &rig);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(rig.closed);
    assert_int_equal(uv_loop_close(&loop), 0);
    np_test_tmpdir_remove(rig.dir);
    assert_no_leak(live);
}

/* --- memory */

static void reload_until(struct rig *rig)
{
    assert_ok(rig->err);
    if (rig->reloads < rig->wanted) {
        neap_reload(rig->n);
    } else {
        neap_stop(rig->n);
    }
}

#define RICH                                                                                \
    V1 "local app = neap.http.app()\n"                                                      \
       "app:get('/', function() return 'x' end)\n"                                          \
       "local server = assert(neap.http.serve { app = app, port = 0 })\n"                   \
       "neap.bus.subscribe('a.>', function() end)\n"                                        \
       "neap.bus.subscribe('a.>', function() end, { queue = 'q' })\n"                       \
       "neap.shared('m', { bytes = 65536 }):set('k', 1)\n"                                  \
       "if worker.generation % 3 > 0 then worker.once('job', function() host.note('')\n"    \
       "  task.sleep(600) end) end\n"                                                       \
       "worker.on_message(function() end)\n"                                                \
       "neap.registry.watch('goods', function() end)\n"                                     \
       "neap.tcp.listen({ port = 0 }, function(s) s:close() end)\n"                         \
       "if worker.id == 0 then assert(neap.registry.register { name = 'goods', id = 'a',\n" \
       "  address = server.address, ttl = 10 }) end\n"

/* Blocks alive when all is drained, but not closed, after so many reloads. */
static int64_t live_after(int reloads)
{
    int64_t live = np_alloc_live();
    struct rig rig;
    rig_open(&rig, 2);
    rig.wanted = reloads;
    rig.ready = reload;
    rig.reloaded = reload_until;
    rig_run(&rig, RICH);
    assert_int_equal(rig.reloads, reloads);
    int64_t after = np_alloc_live() - live;
    rig_close(&rig);
    assert_no_leak(live);
    return after;
}

static void reloads_leave_nothing_behind(void **state)
{
    (void)state;
    int64_t few = live_after(3);
    int64_t many = live_after(63);
    print_message("blocks alive after 3 reloads: %lld, after 63: %lld\n", (long long)few,
                  (long long)many);
    assert_true(many < few + 45); /* what is just under way makes some difference */
}

static void stop_in_any_case(neap_t *n, enum neap_err err, const char *message, void *user)
{
    (void)message;
    *(enum neap_err *)user = err;
    neap_stop(n);
}

static void reload_in_any_case(neap_t *n, void *user)
{
    (void)user;
    neap_reload(n);
}

static enum neap_err reload_two(void *arg)
{
    enum neap_err reloaded = NEAP_OK;
    neap_options o = NEAP_OPTIONS_INIT;
    neap_t *n;
    (void)arg;
    o.log_level = "off";
    o.workers = 2;
    o.script_load_timeout = 0.02;
    o.drain_timeout = 0.02;
    o.keep_alive = true;
    o.on_ready = reload_in_any_case;
    o.on_reloaded = stop_in_any_case;
    o.user = &reloaded;
    enum neap_err err = neap_open(&o, &n);
    if (err) return err;
    err = neap_load_string(n, "x = 1", 5, "text");
    if (!err) err = neap_run(n);
    if (!err) err = reloaded;
    neap_close(n);
    return err ? NEAP_ENOMEM : NEAP_OK;
}

static void lost_memory_is_survived(void **state)
{
    (void)state;
    assert_true(np_test_oom(reload_two, NULL) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_thread_reloads),
        cmocka_unit_test(a_script_reloads_and_hears_of_a_failure),
        cmocka_unit_test(natives_are_there_for_the_new_code),
        cmocka_unit_test(those_asked_for_meanwhile_become_one),
        cmocka_unit_test(each_script_that_asks_is_answered),
        cmocka_unit_test(one_that_comes_after_a_stop_is_none),
        cmocka_unit_test(a_stop_ends_the_reload_that_is_under_way),
        cmocka_unit_test(a_close_ends_the_reload_that_is_under_way),
        cmocka_unit_test(a_job_of_one_worker_goes_to_the_new_code),
        cmocka_unit_test(messages_reach_c_and_all_workers_before_and_after),
        cmocka_unit_test(a_call_of_c_ends_on_the_code_it_began_on),
        cmocka_unit_test(a_host_on_a_programs_loop_reloads),
        cmocka_unit_test(reloads_leave_nothing_behind),
        cmocka_unit_test(lost_memory_is_survived),
    };
    return cmocka_run_group_tests_name("host.reload", tests, NULL, NULL);
}
