/* Which certificate is for a name: exact names first, then wildcards of one label (RFC
 * 6125, 6.4.3), then the first certificate. And the look at a client's first message. The context's
 * thread.
 */
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "net/tls_impl.h"

enum { MAX_NAMES = 1000 };

static char lower(char ch)
{
    return ch >= 'A' && ch <= 'Z' ? (char)(ch + 32) : ch;
}

/* A name as it is looked up: lower case, without a dot at the end. False for what is no name. */
static bool normal(const char *p, size_t n, char out[NP_TLS_NAME_MAX + 1])
{
    if (n > 0 && p[n - 1] == '.') n--;
    if (n == 0 || n > NP_TLS_NAME_MAX) return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)p[i];
        if (ch <= ' ' || ch >= 127) return false;
        out[i] = lower(p[i]);
    }
    out[n] = '\0';
    return true;
}

static enum neap_err add_name(struct np_tls_pair *p, const char *text, size_t n)
{
    char name[NP_TLS_NAME_MAX + 1];
    if (!normal(text, n, name) || p->nnames == MAX_NAMES) return NEAP_OK;
    char **names = np_realloc(p->names, (p->nnames + 1) * sizeof *names);
    if (!names) return NEAP_ENOMEM;
    p->names = names;
    char *copy = np_strdup(name);
    if (!copy) return NEAP_ENOMEM;
    names[p->nnames++] = copy;
    return NEAP_OK;
}

static enum neap_err add_common_name(struct np_tls_pair *p, X509 *cert)
{
    char name[NP_TLS_NAME_MAX + 1];
    int n =
        X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof name);
    return n > 0 ? add_name(p, name, (size_t)n) : NEAP_OK;
}

enum neap_err np_tls_pair_read_names(struct np_tls_pair *p, X509 *cert)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    if (!names) return add_common_name(p, cert);
    enum neap_err err = NEAP_OK;
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !err; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS) continue;
        const ASN1_STRING *text = name->d.dNSName;
        err = add_name(p, (const char *)ASN1_STRING_get0_data(text),
                       (size_t)ASN1_STRING_length(text));
    }
    GENERAL_NAMES_free(names);
    return err;
}

enum neap_err np_tls_index_names(struct np_tls_material *m)
{
    for (size_t i = 0; i < m->npairs; i++) {
        for (size_t j = 0; j < m->pairs[i].nnames; j++) {
            const char *name = m->pairs[i].names[j];
            if (np_map_get(&m->by_name, name, strlen(name))) continue; /* the first keeps it */
            enum neap_err err = np_map_set(&m->by_name, name, strlen(name), &m->pairs[i], NULL);
            if (err) return err;
        }
    }
    return NEAP_OK;
}

struct np_tls_pair *np_tls_find(const struct np_tls_material *m, const char *name)
{
    struct np_tls_pair *p = np_map_get(&m->by_name, name, strlen(name));
    const char *rest = p ? NULL : strchr(name, '.');
    if (!rest || rest == name || !strchr(rest + 1, '.')) return p;
    char wild[NP_TLS_NAME_MAX + 2];
    int n = snprintf(wild, sizeof wild, "*%s", rest);
    return np_map_get(&m->by_name, wild, (size_t)n);
}

/* The host name of the server_name extension (RFC 6066, 3). -1: malformed, 0: none. */
static int read_sni(SSL *ssl, char out[NP_TLS_NAME_MAX + 1])
{
    const unsigned char *p;
    size_t n;
    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n)) return 0;
    if (n < 5 || (size_t)(p[0] << 8 | p[1]) != n - 2) return -1;
    if (p[2] != TLSEXT_NAMETYPE_host_name) return -1;
    size_t len = (size_t)(p[3] << 8 | p[4]);
    if (len > n - 5 || len == 0) return -1;
    return normal((const char *)p + 5, len, out) ? 1 : -1;
}

/* Goes on with another context's certificates and checks. */
static bool switch_to(struct np_tls_stream *t, struct np_tls_pair *p)
{
    if (SSL_get_SSL_CTX(t->ssl) == p->ctx) return true;
    if (!SSL_set_SSL_CTX(t->ssl, p->ctx)) return false;
    SSL_set_options(t->ssl, SSL_CTX_get_options(p->ctx));
    SSL_set_verify_depth(t->ssl, SSL_CTX_get_verify_depth(p->ctx));
    const char *groups = t->checked->opts.groups;
    if (groups && SSL_set1_groups_list(t->ssl, groups) != 1) return false;
    return SSL_set_min_proto_version(t->ssl, SSL_CTX_get_min_proto_version(p->ctx)) == 1 &&
           SSL_set_max_proto_version(t->ssl, SSL_CTX_get_max_proto_version(p->ctx)) == 1;
}

static int choose(struct np_tls_stream *t, const char *name, int *alert)
{
    struct np_tls_context *c = t->checked;
    struct np_tls_pair *p = *name ? np_tls_find(t->material, name) : NULL;
    if (!p && c == t->ctx && c->opts.on_sni && !t->selected) {
        t->asked_name = true;
        return SSL_CLIENT_HELLO_RETRY;
    }
    if (!p && t->material->has_cert && !t->refused) p = &t->material->pairs[0];
    if (!p) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (!switch_to(t, p)) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    np_tls_set_verify(c, t->ssl, true);
    return SSL_CLIENT_HELLO_SUCCESS;
}

int np_tls_on_hello(SSL *ssl, int *alert, void *arg)
{
    (void)arg;
    struct np_tls_stream *t = np_tls_stream_of_ssl(ssl);
    char name[NP_TLS_NAME_MAX + 1] = "";
    int found = read_sni(ssl, name);
    if (found < 0) {
        *alert = SSL_AD_DECODE_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (!t->sni && (t->sni = np_strdup(name)) == NULL) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    return choose(t, name, alert);
}
