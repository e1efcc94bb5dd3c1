/* Hosts with several workers: loading, ending, natives, reloads. Scripts tell what they do to C. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "rig.h"

struct rig {
    neap_t *n;
    unsigned workers;
    pthread_t thread; /* the host's */
    int notes[16];    /* by worker */
    int strangers;    /* notes that came on another thread */
    int wanted;       /* notes after which the host is stopped */
    int reloads;
    enum neap_err reload_err;
    char reload_words[256];
    neap_call *kept;
    neap_call *all_kept[8];
    int nkept;
    int readies;
    const char *path; /* of the script … */
    const char *next; /* … and what stands there when all have loaded it */
};

/* note(worker): counted; the host stops when enough have come. */
static void note(neap_call *call, void *user)
{
    struct rig *rig = user;
    int64_t worker = 0;
    if (neap_arg_integer(call, 1, &worker) == NEAP_OK) {
        rig->notes[worker]++;
        if (!pthread_equal(pthread_self(), rig->thread)) rig->strangers++;
        neap_return(call, neap_integer(worker * 10));
        if (--rig->wanted == 0) neap_stop(rig->n);
    }
    neap_call_finish(call);
}

static void finish_kept(neap_t *n, void *user)
{
    struct rig *rig = user;
    (void)n;
    neap_return(rig->kept, neap_string("late"));
    neap_call_finish(rig->kept);
}

/* later(): ends from the loop. */
static void later(neap_call *call, void *user)
{
    struct rig *rig = user;
    rig->kept = call;
    assert_ok(neap_post(rig->n, finish_kept, rig));
}

/* keep(): is never finished by itself. */
static void keep(neap_call *call, void *user)
{
    struct rig *rig = user;
    rig->kept = rig->all_kept[rig->nkept++] = call;
}

static void on_reloaded(neap_t *n, enum neap_err err, const char *message, void *user)
{
    struct rig *rig = user;
    rig->reloads++;
    rig->reload_err = err;
    snprintf(rig->reload_words, sizeof rig->reload_words, "%s", message ? message : "");
    neap_stop(n);
}

static void write_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static void on_ready(neap_t *n, void *user)
{
    struct rig *rig = user;
    rig->readies++;
    if (!rig->next) return;
    write_file(rig->path, rig->next);
    neap_reload(n);
}

static void rig_open(struct rig *rig, unsigned workers)
{
    neap_options o = NEAP_OPTIONS_INIT;
    *rig = (struct rig){.workers = workers, .thread = pthread_self(), .wanted = -1};
    o.log_level = getenv("LOG") ? "debug" : "off";
    o.workers = workers;
    o.on_ready = on_ready;
    o.on_reloaded = on_reloaded;
    o.user = rig;
    assert_ok(neap_open(&o, &rig->n));
    assert_ok(neap_export(rig->n, "note", note, rig));
    assert_ok(neap_export(rig->n, "later", later, rig));
    assert_ok(neap_export(rig->n, "keep", keep, rig));
}

static void each_worker_loads_and_ends(void **state)
{
    static const unsigned counts[] = {1, 2, 4};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct rig rig;
        rig_open(&rig, counts[i]);
        load(rig.n, "local w = require 'neap.worker'\n"
                    "assert(require 'neap.host'.note(w.id) == w.id * 10)");
        assert_ok(neap_run(rig.n)); /* nothing is left to do anywhere */
        for (unsigned k = 0; k < 4; k++)
            assert_int_equal(rig.notes[k], k < counts[i] ? 1 : 0);
        assert_int_equal(rig.strangers, 0);
        neap_close(rig.n);
    }
}

static void a_native_may_finish_later_for_any_worker(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    load(rig.n, "local host, w = require 'neap.host', require 'neap.worker'\n"
                "if w.id == 1 then assert(host.later() == 'late'); host.note(1) end");
    assert_ok(neap_run(rig.n));
    assert_int_equal(rig.notes[1], 1);
    neap_close(rig.n);
}

static void a_call_is_finished_after_its_host(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    rig.wanted = 1;
    load(rig.n,
         "local host, w, task = require 'neap.host', require 'neap.worker', require 'neap.task'\n"
         "if w.id == 1 then\n"
         "  task.spawn(function() host.keep() end)\n"
         "  task.sleep(0)\n"
         "  host.note(1)\n"
         "end");
    assert_ok(neap_run(rig.n));
    assert_non_null(rig.kept);
    neap_close(rig.n);
    assert_null(neap_call_host(rig.kept));
    neap_call_finish(rig.kept);
}

static void a_failure_of_one_worker_is_the_hosts(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 3);
    load(rig.n, "local w = require 'neap.worker'\n"
                "if w.id == 2 then error 'not here' end\n"
                "require 'neap.task'.sleep(60)");
    assert_int_equal(neap_run(rig.n), NEAP_ESCRIPT);
    assert_non_null(strstr(neap_error(rig.n), "worker 2: "));
    assert_non_null(strstr(neap_error(rig.n), "not here"));
    neap_close(rig.n);
}

