/* Making certificates: authorities, certificates that they sign and lists of revoked ones, for
 * development and for tests. All is PEM text in memory; who keeps it where is the caller's.
 *
 * A certificate made here is one that browsers accept when they trust its authority: version 3, a
 * random serial number of 128 bits, SHA-256 or better, names in subjectAltName alone counted, at
 * most 825 days for what is no authority, begun an hour ago (clocks differ). Any thread; no state.
 */
#ifndef NP_NET_TLS_MAKE_CERT_H
#define NP_NET_TLS_MAKE_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
    NP_TLS_CA_DAYS = 3650,
    NP_TLS_LEAF_DAYS = 397,     /* what public authorities may give at most */
    NP_TLS_LEAF_DAYS_MAX = 825, /* what browsers take from any other */
    NP_TLS_CRL_DAYS = 30,
};

enum np_tls_key_kind {
    NP_TLS_KEY_P256, /* the default: ECDSA */
    NP_TLS_KEY_P384,
    NP_TLS_KEY_ED25519, /* not for browsers */
    NP_TLS_KEY_RSA_2048,
    NP_TLS_KEY_RSA_3072,
    NP_TLS_KEY_RSA_4096,
};
/* "p256", "p384", "ed25519", "rsa" (2048), "rsa3072", "rsa4096"; NEAP_EINVAL for others. */
NEAP_MUST_CHECK enum neap_err np_tls_key_kind_of(const char *text, enum np_tls_key_kind *out);

struct np_tls_made {
    char *cert; /* PEM */
    char *key;  /* PEM, PKCS#8, not encrypted; wiped when freed */
};
void np_tls_made_free(struct np_tls_made *m);

/* Zeroed, it makes a certificate for no name that is good for nothing: give it names and a side. */
struct np_tls_make_options {
    enum np_tls_key_kind key;
    const char *common_name;  /* NULL: the first name, when it is short enough for one */
    const char *organization; /* or NULL */
    /* Each by its looks: "spiffe://…" and other URIs, "a@b", addresses, names ("*.a.example"). */
    const char *const *names;
    size_t nnames;
    bool authority; /* signs others; the sides do not count then */
    bool server;    /* for serverAuth */
    bool client;    /* for clientAuth */
    int days;       /* 0: the default of its sort */
    /* For tests. Seconds since 1970; both 0: from an hour ago on, for `days`, but no longer than
     * its issuer; any length is taken. */
    int64_t not_before, not_after;
};
/* `issuer` NULL: signed by itself. NEAP_EINVAL with words for a name that is none and for days out
 * of bounds, NEAP_ETLS for an issuer that cannot be used (none, its key is another's, no authority,
 * ended), NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_tls_make_cert(const struct np_tls_make_options *o,
                                               const struct np_tls_made *issuer,
                                               struct np_tls_made *out, struct neap_errinfo *info);

/* What a name is, by its looks, and whether it can stand in a certificate: NEAP_EINVAL with words.
 * `out` gets the normalised name (lower case, "::1"), at most `size` bytes. */
enum np_tls_name_kind { NP_TLS_NAME_DNS, NP_TLS_NAME_IP, NP_TLS_NAME_URI, NP_TLS_NAME_EMAIL };
NEAP_MUST_CHECK enum neap_err np_tls_read_name(const char *name, enum np_tls_name_kind *kind,
                                               char *out, size_t size, struct neap_errinfo *info);
/* "spiffe://trust-domain/path" as the SPIFFE ID standard has it. */
bool np_tls_is_spiffe_id(const char *uri);

/* A list of the authority's that holds what `old` (PEM, or NULL) held and the certificates in
 * `revoked` (PEM each, the first of a chain counts), numbered one higher. `days`: until the next
 * one is due, 0: 30. NEAP_ETLS for a certificate that the authority has not signed or a list that
 * is another's. *added (may be NULL): how many were not on it yet. */
NEAP_MUST_CHECK enum neap_err np_tls_make_crl(const struct np_tls_made *authority, const char *old,
                                              const char *const *revoked, size_t nrevoked, int days,
                                              char **out, size_t *added, struct neap_errinfo *info);

/* For people: what the certificates, keys and lists in `pem` are, some lines each. NEAP_ETLS when
 * it holds none. `now`: seconds since 1970. */
NEAP_MUST_CHECK enum neap_err np_tls_describe(const char *pem, int64_t now, struct np_buf *out,
                                              struct neap_errinfo *info);

/* PKCS#12 of a certificate, its key and the authority's certificate (PEM), as browsers import it;
 * `*out` is np_alloc'd. */
NEAP_MUST_CHECK enum neap_err np_tls_make_p12(const struct np_tls_made *m, const char *authority,
                                              const char *name, const char *password, char **out,
                                              size_t *len, struct neap_errinfo *info);

#endif
