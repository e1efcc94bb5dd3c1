/* What the bus asks of a bridge: messages go to `out` when the connection is ready and to `away`
 * otherwise; subscriptions become interests. */
#include "base/list.h"
#include "bus/bridge_impl.h"
#include "net/stream.h"
#include "proto/nats_write.h"

static enum neap_err remote_publish(struct np_bus_remote *r, const struct np_bus_out *m)
{
    struct np_bus_bridge *b = np_container_of(r, struct np_bus_bridge, remote);
    struct np_nats_out out = {m->subject, m->reply, m->headers, m->payload};
    bool ready = b->link == LINK_READY;
    size_t size = m->headers.n + m->payload.n;
    size_t queued = np_buf_len(&b->away);
    if (ready) {
        if (size > b->max_payload) return NEAP_EMSGSIZE;
        queued = np_buf_len(&b->out) + np_stream_queued(b->stream);
    }
    if (queued > 0 && queued + size > (ready ? b->opts.max_pending : b->opts.max_away))
        return NEAP_ELIMIT;
    enum neap_err err = np_nats_write_pub(ready ? &b->out : &b->away, &out);
    if (!err && ready) np_bridge_want_flush(b);
    return err;
}

enum neap_err np_bridge_write_interest(struct np_bus_bridge *b, const struct interest *in)
{
    uint64_t max = np_interest_max(in);
    enum neap_err err =
        np_nats_write_sub(&b->out, np_interest_pattern(in), np_interest_queue(in), in->sid);
    if (!err && max > 0) err = np_nats_write_unsub(&b->out, in->sid, max);
    return err;
}

static enum neap_err remote_added(struct np_bus_remote *r, struct np_bus_sub *s)
{
    struct np_bus_bridge *b = np_container_of(r, struct np_bus_bridge, remote);
    struct interest *fresh;
    uint64_t sid;
    enum neap_err err = np_interests_add(&b->interests, s, &fresh);
    if (err || !fresh || b->link != LINK_READY) return err;
    err = np_bridge_write_interest(b, fresh);
    if (err) np_interests_remove(&b->interests, s, &sid);
    np_bridge_want_flush(b);
    return err;
}

static void remote_removed(struct np_bus_remote *r, struct np_bus_sub *s)
{
    struct np_bus_bridge *b = np_container_of(r, struct np_bus_bridge, remote);
    uint64_t sid;
    if (!np_interests_remove(&b->interests, s, &sid) || b->link != LINK_READY) return;
    /* Without memory for it the remote goes on sending what nobody wants; it is thrown away. */
    if (np_nats_write_unsub(&b->out, sid, 0) == NEAP_OK) np_bridge_want_flush(b);
}

static void remote_limited(struct np_bus_remote *r, struct np_bus_sub *s)
{
    struct np_bus_bridge *b = np_container_of(r, struct np_bus_bridge, remote);
    struct interest *in = np_interests_limit(&b->interests, s);
    if (!in || b->link != LINK_READY) return;
    if (np_nats_write_unsub(&b->out, in->sid, np_interest_max(in)) == NEAP_OK)
        np_bridge_want_flush(b);
}

static enum neap_err remote_flush(struct np_bus_remote *r, struct np_bus_flush *f)
{
    struct np_bus_bridge *b = np_container_of(r, struct np_bus_bridge, remote);
    if (b->link != LINK_READY) return NEAP_ENOTCONN;
    enum neap_err err = np_nats_write_ping(&b->out);
    if (err) return err;
    f->ping = ++b->pings;
    np_list_push_back(&b->flushes, &f->link);
    np_bridge_want_flush(b);
    return NEAP_OK;
}

const struct np_bus_remote_ops np_bridge_remote_ops = {
    .publish = remote_publish,
    .added = remote_added,
    .removed = remote_removed,
    .limited = remote_limited,
    .flush = remote_flush,
};
