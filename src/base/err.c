/* Error names, texts, and the filling of an errinfo. Any thread; no state. */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const err_names[NEAP_ERR_COUNT] = {[NEAP_OK] = "OK",
#define NAME(name, text) [NEAP_##name] = #name,
                                                      NEAP_ERR_MAP(NAME)
#undef NAME
};

static const char *const err_texts[NEAP_ERR_COUNT] = {[NEAP_OK] = "ok",
#define TEXT(name, text) [NEAP_##name] = text,
                                                      NEAP_ERR_MAP(TEXT)
#undef TEXT
};

static bool known(enum neap_err err)
{
    return (int)err >= 0 && (int)err < NEAP_ERR_COUNT;
}

const char *neap_err_name(enum neap_err err)
{
    return known(err) ? err_names[err] : "EUNKNOWN";
}

const char *neap_err_text(enum neap_err err)
{
    return known(err) ? err_texts[err] : "unknown error";
}

/* Steps back over a UTF-8 character that the end of the buffer has cut in two. */
static void trim_cut_character(char *s, size_t len)
{
    size_t i = len;
    while (i > 0 && len - i < 3 && ((unsigned char)s[i - 1] & 0xc0) == 0x80) {
        i--;
    }
    if (i == 0) return;
    unsigned char lead = (unsigned char)s[i - 1];
    size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (want > len - i + 1) s[i - 1] = '\0';
}

enum neap_err np_err_set(struct neap_errinfo *info, enum neap_err code, const char *fmt, ...)
{
    if (!info) return code;
    /* Into a copy first: an argument may well be the message that stands in `info`. */
    char text[sizeof info->message];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0) {
        text[0] = '\0';
    } else if ((size_t)n >= sizeof text) {
        trim_cut_character(text, sizeof text - 1);
    }
    memcpy(info->message, text, sizeof text);
    info->code = code;
    return code;
}

enum neap_err np_err_plain(struct neap_errinfo *info, enum neap_err code)
{
    return np_err_set(info, code, "%s", neap_err_text(code));
}

struct errno_entry {
    int err;
    enum neap_err code;
};

static const struct errno_entry errno_map[] = {
    {0, NEAP_OK},
    {ENOMEM, NEAP_ENOMEM},
    {ENOBUFS, NEAP_ENOMEM},
    {EINVAL, NEAP_EINVAL},
    {EBADF, NEAP_EINVAL},
    {ENAMETOOLONG, NEAP_EINVAL},
    {EDESTADDRREQ, NEAP_EINVAL},
    {EISDIR, NEAP_EINVAL},
    {ETIMEDOUT, NEAP_ETIMEDOUT},
    {ECANCELED, NEAP_ECANCELED},
    {EADDRINUSE, NEAP_EADDRINUSE},
    {EADDRNOTAVAIL, NEAP_EADDRNOTAVAIL},
    {ECONNREFUSED, NEAP_ECONNREFUSED},
    {ECONNRESET, NEAP_ECONNRESET},
    {ECONNABORTED, NEAP_ECONNABORTED},
    {ENOTCONN, NEAP_ENOTCONN},
    {EPIPE, NEAP_EPIPE},
    {EHOSTUNREACH, NEAP_EHOSTUNREACH},
    {EHOSTDOWN, NEAP_EHOSTUNREACH},
    {ENETUNREACH, NEAP_ENETUNREACH},
    {ENETDOWN, NEAP_ENETUNREACH},
    {EACCES, NEAP_EACCES},
    {EPERM, NEAP_EACCES},
    {EROFS, NEAP_EACCES},
    {EMFILE, NEAP_EMFILE},
    {ENFILE, NEAP_EMFILE},
    {ENOENT, NEAP_ENOENT},
    {ENOTDIR, NEAP_ENOENT},
    {ENXIO, NEAP_ENOENT},
    {EEXIST, NEAP_EEXIST},
    {EISCONN, NEAP_EEXIST},
    {ENOTEMPTY, NEAP_EEXIST},
    {EBUSY, NEAP_EBUSY},
    {ETXTBSY, NEAP_EBUSY},
    {EALREADY, NEAP_EBUSY},
    {EAGAIN, NEAP_EAGAIN},
    {EINTR, NEAP_EAGAIN},
    {EINPROGRESS, NEAP_EAGAIN},
    {EIO, NEAP_EIO},
    {EMSGSIZE, NEAP_EMSGSIZE},
    {E2BIG, NEAP_EMSGSIZE},
    {EFBIG, NEAP_ELIMIT},
    {EDQUOT, NEAP_ELIMIT},
    {ENOSPC, NEAP_ELIMIT},
    {EPROTO, NEAP_EPROTO},
    {EPROTOTYPE, NEAP_EPROTO},
    {ENOTSUP, NEAP_ENOTSUP},
    {ENOSYS, NEAP_ENOTSUP},
    {EAFNOSUPPORT, NEAP_ENOTSUP},
    {EPROTONOSUPPORT, NEAP_ENOTSUP},
    {ENOPROTOOPT, NEAP_ENOTSUP},
};

enum neap_err np_err_from_errno(int err)
{
    for (size_t i = 0; i < sizeof errno_map / sizeof errno_map[0]; i++) {
        if (errno_map[i].err == err) return errno_map[i].code;
    }
    return NEAP_EIO;
}
