"""http-json: reads a JSON body of 1 KiB and answers 1 KiB of JSON, against nginx with Lua and cjson."""

import os

import harness as h

LUA = "nginx + Lua + cjson"


def run(opts):
    out = h.Results("http-json")
    script = os.path.join(h.HERE, "peers", "post_json.lua")
    with h.neap_here("http_json.lua") as neap, h.nginx(LUA, "nginx-json.conf") as lua:
        got = h.rounds({"neap": neap, LUA: lua}, opts.rounds,
                       lambda s: h.wrk(s, opts.seconds, opts.connections, path="/orders", script=script))
    out.table(f"{opts.connections} connections, keep-alive, one worker each", got, h.HTTP_COLUMNS)
    print()
    out.ratio("CPU per request over nginx with Lua and cjson's", got["neap"]["cpu_us"] / got[LUA]["cpu_us"], 0.8)
    out.check_failed(got)
    return out
