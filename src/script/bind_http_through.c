/* neap.core.http.forward_through: a forward by a cluster's rules that nobody waits for.
 *
 * As in bind_http_alone.c the handler ends at once. What lua/neap/http/gateway.lua does for others
 * goes on here: the call is admitted, its attempts are picked, forwarded, told to the machine and
 * made once more where that says so. A bad answer that may be retried is held while the next
 * attempt's time is waited for. No script's value is kept, so it may outlive the state; but then
 * there are no further attempts. The worker's thread.
 *
 *   x is …            the forward's while one runs, an answer that is held included;
 *                     ours between attempts (`waiting_handler`)
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "http/forward.h"
#include "proto/http_date.h"
#include "script/bind_cluster.h"
#include "script/bind_http_alone.h"
#include "script/bind_http_answer.h"
#include "script/bind_http_client.h"
#include "script/bind_http_request.h"

enum { CLUSTER = 1, REQUEST, SECONDS, HOLD, CLASS, READS };

struct through {
    struct np_loop *loop;
    struct np_cluster_shell *shell; /* referenced */
    struct np_http_client *client;  /* NULL: the state has closed, it may be gone */
    struct np_at_close at_close;
    struct np_http_exchange *x;
    const struct np_http_server_handler *owner; /* of the exchange */
    struct np_http_forward *f;                  /* NULL between attempts */
    struct np_timer timer;                      /* until the next attempt */
    struct np_http_statuses hold;
    struct np_call call;
    struct np_attempt a;
    struct np_result last;
    enum neap_err err; /* of the attempt that failed last */
    char why[160];
};

/* --- the end */

static void end(struct through *w, const struct np_result *r)
{
    np_timer_stop(&w->timer);
    np_list_remove(&w->at_close.link);
    np_cluster_end(w->shell->cluster, &w->call, r, np_loop_hrtime());
    np_cluster_shell_unref(w->shell);
    np_free(w);
}

/* The exchange is ours, and nothing more is tried. */
static void give_up(struct through *w)
{
    struct np_http_exchange *x = w->x;
    struct np_log *log = w->loop->log;
    enum neap_err err = w->err;
    char why[sizeof w->why];
    memcpy(why, w->why, sizeof why);
    x->handler = w->owner;
    x->user = NULL;
    end(w, &w->last);
    np_http_answer_error(log, x, err, why);
}

/* The client leaves between two attempts. */
static void on_abort(struct np_http_exchange *x, enum neap_err why)
{
    struct through *w = x->user;
    x->handler = w->owner;
    x->user = NULL;
    end(w, &w->last);
    x->handler->on_abort(x, why);
}

static const struct np_http_server_handler waiting_handler = {.on_abort = on_abort};

static void take(struct through *w, struct np_http_exchange *x)
{
    w->f = NULL;
    w->x = x;
    x->handler = &waiting_handler;
    x->user = w;
}

/* --- attempts */

static enum np_verdict finish(struct through *w, const struct np_cluster_outcome *o, int64_t *at)
{
    w->last = o->r;
    w->call.retriable = w->client ? o->retriable : NP_RETRIABLE_NO;
    return np_cluster_finish(w->shell->cluster, &w->call, &w->a, &o->r, o->unreached,
                             np_loop_hrtime(), at);
}

static bool wait_until(struct through *w, int64_t at)
{
    int64_t now = np_loop_hrtime();
    return np_timer_start(&w->timer, at > now ? at - now : 0) == NEAP_OK;
}

/* An attempt had no answer; the exchange is ours. */
static void failed(struct through *w, const struct np_http_forwarded *how)
{
    struct np_cluster_outcome o;
    int64_t at = 0;
    np_cluster_outcome_of_error(how->err, np_http_phase_name(how->phase), &o);
    w->err = how->err;
    snprintf(w->why, sizeof w->why, "%s", how->why ? how->why : "");
    if (how->body_begun) np_cluster_answered(w->shell->cluster, &w->call, &w->a);
    if (finish(w, &o, &at) == NP_CALL_RETRY && wait_until(w, at)) return;
    give_up(w);
}

/* … or it was answered, or its client has left. */
static void over(struct through *w, const struct np_http_forwarded *how)
{
    struct np_cluster_outcome o = {.r = {.outcome = NP_OUTCOME_CANCELED, .latency_ns = -1}};
    int64_t at;
    w->x = NULL;
    if (!how->err) np_cluster_outcome_of_status(w->shell, how->status, &o);
    /* who left before there was an answer has waited so long at least */
    o.r.latency_ns = how->status ? how->head_took : np_loop_hrtime() - w->a.began;
    o.retriable = NP_RETRIABLE_NO;
    if (w->a.e) (void)finish(w, &o, &at); /* an answer that was held has been told already */
    end(w, &w->last);
}

static void on_done(void *arg, const struct np_http_forwarded *how)
{
    struct through *w = arg;
    w->f = NULL;
    if (!how->x) {
        over(w, how);
        return;
    }
    take(w, how->x);
    if (w->a.e)
        failed(w, how);
    else if (!np_timer_armed(&w->timer))
        give_up(w);
}

static int64_t retry_after(const struct np_http_head *head)
{
    struct np_bytes text = np_http_header_get(head, "retry-after", 11);
    int64_t seconds = 0, at;
    if (!text.p) return 0;
    for (size_t i = 0; i < text.n && i < 6; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') {
            int64_t wall = np_clock_wall() / NP_NS_PER_SEC;
            return np_http_date_parse(text, wall, &at) && at > wall ? (at - wall) * NP_NS_PER_SEC
                                                                    : 0;
        }
        seconds = seconds * 10 + (text.p[i] - '0');
    }
    return seconds * NP_NS_PER_SEC;
}

