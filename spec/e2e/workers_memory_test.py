"""A request that wants all memory gets an error of its own; a state that stays full is renewed."""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s

MIB = 1024 * 1024
LIMIT = 48  # MiB a worker
SCRIPT = """
local neap = require "neap"
local app = neap.http.app()
local kept = {}
app:get("/worker", function() return tostring(neap.worker.id) end)
app:get("/bomb", function()             -- garbage when the request is over
  local t = {}
  for i = 1, math.huge do t[i] = ("x"):rep(1024) .. i end
end)
app:get("/string", function() return ("x"):rep(1 << 40) end)
app:get("/double", function()
  local x = "x"
  while true do x = x .. x end
end)
app:get("/stack", function()
  local function deeper(n) return deeper(n + 1) + 1 end
  return tostring(deeper(1))
end)
app:get("/keep", function()             -- stays
  for i = 1, math.huge do kept[#kept + 1] = ("x"):rep(1024) .. i end
end)
app:get("/kept", function() return tostring(#kept) end)
neap.worker.once("job", function() print("the job was done, in generation " .. neap.worker.generation) end)
local server = assert(neap.http.serve { app = app, port = 0 })
if neap.worker.id == 0 then print("listening on " .. server.address) end
"""


def start():
    return s.Service(s.write("service.lua", SCRIPT), options=["--workers", "2", "--script-memory", f"{LIMIT}m"])


def bombs():
    service = start()
    address = service.address()
    load = s.Load(address, "/worker")
    others = [s.on_worker(address, worker) for worker in (0, 1)]
    before = service.resident_kib()
    for round_ in range(3):
        for url in ("/bomb", "/string", "/double", "/stack"):
            for worker in (0, 1):
                client = s.on_worker(address, worker)
                s.equal(client.get(url)[0], 500, f"what the client of {url} gets, round {round_}")
                client.close()
            for worker, client in enumerate(others):
                s.equal(client.get("/worker"), (200, str(worker)), f"another client of worker {worker} after {url}")
    after = service.resident_kib()
    service.await_line("not enough memory")
    figures = load.stop()
    print(f"   resident {before / 1024:.0f} MiB before, {after / 1024:.0f} MiB after; most {service.status('VmHWM') / 1024:.0f}; "
          f"wrk beside it: {figures}")
    if s.BOUNDS:
        s.check(service.status("VmHWM") < before + 2 * 1.5 * LIMIT * 1024, "resident memory was not bounded")
    # A request that shares the moment when all is taken may fail as well, with an answer of its own.
    s.equal({k: figures[k] for k in ("read", "write", "connect", "timeout")},
            {"read": 0, "write": 0, "connect": 0, "timeout": 0}, "socket errors of the others")
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def a_state_that_stays_full():
    service = start()
    address = service.address()
    client = s.on_worker(address, 1)
    s.equal(client.get("/keep")[0], 500, "what the client that fills the state gets")

    def full():  # until it is found that collecting does not help
        return service.matching("worker 1: its script state is renewed: its memory is used up") or s.get(address, "/keep") and False

    s.until(full, "the state of worker 1 is renewed")
    service.await_line("worker 1: reloaded in")
    s.until(lambda: s.get(address, "/kept") == (200, "0"), "a state that is empty")
    fresh = s.on_worker(address, 1)
    s.equal(fresh.get("/worker"), (200, "1"), "worker 1 afterwards")
    s.equal(len(service.matching("the job was done")), 1, "how often the job was done, by the same code")
    service.reload()
    service.await_line("the job was done, in generation 1")
    s.equal({s.get(address, "/kept") for _ in range(8)}, {(200, "0")}, "after a reload")
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


s.run(bombs, a_state_that_stays_full)
