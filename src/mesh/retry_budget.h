/* A retry budget (Finagle's): each call deposits a share of a token, each retry or hedge takes one
 * out; deposits lapse after ten seconds; a reserve lets a quiet client retry at all (Envoy's
 * minimum is 3 as well). So a peer that is down gets a fifth more load and not three times as much.
 * Shared by workers: slots of atomics. Any thread.
 */
#ifndef NP_MESH_RETRY_BUDGET_H
#define NP_MESH_RETRY_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define NP_BUDGET_SLOTS 10 /* of a second each */
#define NP_BUDGET_SCALE 1000

struct np_retry_budget {
    uint32_t ratio;   /* of a token per call, in thousandths; default 200 */
    uint32_t reserve; /* retries in ten seconds that need no deposit; default 3 */
    struct {
        atomic_llong second;
        atomic_llong balance; /* thousandths of a token */
        atomic_uint spare;    /* of the reserve, used in this second */
    } slots[NP_BUDGET_SLOTS];
    atomic_ullong withdrawn, refused;
};

void np_retry_budget_init(struct np_retry_budget *b, double ratio, uint32_t reserve);
void np_retry_budget_deposit(struct np_retry_budget *b, int64_t now);
bool np_retry_budget_withdraw(struct np_retry_budget *b, int64_t now);

#endif
