/* zstd (RFC 8878), by libzstd. A body may have several frames, skippable ones among them; one that
 * refers further back than allowed is refused from its header, before memory is taken for it.
 */
#define ZSTD_STATIC_LINKING_ONLY /* the makers that take an allocator; the library exports them */
#include <zstd.h>
#include <zstd_errors.h>

#include "base/alloc.h"
#include "proto/coding_impl.h"

enum { DEFAULT_LEVEL = 3, WINDOW = 18, MIN_WINDOW = 10, HTTP_WINDOW = 23 };

static void *zstd_alloc(void *opaque, size_t size)
{
    (void)opaque;
    return np_alloc(size);
}

static void zstd_free(void *opaque, void *p)
{
    (void)opaque;
    np_free(p);
}

static const ZSTD_customMem memory = {zstd_alloc, zstd_free, NULL};

static enum neap_err failure(size_t code, enum neap_err otherwise)
{
    switch (ZSTD_getErrorCode(code)) {
    case ZSTD_error_memory_allocation:
        return NEAP_ENOMEM;
    case ZSTD_error_frameParameter_windowTooLarge:
        return NEAP_ELIMIT;
    default:
        return otherwise;
    }
}

/* --- encoding */

/* A level's own window is for archives; an answer's reaches 256 KiB back, or as far as it is long.
 * From level 10 on whoever asks for it wants it small at any price. */
static int window_for(int level, uint64_t size)
{
    int window = level < 10 ? WINDOW : HTTP_WINDOW;
    while (size && window > MIN_WINDOW && size <= (uint64_t)1 << (window - 1))
        window--;
    return window;
}

static bool set(ZSTD_CCtx *s, ZSTD_cParameter what, int value)
{
    return !ZSTD_isError(ZSTD_CCtx_setParameter(s, what, value));
}

/* For a short window the library would make tables as large as for a long one. */
static bool set_up(ZSTD_CCtx *s, int level, int window)
{
    if (!set(s, ZSTD_c_compressionLevel, level) || !set(s, ZSTD_c_windowLog, window)) return false;
    if (level >= 10 || window > 16) return true;
    return set(s, ZSTD_c_hashLog, window) && set(s, ZSTD_c_chainLog, window - 1);
}

enum neap_err np_zstd_encoder_open(enum np_coding coding, int level, uint64_t size, void **out)
{
    (void)coding;
    ZSTD_CCtx *s = ZSTD_createCCtx_advanced(memory);
    if (!s) return NEAP_ENOMEM;
    if (level == NP_CODING_LEVEL_DEFAULT) level = DEFAULT_LEVEL;
    if (!set_up(s, level, window_for(level, size))) {
        ZSTD_freeCCtx(s);
        return NEAP_EINVAL;
    }
    *out = s;
    return NEAP_OK;
}

static enum neap_err encode(void *coder, struct np_coder_io *io, enum np_coding_op op,
                            enum np_coder_state *state)
{
    static const ZSTD_EndDirective ops[] = {[NP_CODING_GO_ON] = ZSTD_e_continue,
                                            [NP_CODING_FLUSH] = ZSTD_e_flush,
                                            [NP_CODING_FINISH] = ZSTD_e_end};
    ZSTD_inBuffer in = {io->in, io->in_n, 0};
    ZSTD_outBuffer out = {io->out, io->out_n, 0};
    size_t left = ZSTD_compressStream2(coder, &out, &in, ops[op]);
    if (ZSTD_isError(left)) return failure(left, NEAP_EINTERNAL);
    io->in += in.pos;
    io->in_n -= in.pos;
    io->out += out.pos;
    io->out_n -= out.pos;
    bool more = op == NP_CODING_GO_ON ? io->in_n > 0 : left > 0;
    *state = more ? NP_CODER_FULL : NP_CODER_HUNGRY;
    return NEAP_OK;
}

static void encoder_close(void *coder)
{
    ZSTD_freeCCtx(coder);
}

/* --- decoding */

enum neap_err np_zstd_decoder_open(enum np_coding coding, unsigned max_window, void **out)
{
    (void)coding;
    ZSTD_DCtx *s = ZSTD_createDCtx_advanced(memory);
    if (!s) return NEAP_ENOMEM;
    int window = max_window ? (int)max_window : HTTP_WINDOW;
    if (ZSTD_isError(ZSTD_DCtx_setParameter(s, ZSTD_d_windowLogMax, window))) {
        ZSTD_freeDCtx(s);
        return NEAP_EINVAL;
    }
    *out = s;
    return NEAP_OK;
}

static enum neap_err decode(void *coder, struct np_coder_io *io, enum np_coding_op op,
                            enum np_coder_state *state)
{
    (void)op;
    ZSTD_inBuffer in = {io->in, io->in_n, 0};
    ZSTD_outBuffer out = {io->out, io->out_n, 0};
    size_t left = ZSTD_decompressStream(coder, &out, &in);
    if (ZSTD_isError(left)) return failure(left, NEAP_EPROTO);
    io->in += in.pos;
    io->in_n -= in.pos;
    io->out += out.pos;
    io->out_n -= out.pos;
    *state = left == 0 ? NP_CODER_WHOLE : io->out_n == 0 ? NP_CODER_FULL : NP_CODER_HUNGRY;
    return NEAP_OK;
}

static void decoder_close(void *coder)
{
    ZSTD_freeDCtx(coder);
}

const struct np_coder_ops np_zstd_encoder = {encode, encoder_close, false};
const struct np_coder_ops np_zstd_decoder = {decode, decoder_close, true};
