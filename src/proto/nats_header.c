/* Reading and writing a block of NATS headers. */
#include "proto/nats_header.h"

#include <string.h>

static const char version[] = "NATS/1.0";
enum { VERSION_LEN = sizeof version - 1 };

static struct np_bytes trimmed(const char *p, size_t n)
{
    while (n > 0 && (*p == ' ' || *p == '\t')) {
        p++;
        n--;
    }
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t'))
        n--;
    return (struct np_bytes){p, n};
}

/* Takes a line off the front of `rest`; false when no CR LF is left. */
static bool take_line(struct np_bytes *rest, struct np_bytes *line)
{
    const char *nl = memchr(rest->p, '\n', rest->n);
    if (!nl || nl == rest->p || nl[-1] != '\r') return false;
    *line = (struct np_bytes){rest->p, (size_t)(nl - rest->p) - 1};
    size_t used = (size_t)(nl - rest->p) + 1;
    rest->p += used;
    rest->n -= used;
    return true;
}

bool np_nats_headers_read(struct np_bytes block, struct np_nats_headers *out)
{
    struct np_bytes line;
    if (block.n < VERSION_LEN + 4 || memcmp(block.p, version, VERSION_LEN) != 0) return false;
    if (memcmp(block.p + block.n - 4, "\r\n\r\n", 4) != 0) return false;
    if (!take_line(&block, &line)) return false;
    struct np_bytes inlined = trimmed(line.p + VERSION_LEN, line.n - VERSION_LEN);
    int status = 0;
    while (inlined.n > 0 && *inlined.p >= '0' && *inlined.p <= '9' && status < 1000) {
        status = status * 10 + (*inlined.p++ - '0');
        inlined.n--;
    }
    out->status = status;
    out->description = trimmed(inlined.p, inlined.n);
    out->rest = block;
    return true;
}

bool np_nats_headers_next(struct np_nats_headers *h, struct np_bytes *name, struct np_bytes *value)
{
    struct np_bytes line;
    if (!take_line(&h->rest, &line) || line.n == 0) return false;
    const char *colon = memchr(line.p, ':', line.n);
    if (!colon || colon == line.p) return false;
    *name = (struct np_bytes){line.p, (size_t)(colon - line.p)};
    *value = trimmed(colon + 1, (size_t)(line.p + line.n - colon) - 1);
    return true;
}

struct np_bytes np_nats_header_get(struct np_bytes block, const char *name, size_t n)
{
    struct np_nats_headers h;
    struct np_bytes key, value;
    if (!np_nats_headers_read(block, &h)) return (struct np_bytes){NULL, 0};
    while (np_nats_headers_next(&h, &key, &value)) {
        if (key.n == n && memcmp(key.p, name, n) == 0) return value;
    }
    return (struct np_bytes){NULL, 0};
}

static bool name_ok(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] <= ' ' || s[i] > '~' || s[i] == ':') return false;
    }
    return n > 0;
}

static bool value_ok(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\r' || s[i] == '\n' || s[i] == '\0') return false;
    }
    return true;
}

bool np_nats_header_ok(const char *name, size_t nn, const char *value, size_t vn)
{
    return name_ok(name, nn) && value_ok(value, vn);
}

static char *put(char *at, const char *s, size_t n)
{
    if (n > 0) memcpy(at, s, n);
    return at + n;
}

static char *begin(struct np_buf *b, char *at)
{
    return np_buf_len(b) > 0 ? at : put(put(at, version, VERSION_LEN), "\r\n", 2);
}

enum neap_err np_nats_headers_add(struct np_buf *b, const char *name, size_t nn, const char *value,
                                  size_t vn)
{
    if (!np_nats_header_ok(name, nn, value, vn)) return NEAP_EINVAL;
    char *start;
    enum neap_err err = np_buf_reserve(b, VERSION_LEN + 2 + nn + 2 + vn + 2, &start);
    if (err) return err;
    char *at = begin(b, start);
    at = put(put(at, name, nn), ": ", 2);
    at = put(put(at, value, vn), "\r\n", 2);
    np_buf_added(b, (size_t)(at - start));
    return NEAP_OK;
}

enum neap_err np_nats_headers_end(struct np_buf *b)
{
    char *start;
    enum neap_err err = np_buf_reserve(b, VERSION_LEN + 4, &start);
    if (err) return err;
    char *at = put(begin(b, start), "\r\n", 2);
    np_buf_added(b, (size_t)(at - start));
    return NEAP_OK;
}
