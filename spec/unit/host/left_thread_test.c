/* A computing thread that does not come back when its host closes: what it may still use stays,
 * and so this is a program of its own, which ends with what was left. */
#include <sched.h>

#include "base/clock.h"
#include "host/host.h"
#include "mesh/shared_map.h"
#include "rig.h"

static neap_t *left; /* for the leak checker */

static bool is_set(struct np_shared_map *m, const char *key)
{
    struct np_shared_value v;
    struct np_buf room;
    np_buf_init(&room);
    enum neap_err err = np_shared_get(m, key, strlen(key), 0, &room, &v);
    np_buf_fini(&room);
    return err == NEAP_OK;
}

static void set(struct np_shared_map *m, const char *key)
{
    struct np_shared_value v = {.type = NP_SHARED_BOOLEAN, .as.boolean = true};
    assert_ok(np_shared_set(m, key, strlen(key), &v, 0, 0, NP_SHARED_ALWAYS));
}

static void mark(void *user)
{
    *(bool *)user = true;
}

static void what_a_thread_uses_stays_when_it_is_left_behind(void **state)
{
    struct np_shared_map *m;
    bool closed = false;
    (void)state;
    left = open_host();
    assert_ok(np_shared_maps_get(left->runtime.shared, "flags", 0, &m));
    load(left, "local neap = require 'neap' "
               "local flags = neap.shared 'flags' "
               "neap.task.spawn(neap.thread.run, function() "
               "  local flags = require 'neap.shared' 'flags' "
               "  setmetatable({}, {__gc = function() " /* no hook stops it there */
               "    flags:set('in', true) while not flags:get 'go' do end flags:set('out', true) "
               "  end}) "
               "  collectgarbage() "
               "end) "
               "while not flags:get 'in' do neap.task.sleep(0.001) end "
               "neap.runtime.stop(true)");
    assert_ok(neap_run(left));
    neap_close_with(left, mark, &closed);
    assert_true(closed);
    set(m, "go");
    while (!is_set(m, "out"))
        sched_yield();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_thread_uses_stays_when_it_is_left_behind),
    };
    return cmocka_run_group_tests_name("host.left_thread", tests, NULL, NULL);
}
