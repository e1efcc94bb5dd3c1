/* Rate limiters: how many may pass in a span of time.
 *
 * token_bucket: `rate` tokens a second flow into a bucket of `burst`; a request takes its cost.
 * gcra: the generic cell rate algorithm (ATM Forum 4.0): the same bounds, kept as one moment.
 * sliding_window: at most rate · window in any window, estimated from the last and this one
 * (Cloudflare's). leaky_bucket: requests leave at an even pace; who would have to wait longer than
 * the queue allows is refused, the others are told how long to wait.
 *
 * A limiter's state is one atomic 64-bit word (two for the window), so it is shared by all workers
 * and a check is a compare-and-swap; a check never allocates, and a limiter's memory is the
 * caller's: it can be embedded, and np_limiter_table keeps one per key. In shadow mode it decides
 * and counts, and lets all pass.
 */
#ifndef NP_MESH_LIMITER_H
#define NP_MESH_LIMITER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum np_limiter_algorithm { NP_TOKEN_BUCKET, NP_GCRA, NP_SLIDING_WINDOW, NP_LEAKY_BUCKET };
enum np_limiter_algorithm np_limiter_find(const char *name, bool *found);

struct np_limiter_options {
    enum np_limiter_algorithm algorithm; /* default token_bucket */
    bool shadow;
    double rate;       /* a second, > 0 */
    double burst;      /* tokens, or what may come at once; default: the rate, at least 1 */
    int64_t window_ns; /* sliding_window; default 1 s */
    double queue;      /* leaky_bucket: how many may wait; default: burst */
};

struct np_limiter {
    struct np_limiter_options opts;
    atomic_ullong state[2];
    atomic_ullong allowed, refused; /* `refused` counts in shadow mode too */
};

struct np_limit {
    bool allowed;     /* in shadow mode always */
    bool would_allow; /* what was decided */
    double remaining; /* how many more may pass just now */
    int64_t wait_ns;  /* leaky_bucket, allowed: wait so long first; refused: until it may pass */
    int64_t reset_ns; /* until it is as if nothing had passed */
};

/* NEAP_EINVAL for options out of range. */
NEAP_MUST_CHECK enum neap_err np_limiter_init(struct np_limiter *l,
                                              const struct np_limiter_options *opts, int64_t now);
/* A request of `cost` (≥ 0; 1 is usual; 0 asks without taking). */
struct np_limit np_limiter_check(struct np_limiter *l, double cost, int64_t now);
/* The same without the numbers, at most 30 ns. */
bool np_limiter_allow(struct np_limiter *l, int64_t now);
/* Another rate or burst; what was taken stays taken. */
NEAP_MUST_CHECK enum neap_err np_limiter_set(struct np_limiter *l,
                                             const struct np_limiter_options *opts, int64_t now);

#endif
