/* `neap cert`: an authority for development, certificates that it signs, its list of revoked ones.
 *
 * The authority is one for a person, so that it is trusted once; what it signs goes to the working
 * directory. A key's file is written before its certificate's: what is complete has both.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/app.h"
#include "app/cert_files.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "net/tls_make_cert.h"

enum { MAX_ARGS = 64, KEY_MODE = 0600, CERT_MODE = 0644 };

#define CA_CERT "ca.pem"
#define CA_KEY "ca-key.pem"
#define CA_LIST "crl.pem"

struct maker {
    const struct np_cert_args *args;
    const char *what;
    const char *names[MAX_ARGS + 4];
    size_t nnames;
    const char *common_name;
    struct np_tls_make_options options;
    char ca_dir[NP_CERT_PATH_MAX];
    char ca_cert[NP_CERT_PATH_MAX];
    char ca_key[NP_CERT_PATH_MAX];
    struct np_tls_made ca;
    bool made_ca;
    struct neap_errinfo info;
};

static int complain(struct maker *m, enum neap_err err)
{
    const char *text = m->info.message[0] ? m->info.message : neap_err_text(err);
    return np_app_complain(err == NEAP_EINVAL ? NP_EXIT_USAGE : NP_EXIT_FAILURE, "cert: %s%s", text,
                           err == NEAP_EEXIST ? " (--force replaces it)" : "");
}

static enum neap_err refuse(struct maker *m, const char *text, const char *detail)
{
    return np_err_set(&m->info, NEAP_EINVAL, "%s%s", text, detail);
}

/* --- options */

static enum neap_err read_args(struct maker *m)
{
    const struct np_cert_args *a = m->args;
    if (a->days) {
        char *end;
        errno = 0;
        long days = strtol(a->days, &end, 10);
        if (*end || end == a->days || errno || days < 1 || days > 36500)
            return refuse(m, "--days: not a number of days: ", a->days);
        m->options.days = (int)days;
    }
    if (a->key && np_tls_key_kind_of(a->key, &m->options.key))
        return refuse(m, "--key: p256, p384, ed25519, rsa2048, rsa3072 or rsa4096, not ", a->key);
    if (a->spiffe && !np_tls_is_spiffe_id(a->spiffe))
        return refuse(m, "--spiffe: no SPIFFE ID (spiffe://domain/path): ", a->spiffe);
    m->options.organization = a->organization;
    m->common_name = a->name;
    enum neap_err err = NEAP_OK;
    const char *dir = a->ca;
    if (!dir && strcmp(m->what, "ca") == 0) dir = a->out;
    if (!dir) {
        err = np_cert_home(m->ca_dir, &m->info);
    } else if (snprintf(m->ca_dir, sizeof m->ca_dir, "%s", dir) >= (int)sizeof m->ca_dir) {
        err = refuse(m, "the path is too long", "");
    }
    if (!err) err = np_cert_path(m->ca_cert, m->ca_dir, CA_CERT, &m->info);
    if (!err) err = np_cert_path(m->ca_key, m->ca_dir, CA_KEY, &m->info);
    return err;
}

/* --- files */

static enum neap_err write_pair(struct maker *m, const struct np_tls_made *made, const char *cert,
                                const char *key)
{
    bool force = m->args->force;
    enum neap_err err = np_cert_write(key, made->key, strlen(made->key), KEY_MODE, force, &m->info);
    if (err) return err;
    return np_cert_write(cert, made->cert, strlen(made->cert), CERT_MODE, force, &m->info);
}

/* Said before a key is made for nothing. */
static enum neap_err must_be_free(struct maker *m, const char *path)
{
    if (m->args->force || !np_cert_exists(path)) return NEAP_OK;
    return np_err_set(&m->info, NEAP_EEXIST, "%s is there already", path);
}

/* --- the authority */

static enum neap_err make_ca(struct maker *m, const char *name, int days)
{
    char host[HOST_NAME_MAX + 1] = "";
    char common[65];
    const char *user = getenv("USER");
    gethostname(host, sizeof host - 1);
    snprintf(common, sizeof common, "neap development CA (%.16s@%.24s)", user ? user : "user",
             host);
    /* What was said of the certificate to make is not said of its authority. */
    bool asked = strcmp(m->what, "ca") == 0;
    struct np_tls_make_options o = {
        .authority = true,
        .common_name = name ? name : common,
        .organization = asked && m->args->organization ? m->args->organization : "neap development",
        .key = asked ? m->options.key : NP_TLS_KEY_P256,
        .days = days,
    };
    enum neap_err err = np_cert_make_dir(m->ca_dir, 0700, &m->info);
    if (!err) err = np_tls_make_cert(&o, NULL, &m->ca, &m->info);
    if (!err) err = write_pair(m, &m->ca, m->ca_cert, m->ca_key);
    if (!err) m->made_ca = true;
    return err;
}

