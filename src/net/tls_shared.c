/* What all TLS contexts of a process share: ticket keys and sessions. See tls.h.
 *
 * Keys are random and live for a while: the newest encrypts, the ones before it still open. Any
 * thread may call; one lock, held for a lookup or a copy. Nothing of OpenSSL's is touched before
 * the first handshake, so that a process without TLS does not pay for it.
 */
#include <openssl/rand.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "net/tls_impl.h"

enum { KEYS = 3, DEFAULT_SESSIONS = 20000 };
#define DEFAULT_ROTATE (12 * 3600 * NP_NS_PER_SEC)

struct session {
    struct np_link link; /* the one used last first */
    size_t id_len;
    size_t len;
    unsigned char bytes[]; /* the ID, then the session's DER */
};

struct np_tls_shared {
    atomic_uint refs;
    pthread_mutex_t lock;
    int64_t rotate;
    int64_t since; /* when the newest key was made */
    struct np_tls_ticket_key keys[KEYS];
    size_t nkeys;
    struct np_map sessions;
    struct np_link by_age;
    size_t max_sessions;
};

enum neap_err np_tls_shared_new(int64_t rotate, size_t max_sessions, struct np_tls_shared **out)
{
    struct np_tls_shared *s = np_alloc(sizeof *s);
    if (!s) return NEAP_ENOMEM;
    *s = (struct np_tls_shared){
        .rotate = rotate ? rotate : DEFAULT_ROTATE,
        .max_sessions = max_sessions ? max_sessions : DEFAULT_SESSIONS,
    };
    atomic_init(&s->refs, 1);
    pthread_mutex_init(&s->lock, NULL);
    np_map_init(&s->sessions);
    np_link_init(&s->by_age);
    *out = s;
    return NEAP_OK;
}

struct np_tls_shared *np_tls_shared_ref(struct np_tls_shared *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

static void remove_session(struct np_tls_shared *s, struct session *e)
{
    np_map_remove(&s->sessions, (const char *)e->bytes, e->id_len);
    np_list_remove(&e->link);
    OPENSSL_cleanse(e->bytes, e->id_len + e->len);
    np_free(e);
}

void np_tls_shared_unref(struct np_tls_shared *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
    while (!np_list_empty(&s->by_age))
        remove_session(s, np_container_of(s->by_age.next, struct session, link));
    np_map_fini(&s->sessions);
    pthread_mutex_destroy(&s->lock);
    OPENSSL_cleanse(s->keys, sizeof s->keys);
    np_free(s);
}

/* Ticket keys. */

static enum neap_err add_key(struct np_tls_shared *s)
{
    struct np_tls_ticket_key fresh;
    if (RAND_bytes((unsigned char *)&fresh, sizeof fresh) != 1) return NEAP_EIO;
    memmove(&s->keys[1], &s->keys[0], (KEYS - 1) * sizeof s->keys[0]);
    s->keys[0] = fresh;
    OPENSSL_cleanse(&fresh, sizeof fresh);
    if (s->nkeys < KEYS) s->nkeys++;
    s->since = np_loop_hrtime();
    return NEAP_OK;
}

static enum neap_err freshen(struct np_tls_shared *s)
{
    if (s->nkeys > 0 && np_loop_hrtime() - s->since < s->rotate) return NEAP_OK;
    return add_key(s);
}

enum neap_err np_tls_shared_rotate(struct np_tls_shared *s)
{
    pthread_mutex_lock(&s->lock);
    enum neap_err err = add_key(s);
    pthread_mutex_unlock(&s->lock);
    return err;
}

enum neap_err np_tls_shared_key(struct np_tls_shared *s, struct np_tls_ticket_key *out)
{
    pthread_mutex_lock(&s->lock);
    enum neap_err err = freshen(s);
    if (!err) *out = s->keys[0];
    pthread_mutex_unlock(&s->lock);
    return err;
}

bool np_tls_shared_find_key(struct np_tls_shared *s, const unsigned char name[16],
                            struct np_tls_ticket_key *out, bool *newest)
{
    bool found = false;
    pthread_mutex_lock(&s->lock);
    if (freshen(s) == NEAP_OK) {
        for (size_t i = 0; i < s->nkeys && !found; i++) {
            if (CRYPTO_memcmp(s->keys[i].name, name, 16) != 0) continue;
            *out = s->keys[i];
            *newest = i == 0;
            found = true;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* Sessions. */

static struct session *find(struct np_tls_shared *s, const unsigned char *id, size_t n)
{
    return np_map_get(&s->sessions, (const char *)id, n);
}

void np_tls_shared_put(struct np_tls_shared *s, const unsigned char *id, size_t n,
                       const unsigned char *der, size_t len)
{
    struct session *e = np_alloc(sizeof *e + n + len);
    if (!e) return; /* a session that is not kept is no failure: the next handshake is whole */
    e->id_len = n;
    e->len = len;
    np_link_init(&e->link);
    memcpy(e->bytes, id, n);
    memcpy(e->bytes + n, der, len);
    pthread_mutex_lock(&s->lock);
    struct session *old = find(s, id, n);
    if (old) remove_session(s, old);
    if (s->sessions.len >= s->max_sessions)
        remove_session(s, np_container_of(s->by_age.prev, struct session, link));
    if (np_map_set(&s->sessions, (const char *)id, n, e, NULL) == NEAP_OK) {
        np_list_push_front(&s->by_age, &e->link);
        e = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    np_free(e);
}

unsigned char *np_tls_shared_get(struct np_tls_shared *s, const unsigned char *id, size_t n,
                                 size_t *len)
{
    unsigned char *copy = NULL;
    pthread_mutex_lock(&s->lock);
    struct session *e = find(s, id, n);
    if (e && (copy = np_alloc(e->len)) != NULL) {
        memcpy(copy, e->bytes + e->id_len, e->len);
        *len = e->len;
        np_list_remove(&e->link);
        np_list_push_front(&s->by_age, &e->link);
    }
    pthread_mutex_unlock(&s->lock);
    return copy;
}

void np_tls_shared_drop(struct np_tls_shared *s, const unsigned char *id, size_t n)
{
    pthread_mutex_lock(&s->lock);
    struct session *e = find(s, id, n);
    if (e) remove_session(s, e);
    pthread_mutex_unlock(&s->lock);
}
