/* Reading the address of a bus. */
#include "bus/url.h"

#include <stdio.h>
#include <string.h>

#include "net/addr.h"

enum { DEFAULT_PORT = 4222 };

enum neap_err np_bus_parse_url(const char *url, char *host, size_t size, int *port,
                               struct neap_errinfo *info)
{
    static const char scheme[] = "nats://";
    const char *at = url;
    const char *sep = strstr(url, "://");
    if (strncmp(url, scheme, sizeof scheme - 1) == 0) {
        at += sizeof scheme - 1;
    } else if (sep) {
        return np_err_set(info, NEAP_ENOTSUP, "%.*s: not supported, expected nats://host:port",
                          (int)(sep - url), url);
    }
    if (strchr(at, '@'))
        return np_err_set(info, NEAP_ENOTSUP, "user names and passwords are not supported yet");
    size_t n = strlen(at);
    if (n > 0 && at[n - 1] == '/') n--;
    char text[280];
    if (n == 0 || n >= sizeof text - 8 || memchr(at, '/', n))
        return np_err_set(info, NEAP_EINVAL, "\"%s\": expected nats://host:port", url);
    memcpy(text, at, n);
    text[n] = '\0';
    const char *bracket = strrchr(text, ']');
    const char *colon = strrchr(bracket ? bracket : text, ':');
    if (!colon) snprintf(text + n, sizeof text - n, ":%d", DEFAULT_PORT);
    enum neap_err err = np_addr_split(text, host, size, port, info);
    if (!err && (*port <= 0 || strncmp(text, "unix:", 5) == 0))
        err = np_err_set(info, NEAP_EINVAL, "\"%s\": expected nats://host:port", url);
    return err;
}
