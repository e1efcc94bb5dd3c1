/* A service's process; see service.h.
 *
 * In order: directory, log file, sockets that were opened for us; the host loads and binds; then,
 * when every worker is ready, the pid file, the other user, and the word to systemd.
 */
#include "app/service.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/append.h"
#include "base/log_file.h"
#include "host/host.h"
#include "host/notify.h"
#include "host/process.h"
#include "host/watch.h"

struct np_service {
    struct np_app *app;
    neap_t *host;
    struct np_notify notify;
    struct np_identity identity;
    bool becomes; /* another user */
    struct np_pid_file *pid_file;
    struct np_filewatch *watch;
    const char *script;
    struct stat before; /* the script, when it had not been read yet; see watch_first */
    int log_fd;         /* ours; -1: none */
    struct np_timer alive;
    unsigned round;    /* of asking the workers whether they live … */
    unsigned asked;    /* … so many in this one … */
    unsigned answered; /* … of which so many have answered */
    unsigned replaced; /* the host's, when they were asked */
    bool failed;
};

/* --- systemd's watchdog: told only while every worker's loop turns */

static void answer_alive(struct np_worker *w0, void *arg)
{
    struct np_service *s = w0->host->options.user;
    if (s->round == (unsigned)(uintptr_t)arg) s->answered++;
}

static void ask_alive(struct np_worker *w, void *arg)
{
    np_worker_call(w->host->workers[0], answer_alive, arg);
}

static void ask_all(struct np_service *s)
{
    neap_t *n = s->host;
    s->asked = s->answered = 0;
    s->replaced = n->replaced;
    s->round++;
    for (unsigned i = 1; i < n->options.workers; i++) {
        if (np_worker_call(n->workers[i], ask_alive, (void *)(uintptr_t)s->round)) s->asked++;
    }
}

static void on_alive(struct np_timer *t)
{
    struct np_service *s = np_container_of(t, struct np_service, alive);
    neap_t *n = s->host;
    bool all = s->answered >= s->asked;
    if (all) np_notify_watchdog(&s->notify);
    /* One that was replaced does not answer any more. */
    if (all || s->replaced != n->replaced) ask_all(s);
    if (np_timer_start(t, s->notify.watchdog / 2) != NEAP_OK)
        np_logf(n->log, NP_LOG_WARN, "no memory to go on telling systemd that we live");
}

static void start_alive(struct np_service *s)
{
    if (s->notify.watchdog <= 0) return;
    np_timer_init(&s->alive, np_host_loop(s->host), on_alive);
    np_timer_set_background(&s->alive, true);
    on_alive(&s->alive);
}

/* --- watching */

static void on_change(void *arg)
{
    struct np_service *s = arg;
    np_logf(s->host->log, NP_LOG_INFO, "files have changed: reloading");
    neap_reload(s->host);
}

static void watch_one(void *arg, const char *path)
{
    struct np_service *s = arg;
    enum neap_err err = np_filewatch_add(s->watch, path);
    if (err) np_logf(s->host->log, NP_LOG_WARN, "cannot watch %s: %s", path, neap_err_text(err));
}

/* The script's own file, and those of the modules it has loaded. */
static void watch_files(struct np_service *s)
{
    if (!s->app->watch || !np_host_script(s->host)) return;
    if (!s->watch) {
        enum neap_err err = np_filewatch_new(np_host_loop(s->host), on_change, s, &s->watch);
        if (err) {
            np_logf(s->host->log, NP_LOG_ERROR, "cannot watch files: %s", neap_err_text(err));
            return;
        }
    }
    watch_one(s, s->script);
    np_modules_files(np_host_script(s->host)->L, watch_one, s);
}

/* A change between the script's first load and the beginning of the watch. */
static void watch_first(struct np_service *s)
{
    struct stat now;
    watch_files(s);
    if (!s->watch || !s->before.st_ino || stat(s->script, &now) != 0) return;
    bool changed = now.st_ino != s->before.st_ino || now.st_size != s->before.st_size ||
                   now.st_mtim.tv_sec != s->before.st_mtim.tv_sec ||
                   now.st_mtim.tv_nsec != s->before.st_mtim.tv_nsec;
    if (changed) on_change(s);
}

/* --- what the host says */

static void fail(struct np_service *s, const struct neap_errinfo *info)
{
    np_app_complain(NP_EXIT_FAILURE, "%s", info->message);
    s->failed = true;
    neap_stop_now(s->host);
}

static void warn_unclaimed(struct np_service *s)
{
    char text[512];
    if (np_share_unclaimed(s->host->share, text, sizeof text) > 0)
        np_logf(s->host->log, NP_LOG_WARN, "sockets that nobody listens on were handed to us: %s",
                text);
}

