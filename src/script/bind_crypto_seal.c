/* seal and open of neap.core.crypto: authenticated encryption. What is sealed is
 * nonce (12 bytes) ‖ ciphertext ‖ tag (16 bytes).
 */
#include <limits.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <string.h>

#include "script/bind_crypto.h"
#include "script/luax.h"

enum { NONCE = 12, TAG = 16 };

static const struct {
    const char *name;
    const char *fetch;
    size_t key;
} ciphers[] = {{"aes-256-gcm", "AES-256-GCM", 32},
               {"aes-128-gcm", "AES-128-GCM", 16},
               {"chacha20-poly1305", "ChaCha20-Poly1305", 32}};

struct options {
    const char *cipher;
};

static const struct np_opt spec[] = {
    {"cipher", NP_OPT_STRING, offsetof(struct options, cipher), 0, 0},
    {"aad", NP_OPT_ANY, 0, 0, 0},
    {"nonce", NP_OPT_ANY, 0, 0, 0},
    {0}};

struct job {
    EVP_CIPHER *cipher;
    const unsigned char *key;
    const unsigned char *in;
    size_t n;
    const unsigned char *aad;
    size_t naad;
    const unsigned char *nonce; /* NULL: none was given */
};

/* A string that may hold anything; left on the stack. */
static const unsigned char *optional_bytes(lua_State *L, const char *name, size_t *n)
{
    *n = 0;
    if (!lua_istable(L, 3)) return NULL;
    int type = lua_getfield(L, 3, name);
    if (type == LUA_TNIL) return NULL;
    if (type != LUA_TSTRING)
        np_misuse(L, "opts.%s: expected string, got %s", name, luaL_typename(L, -1));
    return (const unsigned char *)lua_tolstring(L, -1, n);
}

static size_t check_cipher(lua_State *L, const char *name)
{
    for (size_t i = 0; i < NP_CRYPTO_CIPHERS; i++) {
        if (strcmp(ciphers[i].name, name) == 0) return i;
    }
    np_misuse(L, "opts.cipher: no cipher '%.30s'", name);
    return 0; /* it raised */
}

/* key, text, opts */
static struct job check_job(lua_State *L)
{
    struct job j;
    struct np_crypto *c = np_crypto_of(L);
    struct options o = {"aes-256-gcm"};
    size_t nkey, nnonce;
    j.key = (const unsigned char *)luaL_checklstring(L, 1, &nkey);
    j.in = (const unsigned char *)luaL_checklstring(L, 2, &j.n);
    np_opts_read(L, 3, "opts", spec, &o);
    size_t which = check_cipher(L, o.cipher);
    if (nkey != ciphers[which].key)
        np_misuse(L, "key: expected %d bytes for %s, got %d", (int)ciphers[which].key,
                  ciphers[which].name, (int)nkey);
    j.aad = optional_bytes(L, "aad", &j.naad);
    j.nonce = optional_bytes(L, "nonce", &nnonce);
    if (j.nonce && nnonce != NONCE) np_misuse(L, "opts.nonce: expected 12 bytes");
    if (j.n > INT_MAX - 64 || j.naad > INT_MAX) np_misuse(L, "text: too long");
    if (!c->ciphers[which]) c->ciphers[which] = EVP_CIPHER_fetch(NULL, ciphers[which].fetch, NULL);
    if (!c->ciphers[which]) np_misuse(L, "libcrypto has no %s here", ciphers[which].name);
    j.cipher = c->ciphers[which];
    return j;
}

/* `out` has room for all three parts. */
static bool seal(const struct job *j, unsigned char *out)
{
    int n = 0, rest = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    unsigned char *text = out + NONCE;
    bool ok = ctx && EVP_EncryptInit_ex2(ctx, j->cipher, j->key, out, NULL) &&
              (j->naad == 0 || EVP_EncryptUpdate(ctx, NULL, &n, j->aad, (int)j->naad)) &&
              (j->n == 0 || EVP_EncryptUpdate(ctx, text, &rest, j->in, (int)j->n)) &&
              EVP_EncryptFinal_ex(ctx, text + rest, &n) &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG, text + j->n);
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

/* seal(key, text, [opts]) → bytes */
static int crypto_seal(lua_State *L)
{
    struct job j = check_job(L);
    size_t total = NONCE + j.n + TAG;
    luaL_Buffer b;
    unsigned char *out = (unsigned char *)luaL_buffinitsize(L, &b, total);
    if (j.nonce) memcpy(out, j.nonce, NONCE);
    if (!j.nonce && RAND_bytes(out, NONCE) != 1) return np_crypto_fail(L, "seal");
    if (!seal(&j, out)) return np_crypto_fail(L, "seal");
    luaL_pushresultsize(&b, total);
    return 1;
}

static bool open_sealed(const struct job *j, unsigned char *out)
{
    int n = 0, got = 0;
    int len = (int)(j->n - NONCE - TAG);
    unsigned char tag[TAG];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    memcpy(tag, j->in + NONCE + len, TAG);
    bool ok = ctx && EVP_DecryptInit_ex2(ctx, j->cipher, j->key, j->in, NULL) &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG, tag) &&
              (j->naad == 0 || EVP_DecryptUpdate(ctx, NULL, &n, j->aad, (int)j->naad)) &&
              (len == 0 || EVP_DecryptUpdate(ctx, out, &got, j->in + NONCE, len)) &&
              EVP_DecryptFinal_ex(ctx, out + got, &n) > 0;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

/* open(key, sealed, [opts]) → text | nil, err */
static int crypto_open(lua_State *L)
{
    struct job j = check_job(L);
    if (j.nonce) return np_misuse(L, "opts.nonce: is part of what was sealed");
    if (j.n < NONCE + TAG) return np_fail(L, NEAP_EINVAL, "too short to have been sealed");
    size_t len = j.n - NONCE - TAG;
    luaL_Buffer b;
    unsigned char *out = (unsigned char *)luaL_buffinitsize(L, &b, len);
    if (!open_sealed(&j, out)) {
        ERR_clear_error();
        memset(out, 0, len);
        return np_fail(L, NEAP_EINVAL, "was not sealed with this key, or was changed");
    }
    luaL_pushresultsize(&b, len);
    return 1;
}

void np_crypto_add_seal(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"seal", crypto_seal}, {"open", crypto_open}, {NULL, NULL}};
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, functions, 1);
}
