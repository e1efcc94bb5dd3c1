"""tls-hello: a few bytes over TLS against nginx: kept connections, whole handshakes, resumed ones."""

import os
import ssl
import socket
import time

import harness as h
import certificate

NGINX = "nginx"
COLUMNS = [("handshakes", "handshakes", ",.0f"), ("cpu_us", "CPU µs each", ".1f"), ("failed", "failed", ".0f")]


def client_context(version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context


def connect(context, port, session=None):
    """One connection with one request; its session."""
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while s.recv(65536):
                pass
            return s.session, s.session_reused


def handshakes(server, seconds, version, resume):
    context = client_context(version)
    session, _ = connect(context, server.port)
    before, done, failed = server.cpu_seconds(), 0, 0
    end = time.monotonic() + seconds
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, h.one_each()[1])
    while time.monotonic() < end:
        fresh, reused = connect(context, server.port, session if resume else None)
        failed += reused != resume
        if resume:
            session = fresh or session
        done += 1
    os.sched_setaffinity(0, cores)
    return {"handshakes": done, "cpu_us": (server.cpu_seconds() - before) * 1e6 / done, "failed": failed}


def run(opts):
    out = h.Results("tls-hello")
    with certificate.made("rsa:2048") as (cert, key):
        values = {"cert": cert, "key": key}
        with h.neap_here("tls_hello.lua", cert, key) as neap, h.nginx(NGINX, "nginx-tls.conf", **values) as nginx:
            servers = {"neap": neap, NGINX: nginx}
            kept = h.rounds(servers, opts.rounds,
                            lambda s: h.wrk(s, opts.seconds, opts.connections, scheme="https"))
            made = {}
            for version, name in ((ssl.TLSVersion.TLSv1_3, "1.3"), (ssl.TLSVersion.TLSv1_2, "1.2")):
                for resume in (False, True):
                    made[name, resume] = h.rounds(
                        servers, opts.rounds, lambda s: handshakes(s, opts.seconds, version, resume))
    out.table(f"{opts.connections} connections, keep-alive, one worker each", kept, h.HTTP_COLUMNS)
    for (version, resume), got in made.items():
        kind = "resumed" if resume else "whole"
        out.table(f"TLS {version}, {kind} handshakes, one request each", got, COLUMNS)
    print()
    out.ratio("keep-alive: CPU per request over nginx's", kept["neap"]["cpu_us"] / kept[NGINX]["cpu_us"], 0.9)
    whole, resumed = made["1.3", False], made["1.2", True]
    out.ratio("whole handshakes per CPU second over nginx's",
              whole[NGINX]["cpu_us"] / whole["neap"]["cpu_us"], 1.0, at_most=False)
    out.ratio("CPU of a whole handshake over a resumed one's (1.2)",
              made["1.2", False]["neap"]["cpu_us"] / resumed["neap"]["cpu_us"], 3, at_most=False)
    out.check_failed(kept, *made.values())
    return out
