/* The broker in one process: who gets what, in which order, when, and what a full queue costs. */
#include "np_test.h"

#include <stdio.h>
#include <string.h>

#include "bus/request.h"
#include "bus/sub.h"

#define BYTES(s) ((struct np_bytes){(s), strlen(s)})

struct world {
    int64_t live;
    struct np_loop loop;
    struct np_bus *bus;
};

static int setup(void **state)
{
    static struct world w;
    w.live = np_alloc_live();
    struct np_bus_options opts = NP_BUS_OPTIONS_INIT;
    opts.seed = 7;
    assert_ok(np_loop_init(&w.loop, NULL, NULL));
    assert_ok(np_bus_new(&w.loop, &opts, &w.bus));
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    np_bus_free(w->bus);
    assert_int_equal(w->loop.handles, 0);
    np_loop_fini(&w->loop, NULL, NULL);
    assert_no_leak(w->live);
    return 0;
}

/* Runs the loop until nothing is to be done at once. */
static void settle(struct world *w)
{
    while (np_loop_poll(&w->loop))
        ;
}

/* A subscriber that writes down what it got. */
struct taker {
    struct np_bus_sub *sub;
    char got[4096];
    size_t len;
    int count, slow, ended;
    int leave_after; /* unsubscribes itself from inside that message */
    int pause_after;
};

static void on_message(struct np_bus_sub *s, struct np_bus_msg *m)
{
    struct taker *t = np_bus_sub_arg(s);
    t->count++;
    if (t->len < sizeof t->got / 2)
        t->len += (size_t)snprintf(t->got + t->len, sizeof t->got - t->len, "%s=%s ", m->subject.p,
                                   m->payload.p);
    if (t->count == t->pause_after) np_bus_sub_pause(s, true);
    if (t->count == t->leave_after) np_bus_unsubscribe(s);
}

static void on_slow(struct np_bus_sub *s)
{
    ((struct taker *)np_bus_sub_arg(s))->slow++;
}

static void on_end(struct np_bus_sub *s)
{
    ((struct taker *)np_bus_sub_arg(s))->ended++;
}

static const struct np_bus_sub_handler taking = {
    .on_message = on_message, .on_slow = on_slow, .on_end = on_end};

static void take_with(struct world *w, struct taker *t, const char *pattern,
                      struct np_bus_sub_options opts)
{
    memset(t, 0, sizeof *t);
    assert_ok(np_bus_subscribe(w->bus, BYTES(pattern), &opts, &taking, t, &t->sub));
}

static void take(struct world *w, struct taker *t, const char *pattern, const char *queue)
{
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    if (queue) opts.queue = BYTES(queue);
    take_with(w, t, pattern, opts);
}

static size_t publish(struct world *w, const char *subject, const char *payload)
{
    size_t interested = 99;
    struct np_bus_out m = {.subject = BYTES(subject), .payload = BYTES(payload)};
    assert_ok(np_bus_publish(w->bus, &m, NULL, &interested));
    return interested;
}

static void patterns_choose_the_messages(void **state)
{
    struct world *w = *state;
    struct taker exact, star, rest;
    take(w, &exact, "orders.eu.created", NULL);
    take(w, &star, "orders.*.created", NULL);
    take(w, &rest, "orders.>", NULL);
    assert_int_equal(publish(w, "orders.eu.created", "1"), 3);
    assert_int_equal(publish(w, "orders.us.created", "2"), 2);
    assert_int_equal(publish(w, "orders.us", "3"), 1);
    assert_int_equal(publish(w, "orders", "4"), 0);
    settle(w);
    assert_string_equal(exact.got, "orders.eu.created=1 ");
    assert_string_equal(star.got, "orders.eu.created=1 orders.us.created=2 ");
    assert_string_equal(rest.got, "orders.eu.created=1 orders.us.created=2 orders.us=3 ");
    np_bus_unsubscribe(exact.sub);
    np_bus_unsubscribe(star.sub);
    np_bus_unsubscribe(rest.sub);
    assert_int_equal(publish(w, "orders.eu.created", "5"), 0);
}

