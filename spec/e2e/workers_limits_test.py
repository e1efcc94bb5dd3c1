"""Limits that workers share: one limiter, one concurrency limit, one gate of a server; and what reloads do to them."""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s

SCRIPT = """
local neap = require "neap"
local app = neap.http.app()
local server = assert(neap.http.serve { app = app, port = 0 })
local function hello() return "hello" end
local limited = assert(neap.http.serve { handler = hello, port = 0, rate_limit = { rate = 0.001, burst = BURST } })
if neap.worker.id == 0 then
  print("listening on " .. server.address)
  print("limited on " .. limited.address)
end
app:get("/worker", function() return tostring(neap.worker.id) end)

local mail = assert(neap.limiter.new { name = "mail", rate = 0.001, burst = BURST })
app:get("/mail", function() return tostring(mail:allow()) end)
app:get("/mail/:user", function(req) return tostring(mail:allow(req.params.user)) end)

local seats = assert(neap.concurrency.new { name = "seats", adaptive = false, initial = 1, max_waiting = 5 })
local ticket
app:get("/enter", function()
  local mine, err = seats:enter { priority = "high" }
  ticket = mine or ticket
  return mine and "in" or err.code
end)
app:get("/leave", function()
  ticket:done(true)
  return "out"
end)
app:get("/inflight", function() return tostring(seats:stats().inflight) end)
app:get("/waiting", function() return tostring(seats:stats().waiting) end)
"""


def script(burst, more=""):
    return s.write("service.lua", SCRIPT.replace("BURST", str(burst)) + more)


def start(burst):
    service = s.Service(script(burst), options=["--workers", "2"])
    address = service.address()
    return service, address, [s.on_worker(address, worker) for worker in (0, 1)]


def stop(service):
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def passed(workers, url, tries):
    return sum(workers[i % 2].get(url)[1] == "true" for i in range(tries))


def one_limiter():
    """Both workers take from one bucket; a reload leaves it as full as it is, under the new terms."""
    service, address, workers = start(10)
    s.equal(passed(workers, "/mail", 30), 10, "of all workers")
    s.equal(passed(workers, "/mail/a", 30), 10, "of a key")
    s.equal(passed(workers, "/mail/b", 30), 10, "of another key")
    script(13)
    service.reload()
    s.equal(passed(workers, "/mail", 30), 3, "after a reload with three more")
    s.equal(passed(workers, "/mail/a", 30), 3, "of a key, after a reload with three more")
    script(1000, 'error "a script that fails"')
    service.reload(wanted="reload failed", other="reloaded in")
    s.equal(passed(workers, "/mail", 30), 0, "after a reload that failed")
    stop(service)


def one_gate():
    """A server's rate limit is one for all workers, without a name as well, and stays through a reload."""
    service, _, _ = start(10)
    found = service.await_line(r"limited on ([\d.]+):(\d+)")
    address = found.group(1), int(found.group(2))
    statuses = [s.get(address, "/")[0] for _ in range(40)]
    s.equal(statuses.count(200), 10, "of 40 requests")
    s.equal(statuses.count(429), 30, "of 40 requests")
    stop(service)


def one_bulkhead():
    """Who waits on one worker is let in when somebody leaves on the other; a state that goes leaves what it held."""
    service, address, (a, b) = start(10)
    s.equal(a.get("/enter")[1], "in", "the first")
    b.send("/enter")
    other = s.on_worker(address, 1)
    s.until(lambda: other.get("/waiting")[1] == "1", "the second waits")
    s.equal(a.get("/leave")[1], "out", "the first")
    s.equal(b.receive()[1], "in", "the second")
    s.equal(a.get("/inflight")[1], "1", "in flight, seen from the other worker")
    service.reload()
    s.until(lambda: s.get(address, "/inflight")[1] == "0", "what the old state held is left with it")
    stop(service)


s.run(one_limiter, one_gate, one_bulkhead)
