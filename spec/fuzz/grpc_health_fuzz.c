/* gRPC's health check: what a peer sends. The first byte says how the stream is cut, and whether a
 * second check follows; whether the peer is healthy does not depend on how it is cut. */
#include <stdlib.h>
#include <string.h>

#include "proto/grpc_health.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends with what the connection died of, or with NEAP_OK. */
static enum neap_err drain(struct np_grpc_health *h)
{
    struct np_bytes out;
    size_t sent = 0;
    for (;;) {
        enum neap_err err = np_grpc_health_output(h, &out);
        if (err || out.n == 0) return err;
        sent += out.n;
        if (sent > 1 << 20) abort(); /* what it makes us say is bounded */
    }
}

static void look(const struct np_grpc_health *h)
{
    const struct np_grpc_health_result *r = np_grpc_health_result(h);
    if (r == NULL) return;
    if (strlen(r->text) > NP_GRPC_TEXT_MAX) abort();
    if (r->healthy && (r->grpc_status != 0 || r->serving != NP_GRPC_SERVING)) abort();
}

static struct np_grpc_health_result run(const uint8_t *p, size_t n, size_t piece, bool again)
{
    const struct np_grpc_health_options o = {.authority = "a:1"};
    struct np_grpc_health_result result = {.grpc_status = -2};
    struct np_grpc_health *h;
    if (np_grpc_health_new(&o, &h) || np_grpc_health_begin(h, "s", 0)) abort();
    enum neap_err err = drain(h);
    for (size_t at = 0; at < n && !err; at += piece) {
        err = np_grpc_health_feed(h, p + at, n - at < piece ? n - at : piece);
        if (!err) err = drain(h);
        look(h);
        if (again && !err && np_grpc_health_result(h)) err = np_grpc_health_begin(h, "t", 1);
    }
    if (np_grpc_health_result(h)) result = *np_grpc_health_result(h);
    np_grpc_health_free(h);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    bool again = data[0] & 128;
    struct np_grpc_health_result a = run(data + 1, size - 1, size - 1, again);
    struct np_grpc_health_result b = run(data + 1, size - 1, 1 + (data[0] & 15), again);
    if (!again && a.healthy != b.healthy) abort();
    return 0;
}