static void publishing_runs_no_subscriber(void **state)
{
    struct world *w = *state;
    struct taker t;
    take(w, &t, "a", NULL);
    publish(w, "a", "1");
    assert_int_equal(t.count, 0);
    settle(w);
    assert_int_equal(t.count, 1);
    np_bus_unsubscribe(t.sub);
}

static void order_is_kept(void **state)
{
    struct world *w = *state;
    struct taker t;
    char want[4096], text[16];
    size_t at = 0;
    take(w, &t, "a.*", NULL);
    for (int i = 0; i < 100; i++) {
        const char *subject = i % 3 ? "a.x" : "a.y";
        snprintf(text, sizeof text, "%d", i);
        publish(w, subject, text);
        at += (size_t)snprintf(want + at, sizeof want - at, "%s=%s ", subject, text);
    }
    settle(w);
    assert_string_equal(t.got, want);
    for (int i = 0; i < 5000; i++) /* more than a batch */
        publish(w, "a.z", "");
    settle(w);
    assert_int_equal(t.count, 5100);
    np_bus_unsubscribe(t.sub);
}

static void one_member_of_a_group_gets_each_message(void **state)
{
    struct world *w = *state;
    struct taker a, b, c, other, plain;
    take(w, &a, "jobs.*", "workers");
    take(w, &b, "jobs.*", "workers");
    take(w, &c, "jobs.>", "workers");
    take(w, &other, "jobs.*", "auditors");
    take(w, &plain, "jobs.*", NULL);
    for (int i = 0; i < 300; i++)
        assert_int_equal(publish(w, "jobs.x", ""), 3);
    settle(w);
    assert_int_equal(a.count + b.count + c.count, 300);
    assert_in_range(a.count, 50, 150);
    assert_in_range(b.count, 50, 150);
    assert_in_range(c.count, 50, 150);
    assert_int_equal(other.count, 300);
    assert_int_equal(plain.count, 300);
    struct taker *all[] = {&a, &b, &c, &other, &plain};
    for (int i = 0; i < 5; i++)
        np_bus_unsubscribe(all[i]->sub);
}

static void max_ends_a_subscription(void **state)
{
    struct world *w = *state;
    struct taker t, later;
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    opts.max = 2;
    take_with(w, &t, "a", opts);
    publish(w, "a", "1");
    publish(w, "a", "2");
    assert_true(np_bus_sub_ended(t.sub));
    assert_int_equal(publish(w, "a", "3"), 0);
    settle(w);
    assert_string_equal(t.got, "a=1 a=2 ");
    assert_int_equal(t.ended, 1);
    np_bus_unsubscribe(t.sub);

    take(w, &later, "a", NULL);
    publish(w, "a", "1");
    np_bus_sub_limit(later.sub, 2);
    publish(w, "a", "2");
    publish(w, "a", "3");
    settle(w);
    assert_string_equal(later.got, "a=1 a=2 ");
    assert_int_equal(later.ended, 1);
    np_bus_unsubscribe(later.sub);
}

static void a_limit_reached_before_lets_what_is_pending_come(void **state)
{
    struct world *w = *state;
    struct taker t;
    take(w, &t, "a", NULL);
    publish(w, "a", "1");
    publish(w, "a", "2");
    np_bus_sub_limit(t.sub, 1);
    settle(w);
    assert_string_equal(t.got, "a=1 a=2 ");
    assert_int_equal(t.ended, 1);
    np_bus_unsubscribe(t.sub);
}

