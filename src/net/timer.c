/* Timers: a heap of moments behind one uv timer.
 *
 * The uv timer is armed for the heap's smallest key or earlier; a wake-up that finds nothing due
 * costs little and is what makes moving and stopping timers cheap. One thread, the loop's.
 */
#include "net/timer.h"

static struct np_timer *timer_of(struct np_heap_node *n)
{
    return np_container_of(n, struct np_timer, node);
}

static void on_uv_timer(uv_timer_t *h)
{
    np_timers_run(h->data);
}

/* Arms the uv timer for the smallest key, if it is not armed for an earlier moment already. */
static void arm(struct np_loop *loop)
{
    if (loop->timers_running) return; /* it is done at the end of the run */
    struct np_heap_node *min = np_heap_min(&loop->timers);
    if (!min) {
        loop->timer_at = NP_TIME_NEVER;
        uv_timer_stop(&loop->timer);
        return;
    }
    if (loop->timer_at <= min->key) return;
    int64_t span = min->key - np_loop_now(loop);
    uint64_t ms = span <= 0 ? 0 : ((uint64_t)span + NP_NS_PER_MS - 1) / NP_NS_PER_MS;
    loop->timer_at = min->key;
    uv_timer_start(&loop->timer, on_uv_timer, ms, 0);
}

static void count(struct np_timer *t, int by)
{
    struct np_loop *loop = t->loop;
    if (t->background) return;
    loop->foreground_timers += (size_t)by;
    if (by > 0 && loop->foreground_timers == 1) uv_ref((uv_handle_t *)&loop->timer);
    if (by < 0 && loop->foreground_timers == 0) uv_unref((uv_handle_t *)&loop->timer);
}

/* Timers started by the callbacks wait for the next turn, however short, so that a timer which
 * starts itself anew does not starve the sockets. (A uv timer of 0 ms would run in this turn.) */
void np_timers_run(struct np_loop *loop)
{
    int64_t now = np_loop_now(loop);
    uint64_t first_new = loop->timers.next_seq;
    loop->timers_running = true;
    for (struct np_heap_node *n; (n = np_heap_min(&loop->timers));) {
        struct np_timer *t = timer_of(n);
        if (n->key > now || n->seq >= first_new) break;
        if (t->due >
            n->key) { /* moved later meanwhile: back in, so that a late loop keeps the order */
            if (np_heap_put(&loop->timers, n, t->due) != NEAP_OK) break;
            continue;
        }
        np_heap_remove(&loop->timers, n);
        t->due = NP_TIME_NEVER;
        count(t, -1);
        t->fn(t);
    }
    loop->timers_running = false;
    loop->timer_at = NP_TIME_NEVER;
    struct np_heap_node *min = np_heap_min(&loop->timers);
    if (min && min->key <= now)
        np_loop_defer(loop, &loop->timers_again);
    else
        arm(loop);
}

void np_timer_init(struct np_timer *t, struct np_loop *loop, void (*fn)(struct np_timer *t))
{
    *t = (struct np_timer){.loop = loop, .fn = fn, .due = NP_TIME_NEVER};
}

enum neap_err np_timer_start(struct np_timer *t, int64_t span)
{
    int64_t due = np_time_add(np_loop_now(t->loop), span < 0 ? 0 : span);
    if (due == NP_TIME_NEVER) {
        np_timer_stop(t);
        return NEAP_OK;
    }
    if (np_timer_armed(t) && due >= t->node.key) {
        t->due = due;
        return NEAP_OK;
    }
    enum neap_err err = np_heap_put(&t->loop->timers, &t->node, due);
    if (err) return err;
    if (!np_timer_armed(t)) count(t, +1);
    t->due = due;
    arm(t->loop);
    return NEAP_OK;
}

void np_timer_stop(struct np_timer *t)
{
    if (!np_timer_armed(t)) return;
    np_heap_remove(&t->loop->timers, &t->node);
    t->due = NP_TIME_NEVER;
    count(t, -1);
    if (t->loop->timers.len == 0) arm(t->loop);
}

void np_timer_set_background(struct np_timer *t, bool background)
{
    if (t->background == background) return;
    if (np_timer_armed(t)) count(t, -1);
    t->background = background;
    if (np_timer_armed(t)) count(t, +1);
}
