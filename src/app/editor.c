/* Editing a line on a terminal, with libedit: history, completion, and a loop that goes on. */
#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "app/repl.h"
#include "base/alloc.h"

#define HISTORY_LINES 2000
#define MAX_PATH 4096

struct np_editor {
    struct np_repl *repl;
    EditLine *el;
    History *history;
    FILE *out; /* libedit's own, so that what stdout holds can wait */
    uv_signal_t resized;
    uv_signal_t resumed;
    unsigned open_handles;
    bool cleared; /* interrupted while the line was edited */
    char *path;   /* of the history; NULL: none */
};

/* --- characters */

/* One character of the terminal's; 1, 0 at the end, -1 on an error. */
static int read_char(struct np_editor *e, wchar_t *out)
{
    mbstate_t state = {0};
    for (;;) {
        char c;
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return (int)n;
        size_t took = mbrtowc(out, &c, 1, &state);
        if (took == (size_t)-2) { /* the beginning of a character */
            if (!np_repl_wait_input(e->repl)) return -1;
            continue;
        }
        if (took == (size_t)-1) *out = L'?';
        return 1;
    }
}

/* Ctrl-C: leaves what was typed on the screen, marked, and ends the line. */
static wchar_t clear_line(struct np_editor *e)
{
    const LineInfo *line = el_line(e->el);
    el_cursor(e->el, (int)(line->lastchar - line->cursor));
    el_insertstr(e->el, "^C");
    e->cleared = true;
    return L'\n';
}

static char *prompt_of(EditLine *el)
{
    struct np_editor *e;
    el_get(el, EL_CLIENTDATA, &e);
    return e->repl->prompt;
}

/* --- completion */

#define MAX_CANDIDATES 200

struct candidates {
    size_t typed; /* bytes before the cursor that each one begins with */
    size_t count;
    char *names[MAX_CANDIDATES];
};

static void take_candidate(void *arg, size_t i, const neap_value *v)
{
    struct candidates *c = arg;
    if (i == 0 && v->type == NEAP_INTEGER) c->typed = (size_t)v->as.integer;
    if (i == 0 || v->type != NEAP_STRING || c->count == MAX_CANDIDATES) return;
    char *name = np_strndup(v->as.string.data, v->as.string.len);
    if (name) c->names[c->count++] = name;
}

static size_t common_length(const struct candidates *c)
{
    size_t n = strlen(c->names[0]);
    for (size_t i = 1; i < c->count; i++) {
        size_t k = 0;
        while (k < n && c->names[i][k] == c->names[0][k])
            k++;
        n = k;
    }
    return n;
}

static void list_candidates(struct np_editor *e, const struct candidates *c)
{
    size_t width = 0;
    int columns = 80;
    for (size_t i = 0; i < c->count; i++) {
        size_t n = strlen(c->names[i]) + 2;
        if (n > width) width = n;
    }
    char co[] = "co";
    el_get(e->el, EL_GETTC, co, &columns);
    size_t a_row = columns > 0 && (size_t)columns > width ? (size_t)columns / width : 1;
    fputc('\n', e->out);
    for (size_t i = 0; i < c->count; i++) {
        if (i + 1 == c->count || (i + 1) % a_row == 0) {
            fprintf(e->out, "%s\n", c->names[i]);
        } else {
            fprintf(e->out, "%-*s", (int)width, c->names[i]);
        }
    }
    fflush(e->out);
}

/* Inserts what all candidates have in common; false when that is there already. */
static bool insert_common(struct np_editor *e, const struct candidates *c)
{
    size_t n = common_length(c);
    if (n <= c->typed) return false;
    char *more = np_strndup(c->names[0] + c->typed, n - c->typed);
    if (!more) return false;
    bool ok = el_insertstr(e->el, more) == 0;
    np_free(more);
    return ok;
}

static bool is_blank(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != ' ' && p[i] != '\t') return false;
    }
    return true;
}

/* Tab. Not one of libedit's own functions: it would leak their names. */
static void complete(struct np_editor *e)
{
    const LineInfo *line = el_line(e->el);
    size_t n = (size_t)(line->cursor - line->buffer);
    struct candidates c = {0};
    if (is_blank(line->buffer, n)) {
        el_insertstr(e->el, "  ");
    } else if (np_repl_call(e->repl, "complete", line->buffer, n, take_candidate, &c) &&
               c.count > 0 && !insert_common(e, &c) && c.count > 1) {
        list_candidates(e, &c);
    }
    for (size_t i = 0; i < c.count; i++) {
        np_free(c.names[i]);
    }
    el_set(e->el, EL_REFRESH);
}

static int get_char(EditLine *el, wchar_t *out)
{
    struct np_editor *e;
    el_get(el, EL_CLIENTDATA, &e);
    for (;;) {
        if (!np_repl_wait_input(e->repl)) {
            if (np_repl_ending(e->repl)) return 0;
            *out = clear_line(e);
            el_set(el, EL_REFRESH);
            return 1;
        }
        int n = read_char(e, out);
        if (n <= 0 || *out != L'\t') return n;
        complete(e);
    }
}

