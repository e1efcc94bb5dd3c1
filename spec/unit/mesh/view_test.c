/* Views of the registry, from one thread and from many. */
#include <pthread.h>

#include "mesh_helpers.h"

#include "mesh/view.h"

struct rig {
    struct np_registry *r;
    struct np_registry_view *v;
    int wakes;
};

static void on_wake(void *arg)
{
    ((struct rig *)arg)->wakes++;
}

static void rig_open(struct rig *rig)
{
    *rig = (struct rig){0};
    assert_ok(np_registry_new(NULL, &rig->r));
    assert_ok(np_registry_view_new(rig->r, on_wake, rig, &rig->v));
}

static void rig_close(struct rig *rig)
{
    np_registry_view_free(rig->v);
    np_registry_free(rig->r);
    assert_int_equal(np_alloc_live(), 0);
}

static void put(struct np_registry *r, const char *id, const char *address)
{
    struct np_registration reg = reg_make("goods", id, address, 10 * S);
    assert_ok(np_registry_register(r, &reg, 0, NULL, NULL));
}

static struct np_snapshot *look(struct np_registry_view *v, const char *service)
{
    struct np_snapshot *set = NULL;
    assert_ok(np_registry_view_lookup(v, service, &set));
    return set;
}

static void sees_each_change_and_keeps_what_has_not_changed(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig);
    assert_int_equal(look(rig.v, "goods")->len, 0);
    put(rig.r, "a", "h:1");
    struct np_snapshot *one = look(rig.v, "goods");
    assert_int_equal(one->len, 1);
    np_snapshot_ref(one);
    size_t live = np_alloc_live();
    for (int i = 0; i < 100; i++)
        assert_ptr_equal(look(rig.v, "goods"), one);
    assert_int_equal(np_alloc_live(), live);
    put(rig.r, "b", "h:2");
    struct np_snapshot *two = look(rig.v, "goods");
    assert_int_equal(two->len, 2);
    assert_true(two->index > one->index);
    assert_int_equal(one->len, 1);
    np_snapshot_unref(one);
    assert_ok(np_registry_deregister(rig.r, "a"));
    assert_ok(np_registry_deregister(rig.r, "b"));
    assert_int_equal(look(rig.v, "goods")->len, 0);
    put(rig.r, "c", "h:3"); /* the service was forgotten, and is another one now */
    assert_int_equal(look(rig.v, "goods")->len, 1);
    rig_close(&rig);
}

static void the_names_a_peer_asks_for_are_bounded(void **state)
{
    struct rig rig;
    char name[32], *huge = np_alloc(1 << 20);
    (void)state;
    rig_open(&rig);
    put(rig.r, "a", "h:1");
    struct np_snapshot *goods = look(rig.v, "goods");
    int64_t live = np_alloc_live();
    for (int i = 0; i < 10000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(look(rig.v, name)->len, 0);
    }
    assert_true(np_alloc_live() < live + 4096 * 3);
    assert_ptr_equal(look(rig.v, "goods"), goods); /* those that nobody has went first */
    live = np_alloc_live();
    memset(huge, 'x', (1 << 20) - 1);
    for (int i = 0; i < 100; i++) { /* these are no names: none of them is remembered */
        huge[(1 << 20) - 1 - i] = '\0';
        assert_int_equal(look(rig.v, huge)->len, 0);
        snprintf(name, sizeof name, "no name %d", i);
        assert_int_equal(look(rig.v, name)->len, 0);
    }
    assert_true(np_alloc_live() <= live + 3);
    np_free(huge);
    rig_close(&rig);
}

static void what_is_pinned_is_not_forgotten(void **state)
{
    struct rig rig;
    struct np_view_service *s = NULL, *again = NULL;
    struct np_snapshot *set = NULL;
    char name[32];
    (void)state;
    rig_open(&rig);
    assert_err(np_registry_view_pin(rig.v, "no name", &s), NEAP_EINVAL);
    assert_ok(np_registry_view_pin(rig.v, "goods", &s));
    assert_ok(np_registry_view_pin(rig.v, "goods", &again));
    assert_ptr_equal(s, again);
    for (int i = 0; i < 10000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        (void)look(rig.v, name);
    }
    assert_ok(np_view_service_lookup(s, &set));
    assert_int_equal(set->len, 0);
    put(rig.r, "a", "h:1");
    assert_ok(np_view_service_lookup(s, &set));
    assert_int_equal(set->len, 1);
    assert_ptr_equal(look(rig.v, "goods"), set);
    np_view_service_unpin(s);
    np_view_service_unpin(again);
    rig_close(&rig);
}

