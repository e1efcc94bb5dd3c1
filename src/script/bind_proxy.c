/* The PROXY protocol as scripts see it; see bind_proxy.h. */
#include "script/bind_proxy.h"

#include <string.h>

#include "net/credentials.h"
#include "script/bind_cidr.h"
#include "script/bind_stream.h"

/* --- listening */

bool np_lproxy_listen_option(lua_State *L, int idx, const char *path,
                             struct np_proxied_options *out)
{
    static const struct np_opt spec[] = {
        {"required", NP_OPT_BOOL, offsetof(struct np_proxied_options, required), 0, 0},
        {"timeout", NP_OPT_SECONDS, offsetof(struct np_proxied_options, timeout), 0, 0},
        {"max_waiting", NP_OPT_SIZE, offsetof(struct np_proxied_options, max_waiting), 1, 1 << 20},
        {"trusted", NP_OPT_ANY, 0, 0, 0},
        {0}};
    char trusted_path[64];
    *out = (struct np_proxied_options)NP_PROXIED_OPTIONS_INIT;
    idx = lua_absindex(L, idx);
    if (!lua_istable(L, idx)) {
        if (!lua_isnil(L, idx) && !lua_isboolean(L, idx))
            np_misuse(L, "%s: expected boolean or table, got %s", path, luaL_typename(L, idx));
        bool wanted = lua_toboolean(L, idx);
        lua_pushnil(L);
        return wanted;
    }
    np_opts_read(L, idx, path, spec, out);
    snprintf(trusted_path, sizeof trusted_path, "%s.trusted", path);
    if (lua_getfield(L, idx, "trusted") == LUA_TNIL) return true;
    out->trusted = *np_lcidr_option(L, -1, trusted_path);
    lua_remove(L, -2);
    return true;
}

/* --- what was received */

static void set_bytes(lua_State *L, const char *name, struct np_bytes v)
{
    if (!v.p) return;
    lua_pushlstring(L, v.p, v.n);
    lua_setfield(L, -2, name);
}

static void push_ssl(lua_State *L, const struct np_proxy_ssl *ssl)
{
    bool cert = (ssl->client & (NP_PROXY_SSL_CERT_CONN | NP_PROXY_SSL_CERT_SESS)) != 0;
    lua_createtable(L, 0, 8);
    set_bytes(L, "version", ssl->version);
    set_bytes(L, "cipher", ssl->cipher);
    set_bytes(L, "common_name", ssl->cn);
    set_bytes(L, "signature_algorithm", ssl->sig_alg);
    set_bytes(L, "key_algorithm", ssl->key_alg);
    set_bytes(L, "group", ssl->group);
    lua_pushboolean(L, (ssl->client & NP_PROXY_SSL) != 0);
    lua_setfield(L, -2, "secure");
    lua_pushboolean(L, cert);
    lua_setfield(L, -2, "has_certificate");
    lua_pushboolean(L, cert && ssl->verify == 0);
    lua_setfield(L, -2, "verified");
}

static void set_address(lua_State *L, const char *name, enum np_proxy_family family,
                        const struct np_proxy_address *a)
{
    char text[NP_PROXY_ADDRESS_TEXT];
    np_proxy_address_format(family, a, text);
    if (!*text) return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

void np_lproxy_push_info(lua_State *L, const struct np_stream *s)
{
    struct np_proxy_header h;
    luaL_checkstack(L, 6, NULL);
    if (!s || !np_proxied_header(s, &h)) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, 0, 8);
    lua_pushinteger(L, h.version);
    lua_setfield(L, -2, "version");
    lua_pushboolean(L, h.local);
    lua_setfield(L, -2, "is_local");
    set_address(L, "source", h.family, &h.source);
    set_address(L, "destination", h.family, &h.destination);
    set_bytes(L, "alpn", h.alpn);
    set_bytes(L, "authority", h.authority);
    set_bytes(L, "unique_id", h.unique_id);
    set_bytes(L, "netns", h.netns);
    if (!h.has_ssl) return;
    push_ssl(L, &h.ssl);
    lua_setfield(L, -2, "ssl");
}

/* --- sending */

struct header_options {
    int version;
    const char *source, *destination;
    bool is_local, checksum;
};

