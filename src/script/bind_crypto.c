/* neap.core.crypto: digests, HMAC, randomness, comparing. lua/neap/crypto.lua adds what takes long.
 *
 * Nothing of libcrypto's is held while Lua may raise, except in userdata.
 */
#include "script/bind_crypto.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>

#include "script/luax.h"
#include "script/modules.h"

#define CRYPTO "neap.crypto.algorithms"
#define HASHER "neap.crypto.hasher"
#define RANDOM_MAX (1 << 20)

static const char *const hash_names[] = {"md5", "sha1", "sha256", "sha384", "sha512", NULL};
static const char *const hash_fetch[] = {"MD5", "SHA1", "SHA2-256", "SHA2-384", "SHA2-512"};

struct np_crypto *np_crypto_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

int np_crypto_fail(lua_State *L, const char *what)
{
    char text[160] = "";
    unsigned long code = ERR_peek_last_error();
    if (code) ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    return np_fail(L, NEAP_EINTERNAL, "%s%s%s", what, text[0] ? ": " : "", text);
}

EVP_MD *np_crypto_check_hash(lua_State *L, int idx)
{
    struct np_crypto *c = np_crypto_of(L);
    int which = luaL_checkoption(L, idx, NULL, hash_names);
    if (!c->hashes[which]) c->hashes[which] = EVP_MD_fetch(NULL, hash_fetch[which], NULL);
    ERR_clear_error();
    if (!c->hashes[which]) np_misuse(L, "libcrypto has no %s here", hash_names[which]);
    return c->hashes[which];
}

/* --- digests */

/* digest(hash, data) → bytes */
static int crypto_digest(lua_State *L)
{
    EVP_MD *md = np_crypto_check_hash(L, 1);
    size_t n;
    const char *data = luaL_checklstring(L, 2, &n);
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (!EVP_Digest(data, n, out, &len, md, NULL)) return np_crypto_fail(L, "digest");
    lua_pushlstring(L, (const char *)out, len);
    return 1;
}

static int hasher_gc(lua_State *L)
{
    EVP_MD_CTX **ctx = luaL_checkudata(L, 1, HASHER);
    EVP_MD_CTX_free(*ctx);
    *ctx = NULL;
    return 0;
}

static EVP_MD_CTX *check_hasher(lua_State *L)
{
    EVP_MD_CTX **ctx = luaL_checkudata(L, 1, HASHER);
    if (!*ctx) np_misuse(L, "the digest was already taken");
    return *ctx;
}

/* hasher(hash) → one that takes the data piece by piece */
static int crypto_hasher(lua_State *L)
{
    EVP_MD *md = np_crypto_check_hash(L, 1);
    EVP_MD_CTX **ctx = lua_newuserdatauv(L, sizeof *ctx, 0);
    *ctx = NULL;
    luaL_setmetatable(L, HASHER);
    *ctx = EVP_MD_CTX_new();
    if (!*ctx || !EVP_DigestInit_ex2(*ctx, md, NULL)) return np_crypto_fail(L, "hasher");
    return 1;
}

static int hasher_update(lua_State *L)
{
    EVP_MD_CTX *ctx = check_hasher(L);
    size_t n;
    const char *data = luaL_checklstring(L, 2, &n);
    if (!EVP_DigestUpdate(ctx, data, n)) return np_crypto_fail(L, "update");
    lua_settop(L, 1);
    return 1;
}

static int hasher_final(lua_State *L)
{
    EVP_MD_CTX *ctx = check_hasher(L);
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (!EVP_DigestFinal_ex(ctx, out, &len)) return np_crypto_fail(L, "final");
    hasher_gc(L);
    lua_pushlstring(L, (const char *)out, len);
    return 1;
}

static int hasher_tostring(lua_State *L)
{
    EVP_MD_CTX **ctx = luaL_checkudata(L, 1, HASHER);
    lua_pushfstring(L, HASHER "%s", *ctx ? "" : " (taken)");
    return 1;
}

/* --- HMAC */

