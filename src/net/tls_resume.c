/* Sessions resumed: tickets and IDs for servers, kept sessions for clients. The context's thread.
 *
 * A session is good only where all that was checked at its making is checked alike: the session ID
 * context is a digest of the context's certificates and checks (set in tls_setup.c), so a ticket
 * of one context is worth nothing to another whose clients must show other certificates.
 */
#include <openssl/core_names.h>
#include <openssl/rand.h>
#include <string.h>

#include "base/alloc.h"
#include "net/tls_impl.h"

enum { MAX_KEYS = 256, PER_KEY = 4, IV = 16 };

/* What a client keeps for one server. */
struct np_tls_kept {
    SSL_SESSION *sessions[PER_KEY]; /* the newest first */
    size_t n;
};

/* Tickets. */

static bool file_key(const struct np_tls_material *m, const unsigned char name[16],
                     struct np_tls_ticket_key *out, bool *newest)
{
    for (size_t i = 0; i < m->nticket_keys; i++) {
        if (CRYPTO_memcmp(m->ticket_keys[i].name, name, 16) != 0) continue;
        *out = m->ticket_keys[i];
        *newest = i == 0;
        return true;
    }
    return false;
}

static bool set_mac(EVP_MAC_CTX *mac, struct np_tls_ticket_key *k)
{
    OSSL_PARAM params[3] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->mac, sizeof k->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static int seal(struct np_tls_context *c, unsigned char *name, unsigned char *iv,
                EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    struct np_tls_ticket_key k;
    if (c->material->nticket_keys > 0)
        k = c->material->ticket_keys[0];
    else if (np_tls_shared_key(c->shared, &k))
        return -1;
    memcpy(name, k.name, sizeof k.name);
    bool ok = RAND_bytes(iv, IV) == 1 &&
              EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.aes, iv) == 1 &&
              set_mac(mac, &k);
    OPENSSL_cleanse(&k, sizeof k);
    return ok ? 1 : -1;
}

static int unseal(struct np_tls_context *c, const unsigned char *name, const unsigned char *iv,
                  EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, bool *newest)
{
    struct np_tls_ticket_key k;
    bool found = c->material->nticket_keys > 0
                     ? file_key(c->material, name, &k, newest)
                     : np_tls_shared_find_key(c->shared, name, &k, newest);
    if (!found) return 0; /* a whole handshake, then */
    bool ok =
        set_mac(mac, &k) && EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.aes, iv) == 1;
    OPENSSL_cleanse(&k, sizeof k);
    if (!ok) return -1;
    return 1;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int encrypt)
{
    struct np_tls_stream *t = np_tls_stream_of_ssl(ssl);
    if (encrypt) return seal(t->ctx, name, iv, cipher, mac);
    bool newest = false;
    int rc = unseal(t->ctx, name, iv, cipher, mac, &newest);
    /* 2: and give it a new one, which clients of 1.3 need, as they use each once. */
    return rc == 1 && (!newest || SSL_version(ssl) >= TLS1_3_VERSION) ? 2 : rc;
}

/* Sessions by ID, of all workers. */

static void keep_for_clients_id(struct np_tls_context *c, SSL_SESSION *session)
{
    unsigned n;
    const unsigned char *id = SSL_SESSION_get_id(session, &n);
    int len = i2d_SSL_SESSION(session, NULL);
    unsigned char *der = n > 0 && len > 0 ? np_alloc((size_t)len) : NULL;
    if (!der) return;
    unsigned char *p = der;
    i2d_SSL_SESSION(session, &p);
    np_tls_shared_put(c->shared, id, n, der, (size_t)len);
    OPENSSL_cleanse(der, (size_t)len);
    np_free(der);
}

static SSL_SESSION *on_get(SSL *ssl, const unsigned char *id, int n, int *copy)
{
    struct np_tls_stream *t = np_tls_stream_of_ssl(ssl);
    size_t len;
    *copy = 0;
    unsigned char *der = n > 0 ? np_tls_shared_get(t->ctx->shared, id, (size_t)n, &len) : NULL;
    if (!der) return NULL;
    const unsigned char *p = der;
    SSL_SESSION *session = d2i_SSL_SESSION(NULL, &p, (long)len);
    OPENSSL_cleanse(der, len);
    np_free(der);
    return session;
}

