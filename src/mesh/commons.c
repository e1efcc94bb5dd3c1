/* Shared rules by name (see commons.h).
 *
 * As in endpoint_stats.c, the last reference to an object of a table is dropped under the table's
 * lock, where it also leaves the table; so what is found there is alive. An object without a table
 * has a lock of its own for `set`.
 */
#include "mesh/commons.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/list.h"

struct np_commons {
    pthread_mutex_t lock;
    struct np_map map; /* kind, NUL, key → struct entry */
    size_t refs;       /* under the lock: its owner's, and each object's */
};

struct entry {
    struct np_common common;
    const struct np_common_kind *kind;
    struct np_commons *table; /* never NULL: an object without a name has one to itself */
    atomic_uint refs;
    bool named;
    size_t key_len; /* of the whole key */
    char key[];
};

enum neap_err np_commons_new(struct np_commons **out)
{
    struct np_commons *t = np_calloc(1, sizeof *t);
    if (t == NULL) return NEAP_ENOMEM;
    pthread_mutex_init(&t->lock, NULL);
    np_map_init(&t->map);
    t->refs = 1;
    *out = t;
    return NEAP_OK;
}

struct np_commons *np_commons_ref(struct np_commons *t)
{
    pthread_mutex_lock(&t->lock);
    t->refs++;
    pthread_mutex_unlock(&t->lock);
    return t;
}

/* Unlocks. */
static void drop_table(struct np_commons *t)
{
    bool last = --t->refs == 0;
    pthread_mutex_unlock(&t->lock);
    if (!last) return;
    np_map_fini(&t->map);
    pthread_mutex_destroy(&t->lock);
    np_free(t);
}

void np_commons_unref(struct np_commons *t)
{
    if (t == NULL) return;
    pthread_mutex_lock(&t->lock);
    drop_table(t);
}

size_t np_commons_len(struct np_commons *t)
{
    pthread_mutex_lock(&t->lock);
    size_t len = t->map.len;
    pthread_mutex_unlock(&t->lock);
    return len;
}

/* Without its object yet, and in no table. The key is the kind's name, a NUL and `key`. */
static struct entry *new_entry(const struct np_common_kind *kind, const char *key, size_t n)
{
    size_t head = strlen(kind->name) + 1;
    struct entry *e = np_calloc(1, sizeof *e + head + n + 1);
    if (e == NULL) return NULL;
    memcpy(e->key, kind->name, head);
    if (n > 0) memcpy(e->key + head, key, n);
    e->key_len = head + n;
    e->kind = kind;
    atomic_init(&e->refs, 1);
    return e;
}

/* Under the lock. The entry stands in the table with its object, or nothing has changed. */
static enum neap_err add(struct np_commons *t, struct entry *e, void *arg,
                         struct neap_errinfo *info)
{
    if (t->map.len >= NP_COMMONS_MAX)
        return np_err_set(info, NEAP_ELIMIT, "there are %d named rules", NP_COMMONS_MAX);
    enum neap_err err = np_map_set(&t->map, e->key, e->key_len, e, NULL);
    if (err) return np_err_plain(info, err);
    err = e->kind->make(arg, &e->common.object, info);
    if (err) {
        np_map_remove(&t->map, e->key, e->key_len);
        return err;
    }
    e->table = t;
    e->named = true;
    t->refs++;
    return NEAP_OK;
}

enum neap_err np_commons_get(struct np_commons *t, const struct np_common_kind *kind,
                             const char *key, size_t n, void *arg, struct np_common **out,
                             bool *made, struct neap_errinfo *info)
{
    if (n == 0 || n > NP_COMMONS_MAX_KEY)
        return np_err_set(info, NEAP_EINVAL, "a name has 1 to %d bytes", NP_COMMONS_MAX_KEY);
    struct entry *fresh = new_entry(kind, key, n);
    if (fresh == NULL) return np_err_plain(info, NEAP_ENOMEM);
    pthread_mutex_lock(&t->lock);
    struct entry *e = np_map_get(&t->map, fresh->key, fresh->key_len);
    bool found = e != NULL;
    enum neap_err err = NEAP_OK;
    if (found) {
        atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    } else {
        err = add(t, fresh, arg, info);
        e = fresh;
    }
    pthread_mutex_unlock(&t->lock);
    if (found || err) np_free(fresh);
    if (err) return err;
    if (made != NULL) *made = !found;
    *out = &e->common;
    return NEAP_OK;
}

enum neap_err np_common_new(const struct np_common_kind *kind, void *arg, struct np_common **out,
                            struct neap_errinfo *info)
{
    struct np_commons *t = NULL;
    enum neap_err err = np_commons_new(&t);
    if (err) return np_err_plain(info, err);
    struct entry *e = new_entry(kind, NULL, 0);
    err = e ? NEAP_OK : np_err_plain(info, NEAP_ENOMEM);
    if (!err) err = kind->make(arg, &e->common.object, info);
    if (err) goto fail;
    e->table = t; /* whose only reference is the entry's */
    *out = &e->common;
    return NEAP_OK;
fail:
    np_free(e);
    np_commons_unref(t);
    return err;
}

enum neap_err np_common_set(struct np_common *c, void *arg, struct neap_errinfo *info)
{
    struct entry *e = np_container_of(c, struct entry, common);
    if (e->kind->set == NULL)
        return np_err_set(info, NEAP_EEXIST, "the %s \"%s\" has other options", e->kind->name,
                          np_common_name(c));
    pthread_mutex_lock(&e->table->lock);
    enum neap_err err = e->kind->set(c->object, arg, info);
    pthread_mutex_unlock(&e->table->lock);
    return err;
}

struct np_common *np_common_ref(struct np_common *c)
{
    struct entry *e = np_container_of(c, struct entry, common);
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    return c;
}

void np_common_unref(struct np_common *c)
{
    if (c == NULL) return;
    struct entry *e = np_container_of(c, struct entry, common);
    struct np_commons *t = e->table;
    unsigned n = atomic_load_explicit(&e->refs, memory_order_relaxed);
    while (n > 1) {
        if (atomic_compare_exchange_weak_explicit(&e->refs, &n, n - 1, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return;
    }
    pthread_mutex_lock(&t->lock);
    if (atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1) {
        pthread_mutex_unlock(&t->lock);
        return;
    }
    if (e->named) np_map_remove(&t->map, e->key, e->key_len);
    pthread_mutex_unlock(&t->lock);
    e->kind->free(c->object); /* which may hold other objects of the table */
    np_free(e);
    np_commons_unref(t);
}

const char *np_common_name(const struct np_common *c)
{
    const struct entry *e = np_container_of((struct np_common *)(uintptr_t)c, struct entry, common);
    return e->key + strlen(e->kind->name) + 1;
}
