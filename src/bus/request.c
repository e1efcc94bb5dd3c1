/* The inboxes: a table of the requests under way. A token names a place in it and the turn of that
 * place, so that an answer that comes late finds nobody rather than the next request. */
#include "bus/request.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "bus/bus_impl.h"
#include "proto/nats_header.h"

enum { PLACE_BITS = 20, MAX_PLACES = 1 << PLACE_BITS, FIRST_PLACES = 16 };

struct place {
    struct np_bus_request *request; /* NULL: free */
    uint64_t turn;
    size_t next_free; /* index + 1; 0 at the end */
};

struct inboxes {
    struct np_bus_sub *sub;
    struct place *places;
    size_t cap;
    size_t free; /* index + 1; 0: none */
    size_t prefix_len;
    char prefix[NP_BUS_INBOX_MAX]; /* "_INBOX.<random>." */
};

void np_bus_new_inbox(char out[NP_BUS_INBOX_MAX])
{
    char id[NP_BUS_ID_LEN + 1];
    np_bus_random_id(id);
    snprintf(out, NP_BUS_INBOX_MAX, "_INBOX.%s", id);
}

static struct place *find(struct inboxes *in, uint64_t token)
{
    size_t at = token & (MAX_PLACES - 1);
    if (at >= in->cap || !in->places[at].request) return NULL;
    return in->places[at].turn == token >> PLACE_BITS ? &in->places[at] : NULL;
}

/* The request is no longer under way. */
static void leave(struct np_bus_request *r)
{
    struct inboxes *in = r->bus->inboxes;
    struct place *p = find(in, r->token);
    if (p) {
        p->request = NULL;
        p->next_free = in->free;
        in->free = (size_t)(p - in->places) + 1;
    }
    r->token = 0;
    np_timer_stop(&r->timer);
    np_defer_cancel(&r->defer);
}

static void finish(struct np_bus_request *r, enum neap_err err, struct np_bus_msg *m)
{
    leave(r);
    r->fn(r, err, m);
}

static void answered(struct np_bus_sub *s, struct np_bus_msg *m)
{
    struct inboxes *in = np_bus_sub_arg(s);
    uint64_t token = 0;
    if (m->subject.n <= in->prefix_len || m->subject.n - in->prefix_len > 16) return;
    for (size_t i = in->prefix_len; i < m->subject.n; i++) {
        char c = m->subject.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return;
        token = token << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    struct place *p = find(in, token);
    if (!p) return;
    bool nobody = m->payload.n == 0 && np_bus_msg_status(m) == NP_NATS_STATUS_NO_RESPONDERS;
    if (nobody) {
        finish(p->request, NEAP_ENORESPONDERS, NULL);
    } else {
        finish(p->request, NEAP_OK, m);
    }
}

static void timed_out(struct np_timer *t)
{
    finish(np_container_of(t, struct np_bus_request, timer), NEAP_ETIMEDOUT, NULL);
}

static void no_responders(struct np_defer *d)
{
    finish(np_container_of(d, struct np_bus_request, defer), NEAP_ENORESPONDERS, NULL);
}

void np_bus_request_init(struct np_bus_request *r, struct np_bus *bus,
                         void (*fn)(struct np_bus_request *r, enum neap_err err,
                                    struct np_bus_msg *m))
{
    memset(r, 0, sizeof *r);
    r->bus = bus;
    r->fn = fn;
    np_timer_init(&r->timer, bus->loop, timed_out);
    np_defer_init(&r->defer, no_responders);
}

static enum neap_err make_inboxes(struct np_bus *bus)
{
    static const struct np_bus_sub_handler handler = {.on_message = answered};
    struct np_bus_sub_options opts = {.pending_bytes = 0, .pending_messages = 0};
    if (bus->inboxes) return NEAP_OK;
    struct inboxes *in = np_calloc(1, sizeof *in);
    if (!in) return NEAP_ENOMEM;
    np_bus_new_inbox(in->prefix);
    size_t n = strlen(in->prefix);
    memcpy(in->prefix + n, ".*", 3);
    n += 2;
    enum neap_err err =
        np_bus_subscribe(bus, (struct np_bytes){in->prefix, n}, &opts, &handler, in, &in->sub);
    if (err) {
        np_free(in);
        return err;
    }
    in->prefix[--n] = '\0';
    in->prefix_len = n;
    bus->inboxes = in;
    return NEAP_OK;
}

static enum neap_err grow(struct inboxes *in)
{
    size_t cap = in->cap ? in->cap * 2 : FIRST_PLACES;
    if (cap > MAX_PLACES) return NEAP_ELIMIT;
    struct place *places = np_realloc(in->places, cap * sizeof *places);
    if (!places) return NEAP_ENOMEM;
    for (size_t i = in->cap; i < cap; i++)
        places[i] = (struct place){NULL, 0, i + 1 < cap ? i + 2 : 0};
    in->free = in->cap + 1;
    in->places = places;
    in->cap = cap;
    return NEAP_OK;
}

static enum neap_err enter(struct inboxes *in, struct np_bus_request *r)
{
    enum neap_err err = in->free ? NEAP_OK : grow(in);
    if (err) return err;
    size_t at = in->free - 1;
    struct place *p = &in->places[at];
    in->free = p->next_free;
    p->request = r;
    p->turn = (p->turn + 1) & (UINT64_MAX >> PLACE_BITS);
    if (p->turn == 0) p->turn = 1;
    r->token = p->turn << PLACE_BITS | at;
    return NEAP_OK;
}

enum neap_err np_bus_request_start(struct np_bus_request *r, const struct np_bus_out *out,
                                   int64_t timeout)
{
    char inbox[NP_BUS_INBOX_MAX];
    size_t interested;
    struct np_bus *bus = r->bus;
    enum neap_err err = make_inboxes(bus);
    if (!err) err = enter(bus->inboxes, r);
    if (err) return err;
    if (timeout > 0) err = np_timer_start(&r->timer, timeout);
    if (err) goto fail;
    int n = snprintf(inbox, sizeof inbox, "%s%" PRIx64, bus->inboxes->prefix, r->token);
    struct np_bus_out m = *out;
    m.reply = (struct np_bytes){inbox, (size_t)n};
    m.asks = true;
    err = np_bus_publish(bus, &m, NULL, &interested);
    if (err) goto fail;
    if (interested == 0) np_loop_defer(bus->loop, &r->defer);
    return NEAP_OK;
fail:
    leave(r);
    return err;
}

void np_bus_request_cancel(struct np_bus_request *r)
{
    if (r->token) leave(r);
}

void np_bus_inboxes_free(struct inboxes *in)
{
    if (!in) return;
    for (size_t i = 0; i < in->cap; i++) {
        if (in->places[i].request) finish(in->places[i].request, NEAP_ECLOSED, NULL);
    }
    np_bus_unsubscribe(in->sub);
    np_free(in->places);
    np_free(in);
}
