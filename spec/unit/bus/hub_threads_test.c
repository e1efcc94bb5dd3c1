/* Buses of several workers, each on a thread of its own: all publish at once, members come and go,
 * and every message is accounted for. The thread sanitizer runs this. */
#include <uv.h>

#include "hub_rig.h"

struct group;

struct worker {
    struct group *group;
    unsigned id;
    struct np_loop loop;
    struct np_bus *bus;
    uv_thread_t thread;
    uv_sem_t opened;
    struct taker all, mine, asked; /* their thread's; the test's between two jobs */
};

struct group {
    int64_t live;
    unsigned n;
    struct np_bus_hub *hub;
    struct worker workers[MAX_WORKERS];
};

/* What a worker's thread is to do while the test waits. */
struct job {
    struct np_post post;
    struct worker *w;
    void (*fn)(struct job *j);
    int arg;
    struct np_bus_flush flush;
    uv_sem_t done;
};

static void run_worker(void *arg)
{
    struct worker *w = arg;
    assert_ok(np_loop_init(&w->loop, NULL, NULL));
    assert_ok(np_bus_new(&w->loop, NULL, &w->bus));
    assert_ok(np_bus_hub_join(w->group->hub, w->id, w->bus));
    np_loop_await_posts(&w->loop, true);
    uv_sem_post(&w->opened);
    np_loop_run(&w->loop);
    np_loop_await_posts(&w->loop, false);
    np_bus_unsubscribe(w->all.sub);
    np_bus_unsubscribe(w->mine.sub);
    np_bus_unsubscribe(w->asked.sub);
    np_bus_hub_leave(w->group->hub, w->id);
    np_bus_free(w->bus);
    np_loop_fini(&w->loop, NULL, NULL);
}

static void on_job(struct np_post *p, struct np_loop *loop)
{
    struct job *j = np_container_of(p, struct job, post);
    j->fn(j);
}

static void start(struct job *j, struct worker *w, void (*fn)(struct job *j), int arg)
{
    *j = (struct job){.post.fn = on_job, .w = w, .fn = fn, .arg = arg};
    assert_int_equal(uv_sem_init(&j->done, 0), 0);
    np_loop_post(&w->loop, &j->post);
}

static void await(struct job *j)
{
    uv_sem_wait(&j->done);
    uv_sem_destroy(&j->done);
}

/* On all workers at once. */
static void all_do(struct group *g, void (*fn)(struct job *j), int arg)
{
    struct job jobs[MAX_WORKERS];
    for (unsigned i = 0; i < g->n; i++)
        start(&jobs[i], &g->workers[i], fn, arg);
    for (unsigned i = 0; i < g->n; i++)
        await(&jobs[i]);
}

static void do_on(struct worker *w, void (*fn)(struct job *j), int arg)
{
    struct job j;
    start(&j, w, fn, arg);
    await(&j);
}

static void on_flushed(struct np_bus_flush *f, enum neap_err err)
{
    uv_sem_post(&np_container_of(f, struct job, flush)->done);
}

static void flush(struct job *j)
{
    np_bus_flush_init(&j->flush, on_flushed);
    assert_ok(np_bus_flush_start(j->w->bus, &j->flush));
}

/* What a flush has put on a queue is handed over in a few turns more; so is what answers. */
static void quiesce(struct group *g)
{
    for (int i = 0; i < 6; i++)
        all_do(g, flush, 0);
}

static void open_group(struct group *g, unsigned n)
{
    memset(g, 0, sizeof *g);
    g->live = np_alloc_live();
    g->n = n;
    assert_ok(np_bus_hub_new(n, NULL, &g->hub));
    for (unsigned i = 0; i < n; i++) {
        struct worker *w = &g->workers[i];
        w->group = g;
        w->id = i;
        assert_int_equal(uv_sem_init(&w->opened, 0), 0);
        assert_int_equal(uv_thread_create(&w->thread, run_worker, w), 0);
    }
    for (unsigned i = 0; i < n; i++) {
        uv_sem_wait(&g->workers[i].opened);
        uv_sem_destroy(&g->workers[i].opened);
    }
}

