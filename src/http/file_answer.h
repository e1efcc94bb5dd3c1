/* A file as the answer to a request: conditions, ranges, validators. Who sends it is file.c. One
 * thread, the loop's. */
#ifndef NP_HTTP_FILE_ANSWER_H
#define NP_HTTP_FILE_ANSWER_H

#include "http/file.h"
#include "proto/range.h"

/* How a file is told of. All text is lent for the call, and may go on the wire. */
struct np_file_answer {
    int status;                    /* 200; with any other neither conditions nor ranges count */
    struct np_bytes type;          /* Content-Type; p NULL: none */
    struct np_bytes cache_control; /* p NULL: none */
    struct np_bytes encoding;      /* Content-Encoding; p NULL: none */
    const struct np_http_header *headers; /* more of them */
    size_t nheaders;                      /* at most NP_FILE_MORE_HEADERS */
    bool vary;                            /* by Accept-Encoding */
    bool no_validators;                   /* neither ETag nor Last-Modified */
    bool no_ranges;
    size_t max_ranges; /* 0: NP_RANGES_MAX, which is the most */
    uint64_t nonce;    /* random: makes the boundary of several parts */
};
enum { NP_FILE_MORE_HEADERS = 32 };

/* The tag of a file: "<mtime in ns>-<size>", hex, with the coding's name behind it where it is
 * coded. The same on every machine whose copy keeps its time. What was changed within the last
 * second may change again without its showing: its tag is weak, and another than it will have
 * later. None for files of 1970, whose times mean nothing (images built so that they are
 * reproducible). */
enum { NP_FILE_ETAG_MAX = 64 };
size_t np_file_etag(const struct np_file *f, struct np_bytes encoding, int64_t now_ns,
                    char out[NP_FILE_ETAG_MAX]);

/* Answers GET and HEAD with the file, or 304, 412, 416 as the request's headers have it. Takes the
 * file on success; on failure (as of np_http_start) it is the caller's, nothing was written. */
NEAP_MUST_CHECK enum neap_err np_http_answer_file(struct np_http_exchange *x, struct np_file *f,
                                                  const struct np_file_answer *how);

#endif