static bool compute_hmac(EVP_MAC *hmac, const EVP_MD *md, const char *key, size_t nkey,
                         const char *data, size_t n, unsigned char *out, size_t *len)
{
    char name[32];
    OSSL_PARAM params[2];
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(hmac);
    OPENSSL_strlcpy(name, EVP_MD_get0_name(md), sizeof name);
    params[0] = OSSL_PARAM_construct_utf8_string("digest", name, 0);
    params[1] = OSSL_PARAM_construct_end();
    /* an empty key has to be a pointer all the same: NULL means the one of before */
    bool ok = ctx && EVP_MAC_init(ctx, (const unsigned char *)key, nkey, params) &&
              EVP_MAC_update(ctx, (const unsigned char *)data, n) &&
              EVP_MAC_final(ctx, out, len, EVP_MAX_MD_SIZE);
    EVP_MAC_CTX_free(ctx);
    return ok;
}

/* hmac(hash, key, data) → bytes */
static int crypto_hmac(lua_State *L)
{
    struct np_crypto *c = np_crypto_of(L);
    EVP_MD *md = np_crypto_check_hash(L, 1);
    size_t nkey, n, len = 0;
    const char *key = luaL_checklstring(L, 2, &nkey);
    const char *data = luaL_checklstring(L, 3, &n);
    unsigned char out[EVP_MAX_MD_SIZE];
    if (!c->hmac) c->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (!c->hmac || !compute_hmac(c->hmac, md, key, nkey, data, n, out, &len))
        return np_crypto_fail(L, "hmac");
    lua_pushlstring(L, (const char *)out, len);
    return 1;
}

/* --- randomness and comparing */

/* random(n) → bytes that nobody can guess */
static int crypto_random(lua_State *L)
{
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_argcheck(L, n >= 0 && n <= RANDOM_MAX, 1, "between 0 and 1048576 expected");
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, (size_t)n);
    if (n > 0 && RAND_bytes((unsigned char *)out, (int)n) != 1) return np_crypto_fail(L, "random");
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

/* uuid() → a random one (version 4) */
static int crypto_uuid(lua_State *L)
{
    unsigned char r[16];
    char text[40];
    if (RAND_bytes(r, sizeof r) != 1) return np_crypto_fail(L, "uuid");
    r[6] = (unsigned char)(0x40 | (r[6] & 0x0f));
    r[8] = (unsigned char)(0x80 | (r[8] & 0x3f));
    snprintf(text, sizeof text,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0], r[1],
             r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14],
             r[15]);
    lua_pushstring(L, text);
    return 1;
}

/* equal(a, b) → boolean, in a time that depends on the lengths alone */
static int crypto_equal(lua_State *L)
{
    size_t na, nb;
    const char *a = luaL_checklstring(L, 1, &na);
    const char *b = luaL_checklstring(L, 2, &nb);
    lua_pushboolean(L, na == nb && CRYPTO_memcmp(a, b, na) == 0);
    return 1;
}

/* --- the module */

static int crypto_gc(lua_State *L)
{
    struct np_crypto *c = luaL_checkudata(L, 1, CRYPTO);
    for (int i = 0; i < NP_CRYPTO_HASHES; i++)
        EVP_MD_free(c->hashes[i]);
    for (int i = 0; i < NP_CRYPTO_CIPHERS; i++)
        EVP_CIPHER_free(c->ciphers[i]);
    EVP_MAC_free(c->hmac);
    memset(c, 0, sizeof *c);
    return 0;
}

int np_open_crypto(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"update", hasher_update}, {"final", hasher_final}, {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__gc", hasher_gc}, {"__close", hasher_gc}, {"__tostring", hasher_tostring}, {NULL, NULL}};
    static const luaL_Reg own_meta[] = {{"__gc", crypto_gc}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"digest", crypto_digest},
                                         {"hasher", crypto_hasher},
                                         {"hmac", crypto_hmac},
                                         {"random", crypto_random},
                                         {"uuid", crypto_uuid},
                                         {"equal", crypto_equal},
                                         {NULL, NULL}};
    np_type_new(L, HASHER, methods, meta);
    np_type_new(L, CRYPTO, NULL, own_meta);
    struct np_crypto *c = lua_newuserdatauv(L, sizeof *c, 0);
    memset(c, 0, sizeof *c);
    luaL_setmetatable(L, CRYPTO);
    lua_createtable(L, 0, 16);
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, functions, 1);
    np_crypto_add_seal(L);
    np_crypto_add_kdf(L);
    np_crypto_add_text(L);
    return 1;
}
