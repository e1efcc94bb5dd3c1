"""nginx in front of neap, as a proxy: upstream keep-alive, bodies both ways, buffering or not, what it cuts short."""

import json
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import peers  # noqa: E402
from peers import Curl, Nginx, ca_file, cert, serve  # noqa: E402
from service import Background, Service, check, equal, path, run, until, write  # noqa: E402

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


TLS_FRONT = """
  upstream neap {{ server {upstream}; keepalive 4; }}
  server {{
    listen {{0}};
    location / {{
      proxy_pass https://neap;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_ssl_trusted_certificate {ca};
      proxy_ssl_verify on;
      proxy_ssl_name localhost;
      proxy_ssl_server_name on;
      proxy_ssl_certificate {client}.pem;
      proxy_ssl_certificate_key {client}-key.pem;
    }}
  }}
"""


def nginx_speaks_tls_to_neap():
    cert("localhost")
    cert("client", "front@example.com")
    s, (host, port), _ = serve(tls={"cert": path("certs/localhost-fullchain.pem"),
                                    "key": path("certs/localhost-key.pem"), "ca": ca_file(), "verify": "required"})
    client = path("certs/front-example.com-client")
    nginx = Nginx(TLS_FRONT.format(upstream=f"{host}:{port}", ca=ca_file(), client=client))
    seen = json.loads(Curl(nginx.url("/tls")).body)
    equal((seen["verified"], seen["server_name"], seen["peer"]["common_name"]),
          (True, "localhost", "front@example.com"), "who is in front")
    for _ in range(20):
        equal(Curl(nginx.url("/hello")).status, 200, "an answer")
    equal(len(Curl(nginx.url("/big/3000000")).bytes), 3000000, "a large one")
    check(connections_of(s) <= 4, "connections are kept")


# --- neap in front of nginx

BEHIND = """
  server {
    listen {0};
    root {root}/www;
    client_max_body_size 20m;
    location / { }
    location = /seen { return 200 "$http_host|$http_x_forwarded_for|$http_via|$http_x_hop|$connection"; }
    location = /moved { return 302 /small.txt; }
    location = /cookies { add_header Set-Cookie a=1; add_header Set-Cookie b=2; return 200 "x"; }
    location = /close { keepalive_timeout 0; return 200 "closes"; }
    location /upload/ { dav_methods PUT DELETE; create_full_put_path on; alias {root}/www/; }
  }
"""


def behind():
    _, _, url = serve()
    n = Nginx(BEHIND)
    n.write("small.txt", b"small\n")
    n.write("mib.bin", MIB)
    return n, url + "/up", ["-H", f"X-Upstream: 127.0.0.1:{n.ports[0]}"]


def neap_forwards():
    n, url, to = behind()
    c = Curl(*to, url + "/small.txt")
    equal((c.status, c.body, c.headers["content-type"]), (200, "small\n", "text/plain"), "a file")
    equal(Curl(*to, url + "/mib.bin").bytes == MIB, True, "a megabyte")
    c = Curl(*to, "-r", "10-19", url + "/mib.bin")
    equal((c.status, c.bytes), (206, MIB[10:20]), "a range")
    equal(Curl(*to, "-I", url + "/mib.bin").headers["content-length"], str(len(MIB)), "HEAD")
    equal(Curl(*to, url + "/none").status, 404, "no file")
    equal(Curl(*to, url + "/moved").headers["location"].endswith("/small.txt"), True, "a redirect is the client's")
    equal(Curl(*to, url + "/cookies").head.lower().count("set-cookie"), 2, "two cookies")
    tag = Curl(*to, url + "/small.txt").headers["etag"]
    equal(Curl(*to, "-H", f"If-None-Match: {tag}", url + "/small.txt").status, 304, "not modified")
    seen = Curl(*to, "-H", "X-Hop: 1", "-H", "Connection: X-Hop", url + "/seen").body.split("|")
    equal(seen[0], f"127.0.0.1:{n.ports[0]}", "the upstream's own name")
    equal(seen[1], "127.0.0.1", "X-Forwarded-For")
    check("neap" in seen[2], f"Via: {seen[2]}")
    equal(seen[3], "", "what Connection names stays behind")
    ids = {Curl(*to, url + "/seen").body.split("|")[-1] for _ in range(10)}
    equal(len(ids), 1, "one connection upstream for ten clients")
    for _ in range(5):
        equal(Curl(*to, url + "/close").body, "closes", "an upstream that closes each time")
    equal(Curl("-H", "X-Upstream: 127.0.0.1:1", url + "/x").status, 502, "no upstream")


def neap_forwards_uploads():
    n, url, to = behind()
    file = path("mib")
    with open(file, "wb") as f:
        f.write(MIB)
    for extra in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]):
        c = Curl(*to, *extra, "-T", file, url + "/upload/new.bin")
        check(c.status in (201, 204), f"PUT {extra}: {c.status} {c.body}")
        with open(os.path.join(n.root, "www/new.bin"), "rb") as f:
            check(f.read() == MIB, f"what nginx stored {extra}")
        equal(Curl(*to, "-X", "DELETE", url + "/upload/new.bin").status, 204, "DELETE")


# --- the PROXY protocol, as HAProxy and nginx write it

def who_is_seen(port):
    s = socket.create_connection(("127.0.0.1", port), 30)
    own = "%s:%d" % s.getsockname()
    with s:
        for _ in range(2):  # the header is the connection's, not the request's
            s.sendall(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n")
            got = b""
            while b"}" not in got:
                piece = s.recv(4096)
                check(piece, f"it ended: {got}")
                got += piece
            check(own.encode() in got, f"it sees {own}: {got}")


def haproxy_names_the_client():
    if not peers.shutil.which("haproxy"):
        print("haproxy is not installed")
        return
    _, address, _ = serve(proxy_protocol=True)
    for kind in ("send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn",
                 "send-proxy-v2 proxy-v2-options crc32c,unique-id"):
        listener = peers.listening_socket()
        config = write("haproxy.cfg", f"""
defaults
  mode tcp
  timeout connect 10s
  timeout client 20s
  timeout server 20s
listen front
  bind fd@{listener.fileno()}
  server neap {address[0]}:{address[1]} {kind}
""")
        h = Service(argv=["haproxy", "-db", "-f", config], pass_fds=[listener.fileno()])
        who_is_seen(listener.getsockname()[1])
        h.end()
        listener.close()


def nginx_names_the_client():
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    if not os.path.exists(module):
        print("nginx's stream module is not installed")
        return
    _, address, _ = serve(proxy_protocol=True)
    n = Nginx("", top=f"load_module {module};", stream=f"""
  server {{ listen {{0}}; proxy_pass {address[0]}:{address[1]}; proxy_protocol on; }}
""")
    who_is_seen(n.ports[0])


run(requests_pass, uploads_pass, connections_are_kept, a_service_that_goes_is_seen, a_client_that_leaves_is_seen,
    upgrades_pass, nginx_speaks_tls_to_neap, neap_forwards, neap_forwards_uploads, haproxy_names_the_client,
    nginx_names_the_client)
