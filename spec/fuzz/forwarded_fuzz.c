/* Forwarded and X-Forwarded-*: what a client writes at the left never changes who it is, once a
 * trusted proxy has named somebody else. */
#include <stdlib.h>
#include <string.h>

#include "proto/forwarded.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *name, const char *text, size_t n, enum np_forwarded_kind kind)
{
    struct np_http_header header = {{name, strlen(name)}, {text, n}};
    struct np_http_head h = {.headers = &header, .nheaders = 1};
    struct np_forwarded_policy policy = {.kind = kind};
    struct np_cidr net;
    struct np_forwarded f;
    if (np_cidr_parse("10.0.0.0/8", 10, &net, NULL)) abort();
    policy.trusted = (struct np_cidr_list){.items = &net, .n = 1};
    np_forwarded_resolve(&h, "10.0.0.1:1", &policy, &f);
    if (!f.trusted) abort();
    if (f.host.p && (f.host.p < text || f.host.p + f.host.n > text + n)) abort();
    np_forwarded_resolve(&h, "11.0.0.1:1", &policy, &f);
    if (f.trusted || f.found || f.host.p || f.scheme) abort();
}

/* A proxy has added who it was, behind whatever there was. */
static void check_added(const char *name, const char *text, size_t n, const char *added,
                        enum np_forwarded_kind kind)
{
    char *all = malloc(n + strlen(added));
    if (!all) abort();
    if (n) memcpy(all, text, n);
    memcpy(all + n, added, strlen(added));
    struct np_http_header header = {{name, strlen(name)}, {all, n + strlen(added)}};
    struct np_http_head h = {.headers = &header, .nheaders = 1};
    struct np_forwarded_policy policy = {.kind = kind};
    struct np_cidr net;
    struct np_forwarded f;
    char ip[NP_IP_TEXT_MAX];
    if (np_cidr_parse("10.0.0.0/8", 10, &net, NULL)) abort();
    policy.trusted = (struct np_cidr_list){.items = &net, .n = 1};
    np_forwarded_resolve(&h, "10.0.0.1:1", &policy, &f);
    if (!f.found) abort();
    np_ip_format(&f.client, ip);
    if (strcmp(ip, "9.9.9.9") != 0) abort();
    free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size ? size : 1);
    if (size) memcpy(copy, data, size);
    if (np_http_is_value(copy, size)) {
        check("X-Forwarded-For", copy, size, NP_FORWARDED_X_ONLY);
        check("Forwarded", copy, size, NP_FORWARDED_RFC_ONLY);
        check_added("X-Forwarded-For", copy, size, ", 9.9.9.9", NP_FORWARDED_X_ONLY);
        check_added("Forwarded", copy, size, ", for=9.9.9.9", NP_FORWARDED_RFC_ONLY);
        check_added("Forwarded", copy, size, ",for=\"9.9.9.9:80\"", NP_FORWARDED_RFC_ONLY);
    }
    free(copy);
    return 0;
}
