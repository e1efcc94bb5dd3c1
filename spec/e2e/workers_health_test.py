"""What workers share of failure: a breaker is one for all of them; one of them checks, another goes on with what
is known when it is lost, and so does the code after a reload."""

import json
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s

SCRIPT = """
local neap = require "neap"
local app = neap.http.app()
local server = assert(neap.http.serve { app = app, port = 0 })
if neap.worker.id == 0 then print("listening on " .. server.address) end
app:get("/worker", function() return tostring(neap.worker.id) end)

local breaker = assert(neap.breaker.new { name = "peer", consecutive_failures = 2, open = 1000 })
app:get("/fail", function()
  local _, err = breaker:call(function() return nil, neap.task.error "EIO" end)
  return err.code
end)
app:get("/state", function() return breaker:state() end)
app:post("/reset", function() breaker:reset() return 200, "ok" end)

local endpoints = { "10.9.9.1:1", "10.9.9.2:1" }
local lb = assert(neap.balancer.new("round_robin", { endpoints = endpoints }))
app:get("/available", function()
  local list = {}
  for i, e in ipairs(lb:all()) do list[i] = e.available end
  return list
end)
local well = neap.shared "well"
local checks
local function check()
  checks = assert(neap.health.check {
    endpoints = endpoints, interval = 0.01, fall = 1, rise = 1000000, unhealthy_interval = 0.01,
    type = function(endpoint)
      neap.shared("asked"):incr(endpoint.address .. " " .. neap.worker.id .. " " .. neap.worker.generation)
      return well:get(endpoint.address) ~= false
    end,
  })
end
if "@when@" == "at once" then check() end
app:post("/check", function() check() return 200, "ok" end)
app:get("/leader", function() return tostring(checks:stats().leader) end)
app:post("/ill/:address", function(req) well:set(req.params.address, false) return 200, "ok" end)
app:post("/well/:address", function(req) well:delete(req.params.address) return 200, "ok" end)
app:get("/asked/:address/:worker/:generation", function(req)
  local p = req.params
  return tostring(neap.shared("asked"):get(p.address .. " " .. p.worker .. " " .. p.generation) or 0)
end)
app:get("/stuck", function()
  return tostring(string.find(("a"):rep(40), ("a?"):rep(40) .. ("a"):rep(40)))
end)
"""

ONE = "10.9.9.1:1"


def script(when):
    return s.write("service.lua", SCRIPT.replace("@when@", when))


def start(*options, when="at once"):
    service = s.Service(script(when), options=["--workers", "2", *options])
    address = service.address()
    s.until(lambda: {s.get(address, "/worker")[1] for _ in range(20)} == {"0", "1"}, "both workers answer")
    return service, address


def both(address):
    return [s.on_worker(address, worker) for worker in (0, 1)]


def stop(service):
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def available(client):
    return json.loads(client.get("/available")[1])


def asked(client, worker, generation):
    return int(client.get(f"/asked/{ONE}/{worker}/{generation}")[1])


def post(client, url):
    client.send(url, "POST")
    s.equal(client.receive()[0], 200, url)


def breaker():
    service, address = start()
    first, second = both(address)
    s.equal(first.get("/fail")[1], "EIO", "a failure")
    s.equal(second.get("/state")[1], "closed", "after one failure")
    s.equal(second.get("/fail")[1], "EIO", "the other worker's failure")
    for number, worker in enumerate((first, second)):
        s.equal(worker.get("/state")[1], "open", f"what worker {number} sees after two failures")
        s.equal(worker.get("/fail")[1], "EBUSY", f"a call in worker {number}")
    service.reload()
    first, second = both(address)
    s.equal(second.get("/state")[1], "open", "after a reload")
    post(first, "/reset")
    s.equal(second.get("/state")[1], "closed", "after the other worker's reset")
    stop(service)


def one_checks():
    service, address = start()
    workers = both(address)
    s.until(lambda: asked(workers[0], 0, 0) + asked(workers[0], 1, 0) >= 5, "somebody checks")
    leaders = [w.get("/leader")[1] for w in workers]
    s.equal(sorted(leaders), ["false", "true"], "who checks")
    post(workers[0], f"/ill/{ONE}")
    for number, worker in enumerate(workers):
        s.until(lambda w=worker: available(w) == [False, True], f"worker {number} knows of the one that is ill")
    leader = leaders.index("true")
    s.equal(asked(workers[0], 1 - leader, 0), 0, "checks of the other worker")
    stop(service)


def the_leader_is_lost():
    service, address = start("--script-timeout", "0.3", when="when it is told")
    other, leader = both(address)  # worker 0 is never replaced, so it is the other one
    post(leader, "/check")
    s.until(lambda: leader.get("/leader")[1] == "true", "it checks")
    post(other, "/check")
    post(other, f"/ill/{ONE}")
    s.until(lambda: available(other) == [False, True], "one is ill")
    s.equal(other.get("/leader")[1], "false", "who checks")
    leader.send("/stuck")
    s.until(lambda: other.get("/leader")[1] == "true", "the other one goes on")
    post(other, f"/well/{ONE}")  # a million successes are needed, so it stays as it was found
    s.until(lambda: asked(other, 0, 0) >= 5, "it checks")
    s.equal(available(other), [False, True], "what was known before the leader was lost")
    service.signal(signal.SIGTERM)
    service.ended()


def a_reload_goes_on_with_what_is_known():
    service, address = start()
    worker = s.on_worker(address, 0)
    post(worker, f"/ill/{ONE}")
    s.until(lambda: available(worker) == [False, True], "one is ill")
    post(worker, f"/well/{ONE}")
    service.reload()
    worker = s.on_worker(address, 0)
    s.until(lambda: asked(worker, 0, 1) + asked(worker, 1, 1) >= 5, "the new code checks")
    s.equal(available(worker), [False, True], "what the old code knew")
    script("never")
    service.reload()  # whose checks are no more holds nobody to be ill
    worker = s.on_worker(address, 0)
    s.until(lambda: available(worker) == [True, True], "nobody is ill without checks")
    stop(service)


s.run(breaker, one_checks, the_leader_is_lost, a_reload_goes_on_with_what_is_known)
