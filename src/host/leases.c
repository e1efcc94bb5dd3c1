/* Leases of a host's registry; see leases.h. */
#include "host/leases.h"

#define LOOK_EVERY NP_NS_PER_SEC

static void look(struct np_leases *l)
{
    int64_t now = np_loop_now(l->loop);
    int64_t next = np_registry_expire(l->registry, now);
    np_timer_stop(&l->timer);
    if (np_registry_endpoint_count(l->registry) == 0) return;
    int64_t span = next == NP_TIME_NEVER || next - now > LOOK_EVERY ? LOOK_EVERY : next - now;
    /* Out of memory: the next change of the registry tries again. */
    if (np_timer_start(&l->timer, span > 0 ? span : 0) != NEAP_OK) return;
}

static void on_timer(struct np_timer *t)
{
    look(np_container_of(t, struct np_leases, timer));
}

static void on_look(struct np_defer *d)
{
    look(np_container_of(d, struct np_leases, look));
}

static void on_change(const struct np_change *change, void *arg)
{
    struct np_leases *l = arg;
    if (change->kind != NP_CHANGE_REMOVED) np_loop_defer(l->loop, &l->look);
}

enum neap_err np_leases_open(struct np_leases *l, struct np_loop *loop,
                             struct np_registry_view *view)
{
    struct np_view_watch *watch;
    enum neap_err err = np_registry_view_watch(view, NULL, on_change, l, &watch);
    if (err) return err;
    *l = (struct np_leases){
        .registry = np_registry_view_registry(view), .loop = loop, .watch = watch};
    np_timer_init(&l->timer, loop, on_timer);
    np_timer_set_background(&l->timer, true);
    np_defer_init(&l->look, on_look);
    return NEAP_OK;
}

void np_leases_close(struct np_leases *l)
{
    if (!l->registry) return;
    np_view_watch_close(l->watch);
    np_timer_stop(&l->timer);
    np_defer_cancel(&l->look);
    l->registry = NULL;
}
