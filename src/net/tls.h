/* TLS: contexts, and the filter that makes a secure stream of any other.
 *
 * A context holds what a side of TLS is made with: certificates, trust, versions, what it remembers
 * of sessions. It is counted and serves any number of streams, client and server. Its files are
 * read when it is made and by np_tls_context_reload, which changes nothing when they do not load;
 * connections go on with what they began with.
 *
 * A filter is a stream like any other (stream.h) and owns the stream under it. It is CONNECTING
 * until the handshake is done and the peer verified; then on_open comes (for a server too).
 * Whatever fails is NEAP_ETLS (np_stream_why says what), a wait that lasts NEAP_ETIMEDOUT, else as
 * of the stream under it. A connection that ends without TLS's own farewell is NEAP_ECONNRESET to
 * its reader: what came may have been cut short by anybody (`allow_truncation`).
 *
 * Safe by default: TLS 1.2 and 1.3, the ciphers and groups of Mozilla's intermediate profile 5.7,
 * no compression, no renegotiation, no early data; a client checks the chain against the system's
 * roots and the name. One loop, one thread for each context and its streams; `np_tls_shared` is for
 * all threads of a process.
 */
#ifndef NP_NET_TLS_H
#define NP_NET_TLS_H

#include "net/stream.h"

struct np_tls_context;
struct np_tls_shared;

/* A PEM file's path, or, where it holds "-----BEGIN", the PEM text. */
struct np_tls_cert_source {
    const char *cert;     /* the certificate, then its chain */
    const char *key;      /* its private key; NULL: in `cert` too */
    const char *password; /* of the key, or NULL */
    const char *ocsp;     /* DER file of the response to staple, or NULL */
};

enum np_tls_verify {
    NP_TLS_VERIFY_DEFAULT,  /* a client requires, a server does not ask */
    NP_TLS_VERIFY_NONE,     /* anything goes (a client is then open to anybody in between) */
    NP_TLS_VERIFY_OPTIONAL, /* a server asks, and a certificate that comes must be good */
    NP_TLS_VERIFY_REQUIRED,
};

enum { NP_TLS_1_2 = 0x0303, NP_TLS_1_3 = 0x0304 };

/* Asked for a server name that no certificate is for ("" when the client names none); the handshake
 * waits until np_tls_naming_answer, which must be called once, at once or later, though the stream
 * may have gone meanwhile. From the loop. */
struct np_tls_naming;
typedef void (*np_tls_sni_fn)(void *arg, struct np_tls_naming *n, const char *name);

struct np_tls_options {
    const struct np_tls_cert_source *certs; /* the first is for names that no other has */
    size_t ncerts;
    const char *ca;     /* PEM file, directory (c_rehash), text; NULL: the system's (clients) */
    bool system_ca;     /* the system's as well as `ca` */
    const char *crl;    /* PEM file or text of revocation lists, or NULL */
    bool crl_check_all; /* of the whole chain, not the leaf alone */
    enum np_tls_verify verify;
    bool skip_name_check;     /* a client trusts the chain for any name */
    int verify_depth;         /* of intermediates; default 10 */
    int min_version;          /* NP_TLS_1_2 (default) … */
    int max_version;          /* 0: the newest */
    const char *ciphers;      /* OpenSSL's list for 1.2, NULL: Mozilla intermediate */
    const char *ciphersuites; /* for 1.3, NULL: OpenSSL's */
    const char *groups;       /* NULL: X25519:P-256:P-384 */
    bool prefer_server_ciphers;
    const char *const *alpn; /* protocols, the best first */
    size_t nalpn;
    bool no_tickets; /* resumption by session ID alone */
    const char
        *ticket_keys; /* file of 80 bytes a key (nginx's), the first encrypts; NULL: own ones */
    int64_t session_lifetime; /* ns; default 1 day */
    bool no_sessions;         /* no resumption at all */
    const char *key_log;      /* appended to, NSS format: debugging only */
    bool allow_truncation;
    np_tls_sni_fn on_sni; /* or NULL: the first certificate */
    void *on_sni_arg;
    void (*on_sni_end)(void *arg); /* when nobody will be asked any more; or NULL */
    struct np_tls_shared *shared; /* tickets and sessions of the process; NULL: the context's own */
};
#define NP_TLS_OPTIONS_INIT \
    {                       \
        0                   \
    }

/* Reads files; nothing of the options is needed afterwards but `shared`. on_sni_end follows in any
 * case, at once if there is no context. NEAP_EINVAL, NEAP_ENOENT,
 * NEAP_EACCES, NEAP_ETLS (what is in a file does not fit), NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_tls_context_new(struct np_loop *loop,
                                                 const struct np_tls_options *opts,
                                                 struct np_tls_context **out,
                                                 struct neap_errinfo *info);
struct np_tls_context *np_tls_context_ref(struct np_tls_context *c);
void np_tls_context_unref(struct np_tls_context *c);
/* Reads its files again. On failure the context is as it was. */
NEAP_MUST_CHECK enum neap_err np_tls_context_reload(struct np_tls_context *c,
                                                    struct neap_errinfo *info);
