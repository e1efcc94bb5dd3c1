/* Forwarding an exchange to a call; see forward.h. The request's making stands in
 * forward_head.c. */
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "http/forward_impl.h"

struct np_http_forward {
    struct np_http_exchange *x; /* NULL when it is answered, or not ours any more */
    struct np_http_call *call;
    const struct np_http_server_handler *owner; /* of the exchange, and what is its */
    void *owner_user;
    const struct np_http_header *more; /* of the answer; in the exchange's arena */
    size_t nmore;
    np_http_forwarded_fn done; /* NULL: nobody waits */
    void *arg;
    const struct np_http_plan *plan; /* by which the answer is compressed, or NULL */
    struct np_http_coder *coder;     /* … if it is */
    bool body_begun;                 /* some of the exchange's has gone */
    bool held;                       /* … the call has no room for more */
    bool begun;                      /* the answer */
    const struct np_http_statuses *hold;
    void (*on_held)(void *arg, const struct np_http_head *head, int64_t head_took);
    void (*on_answered)(void *arg);
    const struct np_http_head *head; /* of the answer that is held: the call's */
    enum neap_err err;               /* our own reason for the call's end, or NEAP_OK */
    const char *why;
    int status;
    int64_t began, head_took;
};

/* The exchange goes back to its owner. */
static struct np_http_exchange *give_back(struct np_http_forward *f)
{
    struct np_http_exchange *x = f->x;
    f->x = NULL;
    if (!x) return NULL;
    x->handler = f->owner;
    x->user = f->owner_user;
    if (!f->body_begun) np_http_forward_unread(x);
    return x;
}

/* The call ends, and we say why. */
static void break_off(struct np_http_forward *f, enum neap_err err, const char *why)
{
    if (!f->err) {
        f->err = err;
        f->why = why;
    }
    np_http_call_cancel(f->call);
}

static void drop_coder(struct np_http_forward *f)
{
    np_http_coder_free(f->coder);
    f->coder = NULL;
}

/* --- the request's body */

static void on_body(struct np_http_exchange *x, const char *data, size_t n)
{
    struct np_http_forward *f = x->user;
    if (f->err) return;
    f->body_begun = true;
    enum neap_err err = np_http_call_write(f->call, data, n);
    if (err == NEAP_ECLOSED) return; /* its end is on the way */
    if (err) {
        break_off(f, err, neap_err_text(err));
    } else if (!np_http_call_writable(f->call)) {
        f->held = true;
        np_http_body_stop(x);
    }
}

static void on_body_end(struct np_http_exchange *x, enum neap_err err)
{
    struct np_http_forward *f = x->user;
    f->body_begun = true;
    if (err)
        break_off(f, err, "the request's body broke off");
    else if (!f->err)
        np_http_call_finish_with(f->call, x->trailers, x->ntrailers);
}

static void on_call_drain(struct np_http_call *c)
{
    struct np_http_forward *f = np_http_call_arg(c);
    if (!f->x || !f->held) return;
    f->held = false;
    np_http_body_start(f->x);
}

/* --- the exchange */

static void on_drain(struct np_http_exchange *x)
{
    struct np_http_forward *f = x->user;
    np_http_call_pause(f->call, false);
}

static void on_abort(struct np_http_exchange *x, enum neap_err why)
{
    struct np_http_forward *f = x->user;
    give_back(f);
    drop_coder(f);
    break_off(f, why, "the client has left");
    x->handler->on_abort(x, why);
}

static const struct np_http_server_handler exchange_handler = {
    .on_body = on_body, .on_body_end = on_body_end, .on_drain = on_drain, .on_abort = on_abort};

/* --- the answer */

static enum neap_err start(struct np_http_forward *f, const struct np_http_head *head,
                           struct np_http_header *headers, size_t n)
{
    int64_t length = head->content_length;
    if (!f->plan) return np_http_start(f->x, head->status, headers, n, length);
    struct np_http_compress_head h = {head->status, headers, n, NULL, ""};
    enum neap_err err = np_http_coder_new(f->plan, f->x, &h, &length, &f->coder);
    return err ? err : np_http_start(f->x, h.status, h.headers, h.n, length);
}

static void pass_head(struct np_http_forward *f, const struct np_http_head *h)
{
    struct np_http_header *headers;
    size_t n;
    enum neap_err err =
        np_http_forward_answer_head(f->x->arena, h, f->more, f->nmore, &headers, &n);
    if (!err) err = start(f, h, headers, n);
    if (err) {
        break_off(f, err == NEAP_EINVAL ? NEAP_EPROTO : err,
                  "the answer has a head that cannot be passed on");
        return;
    }
    f->begun = true;
    if (f->on_answered) f->on_answered(f->arg);
}

static void on_head(struct np_http_call *c, const struct np_http_head *h)
{
    struct np_http_forward *f = np_http_call_arg(c);
    f->status = h->status;
    f->head_took = np_loop_hrtime() - f->began;
    if (!f->x || f->err) return;
    if (!f->hold || f->body_begun || !np_http_statuses_has(f->hold, h->status)) {
        pass_head(f, h);
        return;
    }
    f->head = h;
    np_http_call_pause(c, true); /* neither a body nor an end comes before it goes on */
    f->on_held(f->arg, h, f->head_took);
}

