/* The multipart parser: delimiters, the state machine, limits. See multipart.h.
 *
 * A CR stands nowhere in a delimiter but at its front. So when what looked like one turns out to be
 * body, no other can have begun inside it, and what was held back is a prefix of the delimiter.
 */
#include <assert.h>
#include <string.h>

#include "proto/multipart_impl.h"

bool np_multipart_boundary_ok(const char *boundary, size_t n)
{
    static const char marks[] = "'()+_,-./:=? ";
    if (n < 1 || n > NP_MULTIPART_BOUNDARY_MAX || boundary[n - 1] == ' ') return false;
    for (size_t i = 0; i < n; i++) {
        char c = boundary[i];
        bool word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!word && (c == '\0' || !strchr(marks, c))) return false;
    }
    return true;
}

enum neap_err np_multipart_init(struct np_multipart *m, const char *boundary, size_t n,
                                const struct np_multipart_limits *limits)
{
    static const struct np_multipart_limits defaults = NP_MULTIPART_LIMITS_INIT;
    memset(m, 0, sizeof *m);
    if (!np_multipart_boundary_ok(boundary, n)) return NEAP_EINVAL;
    m->limits = limits ? *limits : defaults;
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary, n);
    m->delimiter_len = n + 4;
    m->matched = 2; /* the beginning is the beginning of a line */
    return NEAP_OK;
}

void np_multipart_fini(struct np_multipart *m)
{
    np_buf_fini(&m->head);
    np_buf_fini(&m->text);
}

/* --- the pieces of the machine. Each looks at the bytes [*used, n) and moves *used. */

struct step {
    const char *p;
    size_t n;
    size_t used;
    struct np_bytes data;
    struct neap_errinfo *info;
};

static bool legal(enum np_multipart_state from, enum np_multipart_state to)
{
    switch (to) {
    case NP_MULTIPART_AFTER_DELIMITER:
        return from == NP_MULTIPART_AT_START || from == NP_MULTIPART_IN_BODY;
    case NP_MULTIPART_IN_BODY:
        return from == NP_MULTIPART_IN_HEADERS;
    case NP_MULTIPART_IN_HEADERS:
        return from == NP_MULTIPART_DELIMITER_CR;
    case NP_MULTIPART_TRAILER:
        return from == NP_MULTIPART_DELIMITER_DASH;
    default:
        return to != NP_MULTIPART_AT_START && from != NP_MULTIPART_FAILED;
    }
}

static void go(struct np_multipart *m, enum np_multipart_state to)
{
    bool ok = legal(m->state, to);
    assert(ok);
    (void)ok;
    m->state = to;
}

static enum neap_err at_start(struct np_multipart *m, struct step *s)
{
    if (!m->begun && s->p[s->used] == '\r') m->matched = 0;
    m->begun = true;
    while (s->used < s->n && m->matched < m->delimiter_len) {
        if (s->p[s->used] != m->delimiter[m->matched])
            return np_err_set(s->info, NEAP_EPROTO, "the body does not begin with its boundary");
        s->used++;
        m->matched++;
    }
    if (m->matched == m->delimiter_len) go(m, NP_MULTIPART_AFTER_DELIMITER);
    return NEAP_OK;
}

static enum neap_err after_delimiter(struct np_multipart *m, struct step *s)
{
    char c = s->p[s->used++];
    m->matched = 0;
    if (c == '\r') {
        go(m, NP_MULTIPART_DELIMITER_CR);
    } else if (c == '-' && m->state == NP_MULTIPART_AFTER_DELIMITER) {
        go(m, NP_MULTIPART_DELIMITER_DASH);
    } else if (c == ' ' || c == '\t') {
        go(m, NP_MULTIPART_PADDING);
    } else {
        return np_err_set(s->info, NEAP_EPROTO, "a boundary is followed by other text");
    }
    return NEAP_OK;
}

static enum neap_err delimiter_cr(struct np_multipart *m, struct step *s)
{
    if (s->p[s->used++] != '\n')
        return np_err_set(s->info, NEAP_EPROTO, "a bare CR behind a boundary");
    if (m->parts == m->limits.max_parts)
        return np_err_set(s->info, NEAP_ELIMIT, "more than %zu parts", m->limits.max_parts);
    m->parts++;
    m->part_bytes = 0;
    m->line = 0;
    np_buf_clear(&m->head);
    np_buf_clear(&m->text);
    go(m, NP_MULTIPART_IN_HEADERS);
    return NEAP_OK;
}