static const struct np_opt header_spec[] = {
    {"version", NP_OPT_INT, offsetof(struct header_options, version), 1, 2},
    {"source", NP_OPT_STRING, offsetof(struct header_options, source), 0, 0},
    {"destination", NP_OPT_STRING, offsetof(struct header_options, destination), 0, 0},
    {"is_local", NP_OPT_BOOL, offsetof(struct header_options, is_local), 0, 0},
    {"checksum", NP_OPT_BOOL, offsetof(struct header_options, checksum), 0, 0},
    {"alpn", NP_OPT_ANY, 0, 0, 0},
    {"authority", NP_OPT_ANY, 0, 0, 0},
    {"unique_id", NP_OPT_ANY, 0, 0, 0},
    {"netns", NP_OPT_ANY, 0, 0, 0},
    {"ssl", NP_OPT_TABLE, 0, 0, 0},
    {0}};

/* Field `name` of the table at `idx`, any bytes; the table holds them. */
static struct np_bytes bytes_at(lua_State *L, int idx, const char *path, const char *name)
{
    struct np_bytes v = {NULL, 0};
    int type = lua_getfield(L, idx, name);
    if (type != LUA_TNIL && type != LUA_TSTRING)
        np_misuse(L, "%s.%s: expected string, got %s", path, name, lua_typename(L, type));
    if (type == LUA_TSTRING) v.p = lua_tolstring(L, -1, &v.n);
    lua_pop(L, 1);
    return v;
}

static void read_ssl(lua_State *L, const char *path, struct np_proxy_ssl *out)
{
    struct ssl_options {
        bool secure, has_certificate, verified;
    } o = {true, false, false};
    static const struct np_opt spec[] = {
        {"secure", NP_OPT_BOOL, offsetof(struct ssl_options, secure), 0, 0},
        {"has_certificate", NP_OPT_BOOL, offsetof(struct ssl_options, has_certificate), 0, 0},
        {"verified", NP_OPT_BOOL, offsetof(struct ssl_options, verified), 0, 0},
        {"version", NP_OPT_ANY, 0, 0, 0},
        {"cipher", NP_OPT_ANY, 0, 0, 0},
        {"common_name", NP_OPT_ANY, 0, 0, 0},
        {"signature_algorithm", NP_OPT_ANY, 0, 0, 0},
        {"key_algorithm", NP_OPT_ANY, 0, 0, 0},
        {"group", NP_OPT_ANY, 0, 0, 0},
        {0}};
    int idx = lua_gettop(L);
    np_opts_read(L, idx, path, spec, &o);
    out->client = (uint8_t)((o.secure ? NP_PROXY_SSL : 0) |
                            (o.has_certificate || o.verified ? NP_PROXY_SSL_CERT_CONN : 0));
    out->verify = o.verified ? 0 : 1;
    out->version = bytes_at(L, idx, path, "version");
    out->cipher = bytes_at(L, idx, path, "cipher");
    out->cn = bytes_at(L, idx, path, "common_name");
    out->sig_alg = bytes_at(L, idx, path, "signature_algorithm");
    out->key_alg = bytes_at(L, idx, path, "key_algorithm");
    out->group = bytes_at(L, idx, path, "group");
}

static void read_addresses(lua_State *L, const char *path, const struct header_options *o,
                           struct np_proxy_header *h)
{
    enum np_proxy_family to;
    if (!o->source != !o->destination)
        np_misuse(L, "%s: source and destination are given together", path);
    if (!o->source) return;
    if (np_proxy_address_parse(o->source, &h->family, &h->source))
        np_misuse(L, "%s.source: '%s' is not an address with a port", path, o->source);
    if (np_proxy_address_parse(o->destination, &to, &h->destination))
        np_misuse(L, "%s.destination: '%s' is not an address with a port", path, o->destination);
    if (to != h->family)
        np_misuse(L, "%s: source and destination are not of the same family", path);
}

/* Returns false when it names no address: the connection's own are meant. */
static bool read_header(lua_State *L, int idx, const char *path, struct np_proxy_header *h)
{
    struct header_options o = {.version = 2};
    char ssl_path[64];
    np_opts_read(L, idx, path, header_spec, &o);
    *h =
        (struct np_proxy_header){.version = o.version, .local = o.is_local, .checksum = o.checksum};
    read_addresses(L, path, &o, h);
    h->alpn = bytes_at(L, idx, path, "alpn");
    h->authority = bytes_at(L, idx, path, "authority");
    h->unique_id = bytes_at(L, idx, path, "unique_id");
    h->netns = bytes_at(L, idx, path, "netns");
    snprintf(ssl_path, sizeof ssl_path, "%s.ssl", path);
    if (lua_getfield(L, idx, "ssl") == LUA_TTABLE) {
        h->has_ssl = true;
        read_ssl(L, ssl_path, &h->ssl);
    }
    lua_pop(L, 1);
    return o.source || o.is_local;
}