/* --- the history's file */

/* $XDG_STATE_HOME/neap/history or ~/.local/state/neap/history; NEAP_HISTORY names another file, or
 * none when it is empty. NULL: none. */
static char *history_path(void)
{
    char path[MAX_PATH];
    const char *own = getenv("NEAP_HISTORY");
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    if (own) return own[0] ? np_strdup(own) : NULL;
    int n = -1;
    if (state && state[0] == '/') {
        n = snprintf(path, sizeof path, "%s/neap/history", state);
    } else if (home && home[0] == '/') {
        n = snprintf(path, sizeof path, "%s/.local/state/neap/history", home);
    }
    return n > 0 && (size_t)n < sizeof path ? np_strdup(path) : NULL;
}

static void make_parents(char *path)
{
    for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        mkdir(path, 0700); /* what is there already stays; what cannot be made shows when saving */
        *p = '/';
    }
}

static void open_history(struct np_editor *e)
{
    HistEvent ev;
    e->history = history_init();
    if (!e->history) return;
    history(e->history, &ev, H_SETSIZE, HISTORY_LINES);
    history(e->history, &ev, H_SETUNIQUE, 1);
    e->path = history_path();
    if (e->path) history(e->history, &ev, H_LOAD, e->path);
    el_set(e->el, EL_HIST, history, e->history);
}

static void close_history(struct np_editor *e)
{
    HistEvent ev;
    if (e->path) {
        make_parents(e->path);
        mode_t mask = umask(077);
        history(e->history, &ev, H_SAVE, e->path);
        umask(mask);
    }
    if (e->history) history_end(e->history);
    np_free(e->path);
}

/* --- its life */

static void on_resized(uv_signal_t *h, int signum)
{
    (void)signum;
    struct np_editor *e = h->data;
    el_resize(e->el);
}

/* Back from being stopped: the shell has set the terminal as it likes it. */
static void on_resumed(uv_signal_t *h, int signum)
{
    (void)signum;
    struct np_editor *e = h->data;
    if (!e->repl->editing) return;
    el_set(e->el, EL_PREP_TERM, 1);
    el_set(e->el, EL_REFRESH);
}

static void watch_signal(struct np_editor *e, uv_signal_t *h, uv_signal_cb fn, int signum)
{
    if (uv_signal_init(e->repl->uv, h) < 0) return; /* then a resize shows at the next line */
    h->data = e;
    e->open_handles++;
    np_loop_retain(np_host_loop(e->repl->host));
    uv_signal_start(h, fn, signum);
    uv_unref((uv_handle_t *)h);
}

enum neap_err np_editor_open(struct np_repl *r, struct np_editor **out)
{
    struct np_editor *e = np_calloc(1, sizeof *e);
    if (!e) return NEAP_ENOMEM;
    e->repl = r;
    setlocale(LC_CTYPE, "");
    int fd = dup(STDOUT_FILENO);
    e->out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (e->out) e->el = el_init("neap", stdin, e->out, stderr);
    if (!e->el) {
        if (e->out) fclose(e->out);
        np_free(e);
        return NEAP_EIO;
    }
    el_set(e->el, EL_CLIENTDATA, e);
    el_set(e->el, EL_PROMPT, prompt_of);
    el_set(e->el, EL_EDITOR, "emacs");
    el_set(e->el, EL_GETCFN, get_char);
    el_set(e->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    open_history(e);
    watch_signal(e, &e->resized, on_resized, SIGWINCH);
    watch_signal(e, &e->resumed, on_resumed, SIGCONT);
    *out = e;
    return NEAP_OK;
}

static void on_closed(uv_handle_t *h)
{
    struct np_editor *e = h->data;
    struct np_loop *loop = np_host_loop(e->repl->host);
    if (--e->open_handles == 0) np_free(e);
    np_loop_release(loop);
}

void np_editor_close(struct np_editor *e)
{
    if (!e) return;
    close_history(e);
    el_end(e->el);
    fclose(e->out);
    bool resized = e->resized.data != NULL;
    bool resumed = e->resumed.data != NULL;
    if (resized) uv_close((uv_handle_t *)&e->resized, on_closed);
    if (resumed) uv_close((uv_handle_t *)&e->resumed, on_closed);
    if (!resized && !resumed) np_free(e);
}

const char *np_editor_read(struct np_editor *e, size_t *len, bool *cleared)
{
    int count = 0;
    e->cleared = false;
    const char *line = el_gets(e->el, &count);
    *cleared = e->cleared;
    if (e->cleared || !line || count <= 0) return NULL;
    *len = (size_t)count;
    if (line[*len - 1] == '\n') (*len)--;
    HistEvent ev;
    if (*len > 0 && e->history) history(e->history, &ev, H_ENTER, line);
    return line;
}

void np_editor_hide(struct np_editor *e)
{
    fputs("\r\033[J", e->out);
    fflush(e->out);
}

void np_editor_redraw(struct np_editor *e)
{
    el_set(e->el, EL_REFRESH);
    fflush(e->out);
}
