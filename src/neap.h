/* neap: a programmable communication runtime.
 *
 * The whole public C API, and the only installed header. A host (`neap_t`) is one loop, one Lua
 * state and what they share; two hosts can live in one process. Unless a function says otherwise
 * it must be called on the thread that runs the host's loop. Strings and bytes lent to a callback
 * hold until it returns. Times are seconds, sizes are bytes.
 */
#ifndef NEAP_H
#define NEAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NEAP_VERSION_MAJOR 0
#define NEAP_VERSION_MINOR 1
#define NEAP_VERSION_PATCH 0
#define NEAP_VERSION "0.1.0"

#if defined(__GNUC__)
#define NEAP_API __attribute__((visibility("default")))
#define NEAP_MUST_CHECK __attribute__((warn_unused_result))
#define NEAP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define NEAP_API
#define NEAP_MUST_CHECK
#define NEAP_PRINTF(fmt, args)
#endif

/* Every error neap reports, by C code and by the stable name scripts see as `err.code`. */
#define NEAP_ERR_MAP(X)                       \
    X(ENOMEM, "out of memory")                \
    X(EINVAL, "invalid argument")             \
    X(ETIMEDOUT, "timed out")                 \
    X(ECANCELED, "canceled")                  \
    X(ECLOSED, "closed")                      \
    X(EOF, "end of stream")                   \
    X(EADDRINUSE, "address already in use")   \
    X(EADDRNOTAVAIL, "address not available") \
    X(ECONNREFUSED, "connection refused")     \
    X(ECONNRESET, "connection reset by peer") \
    X(ECONNABORTED, "connection aborted")     \
    X(ENOTCONN, "not connected")              \
    X(EPIPE, "broken pipe")                   \
    X(EHOSTUNREACH, "host unreachable")       \
    X(ENETUNREACH, "network unreachable")     \
    X(EACCES, "permission denied")            \
    X(EMFILE, "too many open files")          \
    X(ENOENT, "no such file or directory")    \
    X(EEXIST, "already exists")               \
    X(EBUSY, "busy")                          \
    X(EAGAIN, "try again")                    \
    X(EIO, "input/output error")              \
    X(EMSGSIZE, "message too large")          \
    X(ELIMIT, "limit exceeded")               \
    X(EPROTO, "protocol error")               \
    X(ENOTSUP, "not supported")               \
    X(ENOTFOUND, "not found")                 \
    X(EDNS, "name resolution failed")         \
    X(ENOENDPOINT, "no endpoint available")   \
    X(ENORESPONDERS, "no responders")         \
    X(ESCRIPT, "script error")                \
    X(EREDIRECTS, "too many redirects")       \
    X(EINTERNAL, "internal error")

enum neap_err {
    NEAP_OK = 0,
#define NEAP_ERR_ENUM(name, text) NEAP_##name,
    NEAP_ERR_MAP(NEAP_ERR_ENUM)
#undef NEAP_ERR_ENUM
        NEAP_ERR_COUNT
};

/* What went wrong, in words. Filled by a callee that fails; untouched by one that succeeds. */
struct neap_errinfo {
    enum neap_err code;
    char message[240];
};

/* The stable name ("ETIMEDOUT") and the plain text ("timed out") of a code. Never NULL. */
NEAP_API const char *neap_err_name(enum neap_err err);
NEAP_API const char *neap_err_text(enum neap_err err);

/* @@HOST@@ */

#ifdef __cplusplus
}
#endif
#endif
