/* Cookies: what is read from either header stands inside it and has no control characters; what the
 * writer takes is read back as the same.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/cookie.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct np_bytes b, const char *p, size_t n)
{
    if (b.p && (b.p < p || b.p + b.n > p + n)) abort();
    for (size_t i = 0; i < b.n; i++) {
        if (b.p[i] == '\r' || b.p[i] == '\n' || b.p[i] == '\0') abort();
    }
}

static bool same(struct np_bytes a, struct np_bytes b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static void write_back(const struct np_set_cookie *c)
{
    struct np_buf b = {0};
    struct np_set_cookie again;
    enum neap_err err = np_set_cookie_write(&b, c, NULL);
    if (!err) {
        if (!np_set_cookie_parse(np_buf_data(&b), np_buf_len(&b), &again)) abort();
        if (!same(c->name, again.name) || !same(c->value, again.value) ||
            !same(c->domain, again.domain) || c->secure != again.secure ||
            c->http_only != again.http_only || c->same_site != again.same_site)
            abort();
        if (c->has_expires && again.expires != c->expires) abort();
        if (c->has_max_age && again.max_age != c->max_age) abort();
    } else if (np_buf_len(&b) != 0) {
        abort();
    }
    np_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    struct np_bytes rest = {p, size}, name, value;
    while (np_cookie_next(&rest, &name, &value)) {
        inside(name, p, size);
        inside(value, p, size);
        if (name.n == 0) abort();
    }
    struct np_set_cookie c;
    if (np_set_cookie_parse(p, size, &c)) {
        inside(c.name, p, size);
        inside(c.value, p, size);
        inside(c.domain, p, size);
        inside(c.path, p, size);
        write_back(&c);
    }
    int64_t date;
    if (np_cookie_date(p, size, &date) && date > INT64_C(253402300799)) abort();
    return 0;
}
