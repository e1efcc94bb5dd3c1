/* Option tables, error objects and memory limits (src/script/luax.h, state.h). */
#include "rig.h"

#include "script/task.h"

struct options {
    bool flag;
    int number;
    size_t size;
    int64_t span;
    const char *text;
};

static const struct np_opt spec[] = {
    {"flag", NP_OPT_BOOL, offsetof(struct options, flag), 0, 0},
    {"number", NP_OPT_INT, offsetof(struct options, number), -5, 5},
    {"size", NP_OPT_SIZE, offsetof(struct options, size), 1, 0},
    {"span", NP_OPT_SECONDS, offsetof(struct options, span), 0, 0},
    {"text", NP_OPT_STRING, offsetof(struct options, text), 0, 0},
    {"fn", NP_OPT_FUNCTION, 0, 0, 0},
    {0}};

static int read_them(lua_State *L)
{
    struct options o = {.number = 3, .size = 7, .text = "default"};
    np_opts_read(L, 1, "opts", spec, &o);
    lua_pushfstring(L, "%s %d %d %d %s", o.flag ? "true" : "false", o.number, (int)o.size,
                    (int)(o.span / NP_NS_PER_MS), o.text);
    return 1;
}

static void check(struct rig *r, const char *opts, const char *want)
{
    lua_State *L = r->script->L;
    lua_pushcfunction(L, read_them);
    char code[256];
    snprintf(code, sizeof code, "return %s", opts);
    assert_int_equal(luaL_dostring(L, code), LUA_OK);
    lua_pcall(L, 1, 1, 0);
    assert_string_equal(lua_tostring(L, -1), want);
    lua_settop(L, 0);
}

static void options_are_read_and_defaults_kept(void **state)
{
    check(*state, "nil", "false 3 7 0 default");
    check(*state, "{}", "false 3 7 0 default");
    check(*state, "{flag=true, number=-5, size=9, span=0.25, text='x', fn=print}",
          "true -5 9 250 x");
    check(*state, "{span=false}", "false 3 7 0 default");
}

static void wrong_options_are_refused_with_their_path(void **state)
{
    check(*state, "{tiemout=1}", "opts.tiemout: unknown option");
    check(*state, "{flag='yes'}", "opts.flag: expected boolean, got string");
    check(*state, "{number=1.5}", "opts.number: expected an integer");
    check(*state, "{number=6}", "opts.number: must be between -5 and 5");
    check(*state, "{size=0}", "opts.size: must be at least 1");
    check(*state, "{span=-1}", "opts.span: must not be negative");
    check(*state, "{span=0/0}", "opts.span: must be a number, got NaN");
    check(*state, "{text='a\\0b'}", "opts.text: must not contain a NUL byte");
    check(*state, "{fn=1}", "opts.fn: expected function, got number");
    check(*state, "{1}", "opts: keys must be strings, got number");
    check(*state, "true", "opts: expected table, got boolean");
}

static void an_error_object_has_code_message_and_text(void **state)
{
    struct rig *r = *state;
    lua_State *L = r->script->L;
    np_push_error(L, NEAP_ETIMEDOUT, "after %d s", 3);
    assert_int_equal(np_error_code(L, -1), NEAP_ETIMEDOUT);
    assert_string_equal(luaL_tolstring(L, -1, NULL), "ETIMEDOUT: after 3 s");
    lua_pushliteral(L, "some text");
    assert_int_equal(np_error_code(L, -1), NEAP_ESCRIPT);
    lua_settop(L, 0);
}

static void a_script_past_its_memory_gets_an_error_and_the_state_lives(void **state)
{
    struct rig *r = *state;
    r->script->memory_limit = r->script->memory + 1024 * 1024;
    rig_run(r, "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end");
    assert_false(r->ok);
    assert_non_null(strstr(r->failure, "not enough memory"));
    r->script->memory_limit = 0;
    rig_run(r, "ok = 'still here'");
    assert_string_equal(rig_global(r, "ok"), "still here");
}

static void out_of_memory_while_starting_is_an_error(void **state)
{
    struct rig *r = *state;
    for (int n = 1; n < 200; n++) {
        np_alloc_fail_at((uint64_t)n);
        struct np_script_options o = {.loop = &r->loop};
        struct np_script *s = NULL;
        struct neap_errinfo info;
        enum neap_err err = np_script_new(&o, &s, &info);
        np_alloc_fail_at(0);
        if (!err) np_script_free(s);
        np_loop_poll(&r->loop);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(options_are_read_and_defaults_kept),
        T(wrong_options_are_refused_with_their_path),
        T(an_error_object_has_code_message_and_text),
        T(a_script_past_its_memory_gets_an_error_and_the_state_lives),
        T(out_of_memory_while_starting_is_an_error),
    };
    return cmocka_run_group_tests_name("script.luax", tests, NULL, NULL);
}
