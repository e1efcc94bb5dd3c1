"""Other people's clients against neap.http.serve: curl, Python's http.client and requests, Node's fetch and undici."""

import gzip
import hashlib
import http.client
import json
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import peers  # noqa: E402
from peers import Curl, serve  # noqa: E402
from service import Service, check, equal, path, run, until  # noqa: E402

peers.need("curl")

MIB = os.urandom(1024) * 1024


def write_bytes(name, data):
    with open(path(name), "wb") as f:
        f.write(data)
    return path(name)


# --- curl


def curl_basics():
    _, _, url = serve()
    c = Curl(url + "/hello")
    equal((c.status, c.body, c.version), (200, "hello, world\n", "1.1"), "GET")
    equal(c.headers.get("content-length"), "13", "length of it")
    check("date" in c.headers, "a Date")
    c = Curl("-I", url + "/hello")
    equal((c.status, c.headers.get("content-length")), (200, "13"), "HEAD")
    equal(Curl(url + "/nowhere").status, 404, "no route")
    c = Curl("-X", "DELETE", url + "/hello")
    equal((c.status, c.headers.get("allow")), (405, "GET, HEAD, OPTIONS"), "a method it has not")
    c = Curl("-X", "OPTIONS", url + "/hello")
    equal(c.status, 204, "OPTIONS")
    c = Curl(url + "/json?a=1&b=x%20y")
    equal(json.loads(c.body)["query"], {"a": "1", "b": "x y"}, "a query")
    c = Curl("-L", url + "/redirect")
    equal((c.status, c.body, c.connects), (200, "hello, world\n", 1), "a redirect on one connection")
    for status in (204, 304):
        c = Curl(url + f"/status/{status}", url + "/hello")
        equal(c.connects, 1, f"the connection lives on after {status}")


def curl_http_1_0():
    _, _, url = serve()
    c = Curl("-0", url + "/chunked/3")
    equal((c.status, c.body), (200, "line 1\nline 2\nline 3\n"), "a body of unknown length")
    check("transfer-encoding" not in c.headers, "no chunks to HTTP/1.0")
    c = Curl("-0", "-H", "Connection: keep-alive", url + "/hello", url + "/hello")
    equal(c.connects, 1, "HTTP/1.0 kept alive")
    c = Curl("-0", url + "/hello", url + "/hello")
    equal(c.connects, 2, "HTTP/1.0 closes")


def curl_reuses_its_connection():
    _, _, url = serve()
    c = Curl(*[f"{url}/hello"] * 20)
    equal(c.connects, 1, "connections of 20 requests")
    c = Curl("-H", "Connection: close", url + "/hello")
    equal(c.headers.get("connection"), "close", "as asked")
    _, _, url = serve(max_requests=3)
    c = Curl(*[f"{url}/hello"] * 7)
    equal(c.connects, 3, "connections when 3 requests end one")


def curl_uploads():
    _, _, url = serve()
    file = write_bytes("mib", MIB)
    digest = hashlib.sha256(MIB).digest()
    for name, args in {
        "with its length": ["--data-binary", "@" + file],
        "that asks first (Expect)": ["--data-binary", "@" + file, "-H", "Expect: 100-continue"],
        "in chunks": ["--data-binary", "@" + file, "-H", "Transfer-Encoding: chunked"],
        "in chunks, asking first": ["-T", file, "-X", "POST", "-H", "Transfer-Encoding: chunked",
                                    "-H", "Expect: 100-continue"],
    }.items():
        for target in ("/echo", "/stream"):
            c = Curl(*args, url + target)
            equal((c.status, hashlib.sha256(c.bytes).digest()), (200, digest), f"an upload {name} to {target}")
            # /stream answers before it reads, which says as much.
            if "Expect" in " ".join(args) and target == "/echo":
                check("HTTP/1.1 100 Continue" in c.head, f"was told to go on: {c.head}")
    c = Curl("-T", "-", url + "/count", data=MIB)
    equal(json.loads(c.body)["bytes"], len(MIB), "an upload from a pipe")
    c = Curl("-F", "a=1", "-F", f"file=@{file}", url + "/echo")
    check(c.status == 200 and b'name="file"; filename="mib"' in c.bytes and MIB in c.bytes, "a form with a file")