/* --- watches */

struct diary {
    struct np_registry_view *view;
    struct np_view_watch *watch;
    char text[256];
    bool closes; /* itself at the first change */
};

static void write_down(const struct np_change *c, void *arg)
{
    struct diary *d = arg;
    size_t n = strlen(d->text);
    snprintf(d->text + n, sizeof d->text - n, "%s%c ", c->endpoint->id, "+=-"[c->kind]);
    if (d->closes) np_view_watch_close(d->watch);
}

static void watches_are_told_in_order_when_it_is_dispatched(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig);
    put(rig.r, "before", "h:5");
    struct diary goods = {.view = rig.v}, all = goods, once = {.view = rig.v, .closes = true};
    assert_ok(np_registry_view_watch(rig.v, "goods", write_down, &goods, &goods.watch));
    assert_ok(np_registry_view_watch(rig.v, NULL, write_down, &all, &all.watch));
    assert_ok(np_registry_view_watch(rig.v, NULL, write_down, &once, &once.watch));
    struct np_registration other = reg_make("other", "o", "h:9", 0);
    put(rig.r, "a", "h:1");
    assert_ok(np_registry_register(rig.r, &other, 0, NULL, NULL));
    put(rig.r, "a", "h:2");
    assert_ok(np_registry_deregister(rig.r, "a"));
    assert_string_equal(goods.text, "");
    assert_int_equal(rig.wakes, 1);
    np_registry_view_dispatch(rig.v);
    assert_string_equal(goods.text, "a+ a= a- ");
    assert_string_equal(all.text, "a+ o+ a= a- ");
    assert_string_equal(once.text, "a+ ");
    np_registry_view_dispatch(rig.v);
    assert_string_equal(goods.text, "a+ a= a- ");
    put(rig.r, "b", "h:3");
    np_view_watch_close(goods.watch); /* it hears of nothing any more */
    np_registry_view_dispatch(rig.v);
    assert_string_equal(goods.text, "a+ a= a- ");
    assert_int_equal(rig.wakes, 2);
    rig_close(&rig);
}

static void what_nobody_dispatches_is_bounded(void **state)
{
    struct rig rig;
    struct diary d = {0};
    (void)state;
    rig_open(&rig);
    assert_ok(np_registry_view_watch(rig.v, NULL, write_down, &d, &d.watch));
    for (int i = 0; i < NP_VIEW_MAX_EVENTS / 2; i++) {
        put(rig.r, "x", "h:1");
        assert_ok(np_registry_deregister(rig.r, "x"));
    }
    put(rig.r, "y", "h:1");
    assert_int_equal(np_view_watch_lost(d.watch), 1);
    assert_int_equal(np_view_watch_lost(d.watch), 0);
    np_registry_view_dispatch(rig.v);
    assert_int_equal(strncmp(d.text, "x- x+ ", 6), 0); /* the oldest went */
    np_view_watch_close(d.watch);
    rig_close(&rig);
}

/* --- threads */

enum { ROUNDS = 2000, READERS = 3 };

struct reader {
    struct np_registry *r;
    atomic_bool *over;
    int reads;
    int bad;
};

/* The index never goes back, and a snapshot is whole. */
static void *read_on(void *arg)
{
    struct reader *reader = arg;
    struct np_registry_view *v;
    uint64_t last = 0;
    if (np_registry_view_new(reader->r, NULL, NULL, &v)) return NULL;
    while (!atomic_load(reader->over)) {
        struct np_snapshot *set = NULL;
        enum neap_err err = np_registry_view_lookup(v, "goods", &set);
        if (err || set->index < last || set->len > 1) reader->bad++;
        if (!err && set->len == 1 && strcmp(set->endpoints[0]->id, "x") != 0) reader->bad++;
        if (!err) last = set->index;
        reader->reads++;
    }
    np_registry_view_free(v);
    return NULL;
}

struct tally {
    int changes;
    int bad;
};

/* "x" is added and removed by turns. */
static void check_turn(const struct np_change *c, void *arg)
{
    struct tally *t = arg;
    if (c->kind != (t->changes++ % 2 == 0 ? NP_CHANGE_ADDED : NP_CHANGE_REMOVED)) t->bad++;
}

/* A view on a thread of its own, whose watch sees all that is done. */
struct watcher {
    struct np_registry *r;
    pthread_barrier_t *ready;
    atomic_bool *over;
    struct tally tally;
    uint64_t last;
};

