/* The PROXY protocol: what is read in every cut, what is refused, what is written. */
#include "proto/proxy_protocol.h"

#include <string.h>

#include "np_test.h"

#define STR(s) s, sizeof s - 1
#define SIG "\r\n\r\n\0\r\nQUIT\n"
/* 1.2.3.4:258 to 5.6.7.8:443 */
#define INET "\1\2\3\4\5\6\7\10\1\2\1\273"

/* Fed byte by byte it must say "more" until the end, and then what it says of the whole. */
static enum neap_err parse(const char *data, size_t n, struct np_proxy_header *h, size_t *used)
{
    const char *why = NULL;
    enum neap_err whole = np_proxy_parse(data, n, h, used, &why);
    if (whole && whole != NEAP_EAGAIN && whole != NEAP_ENOTFOUND) assert_non_null(why);
    for (size_t i = 0; i <= n; i++) {
        struct np_proxy_header part;
        size_t part_used = 0;
        enum neap_err err = np_proxy_parse(data, i, &part, &part_used, NULL);
        if (err == NEAP_EAGAIN) continue;
        assert_int_equal(err, whole);
        if (!err) assert_int_equal(i, *used);
        if (!err) assert_int_equal(part_used, *used);
        return whole;
    }
    assert_int_equal(whole, NEAP_EAGAIN);
    return whole;
}

static void assert_addresses(const struct np_proxy_header *h, const char *source,
                             const char *destination)
{
    char text[NP_PROXY_ADDRESS_TEXT];
    np_proxy_address_format(h->family, &h->source, text);
    assert_string_equal(text, source);
    np_proxy_address_format(h->family, &h->destination, text);
    assert_string_equal(text, destination);
}

