/* Buses of several workers as one, their loops turned by hand: who gets what, what happens to what
 * is under way when somebody comes or goes, and what it costs to be slow. */
#include "bus/bus_impl.h"
#include "hub_rig.h"

static int setup(void **state)
{
    static struct world w;
    world_open(&w, 3, 0);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    world_close(*state);
    return 0;
}

static void a_message_comes_once_however_many_patterns_take_it(void **state)
{
    struct world *w = *state;
    struct taker exact, star, rest, other;
    struct np_bus_stats stats;
    take(w->buses[1], &exact, "a.b", NULL);
    take(w->buses[1], &star, "a.*", NULL);
    take(w->buses[2], &rest, "a.>", NULL);
    take(w->buses[2], &other, "b", NULL);
    settle(w);
    assert_int_equal(publish(w->buses[0], "a.b", "1"), 3);
    settle(w);
    assert_string_equal(exact.got, "a.b=1 ");
    assert_string_equal(star.got, "a.b=1 ");
    assert_string_equal(rest.got, "a.b=1 ");
    assert_int_equal(other.count, 0);
    assert_ptr_equal(exact.last, rest.last); /* one payload for all */
    np_bus_get_stats(w->buses[0], &stats);
    assert_int_equal(stats.forwarded, 2);
    np_bus_unsubscribe(exact.sub);
    np_bus_unsubscribe(star.sub);
    np_bus_unsubscribe(rest.sub);
    np_bus_unsubscribe(other.sub);
    settle(w);
    assert_int_equal(publish(w->buses[0], "a.b", "2"), 0);
}

static void the_publisher_s_own_are_served_too(void **state)
{
    struct world *w = *state;
    struct taker here, there;
    take(w->buses[0], &here, "a", NULL);
    take(w->buses[1], &there, "a", NULL);
    settle(w);
    assert_int_equal(publish(w->buses[0], "a", "x"), 2);
    settle(w);
    assert_int_equal(here.count, 1);
    assert_int_equal(there.count, 1);
    np_bus_unsubscribe(here.sub);
    np_bus_unsubscribe(there.sub);
}

static void the_order_of_one_publisher_is_kept(void **state)
{
    struct world *w = *state;
    struct taker t;
    char want[2048], text[16];
    size_t at = 0;
    take(w->buses[1], &t, "a.*", NULL);
    settle(w);
    for (int i = 0; i < 30; i++) {
        const char *subject = i % 3 ? "a.x" : "a.y";
        snprintf(text, sizeof text, "%d", i);
        publish(w->buses[0], subject, text);
        at += (size_t)snprintf(want + at, sizeof want - at, "%s=%s ", subject, text);
    }
    settle(w);
    assert_int_equal(t.count, 30);
    assert_memory_equal(t.got, want, t.len);
    np_bus_unsubscribe(t.sub);
}

/* A member is a member, wherever it is. */
static void a_group_chooses_over_all_members(void **state)
{
    struct world *w = *state;
    struct taker t[5];
    enum { N = 5000 };
    take(w->buses[0], &t[0], "a", "q");
    take(w->buses[1], &t[1], "a", "q");
    take(w->buses[1], &t[2], "*", "q");
    take(w->buses[1], &t[3], "a", "q");
    take(w->buses[2], &t[4], "a", "q");
    settle(w);
    for (int i = 0; i < N; i++) {
        assert_in_range(publish(w->buses[0], "a", ""), 1, 2);
        if (i % 50 == 0) settle(w);
    }
    settle(w);
    settle(w);
    int sum = 0;
    for (int i = 0; i < 5; i++) {
        assert_in_range(t[i].count, N / 5 - 150, N / 5 + 150);
        sum += t[i].count;
        np_bus_unsubscribe(t[i].sub);
    }
    assert_int_equal(sum, N);
}

static void groups_and_plain_ones_share_one_envelope(void **state)
{
    struct world *w = *state;
    struct taker plain, q1, q2, q2b;
    struct np_bus_stats stats;
    take(w->buses[1], &plain, "a", NULL);
    take(w->buses[1], &q1, "a", "one");
    take(w->buses[1], &q2, "a", "two");
    take(w->buses[2], &q2b, "a", "two");
    settle(w);
    for (int i = 0; i < 20; i++)
        publish(w->buses[0], "a", "");
    settle(w);
    assert_int_equal(plain.count, 20);
    assert_int_equal(q1.count, 20);
    assert_int_equal(q2.count + q2b.count, 20);
    np_bus_get_stats(w->buses[0], &stats);
    assert_int_equal(stats.forwarded, 20 + q2b.count);
    np_bus_unsubscribe(plain.sub);
    np_bus_unsubscribe(q1.sub);
    np_bus_unsubscribe(q2.sub);
    np_bus_unsubscribe(q2b.sub);
}