static void on_ready(neap_t *n, void *user)
{
    struct np_service *s = user;
    struct neap_errinfo info = {0};
    warn_unclaimed(s);
    if (s->app->pid_file && np_pid_file_write(s->app->pid_file, &s->pid_file, &info)) {
        fail(s, &info);
        return;
    }
    if (s->becomes && np_become(&s->identity, &info)) {
        fail(s, &info);
        return;
    }
    watch_first(s);
    np_notify_ready(&s->notify, n->options.workers > 1 ? "all workers serve" : "serving");
    start_alive(s);
}

static void on_stopping(neap_t *n, void *user)
{
    (void)n;
    np_notify_stopping(&((struct np_service *)user)->notify);
}

static void on_reloading(neap_t *n, void *user)
{
    (void)n;
    np_notify_reloading(&((struct np_service *)user)->notify);
}

static void on_reloaded(neap_t *n, enum neap_err err, const char *message, void *user)
{
    struct np_service *s = user;
    char text[256];
    (void)n;
    snprintf(text, sizeof text, err ? "reload failed: %s" : "reloaded", message ? message : "");
    text[strcspn(text, "\n")] = '\0';
    np_notify_ready(&s->notify, text);
    watch_files(s);
}

/* --- its life */

static int prepare(struct np_service *s, neap_options *o, struct neap_errinfo *info)
{
    struct np_app *app = s->app;
    enum neap_err err = NEAP_OK;
    s->becomes = app->user || app->group;
    if (app->directory) err = np_change_dir(app->directory, info);
    if (!err && s->becomes) err = np_identity_find(app->user, app->group, &s->identity, info);
    uid_t owner = s->becomes && s->identity.has_uid ? s->identity.uid : (uid_t)-1;
    gid_t group = s->becomes ? s->identity.gid : (gid_t)-1;
    if (!err && app->log_file)
        err = np_log_file_open(app->log_file, owner, group, &s->log_fd, info);
    if (!err) err = np_notify_init(&s->notify, info);
    if (err) return err;
    if (s->log_fd >= 0) o->log_fd = s->log_fd;
    o->on_ready = on_ready;
    o->on_stopping = on_stopping;
    o->on_reloading = on_reloading;
    o->on_reloaded = on_reloaded;
    o->user = s;
    return 0;
}

int np_service_new(struct np_app *app, neap_options *o, struct np_service **out)
{
    struct neap_errinfo info = {0};
    struct np_service *s = np_calloc(1, sizeof *s);
    if (!s) return np_app_complain(NP_EXIT_FAILURE, "%s", neap_err_text(NEAP_ENOMEM));
    s->app = app;
    s->log_fd = -1;
    s->notify.fd = -1;
    if (prepare(s, o, &info)) {
        np_app_complain(NP_EXIT_FAILURE, "%s", info.message);
        return np_service_end(s, NP_EXIT_FAILURE);
    }
    *out = s;
    return 0;
}

static enum neap_err inherit(neap_t *n, struct neap_errinfo *info)
{
    struct np_passed_fd *fds;
    size_t count;
    enum neap_err err = np_passed_fds(&fds, &count, info);
    for (size_t i = 0; i < count && !err; i++) {
        err = np_share_inherit(n->share, fds[i].fd, fds[i].name);
        if (err)
            np_err_set(info, err, "the socket that was handed over as '%s' cannot be used: %s",
                       fds[i].name, neap_err_text(err));
    }
    np_free(fds);
    return err;
}

int np_service_start(struct np_service *s, neap_t *n, const char *script)
{
    struct neap_errinfo info = {0};
    s->host = n;
    s->script = script;
    if (stat(script, &s->before) != 0) s->before.st_ino = 0;
    if (s->app->log_file) n->log_path = s->app->log_file;
    if (s->becomes && s->identity.has_uid)
        np_append_set_owner(n->runtime.appends, s->identity.uid, s->identity.gid);
    if (inherit(n, &info) == NEAP_OK) return 0;
    return np_app_complain(NP_EXIT_FAILURE, "%s", info.message);
}

void np_service_leave(struct np_service *s)
{
    if (!s || !s->host) return;
    np_filewatch_free(s->watch);
    s->watch = NULL;
    if (s->alive.loop) np_timer_stop(&s->alive);
}

int np_service_end(struct np_service *s, int code)
{
    if (!s) return code;
    if (s->failed && code == 0) code = NP_EXIT_FAILURE;
    np_pid_file_remove(s->pid_file);
    np_notify_fini(&s->notify);
    if (s->log_fd >= 0) close(s->log_fd);
    np_free(s);
    return code;
}
