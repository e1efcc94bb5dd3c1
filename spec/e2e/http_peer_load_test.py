"""Many clients and slow ones: slowhttptest's attacks (others are served meanwhile), ab and wrk without one failure."""

import os
import re
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import peers  # noqa: E402
from peers import Curl, ca_file, cert, serve  # noqa: E402
from service import Background, Client, Load, Service, check, equal, get, path, run, until  # noqa: E402

peers.need("slowhttptest", "ab", "wrk")


def attack(url, *how, connections=150, seconds=15):
    """slowhttptest's own words; it ends early when it has no connection left. Its probes are answered within 3 s."""
    out = peers.run("slowhttptest", "-c", connections, "-r", connections, "-l", seconds, "-p", 3, "-u", url, *how,
                    code=None, patience=seconds + 20)
    out = re.sub(r"\x1b\[[0-9;]*m", "", out)
    available = re.findall(r"service available:\s+(\w+)", out)
    check(available, f"slowhttptest says nothing: {out}")
    equal(set(available), {"YES"}, "service available, all through the attack")
    return out


def meanwhile(address, fn):
    """Runs `fn` while an honest client goes on asking, on a connection it keeps and on new ones; all are answered."""
    stop = threading.Event()

    def honest():
        kept, served = Client(address), 0
        while not stop.is_set():
            equal(kept.get("/hello"), (200, "hello, world\n"), "on a connection that is kept")
            equal(get(address, "/hello"), (200, "hello, world\n"), "on a new one")
            served += 2
        kept.close()
        return served

    client = Background(honest)
    try:
        result = fn()
    finally:
        stop.set()
    served = client.result()
    check(served > 20, f"the honest client had only {served} answers")
    return result


def slow_headers():
    s, address, url = serve(header_timeout=2)
    before = s.descriptors()
    out = meanwhile(address, lambda: attack(url + "/hello", "-H", "-i", 1, "-x", 10))
    check("No open connections left" in out, f"each connection was closed at its time: {out}")
    until(lambda: s.descriptors() <= before + 1, "all descriptors are back")


def slow_bodies():
    s, address, url = serve(body_timeout=2)
    before = s.descriptors()
    out = meanwhile(address, lambda: attack(url + "/echo", "-B", "-i", 3, "-s", 8192, "-x", 10))
    check("No open connections left" in out, f"each connection was closed at its time: {out}")
    until(lambda: s.descriptors() <= before + 1, "all descriptors are back")


def slow_readers():
    s, address, url = serve(write_timeout=4)
    before = s.descriptors()
    memory = s.resident_kib()

    def hold():
        reading = ["-X", "-w", 10, "-y", 20, "-n", 1, "-z", 10]
        under_way = Background(lambda: attack(url + "/flow/1000", *reading, seconds=10))
        until(lambda: s.descriptors() > before + 140, "the attackers are there")
        # An answer is as much as a slow reader has room for: not 64 MB for each of them.
        grown = s.resident_kib() - memory
        check(grown < 300 * 1024, f"memory grew by {grown} KiB")
        until(lambda: s.descriptors() < before + 10, "they are cut off")
        check(under_way.is_alive(), "before they left by themselves")
        return under_way.result()

    meanwhile(address, hold)


def slow_handshakes():
    """Clients that begin a handshake and say no more, one byte or half a hello: others get through, and they go."""
    cert("localhost")
    tls = {"cert": path("certs/localhost-fullchain.pem"), "key": path("certs/localhost-key.pem")}
    s, address, url = serve(tls=tls, handshake_timeout=2)
    before = s.descriptors()
    hello = bytes.fromhex("160301020001000001fc0303") + os.urandom(100)
    idle = [socket.create_connection(address, 30) for _ in range(200)]
    for i, k in enumerate(idle):
        k.sendall(hello[:i % len(hello)])
    until(lambda: s.descriptors() >= before + 200, "they are there")
    for _ in range(20):
        equal(Curl("--cacert", ca_file(), url + "/hello").status, 200, "another client meanwhile")
    until(lambda: s.descriptors() <= before + 1, "all of them are gone")
    for k in idle:
        k.close()


def ab_over_tls():
    cert("localhost", "--force")
    _, _, url = serve(tls={"cert": path("certs/localhost-fullchain.pem"), "key": path("certs/localhost-key.pem")})
    for extra in ["-k"], []:
        out = peers.run("ab", "-q", "-n", 500, "-c", 10, *extra, url + "/big/20000", patience=60)
        equal(int(re.search(r"Complete requests:\s+(\d+)", out).group(1)), 500, "complete")
        equal(int(re.search(r"Failed requests:\s+(\d+)", out).group(1)), 0, "failed")


def ab():
    _, _, url = serve()
    for extra, wanted in (["-k"], True), ([], False):
        out = peers.run("ab", "-q", "-n", 3000, "-c", 20, *extra, url + "/hello", patience=60)
        equal(int(re.search(r"Complete requests:\s+(\d+)", out).group(1)), 3000, "complete")
        equal(int(re.search(r"Failed requests:\s+(\d+)", out).group(1)), 0, "failed")
        check("Non-2xx" not in out, out)
        kept = re.search(r"Keep-Alive requests:\s+(\d+)", out)
        equal(int(kept.group(1)) if kept else 0, 3000 if wanted else 0, "kept alive")
    body = os.path.join(os.environ.get("NEAP_SOURCE", "."), "src/neap.h")
    out = peers.run("ab", "-q", "-n", 1000, "-c", 20, "-k", "-p", body, url + "/echo", patience=60)
    equal(int(re.search(r"Failed requests:\s+(\d+)", out).group(1)), 0, "failed uploads")


def wrk():
    _, address, _ = serve()
    for at in "/hello", "/chunked/20", "/json?a=1":
        load = Load(address, at, connections=50)
        for _ in range(200):
            equal(get(address, "/hello")[0], 200, "another client's answer")
        figures = load.stop_clean()
        equal(figures["bodies"], set(get(address, at)[1].split()), "what it was answered, always the same")


run(slow_headers, slow_bodies, slow_readers, slow_handshakes, ab, ab_over_tls, wrk)
