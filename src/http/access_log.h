/* Access logs: a line for each request that was answered, refused or broken off.
 *
 * A format is compiled once. Lines are gathered in a block, which goes to its file (base/append.h)
 * when it is full, and at the latest `flush` after its first line; nothing here waits. What a peer
 * sent is escaped: no byte of it ends a line, closes a quote or reaches a terminal. A line that
 * finds no memory is dropped and counted.
 *
 * In a format, $name and ${name} are variables, $header{name} is a header of the request, $$ a
 * dollar, $sent_header{name} is one of the answer, as the handler gave it. Names are neap's or
 * nginx's own:
 *
 *   remote (address:port), remote_addr, remote_port   the connection's peer
 *   client                   who asks: remote_addr or, behind trusted proxies, whom they name
 *   remote_user              of Basic authentication
 *   method request_method, path uri, query args query_string, target request_uri
 *   protocol server_protocol "HTTP/1.1", request  "GET /a?b HTTP/1.1"
 *   host, scheme             what was asked for
 *   status
 *   bytes body_bytes_sent    of the answer's body as it was sent, chunk heads included
 *   bytes_sent               of all of the answer
 *   duration                 seconds, to a microsecond, from the complete head to the answer's end
 *   request_time             the same to a millisecond; duration_ms: in milliseconds
 *   time time_iso8601        UTC; time_local as in "10/Oct/2000:13:55:36 -0700"; msec
 *   request_id               as req.id
 *   user_agent, referer, http_NAME
 *   connection_requests      which request of its connection it is
 *   aborted                  whether it was broken off; status is 499 when nothing was answered
 *   tls_version ssl_protocol, tls_cipher ssl_cipher, tls_server_name ssl_server_name
 *   proxy_authority, proxy_unique_id                  of the PROXY header
 *   pid, worker
 */
#ifndef NP_HTTP_ACCESS_LOG_H
#define NP_HTTP_ACCESS_LOG_H

#include "base/append.h"
#include "http/server.h"

struct np_access_log;

enum np_access_style {
    NP_ACCESS_TEXT,   /* `format` */
    NP_ACCESS_JSON,   /* an object of `fields` */
    NP_ACCESS_RECORD, /* `fields` for on_batch */
};

struct np_access_field {
    const char *name;
    const char *format; /* one variable keeps its type; all else is a string */
};

struct np_access_log_options {
    enum np_access_style style;
    const char *format;                   /* TEXT; NULL: combined */
    bool json_escape;                     /* TEXT: \n, ", \u001b as in JSON, in place of \x0A */
    const struct np_access_field *fields; /* JSON, RECORD; NULL: the usual ones */
    size_t nfields;
    struct np_append *to; /* TEXT, JSON; closed with the log */
    /* RECORD: takes the block (np_free it), from the loop; see np_access_read. */
    void (*on_batch)(void *arg, struct np_append_block *b);
    void (*on_end)(void *arg); /* RECORD: the log is freed, no batch follows */
    void *arg;
    int64_t flush; /* ns; default 1 s */
    size_t buffer; /* bytes of a block; default 64 KiB */
    unsigned worker;
};

extern const char np_access_combined[];
extern const char np_access_common[];
/* The usual fields of objects and records. */
extern const struct np_access_field np_access_usual[];
extern const size_t np_access_usual_count;

/* NEAP_EINVAL with words for a format that cannot be; NEAP_ENOMEM. `to` is the log's on success. */
NEAP_MUST_CHECK enum neap_err np_access_log_new(struct np_loop *loop,
                                                const struct np_access_log_options *opts,
                                                struct np_access_log **out,
                                                struct neap_errinfo *info);
/* Hands over what was gathered. */
void np_access_log_flush(struct np_access_log *log);
/* Flushes and frees. NULL is allowed. */
void np_access_log_free(struct np_access_log *log);
/* Names of the fields, in their order. */
size_t np_access_log_fields(const struct np_access_log *log);
const char *np_access_log_field(const struct np_access_log *log, size_t i);

/* A request that is over. */
struct np_access_entry {
    struct np_http_exchange *x;
    bool has_head;   /* the request was parsed */
    int status;      /* 0: nothing was sent */
    uint64_t bytes;  /* of the body */
    uint64_t sent;   /* of all */
    int64_t took;    /* ns */
    uint64_t number; /* on its connection */
    /* Of the answer, in the order of np_access_log_sent; NULL: none was begun, or no memory. */
    const struct np_bytes *answer;
    bool aborted;
};
/* Whether `took` is in its format: a look at the clock costs as much as the rest of a line. */
bool np_access_log_wants_time(const struct np_access_log *log);
/* The headers of answers that are in its format: how many, and their names in lower case. */
size_t np_access_log_sent(const struct np_access_log *log, const struct np_bytes **names);
void np_access_log_add(struct np_access_log *log, const struct np_access_entry *e);
/* Lines that were dropped before they came to a file. */
uint64_t np_access_log_lost(const struct np_access_log *log);

/* Reads the fields of a RECORD block, one after the other: `*at` starts at 0. False at the end. */
enum np_access_kind { NP_ACCESS_NONE, NP_ACCESS_STRING, NP_ACCESS_NUMBER, NP_ACCESS_BOOL };
bool np_access_read(const struct np_append_block *b, size_t *at, enum np_access_kind *kind,
                    struct np_bytes *text);

#endif
