/* The Range header of requests (RFC 9110, 14): which bytes of a representation are asked for. Sans
 * I/O; any thread. */
#ifndef NP_PROTO_RANGE_H
#define NP_PROTO_RANGE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/bytes.h"

struct np_range {
    uint64_t first, last; /* both included */
};

enum np_ranges {
    NP_RANGES_IGNORED,       /* the whole is to be sent */
    NP_RANGES_SOME,          /* 206 */
    NP_RANGES_UNSATISFIABLE, /* 416 */
};

#define NP_RANGES_MAX 32 /* that a request may ask for, unless its owner says otherwise */

/* Reads "bytes=…" for a representation of `size` bytes into at most `max` ranges at `out`, which
 * are inside of it, in the order of the request, and have no byte twice: those that overlap or
 * touch have become one, at the place of the first. So an answer is never much larger than the
 * whole, whatever is asked for.
 *
 * Ignored: other units, what does not parse, a range whose end comes before its beginning, more
 * than `max` ranges. Those beyond the end are left out; when all are, it is unsatisfiable. */
enum np_ranges np_ranges_read(struct np_bytes value, uint64_t size, struct np_range *out,
                              size_t max, size_t *n);

#endif
