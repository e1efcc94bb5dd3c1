/* neap.core.bus: publish, request, flush. Subscriptions, the server and the connection stand in
 * files of their own.
 *
 * A request and a flush live in a userdata on the waiting task's stack, whose finaliser takes them
 * back; so a task that is abandoned leaves nothing behind.
 */
#include "script/bind_bus.h"

#include "bus/request.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/state.h"

#define REQUEST "neap.bus.request"
#define FLUSH "neap.bus.flush"

struct publish_options {
    const char *reply;
};

static const struct np_opt publish_spec[] = {
    {"reply", NP_OPT_STRING, offsetof(struct publish_options, reply), 0, 0},
    {"headers", NP_OPT_TABLE, 0, 0, 0},
    {0}};

/* Pushes the option, or nil. */
static int push_option(lua_State *L, int opts, const char *name)
{
    if (lua_istable(L, opts)) {
        lua_getfield(L, opts, name);
    } else {
        lua_pushnil(L);
    }
    return lua_gettop(L);
}

/* publish(subject, data, {reply=, headers=}) → true | nil, err */
static int bus_publish(lua_State *L)
{
    struct np_bus *bus = np_bus_check(L);
    struct np_bus_out out;
    if (lua_isnoneornil(L, 3)) {
        np_bus_read_out(L, 1, 2, 0, &out);
        return np_bus_published(L, np_bus_publish(bus, &out, NULL, NULL), &out);
    }
    struct publish_options o = {NULL};
    np_opts_read(L, 3, "opts", publish_spec, &o);
    lua_settop(L, 3);
    int reply = push_option(L, 3, "reply");
    np_bus_read_out(L, 1, 2, push_option(L, 3, "headers"), &out);
    if (!lua_isnil(L, reply)) out.reply.p = lua_tolstring(L, reply, &out.reply.n);
    return np_bus_published(L, np_bus_publish(bus, &out, NULL, NULL), &out);
}

/* --- request */

struct request {
    struct np_bus_request r;
    struct np_wait wait;
    struct np_bus_msg *answer;
};

static void on_answer(struct np_bus_request *r, enum neap_err err, struct np_bus_msg *m)
{
    struct request *q = np_container_of(r, struct request, r);
    if (m) q->answer = np_bus_msg_ref(m);
    np_wake(&q->wait, err);
}

static void cancel_request(struct np_wait *w)
{
    np_bus_request_cancel(&np_container_of(w, struct request, wait)->r);
}

static int request_gc(lua_State *L)
{
    struct request *q = luaL_checkudata(L, 1, REQUEST);
    np_bus_request_cancel(&q->r);
    np_bus_msg_unref(q->answer);
    q->answer = NULL;
    return 0;
}

static int request_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct request *q = ctx;
    const char *subject = lua_tostring(L, 1);
    if (err == NEAP_ENORESPONDERS) return np_fail(L, err, "nobody answers on '%s'", subject);
    if (err == NEAP_ETIMEDOUT) return np_fail(L, err, "no answer from '%s' in time", subject);
    if (err) return np_fail(L, err, NULL);
    struct np_bus_msg **box = np_bus_push_msg(L);
    *box = q->answer;
    q->answer = NULL;
    return 1;
}

/* request(subject, data, {timeout=1, headers=}) → msg | nil, err */
static int bus_request(lua_State *L)
{
    struct {
        int64_t timeout;
    } o = {NP_NS_PER_SEC};
    static const struct np_opt spec[] = {
        {"timeout", NP_OPT_SECONDS, 0, 0, 0}, {"headers", NP_OPT_TABLE, 0, 0, 0}, {0}};
    struct np_bus *bus = np_bus_check(L);
    struct np_bus_out out;
    np_opts_read(L, 3, "opts", spec, &o);
    lua_settop(L, 3);
    np_bus_read_out(L, 1, 2, push_option(L, 3, "headers"), &out);
    np_task_current(L); /* raises outside of one */
    struct request *q = lua_newuserdatauv(L, sizeof *q, 0);
    *q = (struct request){0};
    np_bus_request_init(&q->r, bus, on_answer);
    luaL_setmetatable(L, REQUEST);
    enum neap_err err = np_bus_request_start(&q->r, &out, 0);
    if (err) return np_bus_published(L, err, &out);
    return np_wait(L, &q->wait, o.timeout, cancel_request, request_k, q);
}

