/* What may stand in a registration. */
#include <string.h>

#include "mesh/registry_impl.h"

static bool is_alnum(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool np_service_name_ok(const char *name, size_t max)
{
    size_t n = 0;
    if (name == NULL || !is_alnum((unsigned char)name[0])) return false;
    for (; name[n] != '\0'; n++) {
        unsigned char c = (unsigned char)name[n];
        if (n >= max || (!is_alnum(c) && c != '-' && c != '_' && c != '.')) return false;
    }
    return true;
}

/* No control characters; blanks only if `blanks`. */
static bool text_ok(const char *s, bool blanks)
{
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < ' ' || c == 0x7f || (c == ' ' && !blanks)) return false;
    }
    return true;
}

static enum neap_err check_id(const struct np_registry_options *o, const char *id,
                              struct neap_errinfo *info)
{
    size_t n = strlen(id);
    if (n == 0 || !text_ok(id, false)) {
        return np_err_set(info, NEAP_EINVAL, "bad id: it is empty or has blanks or controls");
    }
    if (n > o->max_id) {
        return np_err_set(info, NEAP_ELIMIT, "id of %zu bytes: at most %zu", n, o->max_id);
    }
    return NEAP_OK;
}

static enum neap_err check_tags(const struct np_registry_options *o,
                                const struct np_endpoint_desc *d, struct neap_errinfo *info)
{
    if (d->ntags > o->max_tags) {
        return np_err_set(info, NEAP_ELIMIT, "%zu tags: at most %zu", d->ntags, o->max_tags);
    }
    for (size_t i = 0; i < d->ntags; i++) {
        size_t n = strlen(d->tags[i]);
        if (n == 0 || !text_ok(d->tags[i], true)) {
            return np_err_set(info, NEAP_EINVAL, "bad tag: it is empty or has control characters");
        }
        if (n > o->max_tag) {
            return np_err_set(info, NEAP_ELIMIT, "tag of %zu bytes: at most %zu", n, o->max_tag);
        }
    }
    return NEAP_OK;
}

static enum neap_err check_meta(const struct np_registry_options *o,
                                const struct np_endpoint_desc *d, struct neap_errinfo *info)
{
    size_t bytes = 0;
    if (d->nmeta > o->max_meta) {
        return np_err_set(info, NEAP_ELIMIT, "%zu pairs of metadata: at most %zu", d->nmeta,
                          o->max_meta);
    }
    for (size_t i = 0; i < d->nmeta; i++) {
        const char *key = d->meta[i].key;
        if (key[0] == '\0' || !text_ok(key, false) || !text_ok(d->meta[i].value, true)) {
            return np_err_set(info, NEAP_EINVAL, "bad metadata '%.64s'", key);
        }
        bytes += strlen(key) + strlen(d->meta[i].value);
    }
    if (bytes > o->max_meta_bytes) {
        return np_err_set(info, NEAP_ELIMIT, "%zu bytes of metadata: at most %zu", bytes,
                          o->max_meta_bytes);
    }
    return NEAP_OK;
}

enum neap_err np_registry_check(const struct np_registry_options *o,
                                const struct np_registration *reg, struct neap_errinfo *info)
{
    const struct np_endpoint_desc *d = &reg->desc;
    enum neap_err err = NEAP_OK;
    if (!np_service_name_ok(d->service, o->max_name)) {
        return np_err_set(info, NEAP_EINVAL,
                          "bad service name '%.64s': letters, digits, '-', '_', '.', at most %zu",
                          d->service ? d->service : "", o->max_name);
    }
    if (reg->ttl < 0) return np_err_set(info, NEAP_EINVAL, "the time to live is below 0");
    if (reg->ttl > o->max_ttl) {
        return np_err_set(info, NEAP_ELIMIT, "the time to live is more than %.0f s",
                          (double)o->max_ttl / 1e9);
    }
    if (d->id != NULL) err = check_id(o, d->id, info);
    if (err != NEAP_OK) return err;
    if (d->zone != NULL && (strlen(d->zone) > o->max_tag || !text_ok(d->zone, true))) {
        return np_err_set(info, NEAP_EINVAL, "bad zone '%.64s'", d->zone);
    }
    err = check_tags(o, d, info);
    if (err != NEAP_OK) return err;
    return check_meta(o, d, info);
}
