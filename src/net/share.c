/* Shared listening sockets; see share.h.
 *
 * A group is an address. It has one socket for all workers, or (SO_REUSEPORT) one for each: a slot.
 * A claim is a listener's part: it holds a duplicate of its slot's descriptor, for libuv polls a
 * descriptor once only, and duplicates share one queue of connections. One lock for all groups:
 * claims come and go seldom, and a connection takes it only to be handed to another worker.
 */
#include "net/share.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/listen.h"
#include "net/share_claim.h"

#define SLACK_MIN 4    /* more connections than another worker has, before one is passed on … */
#define SLACK_PART 8   /* … and that part of the other's */
#define MAX_UNTAKEN 16 /* handed out and not taken: that worker does not come to it */
#define KEY_MAX (NP_ADDR_TEXT_MAX + 32)

struct slot {
    int fd; /* -1: none; in a group with one socket only slot 0 has it */
    size_t claims;
    unsigned era;                  /* how often its worker was dropped */
    struct np_share_claim *active; /* who takes connections there */
    struct np_loop *loop;
    atomic_uint open;    /* connections */
    atomic_uint untaken; /* handed out, on their way */
};

struct np_share_group {
    struct np_link link;
    struct np_share *share;
    size_t claims;
    bool single; /* one socket for all */
    bool is_unix;
    dev_t path_dev; /* of a unix socket that was made here; 0 of one that was not */
    ino_t path_ino;
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    char key[KEY_MAX];
    struct slot slots[];
};

struct inherited {
    struct np_link link;
    int fd;
    char address[NP_ADDR_TEXT_MAX];
    char name[64];
};

struct np_share {
    uv_mutex_t lock;
    unsigned workers;
    enum np_share_mode mode;
    struct np_link groups;
    struct np_link inherited;
};

struct np_share_user {
    struct np_share *share;
    struct np_loop *loop;
    unsigned worker;
    unsigned any_ports; /* claims of port 0 while it loaded */
    bool held;
    bool loaded;
    bool retired;
    struct np_link claims;
};

/* --- the share */

enum neap_err np_share_new(unsigned workers, enum np_share_mode mode, struct np_share **out)
{
    struct np_share *s = np_calloc(1, sizeof *s);
    if (!s) return NEAP_ENOMEM;
    int rc = uv_mutex_init(&s->lock);
    if (rc < 0) {
        np_free(s);
        return np_err_from_uv(rc);
    }
    s->workers = workers > 0 ? workers : 1;
    s->mode = mode;
    np_link_init(&s->groups);
    np_link_init(&s->inherited);
    *out = s;
    return NEAP_OK;
}

static void close_slots(struct np_share_group *g)
{
    for (unsigned i = 0; i < g->share->workers; i++) {
        if (g->slots[i].fd >= 0) close(g->slots[i].fd);
        g->slots[i].fd = -1;
    }
}

void np_share_free(struct np_share *s)
{
    struct np_link *l;
    if (!s) return;
    while ((l = np_list_pop_front(&s->groups))) {
        struct np_share_group *g = np_container_of(l, struct np_share_group, link);
        close_slots(g);
        np_free(g);
    }
    while ((l = np_list_pop_front(&s->inherited))) {
        struct inherited *in = np_container_of(l, struct inherited, link);
        close(in->fd);
        np_free(in);
    }
    uv_mutex_destroy(&s->lock);
    np_free(s);
}

enum neap_err np_share_inherit(struct np_share *s, int fd, const char *name)
{
    union np_addr addr = {0};
    socklen_t n = sizeof addr;
    int listening = 0;
    socklen_t size = sizeof listening;
    if (getsockname(fd, &addr.sa, &n) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0)
        return np_err_from_errno(errno);
    if (!listening) return NEAP_EINVAL;
    struct inherited *in = np_calloc(1, sizeof *in);
    if (!in) return NEAP_ENOMEM;
    in->fd = fd;
    np_addr_format(&addr.sa, in->address, sizeof in->address);
    snprintf(in->name, sizeof in->name, "%s", name ? name : "");
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    uv_mutex_lock(&s->lock);
    np_list_push_back(&s->inherited, &in->link);
    uv_mutex_unlock(&s->lock);
    return NEAP_OK;
}

/* --- sockets of a group; under the lock */

static int take_inherited(struct np_share *s, const char *address)
{
    struct np_link *l;
    np_list_each (l, &s->inherited) {
        struct inherited *in = np_container_of(l, struct inherited, link);
        if (strcmp(in->address, address) != 0) continue;
        int fd = in->fd;
        np_list_remove(l);
        np_free(in);
        return fd;
    }
    return -1;
}