static void drain_lets_what_is_pending_come(void **state)
{
    struct world *w = *state;
    struct taker t;
    take(w, &t, "a", NULL);
    publish(w, "a", "1");
    np_bus_sub_drain(t.sub);
    publish(w, "a", "2");
    settle(w);
    assert_string_equal(t.got, "a=1 ");
    assert_int_equal(t.ended, 1);
    np_bus_sub_drain(t.sub);
    settle(w);
    assert_int_equal(t.ended, 1);
    np_bus_unsubscribe(t.sub);
}

static void unsubscribing_inside_a_message_ends_at_once(void **state)
{
    struct world *w = *state;
    struct taker t;
    take(w, &t, "a", NULL);
    t.leave_after = 2;
    for (int i = 0; i < 5; i++)
        publish(w, "a", "x");
    settle(w);
    assert_int_equal(t.count, 2);
    assert_int_equal(t.ended, 0);
}

static void a_paused_subscription_keeps_its_messages(void **state)
{
    struct world *w = *state;
    struct taker t;
    struct np_bus_sub_stats stats;
    take(w, &t, "a", NULL);
    t.pause_after = 1;
    publish(w, "a", "1");
    publish(w, "a", "2");
    publish(w, "a", "3");
    settle(w);
    assert_string_equal(t.got, "a=1 ");
    np_bus_sub_get_stats(t.sub, &stats);
    assert_int_equal(stats.pending_messages, 2);
    assert_int_equal(stats.pending_bytes, 4);
    np_bus_sub_pause(t.sub, false);
    settle(w);
    assert_string_equal(t.got, "a=1 a=2 a=3 ");
    np_bus_unsubscribe(t.sub);
}

static void a_full_queue_drops_counts_and_tells(void **state)
{
    struct world *w = *state;
    struct taker slow, quick;
    struct np_bus_sub_stats stats;
    struct np_bus_stats all;
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    opts.pending_messages = 4;
    take_with(w, &slow, "a", opts);
    take(w, &quick, "a", NULL);
    np_bus_sub_pause(slow.sub, true);
    for (int i = 0; i < 10; i++)
        assert_int_equal(publish(w, "a", "x"), 2);
    settle(w);
    assert_int_equal(quick.count, 10);
    np_bus_sub_get_stats(slow.sub, &stats);
    assert_int_equal(stats.pending_messages, 4);
    assert_int_equal(stats.dropped, 6);
    assert_true(stats.slow);
    np_bus_get_stats(w->bus, &all);
    assert_int_equal(all.dropped, 6);
    assert_int_equal(all.published, 10);
    np_bus_sub_pause(slow.sub, false);
    settle(w);
    assert_int_equal(slow.slow, 1);
    assert_int_equal(slow.count, 4);
    np_bus_sub_get_stats(slow.sub, &stats);
    assert_false(stats.slow);
    np_bus_unsubscribe(slow.sub);
    np_bus_unsubscribe(quick.sub);
}

static void bytes_are_bounded_too(void **state)
{
    struct world *w = *state;
    struct taker t;
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    opts.pending_bytes = 20;
    take_with(w, &t, "a", opts);
    publish(w, "a", "a message larger than the whole bound");
    publish(w, "a", "y"); /* refused: the queue is not empty */
    settle(w);
    assert_int_equal(t.count, 1);
    publish(w, "a", "123456789");
    publish(w, "a", "123456789");
    publish(w, "a", "");
    settle(w);
    assert_int_equal(t.count, 3);
    np_bus_unsubscribe(t.sub);
}

static void a_full_member_leaves_its_message_to_another(void **state)
{
    struct world *w = *state;
    struct taker full, other;
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    opts.queue = BYTES("q");
    opts.pending_messages = 1;
    take_with(w, &full, "a", opts);
    np_bus_sub_pause(full.sub, true);
    take(w, &other, "a", "q");
    for (int i = 0; i < 20; i++)
        publish(w, "a", "");
    np_bus_sub_pause(full.sub, false);
    settle(w);
    assert_int_equal(full.count + other.count, 20);
    assert_int_equal(full.count, 1);
    np_bus_unsubscribe(full.sub);
    np_bus_unsubscribe(other.sub);
}

