/* The stream's contract, held against every transport: TCP, unix sockets, pairs in memory, and TLS
 * over TCP and over a pair. */
#include "fixture.h"

static void write_text(struct end *e, const char *text)
{
    e->inside = true;
    assert_ok(np_stream_write(e->s, text, strlen(text)));
    e->inside = false;
}

static void each_kind(void **state, void (*test)(struct fix *f, int kind))
{
    for (int kind = 0; kind < KINDS; kind++)
        test(*state, kind);
}

/* Bytes. */

static void carries(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    assert_ok(np_stream_read_start(a.s));
    assert_ok(np_stream_read_start(b.s));
    write_text(&a, "hello, ");
    struct np_slice v[] = {{"wo", 2}, {"", 0}, {"rld", 3}};
    assert_ok(np_stream_writev(a.s, v, 3));
    write_text(&b, "well met");
    run_until(f, a.got == 8 && b.got == 12);
    end_text_is(&b, "hello, world");
    end_text_is(&a, "well met");
    assert_int_equal(a.s->bytes_out, 12);
    assert_int_equal(b.s->bytes_in, 12);
    end_finish(f, &a);
    end_finish(f, &b);
}

static void carries_bytes_both_ways(void **state)
{
    each_kind(state, carries);
}

static void reading_is_off(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    write_text(&a, "one");
    run_some(f);
    assert_int_equal(b.got, 0);
    assert_ok(np_stream_read_start(b.s));
    assert_ok(np_stream_read_start(b.s));
    run_until(f, b.got == 3);
    np_stream_read_stop(b.s);
    np_stream_read_stop(b.s);
    write_text(&a, "two");
    run_some(f);
    assert_int_equal(b.got, 3);
    assert_ok(np_stream_read_start(b.s));
    run_until(f, b.got == 6);
    end_text_is(&b, "onetwo");
    end_finish(f, &a);
    end_finish(f, &b);
}

static void delivers_nothing_while_reading_is_off(void **state)
{
    each_kind(state, reading_is_off);
}

static void half_close(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    assert_ok(np_stream_read_start(a.s));
    assert_ok(np_stream_read_start(b.s));
    write_text(&a, "question");
    assert_ok(np_stream_shutdown(a.s));
    assert_ok(np_stream_shutdown(a.s));
    assert_err(np_stream_write(a.s, "x", 1), NEAP_ECLOSED);
    run_until(f, b.ended);
    end_text_is(&b, "question");
    write_text(&b, "answer");
    run_until(f, a.got == 6);
    assert_int_equal(a.ended, 0);
    assert_ok(np_stream_shutdown(b.s));
    run_until(f, a.ended);
    end_text_is(&a, "answer");
    run_some(f);
    assert_int_equal(a.errors + b.errors, 0);
    end_finish(f, &a);
    end_finish(f, &b);
}

static void one_side_may_end_while_the_other_goes_on(void **state)
{
    each_kind(state, half_close);
}

/* Back-pressure. */

enum { MORE_THAN_A_KERNEL_TAKES = 16 << 20 };

static size_t fill(struct end *e, size_t least)
{
    static char block[32768];
    size_t n = 0;
    memset(block, 'x', sizeof block);
    while (np_stream_writable(e->s) || n < least) {
        assert_ok(np_stream_write(e->s, block, sizeof block));
        n += sizeof block;
    }
    return n;
}

static void slow_reader(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    size_t n = fill(&a, 2 << 20);
    assert_false(np_stream_writable(a.s));
    assert_true(np_stream_queued(a.s) >= a.s->high_water);
    run_some(f);
    assert_int_equal(a.drained, 0);
    b.count_only = true;
    assert_ok(np_stream_read_start(b.s));
    run_until(f, b.got == n && a.drained);
    run_some(f);
    assert_int_equal(a.drained, 1);
    assert_int_equal(np_stream_queued(a.s), 0);
    n += fill(&a, 0); /* again above, so again one drain */
    run_until(f, b.got == n && a.drained == 2);
    a.s->high_water = SIZE_MAX; /* queued, but never above: no drain */
    static char block[MORE_THAN_A_KERNEL_TAKES];
    assert_ok(np_stream_write(a.s, block, sizeof block));
    n += sizeof block;
    assert_true(np_stream_queued(a.s) > 0);
    run_until(f, b.got == n);
    run_some(f);
    assert_int_equal(np_stream_queued(a.s), 0);
    assert_int_equal(a.drained, 2);
    end_finish(f, &a);
    end_finish(f, &b);
}

