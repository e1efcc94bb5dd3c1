"""Other people's TLS clients against neap: openssl s_client, curl, Python's ssl, Node; certificates of `neap cert`."""

import json
import os
import re
import socket
import ssl
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import peers  # noqa: E402
from peers import Curl, ca_file, cert, serve  # noqa: E402
from service import Service, check, equal, path, run, until, write  # noqa: E402

peers.need("openssl", "curl")

MIB = os.urandom(1024) * 1024


def certificate(name, *args, kind="server"):
    """`neap cert` for a name; the options of a TLS context."""
    base = path("certs/" + name.replace("*.", "_wildcard.").split("@")[0])
    if not os.path.exists(base + "-key.pem"):
        cert(kind, name, *args)
    return {"cert": base + "-fullchain.pem", "key": base + "-key.pem"}


def s_client(address, *args, data=b"GET /hello HTTP/1.0\r\n\r\n", code=0, name="localhost"):
    """openssl's words. It is given a request and ends with the connection."""
    naming = ["-servername", name] if name else ["-noservername"]
    return peers.run("openssl", "s_client", "-connect", f"{address[0]}:{address[1]}", *naming, "-CAfile", ca_file(),
                     "-ign_eof", *args, data=data, code=code)


def versions():
    tls = certificate("localhost")
    _, address, _ = serve(tls=tls)
    for option, name in ("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3"):
        out = s_client(address, option, "-verify_return_error", "-verify_hostname", "localhost")
        check("Verify return code: 0 (ok)" in out, f"{name} verifies: {out}")
        check(f"New, {name}" in out, f"{name}: {out}")
        check("hello, world" in out, f"an answer over {name}: {out}")
        check("Compression: NONE" in out, f"compression: {out}")
        check("Secure Renegotiation IS" in out or "forbids renegotiation" in out, f"renegotiation: {out}")
    for option in "-tls1", "-tls1_1":
        out = s_client(address, option, "-cipher", "DEFAULT@SECLEVEL=0", code=1)
        check("alert protocol version" in out, f"{option} is refused: {out}")
    _, address, _ = serve(tls={**tls, "min_version": "1.3"})
    check("alert protocol version" in s_client(address, "-tls1_2", code=1), "1.2 when the least is 1.3")
    _, address, _ = serve(tls={**tls, "max_version": "1.2"})
    check("New, TLSv1.2" in s_client(address), "1.3 when the most is 1.2")


def ciphers():
    _, address, _ = serve(tls=certificate("localhost"))
    out = s_client(address, "-tls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384:ECDHE-ECDSA-AES128-SHA", code=1)
    check("handshake failure" in out, f"ciphers without forward secrecy or with CBC are refused: {out}")
    for cipher in "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305":
        check(f"Cipher is {cipher}" in s_client(address, "-tls1_2", "-cipher", cipher), cipher)
    for suite in "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256":
        check(f"Cipher is {suite}" in s_client(address, "-tls1_3", "-ciphersuites", suite), suite)
    check("X25519" in s_client(address, "-groups", "X25519"), "X25519")
    check("prime256v1" in s_client(address, "-groups", "P-256"), "P-256")
    check("handshake failure" in s_client(address, "-groups", "P-521", code=1), "a group that is not offered")
    # A client that renegotiates gets no second handshake. (Its command is a line; -ign_eof would send that.)
    out = peers.run("openssl", "s_client", "-connect", f"{address[0]}:{address[1]}", "-tls1_2", data=b"R\n", code=None)
    check("RENEGOTIATING" in out and "no renegotiation" in out, out)


def alpn():
    _, address, _ = serve(tls=certificate("localhost"))
    check("ALPN protocol: http/1.1" in s_client(address, "-alpn", "h2,http/1.1"), "http/1.1 is chosen")
    check("No ALPN negotiated" in s_client(address), "none is asked for")
    out = s_client(address, "-alpn", "imap", code=1)
    check("no application protocol" in out, f"nothing in common is refused: {out}")


def names():
    certs = [certificate("localhost"), certificate("a.test"), certificate("*.b.test"), certificate("rsa.test", "--key",
                                                                                                   "rsa")]
    _, address, _ = serve(tls={"certs": certs})

    def subject(name):
        return re.search(r"subject=(?:.*)CN ?= ?(\S+)", s_client(address, name=name)).group(1)

    for name, wanted in {"localhost": "localhost", "a.test": "a.test", "A.TEST": "a.test", "x.b.test": "*.b.test",
                         "rsa.test": "rsa.test", "b.test": "localhost", "x.y.b.test": "localhost",
                         "other.test": "localhost", None: "localhost"}.items():
        equal(subject(name), wanted, f"the certificate for {name}")


