/* neap.coding when there is no memory: an error like any other, and nothing is left behind. */
#include "rig.h"

static const char code[] =
    "local coding = require 'neap.coding' "
    "local text = ('the tide is even; '):rep(3000) "
    "local function work() "
    "  for _, name in ipairs { 'gzip', 'deflate', 'br', 'zstd' } do "
    "    local small = coding.compress(text, name) "
    "    assert(coding.decompress(small, name) == text) "
    "    local e, d = coding.encoder(name), coding.decoder(name) "
    "    d:feed(e:write(text) .. e:finish()) "
    "    local n = 0 "
    "    for piece in function() return d:read(1000) end do n = n + #piece end "
    "    assert(n == #text) "
    "    d:finish() "
    "  end "
    "end "
    "function go() "
    "  local ok, err = pcall(work) "
    "  collectgarbage() "
    "  return ok and 'done' or tostring(err) "
    "end "
    "go()";

static const char *go(struct rig *r, uint64_t fail_at, int *failed)
{
    lua_State *L = r->script->L;
    lua_settop(L, 0);
    lua_getglobal(L, "go");
    np_alloc_fail_at(fail_at);
    int status = lua_pcall(L, 0, 1, 0);
    *failed = np_alloc_did_fail();
    np_alloc_fail_at(0);
    const char *text = lua_tostring(L, -1);
    return status == LUA_OK || *failed ? text : "it raised";
}

static void running_out_of_memory_leaves_nothing_behind(void **state)
{
    struct rig *r = *state;
    int failed;
    rig_run(r, code);
    assert_true(r->ok);
    int64_t live = np_alloc_live();
    unsigned struck = 0;
    for (uint64_t n = 1;; n++) {
        const char *said = go(r, n, &failed);
        if (!failed) {
            assert_string_equal(said, "done");
            break;
        }
        /* Lua asks again once it has collected its garbage. */
        bool coped = strcmp(said, "done") == 0;
        if (!coped && !strstr(said, "not enough memory"))
            fail_msg("allocation %u: %s", (unsigned)n, said);
        if (!coped) struck++;
    }
    assert_true(struck > 30);
    assert_in_range(np_alloc_live(), 0, live + struck / 2); /* Lua's own blocks come and go */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(running_out_of_memory_leaves_nothing_behind, rig_setup,
                                        rig_teardown),
    };
    return cmocka_run_group_tests_name("script.coding_memory", tests, NULL, NULL);
}
