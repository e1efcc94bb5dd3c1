"""http-proxy: a Lua policy chooses the upstream of each request, keep-alive on both sides; against nginx with
balancer_by_lua and HAProxy. Then bodies of 1 MiB, and what they cost in memory."""

import os
import tempfile

import harness as h

LUA, HAPROXY, NGINX = "nginx + balancer_by_lua", "HAProxy", "nginx proxy_pass"


def resident(server, seconds, connections, path):
    sample = h.wrk(server, seconds, connections, path=path)
    sample["resident_mib"] = server.resident_kib() / 1024
    return sample


def measure(opts, path):
    with h.nginx("upstream", "nginx-upstream.conf", large=path) as one, \
            h.nginx("upstream", "nginx-upstream.conf", large=path) as two:
        ports = {"one": one.port, "two": two.port}
        with h.neap_here("http_proxy.lua", one.port, two.port) as neap, \
                h.nginx(LUA, "nginx-balancer.conf", **ports) as lua, \
                h.nginx(NGINX, "nginx-proxy.conf", **ports) as plain, \
                h.haproxy(HAPROXY, "haproxy.conf", **ports) as ha:
            servers = {"neap": neap, LUA: lua, HAPROXY: ha, NGINX: plain}
            small = h.rounds(servers, opts.rounds, lambda s: h.wrk(s, opts.seconds, opts.connections, path="/small"))
            large = h.rounds(servers, opts.rounds, lambda s: resident(s, opts.seconds, 16, "/large"))
    return small, large


def run(opts):
    out = h.Results("http-proxy")
    with tempfile.NamedTemporaryFile(prefix="neap-bench-") as file:
        file.write(os.urandom(1 << 20))
        file.flush()
        os.chmod(file.name, 0o644)
        small, large = measure(opts, file.name)
    out.table(f"1 KiB, {opts.connections} connections, keep-alive, one worker each", small, h.HTTP_COLUMNS)
    out.table("1 MiB, 16 connections", large,
              h.HTTP_COLUMNS + [("resident_mib", "resident MiB", ".1f")])
    print()
    cpu = {name: figures["cpu_us"] for name, figures in small.items()}
    out.ratio("CPU per request over nginx with balancer_by_lua's", cpu["neap"] / cpu[LUA], 0.75)
    out.ratio("CPU per request over HAProxy's", cpu["neap"] / cpu[HAPROXY], 0.8)
    out.ratio("1 MiB: CPU per request over nginx's", large["neap"]["cpu_us"] / large[NGINX]["cpu_us"], 1.0)
    out.check_failed(small, large)
    return out