static enum neap_err first_tcp(struct np_share_group *g, unsigned worker,
                               const struct np_share_place *p, struct neap_errinfo *info)
{
    struct np_share *s = g->share;
    struct np_listen_options lo = *p->opts;
    int fd = take_inherited(s, p->address);
    g->single = fd >= 0 || s->workers == 1 || s->mode == NP_SHARE_HAND_OUT;
    lo.join_later = !g->single;
    enum neap_err err = NEAP_OK;
    if (fd < 0) err = np_listen_tcp_socket(p->host, p->port, &lo, &fd, info);
    if (!err) g->slots[g->single ? 0 : worker].fd = fd;
    return err;
}

static enum neap_err first_unix(struct np_share_group *g, const struct np_share_place *p,
                                struct neap_errinfo *info)
{
    struct stat st;
    int fd = take_inherited(g->share, p->address);
    g->single = g->is_unix = true;
    if (fd < 0) {
        enum neap_err err = np_listen_unix_socket(p->path, p->opts, &fd, info);
        if (err) return err;
        if (lstat(p->path, &st) == 0) {
            g->path_dev = st.st_dev;
            g->path_ino = st.st_ino;
        }
        snprintf(g->path, sizeof g->path, "%s", p->path);
    }
    g->slots[0].fd = fd;
    return NEAP_OK;
}

static int any_socket(const struct np_share_group *g)
{
    for (unsigned i = 0; i < g->share->workers; i++) {
        if (g->slots[i].fd >= 0) return g->slots[i].fd;
    }
    return -1;
}

/* One more socket on the group's port; where that cannot be, all workers use the one there is. */
static void join_tcp(struct np_share_group *g, unsigned worker, const struct np_share_place *p)
{
    union np_addr addr;
    socklen_t n = sizeof addr;
    struct np_listen_options lo = *p->opts;
    lo.reuse_port = true;
    int fd;
    if (getsockname(any_socket(g), &addr.sa, &n) < 0) return;
    int port = np_addr_port(&addr.sa);
    if (np_listen_tcp_socket(p->host, port, &lo, &fd, NULL) == NEAP_OK) g->slots[worker].fd = fd;
}

static enum neap_err open_slot(struct np_share_group *g, unsigned worker,
                               const struct np_share_place *p, int *out, struct neap_errinfo *info)
{
    enum neap_err err = NEAP_OK;
    int fd = any_socket(g);
    if (fd < 0) {
        err = p->path ? first_unix(g, p, info) : first_tcp(g, worker, p, info);
    } else if (!g->single && g->slots[worker].fd < 0) {
        join_tcp(g, worker, p);
    }
    if (err) return err;
    fd = g->slots[g->single ? 0 : worker].fd;
    if (fd < 0) fd = any_socket(g);
    *out = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (*out >= 0) return NEAP_OK;
    int e = errno;
    return np_err_set(info, np_err_from_errno(e), "cannot listen on %s: %s", p->address,
                      strerror(e));
}

static void remove_path(struct np_share_group *g)
{
    struct stat st;
    if (!g->is_unix || g->path_ino == 0) return;
    if (lstat(g->path, &st) == 0 && st.st_dev == g->path_dev && st.st_ino == g->path_ino)
        unlink(g->path);
}

