/* Slow start (see slow_start.h). */
#include "mesh/slow_start.h"

#include <math.h>

/* Nobody gets nothing at all: it would never be found out how it does. */
#define LEAST 1e-3

double np_slow_start_share(const struct np_slow_start *s, int64_t since, int64_t now)
{
    if (s->window_ns <= 0 || since == 0 || now - since >= s->window_ns) return 1;
    double t = now > since ? (double)(now - since) / (double)s->window_ns : 0;
    if (s->curve == NP_SLOW_START_ENVOY && s->aggression != 1.0) t = pow(t, 1 / s->aggression);
    return fmin(fmax(fmax(t, s->min), LEAST), 1);
}
