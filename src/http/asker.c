/* Who asks; see asker.h. One thread, the loop's. */
#include "http/asker.h"

#include <string.h>

#include "http/server_impl.h"

/* "10.0.0.1:80" and "[::1]:80" without their ports; other names as they are. */
static void set_client(struct np_http_asker *a, const char *peer)
{
    size_t n = strlen(peer);
    const char *colon = strrchr(peer, ':');
    bool path = strncmp(peer, "unix:", 5) == 0;
    if (*peer == '[') {
        const char *close = strchr(peer, ']');
        peer++;
        n = close ? (size_t)(close - peer) : n - 1;
    } else if (colon && !path) {
        n = (size_t)(colon - peer);
    }
    if (n >= sizeof a->client) n = sizeof a->client - 1;
    memcpy(a->client, peer, n);
    a->client[n] = '\0';
}

bool np_http_trusts_anybody(const struct np_http_exchange *x)
{
    const struct np_cidr_list *l = &x->server->opts.forwarded->trusted;
    return l->n || l->unix_peers || l->everybody;
}

void np_http_exchange_asker(struct np_http_exchange *x, struct np_http_asker *out)
{
    const struct np_http_head *h = &x->head;
    const struct np_forwarded_policy *policy = x->server->opts.forwarded;
    const char *peer = np_http_exchange_peer_name(x);
    struct np_forwarded f = {.client_port = -1, .port = -1};
    struct np_bytes host = np_http_header_get(h, "host", 4);
    if (np_http_trusts_anybody(x)) np_forwarded_resolve(h, peer, policy, &f);
    out->trusted = f.trusted;
    out->port = f.port;
    out->host = f.host.p ? f.host : host.p ? host : (struct np_bytes){"", 0};
    const struct np_stream *stream = np_http_exchange_stream(x);
    bool secure = stream && strcmp(stream->ops->kind, "tls") == 0;
    out->scheme = f.scheme ? f.scheme : secure ? "https" : "http";
    if (f.found)
        np_ip_format(&f.client, out->client);
    else
        set_client(out, peer);
}
