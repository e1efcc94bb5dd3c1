/* Content negotiation: weights, specificity, the special cases of codings and languages; and media
 * types by name. */
#include "proto/accept.h"

#include <string.h>

#include "np_test.h"
#include "proto/mime.h"

static struct np_bytes bytes(const char *text)
{
    return (struct np_bytes){text, text ? strlen(text) : 0};
}

static void weighs(enum np_accept kind, const char *value, const char *candidate, int want)
{
    static const char *const names[] = {"Accept", "Accept-Encoding", "Accept-Charset",
                                        "Accept-Language"};
    struct np_http_header header = {bytes(names[kind]), bytes(value)};
    struct np_http_head h = {.headers = &header, .nheaders = value ? 1 : 0};
    int got = np_accept_weight(&h, kind, bytes(candidate));
    if (got != want)
        fail_msg("%s: %s: %s weighs %d, wanted %d", names[kind], value ? value : "(none)",
                 candidate, got, want);
}

static void media(void **state)
{
    const enum np_accept m = NP_ACCEPT_MEDIA;
    weighs(m, NULL, "text/html", 1000);
    weighs(m, "text/html", "text/html", 1000);
    weighs(m, "TEXT/HTML", "text/html", 1000);
    weighs(m, "text/html", "application/json", 0);
    weighs(m, "", "text/html", 0);
    weighs(m, "text/*;q=0.5, */*;q=0.1", "text/html", 500);
    weighs(m, "text/*;q=0.5, */*;q=0.1", "image/png", 100);
    weighs(m, "*/*, text/html;q=0", "text/html", 0);
    weighs(m, "text/*;q=1.000,text/html;q=0.300", "text/html", 300);
    weighs(m, "text/html;level=1;q=0.7, text/html;q=0.2", "text/html;level=1", 700);
    weighs(m, "text/html;level=1;q=0.7, text/html;q=0.2", "text/html", 200);
    weighs(m, "text/html ; q=0.4", "text/html", 400);
    weighs(m, "text/html;q=1.5", "text/html", 0);
    weighs(m, "text/html;q=0.1234", "text/html", 0);
    weighs(m, "text/html;q=x, */*;q=0.2", "text/html", 200);
    weighs(m, "a/b;x=\"1,2;q=0\", c/d", "c/d", 1000);
    weighs(m, "a/b;x=\"1,2\"", "a/b;x=\"1,2\"", 1000);
    weighs(m, "text/html;q=0.9;ext=1", "text/html", 900);
    weighs(m, ",, text/html ,", "text/html", 1000);
    weighs(m, "textual/*", "text/html", 0);
}

/* RFC 9110, 12.5.1's own table. */
static void the_example_of_the_rfc(void **state)
{
    static const char value[] = "text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, "
                                "text/plain;format=fixed;q=0.4, */*;q=0.5";
    weighs(NP_ACCEPT_MEDIA, value, "text/plain;format=flowed", 1000);
    weighs(NP_ACCEPT_MEDIA, value, "text/plain", 700);
    weighs(NP_ACCEPT_MEDIA, value, "text/html", 300);
    weighs(NP_ACCEPT_MEDIA, value, "image/jpeg", 500);
    weighs(NP_ACCEPT_MEDIA, value, "text/plain;format=fixed", 400);
    weighs(NP_ACCEPT_MEDIA, value, "text/html;level=3", 300);
}

static void encodings(void **state)
{
    const enum np_accept e = NP_ACCEPT_ENCODING;
    weighs(e, NULL, "gzip", 0);
    weighs(e, NULL, "identity", 1000);
    weighs(e, "", "gzip", 0);
    weighs(e, "", "identity", 1);
    weighs(e, "gzip, br;q=0.5", "gzip", 1000);
    weighs(e, "gzip, br;q=0.5", "br", 500);
    weighs(e, "gzip, br;q=0.5", "identity", 1);
    weighs(e, "gzip;q=0", "gzip", 0);
    weighs(e, "*", "zstd", 1000);
    weighs(e, "*;q=0", "identity", 0);
    weighs(e, "identity;q=0", "identity", 0);
    weighs(e, "*;q=0, identity;q=0.5", "identity", 500);
    weighs(e, "x-gzip", "gzip", 1000);
}

static void languages_and_charsets(void **state)
{
    const enum np_accept l = NP_ACCEPT_LANGUAGE;
    weighs(l, "de", "de", 1000);
    weighs(l, "de;q=0.8", "de-CH", 800);
    weighs(l, "de-CH", "de", 1000);
    weighs(l, "de-CH, de;q=0.4", "de", 400);
    weighs(l, "de;q=0.8, de-CH;q=0.2", "de-CH-1996", 200);
    weighs(l, "de", "den", 0);
    weighs(l, "en, *;q=0.1", "fr", 100);
    weighs(l, "en;q=0, *", "en", 0);
    weighs(NP_ACCEPT_CHARSET, "utf-8, *;q=0.1", "UTF-8", 1000);
    weighs(NP_ACCEPT_CHARSET, "utf-8, *;q=0.1", "latin1", 100);
    weighs(NP_ACCEPT_CHARSET, "utf-8", "latin1", 0);
}

static void lines_are_one_list(void **state)
{
    struct np_http_header headers[] = {{bytes("Accept"), bytes("text/html;q=0.2")},
                                       {bytes("Host"), bytes("x")},
                                       {bytes("accept"), bytes("text/plain")}};
    struct np_http_head h = {.headers = headers, .nheaders = 3};
    assert_int_equal(np_accept_weight(&h, NP_ACCEPT_MEDIA, bytes("text/plain")), 1000);
    assert_int_equal(np_accept_weight(&h, NP_ACCEPT_MEDIA, bytes("text/html")), 200);
}

static const char *type_of(const char *path)
{
    const char *t = np_mime_type(np_mime_extension(path, strlen(path)));
    return t ? t : "";
}

static void types_by_name(void **state)
{
    assert_string_equal(type_of("a/b.html"), "text/html");
    assert_string_equal(type_of("B.HTML"), "text/html");
    assert_string_equal(type_of("a.tar.gz"), "application/gzip");
    assert_string_equal(type_of("a.js/b"), "");
    assert_string_equal(type_of(".html"), "");
    assert_string_equal(type_of("x/.css"), "");
    assert_string_equal(type_of("a."), "");
    assert_string_equal(type_of(""), "");
    assert_string_equal(type_of("a.averyveryverylongextension"), "");
    assert_true(np_mime_is_text("text/css"));
    assert_true(np_mime_is_text("application/yaml"));
    assert_false(np_mime_is_text("application/json")); /* it is UTF-8 by definition */
    assert_false(np_mime_is_text("image/svg+xml"));
}

static void the_table_is_sorted(void **state)
{
    size_t n;
    const struct np_mime *t = np_mime_table(&n);
    assert_true(n >= 100);
    for (size_t i = 1; i < n; i++)
        assert_true(strcmp(t[i - 1].extension, t[i].extension) < 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(media),
        cmocka_unit_test(the_example_of_the_rfc),
        cmocka_unit_test(encodings),
        cmocka_unit_test(languages_and_charsets),
        cmocka_unit_test(lines_are_one_list),
        cmocka_unit_test(types_by_name),
        cmocka_unit_test(the_table_is_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
