/* Encoders and decoders of content codings: what goes round the libraries' machines; see coding.h.
 *
 * A decoder is a row of stages, the coding that was applied last first. Each has a buffer of what
 * the stage before it gave and it did not take yet, at most a piece; a stage runs only when the one
 * behind it wants its output. Every stage's output is held against the limits, so that what is
 * large only in between is refused as well.
 */
#include "proto/coding.h"

#include <string.h>

#include "base/alloc.h"
#include "proto/coding_impl.h"

enum { RUN_IN_MAX = 1 << 30, OUT_PIECE = 16 * 1024 };

struct coding_type {
    np_encoder_open_fn open_encoder;
    np_decoder_open_fn open_decoder;
    const struct np_coder_ops *encoder, *decoder;
};

static const struct coding_type types[NP_CODINGS] = {
    [NP_CODING_GZIP] = {np_zlib_encoder_open, np_zlib_decoder_open, &np_gzip_encoder,
                        &np_gzip_decoder},
    [NP_CODING_DEFLATE] = {np_zlib_encoder_open, np_zlib_decoder_open, &np_deflate_encoder,
                           &np_deflate_decoder},
    [NP_CODING_BR] = {np_brotli_encoder_open, np_brotli_decoder_open, &np_brotli_encoder,
                      &np_brotli_decoder},
    [NP_CODING_ZSTD] = {np_zstd_encoder_open, np_zstd_decoder_open, &np_zstd_encoder,
                        &np_zstd_decoder},
};

static size_t smaller(uint64_t a, uint64_t b)
{
    return (size_t)(a < b ? a : b);
}

/* Runs the coder once, for at most `room` bytes at the end of `out`. `in` is advanced. */
static enum neap_err run(const struct np_coder_ops *ops, void *coder, struct np_bytes *in,
                         size_t room, enum np_coding_op op, struct np_buf *out,
                         enum np_coder_state *state, size_t *made)
{
    char *at;
    enum neap_err err = np_buf_reserve(out, room, &at);
    if (err) return err;
    struct np_coder_io io = {(const uint8_t *)in->p, in->n, (uint8_t *)at, room};
    err = ops->run(coder, &io, op, state);
    if (err) return err;
    *made = room - io.out_n;
    np_buf_added(out, *made);
    in->p = (const char *)io.in;
    in->n = io.in_n;
    return NEAP_OK;
}

/* --- encoding */

struct np_encoder {
    const struct np_coder_ops *ops;
    void *coder;
    bool dirty;
    bool finished;
};

enum neap_err np_encoder_new(enum np_coding c, const struct np_encoder_options *o,
                             struct np_encoder **out)
{
    static const struct np_encoder_options defaults = NP_ENCODER_OPTIONS_INIT;
    if (!o) o = &defaults;
    if (c <= NP_CODING_IDENTITY || c > NP_CODING_ZSTD) return NEAP_EINVAL;
    if (o->level != NP_CODING_LEVEL_DEFAULT &&
        (o->level < np_coding_min_level(c) || o->level > np_coding_max_level(c)))
        return NEAP_EINVAL;
    struct np_encoder *e = np_calloc(1, sizeof *e);
    if (!e) return NEAP_ENOMEM;
    e->ops = types[c].encoder;
    enum neap_err err = types[c].open_encoder(c, o->level, o->size, &e->coder);
    if (err) {
        np_free(e);
        return err;
    }
    *out = e;
    return NEAP_OK;
}

static enum neap_err encode_part(struct np_encoder *e, struct np_bytes in, enum np_coding_op op,
                                 struct np_buf *out)
{
    enum np_coder_state state;
    size_t made;
    do {
        enum neap_err err = run(e->ops, e->coder, &in, OUT_PIECE, op, out, &state, &made);
        if (err) return err;
    } while (state == NP_CODER_FULL);
    return NEAP_OK;
}