static void push_header(lua_State *L, const char *path, const struct np_proxy_header *h)
{
    struct np_buf b;
    np_buf_init(&b);
    enum neap_err err = np_proxy_write(&b, h);
    if (err == NEAP_EINVAL)
        np_misuse(L,
                  h->version == 1 ? "%s: version 1 has no room for that"
                                  : "%s: a PROXY header has no room for that",
                  path);
    if (err) luaL_error(L, "not enough memory");
    /* The copy may raise; by then the buffer must be gone. */
    char text[NP_PROXY_MAX];
    size_t n = np_buf_len(&b);
    memcpy(text, np_buf_data(&b), n);
    np_buf_fini(&b);
    lua_pushlstring(L, text, n);
}

int np_lproxy_header(lua_State *L)
{
    struct np_proxy_header h;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    read_header(L, 1, "opts", &h);
    push_header(L, "opts", &h);
    return 1;
}

void np_lproxy_dial_option(lua_State *L, int idx, const char *path)
{
    struct np_proxy_header h;
    idx = lua_absindex(L, idx);
    if (lua_isnoneornil(L, idx) || (lua_isboolean(L, idx) && !lua_toboolean(L, idx))) {
        lua_pushnil(L);
    } else if (lua_type(L, idx) == LUA_TSTRING) {
        const char *word = lua_tostring(L, idx);
        if (strcmp(word, "v1") != 0 && strcmp(word, "v2") != 0)
            np_misuse(L, "%s: expected \"v1\", \"v2\" or a table, got '%s'", path, word);
        lua_pushinteger(L, word[1] - '0');
    } else if (lua_istable(L, idx)) {
        bool named = read_header(L, idx, path, &h);
        bool more = h.alpn.p || h.authority.p || h.unique_id.p || h.netns.p || h.has_ssl;
        if (named || more)
            push_header(L, path, &h);
        else
            lua_pushinteger(L, h.version);
    } else {
        np_misuse(L, "%s: expected string or table, got %s", path, luaL_typename(L, idx));
    }
}

enum neap_err np_lproxy_write_own(struct np_stream *s, int version)
{
    struct np_proxy_header h = {.version = version};
    enum np_proxy_family to = NP_PROXY_UNSPEC;
    char local[NP_ADDR_TEXT_MAX], peer[NP_ADDR_TEXT_MAX];
    struct np_buf b;
    np_buf_init(&b);
    enum neap_err err = np_stream_local(s, local, sizeof local);
    if (!err) err = np_stream_peer(s, peer, sizeof peer);
    if (err) return err;
    if (np_proxy_address_parse(local, &h.family, &h.source) ||
        np_proxy_address_parse(peer, &to, &h.destination) || to != h.family ||
        (version == 1 && h.family == NP_PROXY_UNIX)) {
        h.family = NP_PROXY_UNSPEC; /* it has no address that the header could name */
        h.local = version == 2;
    }
    err = np_proxy_write(&b, &h);
    if (!err) err = np_stream_write(s, np_buf_data(&b), np_buf_len(&b));
    np_buf_fini(&b);
    return err;
}

/* --- the stream's methods */

/* s:proxy() → table | nil */
static int stream_proxy(lua_State *L)
{
    np_lproxy_push_info(L, np_lstream_check(L, 1)->s);
    return 1;
}

int np_lproxy_push_credentials(lua_State *L, const struct np_stream *s)
{
    struct np_credentials c;
    enum neap_err err = s ? np_stream_credentials(s, &c) : NEAP_ECLOSED;
    if (err == NEAP_ENOTSUP) return np_fail(L, err, "not a unix socket");
    if (err) return np_fail(L, err, NULL);
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, c.pid);
    lua_setfield(L, -2, "pid");
    lua_pushinteger(L, (lua_Integer)c.uid);
    lua_setfield(L, -2, "uid");
    lua_pushinteger(L, (lua_Integer)c.gid);
    lua_setfield(L, -2, "gid");
    return 1;
}

/* s:peer_credentials() → {pid=, uid=, gid=} | nil, err */
static int stream_peer_credentials(lua_State *L)
{
    return np_lproxy_push_credentials(L, np_lstream_check(L, 1)->s);
}

const luaL_Reg np_lproxy_stream_methods[] = {
    {"proxy", stream_proxy}, {"peer_credentials", stream_peer_credentials}, {NULL, NULL}};

void np_lproxy_open(lua_State *L)
{
    np_lcidr_open(L);
}
