/* Errors: how a failing function says what happened.
 *
 * What can fail returns `enum neap_err` and is marked NEAP_MUST_CHECK; results come by trailing
 * out-parameters, untouched on failure. A caller that wants words passes a `neap_errinfo`, or NULL.
 */
#ifndef NP_BASE_ERR_H
#define NP_BASE_ERR_H

#include "neap.h"

/* Fills `info` (may be NULL) with `code` and a formatted message, cut to fit. Returns `code`, so
 * that `return np_err_set(info, NEAP_EINVAL, "…")` reads as one thought. */
enum neap_err np_err_set(struct neap_errinfo *info, enum neap_err code, const char *fmt, ...)
    NEAP_PRINTF(3, 4);

/* The same with the code's plain text as the message. */
enum neap_err np_err_plain(struct neap_errinfo *info, enum neap_err code);

/* Maps an errno value (positive) to a neap error; NEAP_EIO for one it does not know. */
enum neap_err np_err_from_errno(int err);

#endif
