/* The Lua standard library that is compiled into the binary: bytecode by module name. The table is
 * generated at build time from lua/ and ends with a NULL name. Read-only, any thread.
 */
#ifndef NP_SCRIPT_STDLIB_H
#define NP_SCRIPT_STDLIB_H

#include <stddef.h>

struct np_stdlib_module {
    const char *name; /* "neap.http.app" */
    const unsigned char *code;
    size_t size;
};
extern const struct np_stdlib_module np_stdlib_modules[];

#endif
