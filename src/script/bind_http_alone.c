/* neap.core.http.forward_alone: a forward that nobody waits for.
 *
 * A handler that ends in `return req:forward(client)` has nothing more to do with its request: its
 * task ends at once, and the forward goes on here, answers by itself when it fails, and releases
 * the balancer's pick. No script's value is kept, so it may outlive the state. The worker's thread.
 */
#include "script/bind_http_alone.h"

#include "base/alloc.h"
#include "http/forward.h"
#include "script/bind_balancer.h"
#include "script/bind_http_answer.h"
#include "script/bind_http_client.h"
#include "script/bind_http_request.h"

enum { REQUEST = 1, ENDPOINT, TIMEOUT };

struct alone {
    struct np_loop *loop;
    struct np_endpoint *e; /* picked; referenced */
    bool trial;
};

static void release(struct alone *w, enum np_outcome outcome, int64_t latency)
{
    struct np_result r = np_result_of(outcome, latency);
    int64_t now = np_loop_now(w->loop);
    np_endpoint_end(w->e, &r, now);
    if (w->trial) np_trial_end(w->e, &r, now);
    np_endpoint_unref(w->e);
    np_free(w);
}

/* A client that has left says nothing about the endpoint; nor does an answer that was broken off,
 * for whatever reason. */
static void on_done(void *arg, const struct np_http_forwarded *how)
{
    struct alone *w = arg;
    struct np_log *log = w->loop->log;
    if (!how->err)
        release(w, how->status < 500 ? NP_OUTCOME_OK : NP_OUTCOME_FAILED, how->head_took);
    else
        release(w, how->x ? NP_OUTCOME_FAILED : NP_OUTCOME_CANCELED, -1);
    if (how->x) np_http_answer_error(log, how->x, how->err, how->why);
}

bool np_http_ends_handler(lua_State *L, const struct np_http_req *r)
{
    lua_Debug ar;
    const struct np_task *t = np_task_current(L);
    if (t != r->task || t->cancel_code || t->deadline != NP_TIME_NEVER || t->co != L) return false;
    if (r->plan || r->body || r->decoded || r->added) return false;
    if (!lua_getstack(L, 2, &ar)) return false;
    lua_getinfo(L, "f", &ar);
    bool yes = lua_tocfunction(L, -1) == np_http_run_request;
    lua_pop(L, 1);
    return yes;
}

static struct np_http_forward_options options_for(const struct np_endpoint *e, int64_t timeout)
{
    return (struct np_http_forward_options){.request = {.host = e->host,
                                                        .port = e->host ? e->port : 80,
                                                        .unix_path = e->path,
                                                        .timeout = timeout}};
}

/* forward_alone(req, endpoint, seconds) → whether it does: then the handler has ended, and is to
 * return. The endpoint has been picked, by a balancer of which may_forward_alone is true. If not,
 * nothing has changed. */
static int http_forward_alone(lua_State *L)
{
    lua_settop(L, TIMEOUT);
    struct np_http_req *r = np_http_req_check(L, REQUEST);
    struct np_endpoint_view *v = np_endpoint_check(L, ENDPOINT);
    int64_t timeout = np_check_seconds(L, TIMEOUT, 0);
    lua_pushboolean(L, 0);
    if (!r->x || r->answered || v->picks == 0 || !np_http_ends_handler(L, r)) return 1;
    struct np_http_client *client = np_lcall_client(L);
    struct np_http_forward_options o = options_for(v->e, timeout);
    struct np_http_exchange *x = r->x;
    struct np_http_forward *f;
    struct alone *w = np_alloc(sizeof *w);
    if (!w) return 1;
    *w = (struct alone){np_script_of(L)->loop, v->e, v->trials > 0};
    x->user = NULL;
    if (np_http_forward_start(client, x, &o, on_done, w, &f, NULL)) {
        x->user = r;
        np_free(w);
        return 1; /* whoever tries again finds out why */
    }
    v->picks--; /* its reference is ours */
    v->trials -= w->trial;
    r->answered = true;
    np_http_req_over(r, NEAP_ECLOSED);
    lua_pushboolean(L, 1);
    return 1;
}

/* may_forward_alone(balancer) → whether picks of it may be given to forward_alone: nobody but the
 * endpoint hears how they end. */
static int http_may_forward_alone(lua_State *L)
{
    const struct np_lua_balancer *b = luaL_testudata(L, 1, NP_BALANCER_TYPE);
    lua_pushboolean(L, b && !b->has_release);
    return 1;
}

void np_http_add_alone(lua_State *L)
{
    lua_pushcfunction(L, http_forward_alone);
    lua_setfield(L, -2, "forward_alone");
    lua_pushcfunction(L, http_may_forward_alone);
    lua_setfield(L, -2, "may_forward_alone");
}
