/* What a coding's file gives to coding.c: a machine that turns bytes into bytes. Private to proto/.
 */
#ifndef NP_PROTO_CODING_IMPL_H
#define NP_PROTO_CODING_IMPL_H

#include "proto/coding.h"

struct np_coder_io {
    const uint8_t *in;
    size_t in_n;
    uint8_t *out;
    size_t out_n;
};

enum np_coder_state {
    NP_CODER_HUNGRY, /* encoder: the operation is through; decoder: wants input, has no output */
    NP_CODER_FULL,   /* wants room for output */
    NP_CODER_WHOLE,  /* decoder: the data is whole; what follows begins another member */
};

/* A coder's memory is one that `open` made. `run` advances `io`; a decoder ignores `op`. A decoder
 * that is HUNGRY or WHOLE has taken all input, unless it is WHOLE and another member follows. */
struct np_coder_ops {
    enum neap_err (*run)(void *coder, struct np_coder_io *io, enum np_coding_op op,
                         enum np_coder_state *state);
    void (*close)(void *coder);
    bool members; /* decoder: whole data may follow whole data */
};

typedef enum neap_err (*np_encoder_open_fn)(enum np_coding c, int level, uint64_t size, void **out);
typedef enum neap_err (*np_decoder_open_fn)(enum np_coding c, unsigned max_window, void **out);

enum neap_err np_zlib_encoder_open(enum np_coding c, int level, uint64_t size, void **out);
enum neap_err np_zlib_decoder_open(enum np_coding c, unsigned max_window, void **out);
extern const struct np_coder_ops np_gzip_encoder, np_gzip_decoder;
extern const struct np_coder_ops np_deflate_encoder, np_deflate_decoder;

enum neap_err np_brotli_encoder_open(enum np_coding c, int level, uint64_t size, void **out);
enum neap_err np_brotli_decoder_open(enum np_coding c, unsigned max_window, void **out);
extern const struct np_coder_ops np_brotli_encoder, np_brotli_decoder;

enum neap_err np_zstd_encoder_open(enum np_coding c, int level, uint64_t size, void **out);
enum neap_err np_zstd_decoder_open(enum np_coding c, unsigned max_window, void **out);
extern const struct np_coder_ops np_zstd_encoder, np_zstd_decoder;

#endif
