/* The registry on a fake clock: registering, leases, indices, limits. */
#include "mesh_helpers.h"

struct fixture {
    struct np_registry *r;
    int64_t live;
};

static int setup(void **state)
{
    struct fixture *f = test_malloc(sizeof *f);
    f->live = np_alloc_live();
    assert_ok(np_registry_new(NULL, &f->r));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    np_registry_free(f->r);
    assert_no_leak(f->live);
    test_free(f);
    return 0;
}

static void put(struct np_registry *r, const char *service, const char *id, const char *address,
                int64_t ttl, int64_t now)
{
    struct np_registration reg = reg_make(service, id, address, ttl);
    struct neap_errinfo info = {0};
    assert_ok(np_registry_register(r, &reg, now, NULL, &info));
}

/* The ids of a service's instances, joined by blanks. */
static const char *ids(struct np_registry *r, const char *service, char *buf, size_t size)
{
    struct np_snapshot *set = NULL;
    size_t at = 0;
    buf[0] = '\0';
    assert_ok(np_registry_lookup(r, service, &set));
    for (size_t i = 0; i < set->len; i++) {
        at += (size_t)snprintf(buf + at, size - at, "%s%s", i ? " " : "", set->endpoints[i]->id);
    }
    np_snapshot_unref(set);
    return buf;
}
#define assert_ids(r, service, want)                                         \
    do {                                                                     \
        char buf_[1024];                                                     \
        assert_string_equal(ids((r), (service), buf_, sizeof buf_), (want)); \
    } while (0)

static void finds_what_was_registered(void **state)
{
    struct np_registry *r = ((struct fixture *)*state)->r;
    put(r, "goods", "g1", "a:1", 0, 0);
    put(r, "goods", "g2", "a:2", 0, 0);
    put(r, "orders", "o1", "b:1", 0, 0);
    assert_ids(r, "goods", "g1 g2");
    assert_ids(r, "orders", "o1");
    assert_ids(r, "unknown", "");
    assert_ok(np_registry_deregister(r, "g1"));
    assert_ids(r, "goods", "g2");
    assert_err(np_registry_deregister(r, "g1"), NEAP_ENOTFOUND);
    assert_int_equal(np_registry_endpoint_count(r), 2);
}

static void makes_up_ids(void **state)
{
    struct np_registry *r = ((struct fixture *)*state)->r;
    put(r, "goods", "goods-2", "a:9", 0, 0);
    put(r, "goods", NULL, "a:1", 0, 0);
    put(r, "goods", NULL, "a:2", 0, 0);
    assert_ids(r, "goods", "goods-2 goods-1 goods-3");
    /* One that went is not confused with one that comes. */
    assert_ok(np_registry_deregister(r, "goods-3"));
    put(r, "goods", NULL, "a:3", 0, 0);
    assert_ids(r, "goods", "goods-2 goods-1 goods-4");
}

static void a_lease_ends_when_it_is_not_renewed(void **state)
{
    struct np_registry *r = ((struct fixture *)*state)->r;
    put(r, "goods", "g1", "a:1", 10 * S, 0);
    put(r, "goods", "g2", "a:2", 10 * S, 5 * S);
    put(r, "goods", "g3", "a:3", 0, 0);
    assert_int_equal(np_registry_expire(r, 9 * S), 10 * S);
    assert_ids(r, "goods", "g1 g2 g3");
    assert_int_equal(np_registry_expire(r, 10 * S), 15 * S);
    assert_ids(r, "goods", "g2 g3");
    assert_ok(np_registry_heartbeat(r, "g2", 14 * S));
    assert_err(np_registry_heartbeat(r, "g1", 14 * S), NEAP_ENOTFOUND);
    assert_int_equal(np_registry_expire(r, 15 * S), 24 * S);
    assert_ids(r, "goods", "g2 g3");
    assert_true(np_registry_expire(r, 100 * S) == NP_TIME_NEVER);
    assert_ids(r, "goods", "g3");
    assert_ok(np_registry_heartbeat(r, "g3", 200 * S));
}

static void a_time_to_live_can_be_changed(void **state)
{
    struct np_registry *r = ((struct fixture *)*state)->r;
    int64_t ttl = 0, expires = 0;
    put(r, "goods", "g1", "a:1", 10 * S, 0);
    put(r, "goods", "g1", "a:1", 0, S);
    assert_true(np_registry_expire(r, 1000 * S) == NP_TIME_NEVER);
    put(r, "goods", "g1", "a:1", 3 * S, 1000 * S);
    assert_non_null(np_registry_get(r, "g1", &ttl, &expires));
    assert_int_equal(ttl, 3 * S);
    assert_int_equal(expires, 1003 * S);
    assert_null(np_registry_get(r, "g2", NULL, NULL));
}

