"""What stands in front of a server: PROXY headers as curl, nginx and HAProxy send them, unix sockets, access logs.

Peers that are not installed are passed over.
"""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s

SCRIPT = """
local neap = require "neap"
local function listen(name, opts)
  opts.handler = function(req)
    local p = req.proxy
    return { client = req.client, remote = req.remote, scheme = req.scheme, host = req.host, url = req.url,
      version = p and p.version, ssl = p and p.ssl and p.ssl.version, id = req.id,
      uid = req.remote:find "^unix:" and assert(req:peer_credentials()).uid or nil }
  end
  local server = assert(neap.http.serve(opts))
  if neap.worker.id == 0 then print(name .. " listening on " .. server.address) end
end
listen("proxied", { proxy_protocol = { trusted = { "127.0.0.0/8" } } })
listen("trusting", { trusted_proxies = { "127.0.0.1" } })
listen("unix", { unix = arg[1] .. "/s.sock", unix_mode = 384, trusted_proxies = { "unix" } })
listen("abstract", { unix = "@neap-e2e-" .. arg[2] })
listen("logged", { port = 0, access_log = { path = arg[1] .. "/access.log", flush = 0.01,
  format = "$worker $status $target $bytes $client" } })
listen("json", { access_log = { path = arg[1] .. "/json.log", format = "json", flush = 0.01 } })
print("ready")
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(*options, fresh=True):
    if fresh:
        shutil.rmtree(s.path("run"), ignore_errors=True)
    os.makedirs(s.path("run"), exist_ok=True)
    service = s.Service(s.write("front.lua", SCRIPT), s.path("run"), str(os.getpid()), options=options)
    service.await_line("^ready")
    return service


def address(service, name):
    return service.await_line(rf"^{name} listening on (\S+)").group(1)


def curl(*args):
    done = subprocess.run(["curl", "-sS", "--max-time", "30", *args], capture_output=True, text=True, check=False)
    s.equal(done.returncode, 0, f"curl {' '.join(args)}: {done.stderr}")
    return json.loads(done.stdout)


def slurp(name):
    try:
        with open(s.path(name)) as f:
            return f.read()
    except FileNotFoundError:
        return ""


class Peer:
    """A proxy in the foreground, until the test ends."""

    def __init__(self, port, *argv):
        self.service = s.Service(argv=list(argv))
        s.until(lambda: self.answers(port), f"{argv[0]} listens")

    @staticmethod
    def answers(port):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0


def curl_sends_a_header():
    service = start()
    url = "http://" + address(service, "proxied")
    got = curl("--haproxy-protocol", url + "/a?b=1")
    s.equal(got["version"], 1, "the version curl sends")
    s.check(re.fullmatch(r"127\.0\.0\.1:\d+", got["remote"]), f"its own address: {got['remote']}")
    done = subprocess.run(["curl", "-sS", url], capture_output=True, text=True, check=False)
    s.check(done.returncode != 0, "a connection without a header was served")
    service.await_line("does not begin with a PROXY header")


def haproxy_sends_both_versions():
    if not shutil.which("haproxy"):
        print("haproxy is not installed: passed over")
        return
    service = start()
    to = address(service, "proxied")
    for option, version in (("send-proxy", 1), ("send-proxy-v2", 2), ("send-proxy-v2 proxy-v2-options crc32c,unique-id", 2)):
        port = free_port()
        config = s.write("haproxy.cfg", f"""
defaults
  mode http
  timeout connect 10s
  timeout client 30s
  timeout server 30s
frontend f
  bind 127.0.0.1:{port}
  unique-id-format %ci-%rt
  option forwardfor
  default_backend b
backend b
  server one {to} {option}
""")
        peer = Peer(port, "haproxy", "-db", "-f", config)
        got = curl(f"http://127.0.0.1:{port}/a")
        s.equal(got["version"], version, f"the version of {option}")
        s.check(got["remote"].startswith("127.0.0.1:"), f"the client behind haproxy: {got['remote']}")
        peer.service.end()


def nginx_forwards():
    if not shutil.which("nginx"):
        print("nginx is not installed: passed over")
        return
    service = start()
    port = free_port()
    stream = "/usr/lib/nginx/modules/ngx_stream_module.so"
    stream_port = free_port()
    config = f"""
