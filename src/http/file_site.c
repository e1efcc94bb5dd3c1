/* A directory of files; see file_site.h. */
#include "http/file_site.h"

#include <ctype.h>
#include <string.h>

#include "base/alloc.h"
#include "http/server_impl.h"
#include "proto/accept.h"
#include "proto/mime.h"

enum { PATH_BYTES = 4096, MORE = 256, TYPE_MAX = 160 };

/* A path under construction: what was asked for, and room for an index's name or a suffix. */
struct path {
    char text[PATH_BYTES + MORE];
    size_t n;
};

/* --- types */

static const char *own_type(const struct np_map *own, struct np_bytes extension)
{
    char key[32];
    if (!own || extension.n == 0 || extension.n >= sizeof key) return NULL;
    for (size_t i = 0; i < extension.n; i++)
        key[i] = (char)tolower((unsigned char)extension.p[i]);
    return np_map_get(own, key, extension.n);
}

static char *put(char *at, struct np_bytes b)
{
    memcpy(at, b.p, b.n);
    return at + b.n;
}

struct np_bytes np_file_type(const struct np_file_types *t, const char *path, size_t n, char *out,
                             size_t size)
{
    struct np_bytes extension = np_mime_extension(path, n);
    const char *type = own_type(t->own, extension);
    if (!type) type = np_mime_type(extension);
    if (!type) type = "application/octet-stream";
    struct np_bytes plain = {type, strlen(type)};
    struct np_bytes charset = {t->charset, t->charset ? strlen(t->charset) : 0};
    static const struct np_bytes between = {"; charset=", 10};
    if (!charset.p || strchr(type, ';') || !np_mime_is_text(type)) return plain;
    size_t all = plain.n + between.n + charset.n;
    if (all > size) return plain;
    put(put(put(out, plain), between), charset);
    return (struct np_bytes){out, all};
}

/* --- coded siblings */

static const struct {
    struct np_bytes suffix, coding;
} siblings[NP_SITE_CODINGS] = {
    {{".br", 3}, {"br", 2}}, {{".zst", 4}, {"zstd", 4}}, {{".gz", 3}, {"gzip", 4}}};

static bool looks_for_siblings(const struct np_file_site *s)
{
    return s->codings[0] || s->codings[1] || s->codings[2];
}

/* Opens the sibling that the client likes best and that is there; of equals the smaller kind. */
static enum neap_err open_sibling(struct np_file_site *s, const struct np_http_head *head,
                                  struct path *path, struct np_file *f, struct np_bytes *coding)
{
    static const struct np_bytes identity = {"identity", 8};
    bool tried[NP_SITE_CODINGS] = {false};
    if (!np_accept_given(head, NP_ACCEPT_ENCODING)) return NEAP_OK;
    int plain = np_accept_weight(head, NP_ACCEPT_ENCODING, identity);
    for (;;) {
        int best = -1, best_weight = 0;
        for (int i = 0; i < NP_SITE_CODINGS; i++) {
            if (!s->codings[i] || tried[i]) continue;
            int w = np_accept_weight(head, NP_ACCEPT_ENCODING, siblings[i].coding);
            if (w > best_weight) best = i, best_weight = w;
        }
        if (best < 0 || best_weight < plain) return NEAP_OK;
        tried[best] = true;
        struct np_file coded;
        *put(path->text + path->n, siblings[best].suffix) = '\0';
        enum neap_err err = np_file_open_beneath(&s->root, path->text, &coded);
        path->text[path->n] = '\0';
        if (err == NEAP_ENOENT || err == NEAP_EACCES) continue;
        if (err) return err;
        if (coded.directory) {
            np_file_close(&coded);
            continue;
        }
        np_file_close(f);
        *f = coded;
        *coding = siblings[best].coding;
        return NEAP_OK;
    }
}

/* --- answering */

enum np_site_outcome np_file_outcome(enum neap_err err)
{
    switch (err) {
    case NEAP_OK:
        return NP_SITE_ANSWERED;
    case NEAP_ENOENT:
    case NEAP_EINVAL:
        return NP_SITE_ABSENT;
    case NEAP_EACCES:
        return NP_SITE_DENIED;
    case NEAP_EMFILE:
    case NEAP_ENOMEM:
    case NEAP_ELIMIT:
        return NP_SITE_BUSY;
    default:
        return NP_SITE_FAILED;
    }
}

static enum np_site_outcome answer(struct np_file_site *s, struct np_http_exchange *x,
                                   struct path *path, struct np_file *f)
{
    char type[TYPE_MAX];
    struct np_file_answer how = s->answer;
    how.type = np_file_type(&s->types, path->text, path->n, type, sizeof type);
    how.nonce = s->rng ? np_rng_next(s->rng) : 0;
    enum neap_err err = NEAP_OK;
    if (looks_for_siblings(s)) {
        how.vary = true;
        err = open_sibling(s, &x->head, path, f, &how.encoding);
    }
    if (!err) err = np_http_answer_file(x, f, &how);
    if (!err) return NP_SITE_ANSWERED;
    np_file_close(f);
    return err == NEAP_EINVAL ? NP_SITE_FAILED : np_file_outcome(err);
}

