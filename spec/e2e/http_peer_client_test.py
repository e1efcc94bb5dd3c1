"""neap.http.client against other people's servers: nginx, Python's http.server, Node."""

import os
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import peers  # noqa: E402
from peers import Nginx  # noqa: E402
from service import NEAP, Service, check, equal, path, run, write  # noqa: E402

peers.need("nginx")

PRELUDE = """
local neap = require "neap"
local base = ...
local function equal(got, want, what)
  if got ~= want then error(("%s: wanted %s, got %s"):format(what, tostring(want), tostring(got)), 2) end
end
"""


def lua(code, *args, env=None):
    """Runs a script with the base URL as its argument; it must end well."""
    file = write("client.lua", PRELUDE + code)
    return peers.run(NEAP, "run", "--script-timeout", "20", file, *args, patience=60, env=env)


# --- nginx

SERVER = """
  server {
    listen {0};
    root {root}/www;
    client_max_body_size 20m;
    client_body_buffer_size 64k;
    location / { }
    location /dir { }
    location = /moved { return 301 /small.txt; }
    location = /loop { return 302 /loop; }
    location = /post303 { return 303 /small.txt; }
    location = /empty { return 204; }
    location = /teapot { return 418 "short and stout"; }
    location = /cookie {
      add_header Set-Cookie "a=1; Path=/";
      add_header Set-Cookie "b=2; Path=/";
      return 200 "$http_cookie";
    }
    location = /echo-host { return 200 "$host $http_user_agent"; }
    location = /close { keepalive_timeout 0; return 200 "closes"; }
    location = /after3 { keepalive_requests 3; add_header X-Connection $connection; return 200 "ok"; }
    location = /slow { limit_rate 40k; limit_rate_after 1k; alias {root}/www/mib.bin; }
    location = /cut { return 444; }
    location /upload/ { dav_methods PUT DELETE; create_full_put_path on; alias {root}/www/; }
  }
  server { listen {1}; keepalive_timeout 0; root {root}/www; }
  server { listen {2}; gzip on; gzip_min_length 1; gzip_types *; gzip_comp_level 1; root {root}/www; }
"""


def nginx():
    n = Nginx(SERVER, ports=3)
    n.write("small.txt", b"small\n")
    n.write("empty.txt", b"")
    n.write("text.txt", b"the quick brown fox\n" * 20000)
    n.write("mib.bin", bytes(range(256)) * 4096)
    return n


def static_files():
    n = nginx()
    lua("""
    local c = neap.http.client { base = base }
    local res = assert(c:get "/small.txt")
    equal(res.status, 200, "status")
    equal(res.body, "small\\n", "body")
    equal(res.headers["content-type"], "text/plain", "type")
    equal(assert(c:head "/mib.bin").headers["content-length"], "1048576", "HEAD")
    local all = {}
    for i = 0, 255 do all[#all + 1] = string.char(i) end
    local mib = table.concat(all):rep(4096)
    equal(assert(c:get "/mib.bin").body, mib, "a megabyte")
    equal(assert(c:get "/empty.txt").body, "", "an empty file")
    equal(assert(c:get "/empty").status, 204, "no content")
    equal(assert(c:get "/nowhere").status, 404, "no file")
    equal(assert(c:get "/teapot").body, "short and stout", "any status")

    -- A range, and what has not changed.
    res = assert(c:get("/mib.bin", { headers = { range = "bytes=1000-1009" } }))
    equal(res.status, 206, "a range")
    equal(res.body, mib:sub(1001, 1010), "its bytes")
    res = assert(c:get("/small.txt", { headers = { ["if-none-match"] = assert(c:get "/small.txt").headers.etag } }))
    equal(res.status, 304, "not modified")
    equal(res.body, "", "no body with 304")

    -- Streamed, and left in the middle.
    res = assert(c:get("/mib.bin", { stream = true }))
    local n = 0
    for piece in res:chunks() do n = n + #piece end
    equal(n, #mib, "streamed")
    res = assert(c:get("/mib.bin", { stream = true }))
    assert(res:read())
    res:close()
    equal(assert(c:get "/small.txt").status, 200, "after one that was left")
    """, n.url())


def redirects_and_cookies():
    n = nginx()
    lua("""
    local c = neap.http.client { base = base, cookies = true, headers = { ["user-agent"] = "neap-test" } }
    equal(assert(c:get "/moved").body, "small\\n", "a redirect")
    equal(assert(c:post("/post303", { body = "x" })).body, "small\\n", "303 makes it a GET")
    equal(assert(c:get("/moved", { redirects = 0 })).status, 301, "not followed")
    local res, err = c:get "/loop"
    equal(res, nil, "a loop")
    equal(err.code, "EREDIRECTS", "a loop's error")
    assert(c:get "/cookie")
    equal(assert(c:get "/cookie").body, "a=1; b=2", "cookies come back")
    equal(assert(c:get "/echo-host").body, "127.0.0.1 neap-test", "host and agent")
    """, n.url())


def keep_alive():
    """Connections are reused as far as nginx lets them; when it closes, no call fails."""
    n = nginx()
    lua("""
    local c = neap.http.client { base = base }
    local seen, count = {}, 0
    for i = 1, 30 do
      local id = assert(c:get "/after3").headers["x-connection"]
      if not seen[id] then seen[id], count = true, count + 1 end
    end
    equal(count, 10, "connections of 30 requests, when nginx closes each after 3")
    for i = 1, 20 do equal(assert(c:get "/close").body, "closes", "one that is closed after each answer") end
    """, n.url())
    lua("""
    local c = neap.http.client { base = base }
    for i = 1, 20 do equal(assert(c:get "/small.txt").body, "small\\n", "no keep-alive at all") end
    """, n.url(port=1))


