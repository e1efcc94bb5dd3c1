/* What becomes of a bridge when the code that opened it is replaced: the new code has it, or one of
 * its own that was made ready beside it. */
#include <string.h>

#include "bus/bridge_impl.h"

enum neap_err np_bus_bridge_release(struct np_bus_bridge *b)
{
    if (!b->opts.held || !b->bus) return NEAP_OK;
    struct np_bytes upstream = {np_buf_data(&b->upstream), np_buf_len(&b->upstream)};
    bool ready = b->link == LINK_READY;
    enum neap_err err = NEAP_OK;
    if (b->state != NP_BUS_BRIDGE_FAILED && (b->opts.retry || ready))
        err = np_bus_attach(b->bus, &b->remote); /* which subscribes remotely what stands */
    if (!err && ready) err = np_bus_set_path(b->bus, upstream);
    if (err) {
        np_bus_detach(b->bus, &b->remote);
        np_interests_fini(&b->interests);
        return err;
    }
    b->opts.held = false;
    np_buf_fini(&b->upstream);
    return NEAP_OK;
}

struct np_bus_bridge *np_bus_get_bridge(const struct np_bus *bus)
{
    if (!bus->remote || bus->remote->ops != &np_bridge_remote_ops) return NULL;
    return np_container_of(bus->remote, struct np_bus_bridge, remote);
}

bool np_bus_bridge_same(const struct np_bus_bridge *b, const char *host, int port,
                        const struct np_bus_bridge_options *opts)
{
    static const struct np_bus_bridge_options defaults = NP_BUS_BRIDGE_OPTIONS_INIT;
    struct np_bus_bridge_options o = opts ? *opts : defaults;
    np_bridge_limit(&o);
    return strcmp(b->host, host) == 0 && b->port == port &&
           strncmp(b->name, o.name ? o.name : "neap", sizeof b->name - 1) == 0 &&
           b->opts.ping_interval == o.ping_interval && b->opts.max_pings == o.max_pings &&
           b->opts.reconnect_min == o.reconnect_min && b->opts.reconnect_max == o.reconnect_max &&
           b->opts.max_away == o.max_away && b->opts.max_pending == o.max_pending;
}

void np_bus_bridge_set_owner(struct np_bus_bridge *b, np_bus_bridge_fn fn, void *arg)
{
    b->fn = fn;
    b->arg = arg;
}

np_bus_bridge_fn np_bus_bridge_get_fn(const struct np_bus_bridge *b)
{
    return b->fn;
}

void np_bus_bridge_watch(struct np_bus_bridge *b, struct np_bus_bridge_watch *w)
{
    np_list_push_back(&b->watches, &w->link);
}

void np_bus_bridge_unwatch(struct np_bus_bridge_watch *w)
{
    np_list_remove(&w->link);
}
