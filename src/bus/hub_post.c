/* Members by reference, and parcels: what one bus sends to another's loop. */
#include "base/alloc.h"
#include "bus/hub_impl.h"

struct member *np_hub_member_ref(struct member *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void np_hub_member_unref(struct member *m)
{
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) > 1) return;
    struct np_bus_hub *hub = m->hub;
    np_hub_forget_told(m);
    uv_mutex_destroy(&m->lock);
    np_free(m->leaving);
    np_free(m);
    np_bus_hub_free(hub);
}

void np_hub_parcel_init(struct parcel *p, struct member *to,
                        void (*fn)(struct np_post *p, struct np_loop *loop),
                        void (*free)(struct parcel *p))
{
    p->post.fn = fn;
    p->to = np_hub_member_ref(to);
    p->next = NULL;
    p->free = free;
}

void np_hub_post(struct parcel *p)
{
    struct member *to = np_hub_member_ref(p->to); /* it may come, and be freed, at once */
    uv_mutex_lock(&to->lock);
    bool there = to->loop != NULL;
    if (there) np_loop_post(to->loop, &p->post);
    uv_mutex_unlock(&to->lock);
    if (!there) p->free(p);
    np_hub_member_unref(to);
}

void np_hub_parcels_init(struct parcels *list)
{
    list->first = NULL;
    list->end = &list->first;
}

void np_hub_parcels_add(struct parcels *list, struct parcel *p)
{
    *list->end = p;
    list->end = &p->next;
}

void np_hub_parcels_post(struct parcels *list)
{
    for (struct parcel *p = list->first, *next; p; p = next) {
        next = p->next;
        np_hub_post(p);
    }
    np_hub_parcels_init(list);
}

void np_hub_parcels_free(struct parcels *list)
{
    for (struct parcel *p = list->first, *next; p; p = next) {
        next = p->next;
        p->free(p);
    }
    np_hub_parcels_init(list);
}
