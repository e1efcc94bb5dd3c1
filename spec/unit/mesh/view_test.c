/* Views of the registry, registrations with several holders, and both from many threads. */
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

static void a_thousand_names_that_nobody_has_are_bounded(void **state)
{
    struct rig rig;
    char name[32];
    (void)state;
    rig_open(&rig);
    for (int i = 0; i < 10000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(look(rig.v, name)->len, 0);
    }
    assert_true(np_alloc_live() < 5000 * 3);
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

/* --- holders */

static const char me, you;

static struct np_endpoint *join(struct np_registry *r, const char *id, const char *address,
                                const void *who)
{
    struct np_endpoint *e = NULL;
    struct np_registration reg = reg_make("goods", id, address, 10 * S);
    assert_ok(np_registry_join(r, &reg, who, who == &you, 0, &e, NULL));
    return e;
}

static size_t count(struct np_registry *r)
{
    return np_registry_endpoint_count(r);
}

static void two_who_register_one_address_hold_one_instance(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig);
    struct np_endpoint *mine = join(rig.r, NULL, "h:1", &me);
    struct np_endpoint *yours = join(rig.r, NULL, "h:1", &you);
    struct np_endpoint *second = join(rig.r, NULL, "h:1", &me); /* another one of mine */
    assert_string_equal(mine->id, yours->id);
    assert_string_not_equal(mine->id, second->id);
    assert_int_equal(count(rig.r), 2);
    assert_ok(np_registry_leave(rig.r, mine->id, &me));
    assert_int_equal(count(rig.r), 2);
    assert_ok(np_registry_leave(rig.r, mine->id, &you));
    assert_int_equal(count(rig.r), 1);
    assert_err(np_registry_leave(rig.r, mine->id, &you), NEAP_ENOTFOUND);
    np_endpoint_unref(mine);
    np_endpoint_unref(yours);
    np_endpoint_unref(second);
    rig_close(&rig);
}

static void who_takes_over_is_not_noticed(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig);
    struct np_endpoint *old = join(rig.r, NULL, "h:1", &me);
    uint64_t index = np_registry_index(rig.r);
    struct np_registration reg = reg_make("goods", NULL, "h:1", 10 * S);
    char id[64];
    assert_ok(np_registry_reserve(rig.r, &reg, &you, id, sizeof id, NULL));
    assert_string_equal(id, old->id);
    struct np_endpoint *new = join(rig.r, id, "h:1", &you);
    assert_ok(np_registry_leave(rig.r, id, &me));
    assert_int_equal(np_registry_index(rig.r), index);
    assert_int_equal(count(rig.r), 1);
    np_endpoint_unref(old);
    np_endpoint_unref(new);
    rig_close(&rig);
}

static void a_reserved_id_is_nobody_elses(void **state)
{
    struct rig rig;
    char a[64], b[64];
    struct np_registration reg = reg_make("goods", NULL, "h:1", 10 * S);
    struct np_registration there = reg_make("goods", NULL, "h:2", 10 * S);
    (void)state;
    rig_open(&rig);
    assert_ok(np_registry_reserve(rig.r, &reg, &me, a, sizeof a, NULL));
    assert_ok(np_registry_reserve(rig.r, &there, &you, b, sizeof b, NULL));
    assert_string_not_equal(a, b);
    np_registry_unreserve(rig.r, b, &you);
    assert_ok(np_registry_reserve(rig.r, &there, &you, b, sizeof b, NULL));
    struct np_endpoint *e = join(rig.r, NULL, "h:3", &me);
    assert_string_not_equal(e->id, a);
    assert_string_not_equal(e->id, b);
    np_endpoint_unref(e);
    rig_close(&rig);
}

static void reserve(struct np_registry *r, const char *address, const void *who, char id[64])
{
    struct np_registration reg = reg_make("goods", NULL, address, 10 * S);
    assert_ok(np_registry_reserve(r, &reg, who, id, 64, NULL));
}

static void those_who_reserve_one_address_are_promised_one_id(void **state)
{
    struct rig rig;
    char a[64], b[64], c[64], d[64];
    (void)state;
    rig_open(&rig);
    reserve(rig.r, "h:1", &me, a);
    reserve(rig.r, "h:1", &you, b);
    assert_string_equal(a, b);
    reserve(rig.r, "h:1", &me, c); /* another one of mine … */
    assert_string_not_equal(a, c);
    reserve(rig.r, "h:1", &you, d); /* … and of yours */
    assert_string_equal(c, d);
    struct np_endpoint *e = join(rig.r, NULL, "h:1", &rig); /* who did not reserve takes part */
    assert_true(strcmp(e->id, a) == 0 || strcmp(e->id, c) == 0);
    np_endpoint_unref(e);
    np_endpoint_unref(join(rig.r, a, "h:1", &me));
    np_endpoint_unref(join(rig.r, b, "h:1", &you));
    np_endpoint_unref(join(rig.r, c, "h:1", &me));
    np_endpoint_unref(join(rig.r, d, "h:1", &you));
    assert_int_equal(count(rig.r), 2);
    rig_close(&rig);
}