static void on_remove(SSL_CTX *ctx, SSL_SESSION *session)
{
    struct np_tls_shared *shared = SSL_CTX_get_app_data(ctx);
    unsigned n;
    const unsigned char *id = SSL_SESSION_get_id(session, &n);
    if (n > 0) np_tls_shared_drop(shared, id, n);
}

/* A client's. */

static void kept_free(struct np_tls_kept *k)
{
    for (size_t i = 0; i < k->n; i++)
        SSL_SESSION_free(k->sessions[i]);
    np_free(k);
}

static void forget_oldest(struct np_tls_context *c)
{
    size_t it = 0;
    struct np_map_entry *e = np_map_next(&c->sessions, &it);
    if (!e) return;
    struct np_tls_kept *k = e->value;
    np_map_remove(&c->sessions, e->key, e->key_len);
    kept_free(k);
}

static int keep(struct np_tls_stream *t, SSL_SESSION *session)
{
    struct np_tls_context *c = t->ctx;
    size_t n = strlen(t->session_key);
    struct np_tls_kept *k = np_map_get(&c->sessions, t->session_key, n);
    if (!k) {
        if (c->sessions.len >= MAX_KEYS) forget_oldest(c);
        k = np_calloc(1, sizeof *k);
        if (!k) return 0;
        if (np_map_set(&c->sessions, t->session_key, n, k, NULL)) {
            np_free(k);
            return 0;
        }
    }
    if (k->n == PER_KEY) SSL_SESSION_free(k->sessions[--k->n]);
    memmove(&k->sessions[1], &k->sessions[0], k->n * sizeof k->sessions[0]);
    k->sessions[0] = session;
    k->n++;
    return 1; /* the reference is ours */
}

static int on_new(SSL *ssl, SSL_SESSION *session)
{
    struct np_tls_stream *t = np_tls_stream_of_ssl(ssl);
    if (!t->server)
        return t->session_key && SSL_SESSION_is_resumable(session) ? keep(t, session) : 0;
    if (SSL_version(ssl) < TLS1_3_VERSION || t->ctx->opts.no_tickets)
        keep_for_clients_id(t->ctx, session);
    return 0;
}

void np_tls_offer_session(struct np_tls_stream *t)
{
    struct np_tls_kept *k =
        t->session_key ? np_map_get(&t->ctx->sessions, t->session_key, strlen(t->session_key))
                       : NULL;
    if (!k || k->n == 0) return;
    SSL_SESSION *session = k->sessions[0];
    SSL_set_session(t->ssl, session);
    if (SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION) return;
    /* A ticket of 1.3 is used once: whoever watches cannot tell that two connections are of one. */
    k->n--;
    memmove(&k->sessions[0], &k->sessions[1], k->n * sizeof k->sessions[0]);
    SSL_SESSION_free(session);
}

void np_tls_forget_sessions(struct np_tls_context *c)
{
    while (c->sessions.len > 0)
        forget_oldest(c);
}

enum neap_err np_tls_setup_resumption(struct np_tls_context *c, SSL_CTX *ctx)
{
    if (c->opts.no_sessions) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ctx, 0);
        return NEAP_OK;
    }
    SSL_CTX_set_app_data(ctx, c->shared);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_BOTH | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_new);
    SSL_CTX_sess_set_get_cb(ctx, on_get);
    SSL_CTX_sess_set_remove_cb(ctx, on_remove);
    int64_t lifetime = c->opts.session_lifetime ? c->opts.session_lifetime : 86400 * NP_NS_PER_SEC;
    SSL_CTX_set_timeout(ctx, (long)(lifetime / NP_NS_PER_SEC));
    /* One, as a client that wants to go on gets another with each connection. */
    SSL_CTX_set_num_tickets(ctx, 1);
    if (c->opts.no_tickets)
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    else if (SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) != 1)
        return NEAP_ETLS;
    return NEAP_OK;
}
