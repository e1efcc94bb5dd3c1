/* Watching files; see watch.h. */
#include "host/watch.h"

#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "net/timer.h"

#define SETTLE (100 * NP_NS_PER_MS)

struct file {
    struct np_link link;
    struct stat last; /* as it was when the last change was told, or when it was added */
    bool known;       /* it was there then */
    char path[];
};

struct dir {
    uv_fs_event_t event;
    struct np_link link;
    struct np_filewatch *watch;
    struct np_loop *loop;
    char path[];
};

struct np_filewatch {
    struct np_loop *loop;
    void (*fn)(void *arg);
    void *arg;
    struct np_timer settle;
    struct np_link files;
    struct np_link dirs;
};

static bool differs(const struct stat *a, const struct stat *b)
{
    return a->st_ino != b->st_ino || a->st_dev != b->st_dev || a->st_size != b->st_size ||
           a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec;
}

/* Looks at it, and keeps what it saw. One that is gone, or empty as it is while it is being
 * written, has not changed yet. */
static bool has_changed(struct file *f)
{
    struct stat now;
    if (stat(f->path, &now) != 0) return false;
    bool changed = !f->known || differs(&f->last, &now);
    if (changed && now.st_size == 0) return false;
    f->last = now;
    f->known = true;
    return changed;
}

static void on_settled(struct np_timer *t)
{
    struct np_filewatch *w = np_container_of(t, struct np_filewatch, settle);
    struct np_link *l;
    bool changed = false;
    np_list_each (l, &w->files) {
        if (has_changed(np_container_of(l, struct file, link))) changed = true;
    }
    if (changed) w->fn(w->arg); /* may free the watch */
}

static bool names_file_of(const struct dir *d, const char *name)
{
    struct np_link *l;
    if (!name) return true;
    np_list_each (l, &d->watch->files) {
        const struct file *f = np_container_of(l, struct file, link);
        const char *slash = strrchr(f->path, '/');
        if (strcmp(slash ? slash + 1 : f->path, name) == 0) return true;
    }
    return false;
}

static void on_event(uv_fs_event_t *h, const char *name, int events, int status)
{
    struct dir *d = h->data;
    (void)events;
    if (!d->watch || (status >= 0 && !names_file_of(d, name))) return;
    /* Started anew by each event: it is over when all is quiet. Without memory the first counts. */
    if (np_timer_start(&d->watch->settle, SETTLE)) return;
}

static void on_dir_closed(uv_handle_t *h)
{
    struct dir *d = h->data;
    struct np_loop *loop = d->loop;
    np_free(d);
    np_loop_release(loop);
}

static void close_dir(struct dir *d)
{
    d->watch = NULL;
    uv_close((uv_handle_t *)&d->event, on_dir_closed);
}

static enum neap_err watch_dir(struct np_filewatch *w, const char *path, size_t n)
{
    struct np_link *l;
    np_list_each (l, &w->dirs) {
        const struct dir *d = np_container_of(l, struct dir, link);
        if (strlen(d->path) == n && memcmp(d->path, path, n) == 0) return NEAP_OK;
    }
    struct dir *d = np_calloc(1, sizeof *d + n + 1);
    if (!d) return NEAP_ENOMEM;
    memcpy(d->path, path, n);
    d->watch = w;
    d->loop = w->loop;
    uv_fs_event_init(w->loop->uv, &d->event); /* cannot fail */
    d->event.data = d;
    np_loop_retain(w->loop);
    int rc = uv_fs_event_start(&d->event, on_event, d->path, 0);
    if (rc < 0) {
        close_dir(d);
        return rc == UV_ENOSPC ? NEAP_EMFILE : np_err_from_uv(rc);
    }
    uv_unref((uv_handle_t *)&d->event);
    np_list_push_back(&w->dirs, &d->link);
    return NEAP_OK;
}

enum neap_err np_filewatch_new(struct np_loop *loop, void (*fn)(void *arg), void *arg,
                               struct np_filewatch **out)
{
    struct np_filewatch *w = np_calloc(1, sizeof *w);
    if (!w) return NEAP_ENOMEM;
    w->loop = loop;
    w->fn = fn;
    w->arg = arg;
    np_link_init(&w->files);
    np_link_init(&w->dirs);
    np_timer_init(&w->settle, loop, on_settled);
    np_timer_set_background(&w->settle, true);
    *out = w;
    return NEAP_OK;
}

enum neap_err np_filewatch_add(struct np_filewatch *w, const char *path)
{
    struct np_link *l;
    np_list_each (l, &w->files) {
        if (strcmp(np_container_of(l, struct file, link)->path, path) == 0) return NEAP_OK;
    }
    const char *slash = strrchr(path, '/');
    size_t n = slash == path ? 1 : slash ? (size_t)(slash - path) : 1;
    struct file *f = np_calloc(1, sizeof *f + strlen(path) + 1);
    if (!f) return NEAP_ENOMEM;
    memcpy(f->path, path, strlen(path) + 1);
    enum neap_err err = watch_dir(w, slash ? path : ".", n);
    if (err) {
        np_free(f);
        return err;
    }
    f->known = stat(path, &f->last) == 0;
    np_list_push_back(&w->files, &f->link);
    return NEAP_OK;
}

void np_filewatch_free(struct np_filewatch *w)
{
    struct np_link *l;
    if (!w) return;
    np_timer_stop(&w->settle);
    while ((l = np_list_pop_front(&w->dirs)))
        close_dir(np_container_of(l, struct dir, link));
    while ((l = np_list_pop_front(&w->files)))
        np_free(np_container_of(l, struct file, link));
    np_free(w);
}
