/* neap.core.udp: datagrams. What arrives is queued within a bound until a task receives it; what
 * finds the queue full is dropped and counted, as the kernel would.
 *
 * The C object outlives its userdata until its socket is gone.
 */
#include "net/udp.h"

#include <string.h>

#include "base/alloc.h"
#include "net/netpolicy.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/state.h"

#define TYPE "neap.udp"

struct datagram {
    struct np_link link;
    union np_addr from;
    size_t n;
    char data[];
};

struct ludp {
    struct np_udp *u;
    struct ludp **handle;
    bool closed;
    size_t max_queue;
    size_t queued; /* bytes, with what each datagram costs besides */
    uint64_t dropped;
    enum neap_err err;    /* to be reported by the next receive */
    struct np_link queue; /* of struct datagram */
    struct np_link receivers;
};

/* --- what the socket says */

static void on_recv(struct np_udp *u, const char *data, size_t n, const struct sockaddr *from,
                    bool truncated)
{
    struct ludp *k = np_udp_arg(u);
    size_t cost = sizeof(struct datagram) + n;
    struct datagram *d = k->queued + cost <= k->max_queue ? np_alloc(cost) : NULL;
    if (!d) {
        k->dropped++;
        return;
    }
    memcpy(&d->from, from, np_addr_len(from));
    memcpy(d->data, data, n);
    d->n = n;
    k->queued += cost;
    np_list_push_back(&k->queue, &d->link);
    np_wake_first(&k->receivers, NEAP_OK);
}

static void on_error(struct np_udp *u, enum neap_err err)
{
    struct ludp *k = np_udp_arg(u);
    k->err = err;
    np_wake_first(&k->receivers, NEAP_OK);
}

static void drop_queue(struct ludp *k)
{
    for (struct np_link *l; (l = np_list_pop_front(&k->queue));)
        np_free(np_container_of(l, struct datagram, link));
    k->queued = 0;
}

static void release(struct ludp *k)
{
    if (k->u || k->handle) return;
    drop_queue(k);
    np_free(k);
}

static void on_close(struct np_udp *u)
{
    struct ludp *k = np_udp_arg(u);
    k->u = NULL;
    release(k);
}

static void close_socket(struct ludp *k)
{
    if (k->closed) return;
    k->closed = true;
    drop_queue(k);
    if (k->u) np_udp_close(k->u);
    np_wake_all(&k->receivers, NEAP_ECLOSED);
}

static const struct np_udp_handler handler = {on_recv, on_error, on_close};

/* --- methods */

static struct ludp *check_any(lua_State *L)
{
    return *(struct ludp **)luaL_checkudata(L, 1, TYPE);
}

static struct ludp *check(lua_State *L)
{
    struct ludp *k = check_any(L);
    if (!k || k->closed) np_misuse(L, "this socket is closed");
    return k;
}

static int result(lua_State *L, enum neap_err err)
{
    if (err) return np_fail(L, err, NULL);
    lua_pushboolean(L, 1);
    return 1;
}

/* The same for what goes to `to` (NULL: to the peer). */
static int sent(lua_State *L, enum neap_err err, const union np_addr *to)
{
    char text[NP_ADDR_TEXT_MAX];
    const struct np_netpolicy *policy = np_script_of(L)->loop->policy;
    if (err != NEAP_EACCES || !to || np_netpolicy_allows_addr(policy, &to->sa))
        return result(L, err);
    np_addr_format(&to->sa, text, sizeof text);
    return np_fail(L, err, NP_NETPOLICY_WORDS, text);
}

/* An address and port at 'idx'. */
static bool read_address(lua_State *L, int idx, union np_addr *out)
{
    const char *host = luaL_checkstring(L, idx);
    lua_Integer port = luaL_checkinteger(L, idx + 1);
    luaL_argcheck(L, port >= 1 && port <= 65535, idx + 1, "a port is 1 to 65535");
    if (strcmp(host, "localhost") == 0) host = "127.0.0.1";
    return np_addr_from_ip(host, (int)port, out) == NEAP_OK;
}

