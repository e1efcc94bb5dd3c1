/* The loop: deferral, its end on a loop of its own and on an embedder's, error codes. */
#include "fixture.h"

struct note {
    struct np_defer d;
    struct fix *f;
    int runs;
    int again; /* how often it defers itself */
    int *order;
    int place;
};

static void on_note(struct np_defer *d)
{
    struct note *n = np_container_of(d, struct note, d);
    n->runs++;
    if (n->order) n->place = ++*n->order;
    if (n->again-- > 0) np_loop_defer(&n->f->loop, d);
}

static void what_is_deferred_runs_once_in_order(void **state)
{
    struct fix *f = *state;
    int order = 0;
    struct note a = {.f = f, .order = &order}, b = a, c = a;
    np_defer_init(&a.d, on_note);
    np_defer_init(&b.d, on_note);
    np_defer_init(&c.d, on_note);
    np_loop_defer(&f->loop, &a.d);
    np_loop_defer(&f->loop, &b.d);
    np_loop_defer(&f->loop, &a.d);
    np_loop_defer(&f->loop, &c.d);
    np_defer_cancel(&b.d);
    np_defer_cancel(&b.d);
    assert_int_equal(a.runs, 0);
    np_loop_run(&f->loop);
    assert_int_equal(a.runs, 1);
    assert_int_equal(b.runs, 0);
    assert_int_equal(c.runs, 1);
    assert_true(a.place < c.place);
}

static void what_is_deferred_meanwhile_waits_a_turn(void **state)
{
    struct fix *f = *state;
    struct note a = {.f = f, .again = 2};
    np_defer_init(&a.d, on_note);
    np_loop_defer(&f->loop, &a.d);
    assert_true(np_loop_poll(&f->loop));
    assert_int_equal(a.runs, 1);
    np_loop_run(&f->loop);
    assert_int_equal(a.runs, 3);
}

struct letter {
    struct np_post post;
    int *sum;
    int value;
};

static void on_letter(struct np_post *p, struct np_loop *loop)
{
    struct letter *l = np_container_of(p, struct letter, post);
    *l->sum = *l->sum * 10 + l->value;
    np_loop_await_posts(loop, l->value < 3);
}

struct letters {
    struct letter all[3];
    struct np_loop *loop;
};

static void post_three(void *arg)
{
    struct letters *sent = arg;
    for (int i = 0; i < 3; i++)
        np_loop_post(sent->loop, &sent->all[i].post);
}

static void what_another_thread_posts_is_called_in_order(void **state)
{
    struct fix *f = *state;
    int sum = 0;
    struct letters sent = {.loop = &f->loop};
    for (int i = 0; i < 3; i++)
        sent.all[i] = (struct letter){{.fn = on_letter}, &sum, i + 1};
    np_loop_await_posts(&f->loop, true);
    uv_thread_t thread;
    assert_int_equal(uv_thread_create(&thread, post_three, &sent), 0);
    np_loop_run(&f->loop); /* until the third has come */
    uv_thread_join(&thread);
    assert_int_equal(sum, 123);
}

static void set_true(void *arg)
{
    *(bool *)arg = true;
}

static void lives_on_an_embedders_loop(void **state)
{
    uv_loop_t uv;
    struct np_loop loop;
    struct np_stream *a, *b;
    bool gone = false;
    int64_t live = np_alloc_live();
    assert_int_equal(uv_loop_init(&uv), 0);
    assert_ok(np_loop_init(&loop, &uv, NULL));
    assert_int_equal(uv_run(&uv, UV_RUN_NOWAIT), 0); /* holds nothing by itself */
    assert_ok(np_pipe_pair(&loop, 0, &a, &b));
    np_stream_close(a);
    np_stream_close(b);
    np_loop_fini(&loop, set_true, &gone);
    assert_false(gone);
    uv_run(&uv, UV_RUN_DEFAULT);
    assert_true(gone);
    assert_int_equal(uv_loop_close(&uv), 0);
    assert_no_leak(live);
}

static void its_end_waits_for_what_is_closing(void **state)
{
    struct np_loop loop;
    struct end a, b;
    struct np_stream *s, *t;
    bool gone = false;
    assert_ok(np_loop_init(&loop, NULL, NULL));
    assert_ok(np_pipe_pair(&loop, 0, &s, &t));
    end_take(&a, s);
    end_take(&b, t);
    np_stream_close(s);
    np_stream_close(t);
    np_loop_fini(&loop, set_true, &gone);
    assert_true(gone);
    assert_int_equal(a.closed + b.closed, 2);
}

static void maps_the_codes_of_libuv(void **state)
{
    assert_err(np_err_from_uv(0), NEAP_OK);
    assert_err(np_err_from_uv(UV_EOF), NEAP_EOF);
    assert_err(np_err_from_uv(UV_ECONNREFUSED), NEAP_ECONNREFUSED);
    assert_err(np_err_from_uv(UV_EAI_NONAME), NEAP_EDNS);
    assert_err(np_err_from_uv(UV_ECANCELED), NEAP_ECANCELED);
    assert_err(np_err_from_uv(UV_EADDRINUSE), NEAP_EADDRINUSE);
}

static enum neap_err make_and_end(void *arg)
{
    struct np_loop loop;
    enum neap_err err = np_loop_init(&loop, NULL, NULL);
    if (!err) np_loop_fini(&loop, NULL, NULL);
    return err;
}

static void survives_running_out_of_memory(void **state)
{
    assert_int_not_equal(np_test_oom(make_and_end, NULL), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_is_deferred_runs_once_in_order),
        T(what_is_deferred_meanwhile_waits_a_turn),
        T(what_another_thread_posts_is_called_in_order),
        cmocka_unit_test(lives_on_an_embedders_loop),
        cmocka_unit_test(its_end_waits_for_what_is_closing),
        cmocka_unit_test(maps_the_codes_of_libuv),
        cmocka_unit_test(survives_running_out_of_memory),
    };
    return cmocka_run_group_tests_name("net.loop", tests, NULL, NULL);
}
