/* What a connection has only while there is a request: an exchange, a parser, buffers. Thousands of
 * idle connections do without; a few of these go round among the busy ones. One thread, the loop's.
 */
#include <string.h>

#include "base/alloc.h"
#include "http/server_impl.h"

enum { MAX_SPARE = 64 };

static struct np_http_turn *new_turn(struct np_http_server *s)
{
    struct np_http_turn *t = np_calloc(1, sizeof *t);
    if (!t) return NULL;
    np_link_init(&t->spare);
    np_arena_init(&t->arena, 0);
    np_http1_init(&t->parser, NP_HTTP1_REQUEST, &s->opts.limits, &t->x.head, &np_http_conn_events,
                  NULL);
    np_buf_init(&t->in);
    np_buf_init(&t->out);
    return t;
}

void np_http_turn_free(struct np_http_turn *t)
{
    np_http1_fini(&t->parser);
    np_arena_fini(&t->arena);
    np_buf_fini(&t->in);
    np_buf_fini(&t->out);
    np_free(t);
}

enum neap_err np_http_conn_wake(struct np_http_conn *c)
{
    struct np_http_server *s = c->server;
    if (c->t) return NEAP_OK;
    struct np_link *spare = np_list_pop_front(&s->spare_turns);
    struct np_http_turn *t =
        spare ? np_container_of(spare, struct np_http_turn, spare) : new_turn(s);
    if (!t) return NEAP_ENOMEM;
    if (spare) s->nspare--;
    t->c = c;
    t->parser.arg = c;
    t->x.server = s;
    t->x.arena = &t->arena;
    c->t = t;
    return NEAP_OK;
}

static void give_back(struct np_http_conn *c)
{
    struct np_http_server *s = c->server;
    struct np_http_turn *t = c->t;
    c->t = NULL;
    t->c = NULL;
    t->parser.arg = NULL;
    if (s->nspare < MAX_SPARE && !s->closing && !s->successor) {
        np_list_push_front(&s->spare_turns, &t->spare);
        s->nspare++;
    } else {
        np_http_turn_free(t);
    }
}

void np_http_conn_rest(struct np_http_conn *c)
{
    struct np_http_turn *t = c->t;
    if (!t || c->state != NP_CONN_IDLE || c->doomed || t->parser.state != NP_HTTP1_START) return;
    if (t->parser.skipped || t->account.open || np_buf_len(&t->in) || np_buf_len(&t->out)) return;
    give_back(c);
}

void np_http_conn_end_turn(struct np_http_conn *c)
{
    struct np_http_turn *t = c->t;
    if (!t) return;
    uint64_t generation = t->x.generation;
    memset(&t->x, 0, sizeof t->x);
    t->x.generation = generation;
    np_arena_reset(&t->arena);
    np_http1_next(&t->parser, -1);
    np_buf_fini(&t->in);
    np_buf_fini(&t->out);
    t->discarded = 0;
    t->account = (struct np_http_account){.open = false};
    give_back(c);
}
