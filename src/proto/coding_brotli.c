/* br (RFC 7932), by libbrotli. How far a body may refer back stands in its first byte, and is
 * looked at before the library sees it. */
#include <brotli/decode.h>
#include <brotli/encode.h>
#include <setjmp.h>

#include "base/alloc.h"
#include "base/list.h"
#include "proto/coding_impl.h"

enum { DEFAULT_LEVEL = 4, WINDOW = 18, MIN_WINDOW = 10, MAX_WINDOW = 24 };

/* --- encoding */

/* The library's encoder ends the process when it gets no memory, so the call for memory does not
 * return to it then but jumps to the call that entered the library. That is sound because all its
 * memory is in `blocks`, and goes with that list, not by the library's own destructor. */
struct brotli_encoder {
    BrotliEncoderState *state; /* NULL: it has failed */
    struct np_link blocks;     /* the headers of what the library holds */
    jmp_buf escape;            /* holds while the library runs */
};

/* As long as what malloc aligns to. */
struct block {
    _Alignas(max_align_t) struct np_link link;
};

static void *encoder_alloc(void *opaque, size_t size)
{
    struct brotli_encoder *e = opaque;
    struct block *b = size > SIZE_MAX - sizeof *b ? NULL : np_alloc(sizeof *b + size);
    if (!b) longjmp(e->escape, 1);
    np_list_push_back(&e->blocks, &b->link);
    return b + 1;
}

static void encoder_free(void *opaque, void *p)
{
    (void)opaque;
    if (!p) return;
    struct block *b = (struct block *)p - 1;
    np_list_remove(&b->link);
    np_free(b);
}

static void free_blocks(struct brotli_encoder *e)
{
    struct np_link *l;
    while ((l = np_list_pop_front(&e->blocks)))
        np_free(np_container_of(l, struct block, link));
    e->state = NULL;
}

static void set_up(BrotliEncoderState *s, int level, uint64_t size)
{
    uint32_t window = WINDOW;
    while (size && window > MIN_WINDOW && size <= ((uint64_t)1 << (window - 1)) - 16)
        window--;
    if (level == NP_CODING_LEVEL_DEFAULT) level = DEFAULT_LEVEL;
    BrotliEncoderSetParameter(s, BROTLI_PARAM_QUALITY, (uint32_t)level);
    BrotliEncoderSetParameter(s, BROTLI_PARAM_LGWIN, window);
    if (size)
        BrotliEncoderSetParameter(s, BROTLI_PARAM_SIZE_HINT,
                                  size < 1 << 30 ? (uint32_t)size : 1 << 30);
}

enum neap_err np_brotli_encoder_open(enum np_coding coding, int level, uint64_t size, void **out)
{
    (void)coding;
    struct brotli_encoder *e = np_calloc(1, sizeof *e);
    if (!e) return NEAP_ENOMEM;
    np_link_init(&e->blocks);
    if (setjmp(e->escape)) {
        free_blocks(e);
        np_free(e);
        return NEAP_ENOMEM;
    }
    e->state = BrotliEncoderCreateInstance(encoder_alloc, encoder_free, e);
    set_up(e->state, level, size);
    *out = e;
    return NEAP_OK;
}

static enum neap_err encode(void *coder, struct np_coder_io *io, enum np_coding_op op,
                            enum np_coder_state *state)
{
    static const BrotliEncoderOperation ops[] = {[NP_CODING_GO_ON] = BROTLI_OPERATION_PROCESS,
                                                 [NP_CODING_FLUSH] = BROTLI_OPERATION_FLUSH,
                                                 [NP_CODING_FINISH] = BROTLI_OPERATION_FINISH};
    struct brotli_encoder *e = coder;
    if (!e->state) return NEAP_ENOMEM;
    if (setjmp(e->escape)) {
        free_blocks(e);
        return NEAP_ENOMEM;
    }
    if (!BrotliEncoderCompressStream(e->state, ops[op], &io->in_n, &io->in, &io->out_n, &io->out,
                                     NULL))
        return NEAP_EINTERNAL;
    bool more = io->in_n || BrotliEncoderHasMoreOutput(e->state);
    *state = more ? NP_CODER_FULL : NP_CODER_HUNGRY;
    return NEAP_OK;
}

static void encoder_close(void *coder)
{
    free_blocks(coder);
    np_free(coder);
}

/* --- decoding */

static void *decoder_alloc(void *opaque, size_t size)
{
    (void)opaque;
    return np_alloc(size);
}

static void decoder_free(void *opaque, void *p)
{
    (void)opaque;
    np_free(p);
}

struct brotli_decoder {
    BrotliDecoderState *state;
    unsigned max_window;
    bool begun;
};

enum neap_err np_brotli_decoder_open(enum np_coding coding, unsigned max_window, void **out)
{
    (void)coding;
    struct brotli_decoder *d = np_calloc(1, sizeof *d);
    if (!d) return NEAP_ENOMEM;
    d->max_window = max_window ? max_window : MAX_WINDOW;
    d->state = BrotliDecoderCreateInstance(decoder_alloc, decoder_free, NULL);
    if (!d->state) {
        np_free(d);
        return NEAP_ENOMEM;
    }
    *out = d;
    return NEAP_OK;
}

/* log2 of the window (RFC 7932, 9.1); one that is no brotli's is left to the library. */
static unsigned window_of(unsigned first)
{
    if (!(first & 1)) return 16;
    unsigned n = first >> 1 & 7;
    if (n) return 17 + n;
    n = first >> 4 & 7;
    return n ? 8 + n : 17;
}

static enum neap_err failure(const BrotliDecoderState *s)
{
    BrotliDecoderErrorCode code = BrotliDecoderGetErrorCode(s);
    bool memory = code <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES &&
                  code >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES;
    return memory ? NEAP_ENOMEM : NEAP_EPROTO;
}

static enum neap_err decode(void *coder, struct np_coder_io *io, enum np_coding_op op,
                            enum np_coder_state *state)
{
    (void)op;
    struct brotli_decoder *d = coder;
    if (!d->begun && io->in_n) {
        if (window_of(*io->in) > d->max_window) return NEAP_ELIMIT;
        d->begun = true;
    }
    switch (
        BrotliDecoderDecompressStream(d->state, &io->in_n, &io->in, &io->out_n, &io->out, NULL)) {
    case BROTLI_DECODER_RESULT_SUCCESS:
        *state = NP_CODER_WHOLE;
        return NEAP_OK;
    case BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT:
        *state = NP_CODER_HUNGRY;
        return NEAP_OK;
    case BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT:
        *state = NP_CODER_FULL;
        return NEAP_OK;
    default:
        return failure(d->state);
    }
}

static void decoder_close(void *coder)
{
    struct brotli_decoder *d = coder;
    BrotliDecoderDestroyInstance(d->state);
    np_free(d);
}

const struct np_coder_ops np_brotli_encoder = {encode, encoder_close, false};
const struct np_coder_ops np_brotli_decoder = {decode, decoder_close, false};
