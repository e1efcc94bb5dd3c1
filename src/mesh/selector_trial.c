/* The trial of an endpoint whose ejection is over (see selector_impl.h). */
#include "base/clock.h"
#include "mesh/outlier.h"
#include "mesh/selector_impl.h"

/* Outlier detection, where there is one, has its own word after this; these are its defaults
 * (Envoy's base_ejection_time and max_ejection_time). */
#define AGAIN_NS (30 * NP_NS_PER_SEC)
#define AGAIN_MAX_NS (300 * NP_NS_PER_SEC)

void np_trial_end(struct np_endpoint *e, const struct np_result *r, int64_t now)
{
    struct np_stats *s = e->stats;
    long long until = atomic_load_explicit(&s->ejected_until, memory_order_relaxed);
    /* Whoever has ejected it meanwhile has the last word. */
    bool due = until != 0 && until <= now;
    if (due && r->outcome == NP_OUTCOME_OK) {
        np_endpoint_readmit(e, now);
    } else if (due && r->outcome == NP_OUTCOME_FAILED) {
        int64_t n = atomic_load_explicit(&s->ejections, memory_order_relaxed);
        int64_t pause = n < 9 ? AGAIN_NS * (n + 1) : AGAIN_MAX_NS;
        (void)atomic_compare_exchange_strong_explicit(&s->ejected_until, &until,
                                                      np_time_add(now, pause), memory_order_relaxed,
                                                      memory_order_relaxed);
    }
    atomic_store_explicit(&s->on_trial, false, memory_order_release);
}
