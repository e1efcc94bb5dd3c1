/* What the files of the access log share.
 *
 *   access_format.c  formats, compiled to steps
 *   access_value.c   what variables are worth
 *   access_log.c     lines, blocks, when they go
 *
 * Private to them. */
#ifndef NP_HTTP_ACCESS_LOG_IMPL_H
#define NP_HTTP_ACCESS_LOG_IMPL_H

#include "base/arena.h"
#include "http/access_log.h"
#include "http/asker.h"

enum np_access_var {
    NP_VAR_REMOTE,
    NP_VAR_REMOTE_ADDR,
    NP_VAR_REMOTE_PORT,
    NP_VAR_CLIENT,
    NP_VAR_REMOTE_USER,
    NP_VAR_METHOD,
    NP_VAR_PATH,
    NP_VAR_QUERY,
    NP_VAR_TARGET,
    NP_VAR_PROTOCOL,
    NP_VAR_REQUEST,
    NP_VAR_HOST,
    NP_VAR_SCHEME,
    NP_VAR_STATUS,
    NP_VAR_BYTES,
    NP_VAR_BYTES_SENT,
    NP_VAR_DURATION,
    NP_VAR_DURATION_MS,
    NP_VAR_REQUEST_TIME,
    NP_VAR_TIME,
    NP_VAR_TIME_LOCAL,
    NP_VAR_MSEC,
    NP_VAR_REQUEST_ID,
    NP_VAR_CONNECTION_REQUESTS,
    NP_VAR_ABORTED,
    NP_VAR_TLS_VERSION,
    NP_VAR_TLS_CIPHER,
    NP_VAR_TLS_SERVER_NAME,
    NP_VAR_PROXY_AUTHORITY,
    NP_VAR_PROXY_UNIQUE_ID,
    NP_VAR_PID,
    NP_VAR_WORKER,
    NP_VAR_HEADER,
    NP_VAR_SENT, /* the `index`th of format.sent */
};

enum np_access_step_kind {
    NP_STEP_LITERAL,
    NP_STEP_TEXT,         /* a variable in text: \xHH */
    NP_STEP_JSON_TEXT,    /* a variable inside a JSON string */
    NP_STEP_JSON_VALUE,   /* a variable as a JSON value */
    NP_STEP_RECORD,       /* a variable as a field of a record */
    NP_STEP_RECORD_TEXT,  /* a variable as a part of a record's string */
    NP_STEP_RECORD_BEGIN, /* a string of a record, up to … */
    NP_STEP_RECORD_END,
};

struct np_access_step {
    enum np_access_step_kind kind;
    enum np_access_var var;
    struct np_bytes text; /* a literal, or a header's name in lower case */
    size_t index;
};

struct np_access_format {
    struct np_arena arena; /* of all that follows */
    struct np_access_step *steps;
    size_t nsteps, cap;
    const char **names;
    size_t nnames;
    bool times;            /* it says how long requests took */
    struct np_bytes *sent; /* headers of answers that it names */
    size_t nsent;
};

/* access_format.c */
NEAP_MUST_CHECK enum neap_err np_access_compile(const struct np_access_log_options *o,
                                                struct np_access_format *out,
                                                struct neap_errinfo *info);
void np_access_format_fini(struct np_access_format *f);

/* The clock as text, for the second it was made in. */
struct np_access_clock {
    int64_t checked; /* loop time when `wall` was read */
    int64_t wall;    /* ns since 1970 */
    int64_t second;  /* that the texts are of */
    char local[32];
    char iso[24]; /* "2026-11-21T07:00:00" */
};
void np_access_clock_update(struct np_access_clock *c, struct np_loop *loop);

/* access_value.c */
enum { NP_ACCESS_PARTS = 5 };
struct np_access_value {
    enum np_access_kind kind;
    size_t nparts;
    struct np_bytes part[NP_ACCESS_PARTS]; /* one after the other */
    bool plain;                            /* nothing of it has to be escaped */
    bool truth;
    char scratch[160]; /* a part may point here */
};
/* One line's. */
struct np_access_line {
    const struct np_access_entry *e;
    const struct np_access_clock *clock;
    unsigned worker;
    bool asked;
    struct np_http_asker asker;
};
void np_access_value(struct np_access_line *line, const struct np_access_step *step,
                     struct np_access_value *v);

#endif
