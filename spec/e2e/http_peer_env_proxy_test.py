"""neap.http.client through proxies that the environment names: a proxy of Python's, http and https behind it."""

import base64
import http.server
import os
import select
import socket
import ssl
import sys
import threading
import urllib.request

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import peers  # noqa: E402
from service import NEAP, equal, path, run, write  # noqa: E402

for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"{self.path} for {self.headers['Host']} {self.headers.get('Proxy-Authorization', 'clean')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wanted = "Basic " + base64.b64encode(b"ann:p:w").decode()

    def allowed(self):
        self.server.seen.append(f"{self.command} {self.path}")
        if self.headers.get("Proxy-Authorization") == self.wanted:
            return True
        self.send_response(407)
        self.send_header("Proxy-Authenticate", "Basic")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def do_GET(self):
        if not self.allowed():
            return
        request = urllib.request.Request(self.path)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as res:
            body = res.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self):
        if not self.allowed():
            return
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((host.strip("[]"), int(port))) as far:
            self.send_response(200, "Connection established")
            self.end_headers()
            ends = {self.connection: far, far: self.connection}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        self.close_connection = True
                        return
                    ends[end].sendall(data)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler, context=None):
        super().__init__(("127.0.0.1", 0), handler)
        self.seen = []
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]


def secure():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path("certs/127.0.0.1-fullchain.pem"), path("certs/127.0.0.1-key.pem"))
    return context


def ask(url, **env):
    """What neap prints for a URL: status and body, or the error."""
    file = write("ask.lua", """
      local neap = require "neap"
      local url, ca = ...
      local client = neap.http.client { tls = { ca = ca }, timeout = 20 }
      for i = 1, 2 do
        local res, err = client:get(url)
        print(res and res.status or err.code, res and res.body or err.phase)
      end
    """)
    lines = peers.run(NEAP, "run", file, url, peers.ca_file(), env=env, patience=60).splitlines()
    equal(lines[0], lines[1], "the second call")
    return lines[0]


def plain_calls_go_through_it():
    origin, proxy = Server(Origin), Server(Proxy)
    url = f"http://127.0.0.1:{origin.port}/a?b"
    by = f"http://ann:p%3Aw@127.0.0.1:{proxy.port}"
    answer = f"200\t/a?b for 127.0.0.1:{origin.port} clean"
    equal(ask(url, http_proxy=by), answer, "by http_proxy")
    equal(proxy.seen, [f"GET {url}"] * 2, "what the proxy saw")
    equal(ask(url, all_proxy=by), answer, "by all_proxy")
    equal(len(proxy.seen), 4, "calls by the proxy")
    equal(ask(url, http_proxy=by, no_proxy="10.0.0.0/8,127.0.0.0/8"), answer, "past it")
    equal(ask(url, HTTP_PROXY=by), answer, "HTTP_PROXY is a header of CGI's")
    equal(ask(url, https_proxy=by), answer, "https_proxy is not for http")
    equal(len(proxy.seen), 4, "calls by the proxy")
    equal(ask(url, http_proxy=f"127.0.0.1:{proxy.port}"), "407\t", "without a password")


def https_goes_through_a_tunnel():
    origin, proxy = Server(Origin, secure()), Server(Proxy)
    url = f"https://127.0.0.1:{origin.port}/s"
    by = f"http://ann:p%3Aw@127.0.0.1:{proxy.port}"
    answer = f"200\t/s for 127.0.0.1:{origin.port} clean"
    equal(ask(url, HTTPS_PROXY=by), answer, "by HTTPS_PROXY")
    equal(proxy.seen, [f"CONNECT 127.0.0.1:{origin.port}"], "one tunnel for both calls")
    equal(ask(url, https_proxy=by, no_proxy="*"), answer, "past it")
    equal(len(proxy.seen), 1, "tunnels")
    equal(ask(url, https_proxy=f"http://127.0.0.1:{proxy.port}"), "EPROXY\tproxy", "without a password")
    equal(ask(url, https_proxy="http://127.0.0.1:1"), "ECONNREFUSED\tconnect", "nobody there")


peers.cert("server", "127.0.0.1", "localhost")
run(plain_calls_go_through_it, https_goes_through_a_tunnel)
