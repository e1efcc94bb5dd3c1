/* Files that only grow; see append.h.
 *
 * Each file has a lock and a thread, which the first block starts. The lock is never held across a
 * write. What is no regular file (a pipe, a terminal) is waited for with poll, and written in
 * pieces of whole lines that a pipe takes at once, so that the thread can be told to end.
 */
#include "base/append.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log_file.h"

enum {
    KEEP_SPARE = 4,        /* empty blocks of a file that are kept */
    SPARE_MAX = 128 << 10, /* … and how large they may be */
    STACK = 128 << 10,
    LOOK_AGAIN = 100, /* ms between two looks whether it is to end */
};
#define LAST_WORDS 1.0 /* seconds */

struct np_append_set {
    pthread_mutex_t lock;
    struct np_link files; /* of struct np_append */
    uid_t owner;
    gid_t group;
};

struct np_append {
    struct np_append_set *set;
    struct np_link link;
    char *path; /* NULL: `fd` is somebody else's */
    unsigned users;
    size_t bound;

    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t thread;
    bool started, stopping, gone; /* gone: the thread has ended */
    int fd;
    bool reopen;                       /* before what is put from here on … */
    struct np_append_block *reopen_at; /* … which is behind this block; NULL: at once */
    struct np_append_block *first, *last;
    bool writing;
    size_t waiting;        /* bytes, those being written included */
    uint64_t put, written; /* blocks */
    uint64_t dropped;
    struct np_append_block *spare;
    unsigned nspare;
    struct neap_errinfo trouble;
    bool troubled;
};

/* --- the set */

enum neap_err np_append_set_new(struct np_append_set **out)
{
    struct np_append_set *set = np_alloc(sizeof *set);
    if (!set) return NEAP_ENOMEM;
    if (pthread_mutex_init(&set->lock, NULL) != 0) {
        np_free(set);
        return NEAP_ENOMEM;
    }
    np_link_init(&set->files);
    set->owner = (uid_t)-1;
    set->group = (gid_t)-1;
    *out = set;
    return NEAP_OK;
}

void np_append_set_owner(struct np_append_set *set, uid_t owner, gid_t group)
{
    pthread_mutex_lock(&set->lock);
    set->owner = owner;
    set->group = group;
    pthread_mutex_unlock(&set->lock);
}

void np_append_set_free(struct np_append_set *set)
{
    if (!set) return;
    pthread_mutex_destroy(&set->lock);
    np_free(set);
}

void np_append_set_reopen(struct np_append_set *set)
{
    struct np_link *l;
    pthread_mutex_lock(&set->lock);
    np_list_each (l, &set->files) {
        struct np_append *a = np_container_of(l, struct np_append, link);
        if (!a->path) continue;
        pthread_mutex_lock(&a->lock);
        a->reopen = true;
        a->reopen_at = a->last;
        pthread_cond_signal(&a->work);
        pthread_mutex_unlock(&a->lock);
    }
    pthread_mutex_unlock(&set->lock);
}

/* --- the thread */

static void note_trouble(struct np_append *a, const struct neap_errinfo *info)
{
    a->trouble = *info;
    a->troubled = true;
}

/* With the lock. */
static void do_reopen(struct np_append *a)
{
    struct neap_errinfo info = {0};
    int fd = -1;
    a->reopen = false;
    pthread_mutex_unlock(&a->lock);
    enum neap_err err = np_log_file_open(a->path, (uid_t)-1, (gid_t)-1, &fd, &info);
    pthread_mutex_lock(&a->lock);
    if (err) {
        note_trouble(a, &info);
        return;
    }
    close(a->fd);
    a->fd = fd;
}

/* How much of the lines may be written at once where more might block. */
static size_t portion(const char *p, size_t n)
{
    if (n <= PIPE_BUF) return n;
    const char *nl = memrchr(p, '\n', PIPE_BUF);
    return nl ? (size_t)(nl + 1 - p) : PIPE_BUF;
}

/* Waits for room, unless it is to end. Without the lock. */
static bool wait_for_room(struct np_append *a, int fd)
{
    for (;;) {
        pthread_mutex_lock(&a->lock);
        bool end = a->stopping;
        pthread_mutex_unlock(&a->lock);
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int rc = poll(&p, 1, end ? 0 : LOOK_AGAIN);
        if (rc > 0) return true;
        if (end || (rc < 0 && errno != EINTR)) return false;
    }
}

