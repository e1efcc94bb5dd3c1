/* URLs: what parses is made of its own text; resolving gives a URL; coding goes there and back. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "proto/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct np_bytes b, const char *text, size_t n)
{
    if (b.n && (b.p < text || b.p + b.n > text + n)) abort();
}

static void resolve(const char *text, size_t n)
{
    struct np_url base, again;
    static const char at[] = "http://a/b/c?d";
    struct np_buf made = {0};
    if (np_url_parse(at, sizeof at - 1, &base, NULL)) abort();
    if (np_url_resolve(&made, &base, text, n, NULL) == NEAP_OK &&
        np_url_parse(np_buf_data(&made), np_buf_len(&made), &again, NULL))
        abort();
    np_buf_fini(&made);
}

static void code(const char *text, size_t n)
{
    struct np_buf b = {0};
    size_t len = 0;
    char *out = malloc(n * 3 + 1);
    for (int part = NP_URL_COMPONENT; part <= NP_URL_FORM; part++) {
        np_buf_clear(&b);
        if (np_url_encode(&b, text, n, (enum np_url_part)part)) abort();
        if (!np_url_decode(np_buf_data(&b), np_buf_len(&b), part == NP_URL_FORM, out, &len))
            abort();
        if (len != n || memcmp(out, text, n) != 0) abort();
    }
    if (n) memcpy(out, text, n);
    (void)np_url_decode(out, n, true, out, &len);
    if (n) memcpy(out, text, n);
    len = np_url_normalize_path(out, n);
    if (len > n || np_url_normalize_path(out, len) != len) abort();
    free(out);
    np_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct np_url u;
    if (size > 20000) return 0;
    if (np_url_parse(text, size, &u, NULL) == NEAP_OK) {
        inside(u.host, text, size);
        inside(u.path, text, size);
        inside(u.query, text, size);
        inside(u.socket, text, size);
        struct np_buf b = {0};
        if (np_url_target(&b, &u) || np_url_authority(&b, &u)) abort();
        np_buf_fini(&b);
    }
    struct np_bytes rest = {text, size}, name, value;
    while (np_url_query_next(&rest, &name, &value))
        inside(name, text, size);
    resolve(text, size);
    code(text, size);
    return 0;
}
