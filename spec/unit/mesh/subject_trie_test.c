/* The trie of subscriptions: who is visited, queue groups, changes from inside a visit. */
#include "np_test.h"

#include <stdio.h>
#include <string.h>

#include "mesh/subject_trie.h"

struct fixture {
    struct np_trie *t;
    char log[1024]; /* the values of who was visited, joined by blanks */
    int64_t live;
};

static void use_options(struct fixture *f, size_t cache_slots)
{
    struct np_trie_options o = NP_TRIE_OPTIONS_INIT;
    o.seed = 42;
    o.cache_slots = cache_slots;
    np_trie_free(f->t);
    assert_ok(np_trie_new(&o, &f->t));
}

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    f->live = np_alloc_live();
    use_options(f, 64);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    np_trie_free(f->t);
    assert_no_leak(f->live);
    test_free(f);
    return 0;
}

static struct np_sub *sub(struct fixture *f, const char *pattern, const char *queue,
                          const char *name)
{
    struct np_sub *s = NULL;
    assert_ok(np_trie_insert(f->t, pattern, strlen(pattern), queue, queue ? strlen(queue) : 0,
                             (void *)(uintptr_t)name, &s));
    return s;
}

static bool log_visit(struct np_sub *s, void *value, void *arg)
{
    struct fixture *f = arg;
    size_t at = strlen(f->log);
    (void)s;
    snprintf(f->log + at, sizeof f->log - at, "%s%s", at ? " " : "", (const char *)value);
    return true;
}

static const char *publish(struct fixture *f, const char *subject)
{
    size_t taken = 0;
    f->log[0] = '\0';
    assert_ok(np_trie_match(f->t, subject, strlen(subject), log_visit, f, &taken));
    return f->log;
}

static void finds_every_pattern_that_takes_it(void **state)
{
    struct fixture *f = *state;
    sub(f, "orders.eu.created", NULL, "exact");
    sub(f, "orders.*.created", NULL, "star");
    sub(f, "orders.>", NULL, "rest");
    sub(f, ">", NULL, "all");
    sub(f, "*.*.*", NULL, "three");
    sub(f, "orders.eu", NULL, "short");
    sub(f, "orders.eu.created.now", NULL, "long");
    /* Once found, and once remembered. */
    for (int i = 0; i < 2; i++) {
        assert_string_equal(publish(f, "orders.eu.created"), "all rest exact star three");
        assert_string_equal(publish(f, "orders.us.created"), "all rest star three");
        assert_string_equal(publish(f, "orders"), "all");
    }
}

static void a_plain_subscriber_is_visited_for_each_of_its_patterns(void **state)
{
    struct fixture *f = *state;
    sub(f, "a", NULL, "x");
    sub(f, "a", NULL, "x");
    sub(f, "*", NULL, "x");
    assert_string_equal(publish(f, "a"), "x x x");
}

static void what_is_removed_is_forgotten(void **state)
{
    struct fixture *f = *state;
    struct np_sub *a = sub(f, "x.y.z", NULL, "a");
    struct np_sub *b = sub(f, "x.*.>", NULL, "b");
    struct np_sub *c = sub(f, "x.y", "q", "c");
    assert_string_equal(publish(f, "x.y.z"), "a b");
    assert_int_equal(np_trie_count(f->t), 3);
    assert_int_equal(np_trie_nodes(f->t), 6);
    np_trie_remove(f->t, a);
    assert_string_equal(publish(f, "x.y.z"), "b");
    np_trie_remove(f->t, b);
    assert_string_equal(publish(f, "x.y.z"), "");
    assert_int_equal(np_trie_nodes(f->t), 3);
    np_trie_remove(f->t, c);
    np_trie_remove(f->t, NULL);
    assert_int_equal(np_trie_nodes(f->t), 1);
    assert_int_equal(np_trie_count(f->t), 0);
}

static void a_handle_knows_what_it_is(void **state)
{
    struct fixture *f = *state;
    struct np_sub *a = sub(f, "x.*", NULL, "a");
    struct np_sub *b = sub(f, "x.>", "q", "b");
    assert_string_equal(np_sub_pattern(a), "x.*");
    assert_null(np_sub_queue(a));
    assert_string_equal(np_sub_queue(b), "q");
    assert_string_equal(np_sub_value(b), "b");
}

