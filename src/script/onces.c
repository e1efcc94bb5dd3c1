/* Claims; see onces.h. One lock for all names: they are taken seldom. */
#include "script/onces.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

struct name {
    struct np_link line; /* of struct np_once_claim, the holder among them */
    struct np_once_claim *holder;
    unsigned generation; /* … of the code that has done it */
    bool done;
    size_t len;
    char text[];
};

struct np_once_claim {
    struct np_link link; /* in name.line; unlinked: dropped */
    struct np_post post;
    struct np_onces *onces;
    struct name *name;
    struct np_loop *loop;
    np_once_fn fn; /* NULL once it has ended; the loop's thread */
    void *arg;
    unsigned generation;
    unsigned worker;
    unsigned refs; /* under the lock */
    bool granted;  /* fn was called, or is about to be */
    bool done;     /* … because there is nothing left to do */
};

struct np_onces {
    uv_mutex_t lock;
    struct np_map names;
    unsigned oldest; /* code of older generations gets nothing any more */
    bool stopped;
};

enum neap_err np_onces_new(struct np_onces **out)
{
    struct np_onces *o = np_calloc(1, sizeof *o);
    if (!o) return NEAP_ENOMEM;
    int rc = uv_mutex_init(&o->lock);
    if (rc < 0) {
        np_free(o);
        return np_err_from_uv(rc);
    }
    np_map_init(&o->names);
    *out = o;
    return NEAP_OK;
}

void np_onces_free(struct np_onces *o)
{
    struct np_map_entry *e;
    if (!o) return;
    for (size_t it = 0; (e = np_map_next(&o->names, &it));)
        np_free(e->value);
    np_map_fini(&o->names);
    uv_mutex_destroy(&o->lock);
    np_free(o);
}

static struct name *get_name(struct np_onces *o, const char *text)
{
    size_t len = strlen(text);
    struct name *n = np_map_get(&o->names, text, len);
    if (n) return n;
    n = np_alloc(sizeof *n + len + 1);
    if (!n) return NULL;
    *n = (struct name){.len = len};
    memcpy(n->text, text, len + 1);
    np_link_init(&n->line);
    if (np_map_set(&o->names, text, len, n, NULL) == NEAP_OK) return n;
    np_free(n);
    return NULL;
}

/* A name that nobody wants and that was not done need not be kept. */
static void drop_name(struct np_onces *o, struct name *n)
{
    if (n->done || !np_list_empty(&n->line)) return;
    np_map_remove(&o->names, n->text, n->len);
    np_free(n);
}

static void unref(struct np_once_claim *c)
{
    struct np_onces *o = c->onces;
    uv_mutex_lock(&o->lock);
    bool last = --c->refs == 0;
    uv_mutex_unlock(&o->lock);
    if (last) np_free(c);
}

static void on_grant(struct np_post *p, struct np_loop *loop)
{
    (void)loop;
    struct np_once_claim *c = np_container_of(p, struct np_once_claim, post);
    if (c->fn) c->fn(c, c->done, c->arg);
    unref(c);
}

/* Under the lock. */
static void grant(struct np_once_claim *c, bool done)
{
    if (c->granted) return;
    c->granted = true;
    c->done = done;
    c->refs++;
    np_loop_post(c->loop, &c->post);
}

/* Under the lock: tells those that there is nothing left to do for. */
static void tell_done(struct name *n)
{
    struct np_link *l, *next;
    np_list_each_safe (l, next, &n->line) {
        struct np_once_claim *c = np_container_of(l, struct np_once_claim, link);
        if (c->generation > n->generation) continue;
        np_list_remove(l);
        grant(c, true);
    }
}

/* Under the lock: the first of the newest code, so that in a reload no old state gets what another
 * has just given up. */
static struct np_once_claim *next_holder(const struct np_onces *o, struct name *n)
{
    struct np_once_claim *best = NULL;
    struct np_link *l;
    np_list_each (l, &n->line) {
        struct np_once_claim *c = np_container_of(l, struct np_once_claim, link);
        if (c->generation < o->oldest) continue;
        if (!best || c->generation > best->generation) best = c;
    }
    return best;
}

static void look_at_line(struct np_onces *o, struct name *n)
{
    if (n->done) tell_done(n);
    if (n->holder || o->stopped) return;
    n->holder = next_holder(o, n);
    if (!n->holder) return;
    n->done = false; /* newer code does it anew */
    grant(n->holder, false);
}

enum neap_err np_once_claim(struct np_onces *o, const char *name, unsigned generation,
                            unsigned worker, struct np_loop *loop, np_once_fn fn, void *arg,
                            struct np_once_claim **out)
{
    struct np_once_claim *c = np_calloc(1, sizeof *c);
    if (!c) return NEAP_ENOMEM;
    *c = (struct np_once_claim){.post.fn = on_grant,
                                .onces = o,
                                .loop = loop,
                                .fn = fn,
                                .arg = arg,
                                .generation = generation,
                                .worker = worker,
                                .refs = 1};
    uv_mutex_lock(&o->lock);
    c->name = get_name(o, name);
    if (c->name) {
        np_list_push_back(&c->name->line, &c->link);
        look_at_line(o, c->name);
    }
    uv_mutex_unlock(&o->lock);
    if (!c->name) {
        np_free(c);
        return NEAP_ENOMEM;
    }
    *out = c;
    return NEAP_OK;
}

/* Under the lock. */
static void leave_line(struct np_once_claim *c, bool done)
{
    struct name *n = c->name;
    if (!np_link_linked(&c->link)) return;
    bool held = n->holder == c;
    if (held) n->holder = NULL;
    np_list_remove(&c->link);
    if (held && done) {
        n->done = true;
        n->generation = c->generation;
    }
    look_at_line(c->onces, n);
    drop_name(c->onces, n);
}

void np_once_end(struct np_once_claim *c, bool done)
{
    if (!c) return;
    struct np_onces *o = c->onces;
    c->fn = NULL;
    uv_mutex_lock(&o->lock);
    leave_line(c, done);
    uv_mutex_unlock(&o->lock);
    unref(c);
}

void np_onces_drop_worker(struct np_onces *o, unsigned worker)
{
    struct np_map_entry *e;
    uv_mutex_lock(&o->lock);
    for (size_t it = 0; (e = np_map_next(&o->names, &it));) {
        struct name *n = e->value;
        struct np_link *l, *next;
        np_list_each_safe (l, next, &n->line) {
            struct np_once_claim *c = np_container_of(l, struct np_once_claim, link);
            if (c->worker != worker) continue;
            if (n->holder == c) n->holder = NULL;
            np_list_remove(l);
        }
        look_at_line(o, n);
        drop_name(o, n);
    }
    uv_mutex_unlock(&o->lock);
}

void np_onces_go_over(struct np_onces *o, unsigned generation)
{
    uv_mutex_lock(&o->lock);
    o->oldest = generation;
    uv_mutex_unlock(&o->lock);
}

void np_onces_stop(struct np_onces *o)
{
    uv_mutex_lock(&o->lock);
    o->stopped = true;
    uv_mutex_unlock(&o->lock);
}