def resumption():
    tls = certificate("localhost")
    for what, options in ("tickets", {}), ("session IDs", {"tickets": False}):
        _, address, _ = serve(tls={**tls, **options})
        session = path("session.pem")
        for version in "-tls1_2", "-tls1_3":
            out = s_client(address, version, "-sess_out", session)
            check("New, " in out, f"a first connection: {out}")
            out = s_client(address, version, "-sess_in", session)
            check("Reused, " in out, f"{what} resume, {version}: {out}")
            check("hello, world" in out, "an answer on it")
        out = s_client(address, "-tls1_2", "-reconnect", data=b"GET / HTTP/1.0\r\n\r\n", code=None)
        equal(out.count("Reused, TLSv1.2"), 5, f"-reconnect by {what}")
    _, address, _ = serve(tls={**tls, "sessions": False})
    for version in "-tls1_2", "-tls1_3":
        s_client(address, version, "-sess_out", session, code=None)
        if os.path.exists(session):
            check("Reused, " not in s_client(address, version, "-sess_in", session), "nothing resumes when not wanted")


def resumption_across_workers():
    """A ticket that one worker gave is taken by the others."""
    s = Service(os.path.join(peers.SOURCE, "spec/e2e/http_peer_service.lua"),
                json.dumps({"tls": certificate("localhost")}), options=("--workers", "3"))
    address = s.address()
    session = path("session.pem")
    s_client(address, "-sess_out", session)
    for _ in range(12):
        check("Reused, " in s_client(address, "-sess_in", session), "each worker takes the ticket")


def client_certificates():
    server = certificate("localhost")
    cert("client", "alice@example.com", "--spiffe", "spiffe://example.org/alice")
    cert("client", "mallory@example.com")
    alice = path("certs/alice-example.com-client")
    mallory = path("certs/mallory-example.com-client")
    peers.run(peers.NEAP, "cert", "crl", "--revoke", mallory + ".pem", "--ca", path("certs/ca"))
    required = {**server, "ca": ca_file(), "crl": path("certs/ca/crl.pem"), "verify": "required"}
    _, address, url = serve(tls=required)
    curl = ["--cacert", ca_file(), "--resolve", f"localhost:{address[1]}:127.0.0.1"]
    url = f"https://localhost:{address[1]}"
    with_alice = ["--cert", alice + ".pem", "--key", alice + "-key.pem"]
    for version in ["--tls-max", "1.2"], ["--tlsv1.3"]:
        Curl(*curl, *version, url + "/tls", code=None)
        check(Curl(*curl, *version, url + "/tls", code=None).told.startswith("curl: ("), "none is refused")
        seen = json.loads(Curl(*curl, *version, *with_alice, url + "/tls").body)
        equal((seen["verified"], seen["peer"]["common_name"]), (True, "alice@example.com"), "who it is")
        equal(seen["peer"]["spiffe_id"], "spiffe://example.org/alice", "its SPIFFE ID")
        equal(seen["peer"]["names"], ["email:alice@example.com", "URI:spiffe://example.org/alice"], "its names")
        told = Curl(*curl, *version, "--cert", mallory + ".pem", "--key", mallory + "-key.pem", url, code=None).told
        check(told.startswith("curl: (") and "revoked" in told, f"a revoked one is refused: {told}")
    # A server's certificate is none for a client.
    told = Curl(*curl, "--cert", server["cert"], "--key", server["key"], url, code=None).told
    check(told.startswith("curl: ("), f"a server's certificate is refused: {told}")
    _, address, _ = serve(tls={**required, "verify": "optional"})
    curl = ["--cacert", ca_file(), "--resolve", f"localhost:{address[1]}:127.0.0.1"]
    url = f"https://localhost:{address[1]}"
    check("peer" not in json.loads(Curl(*curl, url + "/tls").body), "none is taken when it is optional")
    equal(json.loads(Curl(*curl, *with_alice, url + "/tls").body)["verified"], True, "a good one too")
    told = Curl(*curl, "--cert", mallory + ".pem", "--key", mallory + "-key.pem", url, code=None).told
    check(told.startswith("curl: ("), f"a bad one is not: {told}")


