"""neap's TLS clients (HTTP and plain streams) against nginx and openssl s_server."""

import os
import sys
import threading

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import peers  # noqa: E402
from peers import Nginx, ca_file, cert  # noqa: E402
from service import NEAP, Service, check, path, run, write  # noqa: E402

peers.need("openssl", "nginx")

PRELUDE = """
local neap = require "neap"
local port, certs = math.tointeger(arg[1]), arg[2]
local ca = certs .. "/ca/ca.pem"
local function equal(got, want, what)
  if got ~= want then error(("%s: wanted %s, got %s"):format(what, tostring(want), tostring(got)), 2) end
end
local function get(url, tls) return neap.http.client({ tls = tls, timeout = 20 }):get(url) end
-- The call fails in TLS, in words that match.
local function refused(pattern, what, res, err)
  if res then error(what .. ": was not refused", 2) end
  if err.code ~= "ETLS" or not err.message:find(pattern) then
    error(("%s: wanted ETLS, %s; got %s: %s"):format(what, pattern, err.code, err.message), 2)
  end
end
"""


def lua(code, port, env=None):
    peers.run(NEAP, "run", "--script-timeout", "20", write("client.lua", PRELUDE + code), port, path("certs"),
              patience=60, env=env)


def pem(name):
    return path(f"certs/{name}-fullchain.pem"), path(f"certs/{name}-key.pem")


def make_certificates():
    if os.path.exists(path("certs")):
        return
    cert("localhost")
    cert("server", "other.test")
    cert("server", "*.wild.test")
    cert("client", "alice@example.com", "--spiffe", "spiffe://example.org/alice")
    peers.run(NEAP, "cert", "localhost", "--ca", path("certs/stranger"), "--out", path("certs/strangers"))


SITE = """
  server {
    listen {0} ssl default_server;
    ssl_certificate {cert}; ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:one:1m;
    ssl_client_certificate {ca}; ssl_verify_client optional;
    keepalive_requests 100;
    root {root}/www;
    add_header X-Tls "$ssl_protocol $ssl_session_reused $ssl_server_name $ssl_client_verify";
    location = /who { return 200 "$ssl_client_s_dn"; }
    location = /close { keepalive_timeout 0; return 200 "$ssl_session_reused"; }
  }
  server { listen {1} ssl; ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2; root {root}/www; }
"""


def site():
    chain, key = pem("localhost")
    n = Nginx(SITE, ports=2, cert=chain, key=key, ca=ca_file())
    n.write("small.txt", b"small\n")
    n.write("mib.bin", bytes(range(256)) * 4096)
    return n


def nginx():
    make_certificates()
    n = site()
    lua("""
    local c = neap.http.client { base = "https://localhost:" .. port, tls = { ca = ca } }
    local res = assert(c:get "/small.txt")
    equal(res.body, "small\\n", "a file")
    equal(res.headers["x-tls"], "TLSv1.3 . localhost NONE", "what nginx saw")
    equal(#assert(c:get "/mib.bin").body, 1 << 20, "a megabyte")
    for _ = 1, 20 do assert(c:get "/small.txt") end
    res = assert(get("https://127.0.0.1:" .. port .. "/small.txt", { ca = ca }))
    equal(res.headers["x-tls"], "TLSv1.3 .  NONE", "an address is no server name")

    -- Sessions are resumed by new connections.
    c:get "/close"
    local reused = 0
    for _ = 1, 5 do
      if assert(c:get "/close").body == "r" then reused = reused + 1 end
    end
    assert(reused >= 4, "resumed " .. reused .. " of 5")

    -- Many at once.
    local calls = {}
    for i = 1, 100 do calls[i] = c:async():get "/mib.bin" end
    for i = 1, 100 do equal(#assert(calls[i]:await(30)).body, 1 << 20, "call " .. i) end
    """, n.ports[0])
    lua("""
    local c = neap.http.client { base = "https://localhost:" .. port, tls = { ca = ca } }
    equal(assert(c:get "/small.txt").body, "small\\n", "a server of TLS 1.2")
    c = neap.http.client { base = "https://localhost:" .. port, tls = { ca = ca, min_version = "1.3" } }
    refused("version", "a server of TLS 1.2 where 1.3 is the least", c:get "/small.txt")
    """, n.ports[1])


