/* The share of a host, its users and their claims; see share.h and share_impl.h. */
#include "net/share.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/share_impl.h"

struct np_share_user {
    struct np_share *share;
    struct np_loop *loop;
    unsigned worker;
    unsigned era;
    unsigned any_ports; /* claims of port 0 while it loaded */
    bool held;
    bool loaded;
    bool retired;
    struct np_link claims;
};

/* --- the share */

enum neap_err np_share_new(unsigned workers, enum np_share_mode mode, struct np_share **out)
{
    if (workers == 0) workers = 1;
    struct np_share *s = np_calloc(1, sizeof *s + workers * sizeof s->eras[0]);
    if (!s) return NEAP_ENOMEM;
    int rc = uv_mutex_init(&s->lock);
    if (rc < 0) {
        np_free(s);
        return np_err_from_uv(rc);
    }
    s->workers = workers;
    s->mode = mode;
    np_link_init(&s->groups);
    np_link_init(&s->inherited);
    *out = s;
    return NEAP_OK;
}

/* --- groups; under the lock */

static void free_group(struct np_share_group *g)
{
    struct np_link *l;
    np_list_remove(&g->link);
    while ((l = np_list_pop_front(&g->counts)))
        np_free(np_container_of(l, struct np_share_count, link));
    np_free(g);
}

void np_share_free(struct np_share *s)
{
    if (!s) return;
    while (!np_list_empty(&s->groups)) {
        struct np_share_group *g = np_container_of(s->groups.next, struct np_share_group, link);
        np_share_close_sockets(g);
        free_group(g);
    }
    np_share_free_inherited(s);
    uv_mutex_destroy(&s->lock);
    np_free(s);
}

static struct np_share_count *new_count(struct np_share_group *g)
{
    struct np_share_count *k = np_calloc(1, sizeof *k);
    if (k) np_list_push_back(&g->counts, &k->link);
    return k;
}

/* Connections that live on are counted in its memory. */
static bool is_in_use(const struct np_share_group *g)
{
    struct np_link *l;
    if (g->claims || !np_list_empty(&g->on_way)) return true;
    np_list_each (l, &g->counts) {
        struct np_share_count *k = np_container_of(l, struct np_share_count, link);
        if (atomic_load_explicit(&k->open, memory_order_acquire)) return true;
    }
    return false;
}

static void free_unused_groups(struct np_share *s)
{
    struct np_link *l, *tmp;
    np_list_each_safe (l, tmp, &s->groups) {
        struct np_share_group *g = np_container_of(l, struct np_share_group, link);
        if (!is_in_use(g)) free_group(g);
    }
}

static struct np_share_group *find_group(struct np_share *s, const char *key)
{
    struct np_link *l;
    np_list_each (l, &s->groups) {
        struct np_share_group *g = np_container_of(l, struct np_share_group, link);
        if (strcmp(g->key, key) == 0) return g;
    }
    return NULL;
}

static struct np_share_group *new_group(struct np_share *s, const char *key)
{
    struct np_share_group *g = np_calloc(1, sizeof *g + s->workers * sizeof g->slots[0]);
    if (!g) return NULL;
    g->share = s;
    np_link_init(&g->counts);
    np_link_init(&g->on_way);
    np_list_push_back(&s->groups, &g->link);
    snprintf(g->key, sizeof g->key, "%s", key);
    for (unsigned i = 0; i < s->workers; i++)
        g->slots[i].fd = -1;
    for (unsigned i = 0; i < s->workers; i++) {
        if ((g->slots[i].count = new_count(g))) continue;
        free_group(g);
        return NULL;
    }
    return g;
}

static struct np_share_group *get_group(struct np_share *s, const char *key)
{
    struct np_share_group *g = find_group(s, key);
    if (g) return g;
    free_unused_groups(s);
    return new_group(s, key);
}

/* --- claims */

static bool claims_already(const struct np_share_user *u, const char *key)
{
    struct np_link *l;
    np_list_each (l, &u->claims) {
        const struct np_share_claim *c = np_container_of(l, struct np_share_claim, link);
        if (strcmp(c->group->key, key) == 0) return true;
    }
    return false;
}

/* Port 0: the n-th of those that load; after that one that is nobody else's. For datagrams it is
 * always one's own: the answers to what a worker sends must come back to it. */
