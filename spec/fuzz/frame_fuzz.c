/* Frames: the first two bytes choose a format; what parses is within its bounds and its text, and
 * writes back as the same bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const unsigned widths[] = {0, 1, 2, 4, 8};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct np_frame_format f = NP_FRAME_FORMAT_INIT;
    if (size < 2) return 0;
    f.header_length = widths[data[0] % 5];
    f.body_length = widths[1 + data[0] / 5 % 4];
    f.little_endian = data[0] & 0x80;
    f.max_header = data[1];
    f.max_body = (size_t)data[1] * 16;
    if (np_frame_format_check(&f, NULL)) abort();
    const char *p = (const char *)data + 2;
    size_t n = size - 2;
    struct np_buf again = {0};
    for (;;) {
        struct np_frame frame;
        size_t len = 0;
        enum neap_err err = np_frame_parse(&f, p, n, &frame, &len, NULL);
        if (err == NEAP_EAGAIN && len <= n) abort();
        if (err) break;
        if (len == 0 || len > n || frame.header.n > f.max_header || frame.body.n > f.max_body)
            abort();
        if (frame.body.p + frame.body.n != p + len) abort();
        np_buf_clear(&again);
        if (np_frame_write(&f, frame.header, frame.body, &again, NULL)) abort();
        if (np_buf_len(&again) != len || memcmp(np_buf_data(&again), p, len) != 0) abort();
        p += len;
        n -= len;
    }
    np_buf_fini(&again);
    return 0;
}
