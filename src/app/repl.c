/* `neap repl`, and `neap run -i`: reading, running, printing. See repl.h. */
#include "app/repl.h"

#include <stdio_ext.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "script/watchdog.h"

#define READ_SIZE 4096

bool np_repl_ending(const struct np_repl *r)
{
    return atomic_load(&r->quit) || r->host->stopped;
}

/* --- interruption */

/* On the signal thread. */
static void on_signal(int signum, void *arg)
{
    struct np_repl *r = arg;
    if (signum == SIGINT) {
        atomic_store(&r->interrupted, true);
        np_watchdog_interrupt(r->host->workers[0]->watchdog);
    } else {
        atomic_store(&r->quit, true);
    }
    uv_async_send(&r->wake);
}

static void on_wake(uv_async_t *h)
{
    (void)h; /* the loop turns, and who runs it looks at what has changed */
}

/* --- calling neap.repl */

static const char caller[] = "local name, text = ...\n"
                             "return require('neap.repl')[name](text)\n";

struct reply {
    struct np_repl *repl;
    bool ended;
    np_repl_value_fn on_value;
    void *arg;
};

static void on_reply(struct np_run *run, const struct np_run_end *end)
{
    struct reply *reply = run->arg;
    if (!reply) return; /* nobody waits for it */
    reply->ended = true;
    if (end->err && end->err != NEAP_ECANCELED) fprintf(stderr, "%s\n", end->message);
    for (size_t i = 0; i < end->count && reply->on_value; i++) {
        reply->on_value(reply->arg, i, &end->values[i]);
    }
}

static struct np_run *prepare(struct np_repl *r, const char *name, const char *text, size_t len,
                              struct reply *reply)
{
    struct np_script *s = np_host_script(r->host);
    struct np_run *run = np_run_new(s, NP_RUN_TEXT, "=repl", caller, sizeof caller - 1);
    if (!run) return NULL;
    neap_value args[2] = {neap_string(name), neap_bytes(text, len)};
    run->want_values = true;
    run->fn = on_reply;
    run->arg = reply;
    if (np_run_set_args(run, args, 2) == NEAP_OK) return run;
    np_run_free(run);
    return NULL;
}

bool np_repl_call(struct np_repl *r, const char *name, const char *text, size_t len,
                  np_repl_value_fn on_value, void *arg)
{
    struct reply reply = {r, false, on_value, arg};
    struct np_run *run = prepare(r, name, text, len, &reply);
    if (!run || np_run_start(run, np_host_runs(r->host), false) != NEAP_OK) return false;
    if (reply.ended) return true;
    run->arg = NULL;
    np_task_cancel(run->task, NEAP_ECANCELED);
    return false;
}

static void take_prompt(void *arg, size_t i, const neap_value *v)
{
    struct np_repl *r = arg;
    if (i > 0 || v->type != NEAP_STRING) return;
    snprintf(r->prompt, sizeof r->prompt, "%.*s", (int)v->as.string.len, v->as.string.data);
}

/* Runs a line to its end: the loop goes on meanwhile, and an interruption cancels its task. */
static void run_line(struct np_repl *r, const char *line, size_t len)
{
    struct reply reply = {r, false, take_prompt, r};
    struct np_run *run = prepare(r, "line", line, len, &reply);
    if (!run || np_run_start(run, np_host_runs(r->host), true) != NEAP_OK) {
        fputs("neap: out of memory\n", stderr);
        return;
    }
    atomic_store(&r->interrupted, false);
    while (!reply.ended && !np_repl_ending(r)) {
        uv_run(r->uv, UV_RUN_ONCE);
        np_repl_show_output(r);
        if (!reply.ended && atomic_exchange(&r->interrupted, false)) {
            np_task_cancel(run->task, NEAP_ECANCELED);
        }
    }
    atomic_store(&r->interrupted, false);
    if (reply.ended) return;
    run->arg = NULL;
}

/* --- output while a line is edited */

void np_repl_show_output(struct np_repl *r)
{
    size_t logged = np_buf_len(&r->log);
    if (__fpending(stdout) == 0 && logged == 0) return;
    if (r->editing) np_editor_hide(r->editor);
    if (logged > 0) fwrite(np_buf_data(&r->log), 1, logged, stderr);
    np_buf_clear(&r->log);
    fflush(stdout);
    if (r->editing) np_editor_redraw(r->editor);
}

static void on_log_room(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct np_repl *r = h->data;
    char *room;
    (void)suggested;
    bool ok = np_buf_reserve(&r->log, READ_SIZE, &room) == NEAP_OK;
    *buf = uv_buf_init(ok ? room : NULL, ok ? READ_SIZE : 0);
}

static void on_log(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct np_repl *r = stream->data;
    (void)buf;
    if (n > 0) np_buf_added(&r->log, (size_t)n);
    if (n < 0) uv_read_stop(stream);
}

/* The log comes through a pipe, so that it is not written across the line being edited. */
static void open_log_pipe(struct np_repl *r, int fd)
{
    if (fd < 0 || uv_pipe_init(r->uv, &r->log_pipe, 0) < 0) return;
    r->log_pipe.data = r;
    np_loop_retain(np_host_loop(r->host));
    r->has_log_pipe = true;
    fd = dup(fd); /* the handle closes its own */
    if (fd < 0 || uv_pipe_open(&r->log_pipe, fd) < 0) return;
    uv_read_start((uv_stream_t *)&r->log_pipe, on_log_room, on_log);
    uv_unref((uv_handle_t *)&r->log_pipe);
}

/* --- reading */

