/* A directory of files under a prefix of paths: index files, coded siblings, types, what is hidden.
 *
 * It answers what it can and says what it cannot; the words of a refusal are its owner's. One
 * thread, the loop's.
 */
#ifndef NP_HTTP_FILE_SITE_H
#define NP_HTTP_FILE_SITE_H

#include "base/hash.h"
#include "http/file_answer.h"

enum { NP_SITE_INDEXES = 8, NP_SITE_CODINGS = 3, NP_SITE_RECENT = 256 };

/* The file that was served last, kept open for a request that comes with it: one that is read in
 * the same turn of the loop, with nothing of the script's in between. So nobody can tell that it
 * was not opened anew: no answer that left before it can have told of a later state. */
struct np_file_recent {
    struct np_file file;
    uint64_t epoch;
    size_t n;
    char path[NP_SITE_RECENT];
    struct np_timer timer; /* closes it, some time after */
};

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
    const uint64_t *epoch;         /* the scheduler's; NULL: every request opens its file */
    struct np_file_recent *recent; /* made when it is first of use */
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

/* Closes the root and what is kept open. */
void np_file_site_fini(struct np_file_site *s);

/* `path` is relative to the root and decoded once. The request is GET or HEAD. */
enum np_site_outcome np_file_site_serve(struct np_file_site *s, struct np_http_exchange *x,
                                        const char *path, size_t n);
/* The Content-Type for a name, with its charset: written to `out`, which holds `size` bytes. */
struct np_bytes np_file_type(const struct np_file_types *t, const char *path, size_t n, char *out,
                             size_t size);
enum np_site_outcome np_file_outcome(enum neap_err err);

#endif
