"""static: a file of 100 KiB, against nginx with sendfile."""

import os
import tempfile

import harness as h

NGINX = "nginx"


def run(opts):
    out = h.Results("static")
    with tempfile.TemporaryDirectory(prefix="neap-bench-") as root:
        os.chmod(root, 0o755)
        with open(os.path.join(root, "file.bin"), "wb") as f:
            f.write(os.urandom(100 * 1024))
        with h.neap_here("static.lua", root) as neap, h.nginx(NGINX, "nginx-static.conf", root=root) as nginx:
            got = h.rounds({"neap": neap, NGINX: nginx}, opts.rounds,
                           lambda s: h.wrk(s, opts.seconds, opts.connections, path="/file.bin"))
    out.table(f"100 KiB, {opts.connections} connections, keep-alive, one worker each", got, h.HTTP_COLUMNS)
    print()
    out.ratio("CPU per request over nginx's", got["neap"]["cpu_us"] / got[NGINX]["cpu_us"], 1.0)
    out.check_failed(got)
    return out
