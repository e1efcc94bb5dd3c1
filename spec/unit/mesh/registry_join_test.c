/* Registrations with several holders, from one thread and from many. */
#include <pthread.h>

#include "mesh_helpers.h"

#include "mesh/view.h"

struct rig {
    struct np_registry *r;
};

static void rig_open(struct rig *rig)
{
    assert_ok(np_registry_new(NULL, &rig->r));
}

static void rig_close(struct rig *rig)
{
    np_registry_free(rig->r);
    assert_int_equal(np_alloc_live(), 0);
}

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
    struct np_registration told = reg_make("goods", "told", "h:1", 0);
    assert_ok(np_registry_register(rig.r, &told, 0, NULL, NULL));
    assert_int_equal(np_registry_origin(rig.r, "far"), NP_ORIGIN_FOREIGN);
    assert_int_equal(np_registry_origin(rig.r, own->id), NP_ORIGIN_OWN);
    assert_int_equal(np_registry_origin(rig.r, "told"), NP_ORIGIN_PUT);
    assert_int_equal(np_registry_origin(rig.r, "none"), NP_ORIGIN_NONE);
    assert_ok(np_registry_deregister(rig.r, "told"));
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

enum { ROUNDS = 2000, HOLDERS = 3 };

struct member {
    struct np_registry *r;
    int bad;
};

struct tally {
    int changes;
    int bad;
};

/* The instance comes and goes by turns. */
static void check_turn(const struct np_change *c, void *arg)
{
    struct tally *t = arg;
    if (c->kind != (t->changes++ % 2 == 0 ? NP_CHANGE_ADDED : NP_CHANGE_REMOVED)) t->bad++;
}

/* Each holds the same instance for a while, again and again. */
static void *hold_on(void *arg)
{
    struct member *me_too = arg;
    struct np_registration reg = reg_make("goods", NULL, "h:1", 10 * S);
    for (int k = 0; k < ROUNDS; k++) {
        struct np_endpoint *e = NULL;
        char id[64];
        bool bad = k % 2 == 0 &&
                   np_registry_reserve(me_too->r, &reg, me_too, id, sizeof id, NULL) != NEAP_OK;
        reg.desc.id = k % 2 == 0 ? id : NULL;
        bad |= np_registry_join(me_too->r, &reg, me_too, 0, 0, &e, NULL) != NEAP_OK;
        reg.desc.id = NULL;
        if (e != NULL) bad |= np_registry_heartbeat(me_too->r, e->id, 0) != NEAP_OK;
        if (e != NULL) bad |= np_registry_leave(me_too->r, e->id, me_too) != NEAP_OK;
        np_endpoint_unref(e);
        me_too->bad += bad;
    }
    return NULL;
}

static void holders_on_many_threads_are_counted(void **state)
{
    struct np_registry *r;
    struct np_registry_view *v;
    struct np_view_watch *w;
    struct tally tally = {0, 0};
    pthread_t threads[HOLDERS];
    struct member holders[HOLDERS];
    (void)state;
    assert_ok(np_registry_new(NULL, &r));
    assert_ok(np_registry_view_new(r, NULL, NULL, &v));
    assert_ok(np_registry_view_watch(v, "goods", check_turn, &tally, &w));
    for (int i = 0; i < HOLDERS; i++) {
        holders[i] = (struct member){.r = r};
        assert_int_equal(pthread_create(&threads[i], NULL, hold_on, &holders[i]), 0);
    }
    for (int i = 0; i < HOLDERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(holders[i].bad, 0);
    }
    assert_int_equal(count(r), 0);
    np_registry_view_dispatch(v);
    assert_int_equal(tally.bad,
                     0); /* never two at a time, and never one removed that another held */
    np_view_watch_close(w);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_who_register_one_address_hold_one_instance),
        cmocka_unit_test(who_takes_over_is_not_noticed),
        cmocka_unit_test(a_reserved_id_is_nobody_elses),
        cmocka_unit_test(those_who_reserve_one_address_are_promised_one_id),
        cmocka_unit_test(twice_the_same_address_is_handed_over_twice),
        cmocka_unit_test(what_others_run_is_joined_by_its_id_only),
        cmocka_unit_test(a_worker_that_is_gone_leaves_its_lease_to_others),
        cmocka_unit_test(holders_on_many_threads_are_counted),
        cmocka_unit_test(holders_survive_running_out_of_memory),
    };
    return cmocka_run_group_tests_name("mesh.registry_join", tests, NULL, NULL);
}
