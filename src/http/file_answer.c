/* A file as the answer to a request; see file_answer.h. */
#include "http/file_answer.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/hash.h"
#include "proto/conditional.h"
#include "proto/http_date.h"

enum { OWN_HEADERS = 9, PART_HEAD_MAX = 512 };

/* What is being put together: the headers, and the memory that they stand in. */
struct head {
    struct np_http_header list[OWN_HEADERS + NP_FILE_MORE_HEADERS];
    size_t n;
    char etag[NP_FILE_ETAG_MAX];
    char modified[NP_HTTP_DATE_LEN];
    char range[80];
    char boundary[80];
    struct np_validators validators;
};

static void add(struct head *h, const char *name, struct np_bytes value)
{
    h->list[h->n].name = (struct np_bytes){name, strlen(name)};
    h->list[h->n++].value = value;
}

static struct np_bytes text(const char *p)
{
    return (struct np_bytes){p, strlen(p)};
}

/* --- validators */

static char *put_hex(char *at, uint64_t v)
{
    char digits[16];
    int k = 0;
    do
        digits[k++] = "0123456789abcdef"[v & 15];
    while (v >>= 4);
    while (k)
        *at++ = digits[--k];
    return at;
}

static char *put(char *at, struct np_bytes b)
{
    memcpy(at, b.p, b.n);
    return at + b.n;
}

static bool is_young(const struct np_file *f, int64_t now)
{
    return f->mtime > now - NP_NS_PER_SEC;
}

size_t np_file_etag(const struct np_file *f, struct np_bytes encoding, int64_t now,
                    char out[NP_FILE_ETAG_MAX])
{
    char *at = out;
    if (f->mtime < 2 * NP_NS_PER_SEC) return 0;
    bool young = is_young(f, now);
    if (young) {
        *at++ = 'W';
        *at++ = '/';
    }
    *at++ = '"';
    at = put_hex(at, (uint64_t)f->mtime);
    *at++ = '-';
    at = put_hex(at, f->size);
    if (encoding.p && encoding.n < 8) {
        *at++ = '-';
        at = put(at, encoding);
    }
    if (young) at = put(at, text("-new"));
    *at++ = '"';
    return (size_t)(at - out);
}

/* A Last-Modified never is in the future (8.8.2.1). */
static void add_validators(struct head *h, const struct np_file *f,
                           const struct np_file_answer *how, int64_t now)
{
    h->validators = (struct np_validators){.last_modified = NP_NO_DATE};
    if (how->no_validators) return;
    size_t n = np_file_etag(f, how->encoding, now, h->etag);
    if (!n) return;
    h->validators.etag = (struct np_bytes){h->etag, n};
    h->validators.last_modified = (f->mtime < now ? f->mtime : now) / NP_NS_PER_SEC;
    h->validators.date_strong = !is_young(f, now);
    np_http_date_format(h->validators.last_modified, h->modified);
    add(h, "ETag", h->validators.etag);
    add(h, "Last-Modified", (struct np_bytes){h->modified, sizeof h->modified});
}

/* What a 304 says as well. */
static void add_common(struct head *h, const struct np_file_answer *how)
{
    if (how->cache_control.p) add(h, "Cache-Control", how->cache_control);
    if (how->vary) add(h, "Vary", text("Accept-Encoding"));
    for (size_t i = 0; i < how->nheaders && i < NP_FILE_MORE_HEADERS; i++)
        h->list[h->n++] = how->headers[i];
}

/* --- bodies */

static enum neap_err answer_whole(struct np_http_exchange *x, struct head *h, struct np_file *f,
                                  const struct np_file_answer *how)
{
    struct np_http_part whole = {.size = f->size};
    if (how->type.p) add(h, "Content-Type", how->type);
    return np_http_respond_file(x, how->status, h->list, h->n, f, &whole, f->size ? 1 : 0,
                                (struct np_bytes){NULL, 0});
}

static enum neap_err answer_range(struct np_http_exchange *x, struct head *h, struct np_file *f,
                                  const struct np_file_answer *how, const struct np_range *r)
{
    struct np_http_part part = {.offset = r->first, .size = r->last - r->first + 1};
    snprintf(h->range, sizeof h->range, "bytes %llu-%llu/%llu", (unsigned long long)r->first,
             (unsigned long long)r->last, (unsigned long long)f->size);
    if (how->type.p) add(h, "Content-Type", how->type);
    add(h, "Content-Range", text(h->range));
    return np_http_respond_file(x, 206, h->list, h->n, f, &part, 1, (struct np_bytes){NULL, 0});
}

