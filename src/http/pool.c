/* The pool: for each origin its connections, idle ones first, and the calls that wait for one.
 *
 * An origin exists as long as a connection or a waiting call of it does. One thread, the loop's.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "http/client_impl.h"

static void drop_origin(struct np_http_origin *o)
{
    if (o->nopen || !np_list_empty(&o->waiting)) return;
    np_map_remove(&o->client->origins, o->key, o->key_len);
    np_free(o->host);
    np_free(o);
}

static struct np_http_origin *new_origin(struct np_http_client *c, const struct np_http_request *r,
                                         const char *key, size_t n)
{
    struct np_http_origin *o = np_calloc(1, sizeof *o + n + 1);
    if (!o) return NULL;
    memcpy(o->key, key, n);
    o->key_len = n;
    o->client = c;
    o->is_unix = r->unix_path != NULL;
    o->port = r->port;
    np_link_init(&o->idle);
    np_link_init(&o->waiting);
    o->host = np_strdup(o->is_unix ? r->unix_path : r->host);
    if (!o->host || np_map_set(&c->origins, key, n, o, NULL)) {
        np_free(o->host);
        np_free(o);
        return NULL;
    }
    return o;
}

enum neap_err np_http_origin_get(struct np_http_client *c, const struct np_http_request *r,
                                 struct np_http_origin **out)
{
    char key[512];
    int n = r->unix_path ? snprintf(key, sizeof key, "unix:%s", r->unix_path)
                         : snprintf(key, sizeof key, strchr(r->host, ':') ? "[%s]:%d" : "%s:%d",
                                    r->host, r->port);
    if (n < 0 || (size_t)n >= sizeof key) return NEAP_EINVAL;
    struct np_http_origin *o = np_map_get(&c->origins, key, (size_t)n);
    if (!o) o = new_origin(c, r, key, (size_t)n);
    if (!o) return NEAP_ENOMEM;
    *out = o;
    return NEAP_OK;
}

void np_http_pool_unidle(struct np_http_client_conn *conn)
{
    if (!np_link_linked(&conn->idle)) return;
    np_list_remove(&conn->idle);
    np_list_remove(&conn->in_origin);
    conn->origin->nidle--;
    conn->client->nidle--;
}

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
    struct np_http_client_conn *conn;
    enum neap_err err;
    if (!fresh && o->nidle) {
        conn = np_container_of(o->idle.next, struct np_http_client_conn, in_origin);
        np_http_pool_unidle(conn);
        call->client->nreused++;
    } else if (full(o)) {
        err = enqueue(call);
        if (err) drop_origin(o);
        return err;
    } else {
        err = np_http_client_conn_open(o, &conn);
        if (err) {
            drop_origin(o);
            return err;
        }
    }
    np_http_client_conn_start(conn, call);
    return NEAP_OK;
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
        struct np_http_client_conn *conn;
        enum neap_err err = np_http_client_conn_open(o, &conn);
        if (err)
            np_http_call_end_later(call, err, "cannot connect to %s: %s", o->key,
                                   neap_err_text(err));
        else
            np_http_client_conn_start(conn, call);
    }
    drop_origin(o);
}
