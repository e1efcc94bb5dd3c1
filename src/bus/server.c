/* The listener, the list of sessions, and the end of both. */
#include "bus/server.h"

#include <string.h>

#include "base/alloc.h"
#include "bus/session.h"
#include "net/stream.h"

static void free_if_gone(struct np_bus_server *s)
{
    if (!s->closing || s->listener || !np_list_empty(&s->sessions)) return;
    void (*closed)(void *arg) = s->closed;
    void *arg = s->closed_arg;
    np_defer_cancel(&s->gone);
    np_free(s->name);
    np_free(s);
    if (closed) closed(arg);
}

static void gone(struct np_defer *d)
{
    free_if_gone(np_container_of(d, struct np_bus_server, gone));
}

static void path_changed(struct path_watch *w)
{
    struct np_bus_server *s = np_container_of(w, struct np_bus_server, path_watch);
    struct np_link *l, *next;
    np_list_each_safe (l, next, &s->sessions) {
        struct session *c = np_container_of(l, struct session, link);
        if (c->async_info) np_bus_session_send_info(c);
    }
}

enum neap_err np_bus_server_new(struct np_bus *bus, const struct np_bus_server_options *opts,
                                struct np_bus_server **out)
{
    static const struct np_bus_server_options defaults = NP_BUS_SERVER_OPTIONS_INIT;
    struct np_bus_server *s = np_calloc(1, sizeof *s);
    if (!s) return NEAP_ENOMEM;
    s->bus = bus;
    s->opts = opts ? *opts : defaults;
    s->name = np_strdup(s->opts.name ? s->opts.name : "neap");
    if (!s->name) {
        np_free(s);
        return NEAP_ENOMEM;
    }
    s->opts.name = s->name;
    np_link_init(&s->sessions);
    np_defer_init(&s->gone, gone);
    s->path_watch.fn = path_changed;
    np_list_push_back(&bus->path_watches, &s->path_watch.link);
    *out = s;
    return NEAP_OK;
}

enum neap_err np_bus_server_adopt(struct np_bus_server *s, struct np_stream *stream)
{
    return np_bus_session_new(s, stream);
}

static void on_accept(struct np_listener *l, struct np_stream *stream)
{
    struct np_bus_server *s = np_listener_arg(l);
    enum neap_err err = np_bus_session_new(s, stream);
    if (err)
        np_logf(s->bus->loop->log, NP_LOG_WARN, "bus: cannot serve a client: %s",
                neap_err_text(err));
}

static void on_listener_close(struct np_listener *l)
{
    struct np_bus_server *s = np_listener_arg(l);
    s->listener = NULL;
    free_if_gone(s);
}

static const struct np_listener_handler on_listener = {.on_accept = on_accept,
                                                       .on_close = on_listener_close};

/* The clients go over as they are: a session holds nothing of its server's owner. */
static void succeed(struct np_bus_server *s, struct np_bus_server *old)
{
    struct np_link *l, *next;
    if (s->closing || s->bus != old->bus) return;
    if (s->next_id < old->next_id) s->next_id = old->next_id;
    np_list_each_safe (l, next, &old->sessions) {
        np_bus_session_pass(np_container_of(l, struct session, link), s);
    }
}

static void on_active(struct np_listener *l, bool active)
{
    struct np_listener *old = active ? np_listener_predecessor(l) : NULL;
    if (old && np_listener_get_handler(old) == &on_listener)
        succeed(np_listener_arg(l), np_listener_arg(old));
}

enum neap_err np_bus_server_listen(struct np_bus_server *s, const char *host, int port,
                                   struct neap_errinfo *info)
{
    struct np_listen_options lo = NP_LISTEN_OPTIONS_INIT;
    lo.share = s->opts.share;
    if (s->listener || s->closing)
        return np_err_set(info, NEAP_EBUSY, "the server listens already");
    enum neap_err err =
        np_tcp_listen(s->bus->loop, host, port, &lo, &on_listener, s, &s->listener, info);
    if (!err) np_listener_on_active(s->listener, on_active);
    return err;
}

void np_bus_server_address(const struct np_bus_server *s, char *out, size_t size)
{
    if (size > 0) out[0] = '\0';
    if (s->listener) np_listener_address(s->listener, out, size);
}

int np_bus_server_port(const struct np_bus_server *s)
{
    return s->listener ? np_listener_port(s->listener) : 0;
}

void np_bus_server_set_ref(struct np_bus_server *s, bool ref)
{
    if (s->listener) np_listener_set_ref(s->listener, ref);
}

void np_bus_server_get_stats(const struct np_bus_server *s, struct np_bus_server_stats *out)
{
    *out = s->stats;
}

void np_bus_server_session_gone(struct np_bus_server *s, struct session *c)
{
    np_list_remove(&c->link);
    free_if_gone(s);
}

void np_bus_server_close(struct np_bus_server *s, int64_t linger, void (*closed)(void *arg),
                         void *arg)
{
    struct np_link *l, *next;
    if (s->closing) return;
    s->closing = true;
    s->closed = closed;
    s->closed_arg = arg;
    np_list_remove(&s->path_watch.link);
    if (s->listener) np_listener_close(s->listener);
    np_list_each_safe (l, next, &s->sessions) {
        np_bus_session_close(np_container_of(l, struct session, link), linger);
    }
    np_loop_defer(s->bus->loop, &s->gone);
    s->bus = NULL;
}
