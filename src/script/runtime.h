/* The runtime: what scripts may ask of and tell the host they run in ("neap.core.runtime").
 *
 * A host embeds this and gives it to its script states as np_script_options.host; a state without a
 * host (a unit test's) has NULL there, and stopping does nothing. The worker's thread.
 */
#ifndef NP_SCRIPT_RUNTIME_H
#define NP_SCRIPT_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"

struct np_native;
struct np_shared_maps;
struct np_threads;

struct np_runtime {
    int exit_code; /* of the program, where the script set one */
    /* Stops the host: at once, or by a drain. NULL: cannot be stopped. */
    void (*stop)(struct np_runtime *rt, bool now);
    /* The first native call is outstanding, or none is any more: the loop is to live on for it, or
     * need not. NULL: nobody minds. */
    void (*hold)(struct np_runtime *rt, bool on);
    size_t outstanding;            /* native calls that tasks wait for */
    struct np_link natives;        /* C functions that scripts may call: see native.h */
    struct np_shared_maps *shared; /* "neap.shared": the host's, any thread; NULL: there is none */
    struct np_threads
        *threads;     /* "neap.thread": the host's pool, any thread; NULL: there is none */
    unsigned workers; /* how many there are; at least 1 */
};

void np_runtime_init(struct np_runtime *rt);

#endif