static void a_member_that_is_full_leaves_it_to_another_worker_s(void **state)
{
    struct world *w = *state;
    struct taker here, there;
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    memset(&here, 0, sizeof here);
    opts.queue = BYTES("q");
    opts.pending_messages = 1;
    assert_ok(np_bus_subscribe(w->buses[0], BYTES("a"), &opts, &taking, &here, &here.sub));
    take(w->buses[1], &there, "a", "q");
    settle(w);
    for (int i = 0; i < 100; i++)
        publish(w->buses[0], "a", "");
    settle(w);
    assert_int_equal(here.count, 1);
    assert_int_equal(there.count, 99);
    np_bus_unsubscribe(here.sub);
    np_bus_unsubscribe(there.sub);
}

static void a_maximum_is_kept(void **state)
{
    struct world *w = *state;
    struct taker t;
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    memset(&t, 0, sizeof t);
    opts.max = 2;
    assert_ok(np_bus_subscribe(w->buses[1], BYTES("a"), &opts, &taking, &t, &t.sub));
    settle(w);
    for (int i = 0; i < 5; i++)
        publish(w->buses[0], "a", "");
    settle(w);
    assert_int_equal(t.count, 2);
    assert_int_equal(t.ended, 1);
    assert_int_equal(publish(w->buses[0], "a", ""), 0);
    np_bus_unsubscribe(t.sub);
}

/* --- requests */

struct asker {
    struct np_bus_request r;
    int ended;
    enum neap_err err;
    char answer[32];
};

static void on_answer(struct np_bus_request *r, enum neap_err err, struct np_bus_msg *m)
{
    struct asker *a = np_container_of(r, struct asker, r);
    a->ended++;
    a->err = err;
    if (m) snprintf(a->answer, sizeof a->answer, "%s", m->payload.p);
}

static void ask(struct np_bus *bus, struct asker *a, const char *subject)
{
    struct np_bus_out m = {.subject = BYTES(subject), .payload = BYTES("?")};
    memset(a, 0, sizeof *a);
    np_bus_request_init(&a->r, bus, on_answer);
    assert_ok(np_bus_request_start(&a->r, &m, 0));
}

static void reply(struct np_bus_sub *s, struct np_bus_msg *m)
{
    struct np_bus *bus = np_bus_sub_arg(s);
    struct np_bus_out out = {.subject = m->reply, .payload = BYTES("!")};
    assert_ok(np_bus_publish(bus, &out, NULL, NULL));
}

static const struct np_bus_sub_handler replying = {.on_message = reply};

static struct np_bus_sub *serve(struct np_bus *bus, const char *subject, const char *queue)
{
    struct np_bus_sub *s;
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    if (queue) opts.queue = BYTES(queue);
    assert_ok(np_bus_subscribe(bus, BYTES(subject), &opts, &replying, bus, &s));
    return s;
}

static void a_request_is_answered_by_another_worker(void **state)
{
    struct world *w = *state;
    struct asker a;
    struct np_bus_sub *s = serve(w->buses[2], "price", "q");
    settle(w);
    ask(w->buses[0], &a, "price"); /* its inbox is told first, then it asks */
    settle(w);
    assert_int_equal(a.ended, 1);
    assert_ok(a.err);
    assert_string_equal(a.answer, "!");
    np_bus_unsubscribe(s);
}

static void nobody_anywhere_is_known_at_once(void **state)
{
    struct world *w = *state;
    struct asker a;
    ask(w->buses[0], &a, "price");
    turn(w, 0);
    assert_int_equal(a.ended, 1);
    assert_err(a.err, NEAP_ENORESPONDERS);
}