static void registering_again_updates_in_place(void **state)
{
    struct np_registry *r = ((struct fixture *)*state)->r;
    struct np_registration reg = reg_make("goods", "g1", "a:9", 0);
    struct np_endpoint *e = NULL;
    put(r, "goods", "g1", "a:1", 0, 0);
    put(r, "goods", "g2", "a:2", 0, 0);
    np_endpoint_begin(np_registry_get(r, "g1", NULL, NULL));
    assert_ok(np_registry_register(r, &reg, 0, &e, NULL));
    assert_string_equal(e->address, "a:9");
    assert_int_equal(np_endpoint_active(e), 1);
    assert_ids(r, "goods", "g1 g2");
    assert_int_equal(np_registry_endpoint_count(r), 2);
}

static void an_instance_can_move_to_another_service(void **state)
{
    struct np_registry *r = ((struct fixture *)*state)->r;
    put(r, "goods", "x", "a:1", 10 * S, 0);
    put(r, "orders", "x", "a:1", 10 * S, S);
    assert_ids(r, "goods", "");
    assert_ids(r, "orders", "x");
    assert_int_equal(np_registry_expire(r, 10 * S), 11 * S);
}

static void indices_move_with_their_service_only(void **state)
{
    struct np_registry *r = ((struct fixture *)*state)->r;
    assert_int_equal(np_registry_service_index(r, "goods"), 1);
    put(r, "goods", "g1", "a:1", 10 * S, 0);
    uint64_t goods = np_registry_service_index(r, "goods");
    assert_true(goods > 1);
    for (int i = 0; i < 10; i++)
        put(r, "orders", NULL, "b:1", 0, 0);
    assert_int_equal(np_registry_service_index(r, "goods"), goods);
    /* A renewed lease is no change, by whichever way. */
    assert_ok(np_registry_heartbeat(r, "g1", S));
    put(r, "goods", "g1", "a:1", 10 * S, 2 * S);
    assert_int_equal(np_registry_service_index(r, "goods"), goods);
    put(r, "goods", "g1", "a:2", 10 * S, 2 * S);
    assert_true(np_registry_service_index(r, "goods") > goods);
    assert_int_equal(np_registry_index(r), np_registry_service_index(r, "goods"));
}

static void an_index_never_goes_back(void **state)
{
    struct np_registry *r = ((struct fixture *)*state)->r;
    uint64_t last = 0;
    for (int i = 0; i < 20; i++) {
        if (i % 4 == 0) put(r, "goods", "g", "a:1", 0, 0);
        if (i % 4 == 1) put(r, "orders", "o", "a:1", 0, 0);
        if (i % 4 == 2) assert_ok(np_registry_deregister(r, "g"));
        if (i % 4 == 3) assert_ok(np_registry_deregister(r, "o"));
        uint64_t now = np_registry_service_index(r, "goods");
        assert_true(now >= last && now != 0);
        /* Every change of goods itself is seen in it. */
        if (i % 2 == 0) assert_true(now > last);
        last = now;
    }
}

static void a_snapshot_stays_as_it_was(void **state)
{
    struct np_registry *r = ((struct fixture *)*state)->r;
    struct np_snapshot *before = NULL, *again = NULL, *after = NULL;
    put(r, "goods", "g1", "a:1", 0, 0);
    assert_ok(np_registry_lookup(r, "goods", &before));
    assert_ok(np_registry_lookup(r, "goods", &again));
    assert_ptr_equal(before, again);
    assert_int_equal(before->index, np_registry_service_index(r, "goods"));
    assert_ok(np_registry_deregister(r, "g1"));
    put(r, "goods", "g2", "a:2", 0, 0);
    assert_ok(np_registry_lookup(r, "goods", &after));
    assert_string_equal(before->endpoints[0]->id, "g1");
    assert_string_equal(after->endpoints[0]->id, "g2");
    assert_true(after->index > before->index);
    np_snapshot_unref(before);
    np_snapshot_unref(again);
    np_snapshot_unref(after);
}

