"""A registry in another process, used by many workers and over reloads: nothing flickers there or here."""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s

REGISTRY = """
local neap = require "neap"
local server = assert(neap.registry.serve { port = 0 })
print("listening on " .. server.address)
neap.registry.watch(nil, function(change) print("change: " .. change.kind .. " " .. change.id) end)
neap.registry.put { name = "other", id = "far", address = "127.0.0.1:9", ttl = false }
"""

SERVICE = """
local neap = require "neap"
local app = neap.http.app()
local server = assert(neap.http.serve { app = app, port = 0 })
if neap.worker.id == 0 then print("listening on " .. server.address) end
neap.registry.connect("%s", { backoff_min = 0.01, backoff_max = 0.1 })
assert(neap.registry.register { name = "goods", address = server.address })
assert(neap.registry.register { name = "goods", address = server.address, id = "named-" .. server.port })
neap.registry.watch("goods", function(change) print("seen: " .. change.kind .. " " .. change.id) end)
neap.registry.watch("other", function(change) print("seen: " .. change.kind .. " " .. change.id) end)
%s
CLOSES = setmetatable({}, { __gc = function() print("a state has closed") end })
app:get("/worker", function() return tostring(neap.worker.id) end)
app:get("/generation", function() return tostring(neap.worker.generation) end)
app:get("/registry/:name", function(req)
  local list = {}
  for i, endpoint in ipairs(neap.registry.lookup(req.params.name)) do list[i] = endpoint.id end
  table.sort(list)
  return table.concat(list, " ")
end)
"""


def start_registry():
    service = s.Service(s.write("registry.lua", REGISTRY))
    return service, service.address()


def start(registry, extra=""):
    text = SERVICE % ("%s:%d" % registry, extra)
    service = s.Service(s.write("service.lua", text), options=["--workers", "2", "--drain-timeout", "5"])
    address = service.address()
    return service, address, [s.on_worker(address, worker) for worker in (0, 1)]


def announced(far):
    """What the far registry has of "goods" by now, from its changes; how often something was removed."""
    have, removed = set(), 0
    for m in far.matching(r"change: (\w+) (\S+)$"):
        if m.group(1) == "removed":
            removed += 1
            have.discard(m.group(2))
        elif m.group(2) != "far":
            have.add(m.group(2))
    return have, removed


def hands_over():
    far, registry = start_registry()
    service, address, workers = start(registry)
    ids = {"goods-%s:%d" % address, "named-%d" % address[1]}
    s.until(lambda: announced(far)[0] == ids, "both registrations are announced")
    for worker in workers:
        s.until(lambda: worker.get("/registry/other")[1] == "far", "what is far is mirrored")
        s.equal(worker.get("/registry/goods")[1], "goods-1 named-%d" % address[1], "its own, once")
    service.await_line("seen: added far")
    for round_ in range(1, 4):
        service.reload()
        s.until(lambda: s.get(address, "/generation")[1] == str(round_), "the new code serves")
        s.equal(s.get(address, "/registry/other")[1], "far", "what is far, after a reload")
        s.equal(s.get(address, "/registry/goods")[1], "goods-1 named-%d" % address[1], "after a reload")
    service.await_line("a state has closed", 6)
    s.equal(announced(far), (ids, 0), "what the far registry has heard")
    s.equal(service.matching("seen: removed"), [], "what was seen to go")

    # The far registry is away: what is known of it outlives reloads.
    far.signal(signal.SIGKILL)
    far.ended()
    for round_ in range(4, 6):
        service.reload()
        s.until(lambda: s.get(address, "/generation")[1] == str(round_), "the new code serves")
    service.await_line("a state has closed", 10)
    for worker in (0, 1):
        s.equal(s.on_worker(address, worker).get("/registry/other")[1], "far", "what was far")
    s.equal(service.matching("seen: removed"), [], "what was seen to go")
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def withdraws_at_the_end():
    far, registry = start_registry()
    service, address, _ = start(registry)
    ids = {"goods-%s:%d" % address, "named-%d" % address[1]}
    s.until(lambda: announced(far)[0] == ids, "both registrations are announced")
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")
    s.until(lambda: announced(far)[0] == set(), "both are withdrawn")


def rolls_back():
    far, registry = start_registry()
    service, address, _ = start(registry)
    ids = {"goods-%s:%d" % address, "named-%d" % address[1]}
    s.until(lambda: announced(far)[0] == ids, "both registrations are announced")
    extra = """
assert(neap.registry.register { name = "goods", address = "127.0.0.1:7", id = "rash", meta = { new = "yes" } })
neap.task.sleep(0.2) -- long enough for it to be announced, were it so
error "no"
"""
    s.write("service.lua", SERVICE % ("%s:%d" % registry, extra))
    service.reload("reload failed", "reloaded in")
    s.equal(s.get(address, "/registry/goods")[1], "goods-1 named-%d" % address[1], "after a rollback")
    s.equal(announced(far), (ids, 0), "what the far registry heard of it")
    s.equal(service.matching("seen: (removed|updated|added rash)"), [], "what was seen of it")


s.run(hands_over, withdraws_at_the_end, rolls_back)
