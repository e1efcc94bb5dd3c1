/* The C modules: each line is `int np_open_<name>(lua_State *L)`, required as "neap.core.<name>".
 */
#ifndef NP_SCRIPT_MODULES_H
#define NP_SCRIPT_MODULES_H

#include <lua.h>

#define NP_MODULES(X) \
    X(balancer)       \
    X(breaker)        \
    X(bus)            \
    X(cidr)           \
    X(cluster)        \
    X(crypto)         \
    X(coding)         \
    X(concurrency)    \
    X(dns)            \
    X(file)           \
    X(frame)          \
    X(health)         \
    X(host)           \
    X(http)           \
    X(json)           \
    X(limiter)        \
    X(log)            \
    X(registry)       \
    X(runtime)        \
    X(sandbox)        \
    X(shared)         \
    X(sim)            \
    X(stream)         \
    X(task)           \
    X(tcp)            \
    X(thread)         \
    X(tls)            \
    X(udp)            \
    X(unix)           \
    X(worker)

#define NP_MODULE_DECLARE(name) int np_open_##name(lua_State *L);
NP_MODULES(NP_MODULE_DECLARE)
#undef NP_MODULE_DECLARE

#endif
