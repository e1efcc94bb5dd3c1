/* Keys made of keys and of passwords, for neap.core.crypto: hkdf, which is quick; pbkdf2 and
 * scrypt, which keep their thread for long: lua/neap/crypto.lua calls them on a thread of the pool.
 */
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <string.h>

#include "script/bind_crypto.h"
#include "script/luax.h"

enum { LENGTH_MAX = 8160 }; /* HKDF's own: 255 blocks of 32 bytes */

static size_t check_length(lua_State *L, int idx)
{
    lua_Integer n = luaL_checkinteger(L, idx);
    luaL_argcheck(L, n >= 1 && n <= LENGTH_MAX, idx, "between 1 and 8160 bytes expected");
    return (size_t)n;
}

static bool derive(const char *name, const OSSL_PARAM *params, unsigned char *out, size_t n)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, name, NULL);
    EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    bool ok = ctx && EVP_KDF_derive(ctx, out, n, params) > 0;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return ok;
}

static OSSL_PARAM bytes_param(const char *name, const char *p, size_t n)
{
    return OSSL_PARAM_construct_octet_string(name, (void *)(p ? p : ""), n);
}

static OSSL_PARAM text_param(const char *name, const char *text)
{
    return OSSL_PARAM_construct_utf8_string(name, (char *)text, 0);
}

static int push_derived(lua_State *L, const char *name, const OSSL_PARAM *params, size_t n)
{
    luaL_Buffer b;
    unsigned char *out = (unsigned char *)luaL_buffinitsize(L, &b, n);
    if (!derive(name, params, out, n)) return np_crypto_fail(L, name);
    luaL_pushresultsize(&b, n);
    return 1;
}

/* hkdf(hash, key, length, [info], [salt]) → bytes */
static int crypto_hkdf(lua_State *L)
{
    const char *hash = EVP_MD_get0_name(np_crypto_check_hash(L, 1));
    size_t nkey, ninfo, nsalt;
    const char *key = luaL_checklstring(L, 2, &nkey);
    size_t n = check_length(L, 3);
    const char *info = luaL_optlstring(L, 4, "", &ninfo);
    const char *salt = luaL_optlstring(L, 5, "", &nsalt);
    luaL_argcheck(L, nkey > 0, 2, "a key expected, got none");
    OSSL_PARAM params[5];
    int i = 0;
    params[i++] = text_param(OSSL_KDF_PARAM_DIGEST, hash);
    params[i++] = bytes_param(OSSL_KDF_PARAM_KEY, key, nkey);
    if (ninfo) params[i++] = bytes_param(OSSL_KDF_PARAM_INFO, info, ninfo);
    if (nsalt) params[i++] = bytes_param(OSSL_KDF_PARAM_SALT, salt, nsalt);
    params[i] = OSSL_PARAM_construct_end();
    return push_derived(L, "HKDF", params, n);
}

/* pbkdf2(hash, password, salt, iterations, length) → bytes */
static int crypto_pbkdf2(lua_State *L)
{
    const char *hash = EVP_MD_get0_name(np_crypto_check_hash(L, 1));
    size_t npass, nsalt;
    const char *pass = luaL_checklstring(L, 2, &npass);
    const char *salt = luaL_checklstring(L, 3, &nsalt);
    lua_Integer given = luaL_checkinteger(L, 4);
    luaL_argcheck(L, given >= 1 && given <= 100000000, 4, "between 1 and 100000000 expected");
    size_t n = check_length(L, 5);
    unsigned iterations = (unsigned)given;
    int lenient = 1; /* short salts and few iterations are for the caller to judge */
    OSSL_PARAM params[] = {text_param(OSSL_KDF_PARAM_DIGEST, hash),
                           bytes_param(OSSL_KDF_PARAM_PASSWORD, pass, npass),
                           bytes_param(OSSL_KDF_PARAM_SALT, salt, nsalt),
                           OSSL_PARAM_construct_uint(OSSL_KDF_PARAM_ITER, &iterations),
                           OSSL_PARAM_construct_int(OSSL_KDF_PARAM_PKCS5, &lenient),
                           OSSL_PARAM_construct_end()};
    return push_derived(L, "PBKDF2", params, n);
}

/* scrypt(password, salt, N, r, p, length) → bytes; at most 1 GiB of memory */
static int crypto_scrypt(lua_State *L)
{
    size_t npass, nsalt;
    const char *pass = luaL_checklstring(L, 1, &npass);
    const char *salt = luaL_checklstring(L, 2, &nsalt);
    lua_Integer cost = luaL_checkinteger(L, 3);
    lua_Integer block = luaL_checkinteger(L, 4);
    lua_Integer parallel = luaL_checkinteger(L, 5);
    size_t n = check_length(L, 6);
    luaL_argcheck(L, cost >= 2 && cost <= 1 << 20 && (cost & (cost - 1)) == 0, 3,
                  "a power of two up to 2^20 expected");
    luaL_argcheck(L, block >= 1 && block <= 64, 4, "between 1 and 64 expected");
    luaL_argcheck(L, parallel >= 1 && parallel <= 64, 5, "between 1 and 64 expected");
    uint64_t N = (uint64_t)cost, memory = (uint64_t)1 << 30;
    uint32_t r = (uint32_t)block, p = (uint32_t)parallel;
    luaL_argcheck(L, 128 * N * r <= memory - ((uint64_t)1 << 20), 3, "more than 1 GiB of memory");
    OSSL_PARAM params[] = {bytes_param(OSSL_KDF_PARAM_PASSWORD, pass, npass),
                           bytes_param(OSSL_KDF_PARAM_SALT, salt, nsalt),
                           OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &N),
                           OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r),
                           OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p),
                           OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &memory),
                           OSSL_PARAM_construct_end()};
    return push_derived(L, "SCRYPT", params, n);
}

void np_crypto_add_kdf(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"hkdf", crypto_hkdf}, {"pbkdf2", crypto_pbkdf2}, {"scrypt", crypto_scrypt}, {NULL, NULL}};
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, functions, 1);
}