def who_is_trusted():
    make_certificates()
    n = site()
    lua("""
    local url = "https://localhost:" .. port .. "/small.txt"
    refused("verify failed", "an authority nobody knows", neap.http.get(url))
    refused("verify failed", "another authority",
      get(url, { ca = certs .. "/stranger/ca.pem" }))
    equal(assert(get(url, { verify = "none" })).status, 200, "unchecked, as was asked for")
    -- A text, a directory of hashed names, both authorities.
    equal(assert(get(url, { ca = io.open(ca):read "a" })).status, 200, "PEM text")
    equal(assert(get(url, { ca = certs .. "/hashed" })).status, 200, "a directory")
    """, n.ports[0], env={"HASHED": hashed()})
    # The system's roots are where OpenSSL's variables say.
    lua("""
    equal(assert(neap.http.get("https://localhost:" .. port .. "/small.txt")).status, 200, "the system's roots")
    """, n.ports[0], env={"SSL_CERT_FILE": ca_file()})


def hashed():
    folder = path("certs/hashed")
    os.makedirs(folder, exist_ok=True)
    with open(ca_file()) as f, open(os.path.join(folder, "ca.pem"), "w") as to:
        to.write(f.read())
    peers.run("openssl", "rehash", folder)
    return folder


def client_certificates():
    make_certificates()
    n = site()
    lua("""
    local own = certs .. "/alice-example.com-client"
    local c = neap.http.client {
      base = "https://localhost:" .. port, tls = { ca = ca, cert = own .. ".pem", key = own .. "-key.pem" },
    }
    equal(assert(c:get "/who").body, "CN=alice@example.com", "whom nginx sees")
    equal(assert(c:get "/small.txt").headers["x-tls"], "TLSv1.3 . localhost SUCCESS", "verified")
    """, n.ports[0])


class Server(Service):
    """openssl s_server with a free port."""

    def __init__(self, chain, key, *args, mode="-www"):
        super().__init__(argv=["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", chain, "-key", key,
                               "-cert_chain", chain, *([mode] if mode else []), *args])
        self.port = int(self.await_line(r"^ACCEPT .*:(\d+)").group(1))


def s_server():
    make_certificates()
    chain, key = pem("localhost")
    connect = """
    local function root() return get("https://localhost:" .. port .. "/", { ca = ca }) end
    """
    for args in ["-tls1_2"], ["-tls1_3"], ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], \
            ["-groups", "P-384"], ["-no_ticket"], ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"]:
        s = Server(chain, key, *args)
        lua(connect + "assert(assert(root()).body:find 's_server')", s.port)
        s.end()
    for args, words in ((["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], "version"),
                        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], "refused"),
                        (["-groups", "P-521"], "refused")):
        s = Server(chain, key, *args)
        lua(connect + f"refused('{words}', {' '.join(args)!r}, root())", s.port)
        s.end()


