"""Scripts that spin, and scripts stuck in C: the others are served, the log names the line, the worker comes back."""

import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s

SCRIPT = """
local neap = require "neap"
local app = neap.http.app()
app:get("/worker", function() return tostring(neap.worker.id) end)
app:get("/spin", function() while true do end end)
app:get("/coroutine", function()
  local co = coroutine.wrap(function()
    coroutine.wrap(function() while true do end end)()
  end)
  co()
end)
app:get("/pcall", function()
  while true do pcall(function() while true do end end) end
end)
app:get("/xpcall", function()
  local function again(...) while true do end end
  while true do xpcall(again, again) end
end)
app:get("/close", function()
  local x <close> = setmetatable({}, { __close = function() while true do end end })
  while true do end
end)
app:get("/stuck", function()     -- exponential: minutes and more
  return tostring(string.find(("a"):rep(40), ("a?"):rep(40) .. ("a"):rep(40)))
end)
local server = assert(neap.http.serve { app = app, port = 0 })
if neap.worker.id == 0 then print("listening on " .. server.address) end
"""


def line_of(text):
    return next(n for n, line in enumerate(SCRIPT.split("\n"), 1) if text in line)


def start(*options):
    return s.Service(s.write("service.lua", SCRIPT), options=["--workers", "2", *options])


class Healthy:
    """Clients that ask on and on, each on a connection of its own, and note how long each answer took."""

    def __init__(self, address, workers):
        self.going = True
        self.took = []
        self.clients = [s.Background(self._ask, s.on_worker(address, w), str(w)) for w in workers]
        s.until(lambda: len(self.took) >= 10, "healthy answers")

    def _ask(self, client, worker):
        while self.going:
            began = time.monotonic()
            s.equal(client.get("/worker"), (200, worker), "a healthy answer")
            self.took.append(time.monotonic() - began)
            self.clients_pause.wait(0.002)

    clients_pause = threading.Event()  # never set: a client is no load generator

    def more(self, count=50):
        """Waits for so many more answers."""
        wanted = len(self.took) + count
        s.until(lambda: len(self.took) >= wanted, f"{count} more healthy answers")

    def end(self):
        self.going = False
        for client in self.clients:
            client.result()


def spinning():
    service = start("--script-timeout", "1")
    address = service.address()
    beside, same = Healthy(address, [0, 0, 0]), Healthy(address, [1, 1, 1])
    spins = ("spin", "coroutine", "pcall", "xpcall", "close")
    for number, name in enumerate(spins):
        client = s.on_worker(address, 1)
        client.send(f"/{name}")
        beside.more()  # answers go on, on the other worker, while this one spins
        s.equal(client.receive()[0], 500, f"what the client of /{name} gets")
        same.more()  # and on this one again afterwards
        s.until(lambda n=number: len(service.matching(r"service\.lua:\d+.*(longer|stopped|kept)")) > n, f"a line on /{name}")
    for fragment in ('app:get("/spin"', "coroutine.wrap(function() while", "while true do pcall"):
        service.await_line(rf"service\.lua:{line_of(fragment)}\b")
    beside.end()
    same.end()
    for name, took in (("the other worker", beside.took), ("the worker that spun", same.took)):
        p99 = s.percentile(took, 0.99)
        print(f"   {name}: {len(took)} answers, p99 {p99 * 1000:.1f} ms, longest {max(took) * 1000:.0f} ms")
        if s.BOUNDS:
            s.check(p99 < 1.5, f"{name}: p99 of the healthy answers is {p99:.2f} s")
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def stuck_in_c():
    """Reported by name; worker 1 is replaced while it is stuck; worker 0 answers all along."""
    service = start("--script-timeout", "0.5")
    address = service.address()
    beside = Healthy(address, [0, 0])
    client = s.on_worker(address, 1)
    client.send("/stuck")
    line = service.await_line("worker 1 is stuck in (.*)")
    print(f"   {line.string}")
    s.check("find" in line.group(1) and "service.lua" in line.group(1), f"it does not say where: {line.string}")
    beside.more()
    service.await_line("worker 1 is stuck and was replaced")
    beside.more()
    s.equal(s.on_worker(address, 1).get("/worker"), (200, "1"), "the new worker 1")
    beside.end()
    service.reload()
    s.equal(s.on_worker(address, 1).get("/worker"), (200, "1"), "worker 1 after a reload")
    service.signal(signal.SIGTERM)
    s.check(service.ended() in (0, 1), "the exit code")


def the_hard_timeout():
    service = start("--script-timeout", "0.5", "--script-hard-timeout", "2")
    address = service.address()
    beside = Healthy(address, [0])
    client = s.on_worker(address, 1)
    client.send("/stuck")
    service.await_line("worker 1 is stuck in ")
    beside.more()
    beside.going = False
    s.equal(service.ended(), 70, "the exit code")


def a_stop_does_not_wait_for_the_stuck():
    service = start("--script-timeout", "0.5", "--drain-timeout", "0.5")
    address = service.address()
    s.on_worker(address, 1).send("/stuck")
    service.await_line("worker 1 is stuck in ")
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 1, "the exit code")
    service.await_line("^neap: not all was drained within 0.5 seconds")


s.run(spinning, stuck_in_c, the_hard_timeout, a_stop_does_not_wait_for_the_stuck)
