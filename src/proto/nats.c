/* Parsing the NATS protocol. A line is split into its arguments, then one small function for each
 * operation gives them their meaning; the payload's length, which the line ends with, says how much
 * follows it. A cut message is gathered in `cut` and parsed there once it is whole. */
#include "proto/nats.h"

#include <string.h>
#include <strings.h>

enum {
    MAX_ARGS = 5,
    KEEP_CUT = 16 * 1024, /* a larger block is given back after its message */
};

static const char unknown_op[] = "Unknown Protocol Operation";
static const char bad_args[] = "Parser Error";
static const char long_line[] = "Maximum Control Line Exceeded";

struct line {
    struct np_bytes arg[MAX_ARGS];
    size_t nargs;
    struct np_bytes rest; /* all after the operation, blanks around it taken off */
    size_t body;          /* bytes of headers and payload; what follows the line */
    size_t headers;       /* bytes of headers */
    bool has_body;
};

struct op {
    const char *name;
    enum np_nats_op op;
    unsigned sides; /* who may read it: bits by enum np_nats_side */
    bool (*args)(struct line *l, struct np_nats_msg *m);
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Decimal digits alone, no more than 18 of them. */
static bool parse_number(struct np_bytes s, uint64_t *out)
{
    if (s.n == 0 || s.n > 18) return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    }
    *out = v;
    return true;
}

static bool parse_size(struct np_bytes s, size_t *out)
{
    uint64_t v;
    if (!parse_number(s, &v) || v > SIZE_MAX / 2) return false;
    *out = (size_t)v;
    return true;
}

static bool args_none(struct line *l, struct np_nats_msg *m)
{
    return l->rest.n == 0;
}

static bool args_json(struct line *l, struct np_nats_msg *m)
{
    m->text = l->rest;
    return l->rest.n >= 2 && l->rest.p[0] == '{';
}

static bool args_err(struct line *l, struct np_nats_msg *m)
{
    struct np_bytes t = l->rest;
    if (t.n >= 2 && t.p[0] == '\'' && t.p[t.n - 1] == '\'') {
        t.p++;
        t.n -= 2;
    }
    m->text = t;
    return true;
}

static bool args_unsub(struct line *l, struct np_nats_msg *m)
{
    if (l->nargs < 1 || l->nargs > 2) return false;
    m->sid = l->arg[0];
    return l->nargs == 1 || parse_number(l->arg[1], &m->max);
}

static bool args_sub(struct line *l, struct np_nats_msg *m)
{
    if (l->nargs < 2 || l->nargs > 3) return false;
    m->subject = l->arg[0];
    if (l->nargs == 3) m->queue = l->arg[1];
    m->sid = l->arg[l->nargs - 1];
    return true;
}

/* `fixed` arguments, a reply perhaps, one or two lengths. */
static bool args_message(struct line *l, struct np_nats_msg *m, size_t fixed, size_t lengths)
{
    if (l->nargs < fixed + lengths || l->nargs > fixed + lengths + 1) return false;
    m->subject = l->arg[0];
    if (fixed == 2) m->sid = l->arg[1];
    if (l->nargs > fixed + lengths) m->reply = l->arg[fixed];
    l->has_body = true;
    if (lengths == 2 && !parse_size(l->arg[l->nargs - 2], &l->headers)) return false;
    return parse_size(l->arg[l->nargs - 1], &l->body) && l->headers <= l->body;
}

static bool args_pub(struct line *l, struct np_nats_msg *m)
{
    return args_message(l, m, 1, 1);
}

static bool args_hpub(struct line *l, struct np_nats_msg *m)
{
    return args_message(l, m, 1, 2);
}

static bool args_msg(struct line *l, struct np_nats_msg *m)
{
    return args_message(l, m, 2, 1);
}

static bool args_hmsg(struct line *l, struct np_nats_msg *m)
{
    return args_message(l, m, 2, 2);
}

enum { BY_SERVER = 1u << NP_NATS_SERVER, BY_CLIENT = 1u << NP_NATS_CLIENT };

static const struct op ops[] = {
    {"PUB", NP_NATS_PUB, BY_SERVER, args_pub},
    {"MSG", NP_NATS_MSG, BY_CLIENT, args_msg},
    {"HPUB", NP_NATS_HPUB, BY_SERVER, args_hpub},
    {"HMSG", NP_NATS_HMSG, BY_CLIENT, args_hmsg},
    {"PING", NP_NATS_PING, BY_SERVER | BY_CLIENT, args_none},
    {"PONG", NP_NATS_PONG, BY_SERVER | BY_CLIENT, args_none},
    {"SUB", NP_NATS_SUB, BY_SERVER, args_sub},
    {"UNSUB", NP_NATS_UNSUB, BY_SERVER, args_unsub},
    {"CONNECT", NP_NATS_CONNECT, BY_SERVER, args_json},
    {"INFO", NP_NATS_INFO, BY_CLIENT, args_json},
    {"+OK", NP_NATS_OK, BY_CLIENT, args_none},
    {"-ERR", NP_NATS_ERR, BY_CLIENT, args_err},
};
enum { OP_COUNT = sizeof ops / sizeof ops[0], MAX_OP_NAME = 7 };

