"""Content codings with other people's: curl --compressed, the gzip and zstd programs, Python's zlib, and a server in
Python whose bodies are coded in every way that servers have."""

import gzip
import http.client
import http.server
import json
import os
import subprocess
import sys
import threading
import zlib

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import peers  # noqa: E402
from peers import Curl  # noqa: E402
from service import Service, check, equal, run, write  # noqa: E402

peers.need("curl")

TEXT = b"".join(b"%d: the tide is even, the tide is small\n" % n for n in range(20000))

SERVICE = """
local http, task = require "neap.http", require "neap.task"
local lines = {}
for n = 0, 19999 do lines[#lines + 1] = ("%d: the tide is even, the tide is small\\n"):format(n) end
local text = table.concat(lines)
local app = http.app()
app:get("/text", function() return 200, text, { etag = '"t"' } end)
app:get("/small", function() return text:sub(1, 20000) end)
app:get("/lines", function()
  local n = 0
  return 200, function()
    n = n + 1
    if n % 1000 == 0 then task.sleep(0) end
    return lines[n]
  end, { ["content-type"] = "text/plain" }
end)
app:get("/events", function(req)
  req:start(200, { ["content-type"] = "text/event-stream" })
  for n = 1, 5 do
    req:write("data: " .. n .. "\\n\\n")
    task.sleep(3600)
  end
end)
app:post("/echo", function(req)
  local body, err = req:body()
  if not body then return nil, err end
  return 200, body, { ["content-type"] = "application/octet-stream" }
end)
app:get("/fetch", function(req)
  local url = ("http://127.0.0.1:%s%s"):format(req.query.port, req.query.path)
  local res, err = http.get(url, { timeout = 20 })
  if not res then return 200, { error = err.code } end
  return 200, { length = #res.body, same = res.body == text, encoding = res.headers["content-encoding"] }
end)
local server = assert(http.serve { app = app, compress = true, decompress = { max_bytes = 2 << 20 } })
print("listening on " .. server.address)
"""


def serve():
    s = Service(write("service.lua", SERVICE))
    address = s.address()
    return address, f"http://{address[0]}:{address[1]}"


def curl_supports(name):
    features = subprocess.run(["curl", "--version"], capture_output=True, text=True).stdout
    return {"gzip": "libz", "br": "brotli", "zstd": "zstd"}[name] in features


def curl_decodes_what_is_sent():
    _, url = serve()
    for name in ("gzip", "br", "zstd"):
        for at, want in (("/text", TEXT), ("/small", TEXT[:20000]), ("/lines", TEXT)):
            coded = Curl("-H", f"Accept-Encoding: {name}", url + at)
            equal(coded.headers.get("content-encoding"), name, f"{at} in {name}")
            check(len(coded.bytes) < len(want) / 4, f"{at} in {name} got smaller: {len(coded.bytes)}")
            equal(coded.headers.get("vary"), "Accept-Encoding", "Vary")
            if curl_supports(name):
                plain = Curl("--compressed", "-H", f"Accept-Encoding: {name}", url + at)
                check(plain.bytes == want, f"curl decodes {at} in {name}")
    c = Curl("--compressed", url + "/text")
    check(c.bytes == TEXT, "what curl asks for by itself")
    equal(c.headers.get("etag"), 'W/"t"', "the tag of coded bytes")
    c = Curl(url + "/text")
    check(c.bytes == TEXT and "content-encoding" not in c.headers, "plain, where nothing is asked for")
    equal(Curl("--compressed", "-I", url + "/small").status, 200, "HEAD")


def programs_decode_what_is_sent():
    _, url = serve()
    for name, program in (("gzip", ["gzip", "-dc"]), ("zstd", ["zstd", "-dcq"])):
        for at in ("/text", "/lines"):
            coded = Curl("-H", f"Accept-Encoding: {name}", url + at).bytes
            try:
                plain = subprocess.run(program, input=coded, capture_output=True)
            except FileNotFoundError:
                print(f"{name} is not installed")
                continue
            check(plain.returncode == 0 and plain.stdout == TEXT, f"{program[0]} takes {at}: {plain.stderr!r}")


