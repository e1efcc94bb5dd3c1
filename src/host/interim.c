/* Stands in for parts that are being built beside this one: weak, so that theirs take over. */
#include "host/interim.h"
#include "host/host.h"
#define WEAK __attribute__((weak))
WEAK void np_threads_free(struct np_threads *t)
{
    (void)t;
}