/* The memory stays, as connections count there; a later claim of the address uses it again. */
static void close_group(struct np_share_group *g)
{
    remove_path(g);
    close_slots(g);
    g->path_ino = 0;
    g->single = g->is_unix = false;
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

static struct np_share_group *get_group(struct np_share *s, const char *key)
{
    struct np_share_group *g = find_group(s, key);
    if (g) return g;
    g = np_calloc(1, sizeof *g + s->workers * sizeof g->slots[0]);
    if (!g) return NULL;
    g->share = s;
    for (unsigned i = 0; i < s->workers; i++)
        g->slots[i].fd = -1;
    snprintf(g->key, sizeof g->key, "%s", key);
    np_list_push_back(&s->groups, &g->link);
    return g;
}

/* --- claims */

static bool claims_already(const struct np_share_user *u, const struct np_share_group *g)
{
    struct np_link *l;
    np_list_each (l, &u->claims) {
        if (np_container_of(l, struct np_share_claim, link)->group == g) return true;
    }
    return false;
}

/* Port 0: the n-th of those that load; after that one that is nobody else's. */
static bool make_key(struct np_share_user *u, struct np_share_place *p, char *key)
{
    union np_addr addr;
    if (p->path) {
        snprintf(p->address, sizeof p->address, "unix:%s", p->path);
        snprintf(key, KEY_MAX, "%s", p->address);
        return true;
    }
    const char *ip = strcmp(p->host, "localhost") == 0 ? "127.0.0.1" : p->host;
    if (np_addr_from_ip(ip, p->port, &addr)) return false;
    np_addr_format(&addr.sa, p->address, sizeof p->address);
    if (p->port == 0 && (u->loaded || u->retired)) return false;
    if (p->port == 0) {
        snprintf(key, KEY_MAX, "%s#%u", p->address, ++u->any_ports);
    } else {
        snprintf(key, KEY_MAX, "%s", p->address);
    }
    return true;
}

static void put_claim(struct np_share_user *u, struct np_share_group *g, struct np_share_claim *c)
{
    struct slot *slot = &g->slots[u->worker];
    c->group = g;
    c->user = u;
    c->worker = u->worker;
    c->era = slot->era;
    c->active = false;
    g->claims++;
    slot->claims++;
    slot->loop = u->loop;
    if (!u->held && !u->retired) {
        c->active = true;
        slot->active = c;
    }
    np_list_push_back(&u->claims, &c->link);
}

enum neap_err np_share_claim(struct np_share_user *u, struct np_share_place *p,
                             struct np_share_claim *c, int *fd, struct neap_errinfo *info)
{
    char key[KEY_MAX];
    struct np_share *s = u->share;
    if (!make_key(u, p, key)) return NEAP_ENOTSUP;
    uv_mutex_lock(&s->lock);
    struct np_share_group *g = get_group(s, key);
    enum neap_err err = g ? NEAP_OK : np_err_plain(info, NEAP_ENOMEM);
    if (!err && claims_already(u, g)) {
        err = np_err_set(info, NEAP_EADDRINUSE, "cannot listen on %s: %s", p->address,
                         strerror(EADDRINUSE));
    }
    if (!err) err = open_slot(g, u->worker, p, fd, info);
    if (!err) put_claim(u, g, c);
    if (g && g->claims == 0) close_group(g);
    uv_mutex_unlock(&s->lock);
    return err;
}

void np_share_move(struct np_share_claim *from, struct np_share_claim *to)
{
    struct np_share_group *g = from->group;
    uv_mutex_lock(&g->share->lock);
    *to = *from;
    np_link_init(&to->link);
    np_list_insert_before(&from->link, &to->link);
    np_list_remove(&from->link);
    if (g->slots[to->worker].active == from) g->slots[to->worker].active = to;
    uv_mutex_unlock(&g->share->lock);
    *from = (struct np_share_claim){0};
}

static void make_inactive(struct np_share_claim *c)
{
    struct slot *slot = &c->group->slots[c->worker];
    c->active = false;
    if (slot->active == c) slot->active = NULL;
}

/* A worker that was dropped has no part in its slot any more. */
static void leave_slot(struct np_share_group *g, const struct np_share_claim *c)
{
    struct slot *slot = &g->slots[c->worker];
    if (c->era != slot->era || --slot->claims > 0) return;
    if (g->single || slot->fd < 0) return;
    close(slot->fd);
    slot->fd = -1;
}

void np_share_release(struct np_share_claim *c)
{
    struct np_share_group *g = c->group;
    if (!g) return;
    uv_mutex_lock(&g->share->lock);
    make_inactive(c);
    c->group = NULL;
    np_list_remove(&c->link);
    g->claims--;
    leave_slot(g, c);
    if (g->claims == 0) close_group(g);
    uv_mutex_unlock(&g->share->lock);
}

/* --- connections */

atomic_uint *np_share_open_count(struct np_share_claim *c)
{
    return &c->group->slots[c->worker].open;
}

struct hand_out {
    struct np_post post;
    struct np_share_group *group;
    unsigned to;
    int fd;
};

static unsigned load_of(const struct slot *slot)
{
    return atomic_load_explicit(&slot->open, memory_order_relaxed) +
           atomic_load_explicit(&slot->untaken, memory_order_relaxed);
}

/* Under the lock. The one with the fewest connections that takes any; `self` unless another has
 * clearly fewer. -1: nobody. */
static int choose(const struct np_share_group *g, int self)
{
    int best = -1;
    unsigned least = 0;
    for (unsigned i = 0; i < g->share->workers; i++) {
        const struct slot *slot = &g->slots[i];
        if (!slot->active || atomic_load(&slot->untaken) > MAX_UNTAKEN) continue;
        unsigned load = load_of(slot);
        if (best < 0 || load < least) {
            best = (int)i;
            least = load;
        }
    }
    if (self < 0 || !g->slots[self].active) return best;
    bool strict = g->share->mode == NP_SHARE_HAND_OUT;
    unsigned slack = strict ? 0 : SLACK_MIN + least / SLACK_PART;
    return best >= 0 && load_of(&g->slots[self]) > least + slack ? best : self;
}

static void on_hand_out(struct np_post *p, struct np_loop *loop);

static void pass_on(struct np_share_group *g, struct hand_out *h, unsigned to)
{
    h->to = to;
    atomic_fetch_add_explicit(&g->slots[to].untaken, 1, memory_order_relaxed);
    np_loop_post(g->slots[to].loop, &h->post);
}

static void on_hand_out(struct np_post *p, struct np_loop *loop)
{
    struct hand_out *h = np_container_of(p, struct hand_out, post);
    struct np_share_group *g = h->group;
    struct slot *slot = &g->slots[h->to];
    uv_mutex_lock(&g->share->lock);
    /* Another thread may have taken the worker's place meanwhile. */
    struct np_share_claim *c = slot->loop == loop ? slot->active : NULL;
    atomic_fetch_sub_explicit(&slot->untaken, 1, memory_order_relaxed);
    int next = c ? -1 : choose(g, -1);
    if (!c && next >= 0) pass_on(g, h, (unsigned)next);
    uv_mutex_unlock(&g->share->lock);
    if (!c && next >= 0) return;
    if (c) {
        c->take(c, h->fd);
    } else {
        close(h->fd); /* nobody listens there any more */
    }
    np_free(h);
}

/* Whether the lock is worth taking: most connections stay where they were accepted. */
static bool is_light(const struct np_share_claim *c)
{
    const struct np_share_group *g = c->group;
    bool strict = g->share->mode == NP_SHARE_HAND_OUT;
    return g->share->workers == 1 || (!strict && load_of(&g->slots[c->worker]) < SLACK_MIN);
}

bool np_share_hand_out(struct np_share_claim *c, int fd)
{
    struct np_share_group *g = c->group;
    if (is_light(c)) return false;
    uv_mutex_lock(&g->share->lock);
    int to = choose(g, (int)c->worker);
    struct hand_out *h = NULL;
    if (to >= 0 && (unsigned)to != c->worker) h = np_alloc(sizeof *h);
    if (h) {
        *h = (struct hand_out){.post.fn = on_hand_out, .group = g, .fd = fd};
        pass_on(g, h, (unsigned)to);
    }
    uv_mutex_unlock(&g->share->lock);
    return h != NULL;
}

/* --- users */

enum neap_err np_share_user_new(struct np_share *s, struct np_loop *loop, unsigned worker,
                                bool held, struct np_share_user **out)
{
    struct np_share_user *u = np_calloc(1, sizeof *u);
    if (!u) return NEAP_ENOMEM;
    *u = (struct np_share_user){.share = s, .loop = loop, .worker = worker, .held = held};
    np_link_init(&u->claims);
    *out = u;
    return NEAP_OK;
}

void np_share_user_loaded(struct np_share_user *u)
{
    u->loaded = true;
}

void np_share_user_activate(struct np_share_user *u)
{
    struct np_link *l;
    u->held = false;
    np_list_each (l, &u->claims) {
        struct np_share_claim *c = np_container_of(l, struct np_share_claim, link);
        uv_mutex_lock(&u->share->lock);
        c->active = true;
        c->previous = c->group->slots[c->worker].active;
        c->group->slots[c->worker].active = c;
        uv_mutex_unlock(&u->share->lock);
        c->update(c);
        c->previous = NULL;
    }
}

void np_share_user_retire(struct np_share_user *u)
{
    struct np_link *l;
    u->retired = true;
    np_list_each (l, &u->claims) {
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

void np_share_drop_worker(struct np_share *s, unsigned worker)
{
    struct np_link *l;
    uv_mutex_lock(&s->lock);
    np_list_each (l, &s->groups) {
        struct np_share_group *g = np_container_of(l, struct np_share_group, link);
        struct slot *slot = &g->slots[worker];
        slot->active = NULL;
        slot->claims = 0; /* its socket stays, for the one that takes the worker's place */
        slot->era++;
    }
    uv_mutex_unlock(&s->lock);
}
