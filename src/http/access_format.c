/* Formats of access logs, compiled to steps. Pure functions; see access_log.h. */
#include <stdio.h>
#include <string.h>

#include "http/access_log_impl.h"

const char np_access_combined[] =
    "$client - $remote_user [$time_local] \"$request\" $status $bytes "
    "\"$referer\" \"$user_agent\"";
const char np_access_common[] = "$client - $remote_user [$time_local] \"$request\" $status $bytes";

const struct np_access_field np_access_usual[] = {
    {"time", "$time"},
    {"client", "$client"},
    {"remote", "$remote"},
    {"method", "$method"},
    {"scheme", "$scheme"},
    {"host", "$host"},
    {"path", "$path"},
    {"query", "$query"},
    {"protocol", "$protocol"},
    {"status", "$status"},
    {"bytes", "$bytes"},
    {"duration_ms", "$duration_ms"},
    {"request_id", "$request_id"},
    {"user_agent", "$user_agent"},
    {"referer", "$referer"},
    {"aborted", "$aborted"},
};
const size_t np_access_usual_count = sizeof np_access_usual / sizeof *np_access_usual;

static const struct {
    const char *name;
    enum np_access_var var;
} names[] = {
    {"remote", NP_VAR_REMOTE},
    {"remote_addr", NP_VAR_REMOTE_ADDR},
    {"remote_port", NP_VAR_REMOTE_PORT},
    {"client", NP_VAR_CLIENT},
    {"remote_user", NP_VAR_REMOTE_USER},
    {"method", NP_VAR_METHOD},
    {"request_method", NP_VAR_METHOD},
    {"path", NP_VAR_PATH},
    {"uri", NP_VAR_PATH},
    {"query", NP_VAR_QUERY},
    {"args", NP_VAR_QUERY},
    {"query_string", NP_VAR_QUERY},
    {"target", NP_VAR_TARGET},
    {"request_uri", NP_VAR_TARGET},
    {"protocol", NP_VAR_PROTOCOL},
    {"server_protocol", NP_VAR_PROTOCOL},
    {"request", NP_VAR_REQUEST},
    {"host", NP_VAR_HOST},
    {"scheme", NP_VAR_SCHEME},
    {"status", NP_VAR_STATUS},
    {"bytes", NP_VAR_BYTES},
    {"body_bytes_sent", NP_VAR_BYTES},
    {"bytes_sent", NP_VAR_BYTES_SENT},
    {"duration", NP_VAR_DURATION},
    {"duration_ms", NP_VAR_DURATION_MS},
    {"request_time", NP_VAR_REQUEST_TIME},
    {"time", NP_VAR_TIME},
    {"time_iso8601", NP_VAR_TIME},
    {"time_local", NP_VAR_TIME_LOCAL},
    {"msec", NP_VAR_MSEC},
    {"request_id", NP_VAR_REQUEST_ID},
    {"connection_requests", NP_VAR_CONNECTION_REQUESTS},
    {"aborted", NP_VAR_ABORTED},
    {"tls_version", NP_VAR_TLS_VERSION},
    {"ssl_protocol", NP_VAR_TLS_VERSION},
    {"tls_cipher", NP_VAR_TLS_CIPHER},
    {"ssl_cipher", NP_VAR_TLS_CIPHER},
    {"tls_server_name", NP_VAR_TLS_SERVER_NAME},
    {"ssl_server_name", NP_VAR_TLS_SERVER_NAME},
    {"proxy_authority", NP_VAR_PROXY_AUTHORITY},
    {"proxy_unique_id", NP_VAR_PROXY_UNIQUE_ID},
    {"pid", NP_VAR_PID},
    {"worker", NP_VAR_WORKER},
};

struct compiler {
    struct np_access_format *f;
    struct neap_errinfo *info;
    bool json_literals; /* text of a format stands inside a JSON string */
};

static enum neap_err no_memory(struct compiler *c)
{
    return np_err_plain(c->info, NEAP_ENOMEM);
}

/* --- steps */

static enum neap_err add(struct compiler *c, struct np_access_step step)
{
    struct np_access_format *f = c->f;
    if (f->nsteps == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 32;
        struct np_access_step *more = np_arena_alloc(&f->arena, cap * sizeof *more);
        if (!more) return no_memory(c);
        if (f->nsteps) memcpy(more, f->steps, f->nsteps * sizeof *more);
        f->steps = more;
        f->cap = cap;
    }
    f->steps[f->nsteps++] = step;
    return NEAP_OK;
}

static enum neap_err add_literal(struct compiler *c, const char *p, size_t n)
{
    if (n == 0) return NEAP_OK;
    char *copy = np_arena_strndup(&c->f->arena, p, n);
    if (!copy) return no_memory(c);
    return add(c, (struct np_access_step){.kind = NP_STEP_LITERAL, .text = {copy, n}});
}

