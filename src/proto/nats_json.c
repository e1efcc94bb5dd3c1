/* A small checking JSON reader for one object, driven by a table of the fields wanted, and the
 * writers that go by the same table. */
#include "proto/nats_json.h"

#include <string.h>

enum { MAX_DEPTH = 16 };

enum field_type { FIELD_BOOL, FIELD_NUMBER, FIELD_STRING };
struct field {
    const char *name;
    enum field_type type;
    size_t offset;
};

#define FIELD(type, owner, member)                    \
    {                                                 \
#member, type, offsetof(struct owner, member) \
    }

static const struct field connect_fields[] = {
    FIELD(FIELD_BOOL, np_nats_connect, verbose),
    FIELD(FIELD_BOOL, np_nats_connect, pedantic),
    FIELD(FIELD_BOOL, np_nats_connect, echo),
    FIELD(FIELD_BOOL, np_nats_connect, headers),
    FIELD(FIELD_BOOL, np_nats_connect, no_responders),
    FIELD(FIELD_BOOL, np_nats_connect, tls_required),
    FIELD(FIELD_NUMBER, np_nats_connect, protocol),
    FIELD(FIELD_STRING, np_nats_connect, name),
    FIELD(FIELD_STRING, np_nats_connect, lang),
    FIELD(FIELD_STRING, np_nats_connect, version),
    FIELD(FIELD_STRING, np_nats_connect, neap_id),
};

static const struct field info_fields[] = {
    FIELD(FIELD_STRING, np_nats_info, server_id),   FIELD(FIELD_STRING, np_nats_info, server_name),
    FIELD(FIELD_STRING, np_nats_info, version),     FIELD(FIELD_STRING, np_nats_info, host),
    FIELD(FIELD_NUMBER, np_nats_info, port),        FIELD(FIELD_NUMBER, np_nats_info, max_payload),
    FIELD(FIELD_NUMBER, np_nats_info, proto),       FIELD(FIELD_NUMBER, np_nats_info, client_id),
    FIELD(FIELD_STRING, np_nats_info, client_ip),   FIELD(FIELD_BOOL, np_nats_info, headers),
    FIELD(FIELD_BOOL, np_nats_info, auth_required), FIELD(FIELD_BOOL, np_nats_info, tls_required),
    FIELD(FIELD_BOOL, np_nats_info, ldm),           FIELD(FIELD_STRING, np_nats_info, neap_path),
};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

struct reader {
    const char *at;
    const char *end;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_blanks(struct reader *r)
{
    while (r->at < r->end && is_blank(*r->at))
        r->at++;
}

/* Takes `c` and the blanks after it. */
static bool take(struct reader *r, char c)
{
    if (r->at >= r->end || *r->at != c) return false;
    r->at++;
    skip_blanks(r);
    return true;
}

static bool is_digit(const struct reader *r)
{
    return r->at < r->end && *r->at >= '0' && *r->at <= '9';
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool read_escape(struct reader *r)
{
    if (r->at >= r->end) return false;
    char c = *r->at++;
    if (c != 'u') return c != '\0' && strchr("\"\\/bfnrt", c) != NULL;
    if (r->end - r->at < 4) return false;
    for (int i = 0; i < 4; i++) {
        if (!is_hex(*r->at++)) return false;
    }
    return true;
}

static bool read_string(struct reader *r, struct np_bytes *out)
{
    if (r->at >= r->end || *r->at != '"') return false;
    const char *start = ++r->at;
    while (r->at < r->end && *r->at != '"') {
        char c = *r->at++;
        if ((unsigned char)c < ' ') return false;
        if (c == '\\' && !read_escape(r)) return false;
    }
    if (r->at >= r->end) return false;
    *out = (struct np_bytes){start, (size_t)(r->at - start)};
    return take(r, '"');
}

static bool read_word(struct reader *r, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0) return false;
    r->at += n;
    skip_blanks(r);
    return true;
}

static bool skip_digits(struct reader *r)
{
    if (!is_digit(r)) return false;
    while (is_digit(r))
        r->at++;
    return true;
}

/* Any JSON number; `*whole` gets it when it is one without sign, fraction or exponent that fits. */
static bool read_number(struct reader *r, uint64_t *whole, bool *is_whole)
{
    const char *start = r->at;
    bool plain = r->at < r->end && *r->at != '-';
    if (!plain && r->at < r->end) r->at++;
    const char *digits = r->at;
    if (!skip_digits(r) || (*digits == '0' && r->at - digits > 1)) return false;
    const char *digits_end = r->at;
    if (r->at < r->end && *r->at == '.') {
        r->at++;
        if (!skip_digits(r)) return false;
    }
    if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
        r->at++;
        if (r->at < r->end && (*r->at == '+' || *r->at == '-')) r->at++;
        if (!skip_digits(r)) return false;
    }
    plain = plain && r->at == digits_end && digits_end - start <= 18;
    uint64_t v = 0;
    for (const char *d = start; plain && d < digits_end; d++)
        v = v * 10 + (uint64_t)(*d - '0');
    *whole = v;
    *is_whole = plain;
    skip_blanks(r);
    return true;
}

static bool skip_value(struct reader *r, int depth);