static bool make_key(struct np_share_user *u, struct np_share_place *p, char *key)
{
    bool udp = p->kind == NP_SHARE_UDP;
    if (p->kind == NP_SHARE_UNIX) {
        snprintf(p->address, sizeof p->address, "unix:%s", p->path);
        snprintf(key, NP_SHARE_KEY_MAX, "%s", p->address);
        return true;
    }
    const char *ip = strcmp(p->host, "localhost") == 0 ? "127.0.0.1" : p->host;
    if (np_addr_from_ip(ip, p->port, &p->addr)) return false;
    np_addr_format(&p->addr.sa, p->address, sizeof p->address);
    if (p->port == 0 && (u->loaded || u->retired || udp)) return false;
    const char *proto = udp ? "udp:" : "";
    if (p->port == 0) {
        snprintf(key, NP_SHARE_KEY_MAX, "%s%s#%u", proto, p->address, ++u->any_ports);
        return true;
    }
    int n = snprintf(key, NP_SHARE_KEY_MAX, "%s%s", proto, p->address);
    /* A port that may be shared may be claimed several times: each is another group. */
    bool again = udp ? p->udp->reuse_port : p->opts->reuse_port;
    for (unsigned k = 2; again && claims_already(u, key); k++)
        snprintf(key + n, NP_SHARE_KEY_MAX - (size_t)n, "+%u", k);
    return true;
}

/* Another thread has its worker's number now. */
static bool is_orphan(const struct np_share_user *u)
{
    return u->era != u->share->eras[u->worker];
}

static void put_claim(struct np_share_user *u, struct np_share_group *g, struct np_share_claim *c)
{
    struct np_share_slot *slot = &g->slots[u->worker];
    c->group = g;
    c->user = u;
    c->worker = u->worker;
    c->era = u->era;
    c->count = slot->count;
    c->active = !u->held && !u->retired;
    g->claims++;
    slot->claims++;
    if (c->active) {
        slot->active = c;
        slot->loop = u->loop;
    }
    np_list_push_back(&u->claims, &c->link);
}

static enum neap_err claim_group(struct np_share_user *u, struct np_share_place *p, const char *key,
                                 struct np_share_claim *c, int *fd, struct neap_errinfo *info)
{
    if (is_orphan(u))
        return np_err_set(info, NEAP_ECLOSED, "cannot listen on %s: the worker was replaced",
                          p->address);
    if (claims_already(u, key))
        return np_err_set(info, NEAP_EADDRINUSE, "cannot listen on %s: %s", p->address,
                          neap_err_text(NEAP_EADDRINUSE));
    struct np_share_group *g = get_group(u->share, key);
    if (!g) return np_err_plain(info, NEAP_ENOMEM);
    enum neap_err err = np_share_open_slot(g, u->worker, p, fd, info);
    if (!err) put_claim(u, g, c);
    if (g->claims == 0) np_share_close_sockets(g);
    return err;
}

enum neap_err np_share_claim(struct np_share_user *u, struct np_share_place *p,
                             struct np_share_claim *c, int *fd, struct neap_errinfo *info)
{
    char key[NP_SHARE_KEY_MAX];
    if (!make_key(u, p, key)) return NEAP_ENOTSUP;
    uv_mutex_lock(&u->share->lock);
    enum neap_err err = claim_group(u, p, key, c, fd, info);
    uv_mutex_unlock(&u->share->lock);
    return err;
}

void np_share_move(struct np_share_claim *from, struct np_share_claim *to)
{
    struct np_share_group *g = from->group;
    uv_mutex_lock(&g->share->lock);
    *to = (struct np_share_claim){.group = g,
                                  .user = from->user,
                                  .worker = from->worker,
                                  .era = from->era,
                                  .count = from->count,
                                  .active = from->active,
                                  .update = from->update,
                                  .take = from->take};
    np_link_init(&to->link);
    np_list_insert_before(&from->link, &to->link);
    np_list_remove(&from->link);
    if (g->slots[to->worker].active == from) g->slots[to->worker].active = to;
    uv_mutex_unlock(&g->share->lock);
    from->group = NULL;
}

static void make_inactive(struct np_share_claim *c)
{
    struct np_share_slot *slot = &c->group->slots[c->worker];
    c->active = false;
    if (slot->active == c) slot->active = NULL;
}

