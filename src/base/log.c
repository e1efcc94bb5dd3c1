/* The logger: callers format lines and put them whole into a ring; one thread writes the ring out.
 *
 * Under `lock`: the ring's positions and counters. The writer reads the bytes between `head` and
 * `tail` without the lock: nobody overwrites them before it has moved `head`. The lock is never
 * held across a write, so a caller waits for no file descriptor. The writer may be stuck in write()
 * for good (a full pipe that nobody reads): it can be cancelled there, and only there.
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log_file.h"
#include "base/log_line.h"

enum { MIN_RING = 4096, DEFAULT_RING = 1 << 20, MAX_WRITE = 64 * 1024, STACK = 256 * 1024 };

struct np_log {
    int fd;
    enum np_log_style style;
    double flush_seconds;
    atomic_int level;

    pthread_mutex_t lock;
    pthread_cond_t work;    /* the writer waits: something to write, or stopping */
    pthread_cond_t written; /* flushers wait: head moved, or the writer is gone */
    pthread_t writer;
    bool started;
    bool stopping;
    bool exited;
    uint64_t dropped;   /* lines, since the last notice */
    char *reopen;       /* np_log_reopen's path; NULL: nothing to do */
    uint64_t reopen_at; /* where in what was put: the lines before go to the old file */
    uint64_t head;      /* bytes written since the beginning */
    uint64_t tail;      /* bytes put since the beginning */
    size_t size;
    char ring[];
};

static const char *const level_names[] = {"trace", "debug", "info", "warn", "error", "off"};

const char *np_log_level_name(enum np_log_level level)
{
    return level >= NP_LOG_TRACE && level <= NP_LOG_OFF ? level_names[level] : "off";
}

bool np_log_level_parse(const char *name, enum np_log_level *out)
{
    for (int i = NP_LOG_TRACE; i <= NP_LOG_OFF; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum np_log_level)i;
            return true;
        }
    }
    return false;
}

static enum np_log_style choose_style(const struct np_log_options *opts)
{
    bool tty = isatty(opts->fd);
    if (opts->format == NP_LOG_JSON || (opts->format == NP_LOG_AUTO && !tty)) {
        return NP_LOG_STYLE_JSON;
    }
    if (!tty) return NP_LOG_STYLE_PLAIN;
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    bool dull = (no_color && *no_color) || (term && strcmp(term, "dumb") == 0);
    return dull ? NP_LOG_STYLE_TTY : NP_LOG_STYLE_COLOR;
}

static bool init_sync(struct np_log *log)
{
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr) != 0) return false;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    bool ok = pthread_mutex_init(&log->lock, NULL) == 0 &&
              pthread_cond_init(&log->work, &attr) == 0 &&
              pthread_cond_init(&log->written, &attr) == 0;
    pthread_condattr_destroy(&attr);
    return ok;
}

enum neap_err np_log_new(const struct np_log_options *opts, struct np_log **out)
{
    size_t size = opts->ring_bytes ? opts->ring_bytes : DEFAULT_RING;
    if (size < MIN_RING) size = MIN_RING;
    struct np_log *log =
        np_alloc(sizeof *log + size); /* not cleared: untouched pages cost nothing */
    if (!log) return NEAP_ENOMEM;
    memset(log, 0, sizeof *log);
    log->fd = opts->fd;
    log->style = choose_style(opts);
    log->flush_seconds = opts->flush_seconds;
    log->size = size;
    atomic_init(&log->level, opts->level);
    if (!init_sync(log)) {
        np_free(log);
        return NEAP_ENOMEM;
    }
    *out = log;
    return NEAP_OK;
}

int np_log_fd(const struct np_log *log)
{
    return log->fd;
}

void np_log_set_level(struct np_log *log, enum np_log_level level)
{
    atomic_store_explicit(&log->level, level, memory_order_relaxed);
}

enum np_log_level np_log_get_level(const struct np_log *log)
{
    return (enum np_log_level)atomic_load_explicit(&log->level, memory_order_relaxed);
}

bool np_log_enabled(const struct np_log *log, enum np_log_level level)
{
    return log && level >= np_log_get_level(log) && level < NP_LOG_OFF;
}

/* With the lock. False when the line does not fit. */
static bool ring_put(struct np_log *log, const struct np_log_line *line)
{
    if (line->failed || line->len > log->size - (size_t)(log->tail - log->head)) return false;
    size_t at = (size_t)(log->tail % log->size);
    size_t first = log->size - at < line->len ? log->size - at : line->len;
    memcpy(log->ring + at, line->p, first);
    memcpy(log->ring, line->p + first, line->len - first);
    log->tail += line->len;
    return true;
}

/* With the lock. Says how many lines were lost, once there is room to say it. */
static void ring_put_notice(struct np_log *log)
{
    static const char msg[] = "log lines dropped";
    struct np_log_field count = {
        .name = "dropped", .type = NP_LOG_INT, .as.i = (int64_t)log->dropped};
    struct np_log_line line;
    np_log_line_init(&line);
    np_log_line_format(&line, log->style, np_clock_wall(), NP_LOG_WARN, msg, sizeof msg - 1, &count,
                       1);
    if (ring_put(log, &line)) log->dropped = 0;
    np_log_line_fini(&line);
}

/* Without the lock; the only place where the writer may be cancelled. Returns how many of the `n`
 * bytes are done with: all of them when the descriptor is broken, for then they are lost. */