static void lines_of_version_1_are_read(void **state)
{
    static const struct {
        const char *text, *source, *destination;
    } t[] = {
        {"PROXY TCP4 1.2.3.4 5.6.7.8 1000 443\r\n", "1.2.3.4:1000", "5.6.7.8:443"},
        {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535",
         "255.255.255.255:65535"},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 0 1\r\n", "1.2.3.4:0", "5.6.7.8:1"},
        {"PROXY TCP6 2001:DB8::1 ::1 1000 443\r\n", "[2001:db8::1]:1000", "[::1]:443"},
        {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
        {"PROXY TCP6 ::ffff:1.2.3.4 ::1 1000 443\r\n", "[::ffff:1.2.3.4]:1000", "[::1]:443"},
        {"PROXY UNKNOWN\r\n", "", ""},
        {"PROXY UNKNOWN ffff:f...f:ffff anything at all 1\r\n", "", ""},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct np_proxy_header h;
        size_t used = 0, n = strlen(t[i].text);
        char with_more[160];
        memcpy(with_more, t[i].text, n);
        memcpy(with_more + n, "GET / HTTP/1.1\r\n", 16);
        assert_ok(parse(t[i].text, n, &h, &used));
        assert_int_equal(used, n);
        assert_ok(np_proxy_parse(with_more, n + 16, &h, &used, NULL));
        assert_int_equal(used, n);
        assert_int_equal(h.version, 1);
        assert_false(h.local);
        assert_addresses(&h, t[i].source, t[i].destination);
    }
}

static const struct {
    const char *text;
    size_t n;
    enum neap_err err;
} hostile[] = {
    /* another protocol */
    {STR("GET / HTTP/1.1\r\n"), NEAP_ENOTFOUND},
    {STR("POST"), NEAP_ENOTFOUND},
    {STR("proxy TCP4"), NEAP_ENOTFOUND},
    {STR("PROXY\r\n"), NEAP_ENOTFOUND},
    {STR("PROXYTCP4"), NEAP_ENOTFOUND},
    {STR(" PROXY TCP4"), NEAP_ENOTFOUND},
    {STR("\x16\x03\x01"), NEAP_ENOTFOUND},
    {STR("\r\n\r\nGET"), NEAP_ENOTFOUND},
    {STR("\r\n\r\n\0\r\nQUIT "), NEAP_ENOTFOUND},
    /* not yet complete */
    {STR(""), NEAP_EAGAIN},
    {STR("PROXY TCP4 1.2.3.4"), NEAP_EAGAIN},
    {STR("PROXY TCP4 1.2.3.4 5.6.7.8 1000 443\r"), NEAP_EAGAIN},
    {STR(SIG "\x21\x11\0\x0c"
             "\1\2\3"),
     NEAP_EAGAIN},
    /* version 1 */
    {STR("PROXY \r\n"), NEAP_EPROTO},
    {STR("PROXY  TCP4 1.2.3.4 5.6.7.8 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4  1.2.3.4 5.6.7.8 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4 5.6.7.8 1000  443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4 5.6.7.8 1000 443 \r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4 5.6.7.8 1000 443 x\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4 5.6.7.8 1000\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4\t5.6.7.8 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4 5.6.7.8 1000 443\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4 5.6.7.8 1000 443\r\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4\r 5.6.7.8 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4\n 5.6.7.8 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4\0 5.6.7.8 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY UNKNOWN \0\r\n"), NEAP_EPROTO},
    {STR("PROXY UNKNOWNS\r\n"), NEAP_EPROTO},
    {STR("PROXY tcp4 1.2.3.4 5.6.7.8 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP5 1.2.3.4 5.6.7.8 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY UDP4 1.2.3.4 5.6.7.8 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 ::1 ::1 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP6 1.2.3.4 5.6.7.8 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 01.2.3.4 5.6.7.8 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3 5.6.7.8 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.256 5.6.7.8 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP6 fe80::1%eth0 ::1 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP6 [::1] [::1] 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP6 ::1::2 ::1 1000 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4 5.6.7.8 65536 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4 5.6.7.8 -1 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4 5.6.7.8 +1 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4 5.6.7.8 0443 443\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4 5.6.7.8 1000 0x1\r\n"), NEAP_EPROTO},
    {STR("PROXY TCP4 1.2.3.4 5.6.7.8 100000000000000000001 1\r\n"), NEAP_EPROTO},
    {STR("PROXY UNKNOWN 2345678901234567890123456789012345678901234567890123456789"
         "012345678901234567890123456789012345678901234567890123456789\r\n"),
     NEAP_EPROTO},
    /* version 2 */
    {STR(SIG "\x11\x11\0\x0c" INET), NEAP_EPROTO}, /* version */
    {STR(SIG "\x31\x11\0\x0c" INET), NEAP_EPROTO},
    {STR(SIG "\x22\x11\0\x0c" INET), NEAP_EPROTO}, /* command */
    {STR(SIG "\x21\x41\0\x0c" INET), NEAP_EPROTO}, /* family */
    {STR(SIG "\x21\x13\0\x0c" INET), NEAP_EPROTO}, /* transport */
    {STR(SIG "\x21\x10\0\x0c" INET), NEAP_EPROTO},
    {STR(SIG "\x21\x01\0\0"), NEAP_EPROTO},
    {STR(SIG "\x21\x11\0\x0b" INET), NEAP_EPROTO}, /* no room for its addresses */
    {STR(SIG "\x21\x11\0\0"), NEAP_EPROTO},
    {STR(SIG "\x21\x21\0\x0c" INET), NEAP_EPROTO},
    {STR(SIG "\x21\x31\0\x0c" INET), NEAP_EPROTO},
    {STR(SIG "\x21\x11\xff\xff" INET), NEAP_ELIMIT},
    {STR(SIG "\x20\0\xff\xff"), NEAP_ELIMIT},
    {STR(SIG "\x21\x11\0\x0d" INET "\x04"), NEAP_EPROTO}, /* half an addition */
    {STR(SIG "\x21\x11\0\x0e" INET "\x04\0"), NEAP_EPROTO},
    {STR(SIG "\x21\x11\0\x0f" INET "\x04\0\1"), NEAP_EPROTO}, /* one that is too long */
    {STR(SIG "\x21\x11\0\x0f" INET "\x04\xff\xff"), NEAP_EPROTO},
    {STR(SIG "\x21\x11\0\x10" INET "\x04\0\0\x04"), NEAP_EPROTO}, /* something behind it */
    {STR(SIG "\x21\x11\0\x0f" INET "\x02\0\0"), NEAP_EPROTO},     /* an empty authority */
    {STR(SIG "\x21\x11\0\x11" INET "\x02\0\2a\n"), NEAP_EPROTO},
    {STR(SIG "\x21\x11\0\x11" INET "\x02\0\2a\0"), NEAP_EPROTO},
    {STR(SIG "\x21\x11\0\x14" INET "\x02\0\1a\x02\0\1b"), NEAP_EPROTO}, /* two of them */
    {STR(SIG "\x21\x11\0\x13" INET "\x03\0\4\0\0\0\0"), NEAP_EPROTO},   /* wrong checksum */
    {STR(SIG "\x21\x11\0\x12" INET "\x03\0\3\0\0\0"), NEAP_EPROTO},     /* short checksum */
    {STR(SIG "\x21\x11\0\x13" INET "\x20\0\4\1\0\0\0"), NEAP_EPROTO},   /* short TLS part */
    {STR(SIG "\x21\x11\0\x16" INET "\x20\0\7\1\0\0\0\0\x21\0"), NEAP_EPROTO},
    {STR(SIG "\x21\x11\0\x17" INET "\x20\0\x08\1\0\0\0\0\x21\0\1"), NEAP_EPROTO},
    {STR(SIG "\x21\x11\0\x1a" INET "\x20\0\x0b\1\0\0\0\0\x21\0\0\x21\0\0"), NEAP_EPROTO},
    {STR(SIG "\x21\x11\0\x1c" INET "\x20\0\5\1\0\0\0\0\x20\0\5\1\0\0\0\0"), NEAP_EPROTO},
};

static void what_could_be_read_in_two_ways_is_refused(void **state)
{
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        struct np_proxy_header h;
        size_t used = 0;
        enum neap_err err = parse(hostile[i].text, hostile[i].n, &h, &used);
        if (err != hostile[i].err)
            fail_msg("%zu: '%.*s': %s", i, (int)hostile[i].n, hostile[i].text, neap_err_name(err));
    }
}

