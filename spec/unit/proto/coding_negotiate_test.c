/* The headers of content codings: what a Content-Encoding means, and what an Accept-Encoding wants.
 */
#include <string.h>

#include "np_test.h"
#include "proto/coding.h"

static struct np_bytes text(const char *s)
{
    return (struct np_bytes){s, s ? strlen(s) : 0};
}

static const char *chosen(const char *accept)
{
    static const enum np_coding offered[] = {NP_CODING_ZSTD, NP_CODING_BR, NP_CODING_GZIP};
    struct np_http_header header = {text("Accept-Encoding"), text(accept)};
    struct np_http_head h = {.headers = &header, .nheaders = accept ? 1 : 0};
    return np_coding_name(np_coding_negotiate(&h, offered, 3));
}

static void takes_the_first_of_those_wanted_equally(void **state)
{
    assert_string_equal(chosen("gzip, deflate, br, zstd"), "zstd");
    assert_string_equal(chosen("gzip, deflate, br"), "br");
    assert_string_equal(chosen("gzip, deflate"), "gzip");
    assert_string_equal(chosen("*"), "zstd");
    assert_string_equal(chosen("GZip"), "gzip");
    assert_string_equal(chosen("x-gzip"), "gzip");
}

static void follows_weights(void **state)
{
    assert_string_equal(chosen("gzip;q=1.0, br;q=0.5, zstd;q=0.1"), "gzip");
    assert_string_equal(chosen("gzip;q=0.5,br;q=0.501"), "br");
    assert_string_equal(chosen("zstd;q=0, *;q=0.5"), "br");
    assert_string_equal(chosen("gzip;q=0.2, *;q=0.1"), "gzip");
    assert_string_equal(chosen("gzip ; Q=0.8 , br ;q=0.9"), "br");
    assert_string_equal(chosen("*;q=0.5, zstd;q=0.2, br;q=0.1"), "gzip");
    assert_string_equal(chosen("gzip;q=0.001"), "gzip");
    assert_string_equal(chosen("gzip;level=9;q=0.5, br;q=0.4"), "gzip");
}

static void leaves_what_is_wanted_plain_as_it_is(void **state)
{
    assert_string_equal(chosen(NULL), "identity");
    assert_string_equal(chosen(""), "identity");
    assert_string_equal(chosen("deflate"), "identity");
    assert_string_equal(chosen("identity"), "identity");
    assert_string_equal(chosen("gzip;q=0"), "identity");
    assert_string_equal(chosen("gzip;q=0.0, *;q=0.000"), "identity");
    assert_string_equal(chosen("identity;q=1, gzip;q=0.5"), "identity");
    assert_string_equal(chosen("identity;q=0.5, gzip;q=0.5"), "gzip");
    assert_string_equal(chosen("identity, *;q=0.5"), "identity");
    assert_string_equal(chosen("identity;q=0, *;q=0"), "identity");
}

static void ignores_elements_that_are_none(void **state)
{
    assert_string_equal(chosen("zstd;q=2, gzip"), "gzip");
    assert_string_equal(chosen("zstd;q=, gzip"), "gzip");
    assert_string_equal(chosen("zstd;q=abc, br;q=-1, gzip;q=0.1"), "gzip");
    assert_string_equal(chosen("zstd;q=0.1234, gzip"), "gzip");
    assert_string_equal(chosen("zstd;q=1.001, gzip"), "gzip");
    assert_string_equal(chosen(",, ,gzip;,"), "gzip");
    assert_string_equal(chosen(";;;=,=;q=1,zst d"), "identity");
}

static void parses(const char *header, const char *wanted)
{
    enum np_coding found[NP_CODING_CHAIN_MAX];
    size_t n;
    char names[64] = "";
    assert_ok(np_coding_parse(text(header), found, &n));
    for (size_t i = 0; i < n; i++) {
        strcat(names, np_coding_name(found[i]));
        strcat(names, " ");
    }
    assert_string_equal(names, wanted);
}

static void reads_what_was_applied(void **state)
{
    parses("", "");
    parses("gzip", "gzip ");
    parses("X-GZIP", "gzip ");
    parses(" br\t,  zstd ", "br zstd ");
    parses("identity", "");
    parses("gzip, identity,,deflate", "gzip deflate ");
    parses("gzip,gzip,gzip,gzip", "gzip gzip gzip gzip ");
}

static void refuses_what_it_cannot_undo(void **state)
{
    enum np_coding found[NP_CODING_CHAIN_MAX];
    size_t n = 77;
    assert_err(np_coding_parse(text("compress"), found, &n), NEAP_ENOTSUP);
    assert_err(np_coding_parse(text("gzip, aes128gcm"), found, &n), NEAP_ENOTSUP);
    assert_err(np_coding_parse(text("gzip,gzip,gzip,gzip,gzip"), found, &n), NEAP_ENOTSUP);
    assert_err(np_coding_parse(text("gzip br"), found, &n), NEAP_EPROTO);
    assert_err(np_coding_parse(text("gzip;q=1"), found, &n), NEAP_EPROTO);
    assert_int_equal(n, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_first_of_those_wanted_equally),
        cmocka_unit_test(follows_weights),
        cmocka_unit_test(leaves_what_is_wanted_plain_as_it_is),
        cmocka_unit_test(ignores_elements_that_are_none),
        cmocka_unit_test(reads_what_was_applied),
        cmocka_unit_test(refuses_what_it_cannot_undo),
    };
    return cmocka_run_group_tests_name("proto.coding_negotiate", tests, NULL, NULL);
}