/* --- flush */

struct flush {
    struct np_bus_flush f;
    struct np_wait wait;
};

static void on_flush(struct np_bus_flush *f, enum neap_err err)
{
    np_wake(&np_container_of(f, struct flush, f)->wait, err);
}

static void cancel_flush(struct np_wait *w)
{
    np_bus_flush_cancel(&np_container_of(w, struct flush, wait)->f);
}

static int flush_gc(lua_State *L)
{
    struct flush *q = luaL_checkudata(L, 1, FLUSH);
    np_bus_flush_cancel(&q->f);
    return 0;
}

static int flush_k(lua_State *L, enum neap_err err, void *ctx)
{
    if (err) return np_fail(L, err, NULL);
    lua_pushboolean(L, 1);
    return 1;
}

/* flush{timeout=5} → true | nil, err */
static int bus_flush(lua_State *L)
{
    struct {
        int64_t timeout;
    } o = {5 * NP_NS_PER_SEC};
    static const struct np_opt spec[] = {{"timeout", NP_OPT_SECONDS, 0, 0, 0}, {0}};
    struct np_bus *bus = np_bus_check(L);
    np_opts_read(L, 1, "opts", spec, &o);
    np_task_current(L);
    struct flush *q = lua_newuserdatauv(L, sizeof *q, 0);
    *q = (struct flush){0};
    np_bus_flush_init(&q->f, on_flush);
    luaL_setmetatable(L, FLUSH);
    enum neap_err err = np_bus_flush_start(bus, &q->f);
    if (err) return np_fail(L, err, NULL);
    return np_wait(L, &q->wait, o.timeout, cancel_flush, flush_k, q);
}

/* --- the rest */

/* inbox() → a subject of one's own to be answered on */
static int bus_inbox(lua_State *L)
{
    char inbox[NP_BUS_INBOX_MAX];
    np_bus_new_inbox(inbox);
    lua_pushstring(L, inbox);
    return 1;
}

/* stats() → {subscriptions=, published=, published_bytes=, delivered=, dropped=, forwarded=} */
static int bus_stats(lua_State *L)
{
    struct np_bus_stats stats;
    np_bus_get_stats(np_bus_check(L), &stats);
    lua_createtable(L, 0, 6);
    np_set_count(L, "subscriptions", stats.subs);
    np_set_count(L, "published", stats.published);
    np_set_count(L, "published_bytes", stats.published_bytes);
    np_set_count(L, "delivered", stats.delivered);
    np_set_count(L, "dropped", stats.dropped);
    np_set_count(L, "forwarded", stats.forwarded);
    return 1;
}

int np_open_bus(lua_State *L)
{
    static const luaL_Reg functions[] = {{"publish", bus_publish}, {"request", bus_request},
                                         {"flush", bus_flush},     {"inbox", bus_inbox},
                                         {"stats", bus_stats},     {NULL, NULL}};
    static const luaL_Reg request_meta[] = {{"__gc", request_gc}, {NULL, NULL}};
    static const luaL_Reg flush_meta[] = {{"__gc", flush_gc}, {NULL, NULL}};
    np_type_new(L, REQUEST, NULL, request_meta);
    np_type_new(L, FLUSH, NULL, flush_meta);
    np_bus_add_msg(L);
    luaL_newlib(L, functions);
    np_bus_add_sub(L);
    np_bus_add_server(L);
    np_bus_add_connection(L);
    return 1;
}
