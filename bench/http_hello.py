"""http-hello: a Lua handler that answers a few bytes, against nginx with Lua and nginx's own C `return`."""

import os

import harness as h

LUA, RETURN = "nginx + Lua", "nginx return 200"


def run(opts):
    out = h.Results("http-hello")
    lua, ret = h.nginx(LUA, "nginx-lua.conf"), h.nginx(RETURN, "nginx-return.conf")
    with h.neap_here("http_hello.lua") as neap, lua, ret:
        servers = {"neap": neap, LUA: lua, RETURN: ret}
        plain = h.rounds(servers, opts.rounds, lambda s: h.wrk(s, opts.seconds, opts.connections))
        script = os.path.join(h.HERE, "peers", "pipeline.lua")
        deep = h.rounds(servers, opts.rounds,
                        lambda s: h.wrk(s, opts.seconds, opts.connections, script=script, args=[opts.depth]))
    out.table(f"{opts.connections} connections, keep-alive, one worker each", plain, h.HTTP_COLUMNS)
    out.table(f"the same, pipelined {opts.depth} deep", deep, h.HTTP_COLUMNS)
    print()
    cpu = {name: figures["cpu_us"] for name, figures in plain.items()}
    out.ratio("CPU per request over nginx with Lua's", cpu["neap"] / cpu[LUA], 0.85)
    out.ratio("CPU per request over nginx's return 200", cpu["neap"] / cpu[RETURN], 1.0)
    out.ratio("pipelined, requests per CPU second over nginx with Lua's",
              deep[LUA]["cpu_us"] / deep["neap"]["cpu_us"], 6, at_most=False)
    out.check_failed(plain, deep)
    return out