def python_decodes_as_it_comes():
    address, _ = serve()
    c = http.client.HTTPConnection(*address, timeout=20)
    c.request("GET", "/events", headers={"Accept-Encoding": "gzip"})
    res = c.getresponse()
    equal(res.getheader("Content-Encoding"), "gzip", "events in gzip")
    d, got = zlib.decompressobj(31), b""
    while len(got) < 9:  # the second event never comes
        got += d.decompress(res.read1(100))
    equal(got, b"data: 1\n\n", "an event comes at once")
    c.close()
    c = http.client.HTTPConnection(*address, timeout=20)
    for _ in range(3):  # and again on the same connection
        c.request("GET", "/lines", headers={"Accept-Encoding": "gzip;q=0.5, br;q=0"})
        check(gzip.decompress(c.getresponse().read()) == TEXT, "gzip by Python's zlib")
        c.request("GET", "/lines", headers={"Accept-Encoding": "identity"})
        check(c.getresponse().read() == TEXT, "plain")
    c.close()


def bodies_of_others_are_decoded():
    address, url = serve()
    c = http.client.HTTPConnection(*address, timeout=20)

    def post(coding, body):
        c.request("POST", "/echo", body, {"Content-Encoding": coding})
        res = c.getresponse()
        return res.status, res.read()

    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    for coding, body in (("gzip", gzip.compress(TEXT)), ("deflate", zlib.compress(TEXT)),
                         ("deflate", raw.compress(TEXT) + raw.flush()),
                         ("gzip", gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])),
                         ("deflate, gzip", gzip.compress(zlib.compress(TEXT)))):
        status, got = post(coding, body)
        check(status == 200 and got == TEXT, f"{coding} of Python's zlib: {status}")
    equal(post("lzma", b"x")[0], 415, "a coding that nobody knows")
    c.close()
    for coding, body, want in (("gzip", gzip.compress(TEXT)[:-9], 400), ("gzip", gzip.compress(TEXT) + b"\0", 400),
                               ("gzip", gzip.compress(bytes(64 << 20)), 413)):
        c = http.client.HTTPConnection(*address, timeout=20)
        equal(post(coding, body)[0], want, f"{coding}, broken")
        c.close()
    for program in (["zstd", "-cq"], ["zstd", "-cq", "-19"], ["gzip", "-cn"]):
        try:
            body = subprocess.run(program, input=TEXT, capture_output=True).stdout
        except FileNotFoundError:
            continue
        coding = "zstd" if program[0] == "zstd" else "gzip"
        got = Curl("--data-binary", "@-", "-H", f"Content-Encoding: {coding}", url + "/echo", data=body)
        check(got.bytes == TEXT, f"{' '.join(program)} is decoded")


BODIES = {
    "/gzip": ("gzip", gzip.compress(TEXT), TEXT),
    "/x-gzip": ("X-Gzip", gzip.compress(TEXT), TEXT),
    "/zlib": ("deflate", zlib.compress(TEXT), TEXT),
    "/bare": ("deflate", zlib.compress(TEXT)[2:-4], TEXT),
    "/members": ("gzip", gzip.compress(TEXT[:5]) + gzip.compress(TEXT[5:]), TEXT),
    "/twice": ("gzip, deflate", zlib.compress(gzip.compress(TEXT)), TEXT),
    "/empty": ("gzip", b"", b""),
    "/cut": ("gzip", gzip.compress(TEXT)[:-1], None),
    "/bomb": ("gzip", gzip.compress(bytes(96 << 20)), None),
}


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        coding, body, _ = BODIES[self.path]
        self.send_response(200)
        self.send_header("Content-Encoding", coding)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass

    def log_message(self, *args):
        pass


def the_client_decodes_what_others_send():
    origin = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    origin.handle_error = lambda *_: None  # a client that has read enough leaves
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    _, url = serve()
    try:
        for at, (_, _, want) in BODIES.items():
            got = json.loads(Curl(f"{url}/fetch?port={origin.server_address[1]}&path={at}").body)
            if want is None:
                check(got.get("error") in ("EPROTO", "ELIMIT"), f"{at} is refused: {got}")
            else:
                equal((got["length"], got["same"]), (len(want), want == TEXT), at)
                check(not want or "encoding" not in got, f"{at}: nothing is said of a coding that is undone")
    finally:
        origin.shutdown()


run(curl_decodes_what_is_sent, programs_decode_what_is_sent, python_decodes_as_it_comes, bodies_of_others_are_decoded,
    the_client_decodes_what_others_send)
