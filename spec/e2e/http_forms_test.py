"""Forms, cookies and events with programs of others: what curl and Python's requests send is read as they meant
it, what we send is read by Python's email package, a browser-like session holds, and streams of events go both
ways (curl -N; a server of ours that breaks off)."""

import email
import email.policy
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s

try:
    import requests
except ImportError:
    print("skipped: python3-requests is not installed")
    sys.exit(77)

SCRIPT = """
local neap = require "neap"
local app = neap.http.app()

app:post("/form", function(req)
  local fields, files = req:form()
  if not fields then return nil, files end
  local list = neap.json.array()
  for i, file in ipairs(files) do
    list[i] = { name = file.name, filename = file.filename, type = file.content_type, size = #file.body,
      sum = neap.crypto.encode("hex", neap.crypto.digest("sha256", file.body)) }
  end
  return { fields = fields, files = list }
end)

app:post("/save/:name", function(req)
  for part in req:parts() do
    if part.filename then
      local size, err = part:save(arg[1] .. "/" .. req.params.name)
      if not size then return err.code == "EEXIST" and 409 or 500, err.message end
      return 201, tostring(size)
    end
  end
  return 400
end)

app:get("/make", function()
  local body, headers = neap.http.multipart {
    text = 'quote " and é', list = { "1", "2" }, file = { filename = "a b.txt", content_type = "text/x", body = "data" },
  }
  return 200, body, headers
end)

local session = neap.http.cookie.encrypted { keys = { ("k"):rep(32) }, max_age = 3600 }
app:get("/login", function(req)
  session:set(req, "who", req.query.who)
  req:set_cookie("plain", "yes", { max_age = 60 })
  return "welcome"
end)
app:get("/who", function(req) return session:get(req, "who") or "nobody" end)
app:get("/logout", function(req)
  req:delete_cookie "who"
  return "bye"
end)

app:get("/events", function(req)
  local events <close> = req:events { heartbeat = 0.02, retry = 1 }
  events:send { event = "hello", id = "1", data = "after " .. tostring(events.last_event_id) }
  while true do
    neap.task.sleep(0.01)
    if not events:send("tick\\ntock") then return end
  end
end)
app:get("/quiet", function(req)
  local events <close> = req:events { heartbeat = false }
  events:wait()
end)
app:get("/count", function() return tostring(server.connections) end)

function follow(url)
  local got = {}
  for event in neap.http.events(url, { retry = 0.01 }) do got[#got + 1] = event end
  return got
end
app:get("/follow", function(req) return follow(req.query.url) end)

server = assert(neap.http.serve { app = app, port = 0, max_body_bytes = 8 << 20, compress = true })
print("listening on " .. server.address)
"""


def curl(*args):
    out = subprocess.run(["curl", "-q", "-sS", "--max-time", "30", *args], capture_output=True, check=True)
    return out.stdout


def forms(url):
    big = bytes(range(256)) * 4096  # has every byte, CR and LF among them
    with open(s.path("upload.bin"), "wb") as f:
        f.write(big)
    got = json.loads(curl("-F", "a=1", "-F", "a=two words", "-F", f"up=@{s.path('upload.bin')};type=image/png",
                          "-F", f'q=@{s.path("upload.bin")};filename="we\\"ird;.bin"', url + "form"))
    s.equal(got["fields"], {"a": ["1", "two words"]}, "curl's fields")
    first, second = got["files"]
    s.equal((first["filename"], first["type"], first["size"]), ("upload.bin", "image/png", len(big)), "curl's file")
    s.equal(second["filename"], 'we"ird;.bin', "curl's odd name")
    s.equal(second["sum"], first["sum"], "what came is what was sent")
    got = json.loads(curl("--data-urlencode", "a=x y&z=ü", "-d", "b=", url + "form"))
    s.equal(got["fields"], {"a": "x y&z=ü", "b": ""}, "curl's urlencoded fields")

    answer = requests.post(url + "form", data={"a": "é", "b": ["1", "2"]},
                           files={"up": ("naïve.txt", big, "text/plain"), "none": ("", b"")}, timeout=30).json()
    s.equal(answer["fields"], {"a": "é", "b": ["1", "2"]}, "requests' fields")
    s.equal([(f["name"], f["filename"], f["sum"]) for f in answer["files"]], [("up", "naïve.txt", first["sum"])],
            "requests' file")
    answer = requests.post(url + "form", files={"up": ("../../etc/passwd", b"x")}, timeout=30).json()
    s.equal(answer["files"][0]["filename"], "passwd", "a name with a path")
    s.equal(requests.post(url + "form", data="--x", headers={"Content-Type": "multipart/form-data; boundary=b"},
                          timeout=30).status_code, 400, "a malformed form")
    s.equal(requests.post(url + "form", json={}, timeout=30).status_code, 415, "no form at all")


NODE = """
const [url] = process.argv.slice(1);
const form = new FormData();
form.append("text", "line\\nquote \\" é");
form.append("up", new Blob([new Uint8Array(70000).fill(13)], { type: "x/y" }), "a\\"b\\n%22é.bin");
const seen = await (await fetch(url + "form", { method: "POST", body: form })).json();
const made = await (await fetch(url + "make")).formData();
const decoder = new TextDecoder();
let text = "";
const answer = await fetch(url + "events");
for await (const piece of answer.body) {
  text += decoder.decode(piece, { stream: true });
  if (text.includes("tock")) break;
}
console.log(JSON.stringify({ seen, made: [...made.keys()], file: await made.get("file").text(), text }));
"""


