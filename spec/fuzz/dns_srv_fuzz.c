/* SRV answers of a name server: what parses is in order, within its bounds and ended by NULs. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "net/dns_channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct np_dns_srv *v = NULL;
    size_t n = 0;
    enum neap_err err = np_dns_parse_srv(data, size, 1 + size, &v, &n);
    if (err) {
        if (v || n) abort();
        return 0;
    }
    if (n == 0) abort();
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && v[i].priority < v[i - 1].priority) abort();
        if (!memchr(v[i].target, 0, sizeof v[i].target) || !v[i].target[0]) abort();
        if (v[i].port < 0 || v[i].port > 65535 || v[i].weight < 0 || v[i].ttl < 0) abort();
    }
    np_free(v);
    return 0;
}
