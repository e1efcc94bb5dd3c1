/* A small DNS server on the test's own loop, for tests of lookups: answers what a table says. */
#ifndef NET_DNS_SERVER_H
#define NET_DNS_SERVER_H

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

#include "fixture.h"
#include "net/dns.h"
#include "net/udp.h"

enum { DNS_A = 1, DNS_AAAA = 28, DNS_SRV = 33 };

struct dns_record {
    const char *name; /* without the last dot; NULL ends the table */
    int type;         /* 0: never answered */
    const char *data; /* an address; or an SRV record, "priority weight port target"; NULL: this
                         type is never answered */
    unsigned ttl;
};

struct dns_server {
    struct np_udp *udp;
    const struct dns_record *table;
    int asked;
    bool garbage; /* answers with bytes that are no records */
    bool closed;
};

struct dns_out {
    unsigned char p[2048];
    size_t n;
};

static inline void dns_u16(struct dns_out *o, unsigned v)
{
    o->p[o->n++] = (unsigned char)(v >> 8);
    o->p[o->n++] = (unsigned char)v;
}

static inline void dns_name(struct dns_out *o, const char *name)
{
    while (*name) {
        size_t n = strcspn(name, ".");
        o->p[o->n++] = (unsigned char)n;
        memcpy(o->p + o->n, name, n);
        o->n += n;
        name += n + (name[n] == '.');
    }
    o->p[o->n++] = 0;
}

static inline void dns_record(struct dns_out *o, const struct dns_record *r, bool garbage)
{
    int priority, weight, port;
    char target[256];
    dns_name(o, r->name);
    dns_u16(o, (unsigned)r->type);
    dns_u16(o, 1);
    dns_u16(o, r->ttl >> 16);
    dns_u16(o, r->ttl);
    size_t len_at = o->n;
    dns_u16(o, 0);
    if (garbage) {
        dns_u16(o, 0xffff);
    } else if (r->type == DNS_A) {
        assert_int_equal(inet_pton(AF_INET, r->data, o->p + o->n), 1);
        o->n += 4;
    } else if (r->type == DNS_AAAA) {
        assert_int_equal(inet_pton(AF_INET6, r->data, o->p + o->n), 1);
        o->n += 16;
    } else {
        assert_int_equal(sscanf(r->data, "%d %d %d %255s", &priority, &weight, &port, target), 4);
        dns_u16(o, (unsigned)priority);
        dns_u16(o, (unsigned)weight);
        dns_u16(o, (unsigned)port);
        dns_name(o, strcmp(target, ".") == 0 ? "" : target);
    }
    size_t n = o->n - len_at - 2;
    o->p[len_at] = (unsigned char)(n >> 8);
    o->p[len_at + 1] = (unsigned char)n;
}

/* The question's name as text; returns where its type stands. */
static inline size_t dns_question(const unsigned char *p, size_t n, char *name)
{
    size_t at = 12, len = 0;
    while (at < n && p[at]) {
        if (len) name[len++] = '.';
        memcpy(name + len, p + at + 1, p[at]);
        len += p[at];
        at += p[at] + 1u;
    }
    name[len] = '\0';
    return at + 1;
}

static inline void dns_on_recv(struct np_udp *u, const char *data, size_t n,
                               const struct sockaddr *from, bool truncated)
{
    struct dns_server *s = np_udp_arg(u);
    const unsigned char *p = (const unsigned char *)data;
    char name[512];
    struct dns_out o = {.n = 0};
    unsigned answers = 0;
    bool known = false;
    size_t type_at = dns_question(p, n, name);
    int type = p[type_at] << 8 | p[type_at + 1];
    s->asked++;
    memcpy(o.p, p, type_at + 4); /* header and question */
    o.n = type_at + 4;
    for (const struct dns_record *r = s->table; r->name; r++) {
        if (strcasecmp(r->name, name) != 0) continue;
        if (r->type == 0) return;
        known = true;
        if (r->type != type) continue;
        if (!r->data) return;
        dns_record(&o, r, s->garbage);
        answers++;
    }
    struct dns_out head = {.n = 2};
    dns_u16(&head, known ? 0x8180 : 0x8183); /* an answer; or no such name */
    dns_u16(&head, 1);
    dns_u16(&head, answers);
    dns_u16(&head, 0);
    dns_u16(&head, 0);
    memcpy(o.p + 2, head.p + 2, 10);
    assert_ok(np_udp_send(u, o.p, o.n, from));
}

static inline void dns_on_close(struct np_udp *u)
{
    struct dns_server *s = np_udp_arg(u);
    s->closed = true;
}

static const struct np_udp_handler dns_handler = {.on_recv = dns_on_recv, .on_close = dns_on_close};

static inline void dns_server_start(struct fix *f, struct dns_server *s,
                                    const struct dns_record *table)
{
    char text[NP_ADDR_TEXT_MAX];
    *s = (struct dns_server){.table = table};
    assert_ok(np_udp_open(&f->loop, "127.0.0.1", 0, NULL, &dns_handler, s, &s->udp, NULL));
    assert_ok(np_udp_recv_start(s->udp));
    np_udp_set_ref(s->udp, false);
    assert_ok(np_udp_local(s->udp, text, sizeof text, NULL));
    assert_ok(np_dns_set_servers(&f->loop, text));
}

static inline void dns_server_stop(struct fix *f, struct dns_server *s)
{
    np_udp_close(s->udp);
    run_until(f, s->closed);
}

#endif
