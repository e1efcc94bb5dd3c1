/* ORCA's reports (see load_report.h): names and numbers, with whatever else between them. */
#include "mesh/load_report.h"

#include <stdlib.h>
#include <string.h>

enum { NUMBER_MAX_LEN = 32 };

struct reader {
    const char *at, *end;
};

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
}

static bool is_number(char c)
{
    return (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E';
}

/* The next word that an '=' or a ':' follows; false at the end. */
static bool next_name(struct reader *r, const char **name, size_t *n)
{
    while (r->at < r->end) {
        while (r->at < r->end && !is_name(*r->at))
            r->at++;
        *name = r->at;
        while (r->at < r->end && is_name(*r->at))
            r->at++;
        *n = (size_t)(r->at - *name);
        while (r->at < r->end && (*r->at == '"' || *r->at == ' ' || *r->at == '\t'))
            r->at++;
        if (r->at == r->end || (*r->at != '=' && *r->at != ':')) continue;
        r->at++;
        return true;
    }
    return false;
}

/* What stands here, 0 or more; false if it is no such number. */
static bool next_number(struct reader *r, double *out)
{
    char text[NUMBER_MAX_LEN + 1], *end;
    size_t n = 0;
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t'))
        r->at++;
    while (r->at < r->end && is_number(*r->at) && n < NUMBER_MAX_LEN)
        text[n++] = *r->at++;
    text[n] = '\0';
    double v = strtod(text, &end);
    if (n == 0 || *end != '\0' || !(v >= 0 && v < 1e18)) return false;
    *out = v;
    return true;
}

static bool is(const char *name, size_t n, const char *want)
{
    return n == strlen(want) && memcmp(name, want, n) == 0;
}

bool np_load_report_parse(const char *text, size_t n, struct np_load_report *out)
{
    struct reader r = {text, text + n};
    double application = 0, cpu = 0, fractional = 0, whole = 0, eps = 0, v;
    const char *name;
    size_t len;
    if (n > NP_LOAD_REPORT_MAX) return false;
    while (next_name(&r, &name, &len)) {
        if (!next_number(&r, &v)) continue;
        if (is(name, len, "application_utilization")) application = v;
        if (is(name, len, "cpu_utilization")) cpu = v;
        if (is(name, len, "rps_fractional")) fractional = v;
        if (is(name, len, "rps")) whole = v;
        if (is(name, len, "eps")) eps = v;
    }
    double utilization = application > 0 ? application : cpu;
    double qps = fractional > 0 ? fractional : whole;
    if (!(utilization > 0 && qps > 0)) return false;
    *out = (struct np_load_report){qps, eps, utilization};
    return true;
}
