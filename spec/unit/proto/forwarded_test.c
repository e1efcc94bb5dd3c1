/* Who is behind the proxies: a table of what comes, and who it is then. */
#include "proto/forwarded.h"

#include <stdio.h>
#include <string.h>

#include "np_test.h"

struct request {
    const char *peer;
    const char *headers[7]; /* "name: value" */
    enum np_forwarded_kind kind;
    const char *want; /* "client scheme host port", - for what is not said; "" not trusted */
};

#define XFF "X-Forwarded-For: "
#define NET "10.0.0.0/8"

static const struct request requests[] = {
    {"1.2.3.4:5", {XFF "9.9.9.9", "X-Forwarded-Proto: https"}, 0, ""},
    {"10.0.0.1:5", {"Accept: */*"}, 0, "- - - -"},
    {"10.0.0.1:5", {XFF "9.9.9.9"}, 0, "9.9.9.9 - - -"},
    {"unix:", {XFF "9.9.9.9"}, 0, "9.9.9.9 - - -"},
    {"[::ffff:10.0.0.1]:5", {XFF "2001:DB8::1"}, 0, "2001:db8::1 - - -"},
    {"10.0.0.1:5", {XFF "[2001:db8::1]:80"}, 0, "2001:db8::1 - - -"},
    {"10.0.0.1:5", {XFF "9.9.9.9:1234"}, 0, "9.9.9.9 - - -"},
    {"10.0.0.1:5", {XFF "6.6.6.6, 9.9.9.9"}, 0, "9.9.9.9 - - -"}, /* 6.6.6.6 is made up */
    {"10.0.0.1:5", {XFF "6.6.6.6, 9.9.9.9, 10.0.0.2,10.0.0.3"}, 0, "9.9.9.9 - - -"},
    {"10.0.0.1:5", {XFF "6.6.6.6", XFF "9.9.9.9 ", XFF "10.0.0.2"}, 0, "9.9.9.9 - - -"},
    {"10.0.0.1:5", {XFF "10.0.0.3, 10.0.0.2"}, 0, "10.0.0.3 - - -"},
    {"10.0.0.1:5", {XFF "6.6.6.6, , ,10.0.0.2,,"}, 0, "6.6.6.6 - - -"},
    {"10.0.0.1:5", {XFF "6.6.6.6, nonsense, 10.0.0.2"}, 0, "10.0.0.2 - - -"},
    {"10.0.0.1:5", {XFF "6.6.6.6, unknown"}, 0, "- - - -"},
    {"10.0.0.1:5", {XFF "6.6.6.6 10.0.0.2"}, 0, "- - - -"},
    {"10.0.0.1:5", {XFF "010.0.0.9"}, 0, "- - - -"},
    {"10.0.0.1:5", {XFF "\"9.9.9.9\""}, 0, "- - - -"},
    {"10.0.0.1:5", {XFF}, 0, "- - - -"},
    {"10.0.0.1:5",
     {XFF "9.9.9.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.test",
      "X-Forwarded-Port: 8443"},
     0,
     "9.9.9.9 https shop.test 8443"},
    {"10.0.0.1:5", {"X-Forwarded-Proto: HTTPS"}, 0, "- https - -"},
    {"10.0.0.1:5", {XFF "9.9.9.9", "X-Forwarded-Proto: http, https"}, 0, "9.9.9.9 https - -"},
    {"10.0.0.1:5",
     {XFF "9.9.9.9, 10.0.0.2", "X-Forwarded-Proto: https, http"},
     0,
     "9.9.9.9 https - -"},
    {"10.0.0.1:5", {XFF "9.9.9.9, 10.0.0.2", "X-Forwarded-Proto: https"}, 0, "9.9.9.9 https - -"},
    {"10.0.0.1:5", {XFF "9.9.9.9", "X-Forwarded-Proto: gopher"}, 0, "9.9.9.9 - - -"},
    {"10.0.0.1:5", {XFF "9.9.9.9", "X-Forwarded-Host: evil/x"}, 0, "9.9.9.9 - - -"},
    {"10.0.0.1:5", {XFF "9.9.9.9", "X-Forwarded-Host: a.test:0"}, 0, "9.9.9.9 - - -"},
    {"10.0.0.1:5", {XFF "9.9.9.9", "X-Forwarded-Host: [::1]:80"}, 0, "9.9.9.9 - [::1]:80 -"},
    {"10.0.0.1:5", {XFF "9.9.9.9", "X-Forwarded-Host: [x]"}, 0, "9.9.9.9 - - -"},
    {"10.0.0.1:5", {XFF "9.9.9.9", "X-Forwarded-Port: 70000"}, 0, "9.9.9.9 - - -"},
    /* Forwarded */
    {"10.0.0.1:5", {"Forwarded: for=9.9.9.9"}, 0, "9.9.9.9 - - -"},
    {"10.0.0.1:5",
     {"Forwarded: For=\"[2001:db8::1]:80\";proto=https;by=203.0.113.43;host=shop.test"},
     0,
     "2001:db8::1 https shop.test -"},
    {"10.0.0.1:5", {"Forwarded: for=6.6.6.6, for=9.9.9.9;proto=https"}, 0, "9.9.9.9 https - -"},
    {"10.0.0.1:5",
     {"Forwarded: for=6.6.6.6;proto=https;host=evil", "Forwarded: for=9.9.9.9",
      "Forwarded: for=10.0.0.2;proto=http;host=b.test"},
     0,
     "9.9.9.9 http b.test -"},
    {"10.0.0.1:5",
     {"Forwarded: for=9.9.9.9;proto=https;host=a.test, for=10.0.0.2;proto=http;host=b.test"},
     0,
     "9.9.9.9 https a.test -"},
    {"10.0.0.1:5", {"Forwarded: for=\"9.9.9.9:80\" ; proto = http"}, 0, "- - - -"},
    {"10.0.0.1:5", {"Forwarded: for=unknown;proto=https"}, 0, "- https - -"},
    {"10.0.0.1:5", {"Forwarded: for=6.6.6.6, for=_hidden;proto=https"}, 0, "- https - -"},
    {"10.0.0.1:5", {"Forwarded: for=\"6.6.6.6, for=9.9.9.9"}, 0, "9.9.9.9 - - -"},
    {"10.0.0.1:5", {"Forwarded: for=6.6.6.6\", for=10.0.0.2"}, 0, "10.0.0.2 - - -"},
    {"10.0.0.1:5", {"Forwarded: for=6.6.6.6;x=\"a\\\", for=10.0.0.2"}, 0, "10.0.0.2 - - -"},
    {"10.0.0.1:5", {"Forwarded: for=6.6.6.6;x=\",\", for=10.0.0.2"}, 0, "6.6.6.6 - - -"},
    {"10.0.0.1:5", {"Forwarded: for=6.6.6.6;for=7.7.7.7, for=10.0.0.2"}, 0, "10.0.0.2 - - -"},
    {"10.0.0.1:5", {"Forwarded: for=6.6.6.6;nonsense, for=10.0.0.2"}, 0, "10.0.0.2 - - -"},
    {"10.0.0.1:5", {"Forwarded: for=\"9.9.9.9\\\""}, 0, "- - - -"},
    {"10.0.0.1:5", {"Forwarded: proto=https"}, 0, "- https - -"},
    {"10.0.0.1:5", {"Forwarded: ,;,"}, 0, "- - - -"},
    /* Both. */
    {"10.0.0.1:5", {XFF "9.9.9.9", "Forwarded: for=6.6.6.6"}, 0, "9.9.9.9 - - -"},
    {"10.0.0.1:5",
     {XFF "6.6.6.6", "Forwarded: for=9.9.9.9"},
     NP_FORWARDED_RFC_FIRST,
     "9.9.9.9 - - -"},
    {"10.0.0.1:5", {XFF "9.9.9.9"}, NP_FORWARDED_RFC_FIRST, "9.9.9.9 - - -"},
    {"10.0.0.1:5", {XFF "9.9.9.9"}, NP_FORWARDED_RFC_ONLY, "- - - -"},
    {"10.0.0.1:5", {"Forwarded: for=9.9.9.9"}, NP_FORWARDED_X_ONLY, "- - - -"},
    {"10.0.0.1:5", {"X-Forwarded-Proto: https", "Forwarded: for=6.6.6.6"}, 0, "- https - -"},
};