enum neap_err np_encoder_write(struct np_encoder *e, const char *p, size_t n, enum np_coding_op op,
                               struct np_buf *out)
{
    if (e->finished) return NEAP_ECLOSED;
    e->dirty = op == NP_CODING_GO_ON && (e->dirty || n > 0);
    e->finished = op == NP_CODING_FINISH;
    for (; n > RUN_IN_MAX; p += RUN_IN_MAX, n -= RUN_IN_MAX) {
        enum neap_err err = encode_part(e, (struct np_bytes){p, RUN_IN_MAX}, NP_CODING_GO_ON, out);
        if (err) return err;
    }
    if (n == 0 && op == NP_CODING_GO_ON) return NEAP_OK;
    return encode_part(e, (struct np_bytes){n ? p : "", n}, op, out);
}

bool np_encoder_dirty(const struct np_encoder *e)
{
    return e->dirty;
}

void np_encoder_free(struct np_encoder *e)
{
    if (!e) return;
    e->ops->close(e->coder);
    np_free(e);
}

/* --- decoding */

struct stage {
    const struct np_coder_ops *ops;
    void *coder;
    struct np_buf in; /* what the stage before gave; unused by the first */
    uint64_t made;
    bool begun, whole;
    bool full; /* has output that needs no input */
};

struct np_decoder {
    struct np_decoder_options o;
    struct stage stages[NP_CODING_CHAIN_MAX];
    size_t n;
    uint64_t taken; /* input */
    uint64_t passed;
    enum neap_err err; /* for good */
    const char *why;
};

static enum neap_err open_stages(struct np_decoder *d, const enum np_coding *codings, size_t n)
{
    for (size_t i = n; i-- > 0;) {
        enum np_coding c = codings[i];
        if (c == NP_CODING_IDENTITY) continue;
        struct stage *s = &d->stages[d->n];
        enum neap_err err = types[c].open_decoder(c, d->o.max_window, &s->coder);
        if (err) return err;
        s->ops = types[c].decoder;
        d->n++;
    }
    return NEAP_OK;
}

enum neap_err np_decoder_new(const enum np_coding *codings, size_t n,
                             const struct np_decoder_options *o, struct np_decoder **out)
{
    static const struct np_decoder_options defaults = NP_DECODER_OPTIONS_INIT;
    if (n > NP_CODING_CHAIN_MAX) return NEAP_EINVAL;
    if (o && o->max_window && (o->max_window < 10 || o->max_window > 27)) return NEAP_EINVAL;
    struct np_decoder *d = np_calloc(1, sizeof *d);
    if (!d) return NEAP_ENOMEM;
    d->o = o ? *o : defaults;
    d->why = "";
    enum neap_err err = open_stages(d, codings, n);
    if (err) {
        np_decoder_free(d);
        return err;
    }
    *out = d;
    return NEAP_OK;
}

static enum neap_err fail(struct np_decoder *d, enum neap_err err, const char *why)
{
    d->err = err;
    d->why = why ? why : neap_err_text(err);
    return err;
}

/* How many bytes may come out of something that made so many; one more than is allowed, so that
 * there is something to be refused. */
static uint64_t allowance(uint64_t max, uint64_t made)
{
    return max == UINT64_MAX ? max : max - made + 1;
}

/* What is between two stages may be a little larger than what comes of it: data that cannot be
 * compressed grows when it is. */
static uint64_t stage_max(const struct np_decoder *d, const struct stage *s)
{
    uint64_t max = d->o.max_output;
    bool last = s == &d->stages[d->n - 1];
    return last || max > UINT64_MAX / 2 ? max : max + max / 64 + 1024;
}

static enum neap_err check_limits(struct np_decoder *d, const struct stage *s)
{
    if (s->made > stage_max(d, s))
        return fail(d, NEAP_ELIMIT, "more comes out of the compressed data than is allowed");
    if (d->o.max_ratio && s->made > d->o.ratio_floor && s->made / d->o.max_ratio > d->taken)
        return fail(d, NEAP_ELIMIT, "the compressed data grows too much");
    return NEAP_OK;
}

