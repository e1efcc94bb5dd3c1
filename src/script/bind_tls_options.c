/* The option table of neap.tls.context; see bind_tls_options.h. */
#include "script/bind_tls_options.h"

#include <string.h>

#define WATCH (10 * NP_NS_PER_SEC)

struct read {
    const char *cert, *key, *password, *ocsp;
    const char *ca, *crl, *verify, *min_version, *max_version;
    const char *ciphers, *ciphersuites, *groups, *ticket_keys, *key_log;
    bool system_ca, crl_check_all, check_name, prefer_server_ciphers, tickets, sessions,
        allow_truncation;
    int verify_depth;
    int64_t session_lifetime, reload_interval;
};

#define STRING(name)                                            \
    {                                                           \
#name, NP_OPT_STRING, offsetof(struct read, name), 0, 0 \
    }
#define BOOL(name)                                            \
    {                                                         \
#name, NP_OPT_BOOL, offsetof(struct read, name), 0, 0 \
    }
static const struct np_opt spec[] = {
    STRING(cert),
    STRING(key),
    STRING(password),
    STRING(ocsp),
    {"certs", NP_OPT_TABLE, 0, 0, 0},
    STRING(ca),
    BOOL(system_ca),
    STRING(crl),
    BOOL(crl_check_all),
    STRING(verify),
    BOOL(check_name),
    {"verify_depth", NP_OPT_INT, offsetof(struct read, verify_depth), 1, 100},
    STRING(min_version),
    STRING(max_version),
    STRING(ciphers),
    STRING(ciphersuites),
    STRING(groups),
    BOOL(prefer_server_ciphers),
    {"alpn", NP_OPT_TABLE, 0, 0, 0},
    BOOL(tickets),
    STRING(ticket_keys),
    BOOL(sessions),
    {"session_lifetime", NP_OPT_SECONDS, offsetof(struct read, session_lifetime), 1, 604800},
    STRING(key_log),
    BOOL(allow_truncation),
    {"sni", NP_OPT_FUNCTION, 0, 0, 0},
    {"reload_interval", NP_OPT_SECONDS, offsetof(struct read, reload_interval), 0, 0},
    {0}};

static const struct np_opt cert_spec[] = {
    STRING(cert), STRING(key), STRING(password), STRING(ocsp), {0}};

static enum np_tls_verify read_verify(lua_State *L, const char *path, const char *text)
{
    if (!text) return NP_TLS_VERIFY_DEFAULT;
    if (strcmp(text, "none") == 0) return NP_TLS_VERIFY_NONE;
    if (strcmp(text, "optional") == 0) return NP_TLS_VERIFY_OPTIONAL;
    if (strcmp(text, "required") == 0) return NP_TLS_VERIFY_REQUIRED;
    np_misuse(L, "%s.verify: expected none, optional or required, got '%s'", path, text);
    return NP_TLS_VERIFY_DEFAULT;
}

static int read_version(lua_State *L, const char *path, const char *name, const char *text)
{
    if (!text) return 0;
    if (strcmp(text, "1.2") == 0) return NP_TLS_1_2;
    if (strcmp(text, "1.3") == 0) return NP_TLS_1_3;
    np_misuse(L, "%s.%s: expected 1.2 or 1.3, got '%s'", path, name, text);
    return 0;
}

static struct np_tls_cert_source source(const struct read *r)
{
    return (struct np_tls_cert_source){r->cert, r->key, r->password, r->ocsp};
}

/* certs = { {cert=, key=}, … }, in memory that the stack holds. */
static void read_certs(lua_State *L, int idx, const char *path, struct np_ltls_options *out)
{
    lua_getfield(L, idx, "certs");
    int list = lua_gettop(L);
    lua_Unsigned n = lua_isnil(L, list) ? 0 : lua_rawlen(L, list);
    if (n == 0) return;
    if (n > NP_LTLS_MAX_CERTS) np_misuse(L, "%s.certs: more than %d", path, NP_LTLS_MAX_CERTS);
    struct np_tls_cert_source *certs = lua_newuserdatauv(L, n * sizeof *certs, 0);
    for (lua_Unsigned i = 0; i < n; i++) {
        struct read one = {0};
        lua_pushfstring(L, "%s.certs[%d]", path, (int)i + 1);
        const char *name = lua_tostring(L, -1);
        if (lua_rawgeti(L, list, (lua_Integer)i + 1) != LUA_TTABLE)
            np_misuse(L, "%s: expected table, got %s", name, luaL_typename(L, -1));
        np_opts_read(L, -1, name, cert_spec, &one);
        if (!one.cert) np_misuse(L, "%s.cert: expected string, got nil", name);
        certs[i] = source(&one);
        lua_pop(L, 2); /* the list's table holds the strings */
    }
    out->tls.certs = certs;
    out->tls.ncerts = n;
}