def ocsp():
    tls = certificate("localhost")
    leaf = path("certs/localhost.pem")
    serial = re.search(r"=(\w+)", peers.run("openssl", "x509", "-in", leaf, "-noout", "-serial")).group(1)
    write("index.txt", f"V\t400101000000Z\t\t{serial}\tunknown\t/CN=localhost\n")
    ca = ["-CA", ca_file(), "-rsigner", ca_file(), "-rkey", path("certs/ca/ca-key.pem")]
    peers.run("openssl", "ocsp", "-issuer", ca_file(), "-cert", leaf, "-reqout", path("ocsp.req"), "-no_nonce")
    peers.run("openssl", "ocsp", "-index", path("index.txt"), *ca, "-reqin", path("ocsp.req"),
              "-respout", path("ocsp.der"), "-ndays", 2)
    _, address, _ = serve(tls={**tls, "ocsp": path("ocsp.der")})
    for version in "-tls1_2", "-tls1_3":
        out = s_client(address, version, "-status")
        check("OCSP Response Status: successful" in out and "Cert Status: good" in out, f"stapled, {version}: {out}")
    curl = ["--cacert", ca_file(), "--resolve", f"localhost:{address[1]}:127.0.0.1"]
    equal(Curl(*curl, "--cert-status", f"https://localhost:{address[1]}/hello").status, 200, "curl --cert-status")
    _, address, _ = serve(tls=tls)
    check("OCSP response: no response sent" in s_client(address, "-status"), "none, without")


def curl():
    _, address, url = serve(tls=certificate("localhost"))
    ca = ["--cacert", ca_file()]
    c = Curl(*ca, url + "/hello")
    equal((c.status, c.body, c.version), (200, "hello, world\n", "1.1"), "by address")
    local = f"https://localhost:{address[1]}"
    equal(Curl(*ca, "--tls-max", "1.2", *[local + "/hello"] * 5).connects, 1, "one connection for five requests")
    seen = json.loads(Curl(*ca, local + "/tls").body)
    equal((seen["version"], seen["server_name"], seen["alpn"]), ("TLSv1.3", "localhost", "http/1.1"), "req.tls")
    check(not seen["verified"] and not seen["resumed"], "req.tls")
    file = path("mib")
    with open(file, "wb") as f:
        f.write(MIB)
    for args in [], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]:
        for at in "/echo", "/stream":
            check(Curl(*ca, "--data-binary", "@" + file, *args, local + at).bytes == MIB, f"an upload {args} to {at}")
    equal(len(Curl(*ca, local + "/flow/200").bytes), 200 * 65536, "much")
    told = Curl(local + "/hello", code=60).told
    check("certificate" in told, f"without the authority: {told}")
    other = f"other.test:{address[1]}"
    told = Curl(*ca, "--resolve", other + ":127.0.0.1", f"https://{other}/", code=60).told
    check("other.test" in told, f"by another name: {told}")
    c = Curl(f"http://127.0.0.1:{address[1]}/", code=None)
    check(getattr(c, "status", 0) in (0, 400), f"HTTP without TLS is no request: {c.told}")


