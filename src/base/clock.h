/* Time, as a thing one passes in.
 *
 * A moment is an int64_t count of nanoseconds on a monotonic scale with no meaning of its own;
 * a span is in nanoseconds too inside C, and in seconds (double) where a person or a script gives
 * it.
 */
#ifndef NP_BASE_CLOCK_H
#define NP_BASE_CLOCK_H

#include <stdint.h>

#define NP_NS_PER_SEC INT64_C(1000000000)
#define NP_NS_PER_MS INT64_C(1000000)
#define NP_TIME_NEVER INT64_MAX

struct np_clock {
    int64_t (*now)(void *arg);
    void *arg;
};
static inline int64_t np_clock_now(const struct np_clock *c)
{
    return c->now(c->arg);
}
/* The system's monotonic clock. */
extern const struct np_clock np_clock_system;
/* Wall time: nanoseconds since 1970, for log lines and dates only. */
int64_t np_clock_wall(void);
/* What this thread has computed so far, ns. */
int64_t np_clock_thread_cpu(void);

/* Seconds to nanoseconds, clamped: negative and NaN give 0, too large gives NP_TIME_NEVER. */
int64_t np_seconds(double s);
static inline double np_to_seconds(int64_t ns)
{
    return (double)ns / 1e9;
}
/* now + span without overflow; NP_TIME_NEVER stays what it is. */
int64_t np_time_add(int64_t now, int64_t span);

/* A clock that tests move by hand. */
struct np_fake_clock {
    int64_t now_ns;
};
struct np_clock np_fake_clock_as_clock(struct np_fake_clock *f);

#endif