static void stop(struct job *j)
{
    np_loop_stop(&j->w->loop);
    uv_sem_post(&j->done);
}

static void close_group(struct group *g)
{
    for (unsigned i = 0; i < g->n; i++)
        do_on(&g->workers[i], stop, 0);
    for (unsigned i = 0; i < g->n; i++)
        uv_thread_join(&g->workers[i].thread);
    np_bus_hub_free(g->hub);
    assert_no_leak(g->live);
}

/* --- what workers do */

static void subscribe_all(struct job *j)
{
    take(j->w->bus, &j->w->all, "news.*", NULL);
    take(j->w->bus, &j->w->mine, "work", "q");
    uv_sem_post(&j->done);
}

static void publish_many(struct job *j)
{
    for (int i = 0; i < j->arg; i++) {
        publish(j->w->bus, "news.x", "");
        publish(j->w->bus, "work", "");
    }
    uv_sem_post(&j->done);
}

static void everybody_hears_everybody(void **state)
{
    static struct group g;
    enum { N = 300, ROUNDS = 10 };
    open_group(&g, 4);
    all_do(&g, subscribe_all, 0);
    quiesce(&g);
    for (int i = 0; i < ROUNDS; i++) {
        all_do(&g, publish_many, N);
        all_do(&g, flush, 0);
    }
    quiesce(&g);
    int work = 0;
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(g.workers[i].all.count, 4 * N * ROUNDS);
        assert_true(g.workers[i].mine.count > N);
        work += g.workers[i].mine.count;
    }
    assert_int_equal(work, 4 * N * ROUNDS);
    close_group(&g);
}

/* --- requests */

static void on_question(struct np_bus_sub *s, struct np_bus_msg *m)
{
    struct worker *w = np_bus_sub_arg(s);
    struct np_bus_out out = {.subject = m->reply, .payload = m->payload};
    w->asked.count++;
    assert_ok(np_bus_publish(w->bus, &out, NULL, NULL));
}

static void on_drained(struct np_bus_sub *s)
{
    np_bus_unsubscribe(s);
}

static void answer_questions(struct job *j)
{
    static const struct np_bus_sub_handler handler = {.on_message = on_question,
                                                      .on_end = on_drained};
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    opts.queue = BYTES("answerers");
    assert_ok(
        np_bus_subscribe(j->w->bus, BYTES("question"), &opts, &handler, j->w, &j->w->asked.sub));
    uv_sem_post(&j->done);
}

struct asking {
    struct np_bus_request r;
    struct job *job;
    int left, answered, nobody;
};

static void ask(struct asking *a);

static void on_answer(struct np_bus_request *r, enum neap_err err, struct np_bus_msg *m)
{
    struct asking *a = np_container_of(r, struct asking, r);
    if (err) {
        assert_err(err, NEAP_ENORESPONDERS);
        a->nobody++;
    } else {
        a->answered++;
    }
    if (--a->left > 0) {
        ask(a);
    } else {
        uv_sem_post(&a->job->done);
    }
}

static void ask(struct asking *a)
{
    struct np_bus_out m = {.subject = BYTES("question"), .payload = BYTES("?")};
    np_bus_request_init(&a->r, a->job->w->bus, on_answer);
    assert_ok(np_bus_request_start(&a->r, &m, 0));
}

static struct asking askings[MAX_WORKERS];

static void ask_many(struct job *j)
{
    struct asking *a = &askings[j->w->id];
    *a = (struct asking){.job = j, .left = j->arg};
    ask(a);
}

static void each_request_is_answered_once(void **state)
{
    static struct group g;
    enum { N = 500 };
    open_group(&g, 3);
    all_do(&g, answer_questions, 0);
    quiesce(&g);
    all_do(&g, ask_many, N);
    int asked = 0;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(askings[i].answered, N);
        assert_int_equal(askings[i].nobody, 0);
        asked += g.workers[i].asked.count;
    }
    assert_int_equal(asked, 3 * N);
    close_group(&g);
}