static void a_slow_reader_fills_the_queue_and_drains_it_once(void **state)
{
    each_kind(state, slow_reader);
}

static void queue_limit(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    a.s->max_queue = 1 << 20;
    static char block[65536];
    size_t n = 0;
    enum neap_err err;
    while ((err = np_stream_write(a.s, block, sizeof block)) == NEAP_OK)
        n += sizeof block;
    assert_err(err, NEAP_ELIMIT);
    assert_true(np_stream_queued(a.s) <= a.s->max_queue);
    b.count_only = true;
    assert_ok(np_stream_read_start(b.s));
    assert_ok(np_stream_shutdown(a.s));
    run_until(f, b.ended);
    assert_int_equal(b.got, n);
    assert_int_equal(a.errors, 0);
    end_finish(f, &a);
    end_finish(f, &b);
}

static void a_write_above_the_limit_queues_nothing(void **state)
{
    each_kind(state, queue_limit);
}

enum { MANY = 10 << 20 };

struct pump {
    struct end *e;
    size_t left;
    unsigned state;
    uint64_t sum;
};

/* Writes blocks of changing sizes while the queue has room. */
static void pump(struct pump *p)
{
    static char block[100000];
    while (p->left > 0 && np_stream_writable(p->e->s)) {
        p->state = p->state * 1103515245 + 12345;
        size_t n = 1 + (p->state >> 8) % sizeof block;
        if (n > p->left) n = p->left;
        memset(block, (int)(p->state >> 16), n);
        block[n / 2] = (char)p->left;
        p->sum = checksum(p->sum, block, n);
        assert_ok(np_stream_write(p->e->s, block, n));
        p->left -= n;
        if (p->left == 0) assert_ok(np_stream_shutdown(p->e->s));
    }
}

static void big(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    a.count_only = b.count_only = true;
    struct pump pa = {.e = &a, .left = MANY, .state = 1};
    struct pump pb = {.e = &b, .left = MANY, .state = 2};
    assert_ok(np_stream_read_start(a.s));
    assert_ok(np_stream_read_start(b.s));
    while (!a.ended || !b.ended) {
        pump(&pa);
        pump(&pb);
        if (!uv_run(f->loop.uv, UV_RUN_ONCE)) break;
    }
    assert_true(a.ended && b.ended);
    assert_int_equal(a.got, MANY);
    assert_int_equal(b.got, MANY);
    assert_true(a.sum == pb.sum);
    assert_true(b.sum == pa.sum);
    end_finish(f, &a);
    end_finish(f, &b);
}

static void ten_megabytes_arrive_whole_both_ways(void **state)
{
    each_kind(state, big);
}

/* Failure. */

static void peer_gone(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    np_stream_close(b.s);
    run_until(f, b.closed);
    enum neap_err err = NEAP_OK;
    for (int i = 0; i < 1000 && !a.errors; i++) {
        enum neap_err e = np_stream_write(a.s, "x", 1);
        if (e && !err) err = e;
        run_some(f);
    }
    assert_int_equal(a.errors, 1);
    assert_true(a.err == NEAP_EPIPE || a.err == NEAP_ECONNRESET);
    assert_true(err == a.err || err == NEAP_OK);
    assert_err(np_stream_write(a.s, "x", 1), NEAP_ECLOSED);
    assert_err(np_stream_shutdown(a.s), NEAP_ECLOSED);
    assert_err(np_stream_read_start(a.s), NEAP_ECLOSED);
    end_finish(f, &a);
    end_finish(f, &b);
}

