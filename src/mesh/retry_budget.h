/* A retry budget (Finagle's): each call deposits a share of a token, each retry or hedge takes one
 * out; deposits lapse after ten seconds; a reserve lets a quiet client retry at all (Envoy's
 * minimum is 3 as well). So a peer that is down gets a fifth more load and not three times as much.
 *
 * Shared by workers: each second has a slot, a word of its own with the second and an amount, that
 * compare-and-swap changes; no token is spent twice, though two threads that race for the last one
 * may both go without. Any thread; a deposit is O(1), a withdrawal O(slots). All zero but for ratio
 * and reserve is a budget without deposits.
 */
#ifndef NP_MESH_RETRY_BUDGET_H
#define NP_MESH_RETRY_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define NP_BUDGET_SLOTS 10   /* of a second each */
#define NP_BUDGET_SCALE 1000 /* parts of a token */
#define NP_BUDGET_RATIO_MAX 100.0

struct np_retry_budget {
    uint32_t ratio;   /* of a token per call, in thousandths; default 200 */
    uint32_t reserve; /* retries in ten seconds that need no deposit; default 3 */
    struct {
        atomic_ullong balance; /* second << 32 | thousandths of a token, signed */
        atomic_ullong spare;   /* second << 32 | of the reserve, used in that second */
    } slots[NP_BUDGET_SLOTS];
    atomic_ullong withdrawn, refused;
};

/* `ratio` is cut to 0 … NP_BUDGET_RATIO_MAX. */
void np_retry_budget_init(struct np_retry_budget *b, double ratio, uint32_t reserve);
/* A call was made. */
void np_retry_budget_deposit(struct np_retry_budget *b, int64_t now);
/* Takes the price of a retry out, from the deposits or else from the reserve; false if there is
 * neither. */
bool np_retry_budget_withdraw(struct np_retry_budget *b, int64_t now);
/* The same from the deposits alone, of which so many tokens must be left: for what matters less. */
bool np_retry_budget_withdraw_over(struct np_retry_budget *b, uint32_t leave, int64_t now);
/* What was withdrawn from the deposits was not needed after all. */
void np_retry_budget_refund(struct np_retry_budget *b, int64_t now);
/* Tokens that deposits would pay for now, without the reserve. */
double np_retry_budget_balance(const struct np_retry_budget *b, int64_t now);

#endif