static void read_alpn(lua_State *L, int idx, const char *path, struct np_ltls_options *out)
{
    lua_getfield(L, idx, "alpn");
    int list = lua_gettop(L);
    lua_Unsigned n = lua_isnil(L, list) ? 0 : lua_rawlen(L, list);
    if (n > NP_LTLS_MAX_ALPN) np_misuse(L, "%s.alpn: more than %d", path, NP_LTLS_MAX_ALPN);
    for (lua_Unsigned i = 0; i < n; i++) {
        size_t len = 0;
        if (lua_rawgeti(L, list, (lua_Integer)i + 1) == LUA_TSTRING) lua_tolstring(L, -1, &len);
        if (len == 0 || len > 255)
            np_misuse(L, "%s.alpn[%d]: expected a protocol's name", path, (int)i + 1);
        out->alpn[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    out->tls.alpn = out->alpn;
    out->tls.nalpn = n;
}

/* In a sandbox a script names no files: it gives PEM text. */
static void refuse_files(lua_State *L, const char *path, const struct np_tls_options *o)
{
    if (!np_script_of(L)->sandbox) return;
    const char *named[] = {o->ca, o->crl, o->ticket_keys, o->key_log};
    bool file = o->ticket_keys || o->key_log;
    for (size_t i = 0; i < 2 && !file; i++)
        file = named[i] && !strstr(named[i], "-----BEGIN");
    for (size_t i = 0; i < o->ncerts && !file; i++)
        file = !strstr(o->certs[i].cert, "-----BEGIN") || o->certs[i].ocsp ||
               (o->certs[i].key && !strstr(o->certs[i].key, "-----BEGIN"));
    if (file) np_misuse(L, "%s: a script in a sandbox names no files; give PEM text", path);
}

void np_ltls_read_options(lua_State *L, int idx, const char *path, enum np_ltls_side side,
                          struct np_ltls_options *out)
{
    (void)side;
    struct read r = {.check_name = true,
                     .tickets = true,
                     .sessions = true,
                     .session_lifetime = 86400 * NP_NS_PER_SEC,
                     .reload_interval = WATCH};
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 16, NULL);
    np_opts_read(L, idx, path, spec, &r);
    *out = (struct np_ltls_options){.tls = NP_TLS_OPTIONS_INIT, .first = source(&r)};
    struct np_tls_options *o = &out->tls;
    read_certs(L, idx, path, out);
    if (r.cert && o->ncerts) np_misuse(L, "%s: expected cert or certs, not both", path);
    if (r.cert) {
        o->certs = &out->first;
        o->ncerts = 1;
    } else if (r.key || r.password || r.ocsp) {
        np_misuse(L, "%s.cert: expected string, got nil", path);
    }
    o->ca = r.ca;
    o->system_ca = r.system_ca;
    o->crl = r.crl;
    o->crl_check_all = r.crl_check_all;
    o->verify = read_verify(L, path, r.verify);
    o->skip_name_check = !r.check_name;
    o->verify_depth = r.verify_depth;
    o->min_version = read_version(L, path, "min_version", r.min_version);
    o->max_version = read_version(L, path, "max_version", r.max_version);
    o->ciphers = r.ciphers;
    o->ciphersuites = r.ciphersuites;
    o->groups = r.groups;
    o->prefer_server_ciphers = r.prefer_server_ciphers;
    read_alpn(L, idx, path, out);
    o->no_tickets = !r.tickets;
    o->ticket_keys = r.ticket_keys;
    o->no_sessions = !r.sessions;
    o->session_lifetime = r.session_lifetime;
    o->key_log = r.key_log;
    o->allow_truncation = r.allow_truncation;
    out->reload_interval = r.reload_interval;
    refuse_files(L, path, o);
    if (lua_getfield(L, idx, "sni") == LUA_TFUNCTION) out->sni_idx = lua_gettop(L);
}
