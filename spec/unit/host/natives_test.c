/* C functions of the program that the scripts of several workers call: they run on the host's
 * thread, whoever calls, and may be finished whenever C likes. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "rig.h"

#define MAX_KEPT 16

struct rig {
    neap_t *n;
    pthread_t thread; /* the host's */
    int strangers;    /* calls that came on another thread */
    int notes;
    char words[512]; /* of the notes, sorted by their coming */
    neap_call *kept[MAX_KEPT];
    int nkept;
    int cancels;
    int posts;           /* … that have come by neap_post as well */
    int stop_at_cancels; /* the host is stopped when so many have come */
    bool finish_on_cancel;
    int exported;
    pthread_t helper;
};

static void see_thread(struct rig *rig)
{
    if (!pthread_equal(pthread_self(), rig->thread)) rig->strangers++;
}

/* note(text) */
static void note(neap_call *call, void *user)
{
    struct rig *rig = user;
    const char *text;
    see_thread(rig);
    if (neap_arg_string(call, 1, &text, NULL) == NEAP_OK) {
        rig->notes++;
        strncat(rig->words, text, sizeof rig->words - strlen(rig->words) - 1);
    }
    neap_call_finish(call);
}

/* echo(…) → … */
static void echo(neap_call *call, void *user)
{
    see_thread(user);
    for (size_t i = 1; i <= neap_arg_count(call); i++)
        neap_return(call, *neap_arg(call, i));
    neap_call_finish(call);
}

/* fail(how) */
static void fail_call(neap_call *call, void *user)
{
    int64_t how = 0;
    see_thread(user);
    if (neap_arg_integer(call, 1, &how) == NEAP_OK) {
        if (how == 1) neap_return_error(call, NEAP_ENOTFOUND, "no such thing");
        if (how == 2) neap_raise(call, "not like this");
    }
    neap_call_finish(call);
}

static void count_post(neap_t *n, void *user)
{
    struct rig *rig = user;
    assert_ptr_equal(n, rig->n);
    rig->posts++;
}

static void on_cancel(neap_call *call, void *user)
{
    struct rig *rig = user;
    see_thread(rig);
    assert_ok(neap_post(rig->n, count_post, rig));
    rig->cancels++;
    if (rig->finish_on_cancel) neap_call_finish(call);
    if (rig->cancels == rig->stop_at_cancels) neap_stop(rig->n);
}

/* keep(): C has it until the test finishes it. */
static void keep(neap_call *call, void *user)
{
    struct rig *rig = user;
    see_thread(rig);
    assert_true(rig->nkept < MAX_KEPT);
    rig->kept[rig->nkept++] = call;
    neap_call_on_cancel(call, on_cancel, rig);
}

static void finish_kept(struct rig *rig)
{
    for (int i = 0; i < rig->nkept; i++) {
        neap_return(rig->kept[i], neap_string("kept"));
        neap_call_finish(rig->kept[i]);
    }
    rig->nkept = 0;
}

/* release(): ends what is kept. */
static void release(neap_call *call, void *user)
{
    see_thread(user);
    finish_kept(user);
    neap_call_finish(call);
}

static void finish_there(neap_t *n, void *user)
{
    (void)n;
    finish_kept(user);
}

static void *help(void *user)
{
    struct rig *rig = user;
    assert_ok(neap_post(rig->n, finish_there, rig));
    return NULL;
}

/* compute(): a thread of C's own ends it, by way of the loop. */
static void compute(neap_call *call, void *user)
{
    struct rig *rig = user;
    keep(call, user);
    assert_int_equal(pthread_create(&rig->helper, NULL, help, rig), 0);
}

static void rig_open(struct rig *rig, unsigned workers)
{
    static const struct {
        const char *name;
        neap_function fn;
    } natives[] = {{"note", note}, {"echo", echo},       {"fail", fail_call},
                   {"keep", keep}, {"release", release}, {"compute", compute}};
    neap_options o = NEAP_OPTIONS_INIT;
    *rig = (struct rig){.thread = pthread_self(), .stop_at_cancels = -1};
    o.log_level = getenv("LOG") ? "debug" : "off";
    o.workers = workers;
    assert_ok(neap_open(&o, &rig->n));
    for (size_t i = 0; i < sizeof natives / sizeof *natives; i++)
        assert_ok(neap_export(rig->n, natives[i].name, natives[i].fn, rig));
}

#define HEAD \
    "local host, worker, task = require 'neap.host', require 'neap.worker', require 'neap.task'\n"

