/* Watches of the registry, and telling them.
 *
 * While a notification runs, closing a watch only takes its function away and unlinks it after the
 * round; a watch opened meanwhile stands behind the others and is younger than the round.
 */
#include <string.h>

#include "base/alloc.h"
#include "mesh/registry_impl.h"

enum neap_err np_registry_watch(struct np_registry *r, const char *service, np_watch_fn fn,
                                void *arg, struct np_watch **out)
{
    struct service *s = NULL;
    NP_REGISTRY_LOCKED(r);
    if (service != NULL && !np_service_name_ok(service, r->opts.max_name)) return NEAP_EINVAL;
    if (r->watch_count >= r->opts.max_watches) return NEAP_ELIMIT;
    struct np_watch *w = np_calloc(1, sizeof *w);
    if (w == NULL) return NEAP_ENOMEM;
    if (service != NULL) {
        enum neap_err err = np_registry_service(r, service, &s);
        if (err != NEAP_OK) {
            np_free(w);
            return err;
        }
    }
    w->registry = r;
    w->service = s;
    w->fn = fn;
    w->arg = arg;
    w->born = r->notifications;
    np_list_push_back(s ? &s->watches : &r->watches, &w->link);
    r->watch_count++;
    *out = w;
    return NEAP_OK;
}

static void watch_free(struct np_watch *w)
{
    struct np_registry *r = w->registry;
    struct service *s = w->service;
    np_list_remove(&w->link);
    np_free(w);
    if (s != NULL) np_registry_service_gone(r, s);
}

void np_watch_close(struct np_watch *w)
{
    if (w == NULL || w->fn == NULL) return;
    struct np_registry *r = w->registry;
    NP_REGISTRY_LOCKED(r);
    w->fn = NULL;
    r->watch_count--;
    if (r->notifying != NULL && (w->service == NULL || w->service == r->notifying)) {
        r->sweep = true; /* the round that runs may stand on it */
    } else {
        watch_free(w);
    }
}

static void tell(struct np_link *head, uint64_t round, const struct np_change *change)
{
    struct np_link *l;
    np_list_each (l, head) {
        struct np_watch *w = np_container_of(l, struct np_watch, link);
        if (w->fn != NULL && w->born < round) w->fn(change, w->arg);
    }
}

static void sweep(struct np_link *head)
{
    struct np_link *l, *tmp;
    np_list_each_safe (l, tmp, head) {
        struct np_watch *w = np_container_of(l, struct np_watch, link);
        if (w->fn != NULL) continue;
        np_list_remove(l);
        np_free(w);
    }
}

void np_registry_notify(struct np_registry *r, struct service *s, const struct np_change *change)
{
    uint64_t round = ++r->notifications;
    r->notifying = s;
    tell(&s->watches, round, change);
    tell(&r->watches, round, change);
    r->notifying = NULL;
    if (!r->sweep) return;
    r->sweep = false;
    sweep(&s->watches);
    sweep(&r->watches);
}
