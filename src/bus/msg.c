/* Messages: one allocation each. */
#include "bus/msg.h"

#include <string.h>

#include "base/alloc.h"
#include "proto/nats_header.h"

static char *copy(char *at, struct np_bytes from, struct np_bytes *to)
{
    if (from.n > 0) memcpy(at, from.p, from.n);
    at[from.n] = '\0';
    *to = (struct np_bytes){at, from.n};
    return at + from.n + 1;
}

struct np_bus_msg *np_bus_msg_new(const struct np_bus_out *out)
{
    size_t size = sizeof(struct np_bus_msg) + 4;
    const size_t parts[] = {out->subject.n, out->reply.n, out->headers.n, out->payload.n};
    for (int i = 0; i < 4; i++) {
        if (parts[i] > SIZE_MAX / 8) return NULL;
        size += parts[i];
    }
    struct np_bus_msg *m = np_alloc(size);
    if (!m) return NULL;
    atomic_init(&m->refs, 1);
    atomic_init(&m->hopes, 0);
    m->reply = m->headers = (struct np_bytes){NULL, 0};
    char *at = copy(m->data, out->subject, &m->subject);
    if (out->reply.n > 0) at = copy(at, out->reply, &m->reply);
    if (out->headers.n > 0) at = copy(at, out->headers, &m->headers);
    copy(at, out->payload, &m->payload);
    return m;
}

struct np_bus_msg *np_bus_msg_ref(struct np_bus_msg *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void np_bus_msg_unref(struct np_bus_msg *m)
{
    if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1) np_free(m);
}

size_t np_bus_msg_size(const struct np_bus_msg *m)
{
    return m->subject.n + m->reply.n + m->headers.n + m->payload.n;
}

int np_bus_msg_status(const struct np_bus_msg *m)
{
    struct np_nats_headers h;
    return m->headers.p && np_nats_headers_read(m->headers, &h) ? h.status : 0;
}