static void *stop_it(void *arg)
{
    neap_stop(arg);
    return NULL;
}

static void another_thread_stops_all(void **state)
{
    struct rig rig;
    pthread_t thread;
    (void)state;
    rig_open(&rig, 3);
    load(rig.n, "require 'neap.http'.serve { handler = function() end, port = 0 }");
    assert_int_equal(pthread_create(&thread, NULL, stop_it, rig.n), 0);
    assert_ok(neap_run(rig.n));
    pthread_join(thread, NULL);
    neap_close(rig.n);
}

/* --- reloads */

static void keep_answer(neap_t *n, const neap_result *r, void *user)
{
    (void)n;
    assert_ok(r->err);
    *(int64_t *)user = r->values[0].as.integer;
}

static int64_t ask(struct rig *rig)
{
    int64_t answer = -1;
    assert_ok(neap_call_now(rig->n, "answer", NULL, 0, keep_answer, &answer));
    return answer;
}

#define SERVE "require 'neap.http'.serve { handler = function() end, port = 0 }\n"

static void reload_once(struct rig *rig, const char *first, const char *second)
{
    char path[] = "/tmp/neap_workers_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_file(path, first);
    rig->path = path;
    rig->next = second;
    assert_ok(neap_load_file(rig->n, path));
    assert_ok(neap_run(rig->n)); /* on_reloaded stops it */
    assert_int_equal(rig->reloads, 1);
    unlink(path);
}

static void a_reload_goes_over_to_the_new_code(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    reload_once(&rig, SERVE "function answer() return 1 end",
                SERVE "function answer() return 2 end");
    assert_ok(rig.reload_err);
    assert_int_equal(ask(&rig), 2);
    neap_close(rig.n);
}

static void one_failure_keeps_all_on_the_old_code(void **state)
{
    static const char *const broken[] = {
        "function answer( return 2 end",
        SERVE "function answer() return 2 end error 'no'",
        "if require 'neap.worker'.id == 1 then error 'no' end function answer() return 2 end",
        "require 'neap.task'.sleep(0) error 'no, later'",
    };
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct rig rig;
        rig_open(&rig, 2);
        reload_once(&rig, SERVE "function answer() return 1 end", broken[i]);
        assert_int_equal(rig.reload_err, NEAP_ESCRIPT);
        assert_true(strlen(rig.reload_words) > 0);
        assert_int_equal(ask(&rig), 1);
        neap_close(rig.n);
    }
}

static void a_main_chunk_that_goes_on_says_when_it_is_ready(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    reload_once(&rig, SERVE "function answer() return 1 end",
                SERVE "function answer() return 2 end\n"
                      "require 'neap'.ready() while true do require 'neap.task'.sleep(1) end");
    assert_ok(rig.reload_err);
    assert_int_equal(ask(&rig), 2);
    neap_close(rig.n);
}

/* --- on a program's loop */

static void set_flag(void *user)
{
    *(bool *)user = true;
}

static void workers_stand_beside_a_programs_loop(void **state)
{
    int64_t live = np_alloc_live();
    uv_loop_t loop;
    struct rig rig;
    bool closed = false;
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    rig_open(&rig, 3);
    assert_ok(neap_attach(rig.n, &loop));
    load(rig.n, "local host, w = require 'neap.host', require 'neap.worker'\n"
                "assert(host.note(w.id) == w.id * 10)\n"
                "require 'neap.task'.spawn(host.keep)");
    while (!rig.notes[0] || !rig.notes[1] || !rig.notes[2] || rig.readies == 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(rig.strangers, 0);
    neap_close_with(rig.n, set_flag, &closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(closed);
    assert_int_equal(uv_loop_close(&loop), 0);
    for (int i = 0; i < rig.nkept; i++)
        neap_call_finish(rig.all_kept[i]);
    assert_no_leak(live);
}

/* --- values and messages between workers */

static void values_go_round_until_all_have_ended(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct rig rig;
        rig_open(&rig, 4);
        load(rig.n, "local host, w = require 'neap.host', require 'neap.worker'\n"
                    "w.on_message(function(v, from)\n"
                    "  assert(from == (w.id - 1) % 4 and v.text == 'round')\n"
                    "  if v.hops == 0 then return host.note(w.id) end\n"
                    "  assert(w.send((w.id + 1) % 4, { hops = v.hops - 1, text = v.text }))\n"
                    "end)\n"
                    "if w.id == 3 then\n"
                    "  for i = 1, 3 do assert(w.send(0, { hops = 200, text = 'round' })) end\n"
                    "end");
        assert_ok(neap_run(rig.n)); /* nobody waits for anything but what is on its way */
        assert_int_equal(rig.notes[0], 3);
        neap_close(rig.n);
    }
}

static void a_broadcast_reaches_all_but_its_sender(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 4);
    load(rig.n,
         "local host, w = require 'neap.host', require 'neap.worker'\n"
         "w.on_message(function(v, from) assert(v == nil and from == 2) host.note(w.id) end)\n"
         "local ok, err = w.send(4, 1)\n"
         "assert(ok == nil and err.code == 'ENOTFOUND')\n"
         "assert(not pcall(w.broadcast, print))");
    load(rig.n, "local w = require 'neap.worker'\n"
                "if w.id == 2 then assert(w.broadcast(nil)) end");
    enum neap_err err = neap_run(rig.n);
    if (err) fail_msg("%s", neap_error(rig.n));
    for (int i = 0; i < 4; i++)
        assert_int_equal(rig.notes[i], i != 2);
    neap_close(rig.n);
}

