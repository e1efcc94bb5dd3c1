/* What HTTP text is made of: the functions that look at several bytes at once, against those that
 * say it byte by byte. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "np_test.h"
#include "proto/http1.h"

enum { MAX = 24 };

static bool tchar(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool in_value(unsigned char c)
{
    return (c >= ' ' || c == '\t') && c != 0x7f;
}

/* Every byte at every place of texts of every length; the text has no bytes around it. */
static void each(void (*look)(const char *text, size_t n, size_t at, unsigned char c))
{
    for (size_t n = 1; n <= MAX; n++) {
        char *text = malloc(n);
        assert_non_null(text);
        for (size_t at = 0; at < n; at++) {
            for (int c = 0; c < 256; c++) {
                memset(text, 'a', n);
                text[at] = (char)c;
                look(text, n, at, (unsigned char)c);
            }
        }
        free(text);
    }
}

static void look_token(const char *text, size_t n, size_t at, unsigned char c)
{
    assert_int_equal(np_http_is_token(text, n), tchar(c));
}

static void look_value(const char *text, size_t n, size_t at, unsigned char c)
{
    assert_int_equal(np_http_is_value(text, n), in_value(c));
}

static void look_lower(const char *text, size_t n, size_t at, unsigned char c)
{
    static const char of_a[] = "aaaaaaaaaaaaaaaaaaaaaaaa";
    char lower[MAX];
    struct np_bytes name = {text, n};
    assert_int_equal(np_http_name_is(name, of_a, n), c == 'a' || c == 'A');
    assert_false(np_http_name_is(name, of_a, n - 1));
    for (size_t i = 0; i < n; i++)
        lower[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 32) : text[i];
    assert_true(np_http_name_is(name, lower, n));
    lower[at] = (char)(lower[at] ^ 0x20);
    assert_false(np_http_name_is(name, lower, n));
}

static void look_control(const char *text, size_t n, size_t at, unsigned char c)
{
    if (n != 8) return;
    if (!in_value(c) || c == '\t') assert_true(np_http_has_control(text));
    if (c == 'a' || c >= 0x80 || c == ' ' || c == '~') assert_false(np_http_has_control(text));
}

static void tokens(void **state)
{
    each(look_token);
    assert_false(np_http_is_token("", 0));
}

static void values(void **state)
{
    each(look_value);
    assert_true(np_http_is_value("", 0));
}

static void names(void **state)
{
    each(look_lower);
}

static void control_bytes(void **state)
{
    each(look_control);
}

static void hop_by_hop(void **state)
{
    static const char *const hop[] = {"Connection", "keep-alive", "Proxy-Connection", "TE",
                                      "trailer",    "Upgrade",    "transfer-encoding"};
    static const char *const end[] = {"connectiom", "keep_alive", "proxy-connectio", "t",
                                      "trailers",   "host",       "content-length",  ""};
    for (size_t i = 0; i < sizeof hop / sizeof *hop; i++)
        assert_true(np_http_is_hop_by_hop((struct np_bytes){hop[i], strlen(hop[i])}));
    for (size_t i = 0; i < sizeof end / sizeof *end; i++)
        assert_false(np_http_is_hop_by_hop((struct np_bytes){end[i], strlen(end[i])}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens),        cmocka_unit_test(values),     cmocka_unit_test(names),
        cmocka_unit_test(control_bytes), cmocka_unit_test(hop_by_hop),
    };
    return cmocka_run_group_tests_name("http1 text", tests, NULL, NULL);
}
