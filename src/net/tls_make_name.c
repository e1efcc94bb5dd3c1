/* Which names can stand in a certificate. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "net/tls_make_cert.h"

enum { MAX_DNS = 253, MAX_LABEL = 63, MAX_URI = 2048 };

static bool is_word(unsigned char c)
{
    return isalnum(c) || c == '-' || c == '_';
}

/* Labels between dots; `text` is lower case. The words of what is wrong, or NULL. */
static const char *check_dns(const char *text)
{
    size_t n = strlen(text);
    const char *at = text;
    if (n == 0 || n > MAX_DNS) return n ? "longer than 253 bytes" : "empty";
    if (strncmp(at, "*.", 2) == 0) {
        at += 2;
        if (!strchr(at, '.')) return "no client takes a wildcard right below a top-level name";
    }
    for (;;) {
        size_t label = strcspn(at, ".");
        for (size_t i = 0; i < label; i++) {
            if (at[i] == '*') return "a wildcard stands for the whole first label: *.example.com";
            if (at[i] & 0x80) return "names in other scripts are written as xn--…";
            if (!is_word((unsigned char)at[i])) return "not a host name";
        }
        if (label == 0 || label > MAX_LABEL || at[0] == '-' || at[label - 1] == '-')
            return "not a host name";
        if (at[label] == '\0') return NULL;
        at += label + 1;
    }
}

bool np_tls_is_spiffe_id(const char *uri)
{
    static const char scheme[] = "spiffe://";
    size_t n = strlen(uri);
    if (n > MAX_URI || strncmp(uri, scheme, sizeof scheme - 1) != 0) return false;
    const char *at = uri + sizeof scheme - 1;
    size_t domain = strcspn(at, "/");
    if (domain == 0 || domain > 255) return false;
    for (size_t i = 0; i < domain; i++) {
        unsigned char c = (unsigned char)at[i];
        if (!islower(c) && !isdigit(c) && !strchr(".-_", c)) return false;
    }
    for (at += domain; *at == '/';) {
        at++;
        size_t segment = strcspn(at, "/");
        if (segment == 0) return false;
        if ((segment == 1 && at[0] == '.') || (segment == 2 && strncmp(at, "..", 2) == 0))
            return false;
        for (size_t i = 0; i < segment; i++) {
            if (!is_word((unsigned char)at[i]) && at[i] != '.') return false;
        }
        at += segment;
    }
    return *at == '\0';
}

static const char *check_uri(const char *text)
{
    if (strncmp(text, "spiffe:", 7) == 0)
        return np_tls_is_spiffe_id(text) ? NULL : "not a SPIFFE ID (spiffe://domain/path)";
    size_t n = strlen(text);
    if (n > MAX_URI) return "too long";
    for (size_t i = 0; i < n; i++) {
        if (text[i] <= ' ' || text[i] > '~') return "not a URI";
    }
    return isalpha((unsigned char)text[0]) ? NULL : "not a URI";
}

static const char *check_email(const char *text)
{
    const char *at = strrchr(text, '@');
    if (at == text || strchr(text, '@') != at) return "not a mail address";
    for (const char *p = text; p < at; p++) {
        if (*p <= ' ' || *p > '~' || strchr("()<>[]:;,\\\"", *p)) return "not a mail address";
    }
    return at[1] == '*' || check_dns(at + 1) ? "not a mail address" : NULL;
}

/* "[::1]", "::1", "127.0.0.1" → as inet_ntop writes it. */
static bool read_ip(const char *name, char *out, size_t size)
{
    char text[INET6_ADDRSTRLEN + 2];
    unsigned char bytes[16];
    size_t n = strlen(name);
    if (n >= sizeof text) return false;
    bool brackets = n > 2 && name[0] == '[' && name[n - 1] == ']';
    snprintf(text, sizeof text, "%.*s", (int)(brackets ? n - 2 : n), name + (brackets ? 1 : 0));
    if (!brackets && inet_pton(AF_INET, text, bytes) == 1)
        return inet_ntop(AF_INET, bytes, out, (socklen_t)size) != NULL;
    return inet_pton(AF_INET6, text, bytes) == 1 &&
           inet_ntop(AF_INET6, bytes, out, (socklen_t)size) != NULL;
}

/* 1.2.3, 256.1.1.1: nobody means a name by that. */
static bool looks_numeric(const char *text)
{
    return text[strspn(text, "0123456789.")] == '\0' && strchr(text, '.');
}

enum neap_err np_tls_read_name(const char *name, enum np_tls_name_kind *kind, char *out,
                               size_t size, struct neap_errinfo *info)
{
    const char *wrong;
    enum np_tls_name_kind is;
    size_t n = strlen(name);
    if (n >= size) return np_err_set(info, NEAP_EINVAL, "'%.40s…': too long for a name", name);
    if (read_ip(name, out, size)) {
        *kind = NP_TLS_NAME_IP;
        return NEAP_OK;
    }
    memcpy(out, name, n + 1);
    if (strstr(name, "://") || strncmp(name, "spiffe:", 7) == 0 || strncmp(name, "urn:", 4) == 0) {
        is = NP_TLS_NAME_URI;
        wrong = check_uri(out);
    } else if (strchr(name, '@')) {
        is = NP_TLS_NAME_EMAIL;
        wrong = check_email(out);
    } else {
        is = NP_TLS_NAME_DNS;
        for (char *p = out; *p; p++)
            *p = (char)tolower((unsigned char)*p);
        if (n > 1 && out[n - 1] == '.') out[n - 1] = '\0';
        wrong = check_dns(out);
        if (!wrong && looks_numeric(out)) wrong = "not an address";
    }
    if (wrong) return np_err_set(info, NEAP_EINVAL, "'%.80s': %s", name, wrong);
    *kind = is;
    return NEAP_OK;
}