static size_t write_some(int fd, const char *p, size_t n)
{
    int old;
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    ssize_t done = write(fd, p, n < MAX_WRITE ? n : MAX_WRITE);
    if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        struct pollfd pfd = {.fd = fd, .events = POLLOUT};
        poll(&pfd, 1, -1);
        done = 0;
    } else if (done < 0 && errno == EINTR) {
        done = 0;
    }
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    return done < 0 ? n : (size_t)done;
}

/* With the lock. Descriptors are put in place of the one in use, between two lines. */
static void do_reopen(struct np_log *log)
{
    char *path = log->reopen;
    struct neap_errinfo info = {0};
    int fd = -1;
    log->reopen = NULL;
    pthread_mutex_unlock(&log->lock);
    enum neap_err err = np_log_file_open(path, (uid_t)-1, (gid_t)-1, &fd, &info);
    if (!err) {
        dup3(fd, log->fd, O_CLOEXEC);
        close(fd);
    } else {
        np_logf(log, NP_LOG_ERROR, "%s; the old one is kept", info.message);
    }
    np_free(path);
    pthread_mutex_lock(&log->lock);
}

static void *writer_main(void *arg)
{
    struct np_log *log = arg;
    int old;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    pthread_mutex_lock(&log->lock);
    for (;;) {
        if (log->reopen && log->head == log->reopen_at) do_reopen(log);
        if (log->head == log->tail && log->dropped > 0) ring_put_notice(log);
        if (log->head == log->tail) {
            if (log->stopping) break;
            if (log->reopen) continue; /* asked for meanwhile */
            pthread_cond_wait(&log->work, &log->lock);
            continue;
        }
        size_t at = (size_t)(log->head % log->size);
        uint64_t end = log->reopen ? log->reopen_at : log->tail;
        size_t n = (size_t)(end - log->head);
        if (n > log->size - at) n = log->size - at;
        pthread_mutex_unlock(&log->lock);
        size_t done = write_some(log->fd, log->ring + at, n);
        pthread_mutex_lock(&log->lock);
        log->head += done;
        pthread_cond_broadcast(&log->written);
    }
    log->exited = true;
    pthread_cond_broadcast(&log->written);
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

/* With the lock. The writer takes no signals: they belong to the program's own threads, and a
 * SIGPIPE must not end it. When no thread can be had the next line tries again. */
static void start_writer(struct np_log *log)
{
    pthread_attr_t attr;
    sigset_t all, before;
    if (pthread_attr_init(&attr) != 0) return;
    pthread_attr_setstacksize(&attr, STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    log->started = pthread_create(&log->writer, &attr, writer_main, log) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
}

void np_log_write(struct np_log *log, enum np_log_level level, const char *msg, size_t msg_len,
                  const struct np_log_field *fields, size_t nfields)
{
    if (!np_log_enabled(log, level)) return;
    struct np_log_line line;
    np_log_line_init(&line);
    np_log_line_format(&line, log->style, np_clock_wall(), level, msg, msg_len, fields, nfields);

    pthread_mutex_lock(&log->lock);
    bool idle = log->head == log->tail;
    if (log->dropped > 0) ring_put_notice(log);
    /* A line may not overtake the notice of those that were lost before it. */
    if (log->dropped > 0 || !ring_put(log, &line)) log->dropped++;
    if (!log->started) start_writer(log);
    if (idle) pthread_cond_signal(&log->work);
    pthread_mutex_unlock(&log->lock);
    np_log_line_fini(&line);
}

void np_logf(struct np_log *log, enum np_log_level level, const char *fmt, ...)
{
    if (!np_log_enabled(log, level)) return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0) return;
    size_t len = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    np_log_write(log, level, text, len, NULL, 0);
}

/* With the lock. True once all up to `mark` is written, false when the deadline comes first. */
static bool wait_written(struct np_log *log, uint64_t mark, bool for_exit, double seconds)
{
    int64_t until = np_time_add(np_clock_now(&np_clock_system), np_seconds(seconds));
    struct timespec ts = {until / NP_NS_PER_SEC, until % NP_NS_PER_SEC};
    while (for_exit ? !log->exited : log->head < mark && !log->exited) {
        int rc = pthread_cond_timedwait(&log->written, &log->lock, &ts);
        if (rc != 0) return false;
    }
    return true;
}

void np_log_flush(struct np_log *log, double seconds)
{
    if (!log) return;
    pthread_mutex_lock(&log->lock);
    if (log->started) wait_written(log, log->tail, false, seconds);
    pthread_mutex_unlock(&log->lock);
}

enum neap_err np_log_reopen(struct np_log *log, const char *path)
{
    char *copy = np_strdup(path);
    if (!copy) return NEAP_ENOMEM;
    pthread_mutex_lock(&log->lock);
    np_free(log->reopen); /* asked for twice: the later place will do */
    log->reopen = copy;
    log->reopen_at = log->tail;
    if (!log->started) start_writer(log);
    pthread_cond_signal(&log->work);
    pthread_mutex_unlock(&log->lock);
    return NEAP_OK;
}

void np_log_free(struct np_log *log)
{
    if (!log) return;
    pthread_mutex_lock(&log->lock);
    log->stopping = true;
    pthread_cond_signal(&log->work);
    bool done = !log->started || wait_written(log, 0, true, log->flush_seconds);
    pthread_mutex_unlock(&log->lock);
    if (log->started) {
        if (!done) pthread_cancel(log->writer);
        pthread_join(log->writer, NULL);
    }
    pthread_cond_destroy(&log->written);
    pthread_cond_destroy(&log->work);
    pthread_mutex_destroy(&log->lock);
    np_free(log->reopen);
    np_free(log);
}
