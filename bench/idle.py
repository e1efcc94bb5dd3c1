"""idle: what a connection costs in memory that has asked once and stays; plain and over TLS, against nginx."""

import resource
import socket
import ssl

import harness as h
import certificate

NGINX = "nginx"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
COLUMNS = [("bytes", "bytes each", ",.0f"), ("connections", "connections", ",.0f")]


def ask(s):
    s.sendall(REQUEST)
    got = b""
    while b"hello, world" not in got:
        piece = s.recv(65536)
        if not piece:
            raise SystemExit("a connection was closed")
        got += piece


def dial(port, context):
    # Addresses of our own, so that ports do not run out.
    s = socket.create_connection(("127.0.0.1", port))
    return context.wrap_socket(s, server_hostname="localhost") if context else s


def hold(server, count, context):
    """Opens `count` connections, of which a few come first so that what is made once is there."""
    warm = [dial(server.port, context) for _ in range(50)]
    for s in warm:
        ask(s)
    before = server.resident_kib()
    held = []
    for _ in range(count):
        held.append(dial(server.port, context))
        ask(held[-1])
    grown = server.resident_kib() - before
    for s in held + warm:
        s.close()
    return {"bytes": grown * 1024 / count, "connections": count}


def run(opts):
    out = h.Results("idle")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(9000, hard - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 20480)), hard))
    plain = ssl_context = None
    with h.neap_here("http_hello.lua") as neap, h.nginx(NGINX, "nginx-idle.conf") as nginx:
        plain = {"neap": hold(neap, count, None), NGINX: hold(nginx, count, None)}
    ssl_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ssl_context.check_hostname = False
    ssl_context.verify_mode = ssl.CERT_NONE
    with certificate.made() as (cert, key):
        with h.neap_here("tls_hello.lua", cert, key) as neap, \
                h.nginx(NGINX, "nginx-tls.conf", cert=cert, key=key) as nginx:
            count = min(count, 3000)
            secure = {"neap": hold(neap, count, ssl_context), NGINX: hold(nginx, count, ssl_context)}
    out.table("resident memory of an idle connection", plain, COLUMNS)
    out.table("the same over TLS 1.3", secure, COLUMNS)
    print()
    out.ratio("bytes of an idle connection", plain["neap"]["bytes"], 1024)
    out.ratio("KiB of an idle connection over TLS", secure["neap"]["bytes"] / 1024, 12)
    return out
