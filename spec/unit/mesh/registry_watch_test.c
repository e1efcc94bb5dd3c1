/* Watches of the registry: what they hear, and what they may do meanwhile. */
#include "mesh_helpers.h"

struct heard {
    struct np_registry *r;
    struct np_watch *w;
    struct np_watch *other;
    struct np_watch *made;
    char log[512];
    unsigned calls;
};

static void note(struct heard *h, const struct np_change *c)
{
    static const char *const kinds[] = {"+", "~", "-"};
    size_t at = strlen(h->log);
    snprintf(h->log + at, sizeof h->log - at, "%s%s%s%s ", kinds[c->kind], c->endpoint->id,
             c->old ? ":" : "", c->expired ? "!" : "");
    h->calls++;
    assert_int_equal(c->index, np_registry_service_index(h->r, c->endpoint->service));
}

static void listen(const struct np_change *c, void *arg)
{
    note(arg, c);
}

static void put(struct np_registry *r, const char *service, const char *id, const char *address)
{
    struct np_registration reg = reg_make(service, id, address, 10 * S);
    assert_ok(np_registry_register(r, &reg, 0, NULL, NULL));
}

static int setup(void **state)
{
    struct heard *h = test_calloc(1, sizeof *h);
    assert_ok(np_registry_new(NULL, &h->r));
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct heard *h = *state;
    np_registry_free(h->r);
    assert_int_equal(np_alloc_live(), 0);
    test_free(h);
    return 0;
}

static void hears_each_kind_of_change(void **state)
{
    struct heard *h = *state;
    assert_ok(np_registry_watch(h->r, "goods", listen, h, &h->w));
    put(h->r, "goods", "a", "x:1");
    put(h->r, "orders", "o", "x:1");
    put(h->r, "goods", "b", "x:2");
    put(h->r, "goods", "a", "x:3");
    put(h->r, "goods", "a", "x:3"); /* no change */
    assert_ok(np_registry_deregister(h->r, "b"));
    (void)np_registry_expire(h->r, 10 * S);
    assert_string_equal(h->log, "+a +b ~a: -b -a! ");
    np_watch_close(h->w);
    put(h->r, "goods", "c", "x:3");
    assert_int_equal(h->calls, 5);
}

static void one_watch_can_hear_of_every_service(void **state)
{
    struct heard *h = *state;
    assert_ok(np_registry_watch(h->r, NULL, listen, h, &h->w));
    put(h->r, "goods", "a", "x:1");
    put(h->r, "orders", "o", "x:1");
    put(h->r, "orders", "a", "x:1"); /* moves: goes there, comes here */
    assert_string_equal(h->log, "+a +o -a +a ");
}

static void close_all(const struct np_change *c, void *arg)
{
    struct heard *h = arg;
    note(h, c);
    np_watch_close(h->w);
    np_watch_close(h->w); /* twice does no harm while the change is told */
    np_watch_close(h->other);
}

static void a_watch_may_close_itself_and_another_from_inside(void **state)
{
    struct heard *h = *state;
    for (int i = 0; i < 2; i++) {
        const char *service = i ? "goods" : NULL;
        assert_ok(np_registry_watch(h->r, service, close_all, h, &h->w));
        assert_ok(np_registry_watch(h->r, service, listen, h, &h->other));
        put(h->r, "goods", "a", i ? "x:1" : "x:2");
        put(h->r, "goods", "b", i ? "x:1" : "x:2");
    }
    assert_string_equal(h->log, "+a ~a: ");
}

static void close_elsewhere(const struct np_change *c, void *arg)
{
    struct heard *h = arg;
    note(h, c);
    np_watch_close(h->other);
    h->other = NULL;
}

static void a_watch_may_close_one_of_another_service(void **state)
{
    struct heard *h = *state;
    assert_ok(np_registry_watch(h->r, "goods", close_elsewhere, h, &h->w));
    assert_ok(np_registry_watch(h->r, "orders", listen, h, &h->other));
    put(h->r, "goods", "a", "x:1");
    put(h->r, "orders", "o", "x:1");
    assert_string_equal(h->log, "+a ");
}