void np_http_forward_go(struct np_http_forward *f)
{
    if (!f->x || f->err || f->begun) return; /* its end is on the way */
    pass_head(f, f->head);
    np_http_call_pause(f->call, false);
}

static void on_call_body(struct np_http_call *c, const char *data, size_t n)
{
    struct np_http_forward *f = np_http_call_arg(c);
    if (!f->x || f->err) return;
    enum neap_err err =
        f->coder ? np_http_coder_write(f->coder, data, n) : np_http_write(f->x, data, n);
    if (err)
        break_off(f, err, neap_err_text(err));
    else if (!np_http_writable(f->x))
        np_http_call_pause(c, true);
}

static void on_interim(struct np_http_call *c, const struct np_http_head *h)
{
    struct np_http_forward *f = np_http_call_arg(c);
    struct np_http_header *headers;
    size_t n;
    if (!f->x || f->err || h->status == 100) return; /* that one is between us and the client */
    if (np_http_forward_answer_head(f->x->arena, h, NULL, 0, &headers, &n)) return;
    if (np_http_inform(f->x, h->status, headers, n)) return; /* it is but a hint */
}

static enum neap_err end_body(struct np_http_forward *f)
{
    return f->coder ? np_http_coder_end(f->coder) : NEAP_OK;
}

/* What is left for on_end to send. */
static void on_trailers(struct np_http_call *c, const struct np_http_header *fields, size_t n)
{
    struct np_http_forward *f = np_http_call_arg(c);
    struct np_http_exchange *x = f->x;
    if (!x || f->err || !f->begun) return;
    if (end_body(f)) return; /* which on_end finds, too */
    if (np_http_finish_with(x, fields, n) == NEAP_OK) f->x = NULL;
}

/* --- the end */

static void tell(struct np_http_forward *f, struct np_http_exchange *x, enum neap_err err,
                 const char *why, enum np_http_phase phase)
{
    struct np_http_forwarded how = {x, err, why, phase, f->body_begun, f->status, f->head_took};
    drop_coder(f);
    if (f->done) f->done(f->arg, &how);
    np_free(f);
}

static void on_end(struct np_http_call *c, enum neap_err err, const char *why)
{
    struct np_http_forward *f = np_http_call_arg(c);
    struct np_http_exchange *x = give_back(f);
    f->call = NULL;
    if (f->err) {
        err = f->err;
        why = f->why;
    }
    if (x && !err) {
        err = end_body(f);
        why = err ? neap_err_text(err) : NULL;
    }
    if (x && !err) {
        np_http_finish(x);
        x = NULL;
    } else if (x && f->begun) {
        np_http_abort(x);
        x = NULL;
    }
    tell(f, x, err, why, np_http_call_phase(c));
}

static const struct np_http_call_handler call_handler = {.on_head = on_head,
                                                         .on_body = on_call_body,
                                                         .on_drain = on_call_drain,
                                                         .on_end = on_end,
                                                         .on_interim = on_interim,
                                                         .on_trailers = on_trailers};

void np_http_forward_cancel(struct np_http_forward *f)
{
    struct np_http_exchange *x = give_back(f);
    f->done = NULL;
    drop_coder(f);
    if (x && f->begun) np_http_abort(x);
    break_off(f, NEAP_ECANCELED, NULL);
}

/* --- the beginning */

enum neap_err np_http_forward_start(struct np_http_client *client, struct np_http_exchange *x,
                                    const struct np_http_forward_options *o,
                                    np_http_forwarded_fn done, void *arg,
                                    struct np_http_forward **out, struct neap_errinfo *info)
{
    struct np_http_request r;
    if (x->started || x->finished) return np_err_plain(info, NEAP_ECLOSED);
    const struct np_http_header *more;
    enum neap_err err = np_http_forward_request(x, o, &r);
    if (!err) err = np_http_forward_copy(x->arena, o->answer_headers, o->nanswer_headers, &more);
    if (err) return np_err_plain(info, err);
    struct np_http_forward *f = np_calloc(1, sizeof *f);
    if (!f) return np_err_plain(info, NEAP_ENOMEM);
    f->x = x;
    f->more = more;
    f->nmore = o->nanswer_headers;
    f->owner = x->handler;
    f->owner_user = x->user;
    f->done = done;
    f->arg = arg;
    f->plan = o->compress;
    f->began = np_loop_hrtime();
    f->head_took = -1;
    f->hold = o->hold;
    f->on_held = o->on_held;
    f->on_answered = o->on_answered;
    err = np_http_client_call(client, &r, &call_handler, f, &f->call, info);
    if (err) {
        np_free(f);
        return err;
    }
    x->handler = &exchange_handler;
    x->user = f;
    *out = f;
    if (r.stream_body && np_http_call_await_sending(f->call))
        f->held = true;
    else if (r.stream_body)
        np_http_body_start(x);
    return NEAP_OK;
}