static void addresses_of_version_2_are_read(void **state)
{
    struct np_proxy_header h;
    size_t used = 0;
    assert_ok(parse(STR(SIG "\x21\x11\0\x0c" INET), &h, &used));
    assert_int_equal(used, 28);
    assert_int_equal(h.version, 2);
    assert_addresses(&h, "1.2.3.4:258", "5.6.7.8:443");
    assert_ok(parse(STR(SIG "\x21\x21\0\x24"
                            "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
                            "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"
                            "\0\x50\1\xbb"),
                    &h, &used));
    assert_addresses(&h, "[2001:db8::1]:80", "[::1]:443");
    /* HAProxy's unique ID where it was given no format for one. */
    assert_ok(parse(STR(SIG "\x21\x11\0\x0f" INET "\x05\0\0"), &h, &used));
    assert_null(h.unique_id.p);
    char unix_header[16 + 216] = SIG "\x21\x31\0\xd8/run/a";
    unix_header[16 + 109] = 'x';
    assert_ok(parse(unix_header, sizeof unix_header, &h, &used));
    assert_addresses(&h, "unix:/run/a", "unix:@x");
    memset(unix_header + 16, 'p', 216); /* full, without a NUL */
    assert_ok(parse(unix_header, sizeof unix_header, &h, &used));
    assert_int_equal(h.source.path.n, 108);
    assert_ok(parse(STR(SIG "\x21\x12\0\x0c" INET), &h, &used));
    assert_true(h.datagram);
}

