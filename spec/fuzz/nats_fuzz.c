/* The NATS parser, both sides, the header block and the two JSON texts. The first byte chooses the
 * side and where the rest is cut; what was parsed whole and in pieces must be the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "proto/nats.h"
#include "proto/nats_header.h"
#include "proto/nats_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    uint64_t hash;
    size_t count;
    enum neap_err end;
};

static void mix(struct result *r, struct np_bytes s)
{
    r->hash = np_hash_stable(s.p ? s.p : "", s.n, r->hash + (s.p != NULL));
}

static void look_inside(const struct np_nats_msg *m)
{
    struct np_nats_headers h;
    struct np_bytes name, value;
    struct np_nats_connect c;
    struct np_nats_info i;
    if (m->op == NP_NATS_CONNECT) (void)!np_nats_read_connect(m->text, &c);
    if (m->op == NP_NATS_INFO) (void)!np_nats_read_info(m->text, &i);
    if (m->headers.p && np_nats_headers_read(m->headers, &h)) {
        while (np_nats_headers_next(&h, &name, &value))
            ;
    }
}

static void feed(struct np_nats_parser *p, const uint8_t *data, size_t n, struct result *r)
{
    struct np_nats_msg m;
    np_nats_feed(p, (const char *)data, n);
    while ((r->end = np_nats_next(p, &m)) == NEAP_OK) {
        r->count++;
        r->hash = np_hash_mix(r->hash + m.op + m.max);
        mix(r, m.subject);
        mix(r, m.sid);
        mix(r, m.reply);
        mix(r, m.queue);
        mix(r, m.headers);
        mix(r, m.payload);
        mix(r, m.text);
        look_inside(&m);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct np_nats_limits limits = {256, 4096};
    if (size < 1) return 0;
    enum np_nats_side side = data[0] & 1 ? NP_NATS_CLIENT : NP_NATS_SERVER;
    size_t step = 1 + (data[0] >> 1);
    data++;
    size--;
    struct np_nats_parser p;
    struct result whole = {0}, cut = {0};
    np_nats_parser_init(&p, side, &limits);
    feed(&p, data, size, &whole);
    np_nats_parser_fini(&p);
    np_nats_parser_init(&p, side, &limits);
    cut.end = NEAP_EAGAIN;
    for (size_t at = 0; at < size && cut.end == NEAP_EAGAIN; at += step)
        feed(&p, data + at, size - at < step ? size - at : step, &cut);
    np_nats_parser_fini(&p);
    if (whole.hash != cut.hash || whole.count != cut.count ||
        (whole.end == NEAP_EAGAIN) != (cut.end == NEAP_EAGAIN))
        abort();
    return 0;
}
