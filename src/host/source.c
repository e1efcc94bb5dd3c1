/* Sources; see source.h. */
#include "host/source.h"

#include <string.h>

#include "base/alloc.h"
#include "script/value.h"

static enum neap_err fill(struct np_source *src, const char *name, const char *code,
                          const neap_value *args, size_t nargs)
{
    src->name = np_arena_strndup(&src->arena, name, strlen(name));
    if (!src->name) return NEAP_ENOMEM;
    if (code) {
        src->code = np_arena_strndup(&src->arena, code, src->len);
        if (!src->code) return NEAP_ENOMEM;
    }
    if (nargs == 0) return NEAP_OK;
    src->args = np_arena_alloc(&src->arena, nargs * sizeof *src->args);
    if (!src->args) return NEAP_ENOMEM;
    for (; src->nargs < nargs; src->nargs++) {
        enum neap_err err = np_value_copy(&src->arena, &args[src->nargs], &src->args[src->nargs]);
        if (err) return err;
    }
    return NEAP_OK;
}

struct np_source *np_source_new(enum np_run_kind kind, const char *name, const char *code,
                                size_t len, const neap_value *args, size_t nargs)
{
    struct np_source *src = np_calloc(1, sizeof *src);
    if (!src) return NULL;
    atomic_init(&src->refs, 1);
    src->kind = kind;
    src->len = len;
    np_arena_init(&src->arena, 256);
    if (fill(src, name, code, args, nargs) == NEAP_OK) return src;
    np_source_unref(src);
    return NULL;
}

struct np_source *np_source_ref(struct np_source *src)
{
    atomic_fetch_add_explicit(&src->refs, 1, memory_order_relaxed);
    return src;
}

void np_source_unref(struct np_source *src)
{
    if (!src || atomic_fetch_sub_explicit(&src->refs, 1, memory_order_acq_rel) != 1) return;
    np_arena_fini(&src->arena);
    np_free(src);
}

enum neap_err np_sources_add(struct np_sources *s, struct np_source *src)
{
    struct np_source **list = np_realloc(s->list, (s->len + 1) * sizeof(struct np_source *));
    if (!list) return NEAP_ENOMEM;
    s->list = list;
    s->list[s->len++] = src;
    return NEAP_OK;
}

enum neap_err np_sources_copy(const struct np_sources *from, struct np_sources *to)
{
    struct np_sources copy = {0};
    for (size_t i = 0; i < from->len; i++) {
        if (np_sources_add(&copy, np_source_ref(from->list[i])) == NEAP_OK) continue;
        np_source_unref(from->list[i]);
        np_sources_fini(&copy);
        return NEAP_ENOMEM;
    }
    *to = copy;
    return NEAP_OK;
}

void np_sources_fini(struct np_sources *s)
{
    for (size_t i = 0; i < s->len; i++)
        np_source_unref(s->list[i]);
    np_free(s->list);
    *s = (struct np_sources){0};
}