static void a_proxy_may_speak_for_itself_or_not_know(void **state)
{
    struct np_proxy_header h;
    size_t used = 0;
    assert_ok(parse(STR(SIG "\x20\0\0\0"), &h, &used));
    assert_true(h.local);
    assert_int_equal(used, 16);
    assert_ok(parse(STR(SIG "\x20\x77\0\3abc"), &h, &used)); /* whatever that is */
    assert_true(h.local);
    assert_int_equal(used, 19);
    assert_addresses(&h, "", "");
    assert_ok(parse(STR(SIG "\x21\0\0\4\x02\0\1a"), &h, &used));
    assert_false(h.local);
    assert_memory_equal(h.authority.p, "a", 1);
    assert_addresses(&h, "", "");
}

static void set(struct np_bytes *b, const char *text)
{
    *b = (struct np_bytes){text, strlen(text)};
}

static void full_header(struct np_proxy_header *h)
{
    *h = (struct np_proxy_header){.version = 2, .checksum = true, .has_ssl = true};
    assert_ok(np_proxy_address_parse("10.0.0.1:1", &h->family, &h->source));
    assert_ok(np_proxy_address_parse("10.0.0.2:2", &h->family, &h->destination));
    set(&h->alpn, "h2");
    set(&h->authority, "shop.test");
    set(&h->unique_id, "id-1");
    set(&h->netns, "blue");
    h->ssl.client = NP_PROXY_SSL | NP_PROXY_SSL_CERT_CONN;
    h->ssl.verify = 0x01020304;
    set(&h->ssl.version, "TLSv1.3");
    set(&h->ssl.cn, "alice");
    set(&h->ssl.cipher, "TLS_AES_128_GCM_SHA256");
    set(&h->ssl.sig_alg, "SHA256");
    set(&h->ssl.key_alg, "EC256");
}

static void assert_text(struct np_bytes b, const char *want)
{
    assert_int_equal(b.n, strlen(want));
    assert_memory_equal(b.p, want, b.n);
}

static void what_is_written_is_read_again(void **state)
{
    struct np_proxy_header h, back;
    struct np_buf b = {0};
    size_t used = 0;
    full_header(&h);
    assert_ok(np_proxy_write(&b, &h));
    assert_ok(parse(np_buf_data(&b), np_buf_len(&b), &back, &used));
    assert_int_equal(used, np_buf_len(&b));
    assert_addresses(&back, "10.0.0.1:1", "10.0.0.2:2");
    assert_true(back.checksum);
    assert_text(back.alpn, "h2");
    assert_text(back.authority, "shop.test");
    assert_text(back.unique_id, "id-1");
    assert_text(back.netns, "blue");
    assert_int_equal(back.ssl.client, 3);
    assert_int_equal(back.ssl.verify, 0x01020304);
    assert_text(back.ssl.version, "TLSv1.3");
    assert_text(back.ssl.cn, "alice");
    assert_text(back.ssl.cipher, "TLS_AES_128_GCM_SHA256");
    assert_text(back.ssl.key_alg, "EC256");
    /* One bit anywhere, and the checksum (or a length) says so. */
    for (size_t i = 16; i < np_buf_len(&b); i++) {
        char *p = b.data + b.head + i;
        *p ^= 0x10;
        if (np_proxy_parse(np_buf_data(&b), np_buf_len(&b), &back, &used, NULL) == NEAP_OK) {
            assert_int_not_equal(back.checksum, true); /* it was the type of the checksum itself */
        }
        *p ^= 0x10;
    }
    np_buf_fini(&b);
}

static void assert_v1(const char *from, const char *to, const char *want)
{
    struct np_proxy_header h = {.version = 1};
    struct np_buf b = {0};
    assert_ok(np_proxy_address_parse(from, &h.family, &h.source));
    assert_ok(np_proxy_address_parse(to, &h.family, &h.destination));
    assert_ok(np_proxy_write(&b, &h));
    assert_int_equal(np_buf_len(&b), strlen(want));
    assert_memory_equal(np_buf_data(&b), want, strlen(want));
    np_buf_fini(&b);
}

