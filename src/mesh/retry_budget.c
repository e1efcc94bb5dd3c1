/* Retry budgets (see retry_budget.h).
 *
 * A withdrawal is booked first and looked at afterwards: the sum of the slots may not have fallen
 * below zero by it, else it is taken back. So whoever is let through is let through on a token that
 * nobody else can have.
 */
#include "mesh/retry_budget.h"

#include "base/clock.h"

/* A slot's word. Seconds are counted from 1, so that 0 is a slot never used. */
static uint32_t second_of(int64_t now)
{
    int64_t s = now / NP_NS_PER_SEC;
    return (uint32_t)(s < 0 ? 0 : s) + NP_BUDGET_SLOTS + 1;
}

static uint64_t word(uint32_t second, int32_t amount)
{
    return (uint64_t)second << 32 | (uint32_t)amount;
}

static int32_t amount_of(uint64_t w)
{
    return (int32_t)(uint32_t)w;
}

static int32_t add_clamped(int32_t a, int32_t b)
{
    int64_t sum = (int64_t)a + b;
    if (sum > INT32_MAX) return INT32_MAX;
    return sum < INT32_MIN ? INT32_MIN : (int32_t)sum;
}

/* What stands there from another turn of the ring has lapsed. A thread whose clock is behind adds
 * to the newer second. */
static void add(atomic_ullong *slot, uint32_t second, int32_t amount)
{
    unsigned long long old = atomic_load_explicit(slot, memory_order_relaxed), next;
    do {
        uint32_t there = (uint32_t)(old >> 32);
        bool lapsed = (int32_t)(second - there) > 0;
        next = lapsed ? word(second, amount) : word(there, add_clamped(amount_of(old), amount));
    } while (!atomic_compare_exchange_weak_explicit(slot, &old, next, memory_order_acq_rel,
                                                    memory_order_relaxed));
}

static int64_t live(unsigned long long w, uint32_t second)
{
    int32_t age = (int32_t)(second - (uint32_t)(w >> 32));
    return age < NP_BUDGET_SLOTS ? amount_of(w) : 0;
}

static int64_t deposits(const struct np_retry_budget *b, uint32_t second)
{
    int64_t sum = 0;
    for (int i = 0; i < NP_BUDGET_SLOTS; i++) {
        sum += live(atomic_load_explicit(&b->slots[i].balance, memory_order_acquire), second);
    }
    return sum;
}

static int64_t spared(const struct np_retry_budget *b, uint32_t second)
{
    int64_t sum = 0;
    for (int i = 0; i < NP_BUDGET_SLOTS; i++) {
        sum += live(atomic_load_explicit(&b->slots[i].spare, memory_order_acquire), second);
    }
    return sum;
}

void np_retry_budget_init(struct np_retry_budget *b, double ratio, uint32_t reserve)
{
    if (!(ratio > 0)) ratio = 0;
    if (ratio > NP_BUDGET_RATIO_MAX) ratio = NP_BUDGET_RATIO_MAX;
    *b = (struct np_retry_budget){.ratio = (uint32_t)(ratio * NP_BUDGET_SCALE + 0.5),
                                  .reserve = reserve};
}

void np_retry_budget_deposit(struct np_retry_budget *b, int64_t now)
{
    uint32_t second = second_of(now);
    if (b->ratio == 0) return;
    add(&b->slots[second % NP_BUDGET_SLOTS].balance, second, (int32_t)b->ratio);
}

static bool from_deposits(struct np_retry_budget *b, uint32_t second, int64_t leave)
{
    atomic_ullong *slot = &b->slots[second % NP_BUDGET_SLOTS].balance;
    if (deposits(b, second) < leave + NP_BUDGET_SCALE) return false;
    add(slot, second, -NP_BUDGET_SCALE);
    if (deposits(b, second) >= leave) return true;
    add(slot, second, NP_BUDGET_SCALE);
    return false;
}

static bool from_reserve(struct np_retry_budget *b, uint32_t second)
{
    atomic_ullong *slot = &b->slots[second % NP_BUDGET_SLOTS].spare;
    if (spared(b, second) >= b->reserve) return false;
    add(slot, second, 1);
    if (spared(b, second) <= b->reserve) return true;
    add(slot, second, -1);
    return false;
}

static bool counted(struct np_retry_budget *b, bool paid)
{
    atomic_fetch_add_explicit(paid ? &b->withdrawn : &b->refused, 1, memory_order_relaxed);
    return paid;
}

bool np_retry_budget_withdraw(struct np_retry_budget *b, int64_t now)
{
    uint32_t second = second_of(now);
    return counted(b, from_deposits(b, second, 0) || from_reserve(b, second));
}

bool np_retry_budget_withdraw_over(struct np_retry_budget *b, uint32_t leave, int64_t now)
{
    return counted(b, from_deposits(b, second_of(now), (int64_t)leave * NP_BUDGET_SCALE));
}

void np_retry_budget_refund(struct np_retry_budget *b, int64_t now)
{
    uint32_t second = second_of(now);
    add(&b->slots[second % NP_BUDGET_SLOTS].balance, second, NP_BUDGET_SCALE);
    atomic_fetch_sub_explicit(&b->withdrawn, 1, memory_order_relaxed);
}

double np_retry_budget_balance(const struct np_retry_budget *b, int64_t now)
{
    return (double)deposits(b, second_of(now)) / NP_BUDGET_SCALE;
}