static int no_address(lua_State *L, int idx)
{
    return np_fail(L, NEAP_EINVAL, "not an address: %.100s (neap.dns resolves names)",
                   lua_tostring(L, idx));
}

/* u:send(data[, host, port]) → true | nil, err. Without an address: to the connected peer. */
static int udp_send(lua_State *L)
{
    struct ludp *k = check(L);
    union np_addr to;
    size_t n;
    const char *data = luaL_checklstring(L, 2, &n);
    bool addressed = !lua_isnoneornil(L, 3);
    if (addressed && !read_address(L, 3, &to)) return no_address(L, 3);
    enum neap_err err = np_udp_send(k->u, data, n, addressed ? &to.sa : NULL);
    return sent(L, err, addressed ? &to : NULL);
}

static int recv_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct ludp *k = ctx;
    char host[NP_ADDR_TEXT_MAX];
    if (k->closed) return np_fail(L, NEAP_ECLOSED, "the socket was closed");
    struct np_link *l = k->queue.next;
    if (l == &k->queue) {
        if (!err) err = k->err ? k->err : NEAP_EAGAIN;
        k->err = NEAP_OK;
        return np_fail(L, err, NULL);
    }
    struct datagram *d = np_container_of(l, struct datagram, link);
    int port = np_addr_port(&d->from.sa);
    np_addr_format_ip(&d->from.sa, host, sizeof host);
    lua_pushlstring(L, d->data, d->n);
    if (k->queue.next == l) { /* else a finaliser has taken it, or closed the socket */
        np_list_remove(l);
        k->queued -= sizeof *d + d->n;
        np_free(d);
    }
    lua_pushstring(L, host);
    lua_pushinteger(L, port);
    return 3;
}

/* u:recv{timeout=} → data, host, port | nil, err */
static int udp_recv(lua_State *L)
{
    struct {
        int64_t timeout;
    } o = {NP_NO_TIMEOUT};
    static const struct np_opt spec[] = {{"timeout", NP_OPT_SECONDS, 0, 0, 0}, {0}};
    struct ludp *k = check(L);
    np_opts_read(L, 2, "opts", spec, &o);
    if (!np_list_empty(&k->queue) || k->err) return recv_k(L, NEAP_OK, k);
    struct np_task *t = np_task_current(L);
    np_wait_enqueue(&k->receivers, &t->sleep);
    return np_wait(L, &t->sleep, o.timeout, np_wait_dequeue, recv_k, k);
}

/* u:connect(host, port) → true | nil, err: fixes the peer. */
static int udp_connect(lua_State *L)
{
    struct ludp *k = check(L);
    union np_addr to;
    if (!read_address(L, 2, &to)) return no_address(L, 2);
    return sent(L, np_udp_connect(k->u, &to.sa), &to);
}

static int membership(lua_State *L, bool join)
{
    struct ludp *k = check(L);
    const char *group = luaL_checkstring(L, 2);
    const char *iface = luaL_optstring(L, 3, NULL);
    return result(L, np_udp_membership(k->u, group, iface, join));
}

/* u:join(group[, interface address]) → true | nil, err */
static int udp_join(lua_State *L)
{
    return membership(L, true);
}

/* u:leave(group[, interface address]) → true | nil, err */
static int udp_leave(lua_State *L)
{
    return membership(L, false);
}

static int udp_close(lua_State *L)
{
    struct ludp *k = check_any(L);
    if (k) close_socket(k);
    return 0;
}

static int udp_gc(lua_State *L)
{
    struct ludp **box = lua_touserdata(L, 1);
    struct ludp *k = *box;
    *box = NULL;
    if (!k) return 0;
    k->handle = NULL;
    close_socket(k);
    release(k);
    return 0;
}

static bool local(struct ludp *k, char *out, size_t size, int *port)
{
    return k && !k->closed && np_udp_local(k->u, out, size, port) == NEAP_OK;
}

static int udp_tostring(lua_State *L)
{
    char text[NP_ADDR_TEXT_MAX];
    struct ludp *k = check_any(L);
    bool open = local(k, text, sizeof text, NULL);
    lua_pushfstring(L, "neap.udp: %s", open ? text : !k || k->closed ? "closed" : "unbound");
    return 1;
}

