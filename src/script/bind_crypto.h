/* What the files of the crypto binding share: the algorithms of a state, fetched once. */
#ifndef NP_SCRIPT_BIND_CRYPTO_H
#define NP_SCRIPT_BIND_CRYPTO_H

#include <lua.h>
#include <openssl/evp.h>

enum np_crypto_hash { NP_MD5, NP_SHA1, NP_SHA256, NP_SHA384, NP_SHA512, NP_CRYPTO_HASHES };
enum np_crypto_cipher { NP_AES_256_GCM, NP_AES_128_GCM, NP_CHACHA20_POLY1305, NP_CRYPTO_CIPHERS };

/* The first upvalue of every function here. Each member is NULL until it is first needed. */
struct np_crypto {
    EVP_MD *hashes[NP_CRYPTO_HASHES];
    EVP_CIPHER *ciphers[NP_CRYPTO_CIPHERS];
    EVP_MAC *hmac;
};
struct np_crypto *np_crypto_of(lua_State *L);

/* The hash whose name is at `idx` ("sha256"); raises misuse for another. */
EVP_MD *np_crypto_check_hash(lua_State *L, int idx);
/* What libcrypto says is wrong: nil, err EINTERNAL; its queue of errors is emptied. */
int np_crypto_fail(lua_State *L, const char *what);

/* Each adds its functions to the module table on top, with the upvalue that is below it. */
void np_crypto_add_seal(lua_State *L);
void np_crypto_add_kdf(lua_State *L);
void np_crypto_add_text(lua_State *L);

#endif
