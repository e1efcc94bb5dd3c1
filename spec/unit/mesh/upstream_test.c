/* Upstreams: what of a service a caller follows. */
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

/* The ids that a poll gives, and '!' before them if it says that they have changed. */
static const char *poll(struct np_upstream *u, char buf[64])
{
    bool changed = false;
    const struct np_snapshot *set = np_upstream_poll(u, &changed);
    size_t n = (size_t)snprintf(buf, 64, "%s", changed ? "!" : "");
    for (size_t i = 0; set != NULL && i < set->len; i++)
        n += (size_t)snprintf(buf + n, 64 - n, "%s ", set->endpoints[i]->id);
    return buf;
}

static void follows_the_registry(void **state)
{
    struct np_registry *r = NULL;
    struct np_registry_view *v = NULL;
    struct np_upstream *u = NULL;
    char buf[64];
    (void)state;
    assert_ok(np_registry_new(NULL, &r));
    assert_ok(np_registry_view_new(r, NULL, NULL, &v));
    assert_ok(np_upstream_new(v, "goods", NULL, 0, &u));
    assert_string_equal(poll(u, buf), "!");
    assert_string_equal(poll(u, buf), "");
    put(r, "a", NULL, 0);
    assert_string_equal(poll(u, buf), "!a ");
    assert_string_equal(poll(u, buf), "a ");
    put(r, "b", NULL, 0);
    put(r, "c", NULL, 0);
    assert_string_equal(poll(u, buf), "!a b c ");
    assert_ok(np_registry_deregister(r, "a"));
    assert_string_equal(poll(u, buf), "!b c ");
    (void)np_registry_expire(r, 10 * S);
    assert_string_equal(poll(u, buf), "!");
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
    char buf[64];
    (void)state;
    assert_ok(np_registry_new(NULL, &r));
    assert_ok(np_registry_view_new(r, NULL, NULL, &v));
    assert_ok(np_upstream_new(v, "goods", v2, 1, &u));
    put(r, "old", NULL, 0);
    assert_string_equal(poll(u, buf), "!");
    put(r, "new", v2, 1);
    assert_string_equal(poll(u, buf), "!new ");
    np_upstream_free(u);
    np_registry_view_free(v);
    np_registry_free(r);
}

static void goes_on_with_what_it_knew_when_memory_is_short(void **state)
{
    struct np_registry *r = NULL;
    struct np_registry_view *v = NULL;
    struct np_upstream *u = NULL;
    char buf[64];
    (void)state;
    assert_ok(np_registry_new(NULL, &r));
    assert_ok(np_registry_view_new(r, NULL, NULL, &v));
    assert_ok(np_upstream_new(v, "goods", v2, 1, &u));
    put(r, "a", v2, 1);
    assert_string_equal(poll(u, buf), "!a ");
    assert_ok(np_registry_deregister(r, "a"));
    static const uint64_t fail[] = {1, 1}; /* the snapshot, the choice of it */
    for (size_t i = 0; i < 2; i++) {
        np_alloc_fail_at(fail[i]);
        assert_string_equal(poll(u, buf), "a ");
        assert_true(np_alloc_did_fail());
        np_alloc_fail_at(0);
    }
    assert_string_equal(poll(u, buf), "!");
    np_upstream_free(u);
    np_registry_view_free(v);
    np_registry_free(r);
}

static enum neap_err life(void *arg)
{
    struct np_registry *r = NULL;
    struct np_registry_view *v = NULL;
    struct np_upstream *u = NULL;
    (void)arg;
    enum neap_err err = np_registry_new(NULL, &r);
    if (err == NEAP_OK) err = np_registry_view_new(r, NULL, NULL, &v);
    if (err == NEAP_OK) err = np_upstream_new(v, "goods", v2, 1, &u);
    if (err == NEAP_OK) (void)np_upstream_poll(u, NULL);
    np_upstream_free(u);
    np_registry_view_free(v);
    np_registry_free(r);
    return err;
}

static void survives_want_of_memory(void **state)
{
    (void)state;
    assert_true(np_test_oom(life, NULL) > 6);
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