/* Without the lock. */
static bool write_all(struct np_append *a, int fd, const struct np_append_block *b)
{
    struct stat st;
    bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    for (size_t at = 0; at < b->len;) {
        if (!regular && !wait_for_room(a, fd)) return false;
        size_t n = regular ? b->len - at : portion(b->data + at, b->len - at);
        ssize_t done = write(fd, b->data + at, n);
        if (done < 0 && (errno == EINTR || (errno == EAGAIN && !regular))) continue;
        if (done <= 0) return false;
        at += (size_t)done;
    }
    return true;
}

/* With the lock. */
static void recycle(struct np_append *a, struct np_append_block *b)
{
    if (a->nspare < KEEP_SPARE && b->cap <= SPARE_MAX) {
        b->next = a->spare;
        a->spare = b;
        a->nspare++;
    } else {
        np_free(b);
    }
}

/* With the lock, which it gives up for a while. */
static void write_first(struct np_append *a)
{
    struct np_append_block *b = a->first;
    bool then_reopen = a->reopen && a->reopen_at == b;
    int fd = a->fd;
    a->first = b->next;
    if (!a->first) a->last = NULL;
    a->writing = true;
    pthread_mutex_unlock(&a->lock);
    bool ok = write_all(a, fd, b);
    int e = errno;
    pthread_mutex_lock(&a->lock);
    a->writing = false;
    a->waiting -= b->len;
    a->written++;
    if (!ok) {
        struct neap_errinfo info = {0};
        a->dropped += b->lines;
        np_err_set(&info, NEAP_EIO, "cannot write to %.100s: %s", a->path ? a->path : "it",
                   strerror(e));
        note_trouble(a, &info);
    }
    recycle(a, b);
    if (then_reopen) a->reopen_at = NULL;
    pthread_cond_broadcast(&a->done);
}

static void *run(void *arg)
{
    struct np_append *a = arg;
    pthread_mutex_lock(&a->lock);
    for (;;) {
        if (a->reopen && !a->reopen_at)
            do_reopen(a);
        else if (a->first)
            write_first(a);
        else if (a->stopping)
            break;
        else
            pthread_cond_wait(&a->work, &a->lock);
    }
    a->gone = true;
    pthread_cond_broadcast(&a->done);
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* With the lock. The thread takes no signals. Without one the next block tries again. */
static void start(struct np_append *a)
{
    pthread_attr_t attr;
    sigset_t all, before;
    if (a->started || pthread_attr_init(&attr) != 0) return;
    pthread_attr_setstacksize(&attr, STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    a->started = pthread_create(&a->thread, &attr, run, a) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
}

/* --- opening and closing */

static bool init_sync(struct np_append *a)
{
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr) != 0) return false;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    bool ok = pthread_mutex_init(&a->lock, NULL) == 0 && pthread_cond_init(&a->work, &attr) == 0 &&
              pthread_cond_init(&a->done, &attr) == 0;
    pthread_condattr_destroy(&attr);
    return ok;
}

static void free_file(struct np_append *a)
{
    for (struct np_append_block *b; (b = a->spare);) {
        a->spare = b->next;
        np_free(b);
    }
    for (struct np_append_block *b; (b = a->first);) { /* no thread could be had */
        a->first = b->next;
        np_free(b);
    }
    if (a->path && a->fd >= 0) close(a->fd);
    np_free(a->path);
    np_free(a);
}

/* With the set's lock. */
static struct np_append *find(struct np_append_set *set, const char *path, int fd)
{
    struct np_link *l;
    np_list_each (l, &set->files) {
        struct np_append *a = np_container_of(l, struct np_append, link);
        if (path ? a->path && strcmp(a->path, path) == 0 : !a->path && a->fd == fd) return a;
    }
    return NULL;
}

/* With the set's lock. */
static enum neap_err add(struct np_append_set *set, const char *path, int fd, size_t bound,
                         struct np_append **out, struct neap_errinfo *info)
{
    struct np_append *a = np_calloc(1, sizeof *a);
    if (!a) return np_err_plain(info, NEAP_ENOMEM);
    a->set = set;
    a->fd = fd;
    a->bound = bound ? bound : NP_APPEND_BOUND;
    enum neap_err err = NEAP_OK;
    if (path) {
        a->fd = -1;
        a->path = np_strdup(path);
        err = a->path ? np_log_file_open(path, set->owner, set->group, &a->fd, info)
                      : np_err_plain(info, NEAP_ENOMEM);
    }
    if (!err && !init_sync(a)) err = np_err_plain(info, NEAP_ENOMEM);
    if (err) {
        free_file(a);
        return err;
    }
    np_list_push_back(&set->files, &a->link);
    *out = a;
    return NEAP_OK;
}

