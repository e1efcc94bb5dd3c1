"""The table of hostile and odd requests (http_hostile_cases.py), each sent whole and byte by byte to a service, over raw
sockets: the one acceptable answer comes, and nothing behind a refused request is answered."""

import os
import re
import socket
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import http_hostile_cases as table
import service as s

# A handler that says what it has seen; its answers are told from others by their `x-by`.
SCRIPT = """
local neap = require "neap"
local function trailers(req)
  local out = {}
  for name, value in pairs(req.trailers or {}) do out[#out + 1] = name .. "=" .. value end
  table.sort(out)
  return table.concat(out, " ")
end
local server = assert(neap.http.serve { port = 0, handler = function(req)
  local by = { ["x-by"] = "handler" }
  if req.path == "/smuggled" then neap.log.error "SMUGGLED" end
  if req.path == "/wait" then neap.task.sleep(0.001) end
  if req.path == "/unread" then return 200, "unread", by end
  if req.method == "CONNECT" then return 403, "no", by end
  local body, err = req:body()
  if not body then return nil, err end
  if #body > 1000 then body = #body .. " bytes" end
  body = body:gsub("\\r", "\\\\r"):gsub("\\n", "\\\\n")
  local seen = { req.method, req.target, body, trailers(req) }
  if seen[4] == "" then seen[4] = nil end
  return 200, table.concat(seen, " "), by
end })
print("listening on " .. server.address)
"""
PROBE = b"GET /probe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
STEP = 4000  # requests that are longer than this drip in larger drops


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


def read_answers(data, methods):
    """Takes the bytes of a connection apart, strictly. `methods` are those of the requests, for HEAD."""
    answers, at, asked = [], 0, 0
    while at < len(data):
        end = data.find(b"\r\n\r\n", at)
        s.check(end >= 0, f"a head without an end: {data[at:]!r}")
        lines = data[at:end].split(b"\r\n")
        found = re.fullmatch(rb"HTTP/1\.1 (\d\d\d) [ -~]+", lines[0])
        s.check(found, f"no status line: {lines[0]!r}")
        headers = {}
        for line in lines[1:]:
            m = re.fullmatch(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([ -~\x80-\xff]*)", line)
            s.check(m, f"no header: {line!r}")
            headers[m.group(1).lower()] = m.group(2)
        at, status = end + 4, int(found.group(1))
        body = b""
        if status >= 200:
            method = methods[asked] if asked < len(methods) else b"GET"
            asked += 1
            if method != b"HEAD" and status != 204:
                s.check(b"content-length" in headers, f"an answer without a length: {lines}")
                length = int(headers[b"content-length"])
                body = data[at:at + length]
                s.equal(len(body), length, "the body's length")
                at += length
        answers.append(Answer(status, headers, body))
    return answers


def exchange(address, data, drip, end):
    """Sends the bytes and gives all that comes back until the server closes."""
    with socket.create_connection(address, timeout=s.PATIENCE) as c:
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        step = len(data) or 1
        if drip:
            step = 1 if len(data) <= STEP else 997
        out = b""
        try:
            for at in range(0, len(data), step):
                c.sendall(data[at:at + step])
            if end:
                c.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has closed already; what it said still waits here
        while True:
            piece = c.recv(65536)
            if not piece:
                return out
            out += piece


def check_case(address, name, data, outcome, drip, end):
    words = outcome.split()
    goes_on = "+" in words
    want = [int(w) for w in words if w.isdigit()]
    raw = exchange(address, data if end else data + PROBE, drip, end)
    methods = [b"HEAD"] if data.startswith(b"HEAD") else []
    answers = read_answers(raw, methods)
    got = [a.status for a in answers]
    s.equal(got, want + ([200] if goes_on else []), "the answers")
    if not answers:
        return
    last = answers[-1]
    if goes_on:
        s.check(last.body.startswith(b"GET /probe"), f"the probe saw {last.body!r}")
        last = answers[-2]
        s.check(last.headers.get(b"connection", b"") != b"close", "it said close, and went on")
    elif "!" not in words and (not end or last.status >= 400):
        s.equal(last.headers.get(b"connection"), b"close", "the last answer's Connection")
    s.check(not any(b"/probe" in a.body for a in answers[:len(want)]), "the probe was answered")
    if name in table.SEES:
        s.equal(last.body.decode(errors="replace"), table.SEES[name], "what the handler saw")
    for a in answers:
        s.check(b"x-by" in a.headers or not 200 <= a.status < 300, f"a {a.status} that is not the handler's")


def run_table(cases, end):
    service = s.Service(s.write("hostile.lua", SCRIPT))
    address = service.address()
    failed = 0
    for name, data, outcome in cases:
        for drip in (False, True):
            try:
                check_case(address, name, data, outcome, drip, end)
            except (s.Failed, OSError) as problem:
                failed += 1
                print(f"   {name} ({'byte by byte' if drip else 'whole'}): {problem}")
    s.equal(failed, 0, "cases that failed")
    s.check(not service.matching("SMUGGLED"), "a smuggled request was served")
    s.equal(s.get(address, "/after")[0], 200, "an answer after all that")
    service.signal(15)
    s.equal(service.ended(), 0, "the exit code")


def hostile():
    s.check(len(table.CASES) >= 150, "too few cases")
    names = [name for name, _, _ in table.CASES + table.CUT]
    s.equal(len(set(names)), len(names), "cases of different names")
    run_table(table.CASES, False)


def cut_off():
    run_table(table.CUT, True)


if __name__ == "__main__":
    s.run(hostile, cut_off)
