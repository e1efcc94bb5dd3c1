/* Upstreams: a balancer that follows the registry. */
#include "mesh_helpers.h"

#include "mesh/upstream.h"

static const char *const v2[] = {"v2"};

static void put(struct np_registry *r, const char *id, const char *const *tags, size_t ntags)
{
    struct np_registration reg = reg_make("goods", id, "a:1", 10 * S);
    reg.desc.tags = tags;
    reg.desc.ntags = ntags;
    assert_ok(np_registry_register(r, &reg, 0, NULL, NULL));
}

/* Who would be picked next. */
static const char *next(struct np_upstream *u, char buf[32])
{
    struct np_endpoint *e = NULL;
    enum neap_err err = np_upstream_pick(u, NULL, S, &e);
    if (err != NEAP_OK) return neap_err_name(err);
    snprintf(buf, 32, "%s", e->id);
    struct np_result r = np_result_of(NP_OUTCOME_OK, 1);
    np_upstream_release(u, e, &r, S);
    return buf;
}

static void follows_the_registry(void **state)
{
    struct np_registry *r = NULL;
    struct np_registry_view *v = NULL;
    struct np_upstream *u = NULL;
    char buf[32];
    (void)state;
    assert_ok(np_registry_new(NULL, &r));
    assert_ok(np_registry_view_new(r, NULL, NULL, &v));
    assert_ok(np_upstream_new(v, "goods", NULL, 0, np_balancer_find("round_robin"), NULL, &u));
    assert_string_equal(next(u, buf), "ENOENDPOINT");
    put(r, "a", NULL, 0);
    assert_string_equal(next(u, buf), "a");
    assert_string_equal(next(u, buf), "a");
    put(r, "b", NULL, 0);
    assert_string_equal(next(u, buf), "a");
    assert_string_equal(next(u, buf), "b");
    assert_ok(np_registry_deregister(r, "a"));
    assert_string_equal(next(u, buf), "b");
    assert_int_equal(np_upstream_endpoints(u)->len, 1);
    (void)np_registry_expire(r, 10 * S);
    assert_string_equal(next(u, buf), "ENOENDPOINT");
    np_upstream_free(u);
    np_registry_view_free(v);
    np_registry_free(r);
    assert_int_equal(np_alloc_live(), 0);
}

static void keeps_to_its_tags(void **state)
{
    struct np_registry *r = NULL;
    struct np_registry_view *v = NULL;
    struct np_upstream *u = NULL;
    char buf[32];
    (void)state;
    assert_ok(np_registry_new(NULL, &r));
    assert_ok(np_registry_view_new(r, NULL, NULL, &v));
    assert_ok(np_upstream_new(v, "goods", v2, 1, np_balancer_find("round_robin"), NULL, &u));
    put(r, "old", NULL, 0);
    assert_string_equal(next(u, buf), "ENOENDPOINT");
    put(r, "new", v2, 1);
    for (int i = 0; i < 3; i++)
        assert_string_equal(next(u, buf), "new");
    np_upstream_free(u);
    np_registry_view_free(v);
    np_registry_free(r);
}

static void goes_on_with_what_it_knew_when_memory_is_short(void **state)
{
    struct np_registry *r = NULL;
    struct np_registry_view *v = NULL;
    struct np_upstream *u = NULL;
    char buf[32];
    (void)state;
    assert_ok(np_registry_new(NULL, &r));
    assert_ok(np_registry_view_new(r, NULL, NULL, &v));
    assert_ok(np_upstream_new(v, "goods", v2, 1, np_balancer_find("ring_hash"), NULL, &u));
    put(r, "a", v2, 1);
    assert_string_equal(next(u, buf), "a");
    assert_ok(np_registry_deregister(r, "a"));
    static const uint64_t fail[] = {1, 2, 1}; /* the snapshot, the choice of it, that again */
    for (size_t i = 0; i < 3; i++) {
        np_alloc_fail_at(fail[i]);
        assert_string_equal(next(u, buf), "a");
        assert_true(np_alloc_did_fail());
        np_alloc_fail_at(0);
    }
    assert_string_equal(next(u, buf), "ENOENDPOINT");
    np_upstream_free(u);
    np_registry_view_free(v);
    np_registry_free(r);
}

static enum neap_err life(void *arg)
{
    struct np_registry *r = NULL;
    struct np_registry_view *v = NULL;
    struct np_upstream *u = NULL;
    const struct np_balancer_ops *ops = np_balancer_find("weighted_round_robin");
    (void)arg;
    enum neap_err err = np_registry_new(NULL, &r);
    if (err == NEAP_OK) err = np_registry_view_new(r, NULL, NULL, &v);
    if (err == NEAP_OK) err = np_upstream_new(v, "goods", v2, 1, ops, NULL, &u);
    if (err == NEAP_OK) (void)np_upstream_endpoints(u);
    np_upstream_free(u);
    np_registry_view_free(v);
    np_registry_free(r);
    return err;
}

static void survives_want_of_memory(void **state)
{
    (void)state;
    assert_true(np_test_oom(life, NULL) > 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_registry),
        cmocka_unit_test(keeps_to_its_tags),
        cmocka_unit_test(goes_on_with_what_it_knew_when_memory_is_short),
        cmocka_unit_test(survives_want_of_memory),
    };
    return cmocka_run_group_tests_name("mesh.upstream", tests, NULL, NULL);
}
