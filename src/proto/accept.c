/* Content negotiation; see accept.h. */
#include "proto/accept.h"

#include <string.h>
#include <strings.h>

/* A member of the list: its value, its parameters but the weight, its weight. */
struct member {
    struct np_bytes value;
    struct np_bytes params; /* from the first ';' to the weight, or to the end */
    int weight;             /* -1: malformed */
};

static struct np_bytes trim(struct np_bytes b)
{
    while (b.n && (*b.p == ' ' || *b.p == '\t'))
        b.p++, b.n--;
    while (b.n && (b.p[b.n - 1] == ' ' || b.p[b.n - 1] == '\t'))
        b.n--;
    return b;
}

/* Takes what stands before the next `sep` that is not inside quotes off the front. */
static struct np_bytes take_until(struct np_bytes *rest, char sep)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < rest->n; i++) {
        char c = rest->p[i];
        if (quoted && c == '\\' && i + 1 < rest->n)
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (c == sep && !quoted)
            break;
    }
    struct np_bytes part = {rest->p, i};
    size_t used = i < rest->n ? i + 1 : i;
    rest->p += used;
    rest->n -= used;
    return trim(part);
}

static bool is(struct np_bytes a, struct np_bytes b)
{
    return a.n == b.n && (a.n == 0 || strncasecmp(a.p, b.p, a.n) == 0);
}

static bool is_text(struct np_bytes a, const char *text)
{
    return is(a, (struct np_bytes){text, strlen(text)});
}

/* "0.5" → 500 */
static int read_weight(struct np_bytes b)
{
    if (b.n == 0 || b.n > 5 || (b.p[0] != '0' && b.p[0] != '1')) return -1;
    int v = (b.p[0] - '0') * 1000;
    if (b.n > 1 && b.p[1] != '.') return -1;
    int unit = 100;
    for (size_t i = 2; i < b.n; i++, unit /= 10) {
        if (b.p[i] < '0' || b.p[i] > '9') return -1;
        v += (b.p[i] - '0') * unit;
    }
    return v <= 1000 ? v : -1;
}

static struct member read_member(struct np_bytes text)
{
    struct np_bytes rest = text;
    struct member m = {.weight = 1000};
    m.value = take_until(&rest, ';');
    m.params = rest;
    while (rest.n) {
        const char *at = rest.p;
        struct np_bytes param = take_until(&rest, ';');
        if (param.n >= 2 && (param.p[0] | 0x20) == 'q' && param.p[1] == '=') {
            m.weight = read_weight((struct np_bytes){param.p + 2, param.n - 2});
            m.params.n = (size_t)(at - m.params.p);
            break; /* what follows are extensions of the header's */
        }
    }
    return m;
}

/* Whether all parameters of `wanted` are among those of `given`; `*n` counts them. */
static bool params_fit(struct np_bytes wanted, struct np_bytes given, int *n)
{
    *n = 0;
    while (wanted.n) {
        struct np_bytes w = take_until(&wanted, ';');
        struct np_bytes rest = given;
        bool found = w.n == 0;
        while (rest.n && !found)
            found = is(take_until(&rest, ';'), w);
        if (!found) return false;
        if (w.n) ++*n;
    }
    return true;
}

/* How specific a member is that fits the candidate; 0 when it does not fit. */
static int media_fits(const struct member *m, struct np_bytes candidate)
{
    struct np_bytes params = candidate;
    struct np_bytes type = take_until(&params, ';');
    const char *slash = type.n ? memchr(type.p, '/', type.n) : NULL;
    size_t main_len = slash ? (size_t)(slash - type.p) : type.n;
    int n;
    if (is_text(m->value, "*/*")) return 1;
    if (m->value.n == main_len + 2 && m->value.p[main_len] == '/' &&
        m->value.p[main_len + 1] == '*' && strncasecmp(m->value.p, type.p, main_len) == 0)
        return 2;
    if (!is(m->value, type) || !params_fit(m->params, params, &n)) return 0;
    return 3 + n;
}

static int token_fits(const struct member *m, struct np_bytes candidate)
{
    if (is(m->value, candidate)) return 2;
    return is_text(m->value, "*") ? 1 : 0;
}

static bool begins(struct np_bytes tag, struct np_bytes with)
{
    return tag.n > with.n && with.n > 0 && tag.p[with.n] == '-' &&
           strncasecmp(tag.p, with.p, with.n) == 0;
}

static int language_fits(const struct member *m, struct np_bytes candidate)
{
    if (is_text(m->value, "*")) return 1;
    if (is(m->value, candidate)) return 100000;
    if (begins(candidate, m->value)) return 1000 + (int)(m->value.n % 1000);
    return begins(m->value, candidate) ? 2 : 0;
}

static int fits(enum np_accept kind, const struct member *m, struct np_bytes candidate)
{
    switch (kind) {
    case NP_ACCEPT_MEDIA:
        return media_fits(m, candidate);
    case NP_ACCEPT_LANGUAGE:
        return language_fits(m, candidate);
    case NP_ACCEPT_ENCODING:
        if (is_text(m->value, "x-gzip") && is_text(candidate, "gzip")) return 2;
        return token_fits(m, candidate);
    case NP_ACCEPT_CHARSET:
        break;
    }
    return token_fits(m, candidate);
}

static const struct np_bytes names[] = {
    [NP_ACCEPT_MEDIA] = {"accept", 6},
    [NP_ACCEPT_ENCODING] = {"accept-encoding", 15},
    [NP_ACCEPT_CHARSET] = {"accept-charset", 14},
    [NP_ACCEPT_LANGUAGE] = {"accept-language", 15},
};

bool np_accept_given(const struct np_http_head *h, enum np_accept kind)
{
    return np_http_header_get(h, names[kind].p, names[kind].n).p != NULL;
}

/* The most specific member of one line that fits; of two alike the one that weighs more. */
static void weigh_line(struct np_bytes line, enum np_accept kind, struct np_bytes candidate,
                       int *best, int *weight)
{
    while (line.n) {
        struct np_bytes text = take_until(&line, ',');
        if (!text.n) continue;
        struct member m = read_member(text);
        if (m.weight < 0) continue;
        int fit = fits(kind, &m, candidate);
        if (fit > *best || (fit && fit == *best && m.weight > *weight)) {
            *best = fit;
            *weight = m.weight;
        }
    }
}

int np_accept_weight(const struct np_http_head *h, enum np_accept kind, struct np_bytes candidate)
{
    int best = 0, weight = 0;
    bool given = false;
    bool identity = kind == NP_ACCEPT_ENCODING && is_text(candidate, "identity");
    for (size_t i = 0; i < h->nheaders; i++) {
        const struct np_http_header *header = &h->headers[i];
        if (header->name.n != names[kind].n ||
            !np_http_name_is(header->name, names[kind].p, names[kind].n))
            continue;
        given = true;
        weigh_line(header->value, kind, candidate, &best, &weight);
    }
    if (!given) return kind != NP_ACCEPT_ENCODING || identity ? 1000 : 0;
    if (identity && !best) return 1; /* not named: acceptable, and the last choice */
    return weight;
}
