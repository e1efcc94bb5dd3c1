"""What workers share, seen from outside: one registry, one bus, one worker that does a job."""

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

-- the registry
local registration = assert(neap.registry.register { name = "goods", address = server.address, tags = { "v1" } })
local seen = {}
neap.registry.watch("other", function(change) seen[#seen + 1] = change.kind .. " " .. change.id end)
app:get("/registry/:name", function(req)
  local list = {}
  for i, endpoint in ipairs(neap.registry.lookup(req.params.name)) do
    list[i] = { id = endpoint.id, address = endpoint.address, total = endpoint.total }
  end
  return list
end)
app:post("/registry/:id", function(req)
  assert(neap.registry.put { name = "other", id = req.params.id, address = "127.0.0.1:1" })
  return 200, "put"
end)
app:delete("/registry/:id", function(req)
  assert(neap.registry.deregister(req.params.id))
  return 200, "gone"
end)
app:get("/seen", function() return table.concat(seen, ",") end)

-- the bus
local each, queue = {}, 0
neap.bus.subscribe("news", function(msg) each[#each + 1] = msg.data end)
neap.bus.subscribe("jobs", function() queue = queue + 1 end, { queue = "workers" })
neap.bus.subscribe("who." .. neap.worker.id, function(msg) msg:respond("worker " .. neap.worker.id) end)
app:post("/publish/:subject/:count", function(req)
  for i = 1, math.tointeger(req.params.count) do neap.bus.publish(req.params.subject, tostring(i)) end
  assert(neap.bus.flush())
  return 200, "ok"
end)
app:get("/each", function() return table.concat(each, ",") end)
app:get("/queue", function() return tostring(queue) end)
app:get("/ask/:id", function(req)
  local answer, err = neap.bus.request("who." .. req.params.id, "", { timeout = 10 })
  return answer and answer.data or err.code
end)

-- the job
local function claim()
  neap.worker.once("heartbeat", function()
    print("the job runs in worker " .. neap.worker.id .. " of generation " .. neap.worker.generation)
    if neap.worker.id == 1 then neap.worker.broadcast "the job is mine" end
    while true do neap.task.sleep(60) end
  end)
end
if neap.worker.id == 1 then claim() else neap.worker.on_message(claim) end -- 1 comes first
app:get("/stuck", function()
  return tostring(string.find(("a"):rep(40), ("a?"):rep(40) .. ("a"):rep(40)))
end)
"""


def start(*options):
    service = s.Service(s.write("service.lua", SCRIPT), options=["--workers", "2", *options])
    address = service.address()
    s.until(lambda: {s.get(address, "/worker")[1] for _ in range(20)} == {"0", "1"}, "both workers answer")
    return service, address, [s.on_worker(address, worker) for worker in (0, 1)]


def stop(service):
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def registry():
    service, _, workers = start()
    lists = [json.loads(w.get("/registry/goods")[1]) for w in workers]
    s.equal(len(lists[0]), 1, "endpoints of what both workers registered")
    s.equal(lists[0], lists[1], "what both see")
    wanted = []
    for n in range(20):
        writer, reader = workers[n % 2], workers[1 - n % 2]
        writer.send(f"/registry/other-{n}", "POST")
        s.equal(writer.receive()[0], 200, "putting")
        found = [e["id"] for e in json.loads(reader.get("/registry/other")[1])]
        s.check(f"other-{n}" in found, "the other worker does not see what stands")
        wanted.append(f"added other-{n}")
    for n in range(20):
        workers[n % 2].send(f"/registry/other-{n}", "DELETE")
        s.equal(workers[n % 2].receive()[0], 200, "removing")
        wanted.append(f"removed other-{n}")
    for number, worker in enumerate(workers):
        s.until(lambda w=worker: w.get("/seen")[1].count(",") + 1 >= len(wanted), f"worker {number} hears of all")
        s.equal(worker.get("/seen")[1].split(","), wanted, f"what worker {number} was told, in order")
    service.reload()
    fresh = [s.on_worker(service.address(), worker) for worker in (0, 1)]
    after = [json.loads(w.get("/registry/goods")[1]) for w in fresh]
    s.equal([len(list_) for list_ in after], [1, 1], "endpoints after a reload")
    s.equal(after[0][0]["id"], lists[0][0]["id"], "the id after a reload")
    stop(service)


def bus():
    service, _, workers = start()
    for worker in workers:
        worker.send("/publish/news/100", "POST")
        s.equal(worker.receive()[0], 200, "publishing")
    wanted = sorted(list(range(1, 101)) * 2)
    for number, worker in enumerate(workers):
        s.until(lambda w=worker: w.get("/each")[1].count(",") + 1 >= 200, f"worker {number} gets all")
        got = [int(n) for n in worker.get("/each")[1].split(",")]
        s.equal(sorted(got), wanted, f"worker {number}: each message once")
    for worker in workers:
        worker.send("/publish/jobs/500", "POST")
        s.equal(worker.receive()[0], 200, "publishing")
    s.until(lambda: sum(int(w.get("/queue")[1]) for w in workers) >= 1000, "the queue group gets all")
    counts = [int(w.get("/queue")[1]) for w in workers]
    s.equal(sum(counts), 1000, "messages of the queue group, each to one member")
    s.check(min(counts) > 0, f"one member had nothing: {counts}")
    print(f"   a queue group's messages on each worker: {counts}")
    for worker in workers:
        for number in (0, 1):
            s.equal(worker.get(f"/ask/{number}")[1], f"worker {number}", "who answers a request")
        s.equal(worker.get("/ask/7")[1], "ENORESPONDERS", "a request that nobody takes")
    stop(service)


def jobs():
    """Runs in one worker; goes over to the new code at a reload, and to another worker when its own is lost."""
    service, address, _ = start("--script-timeout", "0.3")
    service.await_line("the job runs in worker 1 of generation 0")
    service.reload()
    service.await_line("the job runs in worker 1 of generation 1")
    client = s.on_worker(address, 1)
    client.send("/stuck")
    service.await_line("the job runs in worker 0 of generation 1")
    service.await_line("worker 1 is stuck and was replaced")
    s.equal(len(service.matching("the job runs in worker")), 3, "how often it began")
    service.signal(signal.SIGTERM)
    s.check(service.ended() in (0, 1), "the exit code")


s.run(registry, bus, jobs)