const char *np_nats_op_name(enum np_nats_op op)
{
    for (size_t i = 0; i < OP_COUNT; i++) {
        if (ops[i].op == op) return ops[i].name;
    }
    return "?";
}

void np_nats_parser_init(struct np_nats_parser *p, enum np_nats_side side,
                         const struct np_nats_limits *limits)
{
    static const struct np_nats_limits defaults = NP_NATS_LIMITS_INIT;
    memset(p, 0, sizeof *p);
    p->side = side;
    p->limits = limits ? *limits : defaults;
    np_buf_init(&p->cut);
}

void np_nats_parser_fini(struct np_nats_parser *p)
{
    np_buf_fini(&p->cut);
}

void np_nats_feed(struct np_nats_parser *p, const char *data, size_t n)
{
    p->in = data;
    p->in_len = n;
}

static enum neap_err die(struct np_nats_parser *p, enum neap_err err, const char *why)
{
    p->err = err;
    p->why = why;
    return err;
}

static void take(struct np_nats_parser *p, size_t n)
{
    p->in += n;
    p->in_len -= n;
}

static const struct op *find_op(const struct np_nats_parser *p, const char *name, size_t n)
{
    for (size_t i = 0; i < OP_COUNT; i++) {
        if ((ops[i].sides & (1u << p->side)) && strlen(ops[i].name) == n &&
            strncasecmp(ops[i].name, name, n) == 0)
            return &ops[i];
    }
    return NULL;
}

/* Splits [at, end) into at most MAX_ARGS arguments; one more makes nargs MAX_ARGS + 1. */
static void split_args(struct line *l, const char *at, const char *end)
{
    while (at < end) {
        const char *start = at;
        while (at < end && !is_blank(*at))
            at++;
        if (l->nargs == MAX_ARGS) {
            l->nargs++;
            return;
        }
        l->arg[l->nargs++] = (struct np_bytes){start, (size_t)(at - start)};
        while (at < end && is_blank(*at))
            at++;
    }
}

/* `n` bytes without the line's end. */
static enum neap_err parse_line(struct np_nats_parser *p, const char *s, size_t n, struct line *l,
                                struct np_nats_msg *m)
{
    memset(l, 0, sizeof *l);
    memset(m, 0, sizeof *m);
    const char *end = s + n;
    const char *at = s;
    while (at < end && !is_blank(*at))
        at++;
    const struct op *op = find_op(p, s, (size_t)(at - s));
    if (!op) return die(p, NEAP_EPROTO, unknown_op);
    while (at < end && is_blank(*at))
        at++;
    while (end > at && is_blank(end[-1]))
        end--;
    l->rest = (struct np_bytes){at, (size_t)(end - at)};
    if (op->args != args_json && op->args != args_err) split_args(l, at, end);
    m->op = op->op;
    if (!op->args(l, m)) return die(p, NEAP_EPROTO, bad_args);
    if (l->body > p->limits.max_payload) return die(p, NEAP_EMSGSIZE, "Maximum Payload Violation");
    return NEAP_OK;
}

/* Whether what stands before the line's end can become an operation at all, so that a peer that
 * speaks something else is told so before it has sent a whole line. */
static bool could_be_op(const struct np_nats_parser *p, const char *s, size_t n)
{
    size_t len = 0;
    while (len < n && len <= MAX_OP_NAME && !is_blank(s[len]) && s[len] != '\r')
        len++;
    if (len < n) return find_op(p, s, len) != NULL;
    for (size_t i = 0; i < OP_COUNT; i++) {
        if ((ops[i].sides & (1u << p->side)) && strncasecmp(ops[i].name, s, len) == 0) return true;
    }
    return false;
}

static size_t without_cr(const char *s, size_t n)
{
    return n > 0 && s[n - 1] == '\r' ? n - 1 : n;
}

