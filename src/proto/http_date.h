/* HTTP dates: seconds since 1970 to text and back. No state; any thread. */
#ifndef NP_PROTO_HTTP_DATE_H
#define NP_PROTO_HTTP_DATE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/bytes.h"

#define NP_HTTP_DATE_LEN 29 /* "Sun, 06 Nov 1994 08:49:37 GMT" */

/* Years 1970 to 9999; what is outside is moved to the nearest. No NUL is written. */
void np_http_date_format(int64_t seconds, char out[NP_HTTP_DATE_LEN]);
/* The three forms of RFC 9110, 5.6.7. A year of two digits is the one nearest to `now` that is no
 * more than 50 years ahead. False for anything else, and for days that do not exist. */
bool np_http_date_parse(struct np_bytes text, int64_t now, int64_t *out);

#endif
