/* One-shot timers, embedded in what they time. Thousands cost one uv timer.
 *
 * Moving an armed timer later (what an idle timeout does at every request) only stores the new
 * moment; the heap is touched when the old moment comes. A callback runs once per start, never
 * from inside start, and may start or stop any timer, free its own memory included.
 */
#ifndef NP_NET_TIMER_H
#define NP_NET_TIMER_H

#include "base/heap.h"
#include "net/loop.h"

struct np_timer {
    struct np_heap_node node; /* keyed by a moment at or before `due` */
    struct np_loop *loop;
    void (*fn)(struct np_timer *t);
    int64_t due;     /* NP_TIME_NEVER when not armed */
    bool background; /* does not keep the loop alive */
};

void np_timer_init(struct np_timer *t, struct np_loop *loop, void (*fn)(struct np_timer *t));
/* Due `span` ns from the loop's now. Fails only with NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_timer_start(struct np_timer *t, int64_t span);
/* Not armed: does nothing. Call before freeing the memory it stands in. */
void np_timer_stop(struct np_timer *t);
/* Whether an armed timer keeps the loop alive; a new timer does. Any time. */
void np_timer_set_background(struct np_timer *t, bool background);
static inline bool np_timer_armed(const struct np_timer *t)
{
    return t->due != NP_TIME_NEVER;
}

#endif