def curl_is_told_no_before_it_sends():
    _, _, url = serve(max_body_bytes=1000)
    file = write_bytes("mib", MIB)
    c = Curl("--data-binary", "@" + file, "-H", "Expect: 100-continue", url + "/echo")
    equal(c.status, 413, "too large")
    check("100 Continue" not in c.head, "not told to go on")
    c = Curl("-d", "x" * 500, "-H", "Expect: 200-ok", url + "/echo")
    equal(c.status, 417, "an expectation nobody knows")
    _, _, url = serve()
    c = Curl("--data-binary", "@" + file, "-H", "Expect: 100-continue", url + "/refuse")
    equal((c.status, c.body), (413, "no\n"), "a handler's own refusal")


def curl_sees_trailers_and_early_hints():
    _, _, url = serve()
    c = Curl(url + "/trailers")
    equal(c.body, "body\n", "the body before them")
    check("x-sum: 42" in c.head.lower(), f"the trailer: {c.head}")
    c = Curl(url + "/early")
    equal(c.body, "late\n", "the answer after 103")
    check(c.heads[0].startswith("HTTP/1.1 103 ") and "rel=preload" in c.heads[0], f"103 first: {c.head}")


def curl_upgrades():
    s, address, url = serve()
    c = Curl(url + "/upgrade")
    equal((c.status, c.headers.get("upgrade")), (426, "echo"), "without an offer")
    with socket.create_connection(address, 30) as k:
        k.sendall(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ")
        got = b""
        while b"EARLY " not in got:
            piece = k.recv(4096)
            check(piece, f"it ended: {got}")
            got += piece
        check(got.startswith(b"HTTP/1.1 101 "), f"101: {got}")
        k.sendall(b"and more")
        until(lambda: k.recv(4096) == b"AND MORE", "what is sent later")


def files(name="www"):
    """A directory that is served under /files."""
    os.makedirs(path(name), exist_ok=True)
    write_bytes(name + "/mib.bin", MIB)
    write_bytes(name + "/page.html", b"<p>hello</p>\n" * 5000)
    write_bytes(path("secret.txt"), b"secret\n")
    os.utime(path(name + "/mib.bin"), (1700000000, 1700000000))  # tags of files of this second are weak, and pass
    return path(name)


def curl_ranges():
    _, _, url = serve(static=files())
    url += "/files/mib.bin"
    c = Curl(url)
    equal((c.status, c.bytes == MIB, c.headers["content-length"]), (200, True, str(len(MIB))), "the whole")
    equal(c.headers.get("accept-ranges"), "bytes", "ranges are offered")
    etag, date = c.headers["etag"], c.headers["last-modified"]
    for asked, first, last in ("0-0", 0, 0), ("100-199", 100, 199), ("-10", len(MIB) - 10, len(MIB) - 1), \
            (f"{len(MIB) - 1}-", len(MIB) - 1, len(MIB) - 1), ("5-99999999", 5, len(MIB) - 1):
        c = Curl("-r", asked, url)
        equal((c.status, c.headers["content-range"]), (206, f"bytes {first}-{last}/{len(MIB)}"), f"range {asked}")
        check(c.bytes == MIB[first:last + 1], f"the bytes of {asked}")
    c = Curl("-r", "0-9,100-109", url)
    check(c.status == 206 and c.headers["content-type"].startswith("multipart/byteranges"), "two ranges")
    check(MIB[0:10] in c.bytes and MIB[100:110] in c.bytes, "both are in it")
    c = Curl("-r", "2000000-", url)
    equal((c.status, c.headers["content-range"]), (416, f"bytes */{len(MIB)}"), "behind the end")
    # A download that was broken off is gone on with.
    part = write_bytes("part.bin", MIB[:400000])
    peers.run("curl", "-q", "-sS", "-C", "-", "-o", part, url)
    with open(part, "rb") as f:
        check(f.read() == MIB, "what -C makes whole")
    equal(Curl("-H", f"If-None-Match: {etag}", url).status, 304, "not changed, by its tag")
    equal(Curl("-z", date, url).status, 304, "not changed, by its date")
    equal(Curl("-H", 'If-Match: "other"', url).status, 412, "not the one that was meant")
    equal(Curl("-r", "0-9", "-H", 'If-Range: "other"', url).status, 200, "a range of what was another")
    equal(Curl("-I", url).headers["content-length"], str(len(MIB)), "HEAD")
    equal(Curl("-X", "POST", url).status, 405, "POST")


def curl_stays_inside():
    www = files()
    _, _, url = serve(static=www)
    os.symlink(path("secret.txt"), path("www/link"))
    for at in "../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "x/..%5c..%5csecret.txt", "link", \
            "%2e%2e%2fsecret.txt", "..%252fsecret.txt", "page.html%00.txt", "/etc/passwd", "%2fetc%2fpasswd":
        c = Curl("--path-as-is", f"{url}/files/{at}")
        check(c.status in (400, 403, 404) and b"secret" not in c.bytes, f"{at}: {c.status} {c.body}")
    equal(Curl(url + "/files/page.html").status, 200, "what is inside")


def curl_compressed():
    _, _, url = serve(static=files(), compress=True, decompress=True)
    lines = b"".join(b"line %d\n" % i for i in range(1, 5001))
    for coding in "gzip", "br", "zstd":
        for at, wanted in ("/big/100000", b"x" * 100000), ("/chunked/5000", lines):
            c = Curl("--compressed", "-H", f"Accept-Encoding: {coding}", url + at)
            equal(c.headers.get("content-encoding"), coding, f"{at} in {coding}")
            check("accept-encoding" in c.headers.get("vary", "").lower(), f"Vary: {c.headers.get('vary')}")
            check(c.bytes == wanted, f"{at} comes out of {coding}")
        raw = Curl("-H", f"Accept-Encoding: {coding}", url + "/chunked/5000")
        check(len(raw.bytes) < len(lines) / 3, f"{coding} is {len(raw.bytes)} bytes for {len(lines)}")
    check(Curl("--compressed", url + "/big/5000").headers.get("content-encoding") in ("gzip", "br", "zstd"),
          "curl's own list")
    for accept in "identity", "*;q=0, identity", "gzip;q=0":
        c = Curl("-H", f"Accept-Encoding: {accept}", url + "/chunked/5000")
        check("content-encoding" not in c.headers and c.bytes == lines, f"plain for {accept}")
    c = Curl("-H", "Accept-Encoding: gzip", "-r", "0-99", url + "/files/mib.bin")
    equal((c.status, len(c.bytes)), (206, 100), "a range is of the file")
    check("content-encoding" not in Curl("--compressed", url + "/hello").headers, "not worth it")
    body = gzip.compress(MIB)
    file = write_bytes("mib.gz", body)
    c = Curl("--data-binary", "@" + file, "-H", "Content-Encoding: gzip", url + "/echo")
    check(c.bytes == MIB, "a request's body is decoded")
    bomb = write_bytes("bomb.gz", gzip.compress(bytes(200 << 20), 9))
    equal(Curl("--data-binary", "@" + bomb, "-H", "Content-Encoding: gzip", url + "/echo").status, 413, "a bomb")


def curl_behind_a_proxy():
    _, address, url = serve(proxy_protocol=True)
    who = json.loads(Curl("--haproxy-protocol", url + "/who").body)
    check(who["remote"].startswith("127.0.0.1"), f"curl's own address: {who}")
    c = Curl(url + "/hello", code=None)
    check(getattr(c, "status", 0) in (0, 400), f"no connection without its header: {c.told}")
    with socket.create_connection(address, 30) as k:
        k.sendall(b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n"
                  b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = b""
        while piece := k.recv(65536):
            got += piece
    check(b"203.0.113.7" in got, f"whom the header names: {got}")
    _, _, url = serve(trusted_proxies=["127.0.0.0/8"])
    who = json.loads(Curl("-H", "X-Forwarded-For: 203.0.113.9", "-H", "X-Forwarded-Proto: https", url + "/who").body)
    equal((who.get("client"), who.get("scheme")), ("203.0.113.9", "https"), "whom a trusted proxy names")
    _, _, url = serve()
    who = json.loads(Curl("-H", "X-Forwarded-For: 203.0.113.9", url + "/who").body)
    check("203.0.113.9" not in str(who), f"nobody's word counts by default: {who}")


def curl_by_a_unix_socket():
    place = path("s.sock")
    s = Service(os.path.join(peers.SOURCE, "spec/e2e/http_peer_service.lua"), json.dumps({"unix": place}))
    s.await_line("listening on unix:")
    for _ in range(3):
        equal(Curl("--unix-socket", place, "http://localhost/hello").body, "hello, world\n", "an answer")
    c = Curl("--unix-socket", place, "-d", "x" * 100000, "http://localhost/echo")
    equal(c.bytes, b"x" * 100000, "an upload")


def curl_forms():
    _, _, url = serve()
    file = write_bytes("mib", MIB)
    got = json.loads(Curl("-d", "a=1", "--data-urlencode", "b=x y&z=ü", "-d", "a=2", url + "/form").body)
    equal(got["fields"], {"a": ["1", "2"], "b": "x y&z=ü"}, "a form")
    got = json.loads(Curl("-F", "text=hello ü", "-F", f"file=@{file};filename=\"na me;.bin\";type=image/png",
                          "-F", "file=@-;filename=second", url + "/form", data=b"from a pipe").body)
    equal(got["fields"], {"text": "hello ü"}, "its fields")
    equal([(f["name"], f["filename"], f["size"]) for f in got["files"]],
          [("file", "na me;.bin", len(MIB)), ("file", "second", 11)], "its files")
    equal(got["files"][0]["type"], "image/png", "a file's type")
    equal(Curl("-H", "Content-Type: text/plain", "-d", "x", url + "/form").status, 415, "no form")
    equal(Curl("-H", "Content-Type: multipart/form-data; boundary=x", "-d", "--x\r\nrubbish", url + "/form").status,
          400, "a malformed one")


def curl_events():
    _, _, url = serve()
    c = Curl("-N", url + "/events")
    equal(c.headers["content-type"].split(";")[0], "text/event-stream", "their type")
    ids = [line for line in c.body.splitlines() if line.startswith("id:")]
    equal([i.split(":")[1].strip() for i in ids], ["1", "2", "3"], "events")
    check("data: line one\ndata: number 1\n" in c.body, f"lines of data: {c.body}")
    check("\n:" in c.body, f"heartbeats: {c.body!r}")
    check("id: 8" in Curl("-N", "-H", "Last-Event-ID: 7", url + "/events").body, "gone on with where it was")


def curl_through_neap():
    """neap as an HTTP proxy: CONNECT tunnels to another server, absolute URLs to itself."""
    _, _, proxy = serve()
    _, target, url = serve()
    c = Curl("-p", "-x", proxy, url + "/hello", url + "/hello")
    equal((c.status, c.body, c.connects), (200, "hello, world\n", 1), "a tunnel")
    c = Curl("-p", "-x", proxy, "--data-binary", "@" + write_bytes("mib", MIB), url + "/stream")
    check(c.bytes == MIB, "a megabyte there and back")
    check("502" in Curl("-p", "-x", proxy, "http://127.0.0.1:1/", code=None).told, "a tunnel to nobody")
    c = Curl("-x", proxy, proxy + "/json?a=1")
    equal(json.loads(c.body)["host"], proxy[len("http://"):], "an absolute URL")


def curl_slowly():
    """A client that takes a megabyte slowly is no reason to keep another waiting."""
    _, _, url = serve()
    slow = Service(argv=["curl", "-q", "-sS", "--limit-rate", "2M", "-o", path("slow"), url + "/big/8000000"])
    for _ in range(50):
        equal(Curl(url + "/hello").status, 200, "another client meanwhile")
    equal(slow.ended(), 0, "the slow client's end")
    equal(os.path.getsize(path("slow")), 8000000, "what it got")


# --- Python


def python_http_client():
    _, address, _ = serve()
    k = http.client.HTTPConnection(*address, timeout=30)
    for i in range(3):  # one connection
        k.request("POST", "/stream", body=(MIB[j:j + 65536] for j in range(0, len(MIB), 65536)),
                  encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        r = k.getresponse()
        equal((r.status, r.read()), (200, MIB), "chunks there and back")
    k.request("GET", "/chunked/1000")
    r = k.getresponse()
    equal(r.readline(), b"line 1\n", "the first line")
    equal(len(r.read().splitlines()), 999, "the other lines")
    k.request("GET", "/cookie", headers={"Cookie": "x=1; y=2"})
    r = k.getresponse()
    equal(json.loads(r.read()), {"x": "1", "y": "2"}, "cookies")
    equal(r.headers.get_all("set-cookie"), ["a=1; Path=/", "b=2; Path=/"], "two cookies set")
    k.request("PUT", "/count", body="")
    equal(json.loads(k.getresponse().read())["bytes"], 0, "an empty body")
    k.close()


def python_requests():
    try:
        import requests
    except ImportError:
        print("python3-requests is not installed")
        return
    _, _, url = serve()
    with requests.Session() as s:
        r = s.get(url + "/json", params={"q": "a b", "u": "ü"}, timeout=30)
        equal(r.json()["query"], {"q": "a b", "u": "ü"}, "parameters")
        s.get(url + "/cookie", timeout=30)
        equal(s.get(url + "/cookie", timeout=30).json(), {"a": "1", "b": "2"}, "its cookie jar")
        equal(s.get(url + "/redirect", timeout=30).text, "hello, world\n", "a redirect")
        r = s.post(url + "/echo", files={"f": ("n.bin", MIB)}, timeout=30)
        check(MIB in r.content, "a file in a form")
        r = s.post(url + "/form", data={"a": "ü"}, files={"f": ("naïve.bin", MIB, "image/png")}, timeout=30).json()
        equal((r["fields"], r["files"][0]["size"]), ({"a": "ü"}, len(MIB)), "a form that is read")
        r = s.post(url + "/echo", data=(MIB[i:i + 1000] for i in range(0, len(MIB), 1000)), timeout=30)
        equal((r.content == MIB, r.headers["x-coding"]), (True, "chunked"), "a generator's body")
        with s.get(url + "/big/5000000", stream=True, timeout=30) as r:
            equal(sum(len(p) for p in r.iter_content(65536)), 5000000, "a streamed answer")
        equal(s.get(url + "/status/503", timeout=30).status_code, 503, "a status")


def raw_pipelines():
    """Answers come in the order of the requests, however long each takes."""
    _, address, _ = serve()
    waits = [80, 0, 40, 10, 0, 20]
    with socket.create_connection(address, 30) as k:
        for ms in waits:
            k.sendall(f"GET /wait/{ms} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        k.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                  b"4;ext=1\r\nbody\r\n0\r\nX-T: 1\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = b""
        while True:
            piece = k.recv(65536)
            if not piece:
                break
            got += piece
    bodies = [part.split(b"\r\n\r\n", 1)[1] for part in got.split(b"HTTP/1.1 200 ")[1:]]
    equal(bodies, [str(ms).encode() for ms in waits] + [b"body", b"hello, world\n"], "pipelined answers")


# --- Node

NODE = """
const url = process.argv[2];
const assert = require('assert');
(async () => {
  let r = await fetch(url + '/json?a=1');
  assert.deepStrictEqual((await r.json()).query, { a: '1' });
  r = await fetch(url + '/redirect');
  assert.strictEqual(await r.text(), 'hello, world\\n');
  assert(r.redirected);
  r = await fetch(url + '/cookie');
  if (r.headers.getSetCookie) // from Node 18.14 on
    assert.deepStrictEqual(r.headers.getSetCookie(), ['a=1; Path=/', 'b=2; Path=/']);
  else
    assert.strictEqual(r.headers.get('set-cookie'), 'a=1; Path=/, b=2; Path=/');
  await r.text();
  const body = new Uint8Array(1 << 20).map((_, i) => i * 7);
  const pieces = new ReadableStream({ start(c) {
    for (let i = 0; i < body.length; i += 65536) c.enqueue(body.subarray(i, i + 65536));
    c.close();
  } });
  r = await fetch(url + '/stream', { method: 'POST', body: pieces, duplex: 'half' });
  assert(Buffer.from(await r.arrayBuffer()).equals(Buffer.from(body)));
  const form = new FormData();
  form.set('text', 'one');
  form.set('file', new Blob([body]), 'f.bin');
  r = await fetch(url + '/echo', { method: 'POST', body: form });
  assert(Buffer.from(await r.arrayBuffer()).includes(Buffer.from(body)));
  r = await fetch(url + '/form', { method: 'POST', body: form });
  const seen = await r.json();
  assert.deepStrictEqual(seen.fields, { text: 'one' });
  assert.deepStrictEqual([seen.files[0].filename, seen.files[0].size], ['f.bin', 1 << 20]);
  r = await fetch(url + '/form', { method: 'POST', body: new URLSearchParams({ q: 'a b&c' }) });
  assert.deepStrictEqual((await r.json()).fields, { q: 'a b&c' });
  const all = await Promise.all(Array.from({ length: 100 }, (_, i) => fetch(url + '/wait/' + i % 7)));
  for (let i = 0; i < 100; i++) assert.strictEqual(await all[i].text(), String(i % 7));
  console.log('fetch: done');
})().catch((e) => { console.error(e); process.exit(1); });
"""

UNDICI = """
const { Client } = require('undici');
const assert = require('assert');
(async () => {
  const client = new Client(process.argv[2], { pipelining: 10 });
  let connects = 0;
  client.on('connect', () => connects++);
  const waits = Array.from({ length: 40 }, (_, i) => (i * 13) % 30);
  const all = await Promise.all(waits.map((ms) =>
    client.request({ path: '/wait/' + ms, method: 'GET' }).then((r) => r.body.text())));
  assert.deepStrictEqual(all, waits.map(String));
  assert.strictEqual(connects, 1, 'pipelined on one connection');
  const r = await client.request({ path: '/trailers', method: 'GET' });
  assert.strictEqual(await r.body.text(), 'body\\n');
  assert.strictEqual(r.trailers['x-sum'], '42');
  const infos = [];
  const e = await client.request({ path: '/early', method: 'GET', onInfo: (i) => infos.push(i.statusCode) });
  assert.strictEqual(await e.body.text(), 'late\\n');
  assert.deepStrictEqual(infos, [103]);
  const { socket } = await client.upgrade({ path: '/upgrade', protocol: 'echo' });
  socket.write('hello');
  socket.once('data', (d) => {
    assert.strictEqual(String(d), 'HELLO');
    socket.end();
    console.log('undici: done');
    client.destroy();
  });
})().catch((e) => { console.error(e); process.exit(1); });
"""


def node_fetch():
    if not peers.shutil.which("node"):
        print("node is not installed")
        return
    _, _, url = serve()
    with open(path("fetch.js"), "w") as f:
        f.write(NODE)
    check("fetch: done" in peers.run("node", path("fetch.js"), url), "Node's fetch")


def node_undici():
    modules = peers.shutil.which("node") and peers.node_package("undici", "6.21.1")
    if not modules:
        print("undici cannot be had")
        return
    _, _, url = serve()
    with open(path("undici.js"), "w") as f:
        f.write(UNDICI)
    check("undici: done" in peers.run("node", path("undici.js"), url, env={"NODE_PATH": modules}), "undici")


run(curl_basics, curl_http_1_0, curl_reuses_its_connection, curl_uploads, curl_is_told_no_before_it_sends,
    curl_sees_trailers_and_early_hints, curl_upgrades, curl_ranges, curl_stays_inside, curl_compressed,
    curl_behind_a_proxy, curl_by_a_unix_socket, curl_forms, curl_events, curl_through_neap, curl_slowly,
    python_http_client, python_requests, raw_pipelines, node_fetch, node_undici)
