/* Server-sent events: the first byte says how the stream is cut; what comes does not depend on it.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/event_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add(struct np_buf *b, struct np_bytes v)
{
    if (np_buf_append(b, v.p, v.n) || np_buf_append(b, "|", 1)) abort();
}

static enum neap_err parse(const char *p, size_t n, size_t piece, struct np_buf *out)
{
    struct np_event_stream s;
    enum neap_err err = NEAP_OK;
    np_event_stream_init(&s, 64);
    for (size_t at = 0; at < n && !err; at += piece) {
        size_t end = n - at < piece ? n : at + piece;
        for (size_t from = at; from < end && !err;) {
            size_t used = 0;
            bool got;
            struct np_event e;
            err = np_event_stream_next(&s, p + from, end - from, &used, &got, &e);
            if (err) break;
            if (used > end - from || (!got && used != end - from)) abort();
            from += used;
            if (!got) continue;
            if (e.data.n && memchr(e.data.p, '\r', e.data.n)) abort();
            add(out, e.type);
            add(out, e.data);
            add(out, e.id);
        }
    }
    np_event_stream_fini(&s);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    const char *p = (const char *)data + 1;
    struct np_buf whole = {0}, cut = {0};
    enum neap_err a = parse(p, size - 1, size - 1, &whole);
    enum neap_err b = parse(p, size - 1, 1 + data[0] % 16, &cut);
    if (a != b) abort();
    if (np_buf_len(&whole) != np_buf_len(&cut) ||
        memcmp(np_buf_data(&whole), np_buf_data(&cut), np_buf_len(&cut)) != 0)
        abort();
    np_buf_fini(&whole);
    np_buf_fini(&cut);
    return 0;
}