/* The others' interest is withdrawn while the request is under way to them. */
static void all_gone_at_arrival_is_nobody(void **state)
{
    struct world *w = *state;
    struct asker a;
    struct np_bus_sub *s1 = serve(w->buses[1], "price", NULL);
    struct np_bus_sub *s2 = serve(w->buses[2], "price", NULL);
    settle(w);
    ask(w->buses[0], &a, "price");
    np_bus_unsubscribe(s1);
    turn(w, 0);
    turn(w, 1);
    turn(w, 0);
    assert_int_equal(a.ended, 0); /* worker 2 may have somebody */
    np_bus_unsubscribe(s2);
    settle(w);
    assert_int_equal(a.ended, 1);
    assert_err(a.err, NEAP_ENORESPONDERS);
}

static void one_that_is_there_is_enough(void **state)
{
    struct world *w = *state;
    struct asker a;
    struct np_bus_sub *s1 = serve(w->buses[1], "price", NULL);
    struct np_bus_sub *s2 = serve(w->buses[2], "price", NULL);
    settle(w);
    ask(w->buses[0], &a, "price");
    np_bus_unsubscribe(s1);
    settle(w);
    assert_int_equal(a.ended, 1);
    assert_ok(a.err);
    np_bus_unsubscribe(s2);
}

static void a_group_s_message_is_passed_on(void **state)
{
    struct world *w = *state;
    struct asker a;
    struct np_bus_sub *gone = serve(w->buses[1], "price", "q");
    settle(w);
    ask(w->buses[0], &a, "price");
    turn(w, 0); /* it is under way to worker 1 … */
    np_bus_unsubscribe(gone);
    struct np_bus_sub *s = serve(w->buses[2], "price", "q");
    turn(w, 1); /* … which hears of worker 2's member before it looks at it */
    settle(w);
    assert_int_equal(a.ended, 1);
    assert_err(a.err, NEAP_ENORESPONDERS); /* it came before the news */
    gone = serve(w->buses[1], "price", "q");
    settle(w);
    struct asker b[20];
    for (int i = 0; i < 20; i++)
        ask(w->buses[0], &b[i], "price");
    np_bus_unsubscribe(gone);
    settle(w);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(b[i].ended, 1);
        assert_ok(b[i].err);
    }
    np_bus_unsubscribe(s);
}

/* --- origins */

static void who_wants_no_echo_hears_none_by_way_of_others(void **state)
{
    struct world *w = *state;
    int me;
    struct taker mine, other;
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    struct np_bus_out m = {.subject = BYTES("a")};
    memset(&mine, 0, sizeof mine);
    opts.queue = BYTES("q");
    opts.deaf_to = &me;
    assert_ok(np_bus_subscribe(w->buses[0], BYTES("a"), &opts, &taking, &mine, &mine.sub));
    take(w->buses[1], &other, "a", "q");
    settle(w);
    for (int i = 0; i < 20; i++)
        assert_ok(np_bus_publish(w->buses[0], &m, &me, NULL));
    settle(w);
    assert_int_equal(other.count, 20);
    for (int i = 0; i < 20; i++)
        assert_ok(np_bus_publish(w->buses[0], &m, &me, NULL));
    np_bus_unsubscribe(other.sub); /* they are passed on: back to where they came from */
    settle(w);
    assert_int_equal(mine.count, 0);
    publish(w->buses[1], "a", "");
    settle(w);
    assert_int_equal(mine.count, 1);
    np_bus_unsubscribe(mine.sub);
}

/* --- coming and going */

static void who_joins_knows_and_is_known(void **state)
{
    struct world *w = *state;
    struct taker old, fresh;
    np_bus_hub_leave(w->hub, 2);
    settle(w);
    take(w->buses[0], &old, "a", NULL);
    take(w->buses[2], &fresh, "b", NULL);
    assert_int_equal(publish(w->buses[2], "a", ""), 0);
    assert_int_equal(publish(w->buses[0], "b", ""), 0);
    assert_ok(np_bus_hub_join(w->hub, 2, w->buses[2]));
    assert_int_equal(publish(w->buses[2], "a", ""), 1); /* without a turn of the loop */
    settle(w);
    assert_int_equal(publish(w->buses[0], "b", ""), 1);
    settle(w);
    assert_int_equal(old.count, 1);
    assert_int_equal(fresh.count, 1);
    np_bus_unsubscribe(old.sub);
    np_bus_unsubscribe(fresh.sub);
}

static void places_are_taken_once(void **state)
{
    struct world *w = *state;
    struct np_bus *bus;
    assert_ok(np_bus_new(&w->loops[0], NULL, &bus));
    assert_err(np_bus_hub_join(w->hub, 0, bus), NEAP_EBUSY);
    assert_err(np_bus_hub_join(w->hub, 3, bus), NEAP_EINVAL);
    assert_err(np_bus_hub_join(w->hub, 1, w->buses[0]), NEAP_EBUSY);
    np_bus_free(bus);
}