static void an_origin_is_not_heard_by_the_deaf(void **state)
{
    struct world *w = *state;
    struct taker deaf, other;
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    opts.deaf_to = w;
    take_with(w, &deaf, "a", opts);
    take(w, &other, "a", NULL);
    size_t interested;
    struct np_bus_out m = {.subject = BYTES("a")};
    assert_ok(np_bus_publish(w->bus, &m, w, &interested));
    assert_int_equal(interested, 1);
    publish(w, "a", "");
    settle(w);
    assert_int_equal(deaf.count, 1);
    assert_int_equal(other.count, 2);
    np_bus_unsubscribe(deaf.sub);
    np_bus_unsubscribe(other.sub);
}

static void bad_input_is_refused(void **state)
{
    struct world *w = *state;
    static const char *const bad[] = {"", ".", "a.", "a..b", "a b", "a.*", "a.>", ">", "a\r\nb"};
    static char big[2 * 1024 * 1024];
    struct np_bus_sub *s;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct np_bus_out m = {.subject = BYTES(bad[i])};
        assert_err(np_bus_publish(w->bus, &m, NULL, NULL), NEAP_EINVAL);
        m = (struct np_bus_out){.subject = BYTES("a"), .reply = BYTES(bad[i])};
        if (bad[i][0]) assert_err(np_bus_publish(w->bus, &m, NULL, NULL), NEAP_EINVAL);
    }
    assert_err(np_bus_subscribe(w->bus, BYTES("a..b"), NULL, &taking, NULL, &s), NEAP_EINVAL);
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    opts.queue = BYTES("two words");
    assert_err(np_bus_subscribe(w->bus, BYTES("a"), &opts, &taking, NULL, &s), NEAP_EINVAL);
    struct np_bus_out m = {.subject = BYTES("a"), .payload = {big, 1024 * 1024 + 1}};
    assert_err(np_bus_publish(w->bus, &m, NULL, NULL), NEAP_EMSGSIZE);
    m.payload.n = 1024 * 1024;
    assert_ok(np_bus_publish(w->bus, &m, NULL, NULL));
    m.headers = (struct np_bytes){big, 1};
    assert_err(np_bus_publish(w->bus, &m, NULL, NULL), NEAP_EMSGSIZE);
}

/* --- pulling --- */

static void on_ready(struct np_bus_sub *s)
{
    ++*(int *)np_bus_sub_arg(s);
}

static void messages_may_be_pulled(void **state)
{
    static const struct np_bus_sub_handler pulling = {.on_ready = on_ready};
    struct world *w = *state;
    struct np_bus_sub *s;
    int ready = 0;
    assert_ok(np_bus_subscribe(w->bus, BYTES("a"), NULL, &pulling, &ready, &s));
    publish(w, "a", "1");
    publish(w, "a", "2");
    settle(w);
    assert_int_equal(ready, 1);
    struct np_bus_msg *m = np_bus_sub_pop(s);
    assert_string_equal(m->payload.p, "1");
    np_bus_msg_unref(m);
    settle(w);
    assert_int_equal(ready, 1); /* not again for what was left */
    publish(w, "a", "3");
    settle(w);
    assert_int_equal(ready, 2);
    np_bus_unsubscribe(s);
}

/* --- requests --- */

struct call {
    struct np_bus_request r;
    int ended;
    enum neap_err err;
    char answer[64];
};

static void on_answer(struct np_bus_request *r, enum neap_err err, struct np_bus_msg *m)
{
    struct call *c = np_container_of(r, struct call, r);
    c->ended++;
    c->err = err;
    if (m) snprintf(c->answer, sizeof c->answer, "%s", m->payload.p);
}

