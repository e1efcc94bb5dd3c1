/* encode and decode of neap.core.crypto: bytes as text. The forms stand in proto/encode. */
#include "proto/encode.h"
#include "script/bind_crypto.h"
#include "script/luax.h"

static const char *const names[] = {"base64", "base64url", "hex", NULL};

/* encode(form, bytes) → text */
static int crypto_encode(lua_State *L)
{
    enum np_encoding e = (enum np_encoding)luaL_checkoption(L, 1, NULL, names);
    size_t n;
    const char *p = luaL_checklstring(L, 2, &n);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, np_encoded_max(e, n));
    luaL_pushresultsize(&b, np_encode(e, p, n, out));
    return 1;
}

/* decode(form, text) → bytes | nil, err */
static int crypto_decode(lua_State *L)
{
    enum np_encoding e = (enum np_encoding)luaL_checkoption(L, 1, NULL, names);
    size_t n, len = 0;
    const char *text = luaL_checklstring(L, 2, &n);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, np_decoded_max(e, n));
    if (!np_decode(e, text, n, out, &len)) return np_fail(L, NEAP_EINVAL, "no %s", names[e]);
    luaL_pushresultsize(&b, len);
    return 1;
}

void np_crypto_add_text(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"encode", crypto_encode}, {"decode", crypto_decode}, {NULL, NULL}};
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, functions, 1);
}