static void who_left_gets_nothing_any_more(void **state)
{
    struct world *w = *state;
    struct taker t;
    struct np_bus_hub_stats stats;
    take(w->buses[1], &t, "a", NULL);
    settle(w);
    publish(w->buses[0], "a", "1");
    turn(w, 0); /* under way */
    np_bus_hub_leave(w->hub, 1);
    settle(w);
    assert_int_equal(publish(w->buses[0], "a", "2"), 0);
    settle(w);
    assert_int_equal(t.count, 0);
    publish(w->buses[1], "a", "3"); /* it is a bus of its own */
    settle(w);
    assert_string_equal(t.got, "a=3 ");
    np_bus_hub_get_stats(w->hub, &stats);
    assert_int_equal(stats.joined, 2);
    assert_int_equal(stats.pending, 0);
    np_bus_unsubscribe(t.sub);
    assert_ok(np_bus_hub_join(w->hub, 1, w->buses[1]));
}

static void what_was_published_before_leaving_still_comes(void **state)
{
    struct world *w = *state;
    struct taker t;
    take(w->buses[1], &t, "a", NULL);
    settle(w);
    publish(w->buses[0], "a", "1");
    np_bus_hub_leave(w->hub, 0);
    settle(w);
    assert_string_equal(t.got, "a=1 ");
    np_bus_unsubscribe(t.sub);
    assert_ok(np_bus_hub_join(w->hub, 0, w->buses[0]));
}

static void another_takes_the_place_of_one_that_is_stuck(void **state)
{
    struct world *w = *state;
    struct np_bus *fresh;
    struct taker old, heir;
    take(w->buses[1], &old, "a", NULL);
    settle(w);
    publish(w->buses[0], "a", "1");
    turn(w, 0);
    np_bus_hub_leave(w->hub, 1); /* its own loop does not turn */
    assert_ok(np_bus_new(&w->loops[2], NULL, &fresh));
    assert_ok(np_bus_hub_join(w->hub, 1, fresh));
    take(fresh, &heir, "a", NULL);
    turn(w, 0);
    assert_int_equal(publish(w->buses[0], "a", "2"), 1);
    publish(w->buses[1], "a", "3"); /* it comes back */
    settle(w);
    assert_string_equal(heir.got, "a=2 ");
    assert_string_equal(old.got, "a=3 ");
    np_bus_unsubscribe(old.sub);
    np_bus_unsubscribe(heir.sub);
    np_bus_free(fresh);
}

/* --- flushing */

struct flusher {
    struct np_bus_flush f;
    int ended;
};

static void on_flush(struct np_bus_flush *f, enum neap_err err)
{
    assert_ok(err);
    np_container_of(f, struct flusher, f)->ended++;
}

static void flushing_waits_for_the_others(void **state)
{
    struct world *w = *state;
    struct taker t;
    struct flusher f = {.ended = 0};
    take(w->buses[1], &t, "a", NULL);
    settle(w);
    publish(w->buses[0], "a", "1");
    np_bus_flush_init(&f.f, on_flush);
    assert_ok(np_bus_flush_start(w->buses[0], &f.f));
    turn(w, 0);
    turn(w, 2);
    turn(w, 0);
    assert_int_equal(f.ended, 0);
    turn(w, 1);
    turn(w, 0);
    assert_int_equal(f.ended, 1);
    assert_int_equal(t.count, 1);
    np_bus_unsubscribe(t.sub);
}

static void flushing_does_not_wait_for_who_left(void **state)
{
    struct world *w = *state;
    struct flusher f[3] = {{.ended = 0}};
    settle(w);
    for (int i = 0; i < 3; i++) {
        np_bus_flush_init(&f[i].f, on_flush);
        assert_ok(np_bus_flush_start(w->buses[0], &f[i].f));
    }
    np_bus_flush_cancel(&f[2].f);
    turn(w, 2);
    turn(w, 0);
    assert_int_equal(f[0].ended, 0);
    np_bus_hub_leave(w->hub, 1);
    turn(w, 0);
    assert_int_equal(f[0].ended, 1);
    assert_int_equal(f[1].ended, 1);
    assert_int_equal(f[2].ended, 0);
    np_bus_flush_init(&f[2].f, on_flush);
    assert_ok(np_bus_flush_start(w->buses[0], &f[2].f));
    np_bus_hub_leave(w->hub, 0); /* nobody is to be waited for then */
    turn(w, 0);
    assert_int_equal(f[2].ended, 1);
    settle(w);
    assert_ok(np_bus_hub_join(w->hub, 0, w->buses[0]));
    assert_ok(np_bus_hub_join(w->hub, 1, w->buses[1]));
}