static void call_start(struct world *w, struct call *c, const char *subject, const char *payload,
                       int64_t timeout)
{
    memset(c, 0, sizeof *c);
    np_bus_request_init(&c->r, w->bus, on_answer);
    struct np_bus_out m = {.subject = BYTES(subject), .payload = BYTES(payload)};
    assert_ok(np_bus_request_start(&c->r, &m, timeout));
    assert_int_equal(c->ended, 0);
}

static void on_request(struct np_bus_sub *s, struct np_bus_msg *m)
{
    struct world *w = np_bus_sub_arg(s);
    char text[64];
    snprintf(text, sizeof text, "re:%s", m->payload.p);
    struct np_bus_out out = {.subject = m->reply, .payload = BYTES(text)};
    assert_ok(np_bus_publish(w->bus, &out, NULL, NULL));
    assert_ok(np_bus_publish(w->bus, &out, NULL, NULL)); /* a second answer is not waited for */
}
static const struct np_bus_sub_handler answering = {.on_message = on_request};

static void a_request_gets_its_own_answer(void **state)
{
    struct world *w = *state;
    struct np_bus_sub *s;
    struct call a, b;
    assert_ok(np_bus_subscribe(w->bus, BYTES("echo"), NULL, &answering, w, &s));
    for (int i = 0; i < 3; i++) {
        call_start(w, &a, "echo", "one", 0);
        call_start(w, &b, "echo", "two", 0);
        settle(w);
        assert_int_equal(a.ended, 1);
        assert_ok(a.err);
        assert_string_equal(a.answer, "re:one");
        assert_int_equal(b.ended, 1);
        assert_string_equal(b.answer, "re:two");
    }
    np_bus_unsubscribe(s);
}

static void many_requests_at_once(void **state)
{
    struct world *w = *state;
    struct np_bus_sub *s;
    static struct call calls[500];
    char text[16];
    assert_ok(np_bus_subscribe(w->bus, BYTES("echo"), NULL, &answering, w, &s));
    for (int i = 0; i < 500; i++) {
        snprintf(text, sizeof text, "%d", i);
        call_start(w, &calls[i], "echo", text, 0);
    }
    settle(w);
    for (int i = 0; i < 500; i++) {
        snprintf(text, sizeof text, "re:%d", i);
        assert_int_equal(calls[i].ended, 1);
        assert_string_equal(calls[i].answer, text);
    }
    np_bus_unsubscribe(s);
}

static void nobody_listening_is_known_at_once(void **state)
{
    struct world *w = *state;
    struct call c;
    call_start(w, &c, "nobody", "", 0);
    settle(w);
    assert_int_equal(c.ended, 1);
    assert_int_equal(c.err, NEAP_ENORESPONDERS);
}

static void a_request_may_time_out_or_be_cancelled(void **state)
{
    struct world *w = *state;
    struct taker silent;
    struct call late, cancelled, closed;
    take(w, &silent, "silent", NULL);
    call_start(w, &late, "silent", "", 1);
    np_loop_run(&w->loop); /* until the timer has come */
    assert_int_equal(late.ended, 1);
    assert_int_equal(late.err, NEAP_ETIMEDOUT);
    call_start(w, &cancelled, "silent", "", 0);
    np_bus_request_cancel(&cancelled.r);
    np_bus_request_cancel(&cancelled.r);
    settle(w);
    assert_int_equal(cancelled.ended, 0);
    call_start(w, &closed, "silent", "", 0);
    np_bus_free(w->bus);
    w->bus = NULL;
    assert_int_equal(closed.err, NEAP_ECLOSED);
    np_bus_unsubscribe(silent.sub); /* outlived the bus */
}