static void one_member_of_each_group_is_visited(void **state)
{
    struct fixture *f = *state;
    unsigned seen[3] = {0, 0, 0};
    sub(f, "a", "q", "0");
    sub(f, "a", "q", "1");
    sub(f, "a", "q", "2");
    for (int i = 0; i < 3000; i++) {
        const char *who = publish(f, "a");
        assert_int_equal(strlen(who), 1);
        seen[who[0] - '0']++;
    }
    for (int i = 0; i < 3; i++)
        assert_in_range(seen[i], 900, 1100);
    sub(f, "a", "r", "other");
    sub(f, "a", NULL, "plain");
    publish(f, "a");
    assert_non_null(strstr(f->log, "other"));
    assert_non_null(strstr(f->log, "plain"));
    assert_int_equal(strlen(f->log), strlen("plain 0 other"));
}

/* As NATS has it: the queue's name makes the group, not the pattern. */
static void a_group_spans_patterns(void **state)
{
    struct fixture *f = *state;
    unsigned seen[3] = {0, 0, 0};
    for (int cache = 0; cache < 2; cache++) {
        use_options(f, cache ? 64 : 0);
        sub(f, "a.b", "q", "0");
        sub(f, "a.*", "q", "1");
        sub(f, "a.*", "other", "x");
        sub(f, ">", "q", "2");
        for (int i = 0; i < 1500; i++) {
            publish(f, "a.b");
            assert_int_equal(strlen(f->log), 3);
            char *digit = strpbrk(f->log, "012");
            seen[*digit - '0']++;
        }
    }
    for (int i = 0; i < 3; i++)
        assert_in_range(seen[i], 900, 1100);
}

static bool refuse_all(struct np_sub *s, void *value, void *arg)
{
    log_visit(s, value, arg);
    return false;
}

static bool only_b(struct np_sub *s, void *value, void *arg)
{
    log_visit(s, value, arg);
    return strcmp(value, "b") == 0;
}

static void a_member_that_does_not_take_it_leaves_it_to_the_next(void **state)
{
    struct fixture *f = *state;
    size_t taken = 0;
    sub(f, "x", "q", "a");
    sub(f, "x", "q", "b");
    sub(f, "*", "q", "c");
    for (int i = 0; i < 20; i++) {
        f->log[0] = '\0';
        assert_ok(np_trie_match(f->t, "x", 1, only_b, f, &taken));
        assert_int_equal(taken, 1);
        assert_int_equal(f->log[strlen(f->log) - 1], 'b');
    }
    f->log[0] = '\0';
    assert_ok(np_trie_match(f->t, "x", 1, refuse_all, f, &taken));
    assert_int_equal(taken, 0);
    assert_int_equal(strlen(f->log), strlen("a b c"));
}

static void a_bad_subject_is_refused(void **state)
{
    struct fixture *f = *state;
    struct np_sub *s = NULL;
    char deep[256];
    assert_err(np_trie_match(f->t, "a.*", 3, log_visit, f, NULL), NEAP_EINVAL);
    assert_err(np_trie_match(f->t, "", 0, log_visit, f, NULL), NEAP_EINVAL);
    assert_err(np_trie_insert(f->t, "a..b", 4, NULL, 0, NULL, &s), NEAP_EINVAL);
    assert_err(np_trie_insert(f->t, "a", 1, "a b", 3, NULL, &s), NEAP_EINVAL);
    memset(deep, '.', sizeof deep);
    for (size_t i = 0; i < sizeof deep; i += 2)
        deep[i] = 'a';
    assert_ok(np_trie_match(f->t, deep, 63, log_visit, f, NULL)); /* 32 tokens */
    assert_err(np_trie_match(f->t, deep, 65, log_visit, f, NULL), NEAP_ELIMIT);
    assert_err(np_trie_insert(f->t, deep, 65, NULL, 0, NULL, &s), NEAP_ELIMIT);
    assert_int_equal(np_trie_nodes(f->t), 1);
    assert_false(np_trie_interest(f->t, "a.*", 3));
}

static void limits_hold(void **state)
{
    struct fixture *f = *state;
    struct np_trie_options o = NP_TRIE_OPTIONS_INIT;
    struct np_trie *t = NULL;
    struct np_sub *a = NULL, *b = NULL;
    (void)f;
    o.max_tokens = NP_SUBJECT_MAX_TOKENS + 1;
    assert_err(np_trie_new(&o, &t), NEAP_EINVAL);
    o.max_tokens = 2;
    o.max_len = 8;
    o.max_subs = 2;
    assert_ok(np_trie_new(&o, &t));
    assert_err(np_trie_insert(t, "a.b.c", 5, NULL, 0, NULL, &a), NEAP_ELIMIT);
    assert_err(np_trie_insert(t, "123456789", 9, NULL, 0, NULL, &a), NEAP_ELIMIT);
    assert_err(np_trie_insert(t, "a", 1, "123456789", 9, NULL, &a), NEAP_ELIMIT);
    assert_err(np_trie_match(t, "123456789", 9, log_visit, NULL, NULL), NEAP_ELIMIT);
    assert_ok(np_trie_insert(t, "a.b", 3, NULL, 0, NULL, &a));
    assert_ok(np_trie_insert(t, "a.b", 3, NULL, 0, NULL, &b));
    assert_err(np_trie_insert(t, "a.b", 3, NULL, 0, NULL, &b), NEAP_ELIMIT);
    np_trie_remove(t, a);
    assert_ok(np_trie_insert(t, "a.b", 3, NULL, 0, NULL, &a));
    np_trie_free(t);
}

