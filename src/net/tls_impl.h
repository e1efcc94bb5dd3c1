/* What the files of TLS share. Private to them.
 *
 *   tls_context.c  a context: its options, its life, reloading
 *   tls_load.c     PEM → SSL_CTX, trust, revocation lists, stapled answers
 *   tls_setup.c    versions, ciphers, ALPN and all that is the same for every certificate
 *   tls_names.c    which certificate is for a name
 *   tls_shared.c   ticket keys and sessions of all threads
 *   tls_resume.c   … and how OpenSSL is given them; sessions that clients keep
 *   tls_stream.c   the filter: handshake, bytes in, the end
 *   tls_write.c    … bytes out, and the BIO
 *   tls_wrap.c     making one
 *   tls_peer.c     what was agreed with whom
 */
#ifndef NP_NET_TLS_IMPL_H
#define NP_NET_TLS_IMPL_H

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/arena.h"
#include "base/hash.h"
#include "net/tls.h"

enum {
    NP_TLS_PLAIN_SIZE = 64 << 10, /* bytes decrypted before they are handed on */
    NP_TLS_WHY_MAX = 240,
    NP_TLS_NAME_MAX = 255,
};

/* The secret of one stretch of time. */
struct np_tls_ticket_key {
    unsigned char name[16];
    unsigned char aes[32];
    unsigned char mac[32];
};

/* One certificate (of one or two key types) and all that goes with it. */
struct np_tls_pair {
    SSL_CTX *ctx;
    unsigned char *ocsp; /* the response to staple, DER, or NULL */
    size_t ocsp_len;
    char **names; /* DNS names and addresses it is for, lower case; wildcards as "*.rest" */
    size_t nnames;
};

/* What was read from files: replaced as a whole, and counted: streams go on with theirs. */
struct np_tls_material {
    unsigned refs;
    struct np_tls_pair *pairs; /* one at least */
    size_t npairs;
    bool has_cert;
    bool trusts;           /* the system's roots were added for a client */
    struct np_map by_name; /* → struct np_tls_pair; wildcards under "*.rest" */
    struct np_tls_ticket_key *ticket_keys;
    size_t nticket_keys;
};

struct np_tls_context {
    unsigned refs;
    struct np_loop *loop;
    struct np_tls_options opts; /* strings in `arena` */
    struct np_arena arena;
    struct np_tls_material *material;
    struct np_tls_shared *shared;
    BIO_METHOD *bio;
    unsigned char *alpn; /* opts.alpn as it stands in a hello */
    size_t alpn_len;
    int key_log_fd;         /* -1 none */
    char *plain;            /* NP_TLS_PLAIN_SIZE, made at first use */
    struct np_buf out;      /* ciphertext on its way down; empty between calls */
    bool busy;              /* `plain` is lent to an owner */
    struct np_map sessions; /* of clients, by key → struct np_tls_kept */
    struct np_timer watch;
    int64_t watch_period;
    uint64_t seen;     /* of its files, as they were read */
    uint64_t settling; /* … as they were at the last look */
    unsigned generation;
};

enum np_tls_phase {
    NP_TLS_WAITING, /* for the stream under it to be open */
    NP_TLS_HANDSHAKE,
    NP_TLS_NAMING, /* … is waiting for np_tls_naming_answer */
    NP_TLS_UP,
    NP_TLS_DEAD, /* OpenSSL may not be asked any more */
};

struct np_tls_stream {
    struct np_stream s;
    struct np_stream *under;
    SSL *ssl;
    struct np_tls_context *ctx;       /* that it was made with */
    struct np_tls_context *checked;   /* whose checks hold: ctx, or what on_sni chose */
    struct np_tls_material *material; /* of `checked`, as it was when the handshake began */
    const char *lent;                 /* ciphertext at hand, of the call under way */
    size_t lent_len;
    struct np_buf held; /* ciphertext that its owner did not want yet */
    struct np_defer later;
    int64_t within;
    enum np_tls_phase phase;
    bool server;
    bool selected; /* on_sni was answered */
    bool under_ended;
    bool broken;                  /* the stream below is */
    bool refused;                 /* on_sni's answer was none */
    bool plain_http;              /* the peer speaks HTTP without TLS */
    bool farewell;                /* close_notify was sent */
    bool running;                 /* inside run(): do not begin another */
    bool asked_name;              /* a name without a certificate */
    struct np_tls_naming *naming; /* the question that is open, or NULL */
    const unsigned char *alpn;    /* a server's, when its context has none */
    size_t alpn_len;
    char *session_key;
    char *host; /* a client's, for words */
    char *sni;  /* what the client asked for, lower case */
    char *why;
};

extern const struct np_stream_ops np_tls_ops;

static inline struct np_tls_stream *np_tls_of(const struct np_stream *s)
{
    return (struct np_tls_stream *)(void *)np_container_of(s, struct np_tls_stream, s);
}

