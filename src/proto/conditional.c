/* Conditional requests; see conditional.h. */
#include "proto/conditional.h"

#include <string.h>

#include "proto/http_date.h"

/* --- entity tags */

static bool is_etagc(unsigned char c)
{
    return c == 0x21 || (c >= 0x23 && c != 0x7f);
}

/* Takes a tag off the front: its length, 0 where there is none. */
static size_t tag_length(struct np_bytes b)
{
    size_t i = b.n >= 2 && b.p[0] == 'W' && b.p[1] == '/' ? 2 : 0;
    if (i >= b.n || b.p[i] != '"') return 0;
    for (i++; i < b.n && is_etagc((unsigned char)b.p[i]); i++)
        ;
    return i < b.n && b.p[i] == '"' ? i + 1 : 0;
}

bool np_is_etag(struct np_bytes b)
{
    return b.p && tag_length(b) == b.n && b.n > 0;
}

static bool is_weak(struct np_bytes tag)
{
    return tag.n > 2 && tag.p[0] == 'W';
}

static bool same_tag(struct np_bytes a, struct np_bytes b, bool strongly)
{
    if (strongly && (is_weak(a) || is_weak(b))) return false;
    if (is_weak(a)) a.p += 2, a.n -= 2;
    if (is_weak(b)) b.p += 2, b.n -= 2;
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

/* Whether a list of tags holds this one. What comes after something that is no tag is not read. */
static bool list_has(struct np_bytes list, const struct np_validators *v, bool strongly)
{
    if (list.n == 1 && *list.p == '*') return !v->absent;
    while (list.n) {
        if (*list.p == ' ' || *list.p == '\t' || *list.p == ',') {
            list.p++;
            list.n--;
            continue;
        }
        size_t n = tag_length(list);
        if (!n) return false;
        if (v->etag.p && same_tag((struct np_bytes){list.p, n}, v->etag, strongly)) return true;
        list.p += n;
        list.n -= n;
    }
    return false;
}

/* --- headers */

static const struct np_http_header *next(const struct np_http_head *h, size_t *i, const char *name,
                                         size_t n)
{
    while (*i < h->nheaders) {
        const struct np_http_header *header = &h->headers[(*i)++];
        if (header->name.n == n && np_http_name_is(header->name, name, n)) return header;
    }
    return NULL;
}

/* Whether the header is there, and whether one of its lines names the tag. */
static bool names_tag(const struct np_http_head *h, const char *name, size_t n,
                      const struct np_validators *v, bool strongly, bool *matches)
{
    const struct np_http_header *header;
    bool there = false;
    size_t i = 0;
    *matches = false;
    while ((header = next(h, &i, name, n))) {
        there = true;
        if (list_has(header->value, v, strongly)) *matches = true;
    }
    return there;
}

/* A date that counts: a valid one, given once, for something that has a date. */
static bool has_date(const struct np_http_head *h, const char *name, size_t n,
                     const struct np_validators *v, int64_t now, int64_t *out)
{
    size_t i = 0;
    if (v->last_modified == NP_NO_DATE) return false;
    const struct np_http_header *header = next(h, &i, name, n);
    if (!header || next(h, &i, name, n)) return false;
    return np_http_date_parse(header->value, now, out);
}

static bool is_get(const struct np_http_head *h)
{
    return h->method == HTTP_GET || h->method == HTTP_HEAD;
}

enum np_condition np_conditional(const struct np_http_head *h, const struct np_validators *v,
                                 int64_t now)
{
    bool matches;
    int64_t date;
    if (names_tag(h, "if-match", 8, v, true, &matches)) {
        if (!matches) return NP_CONDITION_FAILED;
    } else if (has_date(h, "if-unmodified-since", 19, v, now, &date)) {
        if (v->last_modified > date) return NP_CONDITION_FAILED;
    }
    if (names_tag(h, "if-none-match", 13, v, false, &matches)) {
        if (!matches) return NP_CONDITION_HOLDS;
        return is_get(h) ? NP_CONDITION_SAME : NP_CONDITION_FAILED;
    }
    if (is_get(h) && has_date(h, "if-modified-since", 17, v, now, &date)) {
        if (v->last_modified <= date) return NP_CONDITION_SAME;
    }
    return NP_CONDITION_HOLDS;
}

bool np_if_range_holds(const struct np_http_head *h, const struct np_validators *v, int64_t now)
{
    size_t i = 0;
    int64_t date;
    const struct np_http_header *header = next(h, &i, "if-range", 8);
    if (!header) return true;
    if (next(h, &i, "if-range", 8)) return false;
    if (np_is_etag(header->value)) return v->etag.p && same_tag(header->value, v->etag, true);
    return v->date_strong && v->last_modified != NP_NO_DATE &&
           np_http_date_parse(header->value, now, &date) && date == v->last_modified;
}

bool np_has_conditions(const struct np_http_head *h)
{
    for (size_t i = 0; i < h->nheaders; i++) {
        struct np_bytes name = h->headers[i].name;
        if (name.n < 5 || (name.p[0] | 0x20) != (name.n == 5 ? 'r' : 'i')) continue;
        if (name.n == 5 ? np_http_name_is(name, "range", 5) : (name.p[1] | 0x20) == 'f')
            return true;
    }
    return false;
}
