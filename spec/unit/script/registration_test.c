/* What several states register: one endpoint, held by all of them, and handed over by a reload. */
#include "rig.h"

#include "mesh/registry.h"

struct host {
    struct rig *rig;
    struct np_registry *registry;
    unsigned failed;
    int told; /* changes */
    struct np_watch *watch;
};

static void on_change(const struct np_change *c, void *arg)
{
    (void)c;
    ((struct host *)arg)->told++;
}

static void host_open(struct host *h, struct rig *r)
{
    *h = (struct host){.rig = r};
    assert_ok(np_registry_new(NULL, &h->registry));
    assert_ok(np_registry_watch(h->registry, NULL, on_change, h, &h->watch));
}

static void run_some(struct host *h)
{
    for (int i = 0; i < 10; i++)
        np_loop_poll(&h->rig->loop);
}

static void host_close(struct host *h)
{
    run_some(h);
    np_registry_free(h->registry);
    assert_int_equal(h->failed, 0);
}

static void on_done(struct np_task *t, bool ok, int nresults)
{
    struct host *h = t->arg;
    (void)nresults;
    if (ok) return;
    h->failed++;
    np_task_error(t);
    fprintf(stderr, "%s\n", luaL_tolstring(t->co, -2, NULL));
    lua_pop(t->co, 3);
}

static void run(struct host *h, struct np_script *s, const char *code)
{
    assert_int_equal(luaL_loadstring(s->L, code), LUA_OK);
    struct np_task *t = np_task_new(s, s->L, 0, NULL, "test");
    assert_non_null(t);
    t->arg = h;
    t->done = on_done;
    np_task_start(t, false);
}

/* A state that has run `code`. */
static struct np_script *state(struct host *h, bool held, const char *code)
{
    struct np_script *s;
    struct neap_errinfo info;
    struct np_script_options o = {
        .loop = &h->rig->loop, .host = h->rig, .registry = h->registry, .held = held};
    assert_ok(np_script_new(&o, &s, &info));
    run(h, s, code);
    assert_int_equal(h->failed, 0);
    return s;
}

static size_t count(struct host *h)
{
    return np_registry_endpoint_count(h->registry);
}

#define REGISTER                                                                              \
    "core = require 'neap.core.registry' r = assert(core.register{name = 'goods', address = " \
    "'h:1'})"

static void states_that_register_one_address_share_one_endpoint(void **arg)
{
    struct host h;
    host_open(&h, *arg);
    struct np_script *a = state(&h, false, REGISTER);
    struct np_script *b = state(&h, false, REGISTER " assert(r.id == 'goods-1') assert(r.active)");
    assert_int_equal(count(&h), 1);
    run(&h, a, "r:deregister() assert(not r.active)");
    assert_int_equal(count(&h), 1);
    run(&h, b, "assert(r.active) assert(#core.lookup 'goods' == 1)");
    np_script_free(b);
    assert_int_equal(count(&h), 0);
    assert_int_equal(h.told, 2);
    np_script_free(a);
    host_close(&h);
}

static void the_last_description_stands(void **arg)
{
    struct host h;
    host_open(&h, *arg);
    struct np_script *a = state(&h, false, REGISTER);
    struct np_script *b = state(&h, false, REGISTER " assert(r:update{tags = {'new'}})");
    run_some(&h);
    run(&h, a, "assert(r.endpoint.tags[1] == 'new')");
    assert_int_equal(count(&h), 1);
    np_script_free(b);
    run(&h, a, "assert(core.lookup('goods')[1].tags[1] == 'new')");
    np_script_free(a);
    host_close(&h);
}

static void a_held_state_registers_when_it_is_activated(void **arg)
{
    struct host h;
    host_open(&h, *arg);
    struct np_script *s =
        state(&h, true,
              REGISTER " assert(r.id == 'goods-1') assert(r.active) "
                       "assert(r:update{weight = 7}) assert(#core.lookup 'goods' == 0)");
    assert_int_equal(count(&h), 0);
    np_script_activate(s);
    assert_int_equal(count(&h), 1);
    run(&h, s, "assert(core.lookup('goods')[1].weight == 7) assert(r.id == 'goods-1')");
    np_script_free(s);
    assert_int_equal(count(&h), 0);
    host_close(&h);
}

static void a_reload_is_not_noticed(void **arg)
{
    static const char twice[] =
        REGISTER " r2 = assert(core.register{name = 'goods', address = 'h:1'}) "
                 "assert(r.id == 'goods-1') assert(r2.id == 'goods-2')";
    struct host h;
    host_open(&h, *arg);
    struct np_script *old = state(&h, false, twice);
    int told = h.told;
    for (int i = 0; i < 3; i++) {
        struct np_script *next = state(&h, true, twice);
        np_script_activate(next);
        np_script_free(old);
        old = next;
        assert_int_equal(count(&h), 2);
    }
    assert_int_equal(h.told, told);
    np_script_free(old);
    assert_int_equal(count(&h), 0);
    host_close(&h);
}

static void a_rollback_changes_nothing(void **arg)
{
    struct host h;
    host_open(&h, *arg);
    struct np_script *old = state(&h, false, REGISTER);
    int told = h.told;
    struct np_script *next = state(&h, true,
                                   REGISTER " assert(r:update{tags = {'new'}}) "
                                            "core.register{name = 'more', address = 'h:2'}");
    np_script_free(next);
    assert_int_equal(count(&h), 1);
    assert_int_equal(h.told, told);
    run(&h, old, "assert(#core.lookup('goods')[1].tags == 0)");
    /* and what it was promised is free again */
    run(&h, old, "assert(core.register{name = 'more', address = 'h:3'}.id == 'more-1')");
    np_script_free(old);
    host_close(&h);
}

static void deregistered_in_a_held_state_it_leaves_with_the_old(void **arg)
{
    struct host h;
    host_open(&h, *arg);
    struct np_script *old = state(&h, false, REGISTER);
    struct np_script *next = state(&h, true, REGISTER " r:deregister() assert(not r.active)");
    np_script_activate(next);
    assert_int_equal(count(&h), 1);
    np_script_free(old);
    assert_int_equal(count(&h), 0);
    np_script_free(next);
    host_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(states_that_register_one_address_share_one_endpoint,
                                        rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(the_last_description_stands, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_held_state_registers_when_it_is_activated, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(a_reload_is_not_noticed, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_rollback_changes_nothing, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(deregistered_in_a_held_state_it_leaves_with_the_old,
                                        rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests_name("script.registration", tests, NULL, NULL);
}
