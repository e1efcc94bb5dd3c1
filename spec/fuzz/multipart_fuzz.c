/* Multipart forms: the first byte says how the body is cut, the boundary is "b". What a parser says
 * does not depend on the cuts, file names have no path, and limits hold. Also what is behind the
 * first byte as a Content-Type.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct np_multipart_limits limits = {8, 512, 256, 1024, 4096};

/* What came, in a form that does not show where pieces ended. */
struct seen {
    struct np_buf log;
    enum neap_err err;
};

static void check(enum neap_err err)
{
    if (err) abort();
}

static void note_part(struct seen *s, const struct np_multipart_part *p)
{
    check(np_buf_append(&s->log, "<", 1));
    check(np_buf_append(&s->log, p->name.p, p->name.n));
    if (p->nheaders < 1 || p->nheaders > NP_MULTIPART_HEADERS_MAX) abort();
    if (!p->filename.p) return;
    for (size_t i = 0; i < p->filename.n; i++) {
        unsigned char c = (unsigned char)p->filename.p[i];
        if (c < 0x20 || c == 0x7f || c == '/' || c == '\\') abort();
    }
    if (p->filename.n == 2 && memcmp(p->filename.p, "..", 2) == 0) abort();
    check(np_buf_append(&s->log, "|", 1));
    check(np_buf_append(&s->log, p->filename.p, p->filename.n));
}

static enum neap_err feed(struct np_multipart *m, struct seen *s, const char *p, size_t n)
{
    enum np_multipart_event e;
    do {
        struct np_bytes data = {NULL, 0};
        size_t used = 0;
        enum neap_err err = np_multipart_next(m, p, n, &used, &e, &data, NULL);
        if (err) return err;
        if (used > n || (e == NP_MULTIPART_MORE && used != n)) abort();
        if (e == NP_MULTIPART_PART) note_part(s, &m->part);
        if (e == NP_MULTIPART_DATA) check(np_buf_append(&s->log, data.p, data.n));
        if (e == NP_MULTIPART_PART_END) check(np_buf_append(&s->log, ">", 1));
        if (e == NP_MULTIPART_END) check(np_buf_append(&s->log, ".", 1));
        p += used;
        n -= used;
    } while (e != NP_MULTIPART_MORE);
    return NEAP_OK;
}

static void parse(struct seen *s, const char *p, size_t n, size_t piece)
{
    struct np_multipart m;
    check(np_multipart_init(&m, "b", 1, &limits));
    for (size_t at = 0; at < n && !s->err; at += piece) {
        /* of the very size, so that reading past the end is seen */
        size_t len = n - at < piece ? n - at : piece;
        char *copy = malloc(len);
        if (!copy) abort();
        memcpy(copy, p + at, len);
        s->err = feed(&m, s, copy, len);
        free(copy);
    }
    if (!s->err) s->err = np_multipart_finish(&m, NULL);
    np_multipart_fini(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    const char *p = (const char *)data + 1;
    size_t n = size - 1;
    struct seen whole = {0}, cut = {0};
    parse(&whole, p, n, n ? n : 1);
    parse(&cut, p, n, 1 + data[0] % 64);
    if (!whole.err != !cut.err) abort();
    if (!whole.err &&
        (np_buf_len(&whole.log) != np_buf_len(&cut.log) ||
         memcmp(np_buf_data(&whole.log), np_buf_data(&cut.log), np_buf_len(&cut.log)) != 0))
        abort();
    np_buf_fini(&whole.log);
    np_buf_fini(&cut.log);
    char boundary[NP_MULTIPART_BOUNDARY_MAX + 1];
    if (np_multipart_boundary(p, n, boundary, NULL) == NEAP_OK &&
        !np_multipart_boundary_ok(boundary, strlen(boundary)))
        abort();
    return 0;
}
