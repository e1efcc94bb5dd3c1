/* Clocks. Any thread; no state but the caller's. */
#include "base/clock.h"

#include <math.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * NP_NS_PER_SEC + ts.tv_nsec;
}

static int64_t system_now(void *arg)
{
    return read_clock(CLOCK_MONOTONIC);
}

const struct np_clock np_clock_system = {system_now, NULL};

int64_t np_clock_wall(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t np_clock_thread_cpu(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

int64_t np_seconds(double s)
{
    if (isnan(s) || s <= 0) return 0;
    double ns = s * 1e9;
    return ns >= 9.2e18 ? NP_TIME_NEVER : (int64_t)(ns + 0.5);
}

int64_t np_time_add(int64_t now, int64_t span)
{
    if (now == NP_TIME_NEVER || span == NP_TIME_NEVER) return NP_TIME_NEVER;
    int64_t sum;
    if (!__builtin_add_overflow(now, span, &sum)) return sum;
    return span > 0 ? NP_TIME_NEVER : INT64_MIN;
}

static int64_t fake_now(void *arg)
{
    return ((struct np_fake_clock *)arg)->now_ns;
}

struct np_clock np_fake_clock_as_clock(struct np_fake_clock *f)
{
    return (struct np_clock){fake_now, f};
}
