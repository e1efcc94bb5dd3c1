/* Smooth weighted round robin (see balancer_smooth.h). */
#include "mesh/balancer_smooth.h"

#include <math.h>

#include "base/alloc.h"

/* How much of a turn passes before the endpoint's next one, 0 … 1, in the set that goes. In a small
 * one the standing is about minus the sum of the weights after a turn and 0 before the next. */
static double to_wait(const struct np_smooth *s, const struct np_snapshot *old, uint32_t at)
{
    double sum = 0;
    if (s->edf != NULL) return np_edf_to_wait(s->edf, at);
    for (size_t i = 0; i < old->len; i++)
        sum += s->weights[i];
    return fmin(fmax(-s->standing[at] / sum, 0), 1);
}

static enum neap_err make_small(struct np_smooth *next, const struct np_smooth *s,
                                const struct np_balancer *b, const struct np_snapshot *set,
                                const uint32_t *from)
{
    double sum = 0;
    next->standing = np_calloc(set->len, sizeof *next->standing);
    if (next->standing == NULL) return NEAP_ENOMEM;
    for (size_t i = 0; i < set->len; i++)
        sum += next->weights[i];
    for (size_t i = 0; i < set->len; i++) {
        if (from[i] == UINT32_MAX) continue;
        next->standing[i] = s->standing ? s->standing[from[i]] : -sum * to_wait(s, b->set, from[i]);
    }
    return NEAP_OK;
}

/* Those that are new are spread over a turn by the golden ratio. */
static enum neap_err make_edf(struct np_smooth *next, const struct np_smooth *s,
                              struct np_balancer *b, const struct np_snapshot *set,
                              const uint32_t *from, bool varies)
{
    double *waits = np_alloc(set->len * sizeof *waits);
    double phase = np_rng_unit(&b->rng);
    if (waits == NULL) return NEAP_ENOMEM;
    for (size_t i = 0; i < set->len; i++) {
        phase = fmod(phase + 0.6180339887498949, 1);
        waits[i] = from[i] == UINT32_MAX ? phase : to_wait(s, b->set, from[i]);
    }
    enum neap_err err = np_edf_new(next->weights, waits, set->len, varies, &next->edf);
    np_free(waits);
    return err;
}

enum neap_err np_smooth_update(struct np_smooth *s, struct np_balancer *b,
                               const struct np_snapshot *set, bool varies)
{
    struct np_smooth next = {.weights = np_calloc(set->len, sizeof *next.weights)};
    uint32_t *from = np_places_in(b->set, set);
    enum neap_err err = NEAP_ENOMEM;
    if (next.weights == NULL || from == NULL) goto fail;
    for (size_t i = 0; i < set->len; i++)
        next.weights[i] = set->endpoints[i]->weight;
    err = set->len <= NP_SMOOTH_SMALL ? make_small(&next, s, b, set, from)
                                      : make_edf(&next, s, b, set, from, varies);
    if (err != NEAP_OK) goto fail;
    np_free(from);
    np_smooth_fini(s);
    *s = next;
    return NEAP_OK;
fail:
    np_free(from);
    np_smooth_fini(&next);
    return err;
}

void np_smooth_fini(struct np_smooth *s)
{
    np_free(s->weights);
    np_free(s->standing);
    np_edf_free(s->edf);
}