daemon off; master_process off; pid {s.path('nginx.pid')}; error_log stderr;
{f'load_module {stream};' if os.path.exists(stream) else ''}
events {{}}
http {{
  access_log off;
  client_body_temp_path {s.path('nginx')}; proxy_temp_path {s.path('nginx')}; fastcgi_temp_path {s.path('nginx')};
  uwsgi_temp_path {s.path('nginx')}; scgi_temp_path {s.path('nginx')};
  server {{
    listen 127.0.0.1:{port};
    location /unix/ {{ proxy_pass http://unix:{s.path('run')}/s.sock:/;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto https; }}
    location / {{
      proxy_pass http://{address(service, 'trusting')};
      proxy_set_header Host inside;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto https;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Request-Id nginx-7;
    }}
  }}
}}
"""
    if os.path.exists(stream):
        config += f"""
stream {{ server {{ listen 127.0.0.1:{stream_port}; proxy_pass {address(service, 'proxied')}; proxy_protocol on; }} }}
"""
    Peer(port, "nginx", "-p", s.path("."), "-c", s.write("nginx.conf", config))
    # 127.0.0.1 is a trusted proxy, so the client in front of it is believed.
    got = curl("-H", "X-Forwarded-For: 6.6.6.6", "-H", "Forwarded: for=7.7.7.7", "-H", "Host: shop.test",
               f"http://127.0.0.1:{port}/a?b=1")
    s.equal((got["client"], got["scheme"], got["host"], got["url"], got["id"]),
            ("6.6.6.6", "https", "shop.test", "https://shop.test/a?b=1", "nginx-7"), "what nginx forwards")
    got = curl("-H", "X-Forwarded-For: 6.6.6.6", f"http://127.0.0.1:{port}/unix/a")
    s.equal((got["client"], got["scheme"], got["uid"]), ("127.0.0.1", "https", os.getuid()), "by a unix socket")
    if os.path.exists(stream):
        got = curl(f"http://127.0.0.1:{stream_port}/")
        s.equal(got["version"], 1, "the version nginx sends")


def unix_sockets():
    service = start()
    got = curl("--unix-socket", s.path("run") + "/s.sock", "http://shop.test/a")
    s.equal((got["remote"], got["uid"], got["host"]), ("unix:", os.getuid(), "shop.test"), "a unix socket's client")
    got = curl("--abstract-unix-socket", f"neap-e2e-{os.getpid()}", "http://shop.test/a")
    s.equal(got["uid"], os.getuid(), "an abstract socket's client")
    s.equal(os.stat(s.path("run") + "/s.sock").st_mode & 0o777, 0o600, "the socket's mode")
    os.kill(service.pid, signal.SIGKILL)  # its socket file stays, and is stale
    service.ended()
    s.check(os.path.exists(s.path("run") + "/s.sock"), "the socket file of a process that was killed")
    second = start(fresh=False)
    curl("--unix-socket", s.path("run") + "/s.sock", "http://shop.test/a")
    second.signal(signal.SIGTERM)
    s.equal(second.ended(), 0, "the exit code")
    s.check(not os.path.exists(s.path("run") + "/s.sock"), "the socket file stayed")


def access_logs_rotate():
    service = start("--workers", "2")
    to = address(service, "logged").split(":")
    to = (to[0], int(to[1]))
    total, rounds = 0, 3
    names = []
    for i in range(rounds):
        clients = [s.Client(to) for _ in range(6)]
        for k in range(50):
            for c in clients:
                c.get(f"/{i}/{k}")
        for c in clients:
            c.close()
        total += 300
        name = f"run/access.log.{i}"
        names.append(name)
        if i == 0:
            s.until(lambda: slurp("run/access.log"), "lines come while the service runs")
        os.rename(s.path("run/access.log"), s.path(name))
        service.signal(signal.SIGUSR1)
        s.until(lambda: os.path.exists(s.path("run/access.log")), "the file is opened anew")
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")
    lines = "".join(slurp(n) for n in names + ["run/access.log"]).splitlines()
    s.equal(len(lines), total, "lines in all files")
    bad = [line for line in lines if not re.fullmatch(r"[01] 200 /\d/\d+ \d+ 127\.0\.0\.1", line)]
    s.equal(bad, [], "lines that are none")


def access_logs_belong_to_the_services_user():
    if os.getuid() != 0:
        print("not root: passed over")
        return
    user = pwd.getpwnam("nobody")
    shutil.rmtree(s.path("run"), ignore_errors=True)
    os.makedirs(s.path("run"))
    os.chmod(s.path("."), 0o755)
    os.chown(s.path("run"), user.pw_uid, user.pw_gid)
    service = start("--user", "nobody", fresh=False)
    to = address(service, "logged").split(":")
    to = (to[0], int(to[1]))
    for i in range(2):
        s.get(to, f"/{i}")
        s.until(lambda: f"/{i} " in slurp("run/access.log"), "the line")
        s.equal(os.stat(s.path("run/access.log")).st_uid, user.pw_uid, "the file's owner")
        os.rename(s.path("run/access.log"), s.path(f"run/old.{i}"))
        service.signal(signal.SIGUSR1)
        s.until(lambda: os.path.exists(s.path("run/access.log")), "the file is opened anew")


def access_logs_outlive_reloads():
    """Not one request goes unlogged, whichever code answered it; keep-alive connections go over."""
    service = start("--workers", "2")
    host, port = address(service, "logged").split(":")
    load = s.Load((host, int(port)), connections=8, bodies=False)
    for _ in range(3):
        service.reload()
    figures = load.stop()
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")
    lines = slurp("run/access.log").splitlines()
    answered = [line for line in lines if re.fullmatch(r"[01] 200 / \d+ 127\.0\.0\.1", line)]
    left = [line for line in lines if re.fullmatch(r"[01] 499 / 0 127\.0\.0\.1", line)]
    s.equal(len(answered) + len(left), len(lines), "whole lines")
    s.check(figures["requests"] <= len(answered) <= figures["requests"] + 8,
            f"{figures['requests']} requests, {len(answered)} lines")


def proxied_connections_outlive_reloads():
    service = start()
    host, port = address(service, "proxied").split(":")
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    kept, late = (socket.create_connection((host, int(port))) for _ in range(2))
    kept.sendall(header + request)
    s.check(b"192.0.2.1" in kept.recv(4096), "an answer")
    late.sendall(header[:10])
    service.reload()
    kept.sendall(request)
    s.check(b"192.0.2.1" in kept.recv(4096), "an answer of the new code")
    late.sendall(header[10:] + request)
    s.check(b"192.0.2.1" in late.recv(4096), "an answer to whose header came during the reload")
    kept.close()
    late.close()
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def what_clients_send_is_escaped():
    service = start()
    host, port = address(service, "json").split(":")
    for text in (b"GET /%s HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\"\\\r\n\r\n" % (b"x" * 5000), b"\x16\x03\x01\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: a\r\nReferer: {\"a\":1}\r\n\r\n"):
        with socket.create_connection((host, int(port))) as c:
            c.sendall(text)
            c.recv(100)
    s.until(lambda: slurp("run/json.log").count("\n") == 3, "three lines")
    entries = [json.loads(line) for line in slurp("run/json.log").splitlines()]
    s.equal([e["status"] for e in entries], [200, 400, 200], "what was answered")
    s.equal((entries[0]["user_agent"], entries[2]["referer"]), ("\xff\"\\", "{\"a\":1}"), "what was sent")


s.run(curl_sends_a_header, haproxy_sends_both_versions, nginx_forwards, unix_sockets, access_logs_rotate,
      access_logs_belong_to_the_services_user, access_logs_outlive_reloads, proxied_connections_outlive_reloads,
      what_clients_send_is_escaped)
