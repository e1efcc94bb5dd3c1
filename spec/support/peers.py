"""Programs of others that neap is tested with: curl, nginx, Node, OpenSSL.

They come from Debian's packages (scripts/lib.sh, test_packages). `need` skips the test where one is missing. Their
ports are free ones of the kernel's choosing: nginx is given its listening sockets.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys

import service
from service import NEAP, SOURCE, Failed, Service, check, path, write

BUILD = os.environ.get("NEAP_BUILD", os.path.join(SOURCE, "build"))
# Debian's nginx and nodejs may stand where a user's PATH does not look.
os.environ["PATH"] += ":/usr/sbin:/usr/local/sbin:/sbin"


def need(*programs):
    """Ends the test as skipped when one of them is not installed; call it before anything is started."""
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        print("skipped: not installed:", *missing)
        service._clean()
        sys.exit(77)


def run(*argv, data=None, code=0, patience=30, env=None):
    """Runs it to its end; its output as text. `code`: what it must exit with, None: anything."""
    argv = [str(a) for a in argv]
    try:
        done = subprocess.run(argv, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=patience,
                              preexec_fn=service._end_with_test, env={**os.environ, **(env or {})},
                              stdin=None if data is not None else subprocess.DEVNULL)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"not done within {patience} s: {' '.join(argv)}\n{late.stdout}") from None
    out = done.stdout.decode(errors="replace")
    check(code is None or done.returncode == code, f"{' '.join(argv)}: exit code {done.returncode}, not {code}\n{out}")
    return out


class Curl:
    """curl's side of one request."""

    def __init__(self, *args, data=None, code=0, patience=30):
        """`code`: what curl must exit with. Of several URLs `body` is the first one's, `status` and `headers` the
        last one's; `connects` counts the connections made for all of them."""
        head = path("curl.head")
        body = path("curl.body")
        for old in (head, body):
            open(old, "w").close()
        self.told = run("curl", "-q", "-sS", "--max-time", patience, "-D", head, "-o", body,
                        "-w", "\n@@ %{http_code} %{http_version} %{num_connects}\n",
                        *args, data=data, code=code, patience=patience + 5)
        with open(body, "rb") as f:
            self.bytes = f.read()
        with open(head, encoding="latin-1", newline="") as f:
            self.head = f.read()
        self.body = self.bytes.decode(errors="replace")
        told = re.findall(r"^@@ (\d+) (\S+) (\d+)$", self.told, re.M)
        if told:
            self.status, self.version = int(told[-1][0]), told[-1][1]
            self.connects = sum(int(t[2]) for t in told)
        # Of the last head, with those of redirects and 1xx before it; trailers come last.
        self.heads = [h for h in self.head.split("\r\n\r\n") if h]
        self.headers = {}
        for line in self.heads[-1].split("\r\n")[1:] if self.heads else ():
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()


def serve(**options):
    """spec/e2e/http_peer_service.lua with options of neap.http.serve: the service, (host, port), its URL."""
    s = Service(os.path.join(SOURCE, "spec/e2e/http_peer_service.lua"), json.dumps(options))
    address = s.address()
    scheme = "https" if "tls" in options else "http"
    return s, address, f"{scheme}://127.0.0.1:{address[1]}"


def listening_socket():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(128)
    return s


class Nginx(Service):
    """nginx with `servers` (a format string; {0}, {1} … are its ports) in the http block, until the test ends."""

    def __init__(self, servers, ports=1, http="", top="", stream="", **values):
        self.sockets = [listening_socket() for _ in range(ports)]
        self.ports = [s.getsockname()[1] for s in self.sockets]
        self.root = path(f"nginx-{self.ports[0]}")
        os.makedirs(os.path.join(self.root, "www"), exist_ok=True)
        def port(match):
            return f"127.0.0.1:{self.ports[int(match.group(1))]}"

        body = re.sub(r"\{(\d+)\}", port, servers)
        stream = re.sub(r"\{(\d+)\}", port, stream)
        for name, value in {**values, "root": self.root}.items():
            body = body.replace("{" + name + "}", str(value))
        temporary = "\n".join(f"  {kind}_temp_path {self.root}/{kind};"
                              for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        # Started by root, its worker would be somebody who cannot read the test's files.
        user = " user root;" if os.geteuid() == 0 else ""
        self.config = write(f"nginx-{self.ports[0]}.conf", f"""{top}
daemon off; worker_processes 1;{user} pid {self.root}/pid; error_log stderr warn;
events {{ worker_connections 512; }}
http {{
{temporary}
  access_log {self.root}/access.log;
  types {{ text/html html; text/plain txt; application/json json; }}
  default_type application/octet-stream;
  {http}
{body}
}}
{"stream {" + stream + "}" if stream else ""}
""")
        fds = [s.fileno() for s in self.sockets]
        # A master that is killed leaves its workers: when the test goes, it is asked instead.
        argv = ["setpriv", "--pdeathsig", "TERM", "nginx", "-e", "stderr", "-p", self.root, "-c", self.config]
        super().__init__(argv=argv,
                         env={"NGINX": "".join(f"{fd};" for fd in fds)}, pass_fds=fds)
        self.address = ("127.0.0.1", self.ports[0])

    def write(self, name, data):
        """A file under {root}/www."""
        with open(os.path.join(self.root, "www", name), "wb") as f:
            f.write(data)

    def url(self, at="/", port=0):
        return f"http://127.0.0.1:{self.ports[port]}{at}"


def node_package(name, version):
    """The directory to give as NODE_PATH: npm's, or Debian's; None where the package cannot be had."""
    debian = "/usr/share/nodejs"
    debian = debian if os.path.isdir(os.path.join(debian, name)) else None
    folder = os.path.join(BUILD, f"node-{name}-{version}")
    modules = os.path.join(folder, "node_modules")
    if os.path.isdir(os.path.join(modules, name)):
        return modules
    if not shutil.which("npm"):
        return debian
    try:
        run("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder,
            f"{name}@{version}", patience=60)
    except Failed as why:
        print(f"{name} cannot be installed: {why}")
        shutil.rmtree(folder, ignore_errors=True)
        return debian
    return modules


def cert(*args):
    """`neap cert ARGS` with an authority of the test's own, in the test's folder."""
    os.makedirs(path("certs"), exist_ok=True)
    return run(NEAP, "cert", *args, "--ca", path("certs/ca"), "--out", path("certs"))


def ca_file():
    return path("certs/ca/ca.pem")
