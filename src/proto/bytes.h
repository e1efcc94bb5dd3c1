/* A run of bytes that somebody else owns. `p` may be NULL where the owner says "absent". */
#ifndef NP_PROTO_BYTES_H
#define NP_PROTO_BYTES_H

#include <stddef.h>

struct np_bytes {
    const char *p;
    size_t n;
};

#endif