/* An answer's head is passed on. */
static void on_answered(void *arg)
{
    struct through *w = arg;
    if (w->a.e) np_cluster_answered(w->shell->cluster, &w->call, &w->a);
}

/* The head of an answer that may be retried: it waits until it is clear whether it is. */
static void on_held(void *arg, const struct np_http_head *head, int64_t head_took)
{
    struct through *w = arg;
    struct np_cluster_outcome o;
    int64_t at = 0;
    np_cluster_outcome_of_status(w->shell, head->status, &o);
    o.r.latency_ns = head_took;
    o.r.retry_after_ns = retry_after(head);
    w->err = NEAP_ECONNRESET; /* should it break off while it is held */
    w->why[0] = '\0';
    if (finish(w, &o, &at) == NP_CALL_RETRY && wait_until(w, at)) return;
    np_http_forward_go(w->f);
}

static void attempt(struct through *w)
{
    struct np_http_forwarded how = {.x = w->x, .phase = NP_HTTP_SEND, .head_took = -1};
    struct np_endpoint *e = w->a.e;
    struct neap_errinfo info;
    struct np_http_forward_options o = {.request = {.host = e->host,
                                                    .port = e->host ? e->port : 80,
                                                    .unix_path = e->path,
                                                    .timeout = w->a.timeout_ns},
                                        .hold = &w->hold,
                                        .on_held = on_held,
                                        .on_answered = on_answered};
    w->x->handler = w->owner;
    w->x->user = NULL;
    how.err = np_http_forward_start(w->client, w->x, &o, on_done, w, &w->f, &info);
    if (!how.err) return;
    how.why = info.message;
    take(w, w->x);
    failed(w, &how);
}

/* The time of the next attempt has come. With none it is the last one's answer, if there is any. */
static void on_timer(struct np_timer *t)
{
    struct through *w = np_container_of(t, struct through, timer);
    struct np_cluster *c = w->shell->cluster;
    enum neap_err err =
        w->client ? np_cluster_start(c, &w->call, np_loop_hrtime(), &w->a) : NEAP_ECLOSED;
    if (err && w->f) {
        np_http_forward_go(w->f);
    } else if (err) {
        give_up(w);
    } else {
        if (w->f) np_http_forward_cancel(w->f);
        w->f = NULL;
        attempt(w);
    }
}

/* The state closes, and the connections with it. */
static void on_state_closing(struct np_at_close *c)
{
    struct through *w = np_container_of(c, struct through, at_close);
    w->client = NULL;
}

/* --- the beginning */

static bool is_safe(const struct np_http_head *h)
{
    return h->method == HTTP_GET || h->method == HTTP_HEAD || h->method == HTTP_OPTIONS ||
           h->method == HTTP_TRACE;
}

static enum np_priority class_of(lua_State *L, const struct np_http_head *h)
{
    enum np_priority p = (enum np_priority)luaL_optinteger(L, CLASS, NP_PRIORITY_NORMAL);
    if (!lua_toboolean(L, READS)) return p;
    struct np_bytes text = np_http_header_get(h, "x-neap-priority", 15);
    if (text.p) (void)np_priority_parse(text.p, text.n, &p);
    return p;
}

static struct through *new_through(lua_State *L, struct np_http_exchange *x, int64_t now)
{
    int64_t timeout = np_check_seconds(L, SECONDS, 0);
    enum np_priority priority = class_of(L, &x->head);
    const struct np_http_statuses *hold = luaL_checkudata(L, HOLD, NP_HTTP_STATUSES);
    struct np_http_client *client = np_lcall_client(L);
    struct through *w = np_calloc(1, sizeof *w); /* nothing raises from here on */
    if (!w) return NULL;
    w->loop = np_script_of(L)->loop;
    w->client = client;
    w->x = x;
    w->owner = x->handler;
    w->last = np_result_of(NP_OUTCOME_CANCELED, -1);
    w->hold = *hold;
    w->call.priority = priority;
    w->call.safe = true;
    w->call.deadline = timeout > 0 ? now + timeout : 0;
    np_link_init(&w->at_close.link);
    w->at_close.fn = on_state_closing;
    np_timer_init(&w->timer, w->loop, on_timer);
    return w;
}

/* forward_through(cluster, req, seconds, hold, class, reads) → true: the handler has ended, and is
 * to return | false: not so, nothing has changed | nil, err: refused
 * Of a cluster whose calls never wait for their turn; `hold` as statuses() gives it; `reads`: the
 * request's priority counts. */
static int http_forward_through(lua_State *L)
{
    lua_settop(L, READS);
    struct np_http_req *r = np_http_req_check(L, REQUEST);
    int64_t now = np_loop_hrtime();
    struct np_cluster_box *b = np_cluster_box_check(L, now);
    lua_pushboolean(L, 0);
    if (!r->x || r->answered || !is_safe(&r->x->head) || !np_http_ends_handler(L, r)) return 1;
    struct through *w = new_through(L, r->x, now);
    if (!w) return 1;
    enum neap_err err = np_cluster_admit(b->shell->cluster, &w->call, now);
    if (!err) {
        b->shell->refs++;
        w->shell = b->shell;
        np_at_close_add(np_script_of(L), &w->at_close);
        err = np_cluster_start(w->shell->cluster, &w->call, now, &w->a);
    }
    if (err) {
        int n = np_cluster_push_refusal(L, CLUSTER, &w->call, err);
        if (w->shell)
            end(w, NULL);
        else
            np_free(w);
        return n;
    }
    r->answered = true;
    np_http_req_over(r, NEAP_ECLOSED);
    attempt(w);
    lua_pushboolean(L, 1);
    return 1;
}

void np_http_add_through(lua_State *L)
{
    lua_pushcfunction(L, http_forward_through);
    lua_setfield(L, -2, "forward_through");
}