static void twice_the_same_address_is_handed_over_twice(void **state)
{
    struct rig rig;
    char a[64], b[64], c[64];
    (void)state;
    rig_open(&rig);
    struct np_endpoint *one = join(rig.r, NULL, "h:1", &me);
    struct np_endpoint *two = join(rig.r, NULL, "h:1", &me);
    uint64_t index = np_registry_index(rig.r);
    reserve(rig.r, "h:1", &you, a);
    reserve(rig.r, "h:1", &you, b);
    assert_string_equal(a, one->id);
    assert_string_equal(b, two->id);
    reserve(rig.r, "h:1", &you, c);
    assert_string_not_equal(c, one->id);
    assert_string_not_equal(c, two->id);
    np_endpoint_unref(join(rig.r, a, "h:1", &you));
    np_endpoint_unref(join(rig.r, b, "h:1", &you));
    np_registry_drop_holder(rig.r, &me);
    assert_int_equal(count(rig.r), 2);
    assert_int_equal(np_registry_index(rig.r), index);
    np_registry_drop_holder(rig.r, &you); /* `c` as well */
    assert_int_equal(count(rig.r), 0);
    np_endpoint_unref(one);
    np_endpoint_unref(two);
    rig_close(&rig);
}

static void what_others_run_is_joined_by_its_id_only(void **state)
{
    struct rig rig;
    struct np_endpoint *e = NULL;
    struct np_registration theirs = reg_make("goods", "far", "h:1", 0);
    (void)state;
    rig_open(&rig);
    theirs.foreign = true;
    assert_ok(np_registry_join(rig.r, &theirs, &me, 0, 0, &e, NULL));
    np_endpoint_unref(e);
    assert_ok(np_registry_join(rig.r, &theirs, &you, 1, 0, &e, NULL));
    np_endpoint_unref(e);
    struct np_endpoint *own = join(rig.r, NULL, "h:1", &you);
    assert_string_not_equal(own->id, "far");
    assert_false(np_registry_is_joined(rig.r, "far"));
    assert_true(np_registry_is_joined(rig.r, own->id));
    assert_ok(np_registry_leave(rig.r, "far", &me));
    assert_int_equal(count(rig.r), 2);
    np_registry_drop_worker(rig.r, 1); /* it has no lease: nobody is left to remove it */
    assert_int_equal(count(rig.r), 1);
    np_endpoint_unref(own);
    rig_close(&rig);
}

static void a_worker_that_is_gone_leaves_its_lease_to_others(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig);
    struct np_endpoint *e = join(rig.r, NULL, "h:1", &you);
    struct np_endpoint *f = join(rig.r, NULL, "h:2", &me);
    np_registry_drop_worker(rig.r, 1); /* yours */
    assert_int_equal(count(rig.r), 2);
    struct np_endpoint *again = join(rig.r, NULL, "h:1", &me);
    assert_string_equal(again->id, e->id);
    np_endpoint_unref(again);
    (void)np_registry_expire(rig.r, 10 * S);
    assert_int_equal(count(rig.r), 0);
    np_endpoint_unref(e);
    np_endpoint_unref(f);
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

static void readers_see_what_a_writer_does_in_order(void **state)
{
    struct np_registry *r;
    struct np_registry_view *v;
    struct np_view_watch *w;
    struct tally tally = {0, 0};
    pthread_t threads[READERS];
    struct reader readers[READERS];
    atomic_bool over = false;
    (void)state;
    assert_ok(np_registry_new(NULL, &r));
    assert_ok(np_registry_view_new(r, NULL, NULL, &v));
    assert_ok(np_registry_view_watch(v, "goods", check_turn, &tally, &w));
    for (int i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.r = r, .over = &over};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    }
    for (int k = 0; k < ROUNDS; k++) {
        put(r, "x", "h:1");
        assert_ok(np_registry_deregister(r, "x"));
    }
    atomic_store(&over, true);
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].bad, 0);
    }
    np_registry_view_dispatch(v);
    assert_int_equal(tally.changes, 2 * ROUNDS);
    assert_int_equal(tally.bad, 0);
    np_registry_view_free(v);
    np_registry_free(r);
    assert_int_equal(np_alloc_live(), 0);
}

static enum neap_err hold(void *arg)
{
    struct np_registry *r = NULL;
    struct np_endpoint *e = NULL;
    char id[64];
    struct np_registration reg = reg_make("goods", NULL, "h:1", 10 * S);
    (void)arg;
    enum neap_err err = np_registry_new(NULL, &r);
    if (!err) err = np_registry_reserve(r, &reg, &me, id, sizeof id, NULL);
    if (!err) err = np_registry_reserve(r, &reg, &you, id, sizeof id, NULL);
    if (!err) err = np_registry_join(r, &reg, &r, 0, 0, &e, NULL);
    np_endpoint_unref(e);
    e = NULL;
    if (!err) err = np_registry_join(r, &reg, &me, 0, 0, &e, NULL);
    np_endpoint_unref(e);
    np_registry_free(r);
    return err;
}

static void holders_survive_running_out_of_memory(void **state)
{
    (void)state;
    assert_int_not_equal(np_test_oom(hold, NULL), 0);
}

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
        cmocka_unit_test(a_thousand_names_that_nobody_has_are_bounded),
        cmocka_unit_test(watches_are_told_in_order_when_it_is_dispatched),
        cmocka_unit_test(two_who_register_one_address_hold_one_instance),
        cmocka_unit_test(who_takes_over_is_not_noticed),
        cmocka_unit_test(a_reserved_id_is_nobody_elses),
        cmocka_unit_test(those_who_reserve_one_address_are_promised_one_id),
        cmocka_unit_test(twice_the_same_address_is_handed_over_twice),
        cmocka_unit_test(what_others_run_is_joined_by_its_id_only),
        cmocka_unit_test(a_worker_that_is_gone_leaves_its_lease_to_others),
        cmocka_unit_test(readers_see_what_a_writer_does_in_order),
        cmocka_unit_test(holders_survive_running_out_of_memory),
        cmocka_unit_test(survives_running_out_of_memory),
    };
    return cmocka_run_group_tests_name("mesh.view", tests, NULL, NULL);
}
