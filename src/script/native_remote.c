/* Calls of natives from other workers than the first; see native.h.
 *
 *   caller: reads the arguments, sends ──► worker 0: calls
 *   caller: wakes its task             ◄── worker 0: C has finished
 *
 * The link leads back to the caller's loop for as long as its state lives. A call is freed by
 * whoever drops the last of its references: Lua's, C's, and that of a cancellation that is under
 * way.
 */
#include "base/alloc.h"
#include "script/native.h"

struct np_native_link {
    uv_mutex_t lock;
    struct np_loop *loop; /* NULL once the state is closed */
    atomic_uint refs;     /* the state's, and one for each call */
};

struct np_native_link *np_native_link_new(struct np_loop *loop)
{
    struct np_native_link *link = np_calloc(1, sizeof *link);
    if (!link) return NULL;
    if (uv_mutex_init(&link->lock) < 0) {
        np_free(link);
        return NULL;
    }
    atomic_init(&link->refs, 1);
    link->loop = loop;
    return link;
}

static void link_unref(struct np_native_link *link)
{
    if (atomic_fetch_sub(&link->refs, 1) != 1) return;
    uv_mutex_destroy(&link->lock);
    np_free(link);
}

void np_native_link_close(struct np_native_link *link)
{
    uv_mutex_lock(&link->lock);
    link->loop = NULL;
    uv_mutex_unlock(&link->lock);
    link_unref(link);
}

void np_native_call_unref(neap_call *call)
{
    if (atomic_fetch_sub(&call->refs, 1) != 1) return;
    link_unref(call->link);
    np_native_call_free(call);
}

/* --- on worker 0's thread */

static void run_there(struct np_post *p, struct np_loop *loop)
{
    neap_call *call = np_container_of(p, neap_call, post);
    (void)loop;
    if (call->runtime->natives_closed) {
        call->runtime = NULL;
        call->err = NEAP_ECANCELED;
        np_native_send_back(call);
        return;
    }
    np_native_give(call, NP_CALL_WAITING);
    call->native->fn(call, call->native->user);
}

/* The caller has the result, or nobody does. */
static void on_back(struct np_post *p, struct np_loop *loop)
{
    neap_call *call = np_container_of(p, neap_call, post);
    (void)loop;
    call->unwanted = true; /* nothing is left to be cancelled */
    np_wake(&call->wait, NEAP_OK);
    np_native_call_unref(call);
}

void np_native_send_back(neap_call *call)
{
    struct np_native_link *link = call->link;
    call->post.fn = on_back;
    uv_mutex_lock(&link->lock);
    bool sent = link->loop != NULL;
    if (sent) np_loop_post(link->loop, &call->post);
    uv_mutex_unlock(&link->lock);
    if (!sent) np_native_call_unref(call);
}

static void cancel_there(struct np_post *p, struct np_loop *loop)
{
    neap_call *call = np_container_of(p, neap_call, cancel);
    (void)loop;
    if (call->state == NP_CALL_WAITING) {
        np_native_set_state(call, NP_CALL_UNWANTED);
        if (call->on_cancel) call->on_cancel(call, call->on_cancel_user);
    }
    np_native_call_unref(call);
}

/* --- on the caller's */

void np_native_send(neap_call *call, struct np_native_link *link, struct np_native *native)
{
    atomic_fetch_add(&link->refs, 1);
    call->link = link;
    call->native = native;
    atomic_init(&call->refs, 2); /* Lua's and C's */
    call->post.fn = run_there;
    call->first = call->runtime->first;
    np_loop_post(call->first, &call->post);
}

void np_native_send_cancel(neap_call *call)
{
    if (call->unwanted) return;
    call->unwanted = true;
    call->cancel.fn = cancel_there;
    atomic_fetch_add(&call->refs, 1);
    np_loop_post(call->first, &call->cancel);
}