/* --- finding */

static enum np_site_outcome serve_index(struct np_file_site *s, struct np_http_exchange *x,
                                        struct path *path)
{
    size_t before = path->n;
    struct np_file f;
    for (size_t i = 0; i < s->nindexes; i++) {
        size_t n = strlen(s->indexes[i]);
        if (before + n + 8 > sizeof path->text) break;
        memcpy(path->text + before, s->indexes[i], n + 1);
        path->n = before + n;
        enum neap_err err = np_file_open_beneath(&s->root, path->text, &f);
        if (!err && !f.directory) return answer(s, x, path, &f);
        if (!err)
            np_file_close(&f);
        else if (err != NEAP_ENOENT)
            return np_file_outcome(err);
    }
    path->text[before] = '.';
    path->text[before + 1] = '\0';
    path->n = before;
    enum neap_err err = np_file_open_beneath(&s->root, path->text, &f);
    path->text[before] = '\0';
    if (err) return np_file_outcome(err);
    bool directory = f.directory;
    np_file_close(&f);
    return directory ? NP_SITE_NO_INDEX : NP_SITE_ABSENT;
}

/* --- the file that was served last */

static void on_recent_old(struct np_timer *t)
{
    struct np_file_recent *r = np_container_of(t, struct np_file_recent, timer);
    np_file_close(&r->file);
}

void np_file_site_fini(struct np_file_site *s)
{
    if (s->recent) {
        np_timer_stop(&s->recent->timer);
        np_file_close(&s->recent->file);
        np_free(s->recent);
        s->recent = NULL;
    }
    np_file_root_close(&s->root);
}

/* Lends the file, if it is the same and was opened just now. */
static bool borrow(struct np_file_site *s, const struct path *path, struct np_file *f)
{
    struct np_file_recent *r = s->recent;
    if (!s->epoch || !r || r->file.fd < 0 || *s->epoch != r->epoch + 1 || r->n != path->n ||
        memcmp(r->path, path->text, path->n) != 0)
        return false;
    r->epoch = *s->epoch;
    *f = r->file;
    f->lent = true;
    return true;
}

/* Keeps an open file for the next, and lends it; or leaves it as it is. */
static void remember(struct np_file_site *s, struct np_loop *loop, const struct path *path,
                     struct np_file *f)
{
    struct np_file_recent *r = s->recent;
    if (!s->epoch || path->n > sizeof r->path) return;
    if (!r) {
        r = np_calloc(1, sizeof *r);
        if (!r) return;
        r->file.fd = -1;
        np_timer_init(&r->timer, loop, on_recent_old);
        np_timer_set_background(&r->timer, true);
        s->recent = r;
    }
    if (!np_timer_armed(&r->timer) && np_timer_start(&r->timer, NP_NS_PER_SEC)) return;
    np_file_close(&r->file);
    r->file = *f;
    r->epoch = *s->epoch;
    r->n = path->n;
    memcpy(r->path, path->text, path->n);
    f->lent = true;
}

static enum np_site_outcome serve_path(struct np_file_site *s, struct np_http_exchange *x,
                                       struct path *path)
{
    struct np_file f;
    if (path->n == 0 || path->text[path->n - 1] == '/') return serve_index(s, x, path);
    if (borrow(s, path, &f)) return answer(s, x, path, &f);
    enum neap_err err = np_file_open_beneath(&s->root, path->text, &f);
    if (err) return np_file_outcome(err);
    if (f.directory) {
        np_file_close(&f);
        return NP_SITE_DIRECTORY;
    }
    remember(s, x->server->loop, path, &f);
    return answer(s, x, path, &f);
}

/* Whether the name is that of a page, and not of something that a page would load. */
static bool may_fall_back(const struct np_file_types *t, const char *path, size_t n)
{
    struct np_bytes extension = np_mime_extension(path, n);
    const char *type = own_type(t->own, extension);
    if (!type) type = np_mime_type(extension);
    return !type || strncmp(type, "text/html", 9) == 0;
}

static void set_path(struct path *path, const char *text, size_t n)
{
    memcpy(path->text, text, n);
    path->text[n] = '\0';
    path->n = n;
}

enum np_site_outcome np_file_site_serve(struct np_file_site *s, struct np_http_exchange *x,
                                        const char *path, size_t n)
{
    struct path p;
    if (!np_file_path_ok(path, n, s->dotfiles)) return NP_SITE_ABSENT;
    set_path(&p, path, n);
    enum np_site_outcome outcome = serve_path(s, x, &p);
    if ((outcome != NP_SITE_ABSENT && outcome != NP_SITE_NO_INDEX) || !s->fallback) return outcome;
    if (!may_fall_back(&s->types, path, n)) return outcome;
    set_path(&p, s->fallback, strlen(s->fallback));
    return serve_path(s, x, &p);
}
