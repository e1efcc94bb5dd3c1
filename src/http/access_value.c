/* What the variables of access logs are worth, for one request. One thread, the loop's. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "http/access_log_impl.h"
#include "http/server_impl.h"

static void set(struct np_access_value *v, const char *p, size_t n)
{
    if (!p) return;
    v->kind = NP_ACCESS_STRING;
    v->part[0] = (struct np_bytes){p, n};
    v->nparts = 1;
}

static void set_bytes(struct np_access_value *v, struct np_bytes b)
{
    set(v, b.n ? b.p : NULL, b.n);
}

static void set_text(struct np_access_value *v, const char *text)
{
    set(v, *text ? text : NULL, strlen(text));
}

static size_t digits(char *end, uint64_t n, size_t least)
{
    size_t k = 0;
    do {
        *--end = (char)('0' + n % 10);
        n /= 10;
        k++;
    } while (n || k < least);
    return k;
}

/* `n` with `decimals` of its digits behind a point. */
static void set_number(struct np_access_value *v, uint64_t n, size_t decimals)
{
    char *end = v->scratch + sizeof v->scratch;
    uint64_t unit = 1;
    for (size_t i = 0; i < decimals; i++)
        unit *= 10;
    size_t k = 0;
    if (decimals) {
        k = digits(end, n % unit, decimals) + 1;
        end[-(ptrdiff_t)k] = '.';
    }
    k += digits(end - k, n / unit, 1);
    set(v, end - k, k);
    v->kind = NP_ACCESS_NUMBER;
    v->plain = true;
}

/* --- peers */

/* "10.0.0.1:80" and "[::1]:80" in two; another name is all address. */
static void split_peer(const char *peer, struct np_bytes *ip, struct np_bytes *port)
{
    const char *colon = strrchr(peer, ':');
    *port = (struct np_bytes){NULL, 0};
    *ip = (struct np_bytes){peer, strlen(peer)};
    if (!colon || strncmp(peer, "unix:", 5) == 0) return;
    *port = (struct np_bytes){colon + 1, strlen(colon + 1)};
    ip->n = (size_t)(colon - peer);
    if (ip->n >= 2 && *peer == '[') {
        ip->p++;
        ip->n -= 2;
    }
}

static const struct np_http_asker *asker(struct np_access_line *line)
{
    if (!line->asked) {
        line->asked = true;
        if (line->e->has_head) {
            np_http_exchange_asker(line->e->x, &line->asker);
        } else {
            struct np_bytes ip, port;
            memset(&line->asker, 0, sizeof line->asker);
            line->asker.scheme = "";
            split_peer(np_http_exchange_peer_name(line->e->x), &ip, &port);
            size_t n = ip.n < sizeof line->asker.client ? ip.n : sizeof line->asker.client - 1;
            memcpy(line->asker.client, ip.p, n);
        }
    }
    return &line->asker;
}