static bool write_part_head(struct np_arena *arena, const char *boundary, struct np_bytes type,
                            const struct np_range *r, uint64_t size, struct np_bytes *out)
{
    char head[PART_HEAD_MAX];
    int n = snprintf(head, sizeof head,
                     "\r\n--%s\r\n%s%.*s%sContent-Range: bytes %llu-%llu/%llu\r\n\r\n", boundary,
                     type.p ? "Content-Type: " : "", (int)type.n, type.p ? type.p : "",
                     type.p ? "\r\n" : "", (unsigned long long)r->first,
                     (unsigned long long)r->last, (unsigned long long)size);
    if (n < 0 || (size_t)n >= sizeof head) return false;
    *out = (struct np_bytes){np_arena_strndup(arena, head, (size_t)n), (size_t)n};
    return out->p != NULL;
}

static enum neap_err answer_ranges(struct np_http_exchange *x, struct head *h, struct np_file *f,
                                   const struct np_file_answer *how, const struct np_range *r,
                                   size_t n)
{
    struct np_http_part parts[NP_RANGES_MAX];
    char boundary[40], last[48];
    snprintf(boundary, sizeof boundary, "%016llx%016llx", (unsigned long long)how->nonce,
             (unsigned long long)np_hash_mix(how->nonce ^ (uint64_t)f->mtime));
    for (size_t i = 0; i < n; i++) {
        parts[i] = (struct np_http_part){.offset = r[i].first, .size = r[i].last - r[i].first + 1};
        if (!write_part_head(x->arena, boundary, how->type, &r[i], f->size, &parts[i].before))
            return NEAP_ENOMEM;
    }
    snprintf(last, sizeof last, "\r\n--%s--\r\n", boundary);
    snprintf(h->boundary, sizeof h->boundary, "multipart/byteranges; boundary=%s", boundary);
    add(h, "Content-Type", text(h->boundary));
    return np_http_respond_file(x, 206, h->list, h->n, f, parts, n, text(last));
}

static enum neap_err answer_none(struct np_http_exchange *x, struct head *h, struct np_file *f,
                                 int status)
{
    enum neap_err err = np_http_respond(x, status, h->list, h->n, NULL, 0);
    if (!err) np_file_close(f);
    return err;
}

/* --- the request's wishes */

/* Whether there is a Range to look at, and its ranges. */
static enum np_ranges ranges_of(const struct np_http_exchange *x, const struct head *h,
                                const struct np_file *f, const struct np_file_answer *how,
                                int64_t now, struct np_range *out, size_t *n)
{
    *n = 0;
    if (how->no_ranges || x->head.method != HTTP_GET) return NP_RANGES_IGNORED;
    struct np_bytes value = np_http_header_get(&x->head, "range", 5);
    if (!value.p || !np_if_range_holds(&x->head, &h->validators, now / NP_NS_PER_SEC))
        return NP_RANGES_IGNORED;
    size_t max =
        how->max_ranges && how->max_ranges < NP_RANGES_MAX ? how->max_ranges : NP_RANGES_MAX;
    return np_ranges_read(value, f->size, out, max, n);
}

enum neap_err np_http_answer_file(struct np_http_exchange *x, struct np_file *f,
                                  const struct np_file_answer *how)
{
    struct head h;
    struct np_range ranges[NP_RANGES_MAX];
    size_t n = 0;
    enum np_ranges wanted = NP_RANGES_IGNORED;
    int64_t now = np_clock_wall();
    h.n = 0;
    add_validators(&h, f, how, now);
    add_common(&h, how);
    if (how->status == 200 && np_has_conditions(&x->head)) {
        switch (np_conditional(&x->head, &h.validators, now / NP_NS_PER_SEC)) {
        case NP_CONDITION_SAME:
            return answer_none(x, &h, f, 304);
        case NP_CONDITION_FAILED:
            h.n = 0; /* nothing of it is for a cache */
            return answer_none(x, &h, f, 412);
        case NP_CONDITION_HOLDS:
            break;
        }
        wanted = ranges_of(x, &h, f, how, now, ranges, &n);
    }
    if (how->status == 200 && !how->no_ranges) add(&h, "Accept-Ranges", text("bytes"));
    if (wanted == NP_RANGES_UNSATISFIABLE) {
        h.n = 0;
        snprintf(h.range, sizeof h.range, "bytes */%llu", (unsigned long long)f->size);
        add(&h, "Content-Range", text(h.range));
        return answer_none(x, &h, f, 416);
    }
    if (how->encoding.p) add(&h, "Content-Encoding", how->encoding);
    if (wanted == NP_RANGES_IGNORED) return answer_whole(x, &h, f, how);
    if (n == 1) return answer_range(x, &h, f, how, &ranges[0]);
    return answer_ranges(x, &h, f, how, ranges, n);
}
