/* Services for C: picking an instance from the host's registry.
 *
 * A picker is a selector over an upstream that stays for as long as the host, one for each service
 * and policy that was asked for; so policies that remember (round robin, EWMA) do so between picks.
 */
#include <string.h>

#include "base/alloc.h"
#include "host/host.h"
#include "mesh/selector.h"
#include "mesh/upstream.h"

#define DEFAULT_POLICY "p2c"
#define MAX_PICKERS 4096

struct picker {
    struct np_link link; /* in neap_t.upstreams, most recently used first */
    struct np_upstream *upstream;
    struct np_selector *selector;
    const struct np_balancer_ops *ops;
    char service[];
};

static void free_picker(struct picker *p)
{
    np_upstream_free(p->upstream);
    np_selector_free(p->selector);
    np_free(p);
}

static enum neap_err new_picker(neap_t *n, const char *service, const struct np_balancer_ops *ops,
                                struct picker **out)
{
    size_t len = strlen(service) + 1;
    struct picker *p = np_calloc(1, sizeof *p + len);
    if (!p) return NEAP_ENOMEM;
    memcpy(p->service, service, len);
    p->ops = ops;
    enum neap_err err = np_upstream_new(n->workers[0]->view, service, NULL, 0, &p->upstream);
    if (!err) err = np_selector_new(ops, NULL, NULL, &p->selector);
    if (err) {
        free_picker(p);
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

static void keep_up(struct picker *p, int64_t now)
{
    bool changed = false;
    struct np_snapshot *set = np_upstream_poll(p->upstream, &changed);
    /* Without memory it goes on with what it had, and tries again by itself. */
    if (changed && np_selector_update(p->selector, set, now) != NEAP_OK) return;
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
    bool trial;
    int64_t now = np_loop_now(np_host_loop(n));
    keep_up(p, now);
    err = np_selector_pick(p->selector, &ctx, now, &e, &trial);
    if (err) return np_host_fail(n, err, "service '%s': %s", service, neap_err_text(err));
    *out = (neap_picked){e->address, e->id, e, p, np_loop_hrtime(), trial};
    return NEAP_OK;
}

void neap_pick_release(neap_t *n, neap_picked *picked, bool ok)
{
    struct picker *p = picked->upstream;
    if (!picked->handle) return;
    struct np_result r =
        np_result_of(ok ? NP_OUTCOME_OK : NP_OUTCOME_FAILED, np_loop_hrtime() - picked->begun);
    np_selector_release(p->selector, picked->handle, picked->trial, &r,
                        np_loop_now(np_host_loop(n)));
    *picked = (neap_picked){0};
}

void np_host_end_pickers(neap_t *n)
{
    struct np_link *l;
    while ((l = np_list_pop_front(&n->upstreams))) {
        struct picker *p = np_container_of(l, struct picker, link);
        free_picker(p);
    }
}
