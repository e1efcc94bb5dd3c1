/* The pool: for each origin its connections, idle ones first, and the calls that wait for one.
 *
 * An origin exists as long as a connection or a waiting call of it does. One thread, the loop's.
 */
#include <string.h>

#include "base/alloc.h"
#include "http/client_impl.h"

enum { MAX_KEY = 2048 };

/* --- origins */

static void free_origin(struct np_http_origin *o)
{
    np_free(o->host);
    np_free(o->tls_name);
    np_free(o->proxy);
    np_free(o->proxy_auth);
    np_tls_context_unref(o->tls);
    np_tls_context_unref(o->proxy_tls);
    np_free(o);
}

/* The few that most calls go to. */
static struct np_http_origin *find_recent(const struct np_http_client *c,
                                          const struct np_http_request *r)
{
    if (r->tls || r->proxy || r->unix_path || !r->host) return NULL;
    for (size_t i = 0; i < NP_HTTP_RECENT; i++) {
        struct np_http_origin *o = c->recent[i];
        if (o && o->port == r->port && strcmp(o->host, r->host) == 0) return o;
    }
    return NULL;
}

bool np_http_origin_is_known(const struct np_http_client *c, const struct np_http_request *r)
{
    return find_recent(c, r) != NULL;
}

static void note_recent(struct np_http_client *c, struct np_http_origin *o)
{
    if (o->tls || o->proxy || o->is_unix) return;
    c->recent[c->next_recent++ % NP_HTTP_RECENT] = o;
}

static void forget_recent(struct np_http_client *c, const struct np_http_origin *o)
{
    for (size_t i = 0; i < NP_HTTP_RECENT; i++) {
        if (c->recent[i] == o) c->recent[i] = NULL;
    }
}

static void drop_origin(struct np_http_origin *o)
{
    if (o->nopen || !np_list_empty(&o->waiting)) return;
    forget_recent(o->client, o);
    np_map_remove(&o->client->origins, o->key, o->key_len);
    o->client->norigins--;
    free_origin(o);
}

static bool copy(char **to, const char *from)
{
    if (!from) return true;
    *to = np_strdup(from);
    return *to != NULL;
}

static struct np_tls_context *ref(struct np_tls_context *c)
{
    return c ? np_tls_context_ref(c) : NULL;
}

static struct np_http_origin *new_origin(struct np_http_client *c, const struct np_http_request *r,
                                         const char *key, size_t n)
{
    const struct np_http_proxy *proxy = r->proxy;
    struct np_http_origin *o = np_calloc(1, sizeof *o + n + 1);
    if (!o) return NULL;
    memcpy(o->key, key, n);
    o->key_len = n;
    o->client = c;
    o->is_unix = r->unix_path != NULL;
    o->port = r->port;
    o->proxy_port = proxy ? proxy->port : 0;
    np_link_init(&o->idle);
    np_link_init(&o->waiting);
    o->tls = ref(r->tls);
    o->proxy_tls = proxy ? ref(proxy->tls) : NULL;
    if (!copy(&o->host, o->is_unix ? r->unix_path : r->host) || !copy(&o->tls_name, r->tls_name) ||
        !copy(&o->proxy, proxy ? proxy->host : NULL) ||
        !copy(&o->proxy_auth, proxy ? proxy->authorization : NULL) ||
        np_map_set(&c->origins, key, n, o, NULL)) {
        free_origin(o);
        return NULL;
    }
    c->norigins++;
    return o;
}

struct key {
    char p[MAX_KEY];
    size_t n;
    bool cut;
};

static void add(struct key *k, const char *p, size_t n)
{
    if (n > sizeof k->p - k->n) {
        k->cut = true;
        return;
    }
    memcpy(k->p + k->n, p, n);
    k->n += n;
}

static void add_text(struct key *k, const char *text)
{
    add(k, text, strlen(text));
}

static void add_place(struct key *k, const char *host, int port)
{
    bool v6 = strchr(host, ':') != NULL;
    char digits[12];
    size_t at = sizeof digits;
    if (v6) add(k, "[", 1);
    add_text(k, host);
    add(k, v6 ? "]:" : ":", v6 ? 2 : 1);
    do {
        digits[--at] = (char)('0' + port % 10);
        port /= 10;
    } while (port > 0);
    add(k, digits + at, sizeof digits - at);
}

/* The words, NUL, and what besides them makes the way another one. False when it is too long. */
static bool make_key(struct key *k, const struct np_http_request *r)
{
    const struct np_http_proxy *proxy = r->proxy;
    k->n = 0;
    k->cut = false;
    if (r->unix_path) {
        add(k, "unix:", 5);
        add_text(k, r->unix_path);
    } else {
        add_place(k, r->host, r->port);
    }
    add(k, "", 1);
    if (r->tls) {
        add(k, (const char *)&r->tls, sizeof r->tls);
        add_text(k, r->tls_name ? r->tls_name : "");
    }
    if (proxy) {
        add(k, "\n", 1);
        add_place(k, proxy->host, proxy->port);
        add(k, (const char *)&proxy->tls, sizeof proxy->tls);
        add_text(k, proxy->authorization ? proxy->authorization : "");
    }
    return !k->cut;
}

