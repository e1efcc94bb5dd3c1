/* JSON: a document is either refused, and then json_locate.c knows where and why, or read; and what
 * was read can be written, and read again, and is then written as the same text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

#include "script/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An own state, without a host: JSON needs none. */
static lua_State *L;

static void expect(bool ok)
{
    if (!ok) abort();
}

static void round_trip(void)
{
    const struct np_json_write_options sorted = {false, true, NP_JSON_MAX_DEPTH, SIZE_MAX};
    const char *p;
    size_t n;
    expect(np_json_encode_bytes(L, 1, &sorted, &p, &n) == NEAP_OK);
    lua_pushlstring(L, p, n);
    const char *first = lua_tolstring(L, -1, &n);
    expect(np_json_decode_to(L, first, n, NULL) == NEAP_OK);
    size_t again;
    expect(np_json_encode_bytes(L, -1, &sorted, &p, &again) == NEAP_OK);
    expect(again == n && memcmp(p, first, n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!L) L = luaL_newstate();
    struct np_json_problem problem;
    bool wrong = np_json_locate((const char *)data, size, NP_JSON_MAX_DEPTH, &problem);
    if (wrong) expect(problem.offset <= size && problem.line > 0 && problem.column > 0);
    enum neap_err err = np_json_decode_to(L, (const char *)data, size, NULL);
    if (err == NEAP_OK) {
        expect(!wrong);
        round_trip();
    } else {
        expect(err == NEAP_EINVAL || err == NEAP_ELIMIT);
    }
    lua_settop(L, 0);
    return 0;
}
