/* Rules shared by name, as scripts make them (see rules.h). The worker's thread. */
#include "script/rules.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "script/runtime.h"

/* New options for a rule that stands, kept until the state takes over. */
struct pending {
    struct np_activation activation;
    struct np_at_close at_close; /* it never does */
    struct np_script *script;
    struct np_common *rule;
    const char *kind;
    char opts[];
};

struct np_commons *np_script_commons(struct np_script *s)
{
    if (s->commons) return s->commons;
    struct np_runtime *rt = s->host;
    if (rt && rt->commons) {
        s->commons = np_commons_ref(rt->commons);
    } else if (np_commons_new(&s->commons) != NEAP_OK) {
        return NULL;
    }
    return s->commons;
}

static void drop(struct pending *p)
{
    np_activation_cancel(&p->activation);
    np_at_close_remove(&p->at_close);
    np_common_unref(p->rule);
    np_free(p);
}

static void on_close(struct np_at_close *c)
{
    drop(np_container_of(c, struct pending, at_close));
}

static void on_activate(struct np_activation *a)
{
    struct pending *p = np_container_of(a, struct pending, activation);
    struct neap_errinfo info;
    if (np_common_set(p->rule, p->opts, &info) != NEAP_OK)
        np_logf(p->script->log, NP_LOG_WARN, "the %s \"%s\" stays as it was: %s", p->kind,
                np_common_name(p->rule), info.message);
    drop(p);
}

/* Takes a reference of its own. */
static enum neap_err set_later(struct np_script *s, const struct np_common_kind *kind,
                               struct np_common *rule, const void *opts, size_t size)
{
    struct pending *p = np_calloc(1, sizeof *p + size);
    if (!p) return NEAP_ENOMEM;
    p->activation.fn = on_activate;
    p->at_close.fn = on_close;
    p->script = s;
    p->rule = np_common_ref(rule);
    p->kind = kind->name;
    memcpy(p->opts, opts, size);
    np_at_close_add(s, &p->at_close);
    np_activate(s, &p->activation);
    return NEAP_OK;
}

enum neap_err np_script_rule(struct np_script *s, const struct np_common_kind *kind,
                             const char *name, const void *opts, size_t size,
                             struct np_common **out, struct neap_errinfo *info)
{
    void *arg = (void *)(uintptr_t)opts; /* a kind only reads it */
    if (!name) return np_common_new(kind, arg, out, info);
    struct np_commons *t = np_script_commons(s);
    if (!t) return np_err_plain(info, NEAP_ENOMEM);
    struct np_common *rule = NULL;
    bool made;
    enum neap_err err = np_commons_get(t, kind, name, strlen(name), arg, &rule, &made, info);
    if (err) return err;
    if (!made && s->held) {
        err = set_later(s, kind, rule, opts, size);
        if (err) np_err_plain(info, err);
    } else if (!made) {
        err = np_common_set(rule, arg, info);
    }
    if (err) {
        np_common_unref(rule);
        return err;
    }
    *out = rule;
    return NEAP_OK;
}