def ended():
    """A certificate and key whose time is over."""
    pem, key, request = path("certs/ended.pem"), path("certs/ended-key.pem"), path("certs/ended.csr")
    config = write("ca.conf", f"""
[ca]
default_ca = one
[one]
database = {write("index.txt", "")}
new_certs_dir = {path("certs")}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
""")
    peers.run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
              "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", request)
    peers.run("openssl", "ca", "-batch", "-selfsign", "-config", config, "-in", request, "-keyfile", key, "-out", pem,
              "-notext", "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
    return pem, key


def wrong_certificates():
    make_certificates()
    chain, key = pem("other.test")
    s = Server(chain, key)
    lua("""
    local url = "https://localhost:" .. port .. "/"
    refused("not for localhost", "another name", get(url, { ca = ca }))
    refused("not for 127.0.0.1", "another name", get("https://127.0.0.1:" .. port .. "/", { ca = ca }))
    equal(assert(get(url, { ca = ca, check_name = false })).status, 200, "unchecked")
    local c = neap.http.client { base = "https://localhost:" .. port, tls = { ca = ca }, tls_name = "other.test" }
    equal(assert(c:get "/").status, 200, "the name it is told")
    """, s.port)
    s.end()
    chain, key = pem("_wildcard.wild.test")
    s = Server(chain, key)
    lua("""
    for name, good in pairs { ["a.wild.test"] = true, ["A.Wild.Test"] = true, ["a.b.wild.test"] = false,
                              ["wild.test"] = false } do
      local c = neap.http.client { base = "https://localhost:" .. port, tls = { ca = ca }, tls_name = name }
      local res, err = c:get "/"
      equal(res and 200 or err.code, good and 200 or "ETLS", name)
    end
    """, s.port)
    s.end()
    s = Server(*ended())
    lua("""
    refused("expired", "one that has ended", get("https://localhost:" .. port .. "/", { ca = certs .. "/ended.pem" }))
    """, s.port)
    s.end()
    peers.run(NEAP, "cert", "crl", "--revoke", path("certs/localhost.pem"), "--ca", path("certs/ca"))
    chain, key = pem("localhost")
    s = Server(chain, key)
    lua("""
    local url = "https://localhost:" .. port .. "/"
    refused("revoked", "a revoked one", get(url, { ca = ca, crl = certs .. "/ca/crl.pem" }))
    equal(assert(get(url, { ca = ca })).status, 200, "when nobody asks")
    """, s.port)


def plain_streams():
    """neap.tcp with TLS: ALPN, what was agreed, and ends that are proper or are not."""
    make_certificates()
    chain, key = pem("localhost")
    s = Server(chain, key, "-rev", "-alpn", "two,three", mode=None)
    lua("""
    local t = assert(neap.tcp.connect("localhost", port, { tls = { ca = ca, alpn = { "one", "two" } } }))
    local info = t:tls()
    equal(info.version, "TLSv1.3", "version")
    equal(info.alpn, "two", "ALPN")
    equal(info.verified, true, "verified")
    equal(info.peer.common_name, "localhost", "whose certificate")
    for i = 1, 50 do
      t:write("abc" .. i .. "\\n")
      equal(t:read_line(), ("abc" .. i):reverse(), "turned round")
    end
    t:close()
    """, s.port)
    s.end()
    # A connection that is cut is no end.
    listener = peers.listening_socket()
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    def cut():
        for proper in (False, True):
            raw, _ = listener.accept()
            tls = context.wrap_socket(raw, server_side=True)
            tls.sendall(b"half of it")
            if proper:
                tls.unwrap().close()
            else:
                os.close(tls.detach())

    thread = threading.Thread(target=cut, daemon=True)
    thread.start()
    lua("""
    local t = assert(neap.tcp.connect("localhost", port, { tls = { ca = ca } }))
    equal(t:read(), "half of it", "what came")
    local more, err = t:read()
    equal(more, nil, "no more")
    equal(err and err.code, "ECONNRESET", "cut short is an error")
    t:close()
    t = assert(neap.tcp.connect("localhost", port, { tls = { ca = ca } }))
    equal(t:read(), "half of it", "what came")
    more, err = t:read()
    equal(more, nil, "no more")
    equal(err.code, "EOF", "a proper end")
    t:close()
    """, listener.getsockname()[1])
    listener.close()


def starttls():
    """A client that begins in plain and goes over: openssl's own smtp server side is none, so Python plays it."""
    import ssl
    make_certificates()
    chain, key = pem("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    listener = peers.listening_socket()
    heard = []

    def mail():
        raw, _ = listener.accept()
        raw.sendall(b"220 ready\r\n")
        heard.append(raw.recv(100))
        raw.sendall(b"220 go ahead\r\n")
        tls = context.wrap_socket(raw, server_side=True)
        heard.append(tls.recv(100))
        tls.sendall(b"221 bye\r\n")
        tls.unwrap().close()

    thread = threading.Thread(target=mail, daemon=True)
    thread.start()
    lua("""
    local s = assert(neap.tcp.connect("127.0.0.1", port))
    equal(s:read_line(), "220 ready", "greeting")
    s:write "STARTTLS\\r\\n"
    equal(s:read_line(), "220 go ahead", "go ahead")
    assert(s:starttls { tls = { ca = ca }, server_name = "localhost" })
    equal(s:tls().verified, true, "verified")
    s:write "QUIT\\r\\n"
    equal(s:read_line(), "221 bye", "inside")
    s:close()
    """, listener.getsockname()[1])
    thread.join(10)
    check(heard == [b"STARTTLS\r\n", b"QUIT\r\n"], f"what it heard: {heard}")
    listener.close()


run(nginx, who_is_trusted, client_certificates, s_server, wrong_certificates, plain_streams, starttls)