/* The upvalue holds the methods. */
static int udp_index(lua_State *L)
{
    struct ludp *k = check_any(L);
    const char *key = luaL_checkstring(L, 2);
    char text[NP_ADDR_TEXT_MAX];
    int port;
    lua_settop(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
    if (strcmp(key, "closed") == 0) return lua_pushboolean(L, !k || k->closed), 1;
    if (strcmp(key, "dropped") == 0) return lua_pushinteger(L, k ? (lua_Integer)k->dropped : 0), 1;
    if (strcmp(key, "address") == 0 && local(k, text, sizeof text, &port))
        return lua_pushstring(L, text), 1;
    if (strcmp(key, "port") == 0 && local(k, text, sizeof text, &port))
        return lua_pushinteger(L, port), 1;
    return 1;
}

/* --- open */

struct options {
    struct np_udp_options udp;
    const char *host;
    int port;
    size_t max_queue;
    int ttl;
    bool loopback;
};

static const struct np_opt open_spec[] = {
    {"host", NP_OPT_STRING, offsetof(struct options, host), 0, 0},
    {"port", NP_OPT_INT, offsetof(struct options, port), 0, 65535},
    {"reuse_port", NP_OPT_BOOL, offsetof(struct options, udp.reuse_port), 0, 0},
    {"v6_only", NP_OPT_BOOL, offsetof(struct options, udp.v6_only), 0, 0},
    {"broadcast", NP_OPT_BOOL, offsetof(struct options, udp.broadcast), 0, 0},
    {"recv_buffer", NP_OPT_INT, offsetof(struct options, udp.recv_buffer), 1, 1 << 30},
    {"send_buffer", NP_OPT_INT, offsetof(struct options, udp.send_buffer), 1, 1 << 30},
    {"max_queue", NP_OPT_SIZE, offsetof(struct options, max_queue), 1, 1 << 30},
    {"multicast_ttl", NP_OPT_INT, offsetof(struct options, ttl), 1, 255},
    {"multicast_loop", NP_OPT_BOOL, offsetof(struct options, loopback), 0, 0},
    {0}};

static struct ludp *object_new(lua_State *L, size_t max_queue)
{
    struct ludp **handle = lua_newuserdatauv(L, sizeof(struct ludp *), 0);
    *handle = NULL;
    luaL_setmetatable(L, TYPE);
    struct ludp *k = np_calloc(1, sizeof *k);
    if (!k) luaL_error(L, "not enough memory");
    *handle = k;
    k->handle = handle;
    k->max_queue = max_queue;
    np_link_init(&k->queue);
    np_link_init(&k->receivers);
    return k;
}

/* open{host="127.0.0.1", port=0, …} → socket | nil, err */
static int udp_open(lua_State *L)
{
    struct options o = {.host = "127.0.0.1", .max_queue = 1 << 20, .ttl = 1, .loopback = true};
    np_opts_read(L, 1, "opts", open_spec, &o);
    if (np_script_of(L)->closing) return np_fail(L, NEAP_ECLOSED, "the host is closing");
    struct ludp *k = object_new(L, o.max_queue);
    struct np_loop *loop = np_script_of(L)->loop;
    o.udp.share = np_script_of(L)->share;
    struct neap_errinfo info;
    enum neap_err err = np_udp_open(loop, o.host, o.port, &o.udp, &handler, k, &k->u, &info);
    if (err) return np_fail_info(L, &info);
    err = np_udp_multicast(k->u, o.ttl, o.loopback);
    if (!err) err = np_udp_recv_start(k->u);
    if (err) return np_fail(L, err, NULL); /* the finaliser closes it */
    return 1;
}

int np_open_udp(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"send", udp_send}, {"recv", udp_recv},   {"connect", udp_connect},
        {"join", udp_join}, {"leave", udp_leave}, {"close", udp_close},
        {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__gc", udp_gc}, {"__close", udp_close}, {"__tostring", udp_tostring}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"open", udp_open}, {NULL, NULL}};
    np_type_new(L, TYPE, NULL, meta);
    luaL_getmetatable(L, TYPE);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, udp_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