static void writing_to_a_peer_that_is_gone_fails_once(void **state)
{
    each_kind(state, peer_gone);
}

static void gone_mid_write(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    fill(&a, MORE_THAN_A_KERNEL_TAKES);
    np_stream_close(b.s); /* with unread bytes: TCP resets */
    run_until(f, a.errors && b.closed);
    assert_true(a.err == NEAP_EPIPE || a.err == NEAP_ECONNRESET);
    assert_int_equal(a.drained, 0);
    end_finish(f, &a);
    end_finish(f, &b);
}

static void a_peer_that_goes_while_bytes_are_queued_breaks_the_stream(void **state)
{
    each_kind(state, gone_mid_write);
}

static void early_answer(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    assert_ok(np_stream_read_start(b.s));
    assert_ok(np_stream_read_start(a.s));
    write_text(&a, "head");
    run_until(f, b.got == 4);
    np_stream_read_stop(a.s);
    write_text(&b, "too large");
    np_stream_close(b.s);
    run_until(f, b.closed);
    while (np_stream_write(a.s, "body", 4) == NEAP_OK)
        run_some(f);
    assert_int_equal(a.errors, 0);
    if (a.s->reading == false) assert_ok(np_stream_read_start(a.s));
    run_until(f, a.errors);
    end_finish(f, &a);
    end_finish(f, &b);
}

static void a_failed_write_is_reported_from_the_loop(void **state)
{
    each_kind(state, early_answer);
}

static void answer_before_error(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    assert_ok(np_stream_read_start(a.s));
    write_text(&b, "too large");
    np_stream_close(b.s);
    /* Whatever the write says, what was sent before the peer went is read first. */
    enum neap_err err = np_stream_write(a.s, "body", 4);
    if (!err) err = np_stream_write(a.s, "body", 4);
    run_until(f, a.errors || a.ended);
    end_text_is(&a, "too large");
    end_finish(f, &a);
    end_finish(f, &b);
}

static void what_came_before_a_failure_is_read(void **state)
{
    each_kind(state, answer_before_error);
}

/* Closing. */

static void close_in(struct fix *f, int kind, const char *where)
{
    struct end a, b;
    join(f, kind, &a, &b);
    a.close_in = where;
    a.count_only = b.count_only = true;
    assert_ok(np_stream_read_start(a.s));
    if (strcmp(where, "read") == 0) {
        write_text(&b, "x");
        write_text(&b, "y");
    } else if (strcmp(where, "end") == 0) {
        assert_ok(np_stream_shutdown(b.s));
    } else if (strcmp(where, "drain") == 0) {
        fill(&a, 2 << 20);
        assert_ok(np_stream_read_start(b.s));
    } else {
        assert_ok(np_stream_set_timeouts(a.s, 1, 0, 0));
    }
    run_until(f, a.closed);
    int heard = a.read + a.ended + a.drained + a.errors;
    assert_int_equal(heard, 1);
    end_finish(f, &a);
    end_finish(f, &b);
}

static void may_be_closed_in_any_callback(void **state)
{
    static const char *const places[] = {"read", "end", "drain", "error"};
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; i < sizeof places / sizeof *places; i++)
            close_in(*state, kind, places[i]);
}

static void close_twice(struct fix *f, int kind)
{
    struct end a, b;
    char text[NP_ADDR_TEXT_MAX];
    join(f, kind, &a, &b);
    fill(&a, 1 << 20);
    a.inside = true;
    np_stream_close(a.s);
    np_stream_close(a.s);
    a.inside = false;
    assert_err(np_stream_write(a.s, "x", 1), NEAP_ECLOSED);
    assert_err(np_stream_read_start(a.s), NEAP_ECLOSED);
    assert_err(np_stream_peer(a.s, text, sizeof text), NEAP_ECLOSED);
    np_stream_finish(a.s, NP_NS_PER_SEC);
    np_stream_read_stop(a.s);
    end_finish(f, &a);
    assert_int_equal(a.drained + a.errors, 0);
    end_finish(f, &b);
}

