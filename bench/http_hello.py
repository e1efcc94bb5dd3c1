"""http-hello: a Lua handler that answers a few bytes, against nginx with Lua and nginx's own C `return`."""

import os

import harness as h

COLUMNS = [("rps", "requests/s", ",.0f"), ("p50", "p50 ms", ".3f"), ("p99", "p99 ms", ".3f"),
           ("cpu_us", "CPU µs/req", ".2f"), ("failed", "failed", ".0f")]


def run(opts):
    lua, ret = h.nginx("nginx + Lua", "nginx-lua.conf"), h.nginx("nginx return", "nginx-return.conf")
    with h.neap("http_hello.lua", h.free_port()) as neap, lua, ret:
        servers = {"neap": neap, "nginx + Lua": lua, "nginx return 200": ret}
        plain = h.rounds(servers, opts.rounds, lambda s: h.wrk(s, opts.seconds, opts.connections))
        script = os.path.join(h.HERE, "peers", "pipeline.lua")
        deep = h.rounds(servers, opts.rounds,
                        lambda s: h.wrk(s, opts.seconds, opts.connections, script=script, args=[opts.depth]))

    h.table(f"http-hello: {opts.connections} connections, keep-alive, one worker each", plain, COLUMNS)
    h.table(f"the same, pipelined {opts.depth} deep", deep, COLUMNS)
    print()
    nginx_lua = "nginx + Lua"
    met = [
        h.ratio("neap's CPU per request over nginx with Lua's",
                plain["neap"]["cpu_us"] / plain[nginx_lua]["cpu_us"], 0.9),
        h.ratio("pipelined, requests per CPU second over nginx with Lua's",
                deep[nginx_lua]["cpu_us"] / deep["neap"]["cpu_us"], 4, at_most=False),
    ]
    failed = sum(figures["failed"] for part in (plain, deep) for figures in part.values())
    if failed:
        print(f"  {failed:.0f} requests failed: the figures above do not count")
    return all(met) and not failed