static void a_look_up_can_ask_for_tags(void **state)
{
    static const char *const v1_eu[] = {"v1", "eu"};
    struct np_registry *r = ((struct fixture *)*state)->r;
    struct np_registration reg = reg_make("goods", "g1", "a:1", 0);
    struct np_snapshot *all = NULL, *some = NULL;
    reg.desc.tags = v1_eu;
    reg.desc.ntags = 2;
    assert_ok(np_registry_register(r, &reg, 0, NULL, NULL));
    reg.desc.id = "g2";
    reg.desc.ntags = 1;
    assert_ok(np_registry_register(r, &reg, 0, NULL, NULL));
    assert_ok(np_registry_lookup(r, "goods", &all));
    assert_ok(np_snapshot_filter(all, v1_eu, 2, &some));
    assert_int_equal(some->len, 1);
    assert_string_equal(some->endpoints[0]->id, "g1");
    assert_int_equal(some->index, all->index);
    np_snapshot_unref(some);
    np_snapshot_unref(all);
}

static void lists_the_services_that_have_instances(void **state)
{
    struct np_registry *r = ((struct fixture *)*state)->r;
    struct np_service_info info;
    size_t it = 0;
    put(r, "goods", "g1", "a:1", 0, 0);
    put(r, "gone", "x", "a:1", 0, 0);
    put(r, "orders", "o1", "a:2", 0, 0);
    put(r, "orders", "o2", "a:3", 0, 0);
    assert_ok(np_registry_deregister(r, "x"));
    assert_true(np_registry_next_service(r, &it, &info));
    assert_string_equal(info.name, "goods");
    assert_true(np_registry_next_service(r, &it, &info));
    assert_string_equal(info.name, "orders");
    assert_int_equal(info.endpoints, 2);
    assert_int_equal(info.index, np_registry_index(r) - 1);
    assert_false(np_registry_next_service(r, &it, &info));
}

static void refused(struct np_registry *r, struct np_registration reg, enum neap_err want,
                    const char *words)
{
    struct neap_errinfo info = {0};
    uint64_t index = np_registry_index(r);
    assert_err(np_registry_register(r, &reg, 0, NULL, &info), want);
    assert_int_equal(info.code, want);
    if (strstr(info.message, words) == NULL) fail_msg("'%s' not in '%s'", words, info.message);
    assert_int_equal(np_registry_index(r), index);
}

static void refuses_what_is_malformed(void **state)
{
    struct np_registry *r = ((struct fixture *)*state)->r;
    static const char *const bad_names[] = {"", "a b", "-a", "a/b", "a\n", "\xc3\xa4", ".a"};
    static const char *const bad_tag[] = {"a\nb"};
    static const struct np_pair bad_meta[] = {{"a b", "c"}};
    struct np_registration reg = reg_make("goods", "g", "a:1", 0);
    for (size_t i = 0; i < sizeof bad_names / sizeof bad_names[0]; i++) {
        refused(r, reg_make(bad_names[i], "g", "a:1", 0), NEAP_EINVAL, "service name");
    }
    refused(r, reg_make(NULL, "g", "a:1", 0), NEAP_EINVAL, "service name");
    refused(r, reg_make("goods", "", "a:1", 0), NEAP_EINVAL, "id");
    refused(r, reg_make("goods", "a b", "a:1", 0), NEAP_EINVAL, "id");
    refused(r, reg_make("goods", "g", "a", 0), NEAP_EINVAL, "address");
    refused(r, reg_make("goods", "g", "a:1", -1), NEAP_EINVAL, "time to live");
    refused(r, reg_make("goods", "g", "a:1", 86401 * S), NEAP_ELIMIT, "86400");
    reg.desc.tags = bad_tag;
    reg.desc.ntags = 1;
    refused(r, reg, NEAP_EINVAL, "tag");
    reg.desc.ntags = 0;
    reg.desc.meta = bad_meta;
    reg.desc.nmeta = 1;
    refused(r, reg, NEAP_EINVAL, "metadata");
    assert_int_equal(np_registry_endpoint_count(r), 0);
}

