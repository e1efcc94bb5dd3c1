/* A TLS context: its options, its life, its reloading. See tls.h. One thread. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/tls_impl.h"

/* Options are copied into the context's arena. */

static bool copy_text(struct np_arena *a, const char **text)
{
    if (!*text) return true;
    *text = np_arena_strndup(a, *text, strlen(*text));
    return *text != NULL;
}

static bool copy_certs(struct np_arena *a, struct np_tls_options *o)
{
    if (o->ncerts == 0) return true;
    struct np_tls_cert_source *certs = np_arena_alloc(a, o->ncerts * sizeof *certs);
    if (!certs) return false;
    bool ok = true;
    for (size_t i = 0; i < o->ncerts && ok; i++) {
        certs[i] = o->certs[i];
        ok = copy_text(a, &certs[i].cert) && copy_text(a, &certs[i].key) &&
             copy_text(a, &certs[i].password) && copy_text(a, &certs[i].ocsp);
    }
    o->certs = certs;
    return ok;
}

static enum neap_err copy_options(struct np_tls_context *c, const struct np_tls_options *opts)
{
    struct np_tls_options *o = &c->opts;
    struct np_arena *a = &c->arena;
    *o = *opts;
    o->alpn = NULL; /* stands in c->alpn, in its own shape */
    bool ok = copy_certs(a, o) && copy_text(a, &o->ca) && copy_text(a, &o->crl) &&
              copy_text(a, &o->ciphers) && copy_text(a, &o->ciphersuites) &&
              copy_text(a, &o->groups) && copy_text(a, &o->ticket_keys) &&
              copy_text(a, &o->key_log);
    return ok ? NEAP_OK : NEAP_ENOMEM;
}

enum neap_err np_tls_alpn_list(const char *const *alpn, size_t n, unsigned char **out, size_t *len)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        size_t one = strlen(alpn[i]);
        if (one == 0 || one > 255) return NEAP_EINVAL;
        total += one + 1;
    }
    if (total > 65535) return NEAP_EINVAL;
    unsigned char *list = total ? np_alloc(total) : NULL;
    if (total && !list) return NEAP_ENOMEM;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        size_t one = strlen(alpn[i]);
        list[at] = (unsigned char)one;
        memcpy(list + at + 1, alpn[i], one);
        at += one + 1;
    }
    *out = list;
    *len = total;
    return NEAP_OK;
}