/* Looks every `ns` whether a file has changed (and is read completely), and then reloads; a failure
 * is logged. 0 stops it. Does not keep the loop alive. */
NEAP_MUST_CHECK enum neap_err np_tls_context_watch(struct np_tls_context *c, int64_t ns);
/* How often its files were read anew. */
unsigned np_tls_context_generation(const struct np_tls_context *c);
bool np_tls_context_has_cert(const struct np_tls_context *c);

/* A server's side of `under`, which must be open; bytes that were read from it already go back with
 * np_stream_unread first. `alpn` NULL: the context's. Takes `under` on success only. `within` is
 * ns for the handshake, 0 none. */
NEAP_MUST_CHECK enum neap_err np_tls_wrap_server(struct np_tls_context *c, struct np_stream *under,
                                                 int64_t within, const struct np_stream_handler *h,
                                                 void *arg, struct np_stream **out);
/* What a server's stream chooses of the protocols a client offers when its context names none;
 * right behind np_tls_wrap_server. `list` as it stands in a hello ("\x08http/1.1"), for ever. */
void np_tls_stream_set_alpn(struct np_stream *s, const char *list, size_t n);
/* A client's side of `under`, which may be connecting still. `host` is the name (SNI and check) or
 * literal address (check) of the server, NULL for none; `alpn` replaces the context's when
 * nalpn > 0. `session_key` names where sessions are kept for resumption ("host:port"), or NULL. */
struct np_tls_client_options {
    const char *host;
    const char *session_key;
    const char *const *alpn;
    size_t nalpn;
    int64_t within; /* ns from the moment `under` is open; 0 none */
};
NEAP_MUST_CHECK enum neap_err np_tls_wrap_client(struct np_tls_context *c, struct np_stream *under,
                                                 const struct np_tls_client_options *o,
                                                 const struct np_stream_handler *h, void *arg,
                                                 struct np_stream **out);
/* The answer to on_sni: a context to go on with (its certificates and its checks), NULL: no such
 * name, the handshake fails with the alert for it. */
void np_tls_naming_answer(struct np_tls_naming *n, struct np_tls_context *c);
/* `gone` is called when the stream goes before the answer, which is still to be given. */
void np_tls_naming_watch(struct np_tls_naming *n, void (*gone)(void *arg), void *arg);

/* What was agreed; slices hold while the stream is open. NULL on a stream that is not TLS's or not
 * open yet. */
struct np_tls_info {
    const char *version; /* "TLSv1.3" */
    const char *cipher;  /* "TLS_AES_128_GCM_SHA256" */
    const char *alpn;    /* alpn_len bytes, 0 for none */
    size_t alpn_len;
    const char *sni; /* what the client asked for, or "" */
    bool resumed;
    bool verified; /* the peer has shown a certificate and it is good */
    bool has_peer_cert;
};
bool np_tls_get_info(const struct np_stream *s, struct np_tls_info *out);
/* The peer's certificate, as names; strings are the caller's (np_tls_peer_free). NEAP_ENOTFOUND
 * when it has shown none. */
struct np_tls_peer {
    char *subject; /* RFC 2253: "CN=a,O=b" */
    char *common_name;
    char *issuer;
    char *serial;      /* hexadecimal */
    char *fingerprint; /* SHA-256, hexadecimal */
    char *spiffe_id;   /* the one URI name that is a SPIFFE ID, or NULL */
    char **names;      /* "DNS:a.example", "IP:127.0.0.1", "URI:spiffe://…", "email:…" */
    size_t nnames;
    int64_t not_before, not_after; /* seconds since 1970 */
};
NEAP_MUST_CHECK enum neap_err np_tls_get_peer(const struct np_stream *s, struct np_tls_peer *out);
void np_tls_peer_free(struct np_tls_peer *p);
/* PEM of the same; np_free it. */
NEAP_MUST_CHECK enum neap_err np_tls_get_peer_pem(const struct np_stream *s, char **out);

/* What all contexts of a process share, whatever their thread: the secret that ticket keys are made
 * from, a new one every `rotate` ns (default 12 h) of which the last three open tickets, and the
 * table of sessions (at most `max_sessions`, default 20000, the oldest go first). */
NEAP_MUST_CHECK enum neap_err np_tls_shared_new(int64_t rotate, size_t max_sessions,
                                                struct np_tls_shared **out);
struct np_tls_shared *np_tls_shared_ref(struct np_tls_shared *s);
void np_tls_shared_unref(struct np_tls_shared *s);
/* A new secret now; the one before it still opens tickets. */
NEAP_MUST_CHECK enum neap_err np_tls_shared_rotate(struct np_tls_shared *s);

#endif
