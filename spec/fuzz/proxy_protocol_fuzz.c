/* The PROXY protocol: whatever comes, a prefix says "more" or what the whole says; what was read
 * can be written again, and is then read as the same. */
#include <stdlib.h>
#include <string.h>

#include "proto/proxy_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum neap_err parse(const uint8_t *data, size_t n, struct np_proxy_header *h, size_t *used,
                           char **copy)
{
    *copy = calloc(n ? n : 1, 1); /* so that reading beyond the end is seen */
    if (n) memcpy(*copy, data, n);
    return np_proxy_parse(*copy, n, h, used, NULL);
}

static bool same(struct np_bytes a, struct np_bytes b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static void write_again(const struct np_proxy_header *h)
{
    struct np_proxy_header back;
    struct np_buf b = {0};
    size_t used;
    char from[2][NP_PROXY_ADDRESS_TEXT];
    enum neap_err err = np_proxy_write(&b, h);
    if (err == NEAP_EINVAL) { /* an empty value that was said once more would have to be p NULL */
        np_buf_fini(&b);
        return;
    }
    if (err || np_proxy_parse(np_buf_data(&b), np_buf_len(&b), &back, &used, NULL)) abort();
    if (used != np_buf_len(&b) || back.version != h->version) abort();
    if (h->version == 2 && (back.local != h->local || back.family != h->family)) abort();
    np_proxy_address_format(h->family, &h->source, from[0]);
    np_proxy_address_format(back.family, &back.source, from[1]);
    if (strcmp(from[0], from[1]) != 0) abort();
    if (!same(back.authority, h->authority) || !same(back.unique_id, h->unique_id)) abort();
    if (!same(back.ssl.cn, h->ssl.cn) || back.checksum != h->checksum) abort();
    np_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct np_proxy_header h, part;
    size_t used = 0, part_used = 0;
    char *copy, *part_copy;
    enum neap_err whole = parse(data, size, &h, &used, &copy);
    if (!whole && (used == 0 || used > size || used > NP_PROXY_MAX)) abort();
    for (size_t i = 0; i < size; i += 1 + i / 64) {
        enum neap_err err = parse(data, i, &part, &part_used, &part_copy);
        free(part_copy);
        if (err == NEAP_EAGAIN) continue;
        if (err != whole || (!err && part_used != used)) abort();
    }
    if (!whole) write_again(&h);
    free(copy);
    return 0;
}