static enum neap_err explain(struct np_decoder *d, enum neap_err err)
{
    if (err == NEAP_EPROTO) return fail(d, err, "the compressed data is damaged");
    if (err == NEAP_ELIMIT) return fail(d, err, "the compressed data needs too much memory");
    return fail(d, err, NULL);
}

static enum neap_err run_stage(struct np_decoder *d, struct stage *s, struct np_bytes *in,
                               size_t room, struct np_buf *out, size_t *made)
{
    if (s->whole && !s->ops->members)
        return fail(d, NEAP_EPROTO, "something follows the compressed data");
    struct np_bytes part = {in->n ? in->p : "", smaller(in->n, RUN_IN_MAX)};
    size_t had = part.n;
    enum np_coder_state state;
    room = smaller(room, allowance(stage_max(d, s), s->made));
    enum neap_err err = run(s->ops, s->coder, &part, room, NP_CODING_GO_ON, out, &state, made);
    if (err) return explain(d, err);
    size_t took = had - part.n;
    if (in->n) in->p += took;
    in->n -= took;
    if (s == d->stages) d->taken += took;
    if (took) s->begun = true;
    s->made += *made;
    s->full = state == NP_CODER_FULL;
    s->whole = state == NP_CODER_WHOLE;
    return check_limits(d, s);
}

/* Appends at most `room` bytes of stage `i`'s output, fewer only if there is no more input. */
static enum neap_err pull(struct np_decoder *d, size_t i, struct np_bytes *in, size_t room,
                          struct np_buf *out, size_t *total)
{
    struct stage *s = &d->stages[i];
    *total = 0;
    while (*total < room) {
        struct np_bytes own = {np_buf_data(&s->in), np_buf_len(&s->in)};
        struct np_bytes *source = i == 0 ? in : &own;
        size_t made = 0;
        enum neap_err err;
        if (source->n == 0 && !s->full) {
            if (i == 0) return NEAP_OK;
            err = pull(d, i - 1, in, NP_CODING_PIECE, &s->in, &made);
            if (err || made == 0) return err;
            continue;
        }
        size_t had = source->n;
        err = run_stage(d, s, source, smaller(room - *total, NP_CODING_PIECE), out, &made);
        if (err) return err;
        if (made == 0 && source->n == had && had > 0) /* a library that is stuck */
            return fail(d, NEAP_EPROTO, "the compressed data is damaged");
        if (i > 0) np_buf_consume(&s->in, had - own.n);
        *total += made;
    }
    return NEAP_OK;
}

static enum neap_err pass(struct np_decoder *d, struct np_bytes *in, size_t room,
                          struct np_buf *out)
{
    size_t n = smaller(in->n, room);
    if (n > d->o.max_output - d->passed)
        return fail(d, NEAP_ELIMIT, "there is more data than is allowed");
    enum neap_err err = np_buf_append(out, in->p, n);
    if (err) return fail(d, err, NULL);
    d->passed += n;
    if (n) in->p += n;
    in->n -= n;
    return NEAP_OK;
}

enum neap_err np_decoder_step(struct np_decoder *d, struct np_bytes *in, size_t room,
                              struct np_buf *out)
{
    size_t total;
    if (d->err) return d->err;
    if (d->n == 0) return pass(d, in, room, out);
    return pull(d, d->n - 1, in, room, out, &total);
}

enum neap_err np_decoder_finish(struct np_decoder *d)
{
    if (d->err) return d->err;
    for (size_t i = 0; i < d->n; i++) {
        const struct stage *s = &d->stages[i];
        if ((s->begun && !s->whole) || np_buf_len(&s->in) > 0)
            return fail(d, NEAP_EPROTO, "the compressed data is cut off");
    }
    return NEAP_OK;
}

const char *np_decoder_why(const struct np_decoder *d)
{
    return d->why;
}

void np_decoder_free(struct np_decoder *d)
{
    if (!d) return;
    for (size_t i = 0; i < d->n; i++) {
        d->stages[i].ops->close(d->stages[i].coder);
        np_buf_fini(&d->stages[i].in);
    }
    np_free(d);
}