static void close_slot(struct np_share_group *g, struct np_share_slot *slot)
{
    if (g->single || slot->fd < 0) return;
    close(slot->fd);
    slot->fd = -1;
}

/* A worker that was dropped has no part in its slot any more. */
static void leave_slot(struct np_share_group *g, const struct np_share_claim *c)
{
    struct np_share_slot *slot = &g->slots[c->worker];
    if (c->era == g->share->eras[c->worker] && --slot->claims == 0) close_slot(g, slot);
}

void np_share_release(struct np_share_claim *c)
{
    struct np_share_group *g = c->group;
    if (!g) return;
    struct np_share *s = g->share;
    uv_mutex_lock(&s->lock);
    make_inactive(c);
    c->group = NULL;
    np_list_remove(&c->link);
    g->claims--;
    leave_slot(g, c);
    if (g->claims == 0) np_share_close_sockets(g);
    uv_mutex_unlock(&s->lock);
}

/* --- users */

enum neap_err np_share_user_new(struct np_share *s, struct np_loop *loop, unsigned worker,
                                bool held, struct np_share_user **out)
{
    struct np_share_user *u = np_calloc(1, sizeof *u);
    if (!u) return NEAP_ENOMEM;
    *u = (struct np_share_user){.share = s, .loop = loop, .worker = worker, .held = held};
    np_link_init(&u->claims);
    uv_mutex_lock(&s->lock);
    u->era = s->eras[worker];
    uv_mutex_unlock(&s->lock);
    *out = u;
    return NEAP_OK;
}

void np_share_user_loaded(struct np_share_user *u)
{
    u->loaded = true;
}

static void activate(struct np_share_claim *c)
{
    struct np_share_user *u = c->user;
    struct np_share_slot *slot = &c->group->slots[c->worker];
    uv_mutex_lock(&u->share->lock);
    bool orphan = is_orphan(u);
    if (!orphan) {
        c->active = true;
        c->previous = slot->active;
        slot->active = c;
        slot->loop = u->loop;
    }
    uv_mutex_unlock(&u->share->lock);
    if (!orphan) c->update(c);
    c->previous = NULL;
}

void np_share_user_activate(struct np_share_user *u)
{
    struct np_link *l, *tmp;
    u->held = false;
    np_list_each_safe (l, tmp, &u->claims)
        activate(np_container_of(l, struct np_share_claim, link));
}

void np_share_user_retire(struct np_share_user *u)
{
    struct np_link *l, *tmp;
    u->retired = true;
    np_list_each_safe (l, tmp, &u->claims) {
        struct np_share_claim *c = np_container_of(l, struct np_share_claim, link);
        uv_mutex_lock(&u->share->lock);
        make_inactive(c);
        uv_mutex_unlock(&u->share->lock);
        c->update(c);
    }
}

void np_share_user_free(struct np_share_user *u)
{
    struct np_link *l;
    if (!u) return;
    while ((l = u->claims.next) != &u->claims)
        np_share_release(np_container_of(l, struct np_share_claim, link));
    np_free(u);
}

static void drop_slot(struct np_share_group *g, unsigned worker)
{
    struct np_share_slot *slot = &g->slots[worker];
    struct np_share_count *count = new_count(g);
    slot->active = NULL;
    slot->claims = 0; /* its socket stays, for the one that takes the worker's place */
    if (count) slot->count = count;
    np_share_redirect(g, worker);
}

void np_share_drop_worker(struct np_share *s, unsigned worker)
{
    struct np_link *l;
    uv_mutex_lock(&s->lock);
    s->eras[worker]++;
    np_list_each (l, &s->groups)
        drop_slot(np_container_of(l, struct np_share_group, link), worker);
    uv_mutex_unlock(&s->lock);
}

void np_share_leave(struct np_share *s, unsigned worker)
{
    struct np_link *l;
    uv_mutex_lock(&s->lock);
    np_list_each (l, &s->groups) {
        struct np_share_group *g = np_container_of(l, struct np_share_group, link);
        struct np_share_slot *slot = &g->slots[worker];
        if (slot->claims > 0) continue;
        /* One that is stuck may have a duplicate of it. */
        if (!g->single && slot->fd >= 0) shutdown(slot->fd, SHUT_RDWR);
        close_slot(g, slot);
    }
    uv_mutex_unlock(&s->lock);
}
