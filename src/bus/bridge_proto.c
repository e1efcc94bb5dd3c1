/* What the remote says to a bridge: its INFO is judged, its first PONG makes the connection ready,
 * later ones end flushes, messages go to the interests they are for. */
#include <string.h>

#include "bus/bridge_impl.h"
#include "proto/nats_json.h"
#include "proto/nats_write.h"

static struct np_bytes text_of(const char *s)
{
    return (struct np_bytes){s, strlen(s)};
}

static bool path_has(struct np_bytes path, const char *id)
{
    return path.n > 0 && memmem(path.p, path.n, id, NP_BUS_ID_LEN) != NULL;
}

/* Whether the remote will do; false after it was dropped. */
static bool judge_info(struct np_bus_bridge *b, const struct np_nats_info *info)
{
    const char *id = b->bus->id;
    const char *hub = np_hub_id(b->bus);
    if (path_has(info->neap_path, id) || path_has(info->server_id, id) ||
        (hub && path_has(info->neap_path, hub))) {
        np_bridge_lost(b, NEAP_EPROTO, "it is bridged to this bus: that would make a loop");
    } else if (info->auth_required) {
        np_bridge_lost(b, NEAP_EACCES, "it wants credentials, which cannot be given yet");
    } else if (info->tls_required) {
        np_bridge_lost(b, NEAP_ENOTSUP, "it wants TLS, which is not supported yet");
    } else if (!info->headers) {
        np_bridge_lost(b, NEAP_ENOTSUP, "it does not support headers (nats-server before 2.2)");
    } else {
        return true;
    }
    return false;
}

static void take_limits(struct np_bus_bridge *b, const struct np_nats_info *info)
{
    b->max_payload = info->max_payload > 0 ? info->max_payload : 1024 * 1024;
    if (b->max_payload > BRIDGE_MAX_PAYLOAD) b->max_payload = BRIDGE_MAX_PAYLOAD;
    b->parser.limits.max_payload = b->max_payload;
}

static enum neap_err send_hello(struct np_bus_bridge *b)
{
    struct np_nats_connect hello = {
        .echo = true,
        .headers = true,
        .no_responders = true,
        .protocol = 1,
        .name = text_of(b->name),
        .lang = text_of("neap"),
        .version = text_of(NEAP_VERSION),
        .neap_id = text_of(b->bus->id),
    };
    enum neap_err err = np_nats_write_connect(&b->out, &hello);
    if (!err) err = np_nats_write_ping(&b->out);
    if (!err) b->pings++;
    return err;
}

/* A held one keeps it for later. */
static enum neap_err take_path(struct np_bus_bridge *b, struct np_bytes upstream)
{
    if (!b->opts.held) return np_bus_set_path(b->bus, upstream);
    np_buf_clear(&b->upstream);
    return np_buf_append(&b->upstream, upstream.p, upstream.n);
}

static void on_info(struct np_bus_bridge *b, struct np_bytes json)
{
    struct np_nats_info info;
    if (!np_nats_read_info(json, &info)) {
        np_bridge_lost(b, NEAP_EPROTO, "its INFO cannot be read");
        return;
    }
    if (!judge_info(b, &info)) return;
    take_limits(b, &info);
    enum neap_err err = take_path(b, info.neap_path);
    if (!err && b->link == LINK_INFO) {
        err = send_hello(b);
        b->link = LINK_PONG;
    }
    if (err) np_bridge_lost(b, err, "%s", neap_err_text(err));
}

/* The remote has answered: everything that stands is told to it, then what was kept. The owner
 * hears of it at the next PONG, so that CONNECTED means that the subscriptions are in place. */
static enum neap_err become_ready(struct np_bus_bridge *b)
{
    struct np_link *l;
    enum neap_err err = NEAP_OK;
    b->link = LINK_READY;
    b->attempts = 0;
    np_list_each (l, &b->interests.all) {
        struct interest *in = np_container_of(l, struct interest, link);
        in->got = 0;
        if (!err) err = np_bridge_write_interest(b, in);
    }
    if (!err && !b->opts.held && b->bus->remote != &b->remote)
        err = np_bus_attach(b->bus, &b->remote);
    if (!err) err = np_buf_append(&b->out, np_buf_data(&b->away), np_buf_len(&b->away));
    if (!err) err = np_nats_write_ping(&b->out);
    if (!err) b->in_place = ++b->pings;
    np_timer_stop(&b->timer);
    if (!err && b->opts.ping_interval > 0) err = np_timer_start(&b->timer, b->opts.ping_interval);
    if (err) return err;
    np_timer_set_background(&b->timer, true);
    np_buf_fini(&b->away);
    return NEAP_OK;
}

static void on_pong(struct np_bus_bridge *b)
{
    b->pongs++;
    if (b->link == LINK_PONG) {
        enum neap_err err = become_ready(b);
        if (err)
            np_bridge_lost(b, err, "%s",
                           err == NEAP_EBUSY ? "the bus has another bridge" : neap_err_text(err));
        return;
    }
    if (b->pongs == b->in_place) {
        np_logf(b->loop->log, NP_LOG_INFO, "bus: connected to %s:%d", b->host, b->port);
        np_bridge_change(b, NP_BUS_BRIDGE_CONNECTED, NEAP_OK, "");
    }
    while (b->link == LINK_READY && !np_list_empty(&b->flushes)) {
        struct np_bus_flush *f = np_container_of(b->flushes.next, struct np_bus_flush, link);
        if (f->ping > b->pongs) break;
        np_list_remove(&f->link);
        f->fn(f, NEAP_OK);
    }
}

static void on_message(struct np_bus_bridge *b, const struct np_nats_msg *m)
{
    struct np_bus_out out = {m->subject, m->reply, m->headers, m->payload, false};
    struct np_bus_msg *msg = np_bus_msg_new(&out);
    if (!msg) {
        np_bridge_lost(b, NEAP_ENOMEM, "out of memory");
        return;
    }
    np_interests_deliver(&b->interests, m->sid, msg);
    np_bus_msg_unref(msg);
}

void np_bridge_handle(struct np_bus_bridge *b, const struct np_nats_msg *m)
{
    enum neap_err err = NEAP_OK;
    switch (m->op) {
    case NP_NATS_INFO:
        on_info(b, m->text);
        break;
    case NP_NATS_PONG:
        on_pong(b);
        break;
    case NP_NATS_PING:
        err = np_nats_write_pong(&b->out);
        break;
    case NP_NATS_MSG:
    case NP_NATS_HMSG:
        on_message(b, m);
        break;
    case NP_NATS_ERR:
        np_logf(b->loop->log, NP_LOG_WARN, "bus: %s:%d says: %.*s", b->host, b->port,
                (int)m->text.n, m->text.p);
        break;
    default:
        break;
    }
    if (err) np_bridge_lost(b, err, "%s", neap_err_text(err));
}