static void open_another(const struct np_change *c, void *arg)
{
    struct heard *h = arg;
    note(h, c);
    if (h->made == NULL) assert_ok(np_registry_watch(h->r, "goods", listen, h, &h->made));
}

static void a_watch_opened_from_inside_hears_the_next_change(void **state)
{
    struct heard *h = *state;
    assert_ok(np_registry_watch(h->r, "goods", open_another, h, &h->w));
    put(h->r, "goods", "a", "x:1");
    assert_string_equal(h->log, "+a ");
    put(h->r, "goods", "b", "x:1");
    assert_string_equal(h->log, "+a +b +b ");
}

static void try_to_change(const struct np_change *c, void *arg)
{
    struct heard *h = arg;
    struct np_registration reg = reg_make("goods", "z", "x:1", 0);
    struct np_snapshot *set = NULL;
    note(h, c);
    assert_err(np_registry_register(h->r, &reg, 0, NULL, NULL), NEAP_EBUSY);
    assert_err(np_registry_deregister(h->r, "a"), NEAP_EBUSY);
    assert_int_equal(np_registry_expire(h->r, 100 * S), 10 * S);
    assert_ok(np_registry_heartbeat(h->r, "a", 0));
    assert_ok(np_registry_lookup(h->r, "goods", &set));
    assert_int_equal(set->len, 1); /* the change is complete when it is told */
    np_snapshot_unref(set);
}

static void a_change_from_inside_is_refused(void **state)
{
    struct heard *h = *state;
    assert_ok(np_registry_watch(h->r, "goods", try_to_change, h, &h->w));
    put(h->r, "goods", "a", "x:1");
    assert_int_equal(h->calls, 1);
}

static void a_watched_service_that_empties_can_come_back(void **state)
{
    struct heard *h = *state;
    assert_ok(np_registry_watch(h->r, "goods", listen, h, &h->w));
    for (int i = 0; i < 2; i++) {
        put(h->r, "goods", "a", "x:1");
        assert_ok(np_registry_deregister(h->r, "a"));
    }
    assert_string_equal(h->log, "+a -a +a -a ");
    np_watch_close(h->w);
}

static void limits_and_names(void **state)
{
    struct heard *h = *state;
    struct np_registry_options o = NP_REGISTRY_OPTIONS_INIT;
    assert_err(np_registry_watch(h->r, "a b", listen, h, &h->w), NEAP_EINVAL);
    np_registry_free(h->r);
    o.max_watches = 1;
    assert_ok(np_registry_new(&o, &h->r));
    assert_ok(np_registry_watch(h->r, "goods", listen, h, &h->w));
    assert_err(np_registry_watch(h->r, "goods", listen, h, &h->other), NEAP_ELIMIT);
    np_watch_close(h->w);
    assert_ok(np_registry_watch(h->r, NULL, listen, h, &h->other));
}

static enum neap_err open_two(void *arg)
{
    struct heard *h = arg;
    struct np_watch *a = NULL, *b = NULL;
    enum neap_err err = np_registry_watch(h->r, "goods", listen, h, &a);
    if (err == NEAP_OK) err = np_registry_watch(h->r, NULL, listen, h, &b);
    np_watch_close(a);
    np_watch_close(b);
    return err;
}

static void survives_want_of_memory(void **state)
{
    struct heard *h = *state;
    put(h->r, "orders", "o", "x:1");
    assert_true(np_test_oom(open_two, h) >= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hears_each_kind_of_change, setup, teardown),
        cmocka_unit_test_setup_teardown(one_watch_can_hear_of_every_service, setup, teardown),
        cmocka_unit_test_setup_teardown(a_watch_may_close_itself_and_another_from_inside, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_watch_may_close_one_of_another_service, setup, teardown),
        cmocka_unit_test_setup_teardown(a_watch_opened_from_inside_hears_the_next_change, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_change_from_inside_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_watched_service_that_empties_can_come_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(limits_and_names, setup, teardown),
        cmocka_unit_test_setup_teardown(survives_want_of_memory, setup, teardown),
    };
    return cmocka_run_group_tests_name("mesh.registry_watch", tests, NULL, NULL);
}
