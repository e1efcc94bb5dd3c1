/* What came of an exchange, for the access log: its status, its bytes, how long it took, and the
 * name it goes by. One thread, the loop's. */
#include <stdio.h>
#include <string.h>

#include "http/access_log.h"
#include "http/asker.h"
#include "http/server_impl.h"

/* Bytes of answers so far, those included that have not left yet. */
static uint64_t written(const struct np_http_conn *c)
{
    return (c->stream ? c->stream->bytes_out : 0) + np_buf_len(&c->t->out);
}

void np_http_account_begin(struct np_http_conn *c, bool has_head)
{
    struct np_http_account *a = &c->t->account;
    a->status = 0;
    a->id = NULL;
    a->answer = NULL;
    a->open = c->server->opts.access_log != NULL;
    if (!a->open) return;
    a->has_head = has_head;
    a->began = np_access_log_wants_time(c->server->opts.access_log) ? np_loop_hrtime() : 0;
    a->before = a->body = written(c);
}

void np_http_account_head(struct np_http_conn *c, int status)
{
    struct np_http_exchange *x = &c->t->x;
    if (x->admitted && !x->answered) x->answered = np_loop_hrtime();
    c->t->account.status = status;
    c->t->account.body = written(c);
}

void np_http_account_headers(struct np_http_conn *c, const struct np_http_header *headers, size_t n)
{
    const struct np_bytes *names;
    struct np_http_account *a = &c->t->account;
    size_t wanted = a->open ? np_access_log_sent(c->server->opts.access_log, &names) : 0;
    if (wanted == 0) return;
    a->answer = np_arena_alloc(c->t->x.arena, wanted * sizeof *a->answer);
    for (size_t i = 0; a->answer && i < wanted; i++) {
        a->answer[i] = (struct np_bytes){NULL, 0};
        for (size_t k = 0; k < n; k++) {
            if (!np_http_name_is(headers[k].name, names[i].p, names[i].n)) continue;
            struct np_bytes v = headers[k].value;
            a->answer[i] = (struct np_bytes){np_arena_strndup(c->t->x.arena, v.p, v.n), v.n};
            break;
        }
    }
}

static void tell_end(struct np_http_conn *c, bool aborted)
{
    struct np_http_exchange *x = &c->t->x;
    if (c->server->handler->on_end) c->server->handler->on_end(x, c->t->account.status, aborted);
    x->admitted = x->answered = 0;
}

void np_http_account_end(struct np_http_conn *c, bool aborted)
{
    if (c->t && c->t->x.admitted) tell_end(c, aborted);
    if (!c->t || !c->t->account.open) return;
    struct np_http_account *a = &c->t->account;
    a->open = false;
    uint64_t now = written(c);
    bool answered = a->status != 0;
    struct np_access_entry e = {
        .x = &c->t->x,
        .has_head = a->has_head,
        .status = answered ? a->status : 499,
        .bytes = answered && now > a->body ? now - a->body : 0,
        .sent = now > a->before ? now - a->before : 0,
        .took = a->began ? np_loop_hrtime() - a->began : 0,
        .number = c->requests,
        .answer = answered ? a->answer : NULL,
        .aborted = aborted || !answered,
    };
    np_access_log_add(c->server->opts.access_log, &e);
}

/* As far as it is short and harmless. */
static bool is_id(struct np_bytes v)
{
    if (v.n == 0 || v.n > 128) return false;
    for (size_t i = 0; i < v.n; i++) {
        char b = v.p[i];
        bool good = (b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') ||
                    b == '-' || b == '_' || b == '.' || b == ':' || b == '=' || b == '+' ||
                    b == '/';
        if (!good) return false;
    }
    return true;
}

const char *np_http_exchange_id(struct np_http_exchange *x)
{
    struct np_http_account *a = &np_http_conn_of(x)->t->account;
    struct np_bytes given = np_http_header_get(&x->head, "x-request-id", 12);
    char text[17];
    if (a->id) return a->id;
    if (given.p && is_id(given) &&
        np_cidr_list_has_peer(&x->server->forwarded.trusted, np_http_exchange_peer_name(x))) {
        a->id = np_arena_strndup(x->arena, given.p, given.n);
    } else {
        snprintf(text, sizeof text, "%016llx", (unsigned long long)np_rng_next(&x->server->ids));
        a->id = np_arena_strndup(x->arena, text, 16);
    }
    return a->id ? a->id : "";
}