static void an_answer_that_comes_late_finds_nobody(void **state)
{
    struct world *w = *state;
    struct taker silent;
    struct call first, second;
    take(w, &silent, "silent", NULL);
    np_bus_sub_pause(silent.sub, true);
    call_start(w, &first, "silent", "", 0);
    struct np_bus_msg *m = np_bus_sub_pop(silent.sub);
    np_bus_request_cancel(&first.r);
    call_start(w, &second, "silent", "", 0); /* in the same place */
    struct np_bus_out out = {.subject = m->reply, .payload = BYTES("late")};
    assert_ok(np_bus_publish(w->bus, &out, NULL, NULL));
    settle(w);
    assert_int_equal(first.ended + second.ended, 0);
    np_bus_request_cancel(&second.r);
    np_bus_msg_unref(m);
    np_bus_unsubscribe(silent.sub);
}

/* --- flush --- */

static bool flush_done;
static void on_flush(struct np_bus_flush *f, enum neap_err err)
{
    assert_ok(err);
    flush_done = true;
}

static void flush_comes_from_the_loop(void **state)
{
    struct world *w = *state;
    struct np_bus_flush f;
    flush_done = false;
    np_bus_flush_init(&f, on_flush);
    assert_ok(np_bus_flush_start(w->bus, &f));
    assert_false(flush_done);
    settle(w);
    assert_true(flush_done);
    flush_done = false;
    assert_ok(np_bus_flush_start(w->bus, &f));
    np_bus_flush_cancel(&f);
    settle(w);
    assert_false(flush_done);
}

/* --- out of memory --- */

static void ignore_answer(struct np_bus_request *r, enum neap_err err, struct np_bus_msg *m)
{
}

static enum neap_err a_short_life(void *arg)
{
    struct np_loop *loop = arg;
    struct np_bus *bus;
    struct np_bus_sub *plain = NULL, *group = NULL;
    struct taker t = {0};
    struct np_bus_request r;
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    opts.queue = BYTES("q");
    enum neap_err err = np_bus_new(loop, NULL, &bus);
    if (err) return err;
    np_bus_request_init(&r, bus, ignore_answer);
    err = np_bus_subscribe(bus, BYTES("a.*"), NULL, &taking, &t, &plain);
    if (!err) err = np_bus_subscribe(bus, BYTES("a.b"), &opts, &taking, &t, &group);
    struct np_bus_out m = {.subject = BYTES("a.b"), .payload = BYTES("x")};
    for (int i = 0; i < 20 && !err; i++)
        err = np_bus_publish(bus, &m, NULL, NULL);
    if (!err) err = np_bus_request_start(&r, &m, 0);
    if (!err) np_bus_request_cancel(&r);
    while (np_loop_poll(loop))
        ;
    np_bus_unsubscribe(plain);
    np_bus_unsubscribe(group);
    np_bus_free(bus);
    return err;
}

static void out_of_memory_is_survived(void **state)
{
    struct world *w = *state;
    assert_true(np_test_oom(a_short_life, &w->loop) > 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(patterns_choose_the_messages),
        TEST(publishing_runs_no_subscriber),
        TEST(order_is_kept),
        TEST(one_member_of_a_group_gets_each_message),
        TEST(max_ends_a_subscription),
        TEST(a_limit_reached_before_lets_what_is_pending_come),
        TEST(drain_lets_what_is_pending_come),
        TEST(unsubscribing_inside_a_message_ends_at_once),
        TEST(a_paused_subscription_keeps_its_messages),
        TEST(a_full_queue_drops_counts_and_tells),
        TEST(bytes_are_bounded_too),
        TEST(a_full_member_leaves_its_message_to_another),
        TEST(an_origin_is_not_heard_by_the_deaf),
        TEST(bad_input_is_refused),
        TEST(messages_may_be_pulled),
        TEST(a_request_gets_its_own_answer),
        TEST(many_requests_at_once),
        TEST(nobody_listening_is_known_at_once),
        TEST(a_request_may_time_out_or_be_cancelled),
        TEST(an_answer_that_comes_late_finds_nobody),
        TEST(flush_comes_from_the_loop),
        TEST(out_of_memory_is_survived),
    };
    return cmocka_run_group_tests_name("bus.bus", tests, NULL, NULL);
}