static void run(struct rig *rig, const char *code)
{
    load(rig->n, code);
    enum neap_err err = neap_run(rig->n);
    if (err) fail_msg("%s: %s", neap_err_name(err), neap_error(rig->n));
    assert_int_equal(rig->strangers, 0);
}

static void values_pass_from_every_worker(void **state)
{
    struct rig rig;
    int64_t live = np_alloc_live();
    (void)state;
    rig_open(&rig, 4);
    run(&rig,
        HEAD "for i = 1, 50 do\n"
             "  local t, n, s, none, last = host.echo({ a = { i, 'x' } }, 1.5, 'a\\0b', nil, i)\n"
             "  assert(t.a[1] == i and t.a[2] == 'x' and n == 1.5 and s == 'a\\0b')\n"
             "  assert(none == nil and last == i)\n"
             "end\n"
             "assert(select('#', host.echo()) == 0)\n"
             "host.note(tostring(worker.id))");
    assert_int_equal(rig.notes, 4);
    for (const char *c = "0123"; *c; c++)
        assert_non_null(strchr(rig.words, *c));
    neap_close(rig.n);
    assert_no_leak(live);
}

static void they_fail_as_bindings_do(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    run(&rig,
        HEAD "local v, err = host.fail(1)\n"
             "assert(v == nil and err.code == 'ENOTFOUND' and err.message == 'no such thing')\n"
             "local ok, msg = pcall(function() host.fail(2) end)\n"
             "assert(not ok and msg == 'script:4: not like this', msg)\n"
             "ok, msg = pcall(host.fail)\n"
             "assert(not ok and msg:find('integer expected, got no value'), msg)\n"
             "assert(not pcall(host.echo, print))\n"
             "host.note('.')");
    assert_int_equal(rig.notes, 2);
    neap_close(rig.n);
}

static void many_may_be_outstanding_and_end_in_any_order(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 3);
    run(&rig, HEAD "local tasks = {}\n"
                   "for i = 1, 4 do tasks[i] = task.spawn(function() return host.keep(i) end) end\n"
                   "host.note('.')\n"
                   "host.release()\n"
                   "for i = 1, 4 do assert(tasks[i]:await() == 'kept') end\n"
                   "host.note('.')");
    assert_int_equal(rig.notes, 6);
    assert_int_equal(rig.cancels, 0);
    neap_close(rig.n);
}

static void the_host_runs_on_while_c_computes(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    run(&rig, HEAD "if worker.id == 1 then host.note(host.compute()) end");
    assert_string_equal(rig.words, "kept");
    pthread_join(rig.helper, NULL);
    neap_close(rig.n);
}

/* The note comes after what was sent before it: C has the call then, and hears of its end. */
#define CANCEL_ONE                                          \
    HEAD "if worker.id == 1 then\n"                         \
         "  local t = task.spawn(host.keep)\n"              \
         "  host.note('kept ')\n"                           \
         "  t:cancel()\n"                                   \
         "  local v, err = t:await()\n"                     \
         "  assert(v == nil and err.code == 'ECANCELED')\n" \
         "  host.note('cancelled')\n"                       \
         "end"

static void a_cancelled_task_tells_the_function(void **state)
{
    (void)state;
    for (int finish = 0; finish < 2; finish++) {
        int64_t live = np_alloc_live();
        struct rig rig;
        rig_open(&rig, 2);
        rig.finish_on_cancel = finish;
        run(&rig, CANCEL_ONE);
        assert_string_equal(rig.words, "kept cancelled");
        assert_int_equal(rig.cancels, 1);
        if (!finish) {
            assert_ptr_equal(neap_call_host(rig.kept[0]), rig.n); /* it lives on */
            finish_kept(&rig);
        }
        neap_close(rig.n);
        assert_no_leak(live);
    }
}

static void one_that_is_cancelled_at_once_is_told_as_well(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    rig.finish_on_cancel = true;
    run(&rig, HEAD "if worker.id == 1 then\n"
                   "  task.spawn(host.keep):cancel()\n"
                   "  host.note('.')\n"
                   "end");
    assert_int_equal(rig.cancels, rig.nkept);
    neap_close(rig.n);
}

static void a_deadline_ends_the_wait(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    rig.finish_on_cancel = true;
    run(&rig, HEAD "if worker.id == 1 then\n"
                   "  local v, err = task.timeout(0.001, host.keep)\n"
                   "  assert(v == nil and err.code == 'ETIMEDOUT', err)\n"
                   "  host.note('.')\n"
                   "end");
    assert_int_equal(rig.notes, 1);
    assert_int_equal(rig.cancels, 1);
    neap_close(rig.n);
}