static void pick_and_stop(neap_call *call, void *user)
{
    struct rig *rig = user;
    neap_picked p[2];
    neap_call_finish(call);
    for (int i = 0; i < 2; i++)
        assert_ok(neap_pick(rig->n, "goods", "round_robin", NULL, &p[i]));
    assert_string_not_equal(p[0].id, p[1].id);
    for (int i = 0; i < 2; i++)
        neap_pick_release(rig->n, &p[i], true);
    neap_stop(rig->n);
}

static void what_a_worker_registers_is_picked_by_c(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    assert_ok(neap_export(rig.n, "pick_and_stop", pick_and_stop, &rig));
    load(rig.n, "local host, w = require 'neap.host', require 'neap.worker'\n"
                "local register = require 'neap.registry'.register\n"
                "if w.id == 1 then\n"
                "  assert(register { name = 'goods', id = 'a', address = '127.0.0.1:1' })\n"
                "  assert(register { name = 'goods', id = 'b', address = '127.0.0.1:2' })\n"
                "  host.pick_and_stop()\n"
                "end\n"
                "require 'neap.task'.sleep(600)");
    assert_ok(neap_run(rig.n));
    neap_close(rig.n);
}

/* --- stopping */

static void a_stop_comes_while_a_worker_computes(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    load(rig.n, "local w, task = require 'neap.worker', require 'neap.task'\n"
                "if w.id == 1 then\n"
                "  w.send(0, 'stop')\n"
                "  for i = 1, 3000000 do end\n"
                "else\n"
                "  w.on_message(require 'neap.core.runtime'.stop)\n"
                "end\n"
                "task.spawn(task.sleep, 600)");
    assert_ok(neap_run(rig.n));
    neap_close(rig.n);
}

/* --- out of memory */

static enum neap_err open_two(void *arg)
{
    neap_options o = NEAP_OPTIONS_INIT;
    neap_t *n;
    (void)arg;
    o.log_level = getenv("LOG") ? "debug" : "off";
    o.workers = 2;
    enum neap_err err = neap_open(&o, &n);
    if (err) return err;
    err = neap_load_string(n, "x = 1", 5, "text");
    if (!err) err = neap_run(n);
    neap_close(n);
    return err;
}

static enum neap_err open_two_or_lack_memory(void *arg)
{
    return open_two(arg) ? NEAP_ENOMEM : NEAP_OK; /* Lua has no word of its own for it: ESCRIPT */
}

static void lost_memory_is_survived(void **state)
{
    (void)state;
    assert_true(np_test_oom(open_two_or_lack_memory, NULL) > 10);
}

static void opens_and_closes(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++)
        assert_ok(open_two(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_worker_loads_and_ends),
        cmocka_unit_test(a_native_may_finish_later_for_any_worker),
        cmocka_unit_test(a_call_is_finished_after_its_host),
        cmocka_unit_test(a_failure_of_one_worker_is_the_hosts),
        cmocka_unit_test(another_thread_stops_all),
        cmocka_unit_test(a_reload_goes_over_to_the_new_code),
        cmocka_unit_test(one_failure_keeps_all_on_the_old_code),
        cmocka_unit_test(a_main_chunk_that_goes_on_says_when_it_is_ready),
        cmocka_unit_test(workers_stand_beside_a_programs_loop),
        cmocka_unit_test(values_go_round_until_all_have_ended),
        cmocka_unit_test(a_broadcast_reaches_all_but_its_sender),
        cmocka_unit_test(what_a_worker_registers_is_picked_by_c),
        cmocka_unit_test(a_stop_comes_while_a_worker_computes),
        cmocka_unit_test(opens_and_closes),
        cmocka_unit_test(lost_memory_is_survived),
    };
    return cmocka_run_group_tests_name("host.workers", tests, NULL, NULL);
}