static void closing_drops_the_queue_and_may_be_done_twice(void **state)
{
    each_kind(state, close_twice);
}

static void finish(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    b.count_only = true;
    size_t n = fill(&a, 2 << 20);
    assert_ok(np_stream_write(b.s, "unread", 6));
    np_stream_finish(a.s, 60 * NP_NS_PER_SEC);
    assert_err(np_stream_read_start(a.s), NEAP_ECLOSED);
    assert_ok(np_stream_read_start(b.s));
    run_until(f, b.ended);
    assert_int_equal(b.got, n);
    assert_int_equal(b.errors, 0);
    run_some(f);
    assert_int_equal(a.closed, 0); /* the peer may still be sending */
    assert_ok(np_stream_write(b.s, "more", 4));
    assert_ok(np_stream_shutdown(b.s));
    np_stream_set_ref(a.s, true); /* or there would be nothing that the loop stays for */
    run_until(f, a.closed);
    assert_int_equal(a.read + a.ended + a.drained + a.errors, 0);
    end_finish(f, &a);
    end_finish(f, &b);
}

static void finishing_flushes_and_waits_for_the_peer(void **state)
{
    each_kind(state, finish);
}

static void finish_alone(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    fill(&a, MORE_THAN_A_KERNEL_TAKES);
    np_stream_finish(a.s, NP_NS_PER_MS); /* nobody reads */
    run_until(f, a.closed);
    assert_int_equal(a.read + a.ended + a.drained + a.errors, 0);
    end_finish(f, &a);
    end_finish(f, &b);
}

static void finishing_does_not_wait_for_ever(void **state)
{
    each_kind(state, finish_alone);
}

static void finish_and_end(struct fix *f, int kind)
{
    struct fix own = {.live = f->live};
    struct end a, b;
    assert_ok(np_loop_init(&own.loop, NULL, NULL));
    join(&own, kind, &a, &b);
    assert_ok(np_stream_write(a.s, "last words", 10));
    np_stream_finish(a.s, 3600 * NP_NS_PER_SEC);
    np_loop_run(&own.loop); /* all has left: it does not stay for the peer's end */
    assert_int_equal(a.closed, 0);
    np_stream_close(b.s);
    np_loop_fini(&own.loop, NULL, NULL);
    assert_int_equal(a.closed + b.closed, 2);
    np_tls_context_unref(own.server);
    np_tls_context_unref(own.client);
    np_buf_fini(&a.in);
    np_buf_fini(&b.in);
}

static void the_loops_end_does_not_wait_for_lingering_streams(void **state)
{
    each_kind(state, finish_and_end);
}

/* Timeouts. Each is waited for as an event; how long it takes is not looked at. */

static void mark_fired(struct np_timer *t)
{
    t->fn = NULL;
    np_loop_stop(t->loop);
}

static void wait_longer(struct fix *f)
{
    struct np_timer t;
    np_timer_init(&t, &f->loop, mark_fired);
    assert_ok(np_timer_start(&t, 5 * NP_NS_PER_MS));
    run_until(f, !t.fn);
}

static void read_timeout(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    assert_ok(np_stream_set_timeouts(a.s, 2 * NP_NS_PER_MS, 0, 0));
    wait_longer(f);
    assert_int_equal(a.errors, 0); /* reading is off: nothing to time */
    assert_ok(np_stream_read_start(a.s));
    run_until(f, a.errors);
    assert_int_equal(a.err, NEAP_ETIMEDOUT);
    end_finish(f, &a);
    end_finish(f, &b);
}

static void a_peer_that_sends_nothing_is_timed_out(void **state)
{
    each_kind(state, read_timeout);
}