static void fill(const struct request *r, struct np_http_head *h, struct np_http_header *headers)
{
    *h = (struct np_http_head){.headers = headers};
    for (size_t i = 0; r->headers[i]; i++) {
        const char *colon = strchr(r->headers[i], ':');
        headers[i].name = (struct np_bytes){r->headers[i], (size_t)(colon - r->headers[i])};
        headers[i].value = (struct np_bytes){colon + 2, strlen(colon + 2)};
        h->nheaders++;
    }
}

static void describe(const struct np_forwarded *f, char *out, size_t size)
{
    char ip[NP_IP_TEXT_MAX] = "-", port[16] = "-";
    *out = '\0';
    if (!f->trusted) return;
    if (f->found) np_ip_format(&f->client, ip);
    if (f->port >= 0) snprintf(port, sizeof port, "%d", f->port);
    snprintf(out, size, "%s %s %.*s %s", ip, f->scheme ? f->scheme : "-",
             f->host.p ? (int)f->host.n : 1, f->host.p ? f->host.p : "-", port);
}

static void what_trusted_proxies_wrote_is_believed_and_no_more(void **state)
{
    struct np_forwarded_policy policy = {.kind = NP_FORWARDED_X_FIRST};
    assert_ok(np_cidr_list_add(&policy.trusted, NET, strlen(NET), NULL));
    assert_ok(np_cidr_list_add(&policy.trusted, "unix", 4, NULL));
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        const struct request *r = &requests[i];
        struct np_http_header headers[8];
        struct np_http_head h;
        struct np_forwarded f;
        char got[200];
        fill(r, &h, headers);
        policy.kind = r->kind;
        np_forwarded_resolve(&h, r->peer, &policy, &f);
        describe(&f, got, sizeof got);
        if (strcmp(got, r->want) != 0)
            fail_msg("%s, %s: got '%s', wanted '%s'", r->peer, r->headers[0], got, r->want);
    }
    np_cidr_list_fini(&policy.trusted);
}

static void ports_of_clients_are_told(void **state)
{
    static const struct request r = {"10.0.0.1:5", {XFF "9.9.9.9:1234"}, 0, NULL};
    struct np_forwarded_policy policy = {.trusted.everybody = true};
    struct np_http_header headers[8];
    struct np_http_head h;
    struct np_forwarded f;
    fill(&r, &h, headers);
    np_forwarded_resolve(&h, r.peer, &policy, &f);
    assert_int_equal(f.client_port, 1234);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_trusted_proxies_wrote_is_believed_and_no_more),
        cmocka_unit_test(ports_of_clients_are_told),
    };
    return cmocka_run_group_tests_name("proto.forwarded", tests, NULL, NULL);
}
