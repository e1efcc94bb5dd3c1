/* Services for C: picking an instance from the host's registry.
 *
 * A picker is an upstream that stays for as long as the host, one for each service and policy that
 * was asked for; so balancers that remember (round robin, EWMA) do so between picks.
 */
#include <string.h>

#include "base/alloc.h"
#include "host/host.h"

#define DEFAULT_POLICY "p2c"
#define MAX_PICKERS 4096

struct picker {
    struct np_link link; /* in neap_t.upstreams, most recently used first */
    struct np_upstream *upstream;
    const struct np_balancer_ops *ops;
    char service[];
};

static enum neap_err new_picker(neap_t *n, const char *service, const struct np_balancer_ops *ops,
                                struct picker **out)
{
    size_t len = strlen(service) + 1;
    struct picker *p = np_calloc(1, sizeof *p + len);
    if (!p) return NEAP_ENOMEM;
    memcpy(p->service, service, len);
    p->ops = ops;
    enum neap_err err =
        np_upstream_new(n->workers[0]->view, service, NULL, 0, ops, NULL, &p->upstream);
    if (err) {
        np_free(p);
        return err;
    }
    np_link_init(&p->link);
    *out = p;
    return NEAP_OK;
}

static enum neap_err find_picker(neap_t *n, const char *service, const struct np_balancer_ops *ops,
                                 struct picker **out)
{
    size_t count = 0;
    struct np_link *l;
    np_list_each (l, &n->upstreams) {
        struct picker *p = np_container_of(l, struct picker, link);
        if (p->ops == ops && strcmp(p->service, service) == 0) {
            np_list_remove(l);
            np_list_push_front(&n->upstreams, l);
            *out = p;
            return NEAP_OK;
        }
        count++;
    }
    if (count >= MAX_PICKERS) return NEAP_ELIMIT;
    enum neap_err err = new_picker(n, service, ops, out);
    if (!err) np_list_push_front(&n->upstreams, &(*out)->link);
    return err;
}

enum neap_err neap_pick(neap_t *n, const char *service, const char *policy, const char *key,
                        neap_picked *out)
{
    if (!service) return np_host_fail(n, NEAP_EINVAL, "no service named");
    const char *name = policy ? policy : DEFAULT_POLICY;
    const struct np_balancer_ops *ops = np_balancer_find(name);
    if (!ops) return np_host_fail(n, NEAP_ENOTFOUND, "no policy '%s'", name);
    enum neap_err err = np_host_start(n, NULL);
    if (err) return err;
    struct picker *p;
    err = find_picker(n, service, ops, &p);
    if (err) return np_host_fail(n, err, "service '%s': %s", service, neap_err_text(err));
    struct np_pick_ctx ctx = {.has_hash = key != NULL};
    if (key) ctx.hash = np_pick_hash(key, strlen(key));
    struct np_endpoint *e;
    int64_t now = np_loop_hrtime();
    err = np_upstream_pick(p->upstream, &ctx, np_loop_now(np_host_loop(n)), &e);
    if (err) return np_host_fail(n, err, "service '%s': %s", service, neap_err_text(err));
    *out = (neap_picked){e->address, e->id, e, p->upstream, now};
    return NEAP_OK;
}

void neap_pick_release(neap_t *n, neap_picked *picked, bool ok)
{
    if (!picked->handle) return;
    int64_t took = np_loop_hrtime() - picked->begun;
    struct np_result r = np_result_of(ok ? NP_OUTCOME_OK : NP_OUTCOME_FAILED, took);
    np_upstream_release(picked->upstream, picked->handle, &r, np_loop_now(np_host_loop(n)));
    *picked = (neap_picked){0};
}

void np_host_end_pickers(neap_t *n)
{
    struct np_link *l;
    while ((l = np_list_pop_front(&n->upstreams))) {
        struct picker *p = np_container_of(l, struct picker, link);
        np_upstream_free(p->upstream);
        np_free(p);
    }
}
