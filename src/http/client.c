/* The client's life and numbers. One thread, the loop's. */
#include "base/alloc.h"
#include "http/client_impl.h"

void np_http_client_options_init(struct np_http_client_options *o)
{
    *o = (struct np_http_client_options){
        .max_idle_per_origin = 64,
        .max_idle = 512,
        .max_waiting = 1024,
        .idle_timeout = 60 * NP_NS_PER_SEC,
        .dns_timeout = 5 * NP_NS_PER_SEC,
        .connect_timeout = 5 * NP_NS_PER_SEC,
        .tls_timeout = 10 * NP_NS_PER_SEC,
        .limits = NP_HTTP_LIMITS_INIT,
    };
    o->limits.max_head = (size_t)64 * 1024;
    o->limits.max_body = UINT64_MAX;
}

enum neap_err np_http_client_new(struct np_loop *loop, const struct np_http_client_options *opts,
                                 struct np_http_client **out)
{
    struct np_http_client *c = np_calloc(1, sizeof *c);
    if (!c) return NEAP_ENOMEM;
    if (opts)
        c->opts = *opts;
    else
        np_http_client_options_init(&c->opts);
    c->loop = loop;
    np_map_init(&c->origins);
    np_link_init(&c->calls);
    np_link_init(&c->conns);
    np_link_init(&c->idle);
    np_link_init(&c->spare);
    np_loop_retain(loop);
    *out = c;
    return NEAP_OK;
}

void np_http_client_check_gone(struct np_http_client *c)
{
    if (!c->closing || !np_list_empty(&c->calls) || !np_list_empty(&c->conns)) return;
    struct np_loop *loop = c->loop;
    np_http_call_free_spare(c);
    np_map_fini(&c->origins); /* an origin goes with its last connection and call */
    np_free(c);
    np_loop_release(loop);
}

void np_http_client_close(struct np_http_client *c)
{
    struct np_link *pos, *tmp;
    if (c->closing) return;
    c->closing = true;
    np_list_each (pos, &c->calls) {
        struct np_http_call *call = np_container_of(pos, struct np_http_call, link);
        np_http_call_end_later(call, NEAP_ECLOSED, "the client was closed");
    }
    np_list_each_safe (pos, tmp, &c->conns) {
        np_http_client_conn_close(np_container_of(pos, struct np_http_client_conn, link));
    }
    np_http_client_check_gone(c);
}

void np_http_client_get_stats(const struct np_http_client *c, struct np_http_client_stats *out)
{
    *out = (struct np_http_client_stats){.open = c->nopen,
                                         .idle = c->nidle,
                                         .waiting = c->nwaiting,
                                         .origins = c->norigins,
                                         .calls = c->ncalls,
                                         .reused = c->nreused,
                                         .retried = c->nretried,
                                         .connects = c->nconnects};
}