static enum neap_err read_ca(struct maker *m, bool may_make)
{
    bool cert = np_cert_exists(m->ca_cert);
    bool key = np_cert_exists(m->ca_key);
    if (!cert && !key && may_make) return make_ca(m, NULL, 0);
    if (cert != key) {
        return np_err_set(&m->info, NEAP_ENOENT, "%s is there and %s is not",
                          cert ? m->ca_cert : m->ca_key, cert ? m->ca_key : m->ca_cert);
    }
    enum neap_err err = np_cert_read(m->ca_cert, &m->ca.cert, &m->info);
    return err ? err : np_cert_read(m->ca_key, &m->ca.key, &m->info);
}

static void say_how_to_trust(const struct maker *m)
{
    const char *ca = m->ca_cert;
    printf("\nLet this machine trust the authority, once:\n"
           "  sudo cp %s /usr/local/share/ca-certificates/neap-development.crt && "
           "sudo update-ca-certificates\n"
           "  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n neap -i %s   # Chrome\n"
           "  Firefox: Settings, Certificates, Authorities, Import: %s\n"
           "Whoever has %s can be anybody for those who trust it: keep it to yourself.\n",
           ca, ca, ca, m->ca_key);
}

static enum neap_err cmd_ca(struct maker *m)
{
    enum neap_err err = m->nnames ? refuse(m, "ca: takes no names: ", m->names[0]) : NEAP_OK;
    if (!err) err = must_be_free(m, m->ca_cert);
    if (!err) err = must_be_free(m, m->ca_key);
    if (!err) err = make_ca(m, m->args->name, m->options.days);
    if (err) return err;
    printf("Made an authority for development: %s\n", m->ca_cert);
    say_how_to_trust(m);
    return NEAP_OK;
}

/* --- certificates */

/* "*.a.example" → "_wildcard.a.example", "::1" → "--1", "spiffe://a/b" → "b". */
static void file_base(const struct maker *m, char *out, size_t size)
{
    const char *name = m->common_name ? m->common_name : m->names[0];
    if (np_tls_is_spiffe_id(name)) name = strrchr(name, '/') + 1;
    size_t n = 0;
    if (strncmp(name, "*.", 2) == 0) {
        n = (size_t)snprintf(out, size, "_wildcard");
        name++;
    }
    for (; *name && n + 1 < size; name++) {
        unsigned char c = (unsigned char)*name;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '_' || (c == '.' && n > 0);
        out[n] = plain ? (char)c : n > 0 ? '-' : '_';
        n++;
    }
    out[n] = '\0';
}

/* A client may be called anything; what looks like an address for others is one of its names. */
static enum neap_err sort_client_names(struct maker *m)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->nnames; i++) {
        char text[2049];
        enum np_tls_name_kind kind;
        const char *name = m->names[i];
        enum neap_err err = np_tls_read_name(name, &kind, text, sizeof text, &m->info);
        bool plain = err || (kind == NP_TLS_NAME_DNS && !strchr(name, '.'));
        if (plain && i > 0)
            return err ? err : refuse(m, "client: one plain name is enough: ", name);
        if (i == 0 && !m->common_name && (plain || kind != NP_TLS_NAME_URI)) m->common_name = name;
        if (!plain) m->names[kept++] = name;
    }
    m->nnames = kept;
    m->info = (struct neap_errinfo){0};
    return NEAP_OK;
}

static enum neap_err gather_names(struct maker *m, bool client)
{
    if (m->nnames == 0 && !(client && m->args->spiffe))
        return refuse(m, m->what, ": for which name? (try: neap help cert)");
    if (!client && m->nnames == 1 && strcmp(m->names[0], "localhost") == 0) {
        m->names[m->nnames++] = "127.0.0.1";
        m->names[m->nnames++] = "::1";
    }
    enum neap_err err = client ? sort_client_names(m) : NEAP_OK;
    if (m->args->spiffe) m->names[m->nnames++] = m->args->spiffe;
    return err;
}

struct leaf_paths {
    char cert[NP_CERT_PATH_MAX];
    char chain[NP_CERT_PATH_MAX];
    char key[NP_CERT_PATH_MAX];
    char p12[NP_CERT_PATH_MAX];
};

