/* Who asks, and what stands in front of a server; see bind_http_front.h. */
#include "script/bind_http_front.h"

#include <string.h>

#include "http/asker.h"
#include "script/bind_cidr.h"
#include "script/bind_http_request.h"
#include "script/bind_proxy.h"
#include "script/luax.h"

/* --- options */

static enum np_forwarded_kind kind_of(lua_State *L, const char *word)
{
    static const char *const words[] = {[NP_FORWARDED_X_FIRST] = "x-forwarded",
                                        [NP_FORWARDED_RFC_FIRST] = "forwarded",
                                        [NP_FORWARDED_X_ONLY] = "x-forwarded-only",
                                        [NP_FORWARDED_RFC_ONLY] = "forwarded-only"};
    for (int i = 0; i < 4; i++)
        if (strcmp(word, words[i]) == 0) return (enum np_forwarded_kind)i;
    np_misuse(L,
              "opts.forwarded: expected \"x-forwarded\", \"forwarded\", \"x-forwarded-only\" or "
              "\"forwarded-only\", got '%s'",
              word);
    return NP_FORWARDED_X_FIRST;
}

void np_http_front_read(lua_State *L, int opts_idx, struct np_http_front *front,
                        struct np_http_server_options *out)
{
    if (front->forwarded_kind) front->forwarded.kind = kind_of(L, front->forwarded_kind);
    lua_getfield(L, opts_idx, "proxy_protocol");
    if (np_lproxy_listen_option(L, -1, "opts.proxy_protocol", &front->proxied))
        out->proxied = &front->proxied;
    lua_remove(L, -2);
    if (lua_getfield(L, opts_idx, "trusted_proxies") != LUA_TNIL) {
        front->forwarded.trusted = *np_lcidr_option(L, -1, "opts.trusted_proxies");
        lua_remove(L, -2);
    }
    out->forwarded = &front->forwarded;
}

/* --- what requests tell */

static int gone(lua_State *L)
{
    return np_misuse(L, "the request has been answered, or its client has left");
}

/* Of the request at 1; raises when that is over and nothing of it was kept. */
static struct np_http_exchange *exchange(lua_State *L)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    if (!r->x) gone(L);
    return r->x;
}

static const struct np_http_asker *asker(lua_State *L, struct np_http_asker *room)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    if (!r->x && r->kept) return &r->kept->asker;
    np_http_exchange_asker(exchange(L), room);
    return room;
}

static int get_client(lua_State *L)
{
    struct np_http_asker room;
    lua_pushstring(L, asker(L, &room)->client);
    return 1;
}

static int get_scheme(lua_State *L)
{
    struct np_http_asker room;
    lua_pushstring(L, asker(L, &room)->scheme);
    return 1;
}

static bool has_port(struct np_bytes host)
{
    const char *close = host.n && host.p[0] == '[' ? memchr(host.p, ']', host.n) : host.p;
    return close && memchr(close, ':', host.n - (size_t)(close - host.p));
}

/* What was asked for, with the port where that is not the scheme's own; the connection's address
 * where the client named none. */
static void push_host(lua_State *L, const struct np_http_asker *a)
{
    char local[NP_ADDR_TEXT_MAX] = "unix:";
    struct np_http_req *r = np_http_req_check(L, 1);
    const struct np_stream *s = r->x ? np_http_exchange_stream(r->x) : NULL;
    int usual = strcmp(a->scheme, "https") == 0 ? 443 : 80;
    if (a->host.n == 0) {
        if (s) (void)!np_stream_local((struct np_stream *)s, local, sizeof local);
        lua_pushstring(L, strncmp(local, "unix:", 5) == 0 ? "localhost" : local);
        return;
    }
    lua_pushlstring(L, a->host.p, a->host.n);
    if (a->port < 0 || a->port == usual || has_port(a->host)) return;
    lua_pushfstring(L, ":%d", a->port);
    lua_concat(L, 2);
}

static int get_host(lua_State *L)
{
    struct np_http_asker room;
    push_host(L, asker(L, &room));
    return 1;
}

/* In absolute form the target is the URL already, but for what the proxies know better. */
static int get_url(lua_State *L)
{
    struct np_http_asker room;
    const struct np_http_asker *a = asker(L, &room);
    struct np_http_req *r = np_http_req_check(L, 1);
    const struct np_http_head *h = r->x ? &r->x->head : &r->kept->head;
    luaL_checkstack(L, 8, NULL);
    lua_pushstring(L, a->scheme);
    lua_pushliteral(L, "://");
    push_host(L, a);
    bool rooted = h->path.n > 0 && h->path.p[0] == '/';
    lua_pushlstring(L, rooted ? h->path.p : "/", rooted ? h->path.n : 1);
    lua_pushstring(L, h->query.n ? "?" : "");
    lua_pushlstring(L, h->query.n ? h->query.p : "", h->query.n);
    lua_concat(L, 6);
    return 1;
}

static int get_id(lua_State *L)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    bool kept = !r->x && r->kept;
    lua_pushstring(L, kept ? r->kept->id : np_http_exchange_id(exchange(L)));
    return 1;
}

static int get_proxy(lua_State *L)
{
    np_lproxy_push_info(L, np_http_exchange_stream(exchange(L)));
    return 1;
}

/* Whether the connection's peer is a trusted proxy. */
static int get_from_proxy(lua_State *L)
{
    struct np_http_asker room;
    lua_pushboolean(L, asker(L, &room)->trusted);
    return 1;
}

/* req:peer_credentials() → {pid=, uid=, gid=} | nil, err */
static int request_peer_credentials(lua_State *L)
{
    return np_lproxy_push_credentials(L, np_http_exchange_stream(exchange(L)));
}

void np_http_add_front(lua_State *L)
{
    static const luaL_Reg getters[] = {{"client", get_client},
                                       {"scheme", get_scheme},
                                       {"host", get_host},
                                       {"url", get_url},
                                       {"proxy", get_proxy},
                                       {"id", get_id},
                                       {"from_proxy", get_from_proxy},
                                       {NULL, NULL}};
    static const luaL_Reg methods[] = {{"peer_credentials", request_peer_credentials},
                                       {NULL, NULL}};
    np_lproxy_open(L);
    lua_getfield(L, -1, "request_getters");
    luaL_setfuncs(L, getters, 0);
    lua_pop(L, 1);
    lua_getfield(L, -1, "request_methods");
    luaL_setfuncs(L, methods, 0);
    lua_pop(L, 1);
}