enum neap_err np_http_origin_get(struct np_http_client *c, const struct np_http_request *r,
                                 struct np_http_origin **out)
{
    struct key key;
    *out = find_recent(c, r);
    if (*out) return NEAP_OK;
    if (!make_key(&key, r)) return NEAP_EINVAL;
    struct np_http_origin *o = np_map_get(&c->origins, key.p, key.n);
    if (!o) o = new_origin(c, r, key.p, key.n);
    if (!o) return NEAP_ENOMEM;
    note_recent(c, o);
    *out = o;
    return NEAP_OK;
}

/* --- idle ones */

bool np_http_pool_may_keep(const struct np_http_client_conn *conn)
{
    const struct np_http_client_options *o = &conn->client->opts;
    if (conn->client->closing) return false;
    if (o->max_requests && conn->uses >= o->max_requests) return false;
    return !o->max_age || np_loop_now(conn->client->loop) - conn->born < o->max_age;
}

void np_http_pool_unidle(struct np_http_client_conn *conn)
{
    if (!np_link_linked(&conn->idle)) return;
    np_list_remove(&conn->idle);
    np_list_remove(&conn->in_origin);
    conn->origin->nidle--;
    conn->client->nidle--;
}

/* The one used last; those that are too old go. */
static struct np_http_client_conn *take_idle(struct np_http_origin *o)
{
    while (o->nidle) {
        struct np_http_client_conn *conn =
            np_container_of(o->idle.next, struct np_http_client_conn, in_origin);
        np_http_pool_unidle(conn);
        if (np_http_pool_may_keep(conn)) return conn;
        o->nopen++; /* the origin stays for who asks */
        np_http_client_conn_close(conn);
        o->nopen--;
    }
    return NULL;
}

/* --- those who wait */

void np_http_pool_unqueue(struct np_http_call *call)
{
    if (!call->waiting) return;
    call->waiting = false;
    np_list_remove(&call->queue);
    call->client->nwaiting--;
    drop_origin(call->origin);
}

static enum neap_err enqueue(struct np_http_call *call)
{
    struct np_http_client *c = call->client;
    if (c->nwaiting >= c->opts.max_waiting) return NEAP_ELIMIT;
    np_list_push_back(&call->origin->waiting, &call->queue);
    call->waiting = true;
    c->nwaiting++;
    np_http_call_enter(call, NP_HTTP_WAIT, call->wait_timeout);
    return NEAP_OK;
}

static bool full(const struct np_http_origin *o)
{
    size_t max = o->client->opts.max_per_origin;
    return o->client->closing || (max && o->nopen >= max);
}

enum neap_err np_http_pool_assign(struct np_http_call *call, bool fresh)
{
    struct np_http_origin *o = call->origin;
    struct np_http_client_conn *conn = fresh ? NULL : take_idle(o);
    enum neap_err err = NEAP_OK;
    if (conn) {
        call->client->nreused++;
        np_http_client_conn_start(conn, call);
    } else {
        err = full(o) ? enqueue(call) : np_http_client_conn_open(o, call);
        if (err) drop_origin(o);
    }
    return err;
}

/* The first in the queue, taken from it; the origin stays, having a connection or room for one. */
static struct np_http_call *next_waiting(struct np_http_origin *o)
{
    struct np_link *l = np_list_pop_front(&o->waiting);
    if (!l) return NULL;
    struct np_http_call *call = np_container_of(l, struct np_http_call, queue);
    call->waiting = false;
    call->client->nwaiting--;
    return call;
}

void np_http_pool_release(struct np_http_client_conn *conn)
{
    struct np_http_client *c = conn->client;
    struct np_http_origin *o = conn->origin;
    struct np_http_call *call = next_waiting(o);
    if (call) {
        c->nreused++;
        np_http_client_conn_start(conn, call);
        return;
    }
    if (o->nidle >= c->opts.max_idle_per_origin || c->opts.max_idle == 0) {
        np_http_client_conn_close(conn);
        return;
    }
    if (c->nidle >= c->opts.max_idle)
        np_http_client_conn_close(np_container_of(c->idle.next, struct np_http_client_conn, idle));
    np_list_push_back(&c->idle, &conn->idle);
    np_list_push_front(&o->idle, &conn->in_origin);
    o->nidle++;
    c->nidle++;
}

void np_http_pool_left(struct np_http_origin *o)
{
    struct np_http_call *call;
    while (!full(o) && (call = next_waiting(o))) {
        enum neap_err err = np_http_client_conn_open(o, call);
        if (err)
            np_http_call_end_later(call, err, "cannot connect to %s: %s", o->key,
                                   neap_err_text(err));
    }
    drop_origin(o);
}