static enum neap_err place(struct maker *m, bool client, struct leaf_paths *p)
{
    char base[100];
    char file[128];
    const char *dir = m->args->out ? m->args->out : ".";
    const char *side = client ? "-client" : "";
    struct {
        char *path;
        const char *end;
        bool wanted;
    } files[] = {{p->cert, ".pem", true},
                 {p->chain, "-fullchain.pem", !client},
                 {p->key, "-key.pem", true},
                 {p->p12, ".p12", m->args->p12 != NULL}};
    file_base(m, base, sizeof base);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(file, sizeof file, "%s%s%s", base, side, files[i].end);
        enum neap_err err = np_cert_path(files[i].path, dir, file, &m->info);
        if (!err && files[i].wanted) err = must_be_free(m, files[i].path);
        if (err) return err;
    }
    return m->args->out ? np_cert_make_dir(m->args->out, 0755, &m->info) : NEAP_OK;
}

static enum neap_err write_chain(struct maker *m, const struct np_tls_made *leaf, const char *path)
{
    struct np_buf b = {0};
    enum neap_err err = np_buf_append_str(&b, leaf->cert);
    if (!err) err = np_buf_append_str(&b, m->ca.cert);
    if (!err)
        err = np_cert_write(path, np_buf_data(&b), np_buf_len(&b), CERT_MODE, m->args->force,
                            &m->info);
    np_buf_fini(&b);
    return err;
}

static enum neap_err write_p12(struct maker *m, const struct np_tls_made *leaf, const char *path)
{
    char *data;
    size_t n;
    const char *name = m->common_name ? m->common_name : m->names[0];
    enum neap_err err = np_tls_make_p12(leaf, m->ca.cert, name, m->args->p12, &data, &n, &m->info);
    if (err) return err;
    err = np_cert_write(path, data, n, KEY_MODE, m->args->force, &m->info);
    explicit_bzero(data, n);
    np_free(data);
    return err;
}

/* A host that the certificate is for, as it stands in a URL. */
static void url_host(const struct maker *m, char *out, size_t size)
{
    const char *name = "localhost";
    for (size_t i = m->nnames; i-- > 0;) {
        if (!strstr(m->names[i], "://") && !strchr(m->names[i], '@')) name = m->names[i];
    }
    if (name[0] == '*')
        snprintf(out, size, "www%s", name + 1);
    else
        snprintf(out, size, strchr(name, ':') && name[0] != '[' ? "[%s]" : "%s", name);
}

static void say_leaf(const struct maker *m, bool client, const struct leaf_paths *p)
{
    if (m->made_ca) printf("Made an authority for development: %s\n", m->ca_cert);
    printf("Made a certificate for %s", m->common_name && client ? m->common_name : "");
    for (size_t i = 0; i < m->nnames; i++) {
        bool first = i == 0 && !(m->common_name && client);
        if (client && m->common_name && strcmp(m->common_name, m->names[i]) == 0) continue;
        printf("%s%s", first ? "" : ", ", m->names[i]);
    }
    printf(":\n  %s\n", p->cert);
    if (!client) printf("  %s   (with the authority's)\n", p->chain);
    printf("  %s   (private)\n", p->key);
    if (m->args->p12) printf("  %s   (all of it, for a browser)\n", p->p12);
    printf("\nUse it:\n");
    if (client) {
        printf("  curl --cacert %s --cert %s --key %s https://…\n"
               "  neap.http.client { tls = { ca = \"%s\", cert = \"%s\", key = \"%s\" } }\n",
               m->ca_cert, p->cert, p->key, m->ca_cert, p->cert, p->key);
    } else {
        char host[300];
        url_host(m, host, sizeof host);
        printf("  neap.http.serve { app = app, port = 8443, tls = { cert = \"%s\", key = \"%s\" } "
               "}\n  curl --cacert %s https://%s:8443/\n",
               p->chain, p->key, m->ca_cert, host);
    }
    if (m->made_ca) say_how_to_trust(m);
}

static enum neap_err cmd_leaf(struct maker *m, bool client)
{
    struct leaf_paths p;
    struct np_tls_made leaf = {0};
    enum neap_err err = gather_names(m, client);
    if (!err) err = place(m, client, &p);
    if (!err) err = read_ca(m, true);
    if (err) return err;
    m->options.names = m->names;
    m->options.nnames = m->nnames;
    m->options.common_name = m->common_name;
    m->options.server = !client;
    m->options.client = client || m->args->mutual;
    err = np_tls_make_cert(&m->options, &m->ca, &leaf, &m->info);
    if (!err) err = write_pair(m, &leaf, p.cert, p.key);
    if (!err && !client) err = write_chain(m, &leaf, p.chain);
    if (!err && m->args->p12) err = write_p12(m, &leaf, p.p12);
    if (!err) say_leaf(m, client, &p);
    np_tls_made_free(&leaf);
    return err;
}

/* --- the list, and showing */

