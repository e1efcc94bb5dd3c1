/* Messages for C: publishing on the host's bus, and subscribing to it. */
#include <string.h>

#include "base/alloc.h"
#include "bus/sub.h"
#include "host/host.h"

struct neap_subscription {
    struct np_link link; /* in neap_t.subscribers */
    struct np_bus_sub *sub;
    void (*fn)(const neap_message *m, void *user);
    void *user;
};

static struct np_bytes bytes_of(const char *text)
{
    struct np_bytes b = {text, text ? strlen(text) : 0};
    return b;
}

enum neap_err neap_publish(neap_t *n, const char *subject, const char *reply, const void *data,
                           size_t len)
{
    enum neap_err err = np_host_start(n, NULL);
    if (err) return err;
    struct np_bus_out m = {.subject = bytes_of(subject),
                           .reply = bytes_of(reply),
                           .payload = {data ? data : "", data ? len : 0}};
    err = np_bus_publish(n->workers[0]->bus, &m, NULL, NULL);
    return err ? np_host_fail(n, err, "cannot publish '%s': %s", subject ? subject : "",
                              neap_err_text(err))
               : NEAP_OK;
}

static void on_message(struct np_bus_sub *s, struct np_bus_msg *m)
{
    neap_subscription *sub = np_bus_sub_arg(s);
    neap_message out = {m->subject.p, m->reply.n ? m->reply.p : NULL, m->payload.p, m->payload.n};
    sub->fn(&out, sub->user);
}

enum neap_err neap_subscribe(neap_t *n, const char *pattern, const char *queue,
                             void (*fn)(const neap_message *m, void *user), void *user,
                             neap_subscription **out)
{
    static const struct np_bus_sub_handler handler = {.on_message = on_message};
    enum neap_err err = np_host_start(n, NULL);
    if (err) return err;
    if (!fn) return np_host_fail(n, NEAP_EINVAL, "no function given");
    neap_subscription *s = np_calloc(1, sizeof *s);
    if (!s) return np_host_fail(n, NEAP_ENOMEM, NULL);
    np_link_init(&s->link);
    s->fn = fn;
    s->user = user;
    struct np_bus_sub_options so = NP_BUS_SUB_OPTIONS_INIT;
    so.queue = bytes_of(queue);
    err = np_bus_subscribe(n->workers[0]->bus, bytes_of(pattern), &so, &handler, s, &s->sub);
    if (err) {
        np_free(s);
        return np_host_fail(n, err, "cannot subscribe to '%s': %s", pattern ? pattern : "",
                            neap_err_text(err));
    }
    np_list_push_back(&n->subscribers, &s->link);
    *out = s;
    return NEAP_OK;
}

void neap_unsubscribe(neap_subscription *s)
{
    if (!s) return;
    np_bus_unsubscribe(s->sub);
    np_list_remove(&s->link);
    np_free(s);
}

void np_host_end_subscriptions(neap_t *n)
{
    while (!np_list_empty(&n->subscribers)) {
        neap_unsubscribe(np_container_of(n->subscribers.next, neap_subscription, link));
    }
}
