/* An instance's life; see instance.h. */
#include "host/instance.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "host/host.h"

/* --- failures */

/* What stands below the script's own frames says nothing to its author. */
static void trim_traceback(char *text)
{
    static const char tail[] = "\n\t[C]: in ?";
    size_t n = text ? strlen(text) : 0;
    while (n >= sizeof tail - 1 && strcmp(text + n - (sizeof tail - 1), tail) == 0) {
        n -= sizeof tail - 1;
        text[n] = '\0';
    }
}

static char *words_of(const struct np_run_end *end)
{
    char *trace = end->traceback ? np_strdup(end->traceback) : NULL;
    trim_traceback(trace);
    size_t size = strlen(end->message) + (trace ? strlen(trace) + 1 : 0) + 1;
    char *text = np_alloc(size);
    if (text) snprintf(text, size, trace ? "%s\n%s" : "%s", end->message, trace);
    np_free(trace);
    return text;
}

static void keep_failure(struct np_instance *i, const struct np_run_end *end)
{
    if (i->err) return;
    i->err = end->err;
    i->error = words_of(end);
}

static void settle(struct np_instance *i)
{
    void (*fn)(struct np_instance * i) = i->on_settled;
    if (!fn || !np_instance_settled(i)) return;
    i->on_settled = NULL;
    fn(i);
}

/* Nobody is there any more to be told of it as a result. */
static void fail_late(struct np_instance *i, const struct np_run_end *end)
{
    char *words = words_of(end);
    np_worker_main_failed(i->worker, end->err, words ? words : end->message);
    np_free(words);
}

static void on_main_end(struct np_run *r, const struct np_run_end *end)
{
    struct np_instance *i = r->arg;
    i->mains--;
    bool over = i->retiring || i->script == NULL || np_shutting_down(&i->script->shutdown);
    if (end->err && !over) {
        if (i->loading || i->on_settled || i != i->worker->current) {
            keep_failure(i, end);
        } else {
            fail_late(i, end);
        }
    }
    if (!i->loading) settle(i);
}

/* --- loading */

enum neap_err np_instance_load(struct np_instance *i, struct np_source *src)
{
    struct np_run *r = np_run_new(i->script, src->kind, src->name, src->code, src->len);
    if (!r) return NEAP_ENOMEM;
    r->fn = on_main_end;
    r->arg = i;
    enum neap_err err = np_run_set_args(r, src->args, src->nargs);
    if (err) {
        np_run_free(r);
        return err;
    }
    np_loop_update_time(&i->worker->loop);
    bool outer = i->loading;
    i->loading = true;
    i->mains++;
    err = np_run_start(r, &i->runs, false);
    i->loading = outer;
    if (err) {
        i->mains--;
        return err;
    }
    return i->err;
}

bool np_instance_settled(const struct np_instance *i)
{
    return i->err || i->said_ready || i->mains == 0;
}

void np_instance_await(struct np_instance *i, void (*fn)(struct np_instance *i))
{
    i->on_settled = fn;
    settle(i);
}

void np_instance_say_ready(struct np_instance *i)
{
    i->said_ready = true;
    settle(i);
}

/* --- birth and death */

static void on_gone(struct np_defer *d)
{
    struct np_instance *i = np_container_of(d, struct np_instance, gone);
    struct np_worker *w = i->worker;
    bool expired = i->expired;
    if (!i->keep) np_instance_free(i);
    np_worker_instance_gone(w, expired);
}

static enum neap_err open_script(struct np_instance *i, bool held, struct neap_errinfo *info)
{
    struct np_worker *w = i->worker;
    neap_t *n = w->host;
    enum neap_err err = np_share_user_new(n->share, &w->loop, w->id, held, &i->share);
    if (err) return np_err_plain(info, err);
    struct np_script_options so = {.loop = &w->loop,
                                   .log = n->log,
                                   .registry = n->registry,
                                   .view = w->view,
                                   .bus = w->bus,
                                   .memory_limit = n->options.memory_limit,
                                   .lua_path = n->options.lua_path,
                                   .host = &n->runtime,
                                   .owner = i,
                                   .worker = w->id,
                                   .generation = n->generation,
                                   .held = held,
                                   .sandbox = n->options.sandbox,
                                   .share = i->share,
                                   .watchdog = w->watchdog};
    err = np_script_new(&so, &i->script, info);
    if (!err) i->script->on_exhausted = np_host_on_exhausted;
    return err;
}

enum neap_err np_instance_new(struct np_worker *w, bool held, struct np_instance **out,
                              struct neap_errinfo *info)
{
    struct np_instance *i = np_calloc(1, sizeof *i);
    if (!i) return np_err_plain(info, NEAP_ENOMEM);
    i->worker = w;
    i->generation = w->host->generation;
    np_link_init(&i->link);
    np_link_init(&i->runs);
    np_defer_init(&i->gone, on_gone);
    enum neap_err err = open_script(i, held, info);
    if (err) {
        np_instance_free(i);
        return err;
    }
    *out = i;
    return NEAP_OK;
}

void np_instance_free(struct np_instance *i)
{
    if (!i) return;
    struct np_script *s = i->script;
    i->retiring = true;
    i->script = NULL;
    i->on_settled = NULL;
    np_defer_cancel(&i->gone);
    np_list_remove(&i->link);
    np_script_free(s);
    np_run_cut_off(&i->runs);
    np_share_user_free(i->share);
    np_reload_forget(i->order);
    np_free(i->error);
    np_free(i);
}

static void on_drained(void *arg)
{
    struct np_instance *i = arg;
    i->drained = true;
    i->expired = !np_list_empty(&i->script->shutdown.objects);
    np_loop_defer(&i->worker->loop, &i->gone); /* not from inside what drained last */
}

void np_instance_retire(struct np_instance *i, int64_t grace)
{
    if (i->drained) return;
    i->retiring = true;
    np_share_user_retire(i->share);
    bool first = !np_shutting_down(&i->script->shutdown);
    if (i->worker->stopping)
        np_shutdown_start(&i->script->shutdown, grace, on_drained, i);
    else
        np_shutdown_retire(&i->script->shutdown, grace, on_drained, i);
    if (first) np_shutdown_ask(&i->script->shutdown);
}

void np_instance_stop(struct np_instance *i, int64_t grace)
{
    i->keep = true;
    if (!i->drained) np_shutdown_start(&i->script->shutdown, grace, on_drained, i);
}
