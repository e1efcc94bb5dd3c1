/* A limiter that workers share by name (see limiter_shared.h). */
#include "mesh/limiter_shared.h"

#include <pthread.h>

#include "base/alloc.h"

struct np_shared_limiter {
    struct np_limiter whole;
    _Atomic(struct np_limiter_table *) keys; /* NULL until the first key comes */
    pthread_mutex_t lock;                    /* of making it, and of the options */
    struct np_shared_limiter_options opts;
};

static enum neap_err make(void *arg, void **object, struct neap_errinfo *info)
{
    const struct np_shared_limiter_options *o = arg;
    const char *problem = np_limiter_problem(&o->limiter);
    if (problem != NULL) return np_err_set(info, NEAP_EINVAL, "%s", problem);
    if (o->max_keys > NP_LIMITER_MAX_KEYS)
        return np_err_set(info, NEAP_EINVAL, "max_keys: at most %u", NP_LIMITER_MAX_KEYS);
    struct np_shared_limiter *l = np_calloc(1, sizeof *l);
    if (l == NULL) return np_err_plain(info, NEAP_ENOMEM);
    enum neap_err err = np_limiter_init(&l->whole, &o->limiter, o->now);
    if (err) {
        np_free(l);
        return np_err_plain(info, err);
    }
    pthread_mutex_init(&l->lock, NULL);
    l->opts = *o;
    *object = l;
    return NEAP_OK;
}

static enum neap_err set(void *object, void *arg, struct neap_errinfo *info)
{
    struct np_shared_limiter *l = object;
    const struct np_shared_limiter_options *o = arg;
    const char *problem = np_limiter_problem(&o->limiter);
    if (problem != NULL) return np_err_set(info, NEAP_EINVAL, "%s", problem);
    pthread_mutex_lock(&l->lock);
    struct np_limiter_table *t = atomic_load(&l->keys);
    enum neap_err err = np_limiter_set(&l->whole, &o->limiter, o->now);
    if (!err && t != NULL) err = np_limiter_table_set(t, &o->limiter, o->now);
    if (!err) l->opts = *o;
    pthread_mutex_unlock(&l->lock);
    return err ? np_err_plain(info, err) : NEAP_OK;
}

static void drop(void *object)
{
    struct np_shared_limiter *l = object;
    np_limiter_table_free(atomic_load(&l->keys));
    pthread_mutex_destroy(&l->lock);
    np_free(l);
}

const struct np_common_kind np_limiter_kind = {"limiter", make, set, drop};

static enum neap_err table_of(struct np_shared_limiter *l, int64_t now,
                              struct np_limiter_table **out)
{
    struct np_limiter_table *t = atomic_load_explicit(&l->keys, memory_order_acquire);
    enum neap_err err = NEAP_OK;
    if (t == NULL) {
        pthread_mutex_lock(&l->lock);
        t = atomic_load(&l->keys);
        if (t == NULL) err = np_limiter_table_new(&l->opts.limiter, l->opts.max_keys, now, &t);
        if (!err) atomic_store_explicit(&l->keys, t, memory_order_release);
        pthread_mutex_unlock(&l->lock);
    }
    *out = t;
    return err;
}

enum neap_err np_shared_limiter_check(struct np_shared_limiter *l, const char *key, size_t n,
                                      double cost, int64_t now, struct np_limit *out)
{
    struct np_limiter_table *t;
    if (key == NULL) {
        *out = np_limiter_check(&l->whole, cost, now);
        return NEAP_OK;
    }
    enum neap_err err = table_of(l, now, &t);
    if (!err) *out = np_limiter_table_check(t, key, n, cost, now);
    return err;
}

enum neap_err np_shared_limiter_reserve(struct np_shared_limiter *l, const char *key, size_t n,
                                        double cost, int64_t max_wait, int64_t now,
                                        uint64_t *ticket, struct np_limit *out)
{
    struct np_limiter_table *t;
    if (key == NULL) {
        *out = np_limiter_reserve(&l->whole, cost, max_wait, now, ticket);
        return NEAP_OK;
    }
    enum neap_err err = table_of(l, now, &t);
    if (!err) *out = np_limiter_table_reserve(t, key, n, cost, max_wait, now, ticket);
    return err;
}

void np_shared_limiter_give_back(struct np_shared_limiter *l, const char *key, size_t n,
                                 double cost, uint64_t ticket)
{
    struct np_limiter_table *t = atomic_load_explicit(&l->keys, memory_order_acquire);
    if (key == NULL) {
        np_limiter_give_back(&l->whole, cost, ticket);
    } else if (t != NULL) {
        np_limiter_table_give_back(t, key, n, cost, ticket);
    }
}

struct np_limiter_options np_shared_limiter_options(struct np_shared_limiter *l)
{
    pthread_mutex_lock(&l->lock);
    struct np_limiter_options o = l->whole.rule.opts; /* with the defaults */
    pthread_mutex_unlock(&l->lock);
    return o;
}

void np_shared_limiter_get_stats(struct np_shared_limiter *l, struct np_limiter_table_stats *out)
{
    struct np_limiter_table *t = atomic_load_explicit(&l->keys, memory_order_acquire);
    *out = (struct np_limiter_table_stats){0};
    if (t != NULL) np_limiter_table_get_stats(t, out);
    out->allowed += atomic_load_explicit(&l->whole.allowed, memory_order_relaxed);
    out->refused += atomic_load_explicit(&l->whole.refused, memory_order_relaxed);
}
