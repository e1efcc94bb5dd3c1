/* The grammar of subjects and patterns, and comparing them without a trie (see subject.h). */
#include "mesh/subject.h"

#include <string.h>

struct cursor {
    const char *at;
    const char *end; /* NULL once the last token was taken */
};
struct token {
    const char *p;
    size_t n;
};

static struct cursor cursor_over(const char *s, size_t n)
{
    return (struct cursor){s, s + n};
}

static bool next_token(struct cursor *c, struct token *t)
{
    if (c->end == NULL) return false;
    size_t left = (size_t)(c->end - c->at);
    const char *dot = left ? memchr(c->at, '.', left) : NULL;
    *t = (struct token){c->at, dot ? (size_t)(dot - c->at) : left};
    if (dot != NULL) {
        c->at = dot + 1;
    } else {
        c->end = NULL;
    }
    return true;
}

static bool token_is(struct token t, char c)
{
    return t.n == 1 && t.p[0] == c;
}

static bool byte_ok(unsigned char c)
{
    return c > ' ' && c != 0x7f;
}

/* Tokens that are not empty and have no bad byte; wildcards only where `wild`, '>' only last. */
static bool tokens_ok(const char *s, size_t n, bool wild)
{
    struct cursor c = cursor_over(s, n);
    struct token t;
    bool ended = false;
    while (next_token(&c, &t)) {
        if (t.n == 0 || ended) return false;
        ended = token_is(t, '>');
        if ((ended || token_is(t, '*')) && !wild) return false;
        for (size_t i = 0; i < t.n; i++) {
            if (!byte_ok((unsigned char)t.p[i])) return false;
        }
    }
    return true;
}

bool np_subject_ok(const char *s, size_t n)
{
    return tokens_ok(s, n, false);
}

bool np_pattern_ok(const char *s, size_t n)
{
    return tokens_ok(s, n, true);
}

bool np_queue_name_ok(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!byte_ok((unsigned char)s[i])) return false;
    }
    return n > 0;
}

bool np_pattern_has_wildcard(const char *s, size_t n)
{
    struct cursor c = cursor_over(s, n);
    struct token t;
    while (next_token(&c, &t)) {
        if (token_is(t, '*') || token_is(t, '>')) return true;
    }
    return false;
}

bool np_pattern_covers(const char *outer, size_t on, const char *inner, size_t in)
{
    struct cursor oc = cursor_over(outer, on);
    struct cursor ic = cursor_over(inner, in);
    struct token o, i;
    for (;;) {
        bool has_o = next_token(&oc, &o);
        bool has_i = next_token(&ic, &i);
        if (!has_o || !has_i) return has_o == has_i;
        if (token_is(o, '>')) return true;
        if (token_is(i, '>')) return false;
        if (token_is(o, '*')) continue;
        if (o.n != i.n || memcmp(o.p, i.p, o.n) != 0) return false;
    }
}

bool np_pattern_match(const char *pattern, size_t pn, const char *subject, size_t sn)
{
    return np_pattern_covers(pattern, pn, subject, sn);
}
