/* The Range header; see range.h. */
#include "proto/range.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

struct spec {
    bool has_first, has_last;
    uint64_t first, last; /* of a suffix: `last` bytes */
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static void skip_spaces(struct np_bytes *b)
{
    while (b->n && is_space(*b->p)) {
        b->p++;
        b->n--;
    }
}

/* Digits, as a number that stops growing where 64 bits end. */
static bool number(struct np_bytes *b, uint64_t *out)
{
    uint64_t v = 0;
    size_t i = 0;
    for (; i < b->n && b->p[i] >= '0' && b->p[i] <= '9'; i++) {
        unsigned d = (unsigned)(b->p[i] - '0');
        v = v > (UINT64_MAX - d) / 10 ? UINT64_MAX : v * 10 + d;
    }
    b->p += i;
    b->n -= i;
    *out = v;
    return i > 0;
}

static bool read_spec(struct np_bytes *b, struct spec *s)
{
    s->has_first = number(b, &s->first);
    if (!b->n || *b->p != '-') return false;
    b->p++;
    b->n--;
    s->has_last = number(b, &s->last);
    if (!s->has_first && !s->has_last) return false;
    return !(s->has_first && s->has_last) || s->first <= s->last;
}

/* What it means for that size; false when there is no such byte. */
static bool resolve(const struct spec *s, uint64_t size, struct np_range *out)
{
    if (!s->has_first) {
        if (s->last == 0 || size == 0) return false;
        out->first = s->last >= size ? 0 : size - s->last;
        out->last = size - 1;
        return true;
    }
    if (s->first >= size) return false;
    out->first = s->first;
    out->last = s->has_last && s->last < size ? s->last : size - 1;
    return true;
}

static bool touch(const struct np_range *a, const struct np_range *b)
{
    if (a->last != UINT64_MAX && a->last + 1 < b->first) return false;
    return b->last == UINT64_MAX || b->last + 1 >= a->first;
}

/* Adds one; those it touches, and those that then touch, become part of the earliest of them. */
static size_t add(struct np_range *list, size_t n, struct np_range r)
{
    size_t place = n;
    for (size_t i = 0; i < n;) {
        if (!touch(&list[i], &r)) {
            i++;
            continue;
        }
        if (list[i].first < r.first) r.first = list[i].first;
        if (list[i].last > r.last) r.last = list[i].last;
        if (i < place) place = i;
        memmove(&list[i], &list[i + 1], (n - i - 1) * sizeof *list);
        n--;
        i = 0; /* it has grown: those before may touch it now */
    }
    if (place > n) place = n;
    memmove(&list[place + 1], &list[place], (n - place) * sizeof *list);
    list[place] = r;
    return n + 1;
}

enum np_ranges np_ranges_read(struct np_bytes value, uint64_t size, struct np_range *out,
                              size_t max, size_t *n)
{
    struct np_bytes b = value;
    size_t specs = 0, found = 0;
    bool of_nothing = false; /* the end of an empty representation: satisfiable, but not as 206 */
    *n = 0;
    if (b.n < 6 || strncasecmp(b.p, "bytes=", 6) != 0) return NP_RANGES_IGNORED;
    b.p += 6;
    b.n -= 6;
    for (;;) {
        struct spec s;
        struct np_range r;
        skip_spaces(&b);
        if (!b.n) break;
        if (*b.p == ',') { /* an empty member of the list */
            b.p++;
            b.n--;
            continue;
        }
        if (++specs > max || !read_spec(&b, &s)) return NP_RANGES_IGNORED;
        skip_spaces(&b);
        if (b.n && *b.p != ',') return NP_RANGES_IGNORED;
        if (!s.has_first && s.last > 0 && size == 0) of_nothing = true;
        if (resolve(&s, size, &r)) found = add(out, found, r);
    }
    if (!specs || of_nothing) return NP_RANGES_IGNORED;
    *n = found;
    return found ? NP_RANGES_SOME : NP_RANGES_UNSATISFIABLE;
}
