"""Scripts that spin, and scripts stuck in C: the others are served, the log names the line, the worker comes back."""

import os
import resource
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
local flags = neap.shared "flags"
local function hang(n)           -- until it is told that all is well; no hook reaches a finaliser
  setmetatable({}, { __gc = function() while (flags:get "go" or 0) < n do end end })
  collectgarbage()
end
app:get("/twice", function()
  neap.task.spawn(hang, 2)
  hang(1)
end)
app:get("/go", function() return tostring(flags:incr "go") end)
app:get("/later", function() neap.task.sleep(1.2) return "later" end)
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


def a_substitute_does_not_answer_for_its_predecessor():
    """The one that was replaced comes back and gets stuck once more: the one in its place is well, and stays."""
    service = start("--script-timeout", "0.2")
    address = service.address()
    other = s.on_worker(address, 0)
    s.on_worker(address, 1).send("/twice")
    service.await_line("worker 1 is stuck and was replaced")
    s.equal(other.get("/go"), (200, "1"), "the first time is over")
    service.await_line("worker 1 is stuck in ", 2)
    s.equal(other.get("/later"), (200, "later"), "an answer when the substitute would have been replaced")
    s.equal(len(service.matching("and was replaced")), 1, "how often worker 1 was replaced")
    s.equal(other.get("/go"), (200, "2"), "the second time is over")
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def a_substitute_that_comes_later():
    """No descriptor is left for it at first; the one that was stuck may even be back by then."""
    service = start("--script-timeout", "0.2")
    address = service.address()
    other = s.on_worker(address, 0)
    s.on_worker(address, 1).send("/twice")
    service.await_line("worker 1 is stuck in ")
    limits = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    service.await_line("worker 1 is stuck and cannot be replaced yet")
    s.equal(other.get("/go"), (200, "1"), "the first time is over")
    s.equal(other.get("/go"), (200, "2"), "the second time is over")
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, limits)
    service.await_line("worker 1 is stuck and was replaced")
    s.equal(s.on_worker(address, 1).get("/worker"), (200, "1"), "the new worker 1")
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def a_substitute_that_cannot_load():
    """The script on the disk is broken when worker 1 is replaced: worker 0 serves on, a reload brings 1 back."""
    service = start("--script-timeout", "0.2")
    address = service.address()
    beside = Healthy(address, [0, 0])
    s.on_worker(address, 1).send("/stuck")
    service.await_line("worker 1 is stuck in ")
    s.write("service.lua", "error 'broken on the disk'")
    service.await_line("worker 1 serves nothing until a reload: .*broken on the disk")
    beside.more()
    for _ in range(20):
        s.equal(s.get(address, "/worker"), (200, "0"), "who answers")
    service.reload("reload failed", "reloaded in")
    beside.more()
    s.write("service.lua", SCRIPT)
    service.reload()
    s.equal(s.on_worker(address, 1).get("/worker"), (200, "1"), "worker 1 after a reload")
    beside.end()
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


s.run(spinning, stuck_in_c, a_substitute_does_not_answer_for_its_predecessor, a_substitute_that_comes_later,
      a_substitute_that_cannot_load, the_hard_timeout, a_stop_does_not_wait_for_the_stuck)
