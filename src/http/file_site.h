/* A directory of files under a prefix of paths: index files, coded siblings, types, what is hidden.
 *
 * It answers what it can and says what it cannot; the words of a refusal are its owner's. One
 * thread, the loop's.
 */
#ifndef NP_HTTP_FILE_SITE_H
#define NP_HTTP_FILE_SITE_H

#include "base/hash.h"
#include "http/file_answer.h"

enum { NP_SITE_INDEXES = 8, NP_SITE_CODINGS = 3 };

/* What differs from the built-in table: extension (lower case) → type. The map's values are its
 * owner's. */
struct np_file_types {
    const struct np_map *own; /* NULL: none */
    const char *charset;      /* behind text types; NULL: none */
};

struct np_file_site {
    struct np_file_root root;
    const char *indexes[NP_SITE_INDEXES];
    size_t nindexes;
    const char *fallback; /* path of a file for what is not there (single-page apps), or NULL */
    bool dotfiles;        /* served */
    bool codings[NP_SITE_CODINGS]; /* siblings .br, .zst, .gz are looked for */
    struct np_file_types types;
    struct np_file_answer answer; /* type, encoding, vary and nonce are the request's */
    struct np_rng *rng;
};

enum np_site_outcome {
    NP_SITE_ANSWERED,
    NP_SITE_ABSENT,    /* 404: or hidden, or outside */
    NP_SITE_DIRECTORY, /* asked for without its slash */
    NP_SITE_NO_INDEX,  /* a directory that has none: a listing, or 404 */
    NP_SITE_DENIED,    /* 403: the process may not read it */
    NP_SITE_BUSY,      /* 503: no descriptor or memory is left */
    NP_SITE_FAILED,    /* 500, or the client has left */
};

/* `path` is relative to the root and decoded once. The request is GET or HEAD. */
enum np_site_outcome np_file_site_serve(struct np_file_site *s, struct np_http_exchange *x,
                                        const char *path, size_t n);
/* The Content-Type for a name, with its charset: written to `out`, which holds `size` bytes. */
struct np_bytes np_file_type(const struct np_file_types *t, const char *path, size_t n, char *out,
                             size_t size);
enum np_site_outcome np_file_outcome(enum neap_err err);

#endif