/* tls_context.c */
/* As it stands in a hello; NEAP_EINVAL for names of 0 or more than 255 bytes. */
NEAP_MUST_CHECK enum neap_err np_tls_alpn_list(const char *const *alpn, size_t n,
                                               unsigned char **out, size_t *len);

/* tls_load.c */
NEAP_MUST_CHECK enum neap_err np_tls_load(struct np_tls_context *c, struct np_tls_material **out,
                                          struct neap_errinfo *info);
struct np_tls_material *np_tls_material_ref(struct np_tls_material *m);
void np_tls_material_unref(struct np_tls_material *m); /* NULL is allowed */
NEAP_MUST_CHECK enum neap_err np_tls_trust_system(struct np_tls_context *c);
/* A number for how its files are now: path, inode, size, time of change. */
uint64_t np_tls_files_state(const struct np_tls_context *c);

/* tls_setup.c */
NEAP_MUST_CHECK enum neap_err np_tls_setup(struct np_tls_context *c, SSL_CTX *ctx,
                                           struct neap_errinfo *info);
/* Whom a stream of the context's asks for a certificate, by side. */
void np_tls_set_verify(const struct np_tls_context *c, SSL *ssl, bool server);
int np_tls_verify_mode(const struct np_tls_context *c, bool server);

/* tls_names.c */
NEAP_MUST_CHECK enum neap_err np_tls_pair_read_names(struct np_tls_pair *p, X509 *cert);
NEAP_MUST_CHECK enum neap_err np_tls_index_names(struct np_tls_material *m);
/* NULL when no certificate is for it. */
struct np_tls_pair *np_tls_find(const struct np_tls_material *m, const char *name);
/* OpenSSL's: the client's first message is here. `arg` is the context. */
int np_tls_on_hello(SSL *ssl, int *alert, void *arg);

/* tls_shared.c */
/* The key to encrypt with. */
NEAP_MUST_CHECK enum neap_err np_tls_shared_key(struct np_tls_shared *s,
                                                struct np_tls_ticket_key *out);
/* The key of that name; `*newest` says whether it is the one to encrypt with. */
bool np_tls_shared_find_key(struct np_tls_shared *s, const unsigned char name[16],
                            struct np_tls_ticket_key *out, bool *newest);
void np_tls_shared_put(struct np_tls_shared *s, const unsigned char *id, size_t n,
                       const unsigned char *der, size_t len);
/* A copy of the session in memory of its own, or NULL. */
unsigned char *np_tls_shared_get(struct np_tls_shared *s, const unsigned char *id, size_t n,
                                 size_t *len);
void np_tls_shared_drop(struct np_tls_shared *s, const unsigned char *id, size_t n);

/* tls_resume.c */
NEAP_MUST_CHECK enum neap_err np_tls_setup_resumption(struct np_tls_context *c, SSL_CTX *ctx);
/* A session to begin with, if one is kept for the stream's key. */
void np_tls_offer_session(struct np_tls_stream *t);
void np_tls_forget_sessions(struct np_tls_context *c);

/* tls_stream.c */
void np_tls_stream_init_later(struct np_tls_stream *t);
/* What the stream under it says. */
extern const struct np_stream_handler np_tls_under;
/* Goes on with the handshake, from the loop. */
void np_tls_go_on_later(struct np_tls_stream *t);
struct np_tls_stream *np_tls_stream_of_ssl(const SSL *ssl);

/* tls_write.c */
BIO_METHOD *np_tls_bio_method(void);
/* Before a call whose failure is to be told by OpenSSL's queue of errors; looking is cheaper than
 * clearing. */
static inline void np_tls_clear_errors(void)
{
    if (ERR_peek_error()) ERR_clear_error();
}
/* What OpenSSL wrote goes to the stream below. */
NEAP_MUST_CHECK enum neap_err np_tls_send_out(struct np_tls_stream *t);
/* OpenSSL has failed, and will not be asked again: why, in words; gives NEAP_ETLS. */
enum neap_err np_tls_fail_code(struct np_tls_stream *t);
/* What is queued, as far as it goes. */
NEAP_MUST_CHECK enum neap_err np_tls_write_on(struct np_tls_stream *t);
NEAP_MUST_CHECK enum neap_err np_tls_say_farewell(struct np_tls_stream *t);
/* The stream's own. */
enum neap_err np_tls_write(struct np_stream *s, const struct np_slice *v, size_t nv, size_t *taken);
enum neap_err np_tls_flush(struct np_stream *s);
size_t np_tls_unsent(const struct np_stream *s);
enum neap_err np_tls_shutdown(struct np_stream *s);

/* tls_wrap.c */
void np_tls_ask_name(struct np_tls_stream *t);
/* The stream goes: an answer will do nothing. */
void np_tls_forget_naming(struct np_tls_stream *t);

/* tls_peer.c */
/* The first thing that OpenSSL has to say, and what a failed check means, in words; clears
 * OpenSSL's queue. */
void np_tls_explain(const SSL *ssl, char *out, size_t size);
enum neap_err np_tls_fail_info(struct neap_errinfo *info, const char *fmt, ...) NEAP_PRINTF(2, 3);

#endif