/* A literal inside a JSON string: the format's author may write anything. */
static enum neap_err add_json_literal(struct compiler *c, const char *p, size_t n)
{
    enum neap_err err = NEAP_OK;
    size_t from = 0;
    for (size_t i = 0; i < n && !err; i++) {
        unsigned char b = (unsigned char)p[i];
        char text[8];
        if (b >= 0x20 && b != '"' && b != '\\') continue;
        err = add_literal(c, p + from, i - from);
        int w = b < 0x20 ? snprintf(text, sizeof text, "\\u%04x", b)
                         : snprintf(text, sizeof text, "\\%c", b);
        if (!err) err = add_literal(c, text, (size_t)w);
        from = i + 1;
    }
    return err ? err : add_literal(c, p + from, n - from);
}

static enum neap_err header_name(struct compiler *c, const char *p, size_t n, bool underscores,
                                 struct np_bytes *out)
{
    if (!np_http_is_token(p, n))
        return np_err_set(c->info, NEAP_EINVAL, "'%.*s' is no header's name", (int)n, p);
    char *name = np_arena_strndup(&c->f->arena, p, n);
    if (!name) return no_memory(c);
    for (char *at = name; *at; at++) {
        if (*at >= 'A' && *at <= 'Z') *at = (char)(*at + 32);
        if (underscores && *at == '_') *at = '-';
    }
    *out = (struct np_bytes){name, n};
    return NEAP_OK;
}

static enum neap_err add_header(struct compiler *c, enum np_access_step_kind kind, const char *p,
                                size_t n, bool underscores)
{
    struct np_access_step step = {.kind = kind, .var = NP_VAR_HEADER};
    enum neap_err err = header_name(c, p, n, underscores, &step.text);
    return err ? err : add(c, step);
}

/* A header of the answer, which has to be kept for it. */
static enum neap_err add_sent(struct compiler *c, enum np_access_step_kind kind, const char *p,
                              size_t n, bool underscores)
{
    struct np_access_format *f = c->f;
    struct np_access_step step = {.kind = kind, .var = NP_VAR_SENT, .index = f->nsent};
    struct np_bytes *more = np_arena_alloc(&f->arena, (f->nsent + 1) * sizeof *more);
    if (!more) return no_memory(c);
    enum neap_err err = header_name(c, p, n, underscores, &more[f->nsent]);
    if (err) return err;
    if (f->nsent) memcpy(more, f->sent, f->nsent * sizeof *more);
    f->sent = more;
    f->nsent++;
    return add(c, step);
}

static enum neap_err add_named(struct compiler *c, enum np_access_step_kind kind,
                               enum np_access_var var)
{
    if (var == NP_VAR_DURATION || var == NP_VAR_DURATION_MS || var == NP_VAR_REQUEST_TIME)
        c->f->times = true;
    return add(c, (struct np_access_step){.kind = kind, .var = var});
}

static enum neap_err add_variable(struct compiler *c, enum np_access_step_kind kind, const char *p,
                                  size_t n)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == n && memcmp(names[i].name, p, n) == 0)
            return add_named(c, kind, names[i].var);
    if (n == 10 && memcmp(p, "user_agent", 10) == 0)
        return add_header(c, kind, "user-agent", 10, false);
    if (n == 7 && memcmp(p, "referer", 7) == 0) return add_header(c, kind, p, n, false);
    if (n > 5 && memcmp(p, "http_", 5) == 0) return add_header(c, kind, p + 5, n - 5, true);
    if (n > 10 && memcmp(p, "sent_http_", 10) == 0) return add_sent(c, kind, p + 10, n - 10, true);
    return np_err_set(c->info, NEAP_EINVAL, "unknown variable '$%.*s'", (int)(n > 60 ? 60 : n), p);
}

/* --- templates */