static void nothing_is_called_whose_end_cannot_be_waited_for(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    run(&rig, HEAD "if worker.id == 1 then\n"
                   "  local ok, msg = pcall(table.sort, { 2, 1 }, function(a, b)\n"
                   "    host.note('called') return a < b end)\n"
                   "  assert(not ok and msg:find('cannot wait here'), msg)\n"
                   "  host.note('refused')\n"
                   "end");
    assert_string_equal(rig.words, "refused");
    neap_close(rig.n);
}

static void calls_are_finished_after_their_host(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 4; workers *= 2) {
        int64_t live = np_alloc_live();
        struct rig rig;
        rig_open(&rig, workers);
        load(rig.n, HEAD "task.spawn(function() host.keep({ 'kept' }) end)\n"
                         "host.note('.')\n"
                         "if worker.id == 0 then task.sleep(0) worker.broadcast(1) end\n"
                         "require('neap.core.runtime').stop()");
        assert_ok(neap_run(rig.n));
        neap_close(rig.n);
        assert_int_equal(rig.cancels, rig.nkept);
        assert_int_equal(rig.posts, rig.cancels);
        assert_int_equal(rig.strangers, 0);
        for (int i = 0; i < rig.nkept; i++) {
            assert_null(neap_call_host(rig.kept[i]));
            const neap_value *arg = neap_value_item(neap_arg(rig.kept[i], 1), 1);
            assert_string_equal(arg->as.string.data, "kept");
        }
        finish_kept(&rig);
        assert_no_leak(live);
    }
}

static void a_host_that_closes_without_a_run_leaves_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        int64_t live = np_alloc_live();
        struct rig rig;
        rig_open(&rig, 3);
        load(rig.n, HEAD "host.echo(1) host.keep() host.note('x')");
        neap_close(rig.n);
        assert_int_equal(rig.cancels, rig.nkept);
        finish_kept(&rig);
        assert_no_leak(live);
    }
}

/* --- exporting while others look */

static void export_more(neap_t *n, void *user)
{
    struct rig *rig = user;
    char name[16];
    snprintf(name, sizeof name, "f%d", ++rig->exported);
    assert_ok(neap_export(n, name, rig->exported % 2 ? echo : note, rig));
    assert_ok(neap_export(n, name, echo, rig)); /* replaced */
    if (rig->exported < 50) assert_ok(neap_post(n, export_more, rig));
}

static void functions_may_be_exported_while_scripts_run(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 3);
    assert_ok(neap_post(rig.n, export_more, &rig));
    run(&rig, HEAD "for i = 1, 50 do\n"
                   "  local name = 'f' .. i\n"
                   "  while not host[name] do task.sleep(0) end\n"
                   "  assert(host[name](i) == i)\n"
                   "end\n"
                   "host.note('.')");
    assert_int_equal(rig.notes, 3);
    neap_close(rig.n);
}

/* --- a state that goes while its loop lives on */

static void a_reload_cancels_what_its_old_code_waits_for(void **state)
{
    int64_t live = np_alloc_live();
    struct rig rig;
    (void)state;
    rig_open(&rig, 2);
    rig.stop_at_cancels = 2;
    run(&rig, HEAD "task.spawn(task.sleep, 60)\n"
                   "if worker.generation > 0 then return end\n"
                   "task.spawn(host.keep)\n"
                   "host.note('.')\n"
                   "worker.once('reload', function() worker.reload() end)");
    assert_int_equal(rig.cancels, 2);
    finish_kept(&rig);
    neap_close(rig.n);
    assert_no_leak(live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_pass_from_every_worker),
        cmocka_unit_test(they_fail_as_bindings_do),
        cmocka_unit_test(many_may_be_outstanding_and_end_in_any_order),
        cmocka_unit_test(the_host_runs_on_while_c_computes),
        cmocka_unit_test(a_cancelled_task_tells_the_function),
        cmocka_unit_test(one_that_is_cancelled_at_once_is_told_as_well),
        cmocka_unit_test(a_deadline_ends_the_wait),
        cmocka_unit_test(nothing_is_called_whose_end_cannot_be_waited_for),
        cmocka_unit_test(calls_are_finished_after_their_host),
        cmocka_unit_test(a_host_that_closes_without_a_run_leaves_nothing),
        cmocka_unit_test(functions_may_be_exported_while_scripts_run),
        cmocka_unit_test(a_reload_cancels_what_its_old_code_waits_for),
    };
    return cmocka_run_group_tests_name("host.natives", tests, NULL, NULL);
}