static void check_index(const struct np_change *c, void *arg)
{
    struct watcher *w = arg;
    if (c->index <= w->last) w->tally.bad++;
    w->last = c->index;
    check_turn(c, &w->tally);
}

static void *watch_on(void *arg)
{
    struct watcher *w = arg;
    struct np_registry_view *v = NULL;
    struct np_view_watch *watch = NULL;
    enum neap_err err = np_registry_view_new(w->r, NULL, NULL, &v);
    if (!err) err = np_registry_view_watch(v, "goods", check_index, w, &watch);
    w->tally.bad += err != NEAP_OK;
    pthread_barrier_wait(w->ready);
    while (!err && !atomic_load(w->over))
        np_registry_view_dispatch(v);
    if (!err) np_registry_view_dispatch(v); /* what came between the last look and the end */
    np_view_watch_close(watch);
    np_registry_view_free(v);
    return NULL;
}

static void churn(struct np_registry *r)
{
    for (int k = 0; k < ROUNDS; k++) {
        put(r, "x", "h:1");
        assert_ok(np_registry_deregister(r, "x"));
    }
}

static void readers_see_what_a_writer_does_in_order(void **state)
{
    struct np_registry *r;
    pthread_t threads[READERS];
    struct reader readers[READERS];
    atomic_bool over = false;
    (void)state;
    assert_ok(np_registry_new(NULL, &r));
    for (int i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.r = r, .over = &over};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    }
    churn(r);
    atomic_store(&over, true);
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].bad, 0);
    }
    np_registry_free(r);
    assert_int_equal(np_alloc_live(), 0);
}

static void every_view_is_told_everything_in_order(void **state)
{
    struct np_registry *r;
    pthread_t threads[READERS];
    struct watcher watchers[READERS];
    pthread_barrier_t ready;
    atomic_bool over = false;
    (void)state;
    assert_ok(np_registry_new(NULL, &r));
    assert_int_equal(pthread_barrier_init(&ready, NULL, READERS + 1), 0);
    for (int i = 0; i < READERS; i++) {
        watchers[i] = (struct watcher){.r = r, .ready = &ready, .over = &over};
        assert_int_equal(pthread_create(&threads[i], NULL, watch_on, &watchers[i]), 0);
    }
    pthread_barrier_wait(&ready);
    churn(r);
    atomic_store(&over, true);
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(watchers[i].tally.changes, 2 * ROUNDS);
        assert_int_equal(watchers[i].tally.bad, 0);
    }
    pthread_barrier_destroy(&ready);
    np_registry_free(r);
    assert_int_equal(np_alloc_live(), 0);
}

static const char me;

static enum neap_err use_a_view(void *arg)
{
    struct np_registry *r = NULL;
    struct np_registry_view *v = NULL;
    struct np_view_watch *w = NULL;
    struct np_snapshot *set = NULL;
    struct np_endpoint *e = NULL;
    struct np_registration reg = reg_make("goods", NULL, "h:1", 10 * S);
    struct diary d = {0};
    (void)arg;
    enum neap_err err = np_registry_new(NULL, &r);
    if (!err) err = np_registry_view_new(r, NULL, NULL, &v);
    if (!err) err = np_registry_view_watch(v, "goods", write_down, &d, &w);
    if (!err) err = np_registry_view_lookup(v, "goods", &set);
    if (!err) err = np_registry_join(r, &reg, &me, 0, 0, &e, NULL);
    if (!err) np_registry_view_dispatch(v);
    if (!err) err = np_registry_view_lookup(v, "goods", &set);
    np_endpoint_unref(e);
    np_registry_view_free(v);
    np_registry_free(r);
    return err;
}

static void survives_running_out_of_memory(void **state)
{
    (void)state;
    assert_int_not_equal(np_test_oom(use_a_view, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sees_each_change_and_keeps_what_has_not_changed),
        cmocka_unit_test(the_names_a_peer_asks_for_are_bounded),
        cmocka_unit_test(what_is_pinned_is_not_forgotten),
        cmocka_unit_test(watches_are_told_in_order_when_it_is_dispatched),
        cmocka_unit_test(what_nobody_dispatches_is_bounded),
        cmocka_unit_test(readers_see_what_a_writer_does_in_order),
        cmocka_unit_test(every_view_is_told_everything_in_order),
        cmocka_unit_test(survives_running_out_of_memory),
    };
    return cmocka_run_group_tests_name("mesh.view", tests, NULL, NULL);
}
