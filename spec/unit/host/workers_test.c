/* Hosts with several workers: loading, ending, natives, reloads. Scripts tell what they do to C. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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
    ((struct rig *)user)->kept = call;
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
        cmocka_unit_test(opens_and_closes),
    };
    return cmocka_run_group_tests_name("host.workers", tests, NULL, NULL);
}