static void tells_whether_anybody_wants_it(void **state)
{
    struct fixture *f = *state;
    assert_false(np_trie_interest(f->t, "a.b", 3));
    struct np_sub *s = sub(f, "a.*", "q", "x");
    assert_true(np_trie_interest(f->t, "a.b", 3));
    assert_false(np_trie_interest(f->t, "b.b", 3));
    np_trie_remove(f->t, s);
    assert_false(np_trie_interest(f->t, "a.b", 3));
}

struct inside {
    struct fixture *f;
    struct np_sub *subs[4];
    unsigned calls;
    bool queue;
};

static bool remove_everything(struct np_sub *s, void *value, void *arg)
{
    struct inside *in = arg;
    (void)value;
    assert_string_equal(np_sub_pattern(s), "x"); /* it can be read until the visit ends */
    for (int i = 0; i < 4; i++)
        np_trie_remove(in->f->t, in->subs[i]);
    assert_string_equal(np_sub_pattern(s), "x");
    assert_false(np_trie_interest(in->f->t, "x", 1));
    in->calls++;
    return false;
}

static void what_a_visitor_removes_is_not_visited(void **state)
{
    for (int queue = 0; queue < 2; queue++) {
        struct inside in = {.f = *state, .queue = queue};
        for (int i = 0; i < 4; i++)
            in.subs[i] = sub(in.f, "x", queue ? "q" : NULL, "s");
        assert_ok(np_trie_match(in.f->t, "x", 1, remove_everything, &in, NULL));
        assert_int_equal(in.calls, 1);
        assert_int_equal(np_trie_count(in.f->t), 0);
        assert_int_equal(np_trie_nodes(in.f->t), 1);
    }
}

static bool add_some(struct np_sub *s, void *value, void *arg)
{
    struct inside *in = arg;
    (void)s;
    (void)value;
    in->calls++;
    for (int i = 0; i < 50; i++)
        sub(in->f, "x", in->queue ? "q" : NULL, "new");
    return true;
}

static void what_a_visitor_adds_is_visited_next_time(void **state)
{
    struct inside in = {.f = *state};
    sub(in.f, "x", NULL, "old");
    sub(in.f, "x", "q", "old");
    assert_ok(np_trie_match(in.f->t, "x", 1, add_some, &in, NULL));
    assert_int_equal(in.calls, 2);
    assert_string_equal(publish(in.f, "y"), "");
    size_t taken = 0;
    in.f->log[0] = '\0';
    assert_ok(np_trie_match(in.f->t, "x", 1, log_visit, in.f, &taken));
    assert_int_equal(taken,
                     1 + 100 + 1); /* plain: the old and the new ones; and one of the group */
}

static bool publish_inside(struct np_sub *s, void *value, void *arg)
{
    struct inside *in = arg;
    size_t taken = 0;
    (void)s;
    (void)value;
    if (in->calls++ > 0) return true;
    for (int i = 0; i < 40; i++)
        sub(in->f, "y", NULL, "y");
    assert_ok(np_trie_match(in->f->t, "y", 1, publish_inside, in, &taken));
    assert_int_equal(taken, 40);
    np_trie_remove(in->f->t, in->subs[0]);
    return true;
}

static void a_visitor_may_match_again(void **state)
{
    struct inside in = {.f = *state};
    size_t taken = 0;
    for (int i = 0; i < 4; i++)
        in.subs[i] = sub(in.f, "x", NULL, "x");
    assert_ok(np_trie_match(in.f->t, "x", 1, publish_inside, &in, &taken));
    assert_int_equal(taken, 4);
    assert_int_equal(in.calls, 44);
    assert_int_equal(np_trie_count(in.f->t), 43);
}

static void the_steady_state_allocates_nothing(void **state)
{
    struct fixture *f = *state;
    for (int cache = 0; cache < 2; cache++) {
        use_options(f, cache ? 64 : 0);
        for (int i = 0; i < 40; i++)
            sub(f, i % 2 ? "a.*" : "a.b", i % 3 ? NULL : "q", "s");
        publish(f, "a.b");
        np_alloc_fail_at(1);
        for (int i = 0; i < 10; i++)
            publish(f, "a.b");
        assert_false(np_alloc_did_fail());
        np_alloc_fail_at(0);
    }
}

