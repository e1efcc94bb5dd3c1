/* What the files that make certificates share. Private to net/tls_make_*.c. */
#ifndef NP_NET_TLS_MAKE_IMPL_H
#define NP_NET_TLS_MAKE_IMPL_H

#include <openssl/x509.h>

#include "net/tls_impl.h"
#include "net/tls_make_cert.h"

/* What a memory BIO holds, np_alloc'd; NULL when nothing, or out of memory. */
char *np_tls_take_bio(BIO *b);
/* The first certificate in `pem`; `what` names it in words. */
NEAP_MUST_CHECK enum neap_err np_tls_read_cert(const char *pem, const char *what, X509 **out,
                                               struct neap_errinfo *info);
/* An authority that can sign, both the caller's. */
NEAP_MUST_CHECK enum neap_err np_tls_read_issuer(const struct np_tls_made *m, X509 **cert,
                                                 EVP_PKEY **key, struct neap_errinfo *info);
/* NULL for keys that bring their own. */
const EVP_MD *np_tls_digest_for(const EVP_PKEY *key);

#endif
