/* X-Neap-Deadline; see bind_http_deadline.h. */
#include "script/bind_http_deadline.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#include "base/clock.h"

enum { MAX_DIGITS = 10 };

static int64_t milliseconds(struct np_bytes text)
{
    int64_t ms = 0;
    if (text.n == 0 || text.n > MAX_DIGITS) return -1;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return -1;
        ms = ms * 10 + (text.p[i] - '0');
    }
    return ms;
}

int64_t np_http_deadline_read(const struct np_http_head *h)
{
    int64_t least = -1;
    for (size_t i = 0; i < h->nheaders; i++) {
        struct np_bytes name = h->headers[i].name;
        if (name.n != NP_HTTP_DEADLINE_LEN) continue; /* nearly all of them */
        if (strncasecmp(name.p, NP_HTTP_DEADLINE, name.n) != 0) continue;
        int64_t ms = milliseconds(h->headers[i].value);
        if (ms >= 0 && (least < 0 || ms < least)) least = ms;
    }
    return least < 0 ? -1 : least * (NP_NS_PER_SEC / 1000);
}

size_t np_http_deadline_write(int64_t left, char out[NP_HTTP_DEADLINE_TEXT])
{
    int64_t ms = left / (NP_NS_PER_SEC / 1000) + (left % (NP_NS_PER_SEC / 1000) > 0);
    if (ms > INT64_C(9999999999)) ms = INT64_C(9999999999);
    return (size_t)snprintf(out, NP_HTTP_DEADLINE_TEXT, "%" PRId64, ms);
}
