"""access-log: what combined lines in a file cost http-hello, and what they cost nginx (buffered, as it should be)."""

import os
import shutil
import tempfile

import harness as h

OFF, ON, NGINX_OFF, NGINX_ON = "neap", "neap, logging", "nginx", "nginx, logging"


def run(opts):
    out = h.Results("access-log")
    folder = tempfile.mkdtemp(prefix="neap-bench-")
    try:
        with h.neap_here("access_log.lua") as off, \
             h.neap_here("access_log.lua", os.path.join(folder, "access.log")) as on, \
             h.nginx(NGINX_OFF, "nginx-return.conf") as nginx_off, \
             h.nginx(NGINX_ON, "nginx-return-logged.conf") as nginx_on:
            servers = {OFF: off, ON: on, NGINX_OFF: nginx_off, NGINX_ON: nginx_on}
            figures = h.rounds(servers, opts.rounds, lambda s: h.wrk(s, opts.seconds, opts.connections))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    out.table(f"{opts.connections} connections, keep-alive, one worker each", figures, h.HTTP_COLUMNS)
    print()
    cpu = {name: f["cpu_us"] for name, f in figures.items()}
    out.ratio("CPU per request, logging over not", cpu[ON] / cpu[OFF], 1.1)
    out.check_failed(figures)
    return out