static bool is_word(char b)
{
    return (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') || b == '_';
}

/* What stands behind a dollar. `*p` goes behind it. */
static enum neap_err variable(struct compiler *c, enum np_access_step_kind kind, const char **p)
{
    const char *at = *p, *close;
    if (*at == '{') {
        close = strchr(at, '}');
        if (!close) return np_err_set(c->info, NEAP_EINVAL, "no '}' behind '$%.60s'", at);
        *p = close + 1;
        return add_variable(c, kind, at + 1, (size_t)(close - at - 1));
    }
    const char *end = at;
    while (is_word(*end))
        end++;
    if (end == at) return np_err_set(c->info, NEAP_EINVAL, "no name behind '$' (write $$)");
    bool sent = end - at == 11 && memcmp(at, "sent_header", 11) == 0;
    if (*end == '{' && (sent || (end - at == 6 && memcmp(at, "header", 6) == 0))) {
        close = strchr(end, '}');
        if (!close) return np_err_set(c->info, NEAP_EINVAL, "no '}' behind '$%.60s'", at);
        *p = close + 1;
        size_t n = (size_t)(close - end - 1);
        return sent ? add_sent(c, kind, end + 1, n, false) : add_header(c, kind, end + 1, n, false);
    }
    *p = end;
    return add_variable(c, kind, at, (size_t)(end - at));
}

static enum neap_err template(struct compiler *c, const char *text, enum np_access_step_kind kind) {
    enum neap_err err = NEAP_OK; while (*text && !err){
        size_t n = strcspn(text, "$"); bool dollar = text[n] == '$' && text[n + 1] == '$';
        if (dollar) n++;
        err = c->json_literals ? add_json_literal(c, text, n) : add_literal(c, text, n); text += n;
        if (dollar) text++; else if (*text == '$' && !err){text++; err = variable(c, kind, &text);}
}
return err;
}

/* Whether it is one variable and nothing else. */
static bool is_one(const char *text)
{
    if (*text != '$' || text[1] == '$') return false;
    const char *p = text + 1;
    while (is_word(*p))
        p++;
    if (*p == '{') {
        const char *close = strchr(p, '}');
        return close && !close[1];
    }
    return !*p;
}

/* --- the whole */

static enum neap_err json_field(struct compiler *c, const struct np_access_field *field, bool first)
{
    enum neap_err err = first ? add_literal(c, "{\"", 2) : add_literal(c, ",\"", 2);
    if (!err) err = add_json_literal(c, field->name, strlen(field->name));
    if (err) return err;
    if (is_one(field->format)) {
        err = add_literal(c, "\":", 2);
        return err ? err : template(c, field->format, NP_STEP_JSON_VALUE);
    }
    err = add_literal(c, "\":\"", 3);
    if (!err) err = template(c, field->format, NP_STEP_JSON_TEXT);
    return err ? err : add_literal(c, "\"", 1);
}

static enum neap_err record_field(struct compiler *c, const struct np_access_field *field)
{
    if (is_one(field->format)) return template(c, field->format, NP_STEP_RECORD);
    enum neap_err err = add(c, (struct np_access_step){.kind = NP_STEP_RECORD_BEGIN});
    if (!err) err = template(c, field->format, NP_STEP_RECORD_TEXT);
    return err ? err : add(c, (struct np_access_step){.kind = NP_STEP_RECORD_END});
}

static enum neap_err fields(struct compiler *c, const struct np_access_log_options *o)
{
    const struct np_access_field *list = o->fields ? o->fields : np_access_usual;
    size_t n = o->fields ? o->nfields : np_access_usual_count;
    enum neap_err err = NEAP_OK;
    c->f->names = np_arena_alloc(&c->f->arena, (n + 1) * sizeof *c->f->names);
    if (!c->f->names) return no_memory(c);
    for (size_t i = 0; i < n && !err; i++) {
        const char *name = np_arena_strndup(&c->f->arena, list[i].name, strlen(list[i].name));
        if (!name) return no_memory(c);
        c->f->names[c->f->nnames++] = name;
        err = o->style == NP_ACCESS_JSON ? json_field(c, &list[i], i == 0)
                                         : record_field(c, &list[i]);
    }
    if (err || o->style != NP_ACCESS_JSON) return err;
    return n ? add_literal(c, "}\n", 2) : add_literal(c, "{}\n", 3);
}

static enum neap_err text(struct compiler *c, const struct np_access_log_options *o)
{
    const char *format = o->format ? o->format : np_access_combined;
    enum neap_err err = NEAP_OK;
    for (const char *p = format; *p; p++)
        if ((unsigned char)*p < 0x20 && *p != '\t')
            return np_err_set(c->info, NEAP_EINVAL, "a format is one line");
    err = template(c, format, o->json_escape ? NP_STEP_JSON_TEXT : NP_STEP_TEXT);
    return err ? err : add_literal(c, "\n", 1);
}

enum neap_err np_access_compile(const struct np_access_log_options *o, struct np_access_format *out,
                                struct neap_errinfo *info)
{
    struct compiler c = {out, info, o->style == NP_ACCESS_JSON};
    *out = (struct np_access_format){.steps = NULL};
    np_arena_init(&out->arena, 1024);
    enum neap_err err = o->style == NP_ACCESS_TEXT ? text(&c, o) : fields(&c, o);
    if (err) np_access_format_fini(out);
    return err;
}

void np_access_format_fini(struct np_access_format *f)
{
    np_arena_fini(&f->arena);
}
