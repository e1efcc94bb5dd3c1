/* Base64, base64url and hexadecimal (RFC 4648), read strictly: no blanks, no bits that say nothing,
 * padding exactly where the form has it (base64 has it, base64url has none). No state; any thread.
 */
#ifndef NP_PROTO_ENCODE_H
#define NP_PROTO_ENCODE_H

#include <stdbool.h>
#include <stddef.h>

enum np_encoding { NP_BASE64, NP_BASE64URL, NP_HEX };

/* Bytes that `n` bytes make, or can be made of `n` bytes of text; never too few. */
size_t np_encoded_max(enum np_encoding e, size_t n);
size_t np_decoded_max(enum np_encoding e, size_t n);

/* Writes into `out`, which has room for the above, and returns how many bytes. */
size_t np_encode(enum np_encoding e, const void *data, size_t n, char *out);
/* False for what is not encoded so; `out` may have been written to all the same. */
bool np_decode(enum np_encoding e, const char *text, size_t n, char *out, size_t *len);

#endif