def browsers(url):
    """Node's fetch and FormData are what the WHATWG says, as browsers'."""
    if not shutil.which("node"):
        print("   no node here")
        return
    out = subprocess.run(["node", "--input-type=module", "-e", NODE, url], capture_output=True, timeout=60)
    s.check(out.returncode == 0, out.stderr.decode())
    got = json.loads(out.stdout)
    s.equal(got["seen"]["fields"], {"text": 'line\r\nquote " é'}, "FormData's field")
    file = got["seen"]["files"][0]
    s.equal((file["filename"], file["type"], file["size"]), ('a"b_"é.bin', "x/y", 70000), "FormData's file")
    # Node 18 puts files last.
    s.equal((sorted(got["made"]), got["file"]), (["file", "list", "list", "text"], "data"), "what fetch reads of ours")
    s.equal(got["text"].split("\n")[:6], ["retry: 1000", "", "event: hello", "id: 1", "data: after nil", ""], "events")


def uploads(url):
    data = os.urandom(3 << 20)
    saved = requests.post(url + "save/kept", files={"f": ("x", data)}, timeout=30)
    s.equal((saved.status_code, saved.text), (201, str(len(data))), "an upload")
    with open(s.path("kept"), "rb") as f:
        s.check(f.read() == data, "the file is not what was sent")
    s.equal(requests.post(url + "save/kept", files={"f": ("x", b"other")}, timeout=30).status_code, 409, "another")
    s.equal(os.path.getsize(s.path("kept")), len(data), "the file that was there")
    s.equal([n for n in os.listdir(os.path.dirname(s.path("kept"))) if n.endswith(".part")], [], "leavings")


def made(url):
    answer = requests.get(url + "make", timeout=30)
    head = b"Content-Type: " + answer.headers["content-type"].encode() + b"\r\n\r\n"
    message = email.message_from_bytes(head + answer.content, policy=email.policy.HTTP)
    parts = [(p.get_param("name", header="content-disposition"), p.get_filename(), p.get_payload(decode=True))
             for p in message.iter_parts()]
    s.equal(parts, [("file", "a b.txt", b"data"), ("list", None, b"1"), ("list", None, b"2"),
                    ("text", None, 'quote " and é'.encode())], "what Python's email reads")


def cookies(url):
    browser = requests.Session()
    s.equal(browser.get(url + "who", timeout=30).text, "nobody", "before")
    browser.get(url + "login?who=ann", timeout=30)
    s.check(browser.cookies["plain"] == "yes", "a plain cookie")
    s.check("ann" not in browser.cookies["who"], "the value can be read")
    s.equal(browser.get(url + "who", timeout=30).text, "ann", "with the cookie")
    forged = {"who": browser.cookies["who"][:-2] + "AA"}
    s.equal(requests.get(url + "who", cookies=forged, timeout=30).text, "nobody", "with a forged one")
    browser.get(url + "logout", timeout=30)
    s.check("who" not in browser.cookies, "the cookie was not deleted")
    jar = s.path("curl.jar")
    curl("-c", jar, url + "login?who=bob")
    s.equal(curl("-b", jar, url + "who"), b"bob", "curl's jar")


def events(url):
    watching = subprocess.Popen(["curl", "-q", "-sSN", "-H", "Last-Event-ID: 0", url + "events"],
                                stdout=subprocess.PIPE, text=True, preexec_fn=s._end_with_test)
    lines = [watching.stdout.readline().rstrip("\n") for _ in range(10)]
    s.equal(lines, ["retry: 1000", "", "event: hello", "id: 1", "data: after 0", "", "data: tick", "data: tock", "",
                    "data: tick"], "what curl -N shows as it comes")
    watching.terminate()
    watching.wait()
    watching.stdout.close()
    s.until(lambda: curl(url + "count") == b"1", "the server notices that the reader left")


class Breaking(http.server.BaseHTTPRequestHandler):
    """A server of events that breaks off, comes back, and ends."""
    asked = []
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.asked.append(self.headers.get("Last-Event-ID"))
        if len(self.asked) == 3:
            self.send_response(204)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        text = f"\ufeff: hi\r\nid: {len(self.asked)}\r\ndata: a\rdata: é\n\nevent: half\ndata: cut".encode()
        for byte in text:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()


def following(url):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Breaking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    got = requests.get(url + "follow", params={"url": f"http://127.0.0.1:{server.server_port}/"}, timeout=30).json()
    server.shutdown()
    s.equal(got, [{"type": "message", "data": "a\né", "id": "1"}, {"type": "message", "data": "a\né", "id": "2"}],
            "events that were followed")
    s.equal(Breaking.asked, [None, "1", "2"], "what was asked for each time")


def with_others():
    service = s.Service(s.write("service.lua", SCRIPT), os.path.dirname(s.path("x")))
    url = "http://%s:%d/" % service.address()
    for part in (forms, browsers, uploads, made, cookies, events, following):
        began = time.monotonic()
        part(url)
        print(f"   {part.__name__}: {time.monotonic() - began:.2f} s")
    for stop in (service.reload, lambda: service.signal(signal.SIGTERM)):
        open_ = subprocess.Popen(["curl", "-q", "-sSN", "--compressed", url + "quiet"], stdout=subprocess.PIPE,
                                 text=True, preexec_fn=s._end_with_test)
        s.equal(open_.stdout.readline(), ":\n", "the stream has begun")
        stop()
        s.equal((open_.wait(), open_.stdout.read()), (0, "\n"), "the stream's end, as curl has it")
        open_.stdout.close()
    s.equal(service.ended(), 0, "the service's exit code, though a stream was open")
    s.equal(service.matching(r"error|ERROR|grace"), [], "what was logged")


s.run(with_others)
