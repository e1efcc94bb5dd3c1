/* What a C function does with a call: reading arguments, setting results. neap.h says the rest. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "script/native.h"
#include "script/value.h"

#define MAX_RESULTS 250 /* what a Lua call may return without thinking about its stack */
static const neap_value nil_value = {.type = NEAP_NIL};

size_t neap_arg_count(const neap_call *call)
{
    return call->nargs;
}

const neap_value *neap_arg(const neap_call *call, size_t i)
{
    return i >= 1 && i <= call->nargs ? &call->args[i - 1] : &nil_value;
}

static const char *type_name(neap_type type)
{
    static const char *const names[] = {"nil", "boolean", "integer", "number", "string", "table"};
    return names[type];
}

static enum neap_err refuse(neap_call *call, size_t i, const char *wanted)
{
    char text[96];
    const char *got = i > call->nargs ? "no value" : type_name(neap_arg(call, i)->type);
    snprintf(text, sizeof text, "bad argument #%zu (%s expected, got %s)", i, wanted, got);
    neap_raise(call, text);
    return NEAP_EINVAL;
}

enum neap_err neap_arg_integer(neap_call *call, size_t i, int64_t *out)
{
    const neap_value *v = neap_arg(call, i);
    if (v->type == NEAP_NUMBER && v->as.number == floor(v->as.number) &&
        v->as.number >= -9223372036854775808.0 && v->as.number < 9223372036854775808.0) {
        *out = (int64_t)v->as.number;
        return NEAP_OK;
    }
    if (v->type != NEAP_INTEGER) return refuse(call, i, "integer");
    *out = v->as.integer;
    return NEAP_OK;
}

enum neap_err neap_arg_number(neap_call *call, size_t i, double *out)
{
    const neap_value *v = neap_arg(call, i);
    if (v->type != NEAP_NUMBER && v->type != NEAP_INTEGER) return refuse(call, i, "number");
    *out = v->type == NEAP_NUMBER ? v->as.number : (double)v->as.integer;
    return NEAP_OK;
}

enum neap_err neap_arg_boolean(neap_call *call, size_t i, bool *out)
{
    const neap_value *v = neap_arg(call, i);
    if (v->type != NEAP_BOOLEAN) return refuse(call, i, "boolean");
    *out = v->as.boolean;
    return NEAP_OK;
}

enum neap_err neap_arg_string(neap_call *call, size_t i, const char **out, size_t *len)
{
    const neap_value *v = neap_arg(call, i);
    if (v->type != NEAP_STRING) return refuse(call, i, "string");
    *out = v->as.string.data;
    if (len) *len = v->as.string.len;
    return NEAP_OK;
}

/* --- results */

static void set_error(neap_call *call, enum neap_err code, const char *message, bool raise)
{
    if (call->finished || call->err) return;
    call->err = code;
    call->raise = raise;
    if (message) call->message = np_arena_strndup(&call->arena, message, strlen(message));
}

void neap_return_error(neap_call *call, enum neap_err code, const char *message)
{
    bool known = code > NEAP_OK && code < NEAP_ERR_COUNT;
    set_error(call, known ? code : NEAP_EINTERNAL, message, false);
}

void neap_raise(neap_call *call, const char *message)
{
    set_error(call, NEAP_ESCRIPT, message, true);
}

static enum neap_err grow_results(neap_call *call)
{
    if (call->nresults < call->results_cap) return NEAP_OK;
    if (call->nresults >= MAX_RESULTS) return NEAP_ELIMIT;
    size_t cap = call->results_cap ? call->results_cap * 2 : 4;
    neap_value *more = np_arena_alloc(&call->arena, cap * sizeof *more);
    if (!more) return NEAP_ENOMEM;
    if (call->nresults) memcpy(more, call->results, call->nresults * sizeof *more);
    call->results = more;
    call->results_cap = cap;
    return NEAP_OK;
}

void neap_return(neap_call *call, neap_value v)
{
    if (call->finished || call->err) return;
    enum neap_err err = grow_results(call);
    if (!err) err = np_value_copy(&call->arena, &v, &call->results[call->nresults]);
    if (err) {
        set_error(call, err, NULL, false);
        return;
    }
    call->nresults++;
}

void neap_call_on_cancel(neap_call *call, void (*fn)(neap_call *call, void *user), void *user)
{
    call->on_cancel = fn;
    call->on_cancel_user = user;
}
