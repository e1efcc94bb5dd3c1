"""nginx in front of neap, as a proxy: upstream keep-alive, bodies both ways, buffering or not, what it cuts short."""

import json
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import peers  # noqa: E402
from peers import Curl, Nginx, serve  # noqa: E402
from service import Background, check, equal, path, run, until  # noqa: E402

peers.need("curl", "nginx")

MIB = os.urandom(1024) * 1024

FRONT = """
  upstream neap {{ server {upstream}; keepalive 4; }}
  server {{
    listen {{0}};
    client_max_body_size 0;
    location / {{
      proxy_pass http://neap;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
    location /direct/ {{
      proxy_pass http://neap/;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_buffering off;
    }}
    location /old/ {{ proxy_pass http://neap/; }}
    location /upgrade {{
      proxy_pass http://neap;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
    }}
  }}
"""


def front():
    s, (host, port), _ = serve()
    nginx = Nginx(FRONT.format(upstream=f"{host}:{port}"))
    return s, nginx


def connections_of(service):
    """How many TCP connections the service has open."""
    folder = f"/proc/{service.pid}/fd"
    inodes = set()
    for fd in os.listdir(folder):
        try:
            target = os.readlink(os.path.join(folder, fd))
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return sum(1 for r in rows if r[9] in inodes and r[3] == "01")


def requests_pass():
    s, nginx = front()
    for prefix in ("", "/direct", "/old"):
        for _ in range(5):
            c = Curl(nginx.url(prefix + "/hello"))
            equal((c.status, c.body), (200, "hello, world\n"), f"GET by {prefix or '/'}")
        equal(Curl(nginx.url(prefix + "/chunked/2000")).body.count("\n"), 2000, f"chunks by {prefix or '/'}")
        equal(len(Curl(nginx.url(prefix + "/big/3000000")).bytes), 3000000, f"a large answer by {prefix or '/'}")
        equal(Curl("-I", nginx.url(prefix + "/big/1000")).headers["content-length"], "1000", "HEAD")
        equal(Curl(nginx.url(prefix + "/status/304")).status, 304, "no body")
    equal(Curl(nginx.url("/old/version")).body, "1.0", "the version nginx speaks by default")
    headers = json.loads(Curl("-H", "X-One: 1", nginx.url("/headers")).body)
    equal((headers["x-one"], headers["x-forwarded-for"]), ("1", "127.0.0.1"), "headers")
    check("connection" not in headers, "nothing of the hop before")


def uploads_pass():
    _, nginx = front()
    file = path("mib")
    with open(file, "wb") as f:
        f.write(MIB)
    for prefix in ("", "/direct"):
        for extra in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]):
            for target in ("/echo", "/stream"):
                c = Curl("--data-binary", "@" + file, *extra, nginx.url(prefix + target))
                equal((c.status, c.bytes == MIB), (200, True), f"an upload {extra} by {prefix or '/'} to {target}")
    c = Curl("--data-binary", "@" + file, nginx.url("/refuse"))
    equal(c.status, 413, "a refusal without reading reaches the client")


def connections_are_kept():
    s, nginx = front()
    urls = [nginx.url("/hello")] * 200
    equal(Curl(*urls).connects, 1, "the client's connection")
    until(lambda: connections_of(s) == 1, "nginx has used one connection for 200 requests")
    waits = [Background(Curl, nginx.url("/wait/50")) for _ in range(1)]
    for w in waits:
        equal(w.result().status, 200, "a slow answer")
    check(connections_of(s) <= 4, "no more connections are kept than nginx's keepalive")


def a_service_that_goes_is_seen():
    """Connections that nginx keeps are closed in good order when the service ends, and no request is lost."""
    s, nginx = front()
    equal(Curl(nginx.url("/hello")).status, 200, "before")
    s.process.terminate()
    equal(s.ended(), 0, "its end")
    equal(Curl(nginx.url("/hello")).status, 502, "after")


def a_client_that_leaves_is_seen():
    """nginx closes upstream when its client does: the handler's task ends then, and others are served."""
    s, nginx = front()
    with socket.create_connection(nginx.address, 30) as k:
        k.sendall(b"GET /wait/60000 HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: connections_of(s) == 1, "the request has come through")
    until(lambda: connections_of(s) == 0, "the connection is gone")
    equal(Curl(nginx.url("/hello")).status, 200, "another client")


def upgrades_pass():
    _, nginx = front()
    with socket.create_connection(nginx.address, 30) as k:
        k.sendall(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        head = k.recv(4096)
        check(head.startswith(b"HTTP/1.1 101 "), f"101: {head}")
        for word in (b"one", b"two"):
            k.sendall(word)
            equal(k.recv(100), word.upper(), "an echo")


run(requests_pass, uploads_pass, connections_are_kept, a_service_that_goes_is_seen, a_client_that_leaves_is_seen,
    upgrades_pass)
