/* What the tests of hosts share: a quiet host, loaded from a text, and a place for results. */
#ifndef NP_HOST_RIG_H
#define NP_HOST_RIG_H

#include <string.h>

#include "neap.h"
#include "np_test.h"

static inline neap_t *open_host(void)
{
    neap_options o = NEAP_OPTIONS_INIT;
    neap_t *n = NULL;
    o.log_level = "off";
    assert_ok(neap_open(&o, &n));
    return n;
}

static inline void load(neap_t *n, const char *code)
{
    enum neap_err err = neap_load_string(n, code, strlen(code), "script");
    if (err) fail_msg("%s: %s", neap_err_name(err), neap_error(n));
}

/* The last result of a call, copied. */
struct outcome {
    int calls;
    enum neap_err err;
    char message[256];
    size_t count;
    neap_type type; /* of the first value */
    int64_t integer;
    double number;
    bool boolean;
    char text[256];
};

static inline void keep_outcome(neap_t *n, const neap_result *r, void *user)
{
    struct outcome *o = user;
    (void)n;
    o->calls++;
    o->err = r->err;
    o->count = r->count;
    snprintf(o->message, sizeof o->message, "%s", r->message ? r->message : "");
    if (r->count == 0) return;
    const neap_value *v = &r->values[0];
    o->type = v->type;
    if (v->type == NEAP_INTEGER) o->integer = v->as.integer;
    if (v->type == NEAP_NUMBER) o->number = v->as.number;
    if (v->type == NEAP_BOOLEAN) o->boolean = v->as.boolean;
    if (v->type == NEAP_STRING) snprintf(o->text, sizeof o->text, "%s", v->as.string.data);
}

#endif
