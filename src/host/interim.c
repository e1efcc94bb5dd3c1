/* Stands in for parts that are being built beside this one: weak, so that theirs take over. */
#include "host/interim.h"
#include "host/host.h"
#define WEAK __attribute__((weak))
WEAK void np_threads_free(struct np_threads *t)
{
    (void)t;
}
WEAK enum neap_err np_view_loop_new(struct np_registry *r, struct np_loop *loop,
                                    struct np_registry_view **out)
{
    (void)r;
    (void)loop;
    *out = NULL;
    return NEAP_OK;
}
WEAK void np_view_loop_free(struct np_registry_view *v)
{
    (void)v;
}
WEAK enum neap_err np_share_new(unsigned workers, enum np_share_mode mode, struct np_share **out)
{
    (void)workers;
    (void)mode;
    *out = NULL;
    return NEAP_OK;
}
WEAK void np_share_free(struct np_share *s)
{
    (void)s;
}
WEAK enum neap_err np_share_user_new(struct np_share *s, struct np_loop *loop, unsigned worker,
                                     bool held, struct np_share_user **out)
{
    (void)s;
    (void)loop;
    (void)worker;
    (void)held;
    *out = NULL;
    return NEAP_OK;
}
WEAK void np_share_user_loaded(struct np_share_user *u)
{
    (void)u;
}
WEAK void np_share_user_activate(struct np_share_user *u)
{
    (void)u;
}
WEAK void np_share_user_retire(struct np_share_user *u)
{
    (void)u;
}
WEAK void np_share_user_free(struct np_share_user *u)
{
    (void)u;
}
WEAK enum neap_err np_bus_hub_new(unsigned workers, const struct np_bus_hub_options *opts,
                                  struct np_bus_hub **out)
{
    (void)workers;
    (void)opts;
    *out = NULL;
    return NEAP_OK;
}
WEAK void np_bus_hub_free(struct np_bus_hub *hub)
{
    (void)hub;
}
WEAK enum neap_err np_bus_hub_join(struct np_bus_hub *hub, unsigned worker, struct np_bus *bus)
{
    (void)hub;
    (void)worker;
    (void)bus;
    return NEAP_OK;
}
WEAK void np_bus_hub_leave(struct np_bus_hub *hub, unsigned worker)
{
    (void)hub;
    (void)worker;
}
WEAK enum neap_err np_shared_maps_new(struct np_shared_maps **out)
{
    *out = NULL;
    return NEAP_OK;
}
WEAK void np_shared_maps_free(struct np_shared_maps *m)
{
    (void)m;
}
WEAK enum neap_err np_watchdog_new(const struct np_watchdog_options *opts, struct np_watchdog **out)
{
    (void)opts;
    *out = NULL;
    return NEAP_OK;
}
WEAK void np_watchdog_free(struct np_watchdog *w)
{
    (void)w;
}
WEAK enum neap_err np_watchdog_add(struct np_watchdog *w, unsigned worker,
                                   struct np_watch_slot **out)
{
    (void)w;
    (void)worker;
    *out = NULL;
    return NEAP_OK;
}
WEAK void np_watchdog_remove(struct np_watch_slot *slot)
{
    (void)slot;
}
WEAK void np_share_drop_worker(struct np_share *s, unsigned worker)
{
    (void)s;
    (void)worker;
}
WEAK void np_registry_drop_worker(struct np_registry *r, unsigned worker)
{
    (void)r;
    (void)worker;
}
WEAK unsigned long long np_watchdog_beats(const struct np_watch_slot *slot)
{
    (void)slot;
    return 0;
}
