/* A port's two tables: proxies of the others' subscriptions, and its own subscriptions by the ids
 * that the others know; see hub_impl.h. */
#include <string.h>

#include "base/alloc.h"
#include "bus/hub_impl.h"

#define MAX_QUEUES 4096 /* groups remembered of members that left */

static struct np_map *proxies_of(struct hub_port *port, unsigned worker)
{
    struct hub_peer *peer = &port->peers[worker];
    if (!peer->used) {
        np_map_init(&peer->proxies);
        peer->used = true;
    }
    return &peer->proxies;
}

static void no_memory(struct hub_port *port, unsigned worker)
{
    np_logf(port->bus->loop->log, NP_LOG_ERROR, "bus: no memory for a subscription of worker %u",
            worker);
}

void np_hub_proxy_add(struct hub_port *port, unsigned worker, const struct hub_item *item)
{
    struct np_map *map = proxies_of(port, worker);
    const char *queue = item->queue_len ? item->text + item->pattern_len + 1 : NULL;
    np_hub_proxy_remove(port, worker, item->id);
    struct hub_proxy *p = np_calloc(1, sizeof *p);
    if (!p) goto fail;
    *p = (struct hub_proxy){.id = item->id, .worker = worker, .in_queue = queue != NULL};
    if (np_trie_insert(port->bus->trie, item->text, item->pattern_len, queue, item->queue_len,
                       np_bus_mark_proxy(p), &p->handle) != NEAP_OK)
        goto fail;
    if (np_map_set(map, (const char *)&p->id, sizeof p->id, p, NULL) == NEAP_OK) return;
    np_trie_remove(port->bus->trie, p->handle);
fail:
    np_free(p);
    no_memory(port, worker);
}

static void proxy_free(struct hub_port *port, struct hub_proxy *p)
{
    np_trie_remove(port->bus->trie, p->handle);
    np_free(p);
}

void np_hub_proxy_remove(struct hub_port *port, unsigned worker, uint64_t id)
{
    struct hub_proxy *p = np_map_remove(proxies_of(port, worker), (const char *)&id, sizeof id);
    if (p) proxy_free(port, p);
}

void np_hub_proxies_forget(struct hub_port *port, unsigned worker)
{
    struct np_map *map = proxies_of(port, worker);
    struct np_map_entry *e;
    for (size_t it = 0; (e = np_map_next(map, &it));)
        proxy_free(port, e->value);
    np_map_fini(map);
    port->peers[worker].used = false;
}

/* --- this bus' own */

static struct np_map *subs_of(struct hub_port *port)
{
    if (!port->has_subs) np_map_init(&port->subs);
    port->has_subs = true;
    return &port->subs;
}

static struct np_map *queues_of(struct hub_port *port)
{
    if (!port->has_queues) np_map_init(&port->queues);
    port->has_queues = true;
    return &port->queues;
}

static void forget_queues(struct hub_port *port)
{
    struct np_map_entry *e;
    struct np_map *map = queues_of(port);
    for (size_t it = 0; (e = np_map_next(map, &it));)
        np_free(e->value);
    np_map_fini(map);
    port->has_queues = false;
}

/* One that cannot be indexed for want of memory is a group's member that the others cannot reach.
 */
void np_hub_index_sub(struct hub_port *port, struct np_bus_sub *s)
{
    if (s->queue_len == 0) return;
    if (np_map_set(subs_of(port), (const char *)&s->id, sizeof s->id, s, NULL) != NEAP_OK)
        no_memory(port, port->worker);
}

void np_hub_unindex_sub(struct hub_port *port, struct np_bus_sub *s)
{
    if (s->queue_len == 0) return;
    np_map_remove(subs_of(port), (const char *)&s->id, sizeof s->id);
    if (queues_of(port)->len >= MAX_QUEUES) forget_queues(port);
    char *queue = np_strdup(s->text + s->pattern_len + 1);
    void *old = NULL;
    if (queue &&
        np_map_set(queues_of(port), (const char *)&s->id, sizeof s->id, queue, &old) != NEAP_OK)
        np_free(queue);
    np_free(old);
}

struct np_bus_sub *np_hub_find_sub(struct hub_port *port, uint64_t id)
{
    return np_map_get(subs_of(port), (const char *)&id, sizeof id);
}

const char *np_hub_queue_of(struct hub_port *port, uint64_t id)
{
    struct np_bus_sub *s = np_hub_find_sub(port, id);
    if (s) return s->text + s->pattern_len + 1;
    return np_map_get(queues_of(port), (const char *)&id, sizeof id);
}

void np_hub_index_fini(struct hub_port *port)
{
    forget_queues(port);
    np_map_fini(subs_of(port));
    port->has_subs = false;
}
