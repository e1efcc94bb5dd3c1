"""neap.shared under load: counted on two workers, over a reload, and not one is lost."""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s

SCRIPT = """
local neap = require "neap"
local map = neap.shared("counts", { bytes = 1024 * 1024 })
local app = neap.http.app()
app:get("/worker", function() return tostring(neap.worker.id) end)
app:get("/incr", function()
  map:incr("n", 1)
  map:incr("worker " .. neap.worker.id, 1)
  return "ok"
end)
app:get("/count/:key", function(req) return tostring(map:get(req.params.key) or 0) end)
app:put("/map/:key", function(req) assert(map:set(req.params.key, req:body())) return 200, "ok" end)
app:get("/map/:key", function(req) return tostring(map:get(req.params.key)) end)
local server = assert(neap.http.serve { app = app, port = 0 })
if neap.worker.id == 0 then print("listening on " .. server.address) end
"""
CONNECTIONS = 20


def counted_under_load():
    service = s.Service(s.write("service.lua", SCRIPT), options=["--workers", "2"])
    address = service.address()
    for worker in (0, 1):
        s.on_worker(address, worker).close()

    def count(key="n"):
        return int(s.get(address, f"/count/{key}")[1])

    load = s.Load(address, "/incr", connections=CONNECTIONS, bodies=False)
    s.until(lambda: count() > 2000, "it counts")
    service.reload()
    handed_over = count()
    s.check(handed_over > 2000, "the map was not handed over at the reload")
    s.until(lambda: count() > handed_over + 2000, "it counts on")
    figures = load.stop_clean()
    s.until(lambda: count() == count("worker%200") + count("worker%201"), "the workers' own counts are the sum")
    # wrk leaves at most one request a connection whose answer it does not await.
    s.check(0 <= count() - figures["requests"] <= CONNECTIONS, f"{figures['requests']} requests, {count()} counted")
    print(f"   {figures['requests']} requests, {count('worker%200')} and {count('worker%201')} on the workers")
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def seen_by_the_other():
    service = s.Service(s.write("service.lua", SCRIPT), options=["--workers", "2"])
    address = service.address()
    workers = [s.on_worker(address, worker) for worker in (0, 1)]
    for round_ in range(20):
        writer, reader = workers[round_ % 2], workers[1 - round_ % 2]
        writer.send("/map/towel", "PUT", str(round_))
        s.equal(writer.receive(), (200, "ok"), "setting")
        s.equal(reader.get("/map/towel"), (200, str(round_)), "what the other worker gets")


s.run(counted_under_load, seen_by_the_other)
