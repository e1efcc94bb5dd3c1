"""SIGHUP under load: fifty reloads, and not one request fails; what is in flight ends on the old code."""

import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s

RELOADS = 50
SLACK = 4  # descriptors that a worker may or may not hold in reserve at the moment
SCRIPT = """
local neap = require "neap"
local generation = @generation@
local app = neap.http.app()
local answered = 0
app:get("/", function() answered = answered + 1 return "g" .. generation end)
app:get("/answered", function() return tostring(answered) end)
app:get("/worker", function() return tostring(neap.worker.id) end)
app:get("/hold", function(req)   -- the first half at once, the rest when the file is there
  req:start(200)
  req:write("begun by " .. generation)
  while not io.open("@release@") do neap.task.sleep(0.01) end
  req:write(", ended by " .. generation)
  req:finish()
end)
local server = assert(neap.http.serve { app = app, port = 0 })
if neap.worker.id == 0 then print("listening on " .. server.address) end
"""


def script(generation):
    text = SCRIPT.replace("@generation@", str(generation)).replace("@release@", s.path("release"))
    return s.write("service.lua", text)


def fifty_reloads():
    service = s.Service(script(0), options=["--workers", "2"])
    address = service.address()
    service.reload()  # both workers are there, and what a first reload makes
    idle = service.descriptors()
    load = s.Load(address)
    resident, descriptors = [], []
    for generation in range(1, RELOADS + 1):
        script(generation)
        service.reload()
        s.until(lambda: int(s.get(address, "/answered")[1]) >= 100, f"generation {generation} answers wrk")
        resident.append(service.resident_kib())
        descriptors.append(service.descriptors())
    last = f"g{RELOADS}"
    s.equal({s.get(address, "/")[1] for _ in range(20)}, {last}, "who answers in the end")
    figures = load.stop_clean()
    known = {f"g{n}" for n in range(RELOADS + 1)}
    s.check(figures["bodies"] <= known, f"answers of nobody: {figures['bodies'] - known}")
    s.check(last in figures["bodies"], "the last generation never answered wrk")
    s.until(lambda: service.descriptors() <= idle + SLACK, f"about {idle} descriptors, as in the beginning")

    first, end = statistics.median(resident[4:14]), statistics.median(resident[-10:])
    print(f"   {figures['requests']} requests, {len(figures['bodies'])} generations answered, resident "
          f"{first / 1024:.1f} MiB after the first reloads, {end / 1024:.1f} MiB after the last, most "
          f"{max(resident) / 1024:.1f}; descriptors at most {max(descriptors)}")
    if s.BOUNDS:
        s.check(abs(end - first) <= first / 10, "resident memory is not within 10 % of where it was")
    service.signal(s.signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def old_requests_end_on_old_code():
    service = s.Service(script(1), options=["--workers", "2"])
    address = service.address()
    held = [s.on_worker(address, worker) for worker in (0, 1)]
    for client in held:
        client.send("/hold")
        response = client.connection.getresponse()
        client.response = response
        s.equal(response.read(10), b"begun by 1", "the first half")
    threads = set()
    for generation in (2, 3):
        script(generation)
        service.reload()
        threads.add(service.threads())
    s.equal({s.get(address, "/")[1] for _ in range(10)}, {"g3"}, "who answers new requests")
    s.write("release", "")
    for client in held:
        s.equal(client.response.read(), b", ended by 1", "the second half")
        client.close()
    s.equal({service.threads()}, threads, "threads")
    service.signal(s.signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def idle_connections_go_over():
    """A keep-alive connection that was idle at the reload is answered by the new code, if not closed politely."""
    service = s.Service(script(1), options=["--workers", "2"])
    address = service.address()
    clients = [s.on_worker(address, worker) for worker in (0, 1)]
    for client in clients:
        s.equal(client.get("/"), (200, "g1"), "before")
    script(2)
    service.reload()
    for client in clients:
        s.equal(client.get("/"), (200, "g2"), "the same connection after the reload")


def reloads_asked_for_at_once():
    """Signals that come while a reload is going on lead to one more, of the newest file."""
    service = s.Service(script(1), options=["--workers", "2"])
    address = service.address()
    load = s.Load(address)
    for generation in range(2, 30):
        script(generation)
        service.signal(s.signal.SIGHUP)
    s.until(lambda: s.get(address, "/")[1] == "g29", "the newest code answers")
    load.stop_clean()
    s.equal(len(service.matching("reload failed")), 0, "failed reloads")


s.run(fifty_reloads, old_requests_end_on_old_code, idle_connections_go_over, reloads_asked_for_at_once)