/* The body at `body`: points the message's slices into it. */
static enum neap_err finish_message(struct np_nats_parser *p, const struct line *l,
                                    const char *body, struct np_nats_msg *m)
{
    if (!l->has_body) return NEAP_OK;
    if (body[l->body] != '\r' || body[l->body + 1] != '\n') return die(p, NEAP_EPROTO, unknown_op);
    if (m->op == NP_NATS_HPUB || m->op == NP_NATS_HMSG)
        m->headers = (struct np_bytes){body, l->headers};
    m->payload = (struct np_bytes){body + l->headers, l->body - l->headers};
    return NEAP_OK;
}

/* Copies the rest of the input, the beginning of a message. */
static enum neap_err keep_rest(struct np_nats_parser *p)
{
    enum neap_err err = np_buf_append(&p->cut, p->in, p->in_len);
    if (err) return die(p, err, "out of memory");
    take(p, p->in_len);
    return NEAP_EAGAIN;
}

static enum neap_err next_in_place(struct np_nats_parser *p, struct np_nats_msg *m)
{
    if (p->in_len == 0) return NEAP_EAGAIN;
    const char *nl = memchr(p->in, '\n', p->in_len);
    size_t n = nl ? without_cr(p->in, (size_t)(nl - p->in)) : p->in_len;
    if (!nl && !could_be_op(p, p->in, n)) return die(p, NEAP_EPROTO, unknown_op);
    if (n > p->limits.max_control + (nl ? 0 : 1)) return die(p, NEAP_ELIMIT, long_line);
    if (!nl) return keep_rest(p);

    struct line l;
    enum neap_err err = parse_line(p, p->in, n, &l, m);
    if (err) return err;
    size_t line_len = (size_t)(nl - p->in) + 1;
    size_t body_len = l.has_body ? l.body + 2 : 0;
    if (p->in_len - line_len < body_len) {
        p->line_len = line_len;
        p->body_len = body_len;
        return keep_rest(p);
    }
    err = finish_message(p, &l, p->in + line_len, m);
    if (err) return err;
    take(p, line_len + body_len);
    return NEAP_OK;
}

/* Completes the line in `cut`. */
static enum neap_err gather_line(struct np_nats_parser *p)
{
    const char *nl = memchr(p->in, '\n', p->in_len);
    size_t n = nl ? (size_t)(nl - p->in) + 1 : p->in_len;
    size_t total = np_buf_len(&p->cut) + n;
    if (total > p->limits.max_control + (nl ? 2 : 1)) return die(p, NEAP_ELIMIT, long_line);
    enum neap_err err = np_buf_append(&p->cut, p->in, n);
    if (err) return die(p, err, "out of memory");
    take(p, n);
    if (!nl) {
        if (!could_be_op(p, np_buf_data(&p->cut), total)) return die(p, NEAP_EPROTO, unknown_op);
        return NEAP_EAGAIN;
    }
    struct line l;
    struct np_nats_msg m;
    n = without_cr(np_buf_data(&p->cut), total - 1);
    if (n > p->limits.max_control) return die(p, NEAP_ELIMIT, long_line);
    err = parse_line(p, np_buf_data(&p->cut), n, &l, &m);
    if (err) return err;
    p->line_len = total;
    p->body_len = l.has_body ? l.body + 2 : 0;
    return NEAP_OK;
}

static enum neap_err next_from_cut(struct np_nats_parser *p, struct np_nats_msg *m)
{
    if (p->in_len == 0 && p->line_len == 0) return NEAP_EAGAIN;
    if (p->line_len == 0) {
        enum neap_err err = gather_line(p);
        if (err) return err;
    }
    size_t whole = p->line_len + p->body_len;
    size_t missing = whole - np_buf_len(&p->cut);
    size_t n = missing < p->in_len ? missing : p->in_len;
    enum neap_err err = np_buf_append(&p->cut, p->in, n);
    if (err) return die(p, err, "out of memory");
    take(p, n);
    if (n < missing) return NEAP_EAGAIN;

    /* The line again: its slices moved while the body was gathered. */
    struct line l;
    const char *s = np_buf_data(&p->cut);
    err = parse_line(p, s, without_cr(s, p->line_len - 1), &l, m);
    if (err) return err;
    err = finish_message(p, &l, s + p->line_len, m);
    if (err) return err;
    p->lent = true;
    return NEAP_OK;
}

enum neap_err np_nats_next(struct np_nats_parser *p, struct np_nats_msg *out)
{
    struct np_nats_msg m;
    if (p->err) return p->err;
    if (p->lent) {
        p->lent = false;
        p->line_len = p->body_len = 0;
        np_buf_clear(&p->cut);
        np_buf_shrink(&p->cut, KEEP_CUT);
    }
    enum neap_err err = np_buf_len(&p->cut) > 0 ? next_from_cut(p, &m) : next_in_place(p, &m);
    if (!err) *out = m;
    return err;
}
