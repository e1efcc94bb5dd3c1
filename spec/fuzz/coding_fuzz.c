/* Content codings: the first byte chooses how. Even: the rest is compressed data of one to three
 * codings, which is decoded within its limits, whatever the pieces. Odd: the rest is plain data,
 * which must come back from what it is encoded to.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/coding.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_OUTPUT = 1 << 18 };

/* NEAP_OK when it came to a whole end. */
static enum neap_err decode(const enum np_coding *chain, size_t n, struct np_bytes data,
                            size_t piece, size_t room, struct np_buf *out)
{
    struct np_decoder_options o = {.max_output = MAX_OUTPUT, .max_window = 20};
    struct np_decoder *d;
    enum neap_err err = np_decoder_new(chain, n, &o, &d);
    if (err) abort();
    while (!err && data.n) {
        struct np_bytes in = {data.p, data.n < piece ? data.n : piece};
        size_t before;
        data.p += in.n;
        data.n -= in.n;
        do {
            before = np_buf_len(out);
            err = np_decoder_step(d, &in, room, out);
            if (np_buf_len(out) - before > room) abort();
            if (!err && np_buf_len(out) - before < room && in.n) abort();
        } while (!err && np_buf_len(out) - before == room);
    }
    if (!err) err = np_decoder_finish(d);
    if (err && err != NEAP_EPROTO && err != NEAP_ELIMIT) abort();
    if (np_buf_len(out) > MAX_OUTPUT + 1) abort();
    if (!err && np_buf_len(out) > MAX_OUTPUT) abort();
    np_decoder_free(d);
    return err;
}

static void decode_any(unsigned how, struct np_bytes data)
{
    enum np_coding chain[3];
    size_t n = 1 + how / 64 % 3;
    for (size_t i = 0; i < n; i++)
        chain[i] = (enum np_coding)(1 + (how / 2 + i) % 4);
    struct np_buf whole = {0}, pieces = {0};
    enum neap_err a = decode(chain, n, data, SIZE_MAX, NP_CODING_PIECE, &whole);
    enum neap_err b = decode(chain, n, data, 1 + how / 8 % 7, 100, &pieces);
    /* libzstd checks a frame's length in one way of reading it and not in another. */
    bool zstd = false;
    for (size_t i = 0; i < n; i++)
        zstd = zstd || chain[i] == NP_CODING_ZSTD;
    if (!zstd && !a != !b) abort();
    if (!a && !b &&
        (np_buf_len(&whole) != np_buf_len(&pieces) ||
         memcmp(np_buf_data(&whole), np_buf_data(&pieces), np_buf_len(&whole)) != 0))
        abort();
    np_buf_fini(&whole);
    np_buf_fini(&pieces);
}

static void there_and_back(unsigned how, struct np_bytes data)
{
    enum np_coding c = (enum np_coding)(1 + how / 2 % 4);
    struct np_encoder_options o = {.level = 1 + (int)(how / 8 % 6), .size = how & 64 ? data.n : 0};
    struct np_buf wire = {0}, back = {0};
    struct np_encoder *e;
    size_t half = data.n / 2;
    if (np_encoder_new(c, &o, &e)) abort();
    if (np_encoder_write(e, data.p, half, how & 128 ? NP_CODING_FLUSH : NP_CODING_GO_ON, &wire))
        abort();
    if (np_encoder_write(e, data.p + half, data.n - half, NP_CODING_FINISH, &wire)) abort();
    struct np_bytes in = {np_buf_data(&wire), np_buf_len(&wire)};
    if (data.n < MAX_OUTPUT && decode(&c, 1, in, 1000, 1000, &back)) abort();
    if (data.n < MAX_OUTPUT &&
        (np_buf_len(&back) != data.n || memcmp(np_buf_data(&back), data.p, data.n) != 0))
        abort();
    np_encoder_free(e);
    np_buf_fini(&wire);
    np_buf_fini(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct np_bytes rest = {(const char *)data + 1, size - 1};
    if (data[0] & 1)
        there_and_back(data[0], rest);
    else
        decode_any(data[0], rest);
    return 0;
}
