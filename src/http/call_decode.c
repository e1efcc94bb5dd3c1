/* Decoding of an answer's body, for a call that asked for codings itself.
 *
 * What comes out goes to the call's owner in pieces. When that pauses in the midst of one piece of
 * input, the rest of it is kept and decoded first when the call goes on; the parser is paused
 * meanwhile, so nothing overtakes it. One thread, the loop's.
 */
#include "base/alloc.h"
#include "http/client_impl.h"

enum { PIECE = 32 << 10 };

void np_http_call_decode_free(struct np_http_call *call)
{
    np_decoder_free(call->decoder);
    call->decoder = NULL;
    np_buf_fini(&call->coded);
    np_buf_fini(&call->plain);
}

static void failed(struct np_http_call *call, enum neap_err err)
{
    np_http_call_end_later(call,
                           err == NEAP_ELIMIT   ? NEAP_ELIMIT
                           : err == NEAP_ENOMEM ? err
                                                : NEAP_EPROTO,
                           "%s gave a body that cannot be decoded: %s", call->origin->key,
                           np_decoder_why(call->decoder));
}

/* Without the fields that tell of the body as it was sent. The array of fields is changed in place:
 * nobody looks at the original's again. */
static void strip(struct np_http_head *h)
{
    size_t n = 0;
    for (size_t i = 0; i < h->nheaders; i++) {
        const struct np_http_header *f = &h->headers[i];
        if (np_http_name_is(f->name, "content-encoding", 16) ||
            np_http_name_is(f->name, "content-length", 14))
            continue;
        h->headers[n++] = *f;
    }
    h->nheaders = n;
    h->content_length = -1;
}

const struct np_http_head *np_http_call_decode_begin(struct np_http_call *call,
                                                     const struct np_http_head *h,
                                                     struct np_http_head *plain)
{
    enum np_coding codings[NP_CODING_CHAIN_MAX];
    struct np_decoder_options o = NP_DECODER_OPTIONS_INIT;
    size_t n = 0;
    struct np_bytes v = np_http_header_get(h, "content-encoding", 16);
    if (!call->decode || !h->has_body || !v.p || np_coding_parse(v, codings, &n) || !n) return h;
    if (call->max_decoded) o.max_output = call->max_decoded;
    if (np_decoder_new(codings, n, &o, &call->decoder)) {
        np_http_call_end_later(call, NEAP_ENOMEM, "out of memory");
        return h;
    }
    call->coding = np_coding_name(codings[n - 1]);
    *plain = *h;
    strip(plain);
    return plain;
}

/* Decodes until it is used up, the call is paused or has ended. */
static void decode(struct np_http_call *call, struct np_bytes *in)
{
    while (!call->ended && !call->paused) {
        np_buf_clear(&call->plain);
        enum neap_err err = np_decoder_step(call->decoder, in, PIECE, &call->plain);
        size_t n = np_buf_len(&call->plain);
        if (err) {
            failed(call, err);
            return;
        }
        if (n && call->handler->on_body) call->handler->on_body(call, np_buf_data(&call->plain), n);
        if (n < PIECE && in->n == 0) return;
    }
}

void np_http_call_decode(struct np_http_call *call, const char *data, size_t n)
{
    struct np_bytes in = {data, n};
    decode(call, &in);
    call->more_plain = !call->ended && call->paused;
    if (call->more_plain && in.n && np_buf_append(&call->coded, in.p, in.n))
        np_http_call_end_later(call, NEAP_ENOMEM, "out of memory");
}

bool np_http_call_decode_more(struct np_http_call *call)
{
    if (!call->more_plain) return true;
    struct np_bytes in = {np_buf_data(&call->coded), np_buf_len(&call->coded)};
    size_t had = in.n;
    decode(call, &in);
    if (call->ended) return false;
    np_buf_consume(&call->coded, had - in.n);
    call->more_plain = call->paused;
    return !call->paused;
}

void np_http_call_decode_end(struct np_http_call *call)
{
    enum neap_err err = call->decoder ? np_decoder_finish(call->decoder) : NEAP_OK;
    if (err) failed(call, err);
}
