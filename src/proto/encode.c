/* Base64, base64url and hexadecimal. See encode.h. */
#include "proto/encode.h"

#include <stdint.h>

static const char digits64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char digits64url[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t np_encoded_max(enum np_encoding e, size_t n)
{
    return e == NP_HEX ? n * 2 : (n + 2) / 3 * 4;
}

size_t np_decoded_max(enum np_encoding e, size_t n)
{
    return e == NP_HEX ? n / 2 : n / 4 * 3 + 3;
}

/* --- encoding */

static size_t encode_hex(const unsigned char *p, size_t n, char *out)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = hex[p[i] >> 4];
        out[2 * i + 1] = hex[p[i] & 15];
    }
    return n * 2;
}

/* The last one or two bytes. */
static char *encode_tail(const unsigned char *p, size_t n, const char *digits, bool pad, char *out)
{
    uint32_t v = (uint32_t)p[0] << 16 | (n > 1 ? (uint32_t)p[1] << 8 : 0);
    *out++ = digits[v >> 18];
    *out++ = digits[v >> 12 & 63];
    if (n > 1) *out++ = digits[v >> 6 & 63];
    if (pad) *out++ = '=';
    if (pad && n == 1) *out++ = '=';
    return out;
}

size_t np_encode(enum np_encoding e, const void *data, size_t n, char *out)
{
    const unsigned char *p = data;
    const char *digits = e == NP_BASE64 ? digits64 : digits64url;
    char *at = out;
    if (e == NP_HEX) return encode_hex(p, n, out);
    for (; n >= 3; n -= 3, p += 3) {
        uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        *at++ = digits[v >> 18];
        *at++ = digits[v >> 12 & 63];
        *at++ = digits[v >> 6 & 63];
        *at++ = digits[v & 63];
    }
    if (n) at = encode_tail(p, n, digits, e == NP_BASE64, at);
    return (size_t)(at - out);
}

/* --- decoding */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool decode_hex(const char *text, size_t n, char *out, size_t *len)
{
    if (n % 2) return false;
    for (size_t i = 0; i < n; i += 2) {
        int high = hex_value(text[i]), low = hex_value(text[i + 1]);
        if (high < 0 || low < 0) return false;
        out[i / 2] = (char)(high * 16 + low);
    }
    *len = n / 2;
    return true;
}

static int value64(char c, bool url)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == (url ? '-' : '+')) return 62;
    return c == (url ? '_' : '/') ? 63 : -1;
}

bool np_decode(enum np_encoding e, const char *text, size_t n, char *out, size_t *len)
{
    bool url = e == NP_BASE64URL;
    uint32_t bits = 0;
    unsigned have = 0;
    char *at = out;
    if (e == NP_HEX) return decode_hex(text, n, out, len);
    if (!url && n % 4) return false;
    if (!url && n && text[n - 1] == '=') n -= text[n - 2] == '=' ? 2 : 1;
    if (n % 4 == 1) return false;
    for (size_t i = 0; i < n; i++) {
        int v = value64(text[i], url);
        if (v < 0) return false;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have < 8) continue;
        have -= 8;
        *at++ = (char)(bits >> have & 0xff);
        bits &= (1u << have) - 1;
    }
    if (bits) return false; /* they should say nothing */
    *len = (size_t)(at - out);
    return true;
}
