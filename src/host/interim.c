/* Stands in for parts that are being built beside this one: weak, so that theirs take over. */
#include "host/interim.h"
#include "host/host.h"
#define WEAK __attribute__((weak))
WEAK void np_threads_free(struct np_threads *t)
{
    (void)t;
}
WEAK enum neap_err np_shared_maps_new(struct np_shared_maps **out)
{
    *out = NULL;
    return NEAP_OK;
}
WEAK void np_shared_maps_free(struct np_shared_maps *m)
{
    (void)m;
}
