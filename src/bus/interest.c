/* The table of interests: by pattern and queue for those who subscribe, by sid for what comes. */
#include "bus/interest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { SID_MAX = 24 };

void np_interests_init(struct interests *t)
{
    np_link_init(&t->all);
    np_map_init(&t->by_key);
    np_map_init(&t->by_sid);
    t->next_sid = 0;
}

static size_t sid_text(const struct interest *in, char *out)
{
    return (size_t)snprintf(out, SID_MAX, "%" PRIu64, in->sid);
}

static size_t key_len(const struct interest *in)
{
    return in->pattern_len + 1 + in->queue_len;
}

static void stop_sharing(struct interests *t, struct interest *in)
{
    if (in->shared) np_map_remove(&t->by_key, in->key, key_len(in));
    in->shared = false;
}

static void forget(struct interests *t, struct interest *in)
{
    char sid[SID_MAX];
    stop_sharing(t, in);
    np_map_remove(&t->by_sid, sid, sid_text(in, sid));
    np_list_remove(&in->link);
    if (!in->visiting) np_free(in);
}

void np_interests_fini(struct interests *t)
{
    struct np_link *l, *s;
    while ((l = np_list_pop_front(&t->all))) {
        struct interest *in = np_container_of(l, struct interest, link);
        while ((s = np_list_pop_front(&in->subs)))
            np_container_of(s, struct np_bus_sub, interest_link)->interest = NULL;
        np_free(in);
    }
    np_map_fini(&t->by_key);
    np_map_fini(&t->by_sid);
    np_interests_init(t);
}

static void join(struct interest *in, struct np_bus_sub *s)
{
    s->interest = in;
    np_list_push_back(&in->subs, &s->interest_link);
    in->count++;
}

static enum neap_err make(struct interests *t, struct np_bus_sub *s, struct interest **out)
{
    char sid[SID_MAX];
    size_t n = s->pattern_len + 1 + s->queue_len;
    struct interest *in = np_calloc(1, sizeof *in + n + 1);
    if (!in) return NEAP_ENOMEM;
    np_link_init(&in->link);
    np_link_init(&in->subs);
    in->sid = ++t->next_sid;
    in->pattern_len = s->pattern_len;
    in->queue_len = s->queue_len;
    memcpy(in->key, s->text, n);
    enum neap_err err = np_map_set(&t->by_sid, sid, sid_text(in, sid), in, NULL);
    if (err) goto fail;
    if (s->max == 0) {
        err = np_map_set(&t->by_key, in->key, n, in, NULL);
        if (err) goto fail;
        in->shared = true;
    }
    np_list_push_back(&t->all, &in->link);
    *out = in;
    return NEAP_OK;
fail:
    np_map_remove(&t->by_sid, sid, sid_text(in, sid));
    np_free(in);
    return err;
}

enum neap_err np_interests_add(struct interests *t, struct np_bus_sub *s, struct interest **fresh)
{
    struct interest *in = NULL;
    if (s->max == 0) in = np_map_get(&t->by_key, s->text, s->pattern_len + 1 + s->queue_len);
    *fresh = NULL;
    if (!in) {
        enum neap_err err = make(t, s, &in);
        if (err) return err;
        *fresh = in;
    }
    join(in, s);
    return NEAP_OK;
}

bool np_interests_remove(struct interests *t, struct np_bus_sub *s, uint64_t *sid)
{
    struct interest *in = s->interest;
    if (!in) return false;
    s->interest = NULL;
    np_list_remove(&s->interest_link);
    if (--in->count > 0) return false;
    *sid = in->sid;
    forget(t, in);
    return true;
}

struct interest *np_interests_limit(struct interests *t, struct np_bus_sub *s)
{
    struct interest *in = s->interest;
    if (!in || in->count > 1) return NULL;
    stop_sharing(t, in);
    return in;
}

uint64_t np_interest_max(const struct interest *in)
{
    if (in->shared || np_list_empty(&in->subs)) return 0;
    const struct np_bus_sub *s = np_container_of(in->subs.next, struct np_bus_sub, interest_link);
    return s->max > s->received ? in->got + s->max - s->received : 0;
}

struct np_bytes np_interest_pattern(const struct interest *in)
{
    return (struct np_bytes){in->key, in->pattern_len};
}

struct np_bytes np_interest_queue(const struct interest *in)
{
    return (struct np_bytes){in->key + in->pattern_len + 1, in->queue_len};
}

/* To one member, each in turn; one that is full leaves it to the next. */
static void deliver_to_group(struct interest *in, struct np_bus_msg *m)
{
    for (size_t left = in->count; left > 0; left--) {
        struct np_link *l = in->subs.next;
        np_list_remove(l);
        np_list_push_back(&in->subs, l);
        if (np_bus_sub_push(np_container_of(l, struct np_bus_sub, interest_link), m)) return;
    }
}

bool np_interests_deliver(struct interests *t, struct np_bytes sid, struct np_bus_msg *m)
{
    struct interest *in = np_map_get(&t->by_sid, sid.p, sid.n);
    struct np_link *l, *next;
    if (!in) return false;
    in->got++;
    in->visiting = true; /* a subscription that has its maximum leaves from inside */
    if (in->queue_len > 0) {
        deliver_to_group(in, m);
    } else {
        np_list_each_safe (l, next, &in->subs) {
            np_bus_sub_push(np_container_of(l, struct np_bus_sub, interest_link), m);
        }
    }
    in->visiting = false;
    if (in->count == 0) np_free(in);
    return true;
}
