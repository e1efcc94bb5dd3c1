/* Admission control (see admission.h). A slot is a thirtieth of the window; whoever first counts in
 * a new one empties it, and a count that comes between may be lost. */
#include "mesh/admission.h"

#include <math.h>

#include "base/alloc.h"
#include "base/clock.h"

struct slot {
    atomic_llong number; /* of the slot since the beginning of time, + 1 */
    atomic_uint ended, succeeded;
};

struct np_admission {
    /* The options, which may be replaced at any time. */
    atomic_bool shadow;
    atomic_llong slot_ns;
    _Atomic(double) threshold, aggression, max_rejection, min_rate;
    atomic_ullong admitted, refused;
    struct slot slots[NP_ADMISSION_SLOTS];
};

const struct np_admission_options np_admission_defaults = {
    .window_ns = 30 * NP_NS_PER_SEC,
    .success_threshold = 0.95,
    .aggression = 1.0,
    .max_rejection = 0.8,
};

const char *np_admission_problem(const struct np_admission_options *o)
{
    if (o->window_ns < NP_ADMISSION_SLOTS) return "window: above 0";
    if (!(o->success_threshold > 0 && o->success_threshold <= 1))
        return "success_threshold: above 0 and at most 1";
    if (!(o->aggression > 0)) return "aggression: above 0";
    if (!(o->max_rejection >= 0 && o->max_rejection <= 1)) return "max_rejection: 0 to 1";
    if (!(o->min_rate >= 0)) return "min_rate: not below 0";
    return NULL;
}

static enum neap_err set(void *object, void *arg, struct neap_errinfo *info)
{
    struct np_admission *a = object;
    const struct np_admission_options *o = arg;
    const char *problem = np_admission_problem(o);
    if (problem != NULL) return np_err_set(info, NEAP_EINVAL, "%s", problem);
    atomic_store_explicit(&a->shadow, o->shadow, memory_order_relaxed);
    atomic_store_explicit(&a->slot_ns, o->window_ns / NP_ADMISSION_SLOTS, memory_order_relaxed);
    atomic_store_explicit(&a->threshold, o->success_threshold, memory_order_relaxed);
    atomic_store_explicit(&a->aggression, o->aggression, memory_order_relaxed);
    atomic_store_explicit(&a->max_rejection, o->max_rejection, memory_order_relaxed);
    atomic_store_explicit(&a->min_rate, o->min_rate, memory_order_relaxed);
    return NEAP_OK;
}

static enum neap_err make(void *arg, void **object, struct neap_errinfo *info)
{
    struct np_admission *a = np_calloc(1, sizeof *a);
    if (a == NULL) return np_err_plain(info, NEAP_ENOMEM);
    enum neap_err err = set(a, arg, info);
    if (err) {
        np_free(a);
        return err;
    }
    *object = a;
    return NEAP_OK;
}

const struct np_common_kind np_admission_kind = {"admission", make, set, np_free};

static int64_t slot_number(const struct np_admission *a, int64_t now)
{
    return now / atomic_load_explicit(&a->slot_ns, memory_order_relaxed) + 1;
}

static void window(const struct np_admission *a, int64_t now, double *ended, double *succeeded)
{
    int64_t number = slot_number(a, now);
    uint64_t n = 0, s = 0;
    for (unsigned i = 0; i < NP_ADMISSION_SLOTS; i++) {
        const struct slot *slot = &a->slots[i];
        int64_t age = number - atomic_load_explicit(&slot->number, memory_order_relaxed);
        if (age < 0 || age >= NP_ADMISSION_SLOTS) continue;
        n += atomic_load_explicit(&slot->ended, memory_order_relaxed);
        s += atomic_load_explicit(&slot->succeeded, memory_order_relaxed);
    }
    *ended = (double)n;
    *succeeded = (double)s;
}

static double rejection(const struct np_admission *a, double n, double s)
{
    double span =
        np_to_seconds(atomic_load_explicit(&a->slot_ns, memory_order_relaxed)) * NP_ADMISSION_SLOTS;
    double most = atomic_load_explicit(&a->max_rejection, memory_order_relaxed);
    double aggression = atomic_load_explicit(&a->aggression, memory_order_relaxed);
    if (n < span * atomic_load_explicit(&a->min_rate, memory_order_relaxed)) return 0;
    double p = (n - s / atomic_load_explicit(&a->threshold, memory_order_relaxed)) / (n + 1);
    if (p <= 0) return 0;
    if (aggression != 1.0) p = pow(p, 1 / aggression);
    return p < most ? p : most;
}

bool np_admission_enter(struct np_admission *a, enum np_priority p, double chance, int64_t now)
{
    double n, s;
    window(a, now, &n, &s);
    /* Nearly always: no failure that would matter, no power to be computed. */
    bool refused = p != NP_PRIORITY_CRITICAL && s < n && chance < rejection(a, n, s);
    atomic_fetch_add_explicit(refused ? &a->refused : &a->admitted, 1, memory_order_relaxed);
    return !refused || atomic_load_explicit(&a->shadow, memory_order_relaxed);
}

void np_admission_leave(struct np_admission *a, bool success, int64_t now)
{
    int64_t number = slot_number(a, now);
    struct slot *slot = &a->slots[(uint64_t)number % NP_ADMISSION_SLOTS];
    long long seen = atomic_load_explicit(&slot->number, memory_order_relaxed);
    if (seen < number &&
        atomic_compare_exchange_strong_explicit(&slot->number, &seen, number, memory_order_relaxed,
                                                memory_order_relaxed)) {
        atomic_store_explicit(&slot->ended, 0, memory_order_relaxed);
        atomic_store_explicit(&slot->succeeded, 0, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&slot->ended, 1, memory_order_relaxed);
    if (success) atomic_fetch_add_explicit(&slot->succeeded, 1, memory_order_relaxed);
}

struct np_admission_counters np_admission_counters(const struct np_admission *a, int64_t now)
{
    double n, s;
    window(a, now, &n, &s);
    return (struct np_admission_counters){
        .admitted = atomic_load_explicit(&a->admitted, memory_order_relaxed),
        .refused = atomic_load_explicit(&a->refused, memory_order_relaxed),
        .success_rate = n > 0 ? s / n : 1,
        .rejection = rejection(a, n, s),
        .shadow = atomic_load_explicit(&a->shadow, memory_order_relaxed),
    };
}
