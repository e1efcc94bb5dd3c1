/* Content codings (RFC 9110, 8.4): gzip, deflate, br and zstd, both ways, sans I/O.
 *
 * An encoder takes bytes in pieces of any size and appends what comes out to a buffer; it can be
 * flushed, so that what was written can be decoded by the peer. A decoder undoes one coding or
 * several, in steps whose output the caller bounds, and believes nothing: it ends in NEAP_ELIMIT
 * where a little input would become too much output or memory, in NEAP_EPROTO where the data is
 * damaged, cut off or followed by something else. Memory comes from np_alloc. One thread at a time.
 */
#ifndef NP_PROTO_CODING_H
#define NP_PROTO_CODING_H

#include "base/buf.h"
#include "proto/http1.h"

enum np_coding {
    NP_CODING_IDENTITY,
    NP_CODING_GZIP,
    NP_CODING_DEFLATE,
    NP_CODING_BR,
    NP_CODING_ZSTD
};
enum {
    NP_CODINGS = NP_CODING_ZSTD + 1,
    NP_CODING_CHAIN_MAX = 4,      /* codings of one body */
    NP_CODING_LEVEL_DEFAULT = -1, /* what suits an answer that is made while a client waits */
    NP_CODING_PIECE = 64 * 1024,  /* a good number of bytes to encode or decode at a time */
};

/* The registered name: "gzip". */
const char *np_coding_name(enum np_coding c);
/* The coding of that name, ASCII case-insensitive; "x-gzip" is gzip. False for any other. */
bool np_coding_by_name(struct np_bytes name, enum np_coding *out);
/* The highest level; the lowest is 0 for br, else 1. */
int np_coding_max_level(enum np_coding c);
int np_coding_min_level(enum np_coding c);

/* The codings of a Content-Encoding header in the order they were applied, identity left out. 0 and
 * NEAP_OK where there are none. NEAP_ENOTSUP for one that is unknown, or for more than
 * NP_CODING_CHAIN_MAX; NEAP_EPROTO for what is no list of tokens. */
NEAP_MUST_CHECK enum neap_err np_coding_parse(struct np_bytes header,
                                              enum np_coding out[NP_CODING_CHAIN_MAX], size_t *n);

/* Which of `offered` (in order of the server's preference) suits a request's Accept-Encoding best
 * (RFC 9110, 12.5.3): the highest weight, of equal ones the first; identity if it weighs more than
 * all of them, none of them is acceptable, or there is no such header. */
enum np_coding np_coding_negotiate(const struct np_http_head *h, const enum np_coding *offered,
                                   size_t n);

/* --- encoding */

struct np_encoder;

struct np_encoder_options {
    int level;     /* within the coding's bounds, or NP_CODING_LEVEL_DEFAULT */
    uint64_t size; /* a guess of all that will be written, to spare memory; 0: no idea */
};
#define NP_ENCODER_OPTIONS_INIT          \
    {                                    \
        .level = NP_CODING_LEVEL_DEFAULT \
    }

enum np_coding_op {
    NP_CODING_GO_ON,  /* what comes out now comes out, for the best ratio */
    NP_CODING_FLUSH,  /* all that was written can be decoded from what has come out */
    NP_CODING_FINISH, /* nothing follows */
};

/* `o` may be NULL. NEAP_EINVAL for identity or a level out of bounds, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_encoder_new(enum np_coding c, const struct np_encoder_options *o,
                                             struct np_encoder **out);
/* Takes all of `p` and appends what comes out. On NEAP_ENOMEM the encoder is of no more use, nor
 * what it appended. NEAP_ECLOSED after the finish. */
NEAP_MUST_CHECK enum neap_err np_encoder_write(struct np_encoder *e, const char *p, size_t n,
                                               enum np_coding_op op, struct np_buf *out);
/* Whether something was written since the last flush. */
bool np_encoder_dirty(const struct np_encoder *e);
void np_encoder_free(struct np_encoder *e); /* NULL is allowed */

/* --- decoding */

struct np_decoder;

struct np_decoder_options {
    uint64_t max_output;  /* bytes; UINT64_MAX none */
    uint64_t max_ratio;   /* output for each byte of input, once `ratio_floor` came out; 0 none */
    uint64_t ratio_floor; /* bytes */
    unsigned max_window;  /* log2 of how many bytes back br and zstd may refer, which is memory: 10
                             to 27. 0: 23 for zstd, all that HTTP allows (RFC 9659), 24 for br, all
                             that it has (RFC 7932) */
};
/* The ratio is mod_deflate's default. */
#define NP_DECODER_OPTIONS_INIT                                            \
    {                                                                      \
        .max_output = UINT64_MAX, .max_ratio = 200, .ratio_floor = 1 << 20 \
    }

/* A decoder for `n` codings, in the order they were applied; with n 0, or only identity among them,
 * bytes go through (and the limit of output still holds). `o` may be NULL. NEAP_EINVAL for more
 * than NP_CODING_CHAIN_MAX, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_decoder_new(const enum np_coding *codings, size_t n,
                                             const struct np_decoder_options *o,
                                             struct np_decoder **out);
/* Decodes from the front of `in`, which it advances, until at most `room` bytes were appended to
 * `out` or nothing more can come of what is there: then `in->n` is 0. So: while room is wanted,
 * call; when fewer than `room` bytes came, give it more input. NEAP_EPROTO, NEAP_ELIMIT,
 * NEAP_ENOMEM: for good, and what the failing call appended is not to be used. */
NEAP_MUST_CHECK enum neap_err np_decoder_step(struct np_decoder *d, struct np_bytes *in,
                                              size_t room, struct np_buf *out);
/* No input follows, and all output was taken: NEAP_EPROTO if the data is not whole. No data at all
 * is an empty body. */
NEAP_MUST_CHECK enum neap_err np_decoder_finish(struct np_decoder *d);
/* What is wrong, in words, after a failure. Never NULL. */
const char *np_decoder_why(const struct np_decoder *d);
void np_decoder_free(struct np_decoder *d); /* NULL is allowed */

#endif
