/* The codec of length-prefixed messages; see frame.h. No state, any thread. */
#include "proto/frame.h"

#include <string.h>

static bool is_width(unsigned n)
{
    return n == 1 || n == 2 || n == 4 || n == 8;
}

enum neap_err np_frame_format_check(const struct np_frame_format *f, struct neap_errinfo *info)
{
    if (f->header_length != 0 && !is_width(f->header_length))
        return np_err_set(info, NEAP_EINVAL, "header_length is 0, 1, 2, 4 or 8, got %u",
                          f->header_length);
    if (!is_width(f->body_length))
        return np_err_set(info, NEAP_EINVAL, "body_length is 1, 2, 4 or 8, got %u", f->body_length);
    /* So that sums of lengths cannot overflow. */
    if (f->max_header > SIZE_MAX / 4 || f->max_body > SIZE_MAX / 4)
        return np_err_set(info, NEAP_EINVAL, "a bound is too large");
    return NEAP_OK;
}

static uint64_t get(const char *p, unsigned width, bool little)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < width; i++)
        v = v << 8 | (unsigned char)p[little ? width - 1 - i : i];
    return v;
}

static void put(char *p, unsigned width, bool little, uint64_t v)
{
    for (unsigned i = 0; i < width; i++) {
        p[little ? i : width - 1 - i] = (char)(v & 0xff);
        v >>= 8;
    }
}

static enum neap_err too_long(struct neap_errinfo *info, const char *part, uint64_t n, uint64_t max)
{
    return np_err_set(info, NEAP_ELIMIT, "the frame's %s has %llu bytes, at most %llu are allowed",
                      part, (unsigned long long)n, (unsigned long long)max);
}

static enum neap_err check_bounds(const struct np_frame_format *f, uint64_t header, uint64_t body,
                                  struct neap_errinfo *info)
{
    if (f->header_length && header > f->max_header)
        return too_long(info, "header", header, f->max_header);
    if (body > f->max_body) return too_long(info, "body", body, f->max_body);
    return NEAP_OK;
}

enum neap_err np_frame_parse(const struct np_frame_format *f, const char *p, size_t n,
                             struct np_frame *out, size_t *size, struct neap_errinfo *info)
{
    size_t prefix = np_frame_prefix_size(f);
    if (n < prefix) {
        *size = prefix;
        return NEAP_EAGAIN;
    }
    uint64_t header = get(p, f->header_length, f->little_endian);
    uint64_t body = get(p + f->header_length, f->body_length, f->little_endian);
    enum neap_err err = check_bounds(f, header, body, info);
    if (err) return err;
    *size = prefix + (size_t)header + (size_t)body;
    if (n < *size) return NEAP_EAGAIN;
    out->header = (struct np_bytes){f->header_length ? p + prefix : NULL, (size_t)header};
    out->body = (struct np_bytes){p + prefix + header, (size_t)body};
    return NEAP_OK;
}

static uint64_t largest(unsigned width)
{
    return width == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * width) - 1;
}

enum neap_err np_frame_prefix(const struct np_frame_format *f, size_t header, size_t body,
                              char out[NP_FRAME_PREFIX_MAX], size_t *n, struct neap_errinfo *info)
{
    if (!f->header_length && header > 0)
        return np_err_set(info, NEAP_EINVAL, "frames of this format have no header");
    enum neap_err err = check_bounds(f, header, body, info);
    if (err) return err;
    if (f->header_length && header > largest(f->header_length))
        return too_long(info, "header", header, largest(f->header_length));
    if (body > largest(f->body_length))
        return too_long(info, "body", body, largest(f->body_length));
    put(out, f->header_length, f->little_endian, header);
    put(out + f->header_length, f->body_length, f->little_endian, body);
    *n = np_frame_prefix_size(f);
    return NEAP_OK;
}

enum neap_err np_frame_write(const struct np_frame_format *f, struct np_bytes header,
                             struct np_bytes body, struct np_buf *out, struct neap_errinfo *info)
{
    char prefix[NP_FRAME_PREFIX_MAX];
    char *at;
    size_t n = 0;
    enum neap_err err = np_frame_prefix(f, header.n, body.n, prefix, &n, info);
    if (err) return err;
    if (np_buf_reserve(out, n + header.n + body.n, &at)) return np_err_plain(info, NEAP_ENOMEM);
    memcpy(at, prefix, n);
    if (header.n) memcpy(at + n, header.p, header.n);
    if (body.n) memcpy(at + n + header.n, body.p, body.n);
    np_buf_added(out, n + header.n + body.n);
    return NEAP_OK;
}