static enum neap_err life(void *arg)
{
    static const char *const patterns[] = {"a.b.c", "a.*.c", "a.>", "b", ">"};
    struct fixture *f = arg;
    struct np_trie_options o = NP_TRIE_OPTIONS_INIT;
    struct np_trie *t = NULL;
    struct np_sub *s = NULL, *first = NULL;
    o.cache_slots = 4;
    enum neap_err err = np_trie_new(&o, &t);
    for (size_t i = 0; err == NEAP_OK && i < 15; i++) {
        const char *p = patterns[i % 5];
        err = np_trie_insert(t, p, strlen(p), i % 2 ? "q" : NULL, 1, "v", &s);
        if (i == 0) first = s;
    }
    if (err == NEAP_OK) {
        np_trie_remove(t, first);
        f->log[0] = '\0';
        err = np_trie_match(t, "a.b.c", 5, log_visit, f, NULL);
    }
    np_trie_free(t);
    return err;
}

static void survives_want_of_memory(void **state)
{
    assert_true(np_test_oom(life, *state) > 20);
}

/* An insert that fails leaves no node behind. */
static void a_failed_insert_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct np_sub *s = NULL;
    sub(f, "a.b", NULL, "x");
    size_t nodes = np_trie_nodes(f->t);
    for (uint64_t n = 1;; n++) {
        np_alloc_fail_at(n);
        enum neap_err err = np_trie_insert(f->t, "a.b.c.*.e", 9, "q", 1, NULL, &s);
        np_alloc_fail_at(0);
        if (err == NEAP_OK) break;
        assert_int_equal(err, NEAP_ENOMEM);
        assert_int_equal(np_trie_nodes(f->t), nodes);
        assert_int_equal(np_trie_count(f->t), 1);
    }
    np_trie_remove(f->t, s);
    assert_int_equal(np_trie_nodes(f->t), nodes);
}

/* Random patterns and subjects against the plain matcher. */
static void agrees_with_the_plain_matcher(void **state)
{
    static const char *const words[] = {"a", "b", "c", "*", ">"};
    struct fixture *f = *state;
    struct np_rng rng;
    struct np_sub *subs[200] = {NULL};
    np_rng_init(&rng, 7);
    for (int round = 0; round < 4000; round++) {
        char text[64] = "";
        size_t n = 0;
        bool pattern = round % 2;
        uint32_t len = 1 + np_rng_below(&rng, 4);
        for (uint32_t i = 0; i < len; i++) {
            uint32_t w = np_rng_below(&rng, pattern ? (i + 1 == len ? 5 : 4) : 3);
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? "." : "", words[w]);
        }
        if (pattern) {
            uint32_t at = np_rng_below(&rng, 200);
            np_trie_remove(f->t, subs[at]);
            subs[at] = sub(f, text, at % 3 ? NULL : "q", "s");
            continue;
        }
        size_t want = 0, got = 0;
        bool queue = false;
        for (int i = 0; i < 200; i++) {
            const char *p = subs[i] ? np_sub_pattern(subs[i]) : NULL;
            if (p == NULL || !np_pattern_match(p, strlen(p), text, n)) continue;
            want += np_sub_queue(subs[i]) == NULL;
            queue = queue || np_sub_queue(subs[i]) != NULL;
        }
        f->log[0] = '\0';
        assert_ok(np_trie_match(f->t, text, n, log_visit, f, &got));
        assert_int_equal(got, want + queue);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(finds_every_pattern_that_takes_it),
        T(a_plain_subscriber_is_visited_for_each_of_its_patterns),
        T(what_is_removed_is_forgotten),
        T(a_handle_knows_what_it_is),
        T(one_member_of_each_group_is_visited),
        T(a_group_spans_patterns),
        T(a_member_that_does_not_take_it_leaves_it_to_the_next),
        T(a_bad_subject_is_refused),
        T(limits_hold),
        T(tells_whether_anybody_wants_it),
        T(what_a_visitor_removes_is_not_visited),
        T(what_a_visitor_adds_is_visited_next_time),
        T(a_visitor_may_match_again),
        T(the_steady_state_allocates_nothing),
        T(survives_want_of_memory),
        T(a_failed_insert_changes_nothing),
        T(agrees_with_the_plain_matcher),
    };
    return cmocka_run_group_tests_name("mesh.subject_trie", tests, NULL, NULL);
}