static enum neap_err delimiter_dash(struct np_multipart *m, struct step *s,
                                    enum np_multipart_event *event)
{
    if (s->p[s->used++] != '-')
        return np_err_set(s->info, NEAP_EPROTO, "a boundary is followed by other text");
    go(m, NP_MULTIPART_TRAILER);
    *event = NP_MULTIPART_END;
    return NEAP_OK;
}

/* One line, or what there is of it, goes to `head`. */
static enum neap_err in_headers(struct np_multipart *m, struct step *s,
                                enum np_multipart_event *event)
{
    const char *from = s->p + s->used;
    size_t left = s->n - s->used;
    const char *lf = memchr(from, '\n', left);
    size_t take = lf ? (size_t)(lf - from) + 1 : left;
    if (take > m->limits.max_header_bytes - np_buf_len(&m->head))
        return np_err_set(s->info, NEAP_ELIMIT, "the headers of part %zu are larger than %zu bytes",
                          m->parts, m->limits.max_header_bytes);
    if (np_buf_append(&m->head, from, take)) return np_err_plain(s->info, NEAP_ENOMEM);
    s->used += take;
    if (!lf) return NEAP_OK;
    const char *head = np_buf_data(&m->head);
    size_t len = np_buf_len(&m->head);
    if (len - m->line < 2 || head[len - 2] != '\r')
        return np_err_set(s->info, NEAP_EPROTO, "a bare LF in the headers of part %zu", m->parts);
    bool empty = len - m->line == 2;
    m->line = len;
    if (!empty) return NEAP_OK;
    enum neap_err err = np_multipart_read_head(m, s->info);
    if (err) return err;
    go(m, NP_MULTIPART_IN_BODY);
    *event = NP_MULTIPART_PART;
    return NEAP_OK;
}

static enum neap_err count_data(struct np_multipart *m, struct step *s)
{
    bool file = m->part.filename.p != NULL;
    uint64_t max = file ? m->limits.max_file_bytes : m->limits.max_field_bytes;
    if (s->data.n <= max - m->part_bytes) {
        m->part_bytes += s->data.n;
        return NEAP_OK;
    }
    struct np_bytes name = m->part.name;
    return np_err_set(s->info, NEAP_ELIMIT, "the %s '%.*s' is larger than %llu bytes",
                      file ? "file" : "field", (int)(name.n > 64 ? 64 : name.n), name.p,
                      (unsigned long long)max);
}

/* Where in p[0, n) a delimiter stands, whole or cut by the end; n when there is none. */
static size_t find_delimiter(const struct np_multipart *m, const char *p, size_t n)
{
    size_t at = 0;
    while (at < n) {
        const char *cr = memchr(p + at, '\r', n - at);
        if (!cr) return n;
        at = (size_t)(cr - p);
        size_t len = n - at < m->delimiter_len ? n - at : m->delimiter_len;
        if (memcmp(cr, m->delimiter, len) == 0) return at;
        at++;
    }
    return n;
}

static enum neap_err in_body(struct np_multipart *m, struct step *s, enum np_multipart_event *event)
{
    const char *from = s->p + s->used;
    size_t left = s->n - s->used;
    size_t k = 0;
    while (k < left && m->matched + k < m->delimiter_len && from[k] == m->delimiter[m->matched + k])
        k++;
    if (m->matched + k == m->delimiter_len) {
        s->used += k;
        m->matched = 0;
        go(m, NP_MULTIPART_AFTER_DELIMITER);
        *event = NP_MULTIPART_PART_END;
        return NEAP_OK;
    }
    if (k == left) {
        s->used += k;
        m->matched += k;
        return NEAP_OK;
    }
    if (m->matched) { /* the k bytes are looked at again: they hold no CR but maybe the first */
        s->data = (struct np_bytes){m->delimiter, m->matched};
        m->matched = 0;
    } else {
        size_t at = k + find_delimiter(m, from + k, left - k);
        s->data = (struct np_bytes){from, at};
        s->used += at;
    }
    *event = NP_MULTIPART_DATA;
    return count_data(m, s);
}

