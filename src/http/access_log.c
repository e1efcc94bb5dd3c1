/* Access logs: lines into blocks, blocks to their files; see access_log.h. One thread, the loop's.
 */
#include "http/access_log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "http/access_log_impl.h"

#define FLUSH_AFTER NP_NS_PER_SEC
#define LINE_MAX_BYTES ((size_t)1 << 20) /* of one line; a longer one is dropped */
enum { BUFFER = 64 * 1024, MIN_BUFFER = 1024 };

struct np_access_log {
    struct np_loop *loop;
    enum np_access_style style;
    struct np_access_format format;
    struct np_append *to;
    void (*on_batch)(void *arg, struct np_append_block *b);
    void (*on_end)(void *arg);
    void *arg;
    int64_t flush;
    size_t buffer;
    unsigned worker;
    struct np_append_block *block; /* being filled, or NULL */
    struct np_timer timer;         /* armed: the block has a line */
    struct np_access_clock clock;
    uint64_t lost;
    uint64_t told; /* dropped lines that the program's log has spoken of */
};

/* --- the clock */

void np_access_clock_update(struct np_access_clock *c, struct np_loop *loop)
{
    int64_t now = np_loop_now(loop);
    if (c->wall && now == c->checked) return;
    c->checked = now;
    c->wall = np_clock_wall();
    int64_t second = c->wall / NP_NS_PER_SEC;
    if (second == c->second) return;
    c->second = second;
    time_t t = (time_t)second;
    struct tm tm;
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    localtime_r(&t, &tm);
    long off = tm.tm_gmtoff / 60;
    unsigned zone = (unsigned)(off < 0 ? -off : off);
    snprintf(c->local, sizeof c->local, "%02u/%s/%04u:%02u:%02u:%02u %c%02u%02u",
             (unsigned)tm.tm_mday % 100, months[tm.tm_mon % 12],
             (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
             (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100, off < 0 ? '-' : '+',
             zone / 60 % 100, zone % 60);
    gmtime_r(&t, &tm);
    strftime(c->iso, sizeof c->iso, "%Y-%m-%dT%H:%M:%S", &tm);
}

/* --- a line */

struct cursor {
    char *at, *end;
    bool full;
};

static void put(struct cursor *c, const char *p, size_t n)
{
    if (n > (size_t)(c->end - c->at)) {
        c->full = true;
        return;
    }
    if (n <= 4) { /* most of what stands between two values */
        while (n--)
            *c->at++ = *p++;
        return;
    }
    memcpy(c->at, p, n);
    c->at += n;
}

static bool is_plain(unsigned char b)
{
    return b >= 0x20 && b < 0x7f && b != '"' && b != '\\';
}

/* Nearly all text is, so it is looked at in one go. */
static bool all_plain(struct np_bytes v)
{
    static const uint8_t odd[256] = {[0 ... 0x1f] = 1, ['"'] = 1, ['\\'] = 1, [0x7f ... 0xff] = 1};
    const unsigned char *p = (const unsigned char *)v.p;
    unsigned found = 0;
    size_t i = 0;
    for (; i + 4 <= v.n; i += 4)
        found |= (unsigned)odd[p[i]] | odd[p[i + 1]] | odd[p[i + 2]] | odd[p[i + 3]];
    for (; i < v.n; i++)
        found |= odd[p[i]];
    return !found;
}

static void put_hex(struct cursor *c, struct np_bytes v)
{
    static const char hex[] = "0123456789ABCDEF";
    if (all_plain(v)) {
        put(c, v.p, v.n);
        return;
    }
    if (v.n > (size_t)(c->end - c->at) / 4) {
        c->full = true;
        return;
    }
    char *at = c->at;
    for (size_t i = 0; i < v.n; i++) {
        unsigned char b = (unsigned char)v.p[i];
        if (is_plain(b)) {
            *at++ = (char)b;
        } else {
            *at++ = '\\';
            *at++ = 'x';
            *at++ = hex[b >> 4];
            *at++ = hex[b & 15];
        }
    }
    c->at = at;
}

/* How many bytes the UTF-8 character at `p` has; 0: it is none. */
static size_t utf8(const unsigned char *p, size_t n)
{
    size_t k = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n < k) return 0;
    for (size_t i = 1; i < k; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    bool odd = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
               (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
    return odd ? 0 : k;
}

/* Bytes that are no UTF-8 stand as the characters of their number. */
static void put_json(struct cursor *c, struct np_bytes v)
{
    static const char hex[] = "0123456789abcdef";
    if (all_plain(v)) {
        put(c, v.p, v.n);
        return;
    }
    if (v.n > (size_t)(c->end - c->at) / 6) {
        c->full = true;
        return;
    }
    char *at = c->at;
    for (size_t i = 0; i < v.n; i++) {
        unsigned char b = (unsigned char)v.p[i];
        size_t k = b >= 0x80 ? utf8((const unsigned char *)v.p + i, v.n - i) : 0;
        if (is_plain(b)) {
            *at++ = (char)b;
        } else if (k) {
            memcpy(at, v.p + i, k);
            at += k;
            i += k - 1;
        } else if (b == '"' || b == '\\') {
            *at++ = '\\';
            *at++ = (char)b;
        } else {
            *at++ = '\\';
            *at++ = 'u';
            *at++ = '0';
            *at++ = '0';
            *at++ = hex[b >> 4];
            *at++ = hex[b & 15];
        }
    }
    c->at = at;
}

static void put_text(struct cursor *c, const struct np_access_value *v,
                     void (*escape)(struct cursor *c, struct np_bytes v))
{
    if (v->kind == NP_ACCESS_NONE) put(c, "-", 1);
    for (size_t i = 0; i < v->nparts; i++) {
        if (v->plain)
            put(c, v->part[i].p, v->part[i].n);
        else
            escape(c, v->part[i]);
    }
}

static void put_value_json(struct cursor *c, const struct np_access_value *v)
{
    if (v->kind == NP_ACCESS_NONE) {
        put(c, "null", 4);
    } else if (v->kind == NP_ACCESS_BOOL) {
        put(c, v->truth ? "true" : "false", v->truth ? 4 : 5);
    } else if (v->kind == NP_ACCESS_NUMBER) {
        put(c, v->part[0].p, v->part[0].n);
    } else {
        put(c, "\"", 1);
        put_text(c, v, put_json);
        put(c, "\"", 1);
    }
}

static void put_raw(struct cursor *c, struct np_bytes v)
{
    put(c, v.p, v.n);
}

/* A field of a record: its kind, the length of its text, the text and a NUL. */
struct field {
    uint32_t kind, len;
};

static void end_field(struct cursor *c, char *head, enum np_access_kind kind)
{
    if (c->full) return;
    struct field f = {(uint32_t)kind, (uint32_t)(c->at - head - (ptrdiff_t)sizeof f)};
    memcpy(head, &f, sizeof f);
    put(c, "", 1);
}

static char *begin_field(struct cursor *c)
{
    struct field f = {0, 0};
    char *head = c->at;
    put(c, (const char *)&f, sizeof f);
    return head;
}

static void put_record(struct cursor *c, const struct np_access_value *v)
{
    char *head = begin_field(c);
    for (size_t i = 0; i < v->nparts; i++)
        put_raw(c, v->part[i]);
    end_field(c, head, v->kind);
}

static void put_line(struct np_access_log *log, struct cursor *c, struct np_access_line *line)
{
    struct np_access_value v;
    char *head = NULL;
    for (size_t i = 0; i < log->format.nsteps && !c->full; i++) {
        const struct np_access_step *s = &log->format.steps[i];
        if (s->kind == NP_STEP_LITERAL) {
            put(c, s->text.p, s->text.n);
            continue;
        }
        if (s->kind < NP_STEP_RECORD_BEGIN) np_access_value(line, s, &v);
        switch (s->kind) {
        case NP_STEP_TEXT:
            put_text(c, &v, put_hex);
            break;
        case NP_STEP_JSON_TEXT:
            put_text(c, &v, put_json);
            break;
        case NP_STEP_JSON_VALUE:
            put_value_json(c, &v);
            break;
        case NP_STEP_RECORD:
            put_record(c, &v);
            break;
        case NP_STEP_RECORD_TEXT:
            put_text(c, &v, put_raw);
            break;
        case NP_STEP_RECORD_BEGIN:
            head = begin_field(c);
            break;
        default:
            end_field(c, head, NP_ACCESS_STRING);
            break;
        }
    }
}

/* --- blocks */

static struct np_append_block *new_block(struct np_access_log *log, size_t size)
{
    if (log->to) return np_append_block(log->to, size);
    struct np_append_block *b = np_alloc(sizeof *b + size);
    if (b) *b = (struct np_append_block){.cap = size};
    return b;
}

static void hand_over(struct np_access_log *log)
{
    struct np_append_block *b = log->block;
    log->block = NULL;
    if (!b) return;
    if (log->to)
        np_append_put(log->to, b);
    else
        log->on_batch(log->arg, b);
}

static void tell_trouble(struct np_access_log *log)
{
    struct neap_errinfo info;
    uint64_t dropped = log->lost + (log->to ? np_append_dropped(log->to) : 0);
    if (log->to && np_append_trouble(log->to, &info))
        np_logf(log->loop->log, NP_LOG_ERROR, "access log: %s", info.message);
    if (dropped > log->told)
        np_logf(log->loop->log, NP_LOG_WARN, "access log: %llu lines were dropped",
                (unsigned long long)(dropped - log->told));
    log->told = dropped;
}

void np_access_log_flush(struct np_access_log *log)
{
    np_timer_stop(&log->timer);
    hand_over(log);
}

static void on_timer(struct np_timer *t)
{
    struct np_access_log *log = np_container_of(t, struct np_access_log, timer);
    hand_over(log);
    tell_trouble(log);
}

static bool add_line(struct np_access_log *log, struct np_access_line *line)
{
    struct np_append_block *b = log->block;
    struct cursor c = {b->data + b->len, b->data + b->cap, false};
    put_line(log, &c, line);
    if (c.full) return false;
    b->len = (size_t)(c.at - b->data);
    b->lines++;
    return true;
}

void np_access_log_add(struct np_access_log *log, const struct np_access_entry *e)
{
    struct np_access_line line = {.e = e, .clock = &log->clock, .worker = log->worker};
    np_access_clock_update(&log->clock, log->loop);
    if (log->block && add_line(log, &line)) return;
    /* A new block; a larger one for a line that is longer than a block. */
    hand_over(log);
    for (size_t size = log->buffer; size <= LINE_MAX_BYTES; size *= 8) {
        log->block = new_block(log, size);
        if (!log->block) break;
        if (add_line(log, &line)) {
            if (!np_timer_armed(&log->timer) && np_timer_start(&log->timer, log->flush))
                hand_over(log);
            return;
        }
        np_free(log->block);
        log->block = NULL;
    }
    log->lost++;
}

size_t np_access_log_sent(const struct np_access_log *log, const struct np_bytes **names)
{
    *names = log->format.sent;
    return log->format.nsent;
}

bool np_access_log_wants_time(const struct np_access_log *log)
{
    return log->format.times;
}

uint64_t np_access_log_lost(const struct np_access_log *log)
{
    return log->lost;
}

size_t np_access_log_fields(const struct np_access_log *log)
{
    return log->format.nnames;
}

const char *np_access_log_field(const struct np_access_log *log, size_t i)
{
    return log->format.names[i];
}

bool np_access_read(const struct np_append_block *b, size_t *at, enum np_access_kind *kind,
                    struct np_bytes *text)
{
    struct field f;
    if (b->len - *at < sizeof f) return false;
    memcpy(&f, b->data + *at, sizeof f);
    *kind = (enum np_access_kind)f.kind;
    *text = (struct np_bytes){b->data + *at + sizeof f, f.len};
    *at += sizeof f + f.len + 1;
    return true;
}

/* --- life */

enum neap_err np_access_log_new(struct np_loop *loop, const struct np_access_log_options *opts,
                                struct np_access_log **out, struct neap_errinfo *info)
{
    struct np_access_log *log = np_calloc(1, sizeof *log);
    if (!log) return np_err_plain(info, NEAP_ENOMEM);
    enum neap_err err = np_access_compile(opts, &log->format, info);
    if (err) {
        np_free(log);
        return err;
    }
    log->loop = loop;
    log->style = opts->style;
    log->to = opts->style == NP_ACCESS_RECORD ? NULL : opts->to;
    log->on_batch = opts->on_batch;
    log->on_end = opts->on_end;
    log->arg = opts->arg;
    log->flush = opts->flush > 0 ? opts->flush : FLUSH_AFTER;
    log->buffer = opts->buffer == 0           ? BUFFER
                  : opts->buffer < MIN_BUFFER ? MIN_BUFFER
                                              : opts->buffer;
    log->worker = opts->worker;
    np_timer_init(&log->timer, loop, on_timer);
    np_timer_set_background(&log->timer, true);
    *out = log;
    return NEAP_OK;
}

void np_access_log_free(struct np_access_log *log)
{
    if (!log) return;
    np_access_log_flush(log);
    tell_trouble(log);
    if (log->to)
        np_append_close(log->to);
    else if (log->on_end)
        log->on_end(log->arg);
    np_access_format_fini(&log->format);
    np_free(log);
}