/* --- the bound */

static void a_worker_that_does_not_read_loses_messages(void **state)
{
    struct world *w = *state;
    struct world small;
    struct taker slow, quick;
    struct np_bus_stats stats;
    struct np_bus_hub_stats totals;
    char payload[1001];
    (void)w;
    memset(payload, 'x', 1000);
    payload[1000] = '\0';
    world_open(&small, 3, 16 * 1024);
    take(small.buses[1], &slow, "a", NULL);
    take(small.buses[2], &quick, "a", NULL);
    settle(&small);
    for (int i = 0; i < 100; i++) {
        publish(small.buses[0], "a", payload);
        turn(&small, 0);
        turn(&small, 2);
    }
    np_bus_get_stats(small.buses[0], &stats);
    np_bus_hub_get_stats(small.hub, &totals);
    assert_int_equal(quick.count, 100);
    assert_in_range(stats.dropped, 80, 90);
    assert_int_equal(totals.dropped, stats.dropped);
    assert_int_equal(totals.forwarded, 200 - stats.dropped);
    assert_in_range(totals.pending, 10 * 1024, 16 * 1024);
    settle(&small);
    assert_int_equal(slow.count, 100 - (int)stats.dropped);
    publish(small.buses[0], "a", payload); /* and then it goes on */
    settle(&small);
    assert_int_equal(slow.count, 101 - (int)stats.dropped);
    np_bus_unsubscribe(slow.sub);
    np_bus_unsubscribe(quick.sub);
    world_close(&small);
}

/* --- remotes */

struct remote {
    struct np_bus_remote r;
    int published;
};

static enum neap_err remote_publish(struct np_bus_remote *r, const struct np_bus_out *m)
{
    np_container_of(r, struct remote, r)->published++;
    return NEAP_OK;
}
static enum neap_err remote_added(struct np_bus_remote *r, struct np_bus_sub *s)
{
    return NEAP_OK;
}
static void remote_sub(struct np_bus_remote *r, struct np_bus_sub *s)
{
}

static void a_bus_with_a_remote_takes_no_part(void **state)
{
    static const struct np_bus_remote_ops ops = {.publish = remote_publish,
                                                 .added = remote_added,
                                                 .removed = remote_sub,
                                                 .limited = remote_sub};
    struct world *w = *state;
    struct remote r = {.r.ops = &ops};
    struct taker a, b, late, gone;
    take(w->buses[0], &a, "x", NULL);
    take(w->buses[0], &gone, "x", NULL);
    take(w->buses[1], &b, "x", NULL);
    settle(w);
    assert_ok(np_bus_attach(w->buses[0], &r.r));
    take(w->buses[0], &late, "y", "q");
    np_bus_unsubscribe(gone.sub);
    settle(w);
    assert_int_equal(publish(w->buses[1], "x", "1"), 1);
    assert_int_equal(publish(w->buses[1], "y", "1"), 0);
    publish(w->buses[0], "x", "2");
    settle(w);
    assert_string_equal(b.got, "x=1 ");
    assert_int_equal(a.count, 0);
    assert_int_equal(r.published, 1);
    np_bus_detach(w->buses[0], &r.r);
    settle(w);
    assert_int_equal(publish(w->buses[1], "x", "3"), 2);
    assert_int_equal(publish(w->buses[1], "y", "3"), 1);
    publish(w->buses[0], "x", "4");
    settle(w);
    assert_string_equal(a.got, "x=4 x=3 ");
    assert_string_equal(b.got, "x=1 x=3 x=4 ");
    assert_int_equal(late.count, 1);
    np_bus_unsubscribe(a.sub);
    np_bus_unsubscribe(b.sub);
    np_bus_unsubscribe(late.sub);
}

/* --- out of memory */