static void limits_hold(void **state)
{
    struct np_registry_options o = NP_REGISTRY_OPTIONS_INIT;
    struct np_registry *r = NULL;
    static const char *const three[] = {"a", "b", "c"};
    static const struct np_pair pairs[] = {{"k1", "1234"}, {"k2", "12345"}};
    (void)state;
    o.max_services = 2;
    o.max_endpoints = 3;
    o.max_name = 5;
    o.max_id = 4;
    o.max_tags = 2;
    o.max_meta_bytes = 12;
    assert_ok(np_registry_new(&o, &r));
    put(r, "goods", "g1", "a:1", 0, 0);
    put(r, "other", "o1", "a:1", 0, 0);
    refused(r, reg_make("third", "t1", "a:1", 0), NEAP_ELIMIT, "2 services");
    put(r, "goods", "g2", "a:1", 0, 0);
    refused(r, reg_make("goods", "g3", "a:1", 0), NEAP_ELIMIT, "3 endpoints");
    put(r, "goods", "g2", "a:2", 0, 0); /* an update needs no room */
    refused(r, reg_make("goods6", "g2", "a:1", 0), NEAP_EINVAL, "at most 5");
    refused(r, reg_make("goods", "g2345", "a:1", 0), NEAP_ELIMIT, "at most 4");
    refused(r, reg_make("goods", NULL, "a:1", 0), NEAP_ELIMIT, "no id");
    struct np_registration reg = reg_make("goods", "g2", "a:1", 0);
    reg.desc.tags = three;
    reg.desc.ntags = 3;
    refused(r, reg, NEAP_ELIMIT, "3 tags");
    reg.desc.ntags = 2;
    reg.desc.meta = pairs;
    reg.desc.nmeta = 2;
    refused(r, reg, NEAP_ELIMIT, "13 bytes");
    /* Room that was given back can be taken again. */
    assert_ok(np_registry_deregister(r, "o1"));
    put(r, "third", "t1", "a:1", 0, 0);
    np_registry_free(r);
}

static enum neap_err life(void *arg)
{
    struct np_registry *r = NULL;
    struct np_snapshot *set = NULL;
    (void)arg;
    enum neap_err err = np_registry_new(NULL, &r);
    for (int i = 0; err == NEAP_OK && i < 20; i++) {
        struct np_registration reg = reg_make(i % 3 ? "goods" : "orders", NULL, "a:1", 10 * S);
        err = np_registry_register(r, &reg, i, NULL, NULL);
    }
    if (err == NEAP_OK) {
        struct np_registration reg = reg_make("moved", "goods-1", "a:2", 0);
        err = np_registry_register(r, &reg, 30, NULL, NULL);
    }
    if (err == NEAP_OK) err = np_registry_lookup(r, "goods", &set);
    np_snapshot_unref(set);
    /* Giving up memory takes none, so it works whatever happened. */
    if (r != NULL) (void)np_registry_expire(r, 100 * S);
    if (err == NEAP_OK) assert_int_equal(np_registry_endpoint_count(r), 1);
    np_registry_free(r);
    return err;
}

static void survives_want_of_memory(void **state)
{
    (void)state;
    assert_true(np_test_oom(life, NULL) > 40);
}

/* A registration that fails changes nothing, and can be made again. */
static void a_failed_registration_changes_nothing(void **state)
{
    struct np_registry *r = ((struct fixture *)*state)->r;
    put(r, "goods", "g1", "a:1", 10 * S, 0);
    bool struck = true;
    for (uint64_t n = 1; struck; n++) {
        struct np_registration reg = reg_make("orders", "g1", "a:2", 20 * S);
        uint64_t index = np_registry_index(r);
        np_alloc_fail_at(n);
        enum neap_err err = np_registry_register(r, &reg, S, NULL, NULL);
        struck = np_alloc_did_fail();
        np_alloc_fail_at(0);
        if (err == NEAP_OK) break;
        assert_int_equal(err, NEAP_ENOMEM);
        assert_int_equal(np_registry_index(r), index);
        assert_ids(r, "goods", "g1");
        assert_ids(r, "orders", "");
    }
    assert_ids(r, "orders", "g1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(finds_what_was_registered, setup, teardown),
        cmocka_unit_test_setup_teardown(makes_up_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lease_ends_when_it_is_not_renewed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_time_to_live_can_be_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(registering_again_updates_in_place, setup, teardown),
        cmocka_unit_test_setup_teardown(an_instance_can_move_to_another_service, setup, teardown),
        cmocka_unit_test_setup_teardown(indices_move_with_their_service_only, setup, teardown),
        cmocka_unit_test_setup_teardown(an_index_never_goes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_stays_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(a_look_up_can_ask_for_tags, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_the_services_that_have_instances, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_what_is_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(limits_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_registration_changes_nothing, setup, teardown),
        cmocka_unit_test(survives_want_of_memory),
    };
    return cmocka_run_group_tests_name("mesh.registry", tests, NULL, NULL);
}
