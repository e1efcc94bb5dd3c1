/* The algorithms on bare states, shared by limiter.c, limiter_window.c and limiter_table.c only.
 *
 * A state is two words. All but the sliding window keep in the first the moment at which what was
 * taken has drained ("theoretical arrival time", TAT), in units of 2^-shift ns since the rule's
 * base, 63 bits that wrap around, and in the second the moment (ns) of the last request that
 * passed, by which a state that lay idle is told from one that is ahead. The window's are described
 * in limiter_window.c. The lowest bit of the first word says which of the rule's terms it goes by.
 */
#ifndef NP_MESH_LIMITER_IMPL_H
#define NP_MESH_LIMITER_IMPL_H

#include "mesh/limiter.h"

#define NP_LIMITER_MAX_UNITS (UINT64_C(1) << 60)
#define NP_LIMITER_IDLE_UNITS (UINT64_C(1) << 61)

/* Terms as plain values. */
struct np_terms {
    enum np_limiter_algorithm algorithm;
    bool shadow;
    unsigned shift;
    uint64_t interval, cap, queue;
    int64_t window_ns;
    double scale;
};

static inline enum np_limiter_algorithm np_terms_algorithm(unsigned flags)
{
    return (enum np_limiter_algorithm)(flags & 0xff);
}
static inline bool np_terms_shadow(unsigned flags)
{
    return (flags >> 8) & 1;
}
static inline unsigned np_terms_shift(unsigned flags)
{
    return flags >> 16;
}
static inline void np_terms_load(const struct np_limiter_terms *from, struct np_terms *to)
{
    unsigned flags = atomic_load_explicit(&from->flags, memory_order_relaxed);
    to->algorithm = np_terms_algorithm(flags);
    to->shadow = np_terms_shadow(flags);
    to->shift = np_terms_shift(flags);
    to->interval = atomic_load_explicit(&from->interval, memory_order_relaxed);
    to->cap = atomic_load_explicit(&from->cap, memory_order_relaxed);
    to->queue = atomic_load_explicit(&from->queue, memory_order_relaxed);
    to->window_ns = atomic_load_explicit(&from->window_ns, memory_order_relaxed);
    to->scale = atomic_load_explicit(&from->scale, memory_order_relaxed);
}

/* What a decision was made from, in units; the numbers of struct np_limit come from it. */
struct np_taken {
    struct np_terms terms;
    uint64_t word;   /* the state's first word afterwards */
    uint64_t cost;   /* of the request; above NP_LIMITER_MAX_UNITS: too much for any */
    uint64_t before; /* what was in it */
    uint64_t after;
    uint64_t last, fresh; /* sliding_window: what the last window and this one count, afterwards */
    int64_t left_ns;      /* sliding_window: of this window */
};

/* `opts` checked and its defaults filled in; terms[which] is written. */
void np_limiter_rule_write(struct np_limiter_rule *r, const struct np_limiter_options *opts,
                           unsigned which);
void np_limiter_fill_defaults(struct np_limiter_options *o);
/* A state of which nothing was taken. */
void np_limiter_state_init(const struct np_limiter_rule *r, unsigned which, int64_t now,
                           atomic_ullong state[2]);
/* Decides and takes. A `probe` decides and takes nothing. `patience`: below 0, it passes now or not
 * at all (a leaky bucket: or as far as its queue goes); else it may also take a place in the line
 * for which it waits no longer than that, ns. */
enum np_take { NP_TAKE_NO, NP_TAKE_OK, NP_TAKE_AGAIN };
bool np_limiter_take(const struct np_limiter_rule *r, atomic_ullong state[2], double cost,
                     int64_t patience, bool probe, int64_t now, struct np_taken *t);
/* Takes `cost` back if nothing else came since. A ticket of 0 is none. */
void np_limiter_state_give_back(const struct np_limiter_rule *r, atomic_ullong state[2],
                                double cost, uint64_t ticket);
struct np_limit np_limiter_report(const struct np_taken *t, bool ok);
/* From terms[word & 1] to the other ones, which are written already. */
void np_limiter_state_move(const struct np_limiter_rule *r, atomic_ullong state[2], int64_t now);

uint64_t np_limiter_units(const struct np_terms *t, double cost);

/* limiter_window.c */
/* One attempt by t->terms, of which `word` is state[0]; NP_TAKE_AGAIN: another was faster. */
enum np_take np_window_take(const struct np_limiter_rule *r, atomic_ullong state[2], uint64_t word,
                            double cost, bool probe, int64_t now, struct np_taken *t);
/* A token of 1, if that is plain to see; false: perhaps, by np_window_take. */
bool np_window_take_easily(const struct np_limiter_rule *r, atomic_ullong state[2], uint64_t word,
                           const struct np_limiter_terms *terms, int64_t now);
/* How much of it is used. */
uint64_t np_window_used(const struct np_limiter_rule *r, const atomic_ullong state[2],
                        const struct np_terms *t, int64_t now);
/* Words for a window of which so much is used. */
void np_window_words(const struct np_limiter_rule *r, const struct np_terms *t, unsigned which,
                     uint64_t used, int64_t now, uint64_t words[2]);
int64_t np_window_wait(const struct np_taken *t);
int64_t np_window_reset(const struct np_taken *t);

#endif