static enum neap_err issue_list(struct maker *m, const char *path, char **pems)
{
    char *old = NULL;
    char *list = NULL;
    size_t added = 0;
    enum neap_err err = read_ca(m, false);
    if (!err && np_cert_exists(path)) err = np_cert_read(path, &old, &m->info);
    for (size_t i = 0; i < m->nnames && !err; i++)
        err = np_cert_read(m->names[i], &pems[i], &m->info);
    if (!err)
        err = np_tls_make_crl(&m->ca, old, (const char *const *)pems, m->nnames, m->options.days,
                              &list, &added, &m->info);
    if (!err) err = np_cert_write(path, list, strlen(list), CERT_MODE, true, &m->info);
    if (!err) printf("%s: %zu added\n", path, added);
    np_free(old);
    np_free(list);
    return err;
}

static enum neap_err cmd_crl(struct maker *m)
{
    char path[NP_CERT_PATH_MAX];
    char *pems[MAX_ARGS] = {0};
    if (m->nnames && !m->args->revoke)
        return refuse(m, "crl: --revoke puts certificates on the list: ", m->names[0]);
    if (!m->nnames && m->args->revoke) return refuse(m, "crl: --revoke: which certificates?", "");
    const char *dir = m->args->out ? m->args->out : m->ca_dir;
    enum neap_err err = np_cert_path(path, dir, CA_LIST, &m->info);
    if (!err && m->args->out) err = np_cert_make_dir(dir, 0755, &m->info);
    if (!err) err = issue_list(m, path, pems);
    for (size_t i = 0; i < m->nnames; i++)
        np_free(pems[i]);
    return err;
}

static enum neap_err cmd_show(struct maker *m)
{
    if (m->nnames == 0) return refuse(m, "show: which files?", "");
    enum neap_err err = NEAP_OK;
    for (size_t i = 0; i < m->nnames && !err; i++) {
        char *pem = NULL;
        struct np_buf b = {0};
        struct neap_errinfo why = {0};
        err = np_cert_read(m->names[i], &pem, &m->info);
        if (!err) err = np_tls_describe(pem, np_clock_wall() / NP_NS_PER_SEC, &b, &why);
        if (err && why.message[0]) np_err_set(&m->info, err, "%s: %s", m->names[i], why.message);
        if (!err && m->nnames > 1) printf("%s%s:\n", i ? "\n" : "", m->names[i]);
        if (!err) fwrite(np_buf_data(&b), 1, np_buf_len(&b), stdout);
        if (pem) explicit_bzero(pem, strlen(pem));
        np_free(pem);
        np_buf_fini(&b);
    }
    return err;
}

/* --- */

static enum neap_err cmd_server(struct maker *m)
{
    return cmd_leaf(m, false);
}

static enum neap_err cmd_client(struct maker *m)
{
    return cmd_leaf(m, true);
}

static const struct verb {
    const char *name;
    enum neap_err (*run)(struct maker *m);
} verbs[] = {{"server", cmd_server}, /* first: what a name alone stands for */
             {"client", cmd_client},
             {"ca", cmd_ca},
             {"crl", cmd_crl},
             {"show", cmd_show}};

/* The first argument says what; 0, or the exit code. */
static int read_verb(struct maker *m, const struct np_app *app, const struct verb **out)
{
    int first = 0;
    const struct verb *verb = &verbs[0];
    if (app->argc == 0) {
        return np_app_complain(NP_EXIT_USAGE, "cert: of what? (try: neap cert localhost, or: neap "
                                              "help cert)");
    }
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(app->argv[0], verbs[i].name) != 0) continue;
        verb = &verbs[i];
        first = 1;
    }
    if (app->argc - first > MAX_ARGS)
        return np_app_complain(NP_EXIT_USAGE, "cert: more than %d names", (int)MAX_ARGS);
    for (int i = first; i < app->argc; i++) {
        const char *arg = app->argv[i];
        if (arg[0] == '-' && arg[1]) {
            return np_app_complain(NP_EXIT_USAGE, "cert: unknown option '%s' (try: neap help cert)",
                                   arg);
        }
        m->names[m->nnames++] = arg;
    }
    m->what = verb->name;
    *out = verb;
    return 0;
}

int np_cmd_cert(struct np_app *app)
{
    struct maker m = {.args = &app->cert};
    const struct verb *verb = NULL;
    int code = read_verb(&m, app, &verb);
    if (code) return code;
    enum neap_err err = read_args(&m);
    if (!err) err = verb->run(&m);
    np_tls_made_free(&m.ca);
    if (!err && fflush(stdout))
        err = np_err_set(&m.info, NEAP_EIO, "standard output: %s", strerror(errno));
    return err ? complain(&m, err) : 0;
}
