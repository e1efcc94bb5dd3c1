/* The sliding window (limiter.h): what this window and the last one have counted, a word each.
 *
 * Windows are numbered from the rule's base; a window's word is state[number & 1]. A word, from the
 * lowest bit: 1 bit of which terms (of the first word; in the second it must be the same, or the
 * word counts nothing), 28 bits of the window's number, 35 bits of its count in units. A word of
 * another number counts nothing either. Adding to the current word is one compare-and-swap. When a
 * clock lags behind a window that has begun, its requests count in that one.
 */
#include <math.h>

#include "base/clock.h"
#include "mesh/limiter_impl.h"

#define NUMBER_BITS 28
#define NUMBER_MASK ((UINT64_C(1) << NUMBER_BITS) - 1)
#define COUNT_SHIFT (NUMBER_BITS + 1)
#define HEAD_MASK ((UINT64_C(1) << COUNT_SHIFT) - 1) /* all but the count */
#define COUNT_MAX (UINT64_MAX >> COUNT_SHIFT)
#define LAG 4096 /* windows that a clock may be behind */

struct view {
    uint64_t number; /* of this window */
    int64_t left_ns;
    uint64_t fresh, last; /* units */
};

static uint64_t pack(uint64_t number, unsigned which, uint64_t count)
{
    if (count > COUNT_MAX) count = COUNT_MAX;
    return count << COUNT_SHIFT | (number & NUMBER_MASK) << 1 | which;
}

static uint64_t number_of(uint64_t word)
{
    return word >> 1 & NUMBER_MASK;
}

static uint64_t count_of(uint64_t word, uint64_t number, uint64_t which)
{
    if ((word & 1) != which || number_of(word) != (number & NUMBER_MASK)) return 0;
    return word >> COUNT_SHIFT;
}

static void look(const struct np_limiter_rule *r, const struct np_terms *t, const uint64_t words[2],
                 int64_t now, struct view *v)
{
    int64_t since = now > r->base ? now - r->base : 0;
    uint64_t which = words[0] & 1;
    v->number = (uint64_t)(since / t->window_ns);
    v->left_ns = t->window_ns - since % t->window_ns;
    for (int i = 0; i < 2; i++) {
        uint64_t ahead = (number_of(words[i]) - v->number) & NUMBER_MASK;
        if ((words[i] & 1) != which || ahead == 0 || ahead > LAG) continue;
        v->number += ahead;
        v->left_ns = t->window_ns;
    }
    v->fresh = count_of(words[v->number & 1], v->number, which);
    v->last = count_of(words[~v->number & 1], v->number - 1, which);
}

/* Both windows together, rounded up. */
static uint64_t estimate(const struct np_terms *t, const struct view *v)
{
    if (v->last == 0) return v->fresh;
    return v->fresh + (uint64_t)ceil((double)v->last * (double)v->left_ns / (double)t->window_ns);
}

enum np_take np_window_take(const struct np_limiter_rule *r, atomic_ullong state[2], uint64_t word,
                            double cost, bool probe, int64_t now, struct np_taken *t)
{
    uint64_t words[2] = {word, atomic_load_explicit(&state[1], memory_order_acquire)};
    struct view v;
    look(r, &t->terms, words, now, &v);
    t->word = word;
    t->cost = np_limiter_units(&t->terms, cost);
    t->before = t->after = estimate(&t->terms, &v);
    t->last = v.last;
    t->fresh = v.fresh;
    t->left_ns = v.left_ns;
    if (t->before + t->cost > t->terms.cap) return NP_TAKE_NO;
    if (probe) return NP_TAKE_OK;
    unsigned long long old = words[v.number & 1];
    uint64_t new = pack(v.number, word & 1, v.fresh + t->cost);
    if (!atomic_compare_exchange_weak_explicit(&state[v.number & 1], &old, new,
                                               memory_order_acq_rel, memory_order_relaxed))
        return NP_TAKE_AGAIN;
    t->after += t->cost;
    t->fresh += t->cost;
    return NP_TAKE_OK;
}

/* Nearly all requests find this window begun, and room even if the last one weighed in full. */
bool np_window_take_easily(const struct np_limiter_rule *r, atomic_ullong state[2], uint64_t word,
                           const struct np_limiter_terms *terms, int64_t now)
{
    int64_t window_ns = atomic_load_explicit(&terms->window_ns, memory_order_relaxed);
    uint64_t interval = atomic_load_explicit(&terms->interval, memory_order_relaxed);
    if (now < r->base || interval == 0) return false;
    uint64_t number = (uint64_t)(now - r->base) / (uint64_t)window_ns;
    uint64_t other = atomic_load_explicit(&state[1], memory_order_acquire);
    unsigned long long fresh = number & 1 ? other : word;
    uint64_t last = number & 1 ? word : other;
    uint64_t head = (number & NUMBER_MASK) << 1 | (word & 1);
    if ((fresh & HEAD_MASK) != head) return false;
    uint64_t count = (fresh >> COUNT_SHIFT) + interval;
    uint64_t most = count + count_of(last, number - 1, word & 1);
    if (most > atomic_load_explicit(&terms->cap, memory_order_relaxed)) return false;
    return atomic_compare_exchange_strong_explicit(&state[number & 1], &fresh,
                                                   count << COUNT_SHIFT | head,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

uint64_t np_window_used(const struct np_limiter_rule *r, const atomic_ullong state[2],
                        const struct np_terms *t, int64_t now)
{
    uint64_t words[2] = {atomic_load_explicit(&state[0], memory_order_acquire),
                         atomic_load_explicit(&state[1], memory_order_acquire)};
    struct view v;
    look(r, t, words, now, &v);
    return estimate(t, &v);
}

void np_window_words(const struct np_limiter_rule *r, const struct np_terms *t, unsigned which,
                     uint64_t used, int64_t now, uint64_t words[2])
{
    int64_t since = now > r->base ? now - r->base : 0;
    uint64_t number = (uint64_t)(since / t->window_ns);
    words[number & 1] = pack(number, which, used);
    words[~number & 1] = pack(number - 1, which, 0);
}

/* How much of a window must have passed until a count of `last` weighs no more than `room`. */
static int64_t until(int64_t window_ns, uint64_t last, uint64_t room)
{
    double product = (double)window_ns * (double)room;
    int64_t left = (int64_t)floor(product / (double)last);
    if (product > 0x1p53) left--; /* it may have been rounded up */
    return left < 0 ? window_ns : window_ns - left;
}

int64_t np_window_wait(const struct np_taken *t)
{
    const struct np_terms *terms = &t->terms;
    if (t->before + t->cost <= terms->cap) return 0;
    if (t->fresh + t->cost <= terms->cap) {
        int64_t gone = terms->window_ns - t->left_ns;
        return until(terms->window_ns, t->last, terms->cap - t->fresh - t->cost) - gone;
    }
    return t->left_ns + until(terms->window_ns, t->fresh, terms->cap - t->cost);
}

int64_t np_window_reset(const struct np_taken *t)
{
    if (t->fresh > 0) return t->left_ns + t->terms.window_ns;
    return t->last > 0 ? t->left_ns : 0;
}
