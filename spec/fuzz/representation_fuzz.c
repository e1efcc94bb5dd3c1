/* Headers that say which representation a client wants: Range, conditions, Accept-*, dates, and the
 * names of files. The first byte chooses; the rest is the value. */
#include <stdlib.h>
#include <string.h>

#include "net/file.h"
#include "proto/accept.h"
#include "proto/conditional.h"
#include "proto/http_date.h"
#include "proto/mime.h"
#include "proto/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ranges(struct np_bytes value)
{
    struct np_range r[NP_RANGES_MAX];
    static const uint64_t sizes[] = {0, 1, 10, UINT64_C(1) << 40, UINT64_MAX / 2};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        size_t n;
        enum np_ranges is = np_ranges_read(value, sizes[k], r, NP_RANGES_MAX, &n);
        if ((is == NP_RANGES_SOME) != (n > 0) || n > NP_RANGES_MAX) abort();
        for (size_t i = 0; i < n; i++) {
            if (r[i].first > r[i].last || r[i].last >= sizes[k]) abort();
            for (size_t j = 0; j < i; j++) {
                if (r[i].first <= r[j].last && r[j].first <= r[i].last) abort();
            }
        }
    }
}

static void conditions(struct np_bytes value)
{
    static const char *const names[] = {"If-Match", "If-None-Match", "If-Modified-Since",
                                        "If-Unmodified-Since", "If-Range"};
    struct np_validators v = {{"\"a\"", 3}, 1700000000, true, false};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct np_http_header header = {{names[i], strlen(names[i])}, value};
        struct np_http_head h = {.method = HTTP_GET, .headers = &header, .nheaders = 1};
        if (!np_has_conditions(&h)) abort();
        enum np_condition is = np_conditional(&h, &v, 1700000000);
        if (i == 4 && is != NP_CONDITION_HOLDS) abort();
        if (np_if_range_holds(&h, &v, 1700000000) && i == 4 && !value.n) abort();
    }
}

static void preferences(struct np_bytes value)
{
    static const struct {
        const char *name, *candidate;
    } rows[] = {{"Accept", "text/html;level=1"},
                {"Accept-Encoding", "gzip"},
                {"Accept-Charset", "utf-8"},
                {"Accept-Language", "de-CH"}};
    for (int i = 0; i < 4; i++) {
        struct np_http_header header = {{rows[i].name, strlen(rows[i].name)}, value};
        struct np_http_head h = {.headers = &header, .nheaders = 1};
        struct np_bytes candidate = {rows[i].candidate, strlen(rows[i].candidate)};
        int w = np_accept_weight(&h, (enum np_accept)i, candidate);
        if (w < 0 || w > 1000) abort();
    }
}

static void dates(struct np_bytes value)
{
    int64_t t, again;
    char text[NP_HTTP_DATE_LEN];
    if (!np_http_date_parse(value, 1700000000, &t)) return;
    np_http_date_format(t, text);
    if (t < 0) return; /* before 1970: said as its beginning */
    if (!np_http_date_parse((struct np_bytes){text, sizeof text}, 1700000000, &again)) abort();
    if (again != t) abort();
}

/* A name that is allowed has no segment that climbs, nor any byte that a path may not have. */
static void names(struct np_bytes value)
{
    const char *type = np_mime_type(np_mime_extension(value.p, value.n));
    if (type && !strchr(type, '/')) abort();
    if (!np_file_path_ok(value.p, value.n, true)) return;
    if (value.n && (*value.p == '/' || memchr(value.p, 0, value.n))) abort();
    for (size_t i = 0; i + 1 < value.n; i++) {
        bool begins = i == 0 || value.p[i - 1] == '/';
        bool ends = i + 2 == value.n || value.p[i + 2] == '/';
        if (begins && ends && value.p[i] == '.' && value.p[i + 1] == '.') abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const all[])(struct np_bytes) = {ranges, conditions, preferences, dates, names};
    if (size == 0 || size > 20000) return 0;
    char *copy = malloc(size); /* of its own, so that a byte too many is seen */
    if (!copy) return 0;
    if (size > 1) memcpy(copy, data + 1, size - 1);
    all[data[0] % 5]((struct np_bytes){copy, size - 1});
    free(copy);
    return 0;
}
