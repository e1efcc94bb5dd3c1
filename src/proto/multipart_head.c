/* The headers of a part: lines, Content-Disposition, names of fields and files (RFC 7578 §4, RFC
 * 6266 and 8187 for filename*). Also the boundary parameter of a Content-Type.
 */
#include <string.h>

#include "proto/multipart_impl.h"

/* --- bytes */

static bool is_token_char(char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool np_bytes_is(struct np_bytes b, const char *lower_case)
{
    if (b.n != strlen(lower_case)) return false;
    for (size_t i = 0; i < b.n; i++) {
        if (lower(b.p[i]) != lower_case[i]) return false;
    }
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct np_bytes skip(struct np_bytes b, size_t n)
{
    return (struct np_bytes){b.p + n, b.n - n};
}

static struct np_bytes trim(struct np_bytes b)
{
    while (b.n && is_blank(b.p[0]))
        b = skip(b, 1);
    while (b.n && is_blank(b.p[b.n - 1]))
        b.n--;
    return b;
}

/* --- parameters */

struct np_bytes np_param_main(struct np_bytes value, struct np_bytes *params)
{
    const char *semicolon = value.n ? memchr(value.p, ';', value.n) : NULL;
    size_t n = semicolon ? (size_t)(semicolon - value.p) : value.n;
    *params = skip(value, n);
    return trim((struct np_bytes){value.p, n});
}

/* The bytes between the quotes; false when the second is missing. As browsers write names, a
 * backslash stands for itself unless a quote or a backslash follows. */
static bool take_quoted(struct np_bytes *rest, struct np_bytes *out)
{
    for (size_t i = 1; i < rest->n; i++) {
        if (rest->p[i] == '"') {
            *out = (struct np_bytes){rest->p + 1, i - 1};
            *rest = skip(*rest, i + 1);
            return true;
        }
        bool pair = rest->p[i] == '\\' && i + 1 < rest->n;
        if (pair && (rest->p[i + 1] == '"' || rest->p[i + 1] == '\\')) i++;
    }
    return false;
}

static struct np_bytes take_token(struct np_bytes *rest)
{
    size_t n = 0;
    while (n < rest->n && is_token_char(rest->p[n]))
        n++;
    struct np_bytes token = {rest->p, n};
    *rest = skip(*rest, n);
    return token;
}

enum neap_err np_param_next(struct np_bytes *rest, struct np_param *out)
{
    struct np_bytes r = trim(*rest);
    if (r.n == 0) return NEAP_EOF;
    if (r.p[0] != ';') return NEAP_EPROTO;
    r = trim(skip(r, 1));
    struct np_param p = {.name = take_token(&r)};
    if (p.name.n == 0 || r.n == 0 || r.p[0] != '=') return NEAP_EPROTO;
    r = skip(r, 1);
    p.quoted = r.n > 0 && r.p[0] == '"';
    if (p.quoted) {
        if (!take_quoted(&r, &p.value)) return NEAP_EPROTO;
    } else {
        p.value = take_token(&r);
        if (p.value.n == 0) return NEAP_EPROTO;
    }
    *rest = r;
    *out = p;
    return NEAP_OK;
}

/* --- the boundary */

/* A boundary in quotes needs no escapes: none of its characters has to have one. */
static enum neap_err take_boundary(const struct np_param *p, bool *found, char *out,
                                   struct neap_errinfo *info)
{
    if (*found) return np_err_set(info, NEAP_EPROTO, "the content type has two boundaries");
    if (!np_multipart_boundary_ok(p->value.p, p->value.n))
        return np_err_set(info, NEAP_EPROTO, "the content type's boundary may not be one");
    *found = true;
    memcpy(out, p->value.p, p->value.n);
    out[p->value.n] = '\0';
    return NEAP_OK;
}

enum neap_err np_multipart_boundary(const char *content_type, size_t n,
                                    char out[NP_MULTIPART_BOUNDARY_MAX + 1],
                                    struct neap_errinfo *info)
{
    struct np_bytes params;
    struct np_bytes type = np_param_main((struct np_bytes){content_type, n}, &params);
    char boundary[NP_MULTIPART_BOUNDARY_MAX + 1] = "";
    bool found = false;
    struct np_param p;
    enum neap_err err;
    if (!np_bytes_is(type, "multipart/form-data"))
        return np_err_set(info, NEAP_ENOTSUP, "the content type is not multipart/form-data");
    while ((err = np_param_next(&params, &p)) == NEAP_OK) {
        if (!np_bytes_is(p.name, "boundary")) continue;
        err = take_boundary(&p, &found, boundary, info);
        if (err) return err;
    }
    if (err != NEAP_EOF)
        return np_err_set(info, NEAP_EPROTO, "the content type's parameters are malformed");
    if (!found) return np_err_set(info, NEAP_EPROTO, "the content type has no boundary");
    memcpy(out, boundary, sizeof boundary);
    return NEAP_OK;
}

/* --- names. Decoding never makes longer what it reads. */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that "%XX" at the front of `b` stands for; -1 when there is none. */
static int percent(struct np_bytes b)
{
    if (b.n < 3 || b.p[0] != '%') return -1;
    int high = hex_digit(b.p[1]), low = hex_digit(b.p[2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A quoted value without its escapes: quoted pairs, and what browsers write for quotes and line
 * ends. Room for it was made. */
static struct np_bytes decode_plain(struct np_buf *text, const struct np_param *p)
{
    struct np_bytes in = p->value;
    char *begin = text->data + text->tail;
    char *at = begin;
    while (in.n) {
        int code = percent(in);
        size_t used = 1;
        char c = in.p[0];
        if (p->quoted && c == '\\' && in.n > 1 && (in.p[1] == '"' || in.p[1] == '\\')) {
            c = in.p[1];
            used = 2;
        } else if (code == '"' || code == '\r' || code == '\n') {
            c = (char)code;
            used = 3;
        }
        *at++ = c;
        in = skip(in, used);
    }
    np_buf_added(text, (size_t)(at - begin));
    return (struct np_bytes){begin, (size_t)(at - begin)};
}

static size_t utf8_length(unsigned char lead)
{
    if (lead < 0x80) return 1;
    if (lead < 0xc2) return 0;
    return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
}

static bool is_utf8(struct np_bytes b)
{
    static const unsigned long least[] = {0, 0, 0x80, 0x800, 0x10000};
    while (b.n) {
        size_t len = utf8_length((unsigned char)b.p[0]);
        if (len == 0 || len > b.n) return false;
        unsigned long cp = (unsigned char)b.p[0] & (len == 1 ? 0x7f : 0xff >> (len + 1));
        for (size_t i = 1; i < len; i++) {
            if (((unsigned char)b.p[i] & 0xc0) != 0x80) return false;
            cp = cp << 6 | ((unsigned char)b.p[i] & 0x3f);
        }
        if (cp < least[len] || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)) return false;
        b = skip(b, len);
    }
    return true;
}

/* charset'language'percent-encoded, of UTF-8 or ISO-8859-1 (RFC 8187). False for what is none. */
static bool decode_extended(struct np_buf *text, struct np_bytes in, struct np_bytes *out)
{
    const char *first = memchr(in.p, '\'', in.n);
    if (!first) return false;
    struct np_bytes charset = {in.p, (size_t)(first - in.p)};
    in = skip(in, charset.n + 1);
    const char *second = in.n ? memchr(in.p, '\'', in.n) : NULL;
    bool utf8 = np_bytes_is(charset, "utf-8");
    if (!second || (!utf8 && !np_bytes_is(charset, "iso-8859-1"))) return false;
    in = skip(in, (size_t)(second - in.p) + 1);
    char *begin = text->data + text->tail;
    char *at = begin;
    while (in.n) {
        int code = percent(in);
        if (in.p[0] == '%' && code < 0) return false;
        if (in.p[0] == '\'' || in.p[0] == '*') return false; /* no attr-char */
        int byte = code < 0 ? in.p[0] : code;
        if (byte < 0x20 || byte == 0x7f) return false;
        if (byte >= 0x80 && !utf8) {
            *at++ = (char)(0xc0 | byte >> 6);
            byte = 0x80 | (byte & 0x3f);
        }
        *at++ = (char)byte;
        in = skip(in, code < 0 ? 1 : 3);
    }
    *out = (struct np_bytes){begin, (size_t)(at - begin)};
    np_buf_added(text, out->n);
    return !utf8 || is_utf8(*out);
}

/* What is left of a file's name when nobody has to be afraid of it. */
static struct np_bytes base_name(struct np_buf *text, struct np_bytes raw)
{
    size_t from = raw.n;
    while (from > 0 && raw.p[from - 1] != '/' && raw.p[from - 1] != '\\')
        from--;
    struct np_bytes name = skip(raw, from);
    bool dots = (name.n == 1 && name.p[0] == '.') || (name.n == 2 && memcmp(name.p, "..", 2) == 0);
    if (dots) name.n = 0;
    char *begin = text->data + text->tail;
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        begin[i] = c < 0x20 || c == 0x7f ? '_' : name.p[i];
    }
    np_buf_added(text, name.n);
    return (struct np_bytes){begin, name.n};
}

/* --- Content-Disposition */

struct disposition {
    struct np_param name, filename, extended; /* name.p NULL: absent */
};

static enum neap_err keep_param(struct np_param *slot, const struct np_param *p,
                                struct neap_errinfo *info)
{
    if (slot->name.p)
        return np_err_set(info, NEAP_EPROTO, "a part's disposition has two parameters '%.*s'",
                          (int)(p->name.n > 20 ? 20 : p->name.n), p->name.p);
    *slot = *p;
    return NEAP_OK;
}

static enum neap_err read_params(struct np_bytes value, struct disposition *d,
                                 struct neap_errinfo *info)
{
    struct np_bytes params;
    struct np_bytes type = np_param_main(value, &params);
    struct np_param p;
    enum neap_err err;
    if (!np_bytes_is(type, "form-data"))
        return np_err_set(info, NEAP_EPROTO, "a part's disposition is not form-data");
    while ((err = np_param_next(&params, &p)) == NEAP_OK) {
        if (np_bytes_is(p.name, "name"))
            err = keep_param(&d->name, &p, info);
        else if (np_bytes_is(p.name, "filename"))
            err = keep_param(&d->filename, &p, info);
        else if (np_bytes_is(p.name, "filename*"))
            err = keep_param(&d->extended, &p, info);
        if (err) return err;
    }
    if (err != NEAP_EOF) return np_err_set(info, NEAP_EPROTO, "a part's disposition is malformed");
    if (!d->name.name.p) return np_err_set(info, NEAP_EPROTO, "a part has no name");
    return NEAP_OK;
}

static enum neap_err read_disposition(struct np_multipart *m, struct np_bytes value,
                                      struct neap_errinfo *info)
{
    struct np_multipart_part *part = &m->part;
    struct disposition d;
    memset(&d, 0, sizeof d);
    enum neap_err err = read_params(value, &d, info);
    if (err) return err;
    if (np_buf_reserve(&m->text, value.n * 2, NULL)) return np_err_plain(info, NEAP_ENOMEM);
    part->name = decode_plain(&m->text, &d.name);
    if (d.extended.name.p) {
        bool ok = !d.extended.quoted && d.extended.value.n > 0 &&
                  decode_extended(&m->text, d.extended.value, &part->raw_filename);
        if (!ok) return np_err_set(info, NEAP_EPROTO, "a part's filename* is malformed");
    } else if (d.filename.name.p) {
        part->raw_filename = decode_plain(&m->text, &d.filename);
    }
    if (part->raw_filename.p) part->filename = base_name(&m->text, part->raw_filename);
    return NEAP_OK;
}

/* --- lines */

static struct np_bytes find_header(const struct np_multipart_part *part, const char *name)
{
    for (size_t i = 0; i < part->nheaders; i++) {
        if (np_bytes_is(part->headers[i].name, name)) return part->headers[i].value;
    }
    return (struct np_bytes){NULL, 0};
}

static enum neap_err bad_header(const struct np_multipart *m, struct neap_errinfo *info)
{
    return np_err_set(info, NEAP_EPROTO, "a malformed header in part %zu", m->parts);
}

/* A line without its CRLF. */
static enum neap_err read_line(struct np_multipart *m, char *line, size_t n,
                               struct neap_errinfo *info)
{
    struct np_multipart_part *part = &m->part;
    size_t colon = 0;
    for (; colon < n && is_token_char(line[colon]); colon++)
        line[colon] = lower(line[colon]);
    if (colon == 0 || colon == n || line[colon] != ':') return bad_header(m, info);
    struct np_bytes name = {line, colon};
    struct np_bytes value = trim((struct np_bytes){line + colon + 1, n - colon - 1});
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) return bad_header(m, info);
    }
    if (part->nheaders == NP_MULTIPART_HEADERS_MAX)
        return np_err_set(info, NEAP_ELIMIT, "part %zu has more than %d headers", m->parts,
                          NP_MULTIPART_HEADERS_MAX);
    for (size_t i = 0; i < part->nheaders; i++) {
        struct np_bytes other = part->headers[i].name;
        if (other.n == name.n && memcmp(other.p, name.p, name.n) == 0)
            return np_err_set(info, NEAP_EPROTO, "part %zu has a header twice", m->parts);
    }
    part->headers[part->nheaders++] = (struct np_multipart_header){name, value};
    return NEAP_OK;
}

static bool is_identity(struct np_bytes encoding)
{
    return np_bytes_is(encoding, "binary") || np_bytes_is(encoding, "8bit") ||
           np_bytes_is(encoding, "7bit");
}

enum neap_err np_multipart_read_head(struct np_multipart *m, struct neap_errinfo *info)
{
    char *at = m->head.data + m->head.head;
    char *end = m->head.data + m->head.tail - 2; /* the empty line */
    memset(&m->part, 0, sizeof m->part);
    while (at < end) {
        char *lf = memchr(at, '\n', (size_t)(end - at));
        enum neap_err err = read_line(m, at, (size_t)(lf - at) - 1, info);
        if (err) return err;
        at = lf + 1;
    }
    struct np_bytes disposition = find_header(&m->part, "content-disposition");
    if (!disposition.p)
        return np_err_set(info, NEAP_EPROTO, "part %zu has no Content-Disposition", m->parts);
    struct np_bytes encoding = find_header(&m->part, "content-transfer-encoding");
    if (encoding.p && !is_identity(encoding))
        return np_err_set(info, NEAP_EPROTO, "part %zu has a transfer encoding", m->parts);
    m->part.content_type = find_header(&m->part, "content-type");
    return read_disposition(m, disposition, info);
}
