/* Cookies (RFC 6265 and its successor, draft-ietf-httpbis-rfc6265bis): reading both headers as
 * tolerantly as browsers do, writing Set-Cookie strictly.
 *
 * Parsed cookies are slices of the text they came from. No state; any thread.
 */
#ifndef NP_PROTO_COOKIE_H
#define NP_PROTO_COOKIE_H

#include "base/buf.h"
#include "proto/bytes.h"

enum {
    NP_COOKIE_MAX = 4096,          /* bytes of a name and its value together */
    NP_COOKIE_ATTRIBUTE_MAX = 1024 /* bytes of an attribute's value */
};
#define NP_COOKIE_AGE_MAX ((int64_t)400 * 24 * 3600) /* seconds; a longer life is cut to this */

enum np_same_site { NP_SAME_SITE_UNSET, NP_SAME_SITE_STRICT, NP_SAME_SITE_LAX, NP_SAME_SITE_NONE };

struct np_set_cookie {
    struct np_bytes name;
    struct np_bytes value;
    struct np_bytes domain; /* without a dot in front; p NULL: the host alone */
    struct np_bytes path;   /* p NULL: none, or none that begins with '/' */
    bool has_expires;
    bool has_max_age;
    int64_t expires; /* seconds since 1970 */
    int64_t max_age; /* seconds; 0 or less: it goes at once */
    bool secure;
    bool http_only;
    bool partitioned;
    enum np_same_site same_site;
};

/* The next cookie of a Cookie header; `*rest` starts as the header. What has no name, no '=' or a
 * control character is skipped; quotes around a value are not part of it. False at the end. */
bool np_cookie_next(struct np_bytes *rest, struct np_bytes *name, struct np_bytes *value);

/* A Set-Cookie header as a client takes it. False for one that is to be ignored: without a name,
 * with control characters, too large, or breaking the rules of its name's prefix (__Secure-,
 * __Host-). The age is at most NP_COOKIE_AGE_MAX; a date is not cut. */
bool np_set_cookie_parse(const char *text, size_t n, struct np_set_cookie *out);

/* A date of Expires as browsers read it (§5.1.1), as seconds since 1970; false for what is none. */
bool np_cookie_date(const char *text, size_t n, int64_t *out);

/* Appends a Set-Cookie value. NEAP_EINVAL with words ("value: …", "secure: …") for what browsers
 * would refuse or what would break the header; NEAP_ENOMEM. Then nothing was appended. */
NEAP_MUST_CHECK enum neap_err np_set_cookie_write(struct np_buf *b, const struct np_set_cookie *c,
                                                  struct neap_errinfo *info);

#endif