static bool skip_members(struct reader *r, char open, char close, int depth)
{
    if (!take(r, open) || depth >= MAX_DEPTH) return false;
    if (take(r, close)) return true;
    do {
        struct np_bytes name;
        if (open == '{' && !(read_string(r, &name) && take(r, ':'))) return false;
        if (!skip_value(r, depth + 1)) return false;
    } while (take(r, ','));
    return take(r, close);
}

static bool skip_value(struct reader *r, int depth)
{
    struct np_bytes s;
    uint64_t n;
    bool whole;
    if (r->at >= r->end) return false;
    switch (*r->at) {
    case '"':
        return read_string(r, &s);
    case '{':
        return skip_members(r, '{', '}', depth);
    case '[':
        return skip_members(r, '[', ']', depth);
    case 't':
        return read_word(r, "true");
    case 'f':
        return read_word(r, "false");
    case 'n':
        return read_word(r, "null");
    default:
        return read_number(r, &n, &whole);
    }
}

static bool read_field(struct reader *r, const struct field *f, void *out)
{
    char *at = (char *)out + f->offset;
    uint64_t n = 0;
    bool whole = false;
    if (read_word(r, "null")) return true;
    switch (f->type) {
    case FIELD_BOOL:
        if (read_word(r, "true")) {
            *(bool *)at = true;
            return true;
        }
        *(bool *)at = false;
        return read_word(r, "false");
    case FIELD_NUMBER:
        if (!read_number(r, &n, &whole) || !whole) return false;
        *(uint64_t *)at = n;
        return true;
    case FIELD_STRING:
        break;
    }
    return read_string(r, (struct np_bytes *)at);
}

static const struct field *find_field(const struct field *fields, size_t n, struct np_bytes name)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(fields[i].name) == name.n && memcmp(fields[i].name, name.p, name.n) == 0)
            return &fields[i];
    }
    return NULL;
}

static bool read_object(struct np_bytes json, const struct field *fields, size_t n, void *out)
{
    struct reader r = {json.p, json.p + json.n};
    skip_blanks(&r);
    if (!take(&r, '{')) return false;
    if (take(&r, '}')) return r.at == r.end;
    do {
        struct np_bytes name;
        if (!read_string(&r, &name) || !take(&r, ':')) return false;
        const struct field *f = find_field(fields, n, name);
        if (!(f ? read_field(&r, f, out) : skip_value(&r, 1))) return false;
    } while (take(&r, ','));
    return take(&r, '}') && r.at == r.end;
}

bool np_nats_read_connect(struct np_bytes json, struct np_nats_connect *out)
{
    static const struct np_nats_connect absent = NP_NATS_CONNECT_INIT;
    *out = absent;
    return read_object(json, connect_fields, COUNT(connect_fields), out);
}

bool np_nats_read_info(struct np_bytes json, struct np_nats_info *out)
{
    memset(out, 0, sizeof *out);
    return read_object(json, info_fields, COUNT(info_fields), out);
}

static enum neap_err write_string(struct np_buf *b, struct np_bytes s)
{
    enum neap_err err = np_buf_append(b, "\"", 1);
    for (size_t i = 0; i < s.n && !err; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\') {
            char esc[2] = {'\\', (char)c};
            err = np_buf_append(b, esc, 2);
        } else if (c < ' ') {
            err = np_buf_printf(b, "\\u%04x", c);
        } else {
            err = np_buf_append(b, &s.p[i], 1);
        }
    }
    return err ? err : np_buf_append(b, "\"", 1);
}

static enum neap_err write_field(struct np_buf *b, const struct field *f, const char *at)
{
    switch (f->type) {
    case FIELD_BOOL:
        return np_buf_append_str(b, *(const bool *)at ? "true" : "false");
    case FIELD_NUMBER:
        return np_buf_append_u64(b, *(const uint64_t *)at);
    case FIELD_STRING:
        break;
    }
    return write_string(b, *(const struct np_bytes *)at);
}

/* A string that is empty is left out. */
static enum neap_err write_object(struct np_buf *b, const char *verb, const struct field *fields,
                                  size_t n, const void *from)
{
    size_t before = np_buf_len(b);
    enum neap_err err = np_buf_append_str(b, verb);
    const char *sep = " {\"";
    for (size_t i = 0; i < n && !err; i++) {
        const char *at = (const char *)from + fields[i].offset;
        if (fields[i].type == FIELD_STRING && ((const struct np_bytes *)at)->n == 0) continue;
        err = np_buf_append_str(b, sep);
        if (!err) err = np_buf_append_str(b, fields[i].name);
        if (!err) err = np_buf_append_str(b, "\":");
        if (!err) err = write_field(b, &fields[i], at);
        sep = ",\"";
    }
    if (!err) err = np_buf_append_str(b, "}\r\n");
    if (err) b->tail = b->head + before;
    return err;
}

enum neap_err np_nats_write_connect(struct np_buf *b, const struct np_nats_connect *c)
{
    return write_object(b, "CONNECT", connect_fields, COUNT(connect_fields), c);
}

enum neap_err np_nats_write_info(struct np_buf *b, const struct np_nats_info *i)
{
    return write_object(b, "INFO", info_fields, COUNT(info_fields), i);
}