bool np_repl_wait_input(struct np_repl *r)
{
    for (;;) {
        if (np_repl_ending(r) || atomic_exchange(&r->interrupted, false)) return false;
        if (np_input_ready(&r->input)) return true;
        np_input_ask(&r->input);
        uv_run(r->uv, UV_RUN_ONCE);
        np_repl_show_output(r);
    }
}

/* The next line of plain input into the front of `plain`; false at the end. */
static bool read_plain(struct np_repl *r, size_t *len)
{
    for (;;) {
        const char *data = np_buf_data(&r->plain);
        size_t have = np_buf_len(&r->plain);
        const char *end = have ? memchr(data, '\n', have) : NULL;
        *len = end ? (size_t)(end - data) : have;
        if (end || r->at_end) return have > 0;
        char *room;
        if (!np_repl_wait_input(r) || np_buf_reserve(&r->plain, READ_SIZE, &room) != NEAP_OK) {
            return false;
        }
        ssize_t n = read(STDIN_FILENO, room, READ_SIZE);
        if (n > 0) np_buf_added(&r->plain, (size_t)n);
        if (n <= 0) r->at_end = true;
    }
}

static void loop_plain(struct np_repl *r)
{
    size_t len;
    while (!np_repl_ending(r) && read_plain(r, &len)) {
        run_line(r, np_buf_data(&r->plain), len);
        np_buf_consume(&r->plain, len + 1);
        fflush(stdout);
    }
    np_repl_call(r, "eof", "", 0, NULL, NULL);
}

static void loop_terminal(struct np_repl *r)
{
    fflush(stdout);
    setvbuf(stdout, r->out_buf, _IOFBF, sizeof r->out_buf); /* written by np_repl_show_output */
    printf("neap %s, Lua 5.4 (Ctrl-D ends)\n", NEAP_VERSION);
    while (!np_repl_ending(r)) {
        size_t len;
        bool cleared;
        np_repl_show_output(r);
        r->editing = true;
        const char *line = np_editor_read(r->editor, &len, &cleared);
        r->editing = false;
        if (cleared) {
            np_repl_call(r, "clear", "", 0, take_prompt, r);
            continue;
        }
        if (!line) break;
        run_line(r, line, len);
    }
    fputc('\n', stdout);
    fflush(stdout);
    setvbuf(stdout, NULL, _IONBF, 0); /* the buffer goes with the REPL */
}

/* --- its life */

static void on_closed(uv_handle_t *h)
{
    struct np_repl *r = h->data;
    np_loop_release(np_host_loop(r->host));
}

static enum neap_err open_repl(struct np_repl *r, neap_t *n)
{
    r->host = n;
    r->uv = np_host_loop(n)->uv;
    snprintf(r->prompt, sizeof r->prompt, "> ");
    int rc = uv_async_init(r->uv, &r->wake, on_wake);
    if (rc < 0) return np_err_from_uv(rc);
    np_loop_retain(np_host_loop(n));
    r->wake.data = r;
    enum neap_err err = np_input_open(&r->input, STDIN_FILENO, &r->wake);
    if (err) return err;
    r->has_input = true;
    err = np_signals_start_fn(&r->signals, on_signal, r);
    bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (!err && terminal) err = np_editor_open(r, &r->editor);
    return err;
}

static void close_repl(struct np_repl *r)
{
    np_editor_close(r->editor);
    r->editor = NULL;
    np_signals_stop(&r->signals);
    if (r->has_input) np_input_close(&r->input);
    if (r->has_log_pipe) uv_close((uv_handle_t *)&r->log_pipe, on_closed);
    if (r->wake.data) uv_close((uv_handle_t *)&r->wake, on_closed);
    np_repl_show_output(r);
}

/* What the log still had to say. */
static void show_rest_of_log(struct np_app *app)
{
    if (app->log_pipe[0] <= 0) return;
    close(app->log_pipe[1]);
    char text[READ_SIZE];
    ssize_t n;
    while ((n = read(app->log_pipe[0], text, sizeof text)) > 0) {
        fwrite(text, 1, (size_t)n, stderr);
    }
    close(app->log_pipe[0]);
}

int np_repl(struct np_app *app, neap_t *n)
{
    struct np_repl *r = np_calloc(1, sizeof *r);
    int code = NP_EXIT_FAILURE;
    if (!r) {
        np_app_complain(code, "repl: %s", neap_err_text(NEAP_ENOMEM));
        goto fail;
    }
    enum neap_err err = open_repl(r, n);
    if (err) {
        np_app_complain(code, "repl: %s", neap_err_text(err));
    } else {
        if (app->log_pipe[0] > 0) open_log_pipe(r, app->log_pipe[0]);
        np_repl_call(r, "start", "", 0, take_prompt, r);
        if (r->editor) {
            loop_terminal(r);
        } else {
            loop_plain(r);
        }
        code = n->runtime.exit_code;
    }
    fflush(stdout);
    close_repl(r);
    neap_close(n);
    n = NULL;
    np_buf_fini(&r->plain);
    np_buf_fini(&r->log);
fail:
    neap_close(n);
    np_free(r);
    show_rest_of_log(app);
    return code;
}

int np_cmd_repl(struct np_app *app)
{
    if (app->argc > 0) {
        return np_app_complain(NP_EXIT_USAGE, "repl: unexpected argument '%s'", app->argv[0]);
    }
    neap_t *n;
    app->interactive = true;
    int code = np_app_open(app, app->load, 0, &n);
    if (code) return code;
    if (!app->load || neap_load_file(n, app->load) == NEAP_OK) return np_repl(app, n);
    code = np_app_complain_host(n);
    neap_close(n);
    return code;
}