static void write_timeout(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    assert_ok(np_stream_set_timeouts(a.s, 0, 2 * NP_NS_PER_MS, 0));
    wait_longer(f);
    assert_int_equal(a.errors, 0);
    fill(&a, MORE_THAN_A_KERNEL_TAKES);
    run_until(f, a.errors);
    assert_int_equal(a.err, NEAP_ETIMEDOUT);
    end_finish(f, &a);
    end_finish(f, &b);
}

static void a_peer_that_reads_nothing_is_timed_out(void **state)
{
    each_kind(state, write_timeout);
}

static void idle_timeout(struct fix *f, int kind)
{
    struct end a, b;
    join(f, kind, &a, &b);
    assert_ok(np_stream_set_timeouts(a.s, 0, 0, 2 * NP_NS_PER_MS));
    run_until(f, a.errors);
    assert_int_equal(a.err, NEAP_ETIMEDOUT);
    assert_ok(
        np_stream_set_timeouts(b.s, 60 * NP_NS_PER_SEC, 60 * NP_NS_PER_SEC, 60 * NP_NS_PER_SEC));
    assert_ok(np_stream_set_timeouts(b.s, 0, 0, 0));
    end_finish(f, &a);
    end_finish(f, &b);
}

static void an_idle_stream_is_timed_out(void **state)
{
    each_kind(state, idle_timeout);
}

static void names(void **state)
{
    struct fix *f = *state;
    char x[NP_ADDR_TEXT_MAX], y[NP_ADDR_TEXT_MAX];
    for (int kind = 0; kind < KINDS; kind++) {
        struct end a, b;
        join(f, kind, &a, &b);
        assert_ok(np_stream_peer(a.s, x, sizeof x));
        assert_ok(np_stream_local(b.s, y, sizeof y));
        assert_string_equal(x, y);
        static const char *const begin[] = {"127.0.0.1:", "unix:/", "pipe", "127.0.0.1:", "pipe"};
        assert_int_equal(strncmp(x, begin[kind], strlen(begin[kind])), 0);
        end_finish(f, &a);
        end_finish(f, &b);
    }
}

static void a_stream_without_a_reference_does_not_hold_the_loop(void **state)
{
    struct fix *f = *state;
    for (int kind = 0; kind < KINDS; kind++) {
        struct end a, b;
        join(f, kind, &a, &b);
        assert_ok(np_stream_read_start(a.s));
        assert_ok(np_stream_set_timeouts(a.s, 0, 0, 60 * NP_NS_PER_SEC));
        run_some(f);
        assert_true(np_loop_poll(&f->loop));
        np_stream_set_ref(a.s, false);
        np_loop_run(&f->loop); /* would never return */
        np_stream_set_ref(a.s, true);
        assert_true(np_loop_poll(&f->loop));
        end_finish(f, &a);
        end_finish(f, &b);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(carries_bytes_both_ways),
        T(delivers_nothing_while_reading_is_off),
        T(one_side_may_end_while_the_other_goes_on),
        T(a_slow_reader_fills_the_queue_and_drains_it_once),
        T(a_write_above_the_limit_queues_nothing),
        T(ten_megabytes_arrive_whole_both_ways),
        T(writing_to_a_peer_that_is_gone_fails_once),
        T(a_peer_that_goes_while_bytes_are_queued_breaks_the_stream),
        T(a_failed_write_is_reported_from_the_loop),
        T(what_came_before_a_failure_is_read),
        T(may_be_closed_in_any_callback),
        T(closing_drops_the_queue_and_may_be_done_twice),
        T(finishing_flushes_and_waits_for_the_peer),
        T(finishing_does_not_wait_for_ever),
        T(the_loops_end_does_not_wait_for_lingering_streams),
        T(a_peer_that_sends_nothing_is_timed_out),
        T(a_peer_that_reads_nothing_is_timed_out),
        T(an_idle_stream_is_timed_out),
        T(names),
        T(a_stream_without_a_reference_does_not_hold_the_loop),
    };
    return cmocka_run_group_tests_name("net.stream", tests, NULL, NULL);
}