static int base64(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* The name in "Basic base64(name:password)"; the password is nobody's business. */
static void set_user(struct np_access_value *v, const struct np_http_head *h)
{
    struct np_bytes a = np_http_header_get(h, "authorization", 13);
    char *out = v->scratch;
    size_t n = 0;
    unsigned bits = 0, held = 0;
    if (a.n < 7 || !np_http_name_is((struct np_bytes){a.p, 6}, "basic ", 6)) return;
    for (size_t i = 6; i < a.n && n < sizeof v->scratch; i++) {
        int d = base64(a.p[i]);
        if (d < 0) return;
        bits = bits << 6 | (unsigned)d;
        held += 6;
        if (held < 8) continue;
        held -= 8;
        out[n] = (char)(bits >> held);
        if (out[n] == ':') {
            set(v, n ? out : NULL, n);
            return;
        }
        n++;
    }
}

/* --- variables */

static void request_value(struct np_access_value *v, const struct np_http_head *h)
{
    static const struct np_bytes blank = {" ", 1};
    v->kind = NP_ACCESS_STRING;
    v->nparts = 5;
    v->part[0] = h->method_name;
    v->part[1] = v->part[3] = blank;
    v->part[2] = h->target;
    v->part[4] = h->minor ? (struct np_bytes){"HTTP/1.1", 8} : (struct np_bytes){"HTTP/1.0", 8};
}

static void head_value(struct np_access_line *line, const struct np_access_step *step,
                       struct np_access_value *v)
{
    const struct np_http_head *h = &line->e->x->head;
    switch (step->var) {
    case NP_VAR_METHOD:
        set_bytes(v, h->method_name);
        v->plain = true; /* a token */
        break;
    case NP_VAR_PATH:
        set_bytes(v, h->path);
        break;
    case NP_VAR_QUERY:
        set_bytes(v, h->query);
        break;
    case NP_VAR_TARGET:
        set_bytes(v, h->target);
        break;
    case NP_VAR_PROTOCOL:
        set_text(v, h->minor ? "HTTP/1.1" : "HTTP/1.0");
        v->plain = true;
        break;
    case NP_VAR_REQUEST:
        request_value(v, h);
        break;
    case NP_VAR_HOST:
        if (np_http_trusts_anybody(line->e->x))
            set_bytes(v, asker(line)->host);
        else
            set_bytes(v, np_http_header_get(h, "host", 4));
        break;
    case NP_VAR_SCHEME:
        set_text(v, asker(line)->scheme);
        break;
    case NP_VAR_REMOTE_USER:
        set_user(v, h);
        break;
    case NP_VAR_REQUEST_ID:
        set_text(v, np_http_exchange_id(line->e->x));
        break;
    default: /* NP_VAR_HEADER */
        set_bytes(v, np_http_header_get(h, step->text.p, step->text.n));
        break;
    }
}

static void stream_value(const struct np_stream *s, enum np_access_var var,
                         struct np_access_value *v)
{
    struct np_tls_info tls;
    struct np_proxy_header proxy;
    if (!s) return;
    if (var == NP_VAR_PROXY_AUTHORITY || var == NP_VAR_PROXY_UNIQUE_ID) {
        if (np_proxied_header(s, &proxy))
            set_bytes(v, var == NP_VAR_PROXY_AUTHORITY ? proxy.authority : proxy.unique_id);
    } else if (np_tls_get_info(s, &tls)) {
        set_text(v, var == NP_VAR_TLS_VERSION  ? tls.version
                    : var == NP_VAR_TLS_CIPHER ? tls.cipher
                                               : tls.sni);
    }
}

static void time_value(struct np_access_line *line, enum np_access_var var,
                       struct np_access_value *v)
{
    uint64_t took = line->e->took > 0 ? (uint64_t)line->e->took : 0;
    uint64_t ms = (uint64_t)(line->clock->wall / NP_NS_PER_MS);
    switch (var) {
    case NP_VAR_DURATION:
        set_number(v, took / 1000, 6);
        break;
    case NP_VAR_DURATION_MS:
        set_number(v, took / 1000, 3);
        break;
    case NP_VAR_REQUEST_TIME:
        set_number(v, took / 1000000, 3);
        break;
    case NP_VAR_MSEC:
        set_number(v, ms, 3);
        break;
    case NP_VAR_TIME_LOCAL:
        set_text(v, line->clock->local);
        v->plain = true;
        break;
    default: { /* NP_VAR_TIME */
        char *at = v->scratch;
        size_t n = strlen(line->clock->iso);
        memcpy(at, line->clock->iso, n);
        at[n] = '.';
        digits(at + n + 4, ms % 1000, 3);
        at[n + 4] = 'Z';
        set(v, at, n + 5);
        v->plain = true;
        break;
    }
    }
}

static void connection_value(struct np_access_line *line, enum np_access_var var,
                             struct np_access_value *v)
{
    struct np_bytes ip, port;
    const char *peer = np_http_exchange_peer_name(line->e->x);
    if (var == NP_VAR_REMOTE) {
        set_text(v, peer);
        return;
    }
    split_peer(peer, &ip, &port);
    set_bytes(v, var == NP_VAR_REMOTE_ADDR ? ip : port);
    v->plain = port.n > 0; /* an address of IP */
    if (var == NP_VAR_REMOTE_PORT && v->kind) v->kind = NP_ACCESS_NUMBER;
}

void np_access_value(struct np_access_line *line, const struct np_access_step *step,
                     struct np_access_value *v)
{
    const struct np_access_entry *e = line->e;
    v->kind = NP_ACCESS_NONE;
    v->nparts = 0;
    v->plain = false;
    switch (step->var) {
    case NP_VAR_REMOTE:
    case NP_VAR_REMOTE_ADDR:
    case NP_VAR_REMOTE_PORT:
        connection_value(line, step->var, v);
        break;
    case NP_VAR_CLIENT:
        if (np_http_trusts_anybody(e->x))
            set_text(v, asker(line)->client);
        else
            connection_value(line, NP_VAR_REMOTE_ADDR, v);
        break;
    case NP_VAR_STATUS:
        set_number(v, (uint64_t)e->status, 0);
        break;
    case NP_VAR_BYTES:
        set_number(v, e->bytes, 0);
        break;
    case NP_VAR_BYTES_SENT:
        set_number(v, e->sent, 0);
        break;
    case NP_VAR_CONNECTION_REQUESTS:
        set_number(v, e->number, 0);
        break;
    case NP_VAR_SENT:
        if (e->answer) set_bytes(v, e->answer[step->index]);
        break;
    case NP_VAR_PID:
        set_number(v, (uint64_t)getpid(), 0);
        break;
    case NP_VAR_WORKER:
        set_number(v, line->worker, 0);
        break;
    case NP_VAR_ABORTED:
        set_text(v, e->aborted ? "1" : "0");
        v->kind = NP_ACCESS_BOOL;
        v->truth = e->aborted;
        break;
    case NP_VAR_TIME:
    case NP_VAR_TIME_LOCAL:
    case NP_VAR_MSEC:
    case NP_VAR_DURATION:
    case NP_VAR_DURATION_MS:
    case NP_VAR_REQUEST_TIME:
        time_value(line, step->var, v);
        break;
    case NP_VAR_TLS_VERSION:
    case NP_VAR_TLS_CIPHER:
    case NP_VAR_TLS_SERVER_NAME:
    case NP_VAR_PROXY_AUTHORITY:
    case NP_VAR_PROXY_UNIQUE_ID:
        stream_value(np_http_exchange_stream(e->x), step->var, v);
        break;
    default:
        if (e->has_head) head_value(line, step, v);
        break;
    }
}