static enum neap_err open_key_log(struct np_tls_context *c, struct neap_errinfo *info)
{
    if (!c->opts.key_log) return NEAP_OK;
    c->key_log_fd = open(c->opts.key_log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (c->key_log_fd >= 0) return NEAP_OK;
    int why = errno;
    return np_err_set(info, np_err_from_errno(why), "%s: %s", c->opts.key_log, strerror(why));
}

/* Watching its files: a change is taken once two looks in a row agree, so that what is being
 * written is not read by halves. */
static void on_watch(struct np_timer *timer)
{
    struct np_tls_context *c = np_container_of(timer, struct np_tls_context, watch);
    uint64_t now = np_tls_files_state(c);
    if (now != c->seen && now == c->settling) {
        struct neap_errinfo info = {0};
        enum neap_err err = np_tls_context_reload(c, &info);
        c->seen = now; /* what did not load is not tried again until it changes */
        if (err)
            np_logf(c->loop->log, NP_LOG_ERROR, "TLS: kept what was loaded before: %s",
                    info.message);
        else
            np_logf(c->loop->log, NP_LOG_INFO, "TLS: certificates read anew");
    }
    c->settling = now;
    if (np_timer_start(timer, c->watch_period)) /* its place has just become free */
        np_logf(c->loop->log, NP_LOG_ERROR, "TLS: no memory to watch certificates");
}

enum neap_err np_tls_context_watch(struct np_tls_context *c, int64_t ns)
{
    c->watch_period = ns;
    np_timer_stop(&c->watch);
    return ns ? np_timer_start(&c->watch, ns) : NEAP_OK;
}

enum neap_err np_tls_context_reload(struct np_tls_context *c, struct neap_errinfo *info)
{
    struct np_tls_material *fresh;
    uint64_t seen = np_tls_files_state(c);
    enum neap_err err = np_tls_load(c, &fresh, info);
    if (err) return err;
    np_tls_material_unref(c->material);
    c->material = fresh;
    c->seen = c->settling = seen;
    c->generation++;
    np_tls_forget_sessions(c); /* whom it trusts may be others now */
    return NEAP_OK;
}

unsigned np_tls_context_generation(const struct np_tls_context *c)
{
    return c->generation;
}

bool np_tls_context_has_cert(const struct np_tls_context *c)
{
    return c->material->has_cert;
}

/* Life. */

static enum neap_err check_options(const struct np_tls_options *o, struct neap_errinfo *info)
{
    bool asks = o->verify == NP_TLS_VERIFY_OPTIONAL || o->verify == NP_TLS_VERIFY_REQUIRED;
    if (asks && o->ncerts > 0 && !o->ca && !o->system_ca)
        return np_err_set(info, NEAP_EINVAL, "verify needs ca (or system_ca): whom to trust");
    return NEAP_OK;
}

static enum neap_err take_shared(struct np_tls_context *c, struct np_tls_shared *given)
{
    if (!given) return np_tls_shared_new(0, 0, &c->shared);
    c->shared = np_tls_shared_ref(given);
    return NEAP_OK;
}

enum neap_err np_tls_context_new(struct np_loop *loop, const struct np_tls_options *opts,
                                 struct np_tls_context **out, struct neap_errinfo *info)
{
    struct np_tls_context *c = np_alloc(sizeof *c);
    if (!c) {
        if (opts->on_sni_end) opts->on_sni_end(opts->on_sni_arg);
        return np_err_plain(info, NEAP_ENOMEM);
    }
    *c = (struct np_tls_context){.refs = 1, .loop = loop, .key_log_fd = -1};
    np_arena_init(&c->arena, 512);
    np_buf_init(&c->out);
    np_map_init(&c->sessions);
    np_timer_init(&c->watch, loop, on_watch);
    np_timer_set_background(&c->watch, true);
    enum neap_err err = copy_options(c, opts);
    if (!err) err = np_tls_alpn_list(opts->alpn, opts->nalpn, &c->alpn, &c->alpn_len);
    if (!err) err = take_shared(c, opts->shared ? opts->shared : loop->tls);
    if (!err && (c->bio = np_tls_bio_method()) == NULL) err = NEAP_ENOMEM;
    if (err) np_err_plain(info, err);
    if (!err) err = check_options(opts, info);
    if (!err) err = open_key_log(c, info);
    c->seen = c->settling = np_tls_files_state(c);
    if (!err) err = np_tls_load(c, &c->material, info);
    if (err) {
        np_tls_context_unref(c);
        return err;
    }
    *out = c;
    return NEAP_OK;
}

struct np_tls_context *np_tls_context_ref(struct np_tls_context *c)
{
    c->refs++;
    return c;
}

void np_tls_context_unref(struct np_tls_context *c)
{
    if (!c || --c->refs > 0) return;
    np_timer_stop(&c->watch);
    if (c->opts.on_sni_end) c->opts.on_sni_end(c->opts.on_sni_arg);
    np_tls_forget_sessions(c);
    np_map_fini(&c->sessions);
    np_tls_material_unref(c->material);
    np_tls_shared_unref(c->shared);
    BIO_meth_free(c->bio);
    if (c->key_log_fd >= 0) close(c->key_log_fd);
    np_free(c->alpn);
    np_free(c->plain);
    np_buf_fini(&c->out);
    np_arena_fini(&c->arena);
    np_free(c);
}
