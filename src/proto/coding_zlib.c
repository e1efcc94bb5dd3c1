/* gzip (RFC 1952) and deflate (RFC 1950, and RFC 1951 bare, as some servers have it), by zlib.
 *
 * zlib checks headers, lengths and checksums; a gzip body may have several members. What a deflate
 * body is shows in its first two bytes, as browsers have it: a zlib header is divisible by 31.
 */
#include <string.h>
#include <zlib.h>

#include "base/alloc.h"
#include "proto/coding_impl.h"

enum { DEFAULT_LEVEL = 5, WINDOW = 15, GZIP = 16 };

struct zlib_coder {
    z_stream z;
    uint8_t first; /* deflate: the first byte, while the second has not come */
    bool sniffing, have_first;
    bool ended; /* the last member is whole */
};

static voidpf zlib_alloc(voidpf opaque, uInt items, uInt size)
{
    (void)opaque;
    size_t total;
    return __builtin_mul_overflow((size_t)items, (size_t)size, &total) ? NULL : np_alloc(total);
}

static void zlib_free(voidpf opaque, voidpf p)
{
    (void)opaque;
    np_free(p);
}

static struct zlib_coder *new_coder(void)
{
    struct zlib_coder *c = np_calloc(1, sizeof *c);
    if (!c) return NULL;
    c->z.zalloc = zlib_alloc;
    c->z.zfree = zlib_free;
    return c;
}

static void attach(z_stream *z, const struct np_coder_io *io)
{
    z->next_in = (Bytef *)io->in; /* zlib does not write there */
    z->avail_in = (uInt)io->in_n;
    z->next_out = io->out;
    z->avail_out = (uInt)io->out_n;
}

static void detach(const z_stream *z, struct np_coder_io *io)
{
    io->in = z->next_in;
    io->in_n = z->avail_in;
    io->out = z->next_out;
    io->out_n = z->avail_out;
}

/* --- encoding */

enum neap_err np_zlib_encoder_open(enum np_coding coding, int level, uint64_t size, void **out)
{
    struct zlib_coder *c = new_coder();
    if (!c) return NEAP_ENOMEM;
    int window = WINDOW, memory = 8;
    while (size && window > 9 && size <= (uint64_t)1 << (window - 1)) { /* 8 is broken in zlib */
        window--;
        if (memory > 1) memory--;
    }
    if (coding == NP_CODING_GZIP) window += GZIP;
    if (level == NP_CODING_LEVEL_DEFAULT) level = DEFAULT_LEVEL;
    if (deflateInit2(&c->z, level, Z_DEFLATED, window, memory, Z_DEFAULT_STRATEGY) != Z_OK) {
        np_free(c);
        return NEAP_ENOMEM;
    }
    *out = c;
    return NEAP_OK;
}

static enum neap_err encode(void *coder, struct np_coder_io *io, enum np_coding_op op,
                            enum np_coder_state *state)
{
    static const int flushes[] = {[NP_CODING_GO_ON] = Z_NO_FLUSH,
                                  [NP_CODING_FLUSH] = Z_SYNC_FLUSH,
                                  [NP_CODING_FINISH] = Z_FINISH};
    struct zlib_coder *c = coder;
    attach(&c->z, io);
    int ret = deflate(&c->z, flushes[op]);
    detach(&c->z, io);
    if (ret == Z_STREAM_ERROR) return NEAP_EINTERNAL;
    bool done = op == NP_CODING_FINISH ? ret == Z_STREAM_END : io->out_n > 0;
    *state = done ? NP_CODER_HUNGRY : NP_CODER_FULL;
    return NEAP_OK;
}

static void encoder_close(void *coder)
{
    struct zlib_coder *c = coder;
    deflateEnd(&c->z);
    np_free(c);
}

/* --- decoding */

enum neap_err np_zlib_decoder_open(enum np_coding coding, unsigned max_window, void **out)
{
    (void)max_window;
    struct zlib_coder *c = new_coder();
    if (!c) return NEAP_ENOMEM;
    c->sniffing = coding == NP_CODING_DEFLATE;
    if (inflateInit2(&c->z, coding == NP_CODING_GZIP ? WINDOW + GZIP : WINDOW) != Z_OK) {
        np_free(c);
        return NEAP_ENOMEM;
    }
    *out = c;
    return NEAP_OK;
}

static enum neap_err inflate_some(struct zlib_coder *c, struct np_coder_io *io,
                                  enum np_coder_state *state)
{
    attach(&c->z, io);
    int ret = inflate(&c->z, Z_NO_FLUSH);
    detach(&c->z, io);
    if (ret == Z_MEM_ERROR) return NEAP_ENOMEM;
    if (ret == Z_STREAM_END) {
        c->ended = true;
        *state = NP_CODER_WHOLE;
        return NEAP_OK;
    }
    if (ret != Z_OK && ret != Z_BUF_ERROR) return NEAP_EPROTO;
    *state = io->out_n ? NP_CODER_HUNGRY : NP_CODER_FULL;
    return NEAP_OK;
}

static bool is_zlib_header(unsigned a, unsigned b)
{
    return (a & 0x0f) == Z_DEFLATED && a >> 4 <= 7 && (a << 8 | b) % 31 == 0;
}

/* Takes the first byte; at the second chooses the format and gives zlib the first. */
static enum neap_err sniff(struct zlib_coder *c, struct np_coder_io *io, enum np_coder_state *state)
{
    *state = NP_CODER_HUNGRY;
    if (!c->have_first && io->in_n) {
        c->first = *io->in++;
        io->in_n--;
        c->have_first = true;
    }
    if (io->in_n == 0) return NEAP_OK;
    if (!is_zlib_header(c->first, *io->in) && inflateReset2(&c->z, -WINDOW) != Z_OK)
        return NEAP_EINTERNAL;
    c->sniffing = false;
    struct np_coder_io one = {&c->first, 1, io->out, io->out_n}; /* nothing comes of a byte yet */
    return inflate_some(c, &one, state);
}

static enum neap_err decode(void *coder, struct np_coder_io *io, enum np_coding_op op,
                            enum np_coder_state *state)
{
    (void)op;
    struct zlib_coder *c = coder;
    if (c->sniffing) {
        enum neap_err err = sniff(c, io, state);
        if (err || c->sniffing) return err;
    }
    if (c->ended) {
        if (inflateReset(&c->z) != Z_OK) return NEAP_EINTERNAL;
        c->ended = false;
    }
    return inflate_some(c, io, state);
}

static void decoder_close(void *coder)
{
    struct zlib_coder *c = coder;
    inflateEnd(&c->z);
    np_free(c);
}

const struct np_coder_ops np_gzip_encoder = {encode, encoder_close, false};
const struct np_coder_ops np_deflate_encoder = {encode, encoder_close, false};
const struct np_coder_ops np_gzip_decoder = {decode, decoder_close, true};
const struct np_coder_ops np_deflate_decoder = {decode, decoder_close, false};