static enum neap_err open_any(struct np_append_set *set, const char *path, int fd, size_t bound,
                              struct np_append **out, struct neap_errinfo *info)
{
    pthread_mutex_lock(&set->lock);
    enum neap_err err = NEAP_OK;
    struct np_append *a = find(set, path, fd);
    if (!a) err = add(set, path, fd, bound, &a, info);
    if (!err) {
        a->users++;
        *out = a;
    }
    pthread_mutex_unlock(&set->lock);
    return err;
}

enum neap_err np_append_open(struct np_append_set *set, const char *path, size_t bound,
                             struct np_append **out, struct neap_errinfo *info)
{
    return open_any(set, path, -1, bound, out, info);
}

enum neap_err np_append_open_fd(struct np_append_set *set, int fd, size_t bound,
                                struct np_append **out)
{
    return open_any(set, NULL, fd, bound, out, NULL);
}

/* With the file's lock: true once `*what` holds, false when the time is over. */
static bool wait_for(struct np_append *a, bool (*what)(struct np_append *a, uint64_t mark),
                     uint64_t mark, double seconds)
{
    int64_t until = np_time_add(np_clock_now(&np_clock_system), np_seconds(seconds));
    struct timespec ts = {until / NP_NS_PER_SEC, until % NP_NS_PER_SEC};
    while (!what(a, mark))
        if (pthread_cond_timedwait(&a->done, &a->lock, &ts) != 0) return what(a, mark);
    return true;
}

static bool all_written(struct np_append *a, uint64_t mark)
{
    return a->written >= mark || a->gone || !a->started;
}

static bool has_gone(struct np_append *a, uint64_t mark)
{
    (void)mark;
    return a->gone;
}

bool np_append_flush(struct np_append *a, double seconds)
{
    pthread_mutex_lock(&a->lock);
    bool ok = wait_for(a, all_written, a->put, seconds);
    pthread_mutex_unlock(&a->lock);
    return ok;
}

void np_append_close(struct np_append *a)
{
    struct np_append_set *set = a->set;
    pthread_mutex_lock(&set->lock);
    bool last = --a->users == 0;
    if (last) np_list_remove(&a->link);
    pthread_mutex_unlock(&set->lock);
    if (!last) return;
    bool joined = true;
    if (a->started) {
        np_append_flush(a, LAST_WORDS);
        pthread_mutex_lock(&a->lock);
        a->stopping = true;
        pthread_cond_signal(&a->work);
        joined = wait_for(a, has_gone, 0, LAST_WORDS);
        pthread_mutex_unlock(&a->lock);
        if (joined)
            pthread_join(a->thread, NULL);
        else
            pthread_detach(a->thread); /* stuck in the kernel: it keeps what it uses */
    }
    if (!joined) return;
    pthread_cond_destroy(&a->work);
    pthread_cond_destroy(&a->done);
    pthread_mutex_destroy(&a->lock);
    free_file(a);
}

/* --- writing */

struct np_append_block *np_append_block(struct np_append *a, size_t size)
{
    pthread_mutex_lock(&a->lock);
    struct np_append_block *b = a->spare;
    if (b && b->cap >= size) {
        a->spare = b->next;
        a->nspare--;
    } else {
        b = NULL;
    }
    pthread_mutex_unlock(&a->lock);
    if (!b) {
        b = np_alloc(sizeof *b + size);
        if (!b) return NULL;
        b->cap = size;
    }
    b->next = NULL;
    b->len = b->lines = 0;
    return b;
}

void np_append_put(struct np_append *a, struct np_append_block *b)
{
    pthread_mutex_lock(&a->lock);
    start(a);
    if (b->len == 0) {
        recycle(a, b);
    } else if (b->len > a->bound || a->waiting > a->bound - b->len) {
        a->dropped += b->lines;
        recycle(a, b);
    } else {
        b->next = NULL;
        if (a->last)
            a->last->next = b;
        else
            a->first = b;
        a->last = b;
        a->waiting += b->len;
        a->put++;
        pthread_cond_signal(&a->work);
    }
    pthread_mutex_unlock(&a->lock);
}

uint64_t np_append_dropped(struct np_append *a)
{
    pthread_mutex_lock(&a->lock);
    uint64_t n = a->dropped;
    pthread_mutex_unlock(&a->lock);
    return n;
}

bool np_append_trouble(struct np_append *a, struct neap_errinfo *out)
{
    pthread_mutex_lock(&a->lock);
    bool had = a->troubled;
    if (had) *out = a->trouble;
    a->troubled = false;
    pthread_mutex_unlock(&a->lock);
    return had;
}
