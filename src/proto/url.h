/* URLs: http, https and unix, as an HTTP client and a router need them (RFC 3986, 9110).
 *
 * Parsing allocates nothing: a parsed URL is slices of the text it came from. Nothing with a
 * control byte, a blank or a byte above 126 is a URL here; what a person typed is encoded first.
 * No state; any thread.
 */
#ifndef NP_PROTO_URL_H
#define NP_PROTO_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "proto/bytes.h"

enum { NP_URL_MAX = 8192 }; /* bytes of a URL that is parsed or made */

enum np_url_scheme { NP_URL_NONE, NP_URL_HTTP, NP_URL_HTTPS, NP_URL_UNIX };

struct np_url {
    enum np_url_scheme scheme;
    struct np_bytes userinfo; /* p NULL when there is none; never sent by itself */
    struct np_bytes host;     /* no brackets; empty for unix */
    struct np_bytes socket;   /* the file of a unix URL */
    struct np_bytes path;     /* as written; empty stands for "/" */
    struct np_bytes query;    /* after '?'; p NULL when there is none */
    struct np_bytes fragment; /* after '#'; p NULL when there is none */
    int port;                 /* the scheme's own when none is written; 0 for unix */
    bool port_given;
    bool ipv6; /* the host was written in brackets */
};

/* An absolute URL: "http://host:port/path?query#fragment", "https://[::1]/", and
 * "unix:/run/app.sock:/path?query" (the part after the second colon may be missing; a colon inside
 * the file's name is not possible). NEAP_EINVAL with words in `info`. */
NEAP_MUST_CHECK enum neap_err np_url_parse(const char *text, size_t n, struct np_url *out,
                                           struct neap_errinfo *info);
/* Appends the request target: path ("/" if empty) and query. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_url_target(struct np_buf *b, const struct np_url *u);
/* Appends what the Host header says: host, in brackets if IPv6, and the port unless it is the
 * scheme's own; "localhost" for unix. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_url_authority(struct np_buf *b, const struct np_url *u);
/* Whether both lead to the same scheme, host and port (or socket): credentials may follow. */
bool np_url_same_origin(const struct np_url *a, const struct np_url *b);

/* Appends the absolute URL that `ref` (absolute, "//host/x", "/x", "x", "?q", "#f" or empty) means
 * at `base` (RFC 3986 §5.2; dot segments removed). NEAP_EINVAL with words, NEAP_ENOMEM; then
 * nothing was appended. */
NEAP_MUST_CHECK enum neap_err np_url_resolve(struct np_buf *b, const struct np_url *base,
                                             const char *ref, size_t n, struct neap_errinfo *info);

/* Removes "." and ".." segments of an absolute path in place, written with %2e as well; never
 * climbs above the root. Returns the new length. */
size_t np_url_normalize_path(char *path, size_t n);

/* Percent-decodes into `out`, which has room for `n` bytes and may be `text` itself; `form` makes
 * '+' a blank. False for a '%' without two hex digits: `*len` is then undefined. The result may
 * hold any byte, NUL included. */
bool np_url_decode(const char *text, size_t n, bool form, char *out, size_t *len);

enum np_url_part {
    NP_URL_COMPONENT, /* leaves only unreserved characters: a query's name or value, a segment */
    NP_URL_PATH,      /* leaves also what a path may hold, '/' included */
    NP_URL_FORM,      /* as COMPONENT, and a blank becomes '+' */
};
/* Appends percent-encoded. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_url_encode(struct np_buf *b, const char *text, size_t n,
                                            enum np_url_part part);

/* The next "name=value" of a query; `*rest` starts as the query and is what is left. Empty pieces
 * are skipped; a piece without '=' has a value with p NULL. Not decoded. False at the end. */
bool np_url_query_next(struct np_bytes *rest, struct np_bytes *name, struct np_bytes *value);

#endif