def python():
    _, address, _ = serve(tls=certificate("localhost"))
    context = ssl.create_default_context(cafile=ca_file())
    context.set_alpn_protocols(["http/1.1"])

    def connect(session=None, context=context):
        s = context.wrap_socket(socket.create_connection(address, 30), server_hostname="localhost", session=session)
        return s

    def ask(s, at="/hello"):
        s.sendall(f"GET {at} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        got = b""
        while True:
            piece = s.recv(65536)  # raises when it ends without TLS's farewell
            if not piece:
                return got
            got += piece

    with connect() as s:
        equal((s.version(), s.selected_alpn_protocol()), ("TLSv1.3", "http/1.1"), "agreed")
        names = {v for k, v in s.getpeercert()["subjectAltName"]}
        check({"localhost", "127.0.0.1"} <= names, f"names: {names}")
        check(b"hello, world" in ask(s), "an answer, and a proper end")
        session = s.session
    with connect(session) as s:
        check(s.session_reused, "a session is resumed")
        check(ask(s, "/big/3000000").endswith(b"x" * 1000), "much on it")
    old = ssl.create_default_context(cafile=ca_file())
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with connect(context=old) as s:
        equal(s.version(), "TLSv1.2", "agreed")
        check(b"hello, world" in ask(s), "an answer")
    # Byte by byte, as a slow network has it: records are put together whatever the pieces.
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    obj = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(address, 30) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def pump(fn):
            while True:
                try:
                    return fn()
                except ssl.SSLWantReadError:
                    for byte in outgoing.read():
                        raw.sendall(bytes([byte]))
                    got = raw.recv(17)
                    if got:
                        incoming.write(got)
                    else:
                        incoming.write_eof()

        pump(obj.do_handshake)
        obj.write(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        check(b"200 OK" in pump(lambda: obj.read(4096)), "an answer to single bytes")


NODE = """
const https = require('https');
const fs = require('fs');
const assert = require('assert');
const [, , port, ca] = process.argv;
const agent = new https.Agent({ ca: fs.readFileSync(ca), keepAlive: true, maxSockets: 2 });
let reused = 0;
const get = (path, body, use = agent) => new Promise((resolve, reject) => {
  const where = { host: 'localhost', family: 4, port, path, agent: use, method: body ? 'POST' : 'GET' };
  const req = https.request(where, (res) => {
    const pieces = [];
    if (res.socket.isSessionReused()) reused++;
    res.on('data', (d) => pieces.push(d));
    res.on('end', () => resolve(Buffer.concat(pieces)));
    res.on('error', reject);
  });
  req.on('error', reject);
  req.end(body);
});
(async () => {
  const body = Buffer.alloc(1 << 20, 'node');
  assert((await get('/stream', body)).equals(body));
  const all = await Promise.all(Array.from({ length: 50 }, (_, i) => get('/wait/' + i % 5)));
  all.forEach((b, i) => assert.strictEqual(String(b), String(i % 5)));
  const once = new https.Agent({ ca: fs.readFileSync(ca), keepAlive: false, maxCachedSessions: 10 });
  for (let i = 0; i < 5; i++) await get('/hello', null, once);
  assert(reused >= 4, 'sessions are resumed: ' + reused);
  await assert.rejects(get('/hello', null, new https.Agent()), /certificate|self-signed/);
  console.log('node: done');
  process.exit(0);
})().catch((e) => { console.error(e); process.exit(1); });
"""


def node():
    if not peers.shutil.which("node"):
        print("node is not installed")
        return
    _, address, _ = serve(tls=certificate("localhost"))
    check("node: done" in peers.run("node", write("tls.js", NODE), address[1], ca_file()), "Node's https")


def new_certificates():
    """A new certificate is shown soon after its files have changed; connections go on. A broken one changes nothing."""
    tls = certificate("renew.test")
    s, address, _ = serve(tls={**tls, "reload_interval": 0.1})

    def serial(name="renew.test"):
        return re.search(r"Serial Number:\s*\n?\s*(\S+)", peers.run(
            "openssl", "x509", "-noout", "-text", data=s_client(address, name=name).encode())).group(1)

    context = ssl.create_default_context(cafile=ca_file())
    kept = context.wrap_socket(socket.create_connection(address, 30), server_hostname="renew.test")

    def kept_answers():
        kept.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        got = b""
        while not got.endswith(b"hello, world\n"):
            piece = kept.recv(4096)
            check(piece, "the connection from before has ended")
            got += piece

    kept_answers()
    first = serial()
    cert("server", "renew.test", "--force")
    until(lambda: serial() != first, "the new certificate is shown")
    kept_answers()
    second = serial()
    with open(tls["cert"], "w") as f:
        f.write("rubbish\n")
    s.await_line(r"renew\.test")  # the log says what is wrong
    equal(serial(), second, "a broken file changes nothing")
    kept_answers()
    cert("server", "renew.test", "--force")
    until(lambda: serial() != second, "a good one counts again")
    kept_answers()


def new_certificates_by_reload():
    """SIGHUP reads certificates anew, and drops no connection."""
    tls = certificate("hup.test")
    s, address, _ = serve(tls={**tls, "reload_interval": False})
    context = ssl.create_default_context(cafile=ca_file())
    with context.wrap_socket(socket.create_connection(address, 30), server_hostname="hup.test") as kept:

        def shown():
            with context.wrap_socket(socket.create_connection(address, 30), server_hostname="hup.test") as k:
                return k.getpeercert()["serialNumber"]

        kept.sendall(b"GET /wait/300 HTTP/1.1\r\nHost: x\r\n\r\n")  # under way meanwhile
        first = shown()
        cert("server", "hup.test", "--force")
        equal(shown(), first, "nobody has looked yet")
        s.reload()
        check(shown() != first, "the new certificate is shown")
        got = b""
        while not got.endswith(b"300"):
            piece = kept.recv(4096)
            check(piece, f"the connection from before has ended: {got}")
            got += piece


BY_NAME = """
local neap = require "neap"
local folder = ...
local function pair(name) return { cert = folder .. name .. "-fullchain.pem", key = folder .. name .. "-key.pem" } end
local made, asked = {}, 0
local server = assert(neap.http.serve {
  port = 0,
  handler = function(req) return req.tls.server_name .. " " .. asked end,
  tls = {
    cert = pair "localhost".cert, key = pair "localhost".key,
    key_log = folder .. "keys.log",
    sni = function(name)
      asked = asked + 1
      if name == "" then name = "localhost" end
      if not name:find "%.test$" and name ~= "localhost" then return nil end
      neap.task.sleep(0.05) -- as if it were fetched
      made[name] = made[name] or assert(neap.tls.context(pair(name)))
      return made[name]
    end,
  },
})
print("listening on " .. server.address)
"""


def names_by_callback():
    for name in "localhost", "a.test", "late.test":
        certificate(name)
    s = Service(write("by_name.lua", BY_NAME), path("certs/"))
    address = s.address()
    for name in "a.test", "late.test", "localhost":
        out = s_client(address, "-verify_return_error", "-verify_hostname", name, name=name,
                       data=b"GET / HTTP/1.0\r\n\r\n")
        check(f"\n{name} " in out.replace("\r", ""), f"the certificate that was fetched for {name}: {out}")
    out = s_client(address, name="unknown.example", code=1)
    check("unrecognized name" in out, f"a name that nobody has: {out}")
    with open(path("certs/keys.log")) as f:
        lines = f.read().splitlines()
    check(len(lines) >= 5 and all(re.match(r"[A-Z_0-9]+ [0-9a-f]{64} [0-9a-f]{64,}$", line) for line in lines),
          "the key log, as Wireshark reads it")
    equal(oct(os.stat(path("certs/keys.log")).st_mode & 0o077), "0o0", "nobody else may read it")


STARTTLS = """
local neap = require "neap"
local cert, key = ...
local listener = assert(neap.tcp.listen({ port = 0 }, function(s)
  s:write "220 mail.test ready\\r\\n"
  for line in function() return s:read_line() end do
    if line:find "^EHLO" then
      s:write(s:tls() and "250 mail.test\\r\\n" or "250-mail.test\\r\\n250 STARTTLS\\r\\n")
    elseif line == "STARTTLS" then
      s:write "220 go ahead\\r\\n"
      local ok = s:starttls { server = true, tls = { cert = cert, key = key } }
      if not ok then return end
    elseif line == "QUIT" then
      s:write("221 bye over " .. (s:tls() and s:tls().version or "nothing") .. "\\r\\n")
      return
    else
      s:write "500 what\\r\\n"
    end
  end
end))
print("listening on " .. listener.address)
"""


def starttls():
    tls = certificate("localhost")
    s = Service(write("mail.lua", STARTTLS), tls["cert"], tls["key"])
    address = s.address()
    out = s_client(address, "-starttls", "smtp", "-verify_return_error", "-crlf", data=b"QUIT\n")
    check("Verify return code: 0 (ok)" in out, out)
    check("221 bye over TLSv1.3" in out, f"the session goes on inside TLS: {out}")
    # What was sent in plain behind STARTTLS does not count as said inside it.
    with socket.create_connection(address, 30) as raw:
        raw.recv(100)
        raw.sendall(b"EHLO x\r\n")
        got = b""
        while b"STARTTLS\r\n" not in got:
            got += raw.recv(100)
        raw.sendall(b"STARTTLS\r\nQUIT\r\n")
        got = b""
        while True:
            try:
                piece = raw.recv(100)
            except ConnectionError:
                break
            if not piece:
                break
            got += piece
        check(b"221" not in got, f"a command from outside was obeyed: {got}")


run(versions, ciphers, alpn, names, resumption, resumption_across_workers, client_certificates, ocsp, curl, python,
    node, new_certificates, new_certificates_by_reload, names_by_callback, starttls)