def compressed():
    n = nginx()
    lua("""
    local c = neap.http.client { base = base }
    local res = assert(c:get "/text.txt")
    equal(res.body, ("the quick brown fox\\n"):rep(20000), "gzip, decoded")
    res = assert(c:get("/text.txt", { stream = true }))
    local n = 0
    for piece in res:chunks() do n = n + #piece end
    equal(n, 400000, "gzip, decoded as it comes")
    """, n.url(port=2))


def uploads_and_failures():
    n = nginx()
    lua("""
    local c = neap.http.client { base = base }
    local left = 100
    local res = assert(c:put("/upload/new.bin", { body = function()
      left = left - 1
      return left >= 0 and ("x"):rep(10000) or nil
    end }))
    equal(res.status, 201, "an upload in chunks")
    equal(#assert(c:get "/new.bin").body, 1000000, "what was stored")
    res = assert(c:put("/upload/new.bin", { body = ("y"):rep(3000000) }))
    equal(res.status, 204, "an upload of known length")
    equal(#assert(c:get "/new.bin").body, 3000000, "what was stored then")

    -- Larger than nginx takes: its answer is heard though it stops reading.
    res = assert(c:put("/upload/large.bin", { body = ("z"):rep(30000000), headers = { expect = "100-continue" } }))
    equal(res.status, 413, "too large")

    local none, err = c:get "/cut"
    equal(none, nil, "a connection that is cut")
    assert(err.code == "ECONNRESET" or err.code == "EOF" or err.code == "EPROTO", err.code)
    none, err = c:get("/slow", { timeout = 0.3 })
    equal(none, nil, "a slow answer")
    equal(err.code, "ETIMEDOUT", "its error")
    equal(assert(c:get "/small.txt").status, 200, "after all that")
    """, n.url())


def many_at_once():
    n = nginx()
    lua("""
    local c = neap.http.client { base = base }
    local calls = {}
    for i = 1, 300 do calls[i] = c:async():get(i % 3 == 0 and "/text.txt" or "/small.txt") end
    for i = 1, 300 do
      local res = assert(calls[i]:await(30))
      equal(#res.body, i % 3 == 0 and 400000 or 6, "call " .. i)
    end
    """, n.url())


# --- Python's http.server


def python_http_server():
    os.makedirs(path("www"), exist_ok=True)
    with open(path("www/a.txt"), "wb") as f:
        f.write(b"from python\n" * 10000)
    s = Service(argv=[sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "-d", path("www")])
    port = int(s.await_line(r"port (\d+)").group(1))
    lua("""
    local c = neap.http.client { base = base }
    for i = 1, 10 do -- HTTP/1.0: each on its own connection, the end is the connection's
      local res = assert(c:get "/a.txt")
      equal(#res.body, 120000, "a file")
    end
    equal(assert(c:get "/").status, 200, "a listing")
    equal(assert(c:get "/none").status, 404, "no file")
    equal(assert(c:post("/a.txt", { body = "x" })).status, 501, "a method it has not")
    """, f"http://127.0.0.1:{port}")


# --- Node

NODE = """
const http = require('http');
const server = http.createServer((req, res) => {
  if (req.url === '/trailers') {
    res.writeHead(200, { Trailer: 'X-Sum' });
    res.write('body');
    res.addTrailers({ 'X-Sum': '42' });
    res.end();
  } else if (req.url === '/early') {
    res.writeEarlyHints({ link: '</a.css>; rel=preload' }, () => res.end('late'));
  } else if (req.url === '/drip') {
    let n = 0;
    const timer = setInterval(() => { res.write('drop'); if (++n === 5) { clearInterval(timer); res.end(); } }, 5);
  } else if (req.url === '/half') {
    res.writeHead(200, { 'Content-Length': 1000 });
    res.write('only this', () => req.socket.destroy());
  } else {
    res.setHeader('X-Seen', JSON.stringify(req.headers));
    req.pipe(res);
  }
});
server.keepAliveTimeout = 50; // closes under a client that keeps a connection
server.listen(0, '127.0.0.1', () => console.log('port ' + server.address().port));
"""


def node_server():
    if not peers.shutil.which("node"):
        print("node is not installed")
        return
    s = Service(argv=["node", write("server.js", NODE)])
    port = int(s.await_line(r"port (\d+)").group(1))
    lua("""
    local c = neap.http.client { base = base }
    equal(assert(c:post("/", { body = ("abc"):rep(100000) })).body, ("abc"):rep(100000), "an echo")
    local left = 50
    equal(#assert(c:post("/", { body = function()
      left = left - 1
      return left >= 0 and ("p"):rep(7777) or nil
    end })).body, 50 * 7777, "an echo of chunks")
    equal(assert(c:get "/early").body, "late", "the answer after 103")
    equal(assert(c:get "/trailers").body, "body", "a body before trailers")
    equal(assert(c:get "/drip").body, ("drop"):rep(5), "drop by drop")
    local none, err = c:get "/half"
    equal(none, nil, "half an answer")
    assert(err.code == "ECONNRESET" or err.code == "EOF" or err.code == "EPROTO", err.code)
    -- Connections that Node closes while they are kept are no failures of calls that find them.
    for i = 1, 12 do
      equal(assert(c:get "/").status, 200, "after a pause")
      neap.task.sleep(0.044 + i * 0.001)
    end
    """, f"http://127.0.0.1:{port}")


run(static_files, redirects_and_cookies, keep_alive, compressed, uploads_and_failures, many_at_once,
    python_http_server, node_server)
