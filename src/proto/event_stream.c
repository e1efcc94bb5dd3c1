/* Server-sent events, parsed. See event_stream.h. */
#include "proto/event_stream.h"

#include <string.h>

static const char mark[] = "\xef\xbb\xbf";
enum { MARK = 3 };

void np_event_stream_init(struct np_event_stream *s, size_t max)
{
    memset(s, 0, sizeof *s);
    s->max = max;
    s->retry = -1;
}

void np_event_stream_fini(struct np_event_stream *s)
{
    np_buf_fini(&s->line);
    np_buf_fini(&s->data);
    np_buf_fini(&s->type);
    np_buf_fini(&s->next_id);
    np_buf_fini(&s->id);
}

static void clear_event(struct np_event_stream *s)
{
    np_buf_clear(&s->data);
    np_buf_clear(&s->type);
    s->given = false;
}

void np_event_stream_restart(struct np_event_stream *s)
{
    clear_event(s);
    np_buf_clear(&s->line);
    s->bom = 0;
    s->after_cr = s->skip_comment = s->id_set = false;
}

static enum neap_err append(struct np_event_stream *s, struct np_buf *b, const char *p, size_t n)
{
    if (n > s->max || np_buf_len(b) > s->max - n) return NEAP_ELIMIT;
    return np_buf_append(b, p, n);
}

static enum neap_err set(struct np_event_stream *s, struct np_buf *b, struct np_bytes v)
{
    np_buf_clear(b);
    return append(s, b, v.p, v.n);
}

static bool is(struct np_bytes b, const char *name)
{
    return b.n == strlen(name) && memcmp(b.p, name, b.n) == 0;
}

static void set_retry(struct np_event_stream *s, struct np_bytes v)
{
    int64_t ms = 0;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9') return;
        ms = ms * 10 + (v.p[i] - '0');
        if (ms > NP_EVENT_RETRY_MAX) ms = NP_EVENT_RETRY_MAX;
    }
    if (v.n) s->retry = ms;
}

static enum neap_err take_field(struct np_event_stream *s, struct np_bytes line)
{
    const char *colon = memchr(line.p, ':', line.n);
    size_t n = colon ? (size_t)(colon - line.p) : line.n;
    struct np_bytes name = {line.p, n};
    struct np_bytes value = {line.p + line.n, 0};
    if (colon) value = (struct np_bytes){colon + 1, line.n - n - 1};
    if (value.n && value.p[0] == ' ') value = (struct np_bytes){value.p + 1, value.n - 1};
    if (is(name, "data")) {
        enum neap_err err = append(s, &s->data, value.p, value.n);
        return err ? err : np_buf_append(&s->data, "\n", 1);
    }
    if (is(name, "event")) return set(s, &s->type, value);
    if (is(name, "id") && (value.n == 0 || !memchr(value.p, '\0', value.n))) {
        s->id_set = true;
        return set(s, &s->next_id, value);
    }
    if (is(name, "retry")) set_retry(s, value);
    return NEAP_OK;
}

static struct np_bytes all_of(const struct np_buf *b)
{
    return (struct np_bytes){np_buf_data(b), np_buf_len(b)};
}

static void take_id(struct np_event_stream *s)
{
    struct np_buf old = s->id;
    if (!s->id_set) return;
    s->id = s->next_id;
    s->next_id = old;
    s->id_set = false;
}

/* The line in `line` has ended. */
static enum neap_err end_line(struct np_event_stream *s, bool *got, struct np_event *event)
{
    struct np_bytes line = all_of(&s->line);
    bool comment = s->skip_comment;
    enum neap_err err = NEAP_OK;
    s->skip_comment = false;
    if (comment) return NEAP_OK;
    if (line.n) {
        err = take_field(s, line);
        np_buf_clear(&s->line);
        return err;
    }
    take_id(s);
    if (np_buf_len(&s->data) == 0) {
        clear_event(s);
        return NEAP_OK;
    }
    *event = (struct np_event){all_of(&s->type), all_of(&s->data), all_of(&s->id)};
    event->data.n--; /* the last line's end */
    s->given = *got = true;
    return NEAP_OK;
}

/* What only began like a mark is text. */
static enum neap_err past_mark(struct np_event_stream *s, const char *p, size_t n, size_t *at)
{
    while (s->bom < MARK && *at < n) {
        if (p[*at] == mark[s->bom]) {
            s->bom++;
            (*at)++;
            continue;
        }
        unsigned seen = s->bom;
        s->bom = MARK;
        return seen ? append(s, &s->line, mark, seen) : NEAP_OK;
    }
    return NEAP_OK;
}

static size_t to_line_end(const char *p, size_t n)
{
    const char *lf = memchr(p, '\n', n);
    if (lf) n = (size_t)(lf - p);
    const char *cr = n ? memchr(p, '\r', n) : NULL;
    return cr ? (size_t)(cr - p) : n;
}

enum neap_err np_event_stream_next(struct np_event_stream *s, const char *p, size_t n, size_t *used,
                                   bool *got, struct np_event *event)
{
    size_t at = 0;
    *got = false;
    if (s->given) clear_event(s);
    enum neap_err err = past_mark(s, p, n, &at);
    while (!err && !*got && at < n) {
        if (s->after_cr && p[at] == '\n') {
            s->after_cr = false;
            at++;
            continue;
        }
        s->after_cr = false;
        size_t len = to_line_end(p + at, n - at);
        if (np_buf_len(&s->line) == 0 && len && p[at] == ':') s->skip_comment = true;
        if (!s->skip_comment && len) err = append(s, &s->line, p + at, len);
        at += len;
        if (err || at == n) continue;
        s->after_cr = p[at] == '\r';
        at++;
        err = end_line(s, got, event);
    }
    *used = at;
    return err;
}
