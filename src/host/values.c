/* neap_value's makers and readers: what a C program builds arguments and results with. */
#include <string.h>

#include "neap.h"

neap_value neap_nil(void)
{
    neap_value v = {.type = NEAP_NIL};
    return v;
}

neap_value neap_boolean(bool v)
{
    neap_value out = {.type = NEAP_BOOLEAN, .as.boolean = v};
    return out;
}

neap_value neap_integer(int64_t v)
{
    neap_value out = {.type = NEAP_INTEGER, .as.integer = v};
    return out;
}

neap_value neap_number(double v)
{
    neap_value out = {.type = NEAP_NUMBER, .as.number = v};
    return out;
}

neap_value neap_string(const char *text)
{
    return text ? neap_bytes(text, strlen(text)) : neap_nil();
}

neap_value neap_bytes(const char *data, size_t len)
{
    neap_value out = {.type = NEAP_STRING, .as.string = {data, len}};
    return out;
}

neap_value neap_table(const struct neap_field *fields, size_t count)
{
    neap_value out = {.type = NEAP_TABLE, .as.table = {fields, count}};
    return out;
}

const neap_value *neap_value_field(const neap_value *v, const char *name)
{
    if (!v || v->type != NEAP_TABLE) return NULL;
    size_t len = strlen(name);
    for (size_t i = 0; i < v->as.table.count; i++) {
        const struct neap_field *f = &v->as.table.fields[i];
        if (f->key.type == NEAP_STRING && f->key.as.string.len == len &&
            memcmp(f->key.as.string.data, name, len) == 0) {
            return &f->value;
        }
    }
    return NULL;
}

const neap_value *neap_value_item(const neap_value *v, size_t i)
{
    if (!v || v->type != NEAP_TABLE) return NULL;
    for (size_t k = 0; k < v->as.table.count; k++) {
        const struct neap_field *f = &v->as.table.fields[k];
        if (f->key.type == NEAP_INTEGER && f->key.as.integer == (int64_t)i) return &f->value;
    }
    return NULL;
}
