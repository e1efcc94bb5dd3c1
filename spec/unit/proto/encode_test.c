/* Base64, base64url, hexadecimal: RFC 4648's vectors, there and back, and what is refused. */
#include "proto/encode.h"

#include <string.h>

#include "np_test.h"

static void is(enum np_encoding e, const char *bytes, const char *text)
{
    char out[64];
    size_t n = strlen(bytes), len = np_encode(e, bytes, n, out);
    assert_true(len <= np_encoded_max(e, n));
    assert_int_equal(len, strlen(text));
    assert_memory_equal(out, text, len);
    assert_true(np_decode(e, text, strlen(text), out, &len));
    assert_true(len <= np_decoded_max(e, strlen(text)));
    assert_int_equal(len, n);
    assert_memory_equal(out, bytes, n);
}

static void has_the_vectors_of_the_rfc(void **state)
{
    is(NP_BASE64, "", "");
    is(NP_BASE64, "f", "Zg==");
    is(NP_BASE64, "fo", "Zm8=");
    is(NP_BASE64, "foo", "Zm9v");
    is(NP_BASE64, "foob", "Zm9vYg==");
    is(NP_BASE64, "\xff\xfe\xfd", "//79");
    is(NP_BASE64URL, "\xff\xfe\xfd", "__79");
    is(NP_BASE64URL, "f", "Zg");
    is(NP_BASE64URL, "fo", "Zm8");
    is(NP_HEX, "\x01\xab", "01ab");
    char out[4];
    size_t len;
    assert_true(np_decode(NP_HEX, "AB", 2, out, &len));
}

static void every_byte_goes_there_and_back(void **state)
{
    for (int e = NP_BASE64; e <= NP_HEX; e++) {
        for (size_t n = 0; n <= 256; n++) {
            unsigned char in[256];
            char text[520], out[520];
            size_t len;
            for (size_t i = 0; i < n; i++)
                in[i] = (unsigned char)(i * 7 + n);
            size_t m = np_encode((enum np_encoding)e, in, n, text);
            assert_true(np_decode((enum np_encoding)e, text, m, out, &len));
            assert_int_equal(len, n);
            assert_memory_equal(out, in, n);
        }
    }
}

static void refuses(enum np_encoding e, const char *text)
{
    char out[64];
    size_t len;
    if (np_decode(e, text, strlen(text), out, &len)) fail_msg("taken: %s", text);
}

static void refuses_what_is_not_quite_it(void **state)
{
    static const char *base64[] = {
        "Z",    "Zg",       "Zg=",  "Zg===", "Zh==", "Zm9=", "Zm9v\n", "Zm 9v",
        "=Zg=", "Zg==Zg==", "__79", "Z===",  "====", "=",    "=="};
    static const char *url[] = {"Zg==", "Z", "Zh", "Zm9", "//79", "Zm9v "};
    static const char *hex[] = {"0", "0g", "0x00", " 00"};
    for (size_t i = 0; i < sizeof base64 / sizeof *base64; i++)
        refuses(NP_BASE64, base64[i]);
    for (size_t i = 0; i < sizeof url / sizeof *url; i++)
        refuses(NP_BASE64URL, url[i]);
    for (size_t i = 0; i < sizeof hex / sizeof *hex; i++)
        refuses(NP_HEX, hex[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_the_vectors_of_the_rfc),
        cmocka_unit_test(every_byte_goes_there_and_back),
        cmocka_unit_test(refuses_what_is_not_quite_it),
    };
    return cmocka_run_group_tests_name("proto.encode", tests, NULL, NULL);
}
