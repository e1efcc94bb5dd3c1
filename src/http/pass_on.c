/* Connections that go over to another server: what a reload does with those that are kept alive.
 *
 * A server whose listener takes over another's work is that one's successor. A connection between
 * two exchanges holds nothing of its server's owner, so it goes over as it is, with what has been
 * read of its next request; one that is in an exchange follows when that is over. A successor may
 * have one itself; who is freed in the middle is stepped over. One thread, the loop's.
 */
#include "http/server_impl.h"

void np_http_conn_pass_on(struct np_http_conn *c)
{
    struct np_http_server *from = c->server;
    struct np_http_server *to = from->successor;
    if (!to) return;
    while (to->successor)
        to = to->successor;
    np_list_remove(&c->link);
    from->nconns--;
    if (c->counted) from->nserving--;
    np_list_push_back(&to->conns, &c->link);
    to->nconns++;
    if (c->counted) to->nserving++;
    c->server = to;
    if (c->t) {
        c->t->x.server = to;
        c->t->parser.limits = to->opts.limits;
    }
    if (from->opts.write_timeout != to->opts.write_timeout &&
        np_stream_set_timeouts(c->stream, 0, to->opts.write_timeout, 0))
        np_http_conn_doom(c, NEAP_ENOMEM);
    np_http_server_conn_gone(from);
}

static bool between_exchanges(const struct np_http_conn *c)
{
    return c->state == NP_CONN_IDLE || c->state == NP_CONN_HEAD;
}

void np_http_server_succeed(struct np_http_server *s, struct np_http_server *old)
{
    struct np_link *pos, *tmp;
    if (old == s || old->successor || s->closing || s->successor) return;
    old->successor = s;
    np_list_push_back(&s->predecessors, &old->succession);
    np_list_each_safe (pos, tmp, &old->conns) {
        struct np_http_conn *c = np_container_of(pos, struct np_http_conn, link);
        if (between_exchanges(c)) np_http_conn_pass_on(c);
    }
}

void np_http_server_leave_succession(struct np_http_server *s)
{
    struct np_link *l;
    np_list_remove(&s->succession);
    while ((l = np_list_pop_front(&s->predecessors))) {
        struct np_http_server *old = np_container_of(l, struct np_http_server, succession);
        old->successor = s->successor;
        if (s->successor) np_list_push_back(&s->successor->predecessors, l);
    }
}