static enum neap_err trailer(struct np_multipart *m, struct step *s)
{
    char c = s->p[s->used++];
    if (m->state == NP_MULTIPART_TRAILER && (c == ' ' || c == '\t')) return NEAP_OK;
    if (m->state == NP_MULTIPART_TRAILER && c == '\r') {
        go(m, NP_MULTIPART_TRAILER_CR);
        return NEAP_OK;
    }
    if (m->state == NP_MULTIPART_TRAILER_CR && c == '\n') {
        go(m, NP_MULTIPART_CLOSED);
        return NEAP_OK;
    }
    return np_err_set(s->info, NEAP_EPROTO, "there is text behind the last boundary");
}

static enum neap_err step(struct np_multipart *m, struct step *s, enum np_multipart_event *event)
{
    switch (m->state) {
    case NP_MULTIPART_AT_START:
        return at_start(m, s);
    case NP_MULTIPART_AFTER_DELIMITER:
    case NP_MULTIPART_PADDING:
        return after_delimiter(m, s);
    case NP_MULTIPART_DELIMITER_CR:
        return delimiter_cr(m, s);
    case NP_MULTIPART_DELIMITER_DASH:
        return delimiter_dash(m, s, event);
    case NP_MULTIPART_IN_HEADERS:
        return in_headers(m, s, event);
    case NP_MULTIPART_IN_BODY:
        return in_body(m, s, event);
    case NP_MULTIPART_TRAILER:
    case NP_MULTIPART_TRAILER_CR:
    case NP_MULTIPART_CLOSED:
        return trailer(m, s);
    case NP_MULTIPART_FAILED:
        break;
    }
    return np_err_plain(s->info, NEAP_EINTERNAL);
}

static enum neap_err failed(struct np_multipart *m, const struct neap_errinfo *why,
                            struct neap_errinfo *info)
{
    if (why != &m->failure) m->failure = *why;
    m->state = NP_MULTIPART_FAILED;
    if (info) *info = m->failure;
    return m->failure.code;
}

enum neap_err np_multipart_next(struct np_multipart *m, const char *p, size_t n, size_t *used,
                                enum np_multipart_event *event, struct np_bytes *data,
                                struct neap_errinfo *info)
{
    struct neap_errinfo why;
    struct step s = {.p = p, .n = n, .info = &why};
    enum np_multipart_event e = NP_MULTIPART_MORE;
    if (m->state == NP_MULTIPART_FAILED) return failed(m, &m->failure, info);
    while (s.used < n && e == NP_MULTIPART_MORE) {
        if (step(m, &s, &e)) return failed(m, &why, info);
    }
    if (s.used > m->limits.max_total_bytes - m->total_bytes) {
        np_err_set(&why, NEAP_ELIMIT, "the body is larger than %llu bytes",
                   (unsigned long long)m->limits.max_total_bytes);
        return failed(m, &why, info);
    }
    m->total_bytes += s.used;
    *used = s.used;
    *event = e;
    *data = s.data;
    return NEAP_OK;
}

enum neap_err np_multipart_finish(const struct np_multipart *m, struct neap_errinfo *info)
{
    switch (m->state) {
    case NP_MULTIPART_TRAILER:
    case NP_MULTIPART_CLOSED:
        return NEAP_OK;
    case NP_MULTIPART_FAILED:
        if (info) *info = m->failure;
        return m->failure.code;
    case NP_MULTIPART_AT_START:
        return np_err_set(info, NEAP_EPROTO, "the body ends before its first part");
    default:
        return np_err_set(info, NEAP_EPROTO, "the body ends in the middle of part %zu", m->parts);
    }
}

enum neap_err np_multipart_quote(struct np_buf *b, const char *text, size_t n)
{
    char *out;
    if (n > SIZE_MAX / 4) return NEAP_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && c != '\r' && c != '\n') || c == 0x7f) return NEAP_EINVAL;
    }
    if (np_buf_reserve(b, n * 3 + 2, &out)) return NEAP_ENOMEM;
    char *at = out;
    *at++ = '"';
    for (size_t i = 0; i < n; i++) {
        const char *code = text[i] == '"' ? "%22" : text[i] == '\r' ? "%0D" : "%0A";
        if (text[i] == '"' || text[i] == '\r' || text[i] == '\n') {
            memcpy(at, code, 3);
            at += 3;
        } else {
            *at++ = text[i];
        }
    }
    *at++ = '"';
    np_buf_added(b, (size_t)(at - out));
    return NEAP_OK;
}