/* --- coming and going under traffic */

static void leave_and_join(struct job *j)
{
    np_bus_hub_leave(j->w->group->hub, j->w->id);
    assert_ok(np_bus_hub_join(j->w->group->hub, j->w->id, j->w->bus));
    uv_sem_post(&j->done);
}

/* Those that stay lose nothing of what those that stay publish. */
static void one_comes_and_goes_while_the_others_publish(void **state)
{
    static struct group g;
    enum { N = 100, ROUNDS = 30 };
    open_group(&g, 3);
    all_do(&g, subscribe_all, 0);
    quiesce(&g);
    for (int i = 0; i < ROUNDS; i++) {
        struct job a, b, c;
        start(&a, &g.workers[0], publish_many, N);
        start(&b, &g.workers[1], publish_many, N);
        start(&c, &g.workers[2], leave_and_join, 0);
        await(&a);
        await(&b);
        await(&c);
    }
    quiesce(&g);
    assert_int_equal(g.workers[0].all.count, 2 * N * ROUNDS);
    assert_int_equal(g.workers[1].all.count, 2 * N * ROUNDS);
    int before = g.workers[2].all.count;
    assert_true(before <= 2 * N * ROUNDS);
    do_on(&g.workers[0], publish_many, N);
    quiesce(&g);
    assert_int_equal(g.workers[2].all.count, before + N); /* and it is there as ever */
    close_group(&g);
}

/* A request always ends, whoever leaves meanwhile: answered, or with nobody. Only what was under
 * way to a worker that left may be lost, so here subscriptions come and go, and no workers. */
static void toggle_answers(struct job *j)
{
    for (int i = 0; i < j->arg; i++) {
        np_bus_sub_drain(j->w->asked.sub); /* what is pending is still answered */
        struct job sub = {.w = j->w};
        assert_int_equal(uv_sem_init(&sub.done, 0), 0);
        answer_questions(&sub);
        uv_sem_destroy(&sub.done);
    }
    uv_sem_post(&j->done);
}

static void every_request_ends(void **state)
{
    static struct group g;
    enum { N = 2000 };
    open_group(&g, 3);
    do_on(&g.workers[1], answer_questions, 0);
    do_on(&g.workers[2], answer_questions, 0);
    quiesce(&g);
    struct job asking, a, b;
    start(&asking, &g.workers[0], ask_many, N);
    for (int i = 0; i < 20; i++) {
        start(&a, &g.workers[1], toggle_answers, 20);
        start(&b, &g.workers[2], toggle_answers, 20);
        await(&a);
        await(&b);
    }
    await(&asking);
    assert_int_equal(askings[0].answered + askings[0].nobody, N);
    assert_true(askings[0].answered > 0);
    close_group(&g);
}

/* Taken out by another thread while its own goes on: what the host does with one that is stuck. */
static void one_is_taken_out_while_it_publishes(void **state)
{
    static struct group g;
    open_group(&g, 2);
    all_do(&g, subscribe_all, 0);
    quiesce(&g);
    for (int i = 0; i < 20; i++) {
        struct job j;
        start(&j, &g.workers[1], publish_many, 100);
        np_bus_hub_leave(g.hub, 1);
        await(&j);
        quiesce(&g);
        do_on(&g.workers[1], leave_and_join, 0);
        quiesce(&g);
    }
    assert_int_equal(g.workers[1].all.count, 2000); /* its own subscription has heard all */
    assert_true(g.workers[0].all.count <= 2000);
    close_group(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_hears_everybody),
        cmocka_unit_test(each_request_is_answered_once),
        cmocka_unit_test(one_comes_and_goes_while_the_others_publish),
        cmocka_unit_test(every_request_ends),
        cmocka_unit_test(one_is_taken_out_while_it_publishes),
    };
    return cmocka_run_group_tests_name("bus.hub_threads", tests, NULL, NULL);
}
