/* Bridges of a host: one held beside another, one that changes hands, and none to its own workers.
 */
#include "bridge_rig.h"

/* --- one beside another: a reload */

static void a_held_one_is_ready_and_waits(void **state)
{
    struct world *w = *state;
    struct node *a = node(w, 0, true), *b = node(w, 1, true), *c = node(w, 2, false);
    struct taker here, at_a, at_b;
    struct np_bus_bridge *old;
    struct np_bus_bridge_options opts = quick(false);
    take(c, &here, "x", NULL, 0);
    take(a, &at_a, "x", NULL, 0);
    take(b, &at_b, "x", NULL, 0);
    join(w, c, a);
    old = c->bridge;
    assert_ptr_equal(np_bus_get_bridge(c->bus), old);
    opts.held = true;
    c->state = NP_BUS_BRIDGE_CONNECTING;
    bridge_with(c, np_bus_server_port(b->server), opts);
    run_until_state(w, c, NP_BUS_BRIDGE_CONNECTED); /* it could be, and nobody notices */
    assert_ptr_equal(np_bus_get_bridge(c->bus), old);
    assert_err(np_bus_bridge_release(c->bridge), NEAP_EBUSY);
    publish(c, "x", "1");
    settle(w, c);
    assert_string_equal(at_a.got, "x=1 ");
    assert_int_equal(at_b.count, 0);
    np_bus_bridge_close(old, linger, NULL, NULL);
    assert_ok(np_bus_bridge_release(c->bridge));
    assert_ptr_equal(np_bus_get_bridge(c->bus), c->bridge);
    publish(c, "x", "2");
    settle(w, c);
    assert_string_equal(at_a.got, "x=1 ");
    assert_string_equal(at_b.got, "x=2 ");
    assert_string_equal(here.got, "x=1 x=2 ");
    np_bus_unsubscribe(here.sub);
    np_bus_unsubscribe(at_a.sub);
    np_bus_unsubscribe(at_b.sub);
}

/* It has told nobody of its remote: the loop is found all the same once it is released. */
static void a_held_one_s_path_is_told_when_it_is_released(void **state)
{
    struct world *w = *state;
    struct node *a = node(w, 0, true), *b = node(w, 1, true);
    struct np_bus_bridge_options opts = quick(false);
    opts.held = true;
    bridge_with(b, np_bus_server_port(a->server), opts);
    run_until_state(w, b, NP_BUS_BRIDGE_CONNECTED);
    assert_ok(np_bus_bridge_release(b->bridge));
    bridge_with(a, np_bus_server_port(b->server), quick(false));
    run_until_state(w, a, NP_BUS_BRIDGE_FAILED);
    assert_non_null(strstr(a->why, "loop"));
}

static void watch_told(struct np_bus_bridge_watch *w, enum np_bus_bridge_state state,
                       enum neap_err err, const char *why);

struct heir {
    struct np_bus_bridge_watch watch;
    enum np_bus_bridge_state state;
};

static void watch_told(struct np_bus_bridge_watch *w, enum np_bus_bridge_state state,
                       enum neap_err err, const char *why)
{
    np_container_of(w, struct heir, watch)->state = state;
}

static void it_changes_hands(void **state)
{
    struct world *w = *state;
    struct node *a = node(w, 0, true), *c = node(w, 1, false);
    struct node other = {0};
    struct heir heir = {.watch.fn = watch_told};
    int port = np_bus_server_port(a->server);
    struct np_bus_bridge_options opts = quick(true);
    join(w, c, a);
    assert_true(np_bus_bridge_same(c->bridge, "127.0.0.1", port, &opts)); /* retry or not */
    assert_false(np_bus_bridge_same(c->bridge, "127.0.0.1", port + 1, &opts));
    assert_false(np_bus_bridge_same(c->bridge, "localhost", port, &opts));
    opts.name = "other";
    assert_false(np_bus_bridge_same(c->bridge, "127.0.0.1", port, &opts));
    np_bus_bridge_watch(c->bridge, &heir.watch);
    assert_ptr_equal(np_bus_bridge_get_fn(c->bridge), on_state);
    int told = c->told;
    np_bus_bridge_set_owner(c->bridge, on_state, &other);
    np_bus_server_close(a->server, 0, NULL, NULL); /* the remote goes away */
    a->server = NULL;
    run_until_state(w, &other, NP_BUS_BRIDGE_AWAY);
    assert_int_equal(c->told, told);
    assert_int_equal(heir.state, NP_BUS_BRIDGE_AWAY);
    np_bus_bridge_close(c->bridge, 0, NULL, NULL);
    c->bridge = NULL;
    assert_int_equal(heir.state, NP_BUS_BRIDGE_CLOSED);
    assert_false(np_link_linked(&heir.watch.link));
}

/* A host's workers are one bus: one of them must not be bridged to another. */
static void a_worker_of_the_same_host_is_refused(void **state)
{
    struct world *w = *state;
    struct np_bus_hub *hub;
    struct node *a = node(w, 0, true), *b = node(w, 1, true), *c = node(w, 2, true);
    assert_ok(np_bus_hub_new(2, NULL, &hub));
    assert_ok(np_bus_hub_join(hub, 0, a->bus));
    assert_ok(np_bus_hub_join(hub, 1, b->bus));
    bridge_with(b, np_bus_server_port(a->server), quick(false));
    run_until_state(w, b, NP_BUS_BRIDGE_FAILED);
    assert_non_null(strstr(b->why, "loop"));
    np_bus_bridge_close(b->bridge, 0, NULL, NULL);
    b->bridge = NULL;
    join(w, c, a); /* nor by way of another process */
    b->state = NP_BUS_BRIDGE_CONNECTING;
    bridge_with(b, np_bus_server_port(c->server), quick(false));
    run_until_state(w, b, NP_BUS_BRIDGE_FAILED);
    np_bus_bridge_close(b->bridge, 0, NULL, NULL);
    b->bridge = NULL;
    np_bus_bridge_close(c->bridge, 0, NULL, NULL);
    c->bridge = NULL;
    b->state = NP_BUS_BRIDGE_CONNECTING;
    join(w, b, c); /* both may be bridged to the same, which is no loop */
    join(w, a, c);
    np_bus_hub_leave(hub, 0);
    np_bus_hub_leave(hub, 1);
    np_bus_hub_free(hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_held_one_is_ready_and_waits),
        TEST(a_held_one_s_path_is_told_when_it_is_released),
        TEST(it_changes_hands),
        TEST(a_worker_of_the_same_host_is_refused),
    };
    return cmocka_run_group_tests_name("bus.bridge_reload", tests, NULL, NULL);
}