static enum neap_err all_of_it(void *arg)
{
    static struct world w;
    struct np_bus_out m = {.subject = BYTES("a")};
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    struct taker t[3] = {{.count = 0}};
    struct flusher f = {.ended = 0};
    w.hub = NULL;
    w.n = 0;
    enum neap_err err = np_bus_hub_new(2, NULL, &w.hub);
    for (unsigned n = 0; n < 2 && !err; n++) {
        err = np_loop_init(&w.loops[n], NULL, NULL);
        if (err) break;
        np_loop_await_posts(&w.loops[n], true);
        w.buses[n] = NULL;
        w.n = n + 1;
        err = np_bus_new(&w.loops[n], NULL, &w.buses[n]);
        if (!err) err = np_bus_hub_join(w.hub, n, w.buses[n]);
    }
    if (!err) err = np_bus_subscribe(w.buses[0], BYTES("a"), NULL, &taking, &t[0], &t[0].sub);
    opts.queue = BYTES("q");
    if (!err) err = np_bus_subscribe(w.buses[1], BYTES("*"), &opts, &taking, &t[1], &t[1].sub);
    if (!err) err = np_bus_subscribe(w.buses[1], BYTES("a"), NULL, &taking, &t[2], &t[2].sub);
    if (!err) settle(&w);
    if (!err) err = np_bus_publish(w.buses[0], &m, NULL, NULL);
    if (!err) settle(&w);
    np_bus_flush_init(&f.f, on_flush);
    if (!err) err = np_bus_flush_start(w.buses[0], &f.f);
    if (!err) settle(&w);
    if (!err) assert_int_equal(f.ended, 1);
    for (int i = 0; i < 3; i++)
        np_bus_unsubscribe(t[i].sub);
    if (!err) settle(&w); /* what could not be told is told now */
    size_t interested = 0;
    if (!err) err = np_bus_publish(w.buses[0], &m, NULL, &interested);
    if (!err && !np_alloc_did_fail()) assert_int_equal(interested, 0);
    for (unsigned i = 0; i < w.n; i++)
        np_bus_free(w.buses[i]);
    for (unsigned i = 0; i < w.n; i++) {
        np_loop_await_posts(&w.loops[i], false);
        np_loop_fini(&w.loops[i], NULL, NULL);
    }
    np_bus_hub_free(w.hub);
    return err;
}

static void out_of_memory_is_survived(void **state)
{
    assert_true(np_test_oom(all_of_it, NULL) > 30);
}

/* A withdrawal that could not be told is made good before the next publication. */
static void a_withdrawal_without_memory_is_made_good(void **state)
{
    struct world *w = *state;
    struct taker t;
    take(w->buses[1], &t, "a", NULL);
    settle(w);
    np_alloc_fail_at(1);
    np_bus_unsubscribe(t.sub);
    np_alloc_fail_at(0);
    publish(w->buses[1], "b", "");
    settle(w);
    assert_int_equal(publish(w->buses[0], "a", ""), 0);
}

#define hub_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        hub_test(a_message_comes_once_however_many_patterns_take_it),
        hub_test(the_publisher_s_own_are_served_too),
        hub_test(the_order_of_one_publisher_is_kept),
        hub_test(a_group_chooses_over_all_members),
        hub_test(groups_and_plain_ones_share_one_envelope),
        hub_test(a_member_that_is_full_leaves_it_to_another_worker_s),
        hub_test(a_maximum_is_kept),
        hub_test(a_request_is_answered_by_another_worker),
        hub_test(nobody_anywhere_is_known_at_once),
        hub_test(all_gone_at_arrival_is_nobody),
        hub_test(one_that_is_there_is_enough),
        hub_test(a_group_s_message_is_passed_on),
        hub_test(who_wants_no_echo_hears_none_by_way_of_others),
        hub_test(who_joins_knows_and_is_known),
        hub_test(places_are_taken_once),
        hub_test(who_left_gets_nothing_any_more),
        hub_test(what_was_published_before_leaving_still_comes),
        hub_test(another_takes_the_place_of_one_that_is_stuck),
        hub_test(flushing_waits_for_the_others),
        hub_test(flushing_does_not_wait_for_who_left),
        hub_test(a_worker_that_does_not_read_loses_messages),
        hub_test(a_bus_with_a_remote_takes_no_part),
        hub_test(a_withdrawal_without_memory_is_made_good),
        cmocka_unit_test(out_of_memory_is_survived),
    };
    return cmocka_run_group_tests_name("bus.hub", tests, NULL, NULL);
}