static void lines_of_version_1_are_written(void **state)
{
    struct np_buf b = {0};
    struct np_proxy_header h = {.version = 1};
    assert_v1("1.2.3.4:5", "6.7.8.9:443", "PROXY TCP4 1.2.3.4 6.7.8.9 5 443\r\n");
    assert_v1("[::1]:5", "[2001:db8::1]:443", "PROXY TCP6 ::1 2001:db8::1 5 443\r\n");
    assert_ok(np_proxy_write(&b, &h));
    assert_memory_equal(np_buf_data(&b), "PROXY UNKNOWN\r\n", 15);
    set(&h.authority, "a");
    assert_err(np_proxy_write(&b, &h), NEAP_EINVAL);
    h = (struct np_proxy_header){.version = 1, .family = NP_PROXY_UNIX};
    assert_err(np_proxy_write(&b, &h), NEAP_EINVAL);
    h.version = 3;
    assert_err(np_proxy_write(&b, &h), NEAP_EINVAL);
    assert_int_equal(np_buf_len(&b), 15);
    np_buf_fini(&b);
}

static void what_does_not_fit_is_not_written(void **state)
{
    static const char large[NP_PROXY_MAX];
    struct np_proxy_header h = {.version = 2};
    struct np_buf b = {0};
    h.unique_id = (struct np_bytes){large, 129};
    assert_err(np_proxy_write(&b, &h), NEAP_EINVAL);
    h.unique_id = (struct np_bytes){NULL, 0};
    h.alpn = (struct np_bytes){large, sizeof large};
    assert_err(np_proxy_write(&b, &h), NEAP_EINVAL);
    assert_int_equal(np_buf_len(&b), 0);
    enum np_proxy_family f;
    struct np_proxy_address a;
    char path[128] = "unix:";
    memset(path + 5, 'a', 108);
    assert_err(np_proxy_address_parse(path, &f, &a), NEAP_EINVAL);
    assert_err(np_proxy_address_parse("1.2.3.4", &f, &a), NEAP_EINVAL);
    assert_err(np_proxy_address_parse("name:80", &f, &a), NEAP_EINVAL);
}

static void unix_addresses_go_both_ways(void **state)
{
    struct np_proxy_header h = {.version = 2}, back;
    struct np_buf b = {0};
    size_t used;
    assert_ok(np_proxy_address_parse("unix:/run/x", &h.family, &h.source));
    assert_ok(np_proxy_address_parse("unix:@abstract", &h.family, &h.destination));
    assert_ok(np_proxy_write(&b, &h));
    assert_ok(np_proxy_parse(np_buf_data(&b), np_buf_len(&b), &back, &used, NULL));
    assert_addresses(&back, "unix:/run/x", "unix:@abstract");
    np_buf_fini(&b);
}

static void the_checksum_is_castagnolis(void **state)
{
    assert_int_equal(np_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(np_crc32c(np_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

static enum neap_err write_full(void *arg)
{
    struct np_proxy_header h;
    struct np_buf b = {0};
    full_header(&h);
    enum neap_err err = np_proxy_write(&b, &h);
    np_buf_fini(&b);
    return err;
}

static void lost_memory_is_survived(void **state)
{
    assert_true(np_test_oom(write_full, NULL) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_version_1_are_read),
        cmocka_unit_test(what_could_be_read_in_two_ways_is_refused),
        cmocka_unit_test(addresses_of_version_2_are_read),
        cmocka_unit_test(a_proxy_may_speak_for_itself_or_not_know),
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(lines_of_version_1_are_written),
        cmocka_unit_test(what_does_not_fit_is_not_written),
        cmocka_unit_test(unix_addresses_go_both_ways),
        cmocka_unit_test(the_checksum_is_castagnolis),
        cmocka_unit_test(lost_memory_is_survived),
    };
    return cmocka_run_group_tests_name("proto.proxy_protocol", tests, NULL, NULL);
}
