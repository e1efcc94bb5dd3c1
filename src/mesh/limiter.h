/* Rate limiters: how many may pass in a span of time.
 *
 * token_bucket: `rate` tokens a second flow into a bucket of `burst`; a request takes its cost.
 * gcra: the generic cell rate algorithm (ATM Forum, Traffic Management 4.0, "virtual scheduling"):
 * the same bounds, kept as one moment. Both let at most burst + rate · t pass in any span t.
 * sliding_window: at most rate · window in any window, estimated from the last and this one, as if
 * the last one's had been spread evenly over it (Cloudflare's): never more than that in a window
 * counted from the limiter's beginning, never twice that in any.
 * leaky_bucket: requests leave at an even pace; who would have to wait longer than the queue allows
 * is refused, the others are told how long to wait.
 *
 * A limiter's state is one atomic 64-bit word (two for the window), so it is shared by all workers
 * and a check is a compare-and-swap; a check never allocates, and a limiter's memory is the
 * caller's: it can be embedded, and limiter_table.h keeps one per key. In shadow mode it decides
 * and counts, and lets all pass.
 *
 * Exactness: a token's time is rounded up to 2^-k ns, with k such that it is wrong by less than a
 * ten-millionth (a request's time, where the burst is so large that this leaves no room), so a
 * bound is never exceeded, and what is due at a moment passes at that moment or 1 ns later. A clock
 * that goes back (workers' loops differ a little) lets nothing pass that would not have passed
 * before. Any thread, but for np_limiter_init and _set: one at a time.
 */
#ifndef NP_MESH_LIMITER_H
#define NP_MESH_LIMITER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define NP_LIMITER_MAX_RATE 1e15
#define NP_LIMITER_WAITERS 1000 /* may wait in np_limiter_reserve, where nothing else is said */

enum np_limiter_algorithm { NP_TOKEN_BUCKET, NP_GCRA, NP_SLIDING_WINDOW, NP_LEAKY_BUCKET };
enum np_limiter_algorithm np_limiter_find(const char *name, bool *found);
const char *np_limiter_algorithm_name(enum np_limiter_algorithm a);

struct np_limiter_options {
    enum np_limiter_algorithm algorithm; /* default token_bucket */
    bool shadow;
    double rate;       /* a second, > 0, at most 10^15 */
    double burst;      /* tokens, or what may come at once; ≥ 1; 0: the rate, at least 1 */
    int64_t window_ns; /* sliding_window; default (0) 1 s; rate · window ≥ 1 */
    double queue; /* how many may wait; ≥ 0; leaky_bucket: default (below 0) burst; the others,
                     in np_limiter_reserve: the greater of that and NP_LIMITER_WAITERS */
};
#define NP_LIMITER_OPTIONS_INIT             \
    {                                       \
        NP_TOKEN_BUCKET, false, 0, 0, 0, -1 \
    }

/* The options in a check's units. They are read while they are replaced, hence atomic. */
struct np_limiter_terms {
    atomic_uint flags;      /* algorithm, shadow, shift */
    atomic_ullong interval; /* units of one token; 0: so few that they are no whole ones */
    atomic_ullong cap;      /* units that may be in it */
    atomic_ullong queue;    /* units beyond that which may wait */
    atomic_llong window_ns;
    _Atomic(double) scale; /* units of one token */
};

/* What limiters that go by the same options share. */
struct np_limiter_rule {
    struct np_limiter_options opts;   /* as they were set last, defaults filled in */
    int64_t base;                     /* the moment that units are counted from */
    struct np_limiter_terms terms[2]; /* a state's lowest bit says which are its own */
};

struct np_limiter {
    struct np_limiter_rule rule;
    atomic_ullong state[2];
    atomic_ullong allowed, refused; /* `refused` counts in shadow mode too */
};

struct np_limit {
    bool allowed;     /* in shadow mode always */
    bool would_allow; /* what was decided */
    bool never;       /* refused, as it costs more than may ever pass at once */
    double remaining; /* how many more may pass just now */
    int64_t wait_ns;  /* leaky_bucket, allowed: wait so long first; refused: until it may pass, if
                         nobody else comes; NP_TIME_NEVER if `never` */
    int64_t reset_ns; /* until it is as if nothing had passed */
};

/* What is wrong with the options, as words, or NULL. */
const char *np_limiter_problem(const struct np_limiter_options *opts);
/* NEAP_EINVAL for options out of range. */
NEAP_MUST_CHECK enum neap_err np_limiter_init(struct np_limiter *l,
                                              const struct np_limiter_options *opts, int64_t now);
/* A request of `cost` (≥ 0; 1 is usual; 0 asks whether one may pass, takes nothing and is not
 * counted). */
struct np_limit np_limiter_check(struct np_limiter *l, double cost, int64_t now);
/* The same for a cost of 1 and without the numbers, at most 30 ns. */
bool np_limiter_allow(struct np_limiter *l, int64_t now);
/* Another rate, burst, or even algorithm; what was taken stays taken. A sliding window's two words
 * change one after the other: a request that comes between them may find it empty. NEAP_EINVAL:
 * nothing has changed. */
NEAP_MUST_CHECK enum neap_err np_limiter_set(struct np_limiter *l,
                                             const struct np_limiter_options *opts, int64_t now);

/* Takes a place in the line: `allowed` with the time to wait first, in the order of the calls, from
 * whichever thread; refused, and nothing taken, when that is longer than `max_wait` or too many
 * wait. Who gives up gives its ticket back, which helps as long as nobody came after it. Not for a
 * sliding window, which keeps no line: it is as np_limiter_check. In shadow mode nobody waits. */
struct np_limit np_limiter_reserve(struct np_limiter *l, double cost, int64_t max_wait, int64_t now,
                                   uint64_t *ticket);
void np_limiter_give_back(struct np_limiter *l, double cost, uint64_t ticket);

#endif
