"""Ten upstream processes under wrk, some slowed, killed -9, answering 503, stopped: with what a client of a service has
by default the gateway's client sees next to none of it."""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s  # noqa: E402

UPSTREAM = """
local neap = require "neap"
local app = neap.http.app()
local delay, status = 0, 200
app:get("/_set", function(req)
  delay, status = tonumber(req.query.delay) or 0, tonumber(req.query.status) or 200
  return 204
end)
app:get("/", function()
  if delay > 0 then neap.task.sleep(delay) end
  return status, "hello"
end)
local server = assert(neap.http.serve { app = app, port = tonumber(arg[1]) })
print("listening on " .. server.address)
"""

GATEWAY = """
local neap = require "neap"
for i = 1, #arg do
  assert(neap.registry.register { name = "upstream", id = "upstream-" .. i, address = arg[i] })
end
local upstream = neap.http.client { service = "upstream" }
local answered = 0
local server = assert(neap.http.serve {
  port = 0,
  handler = function(req)
    if req.path == "/answered" then return tostring(answered) end
    local ok, err = req:forward(upstream)
    answered = answered + 1
    return ok, err
  end,
})
print("listening on " .. server.address)
"""

MOST = 0.001  # of the requests may fail


def upstream(port=0):
    return s.Service(s.write("upstream.lua", UPSTREAM), str(port))


class Cluster:
    def __init__(self):
        self.upstreams = [upstream() for _ in range(10)]
        self.addresses = [u.address() for u in self.upstreams]
        self.gateway = s.Service(s.write("gateway.lua", GATEWAY), *[f"{host}:{port}" for host, port in self.addresses])
        self.address = self.gateway.address()

    def answered(self):
        return int(s.get(self.address, "/answered")[1])

    def more(self, count):
        """Waits for so many more answers."""
        goal = self.answered() + count
        s.until(lambda: self.answered() >= goal, f"{count} more answers")

    def tell(self, number, query):
        s.equal(s.get(self.addresses[number], "/_set?" + query)[0], 204, "the upstream was told")

    def end(self):
        for service in [self.gateway] + self.upstreams:
            if service.process.poll() is None:
                service.signal(signal.SIGCONT)
            service.end()


def under_load(befall):
    cluster = Cluster()
    load = s.Load(cluster.address, connections=20, bodies=False)
    cluster.more(2000)
    befall(cluster)
    cluster.more(5000)
    figures = load.stop()
    cluster.end()
    failed = sum(figures[name] for name in ("failed", "connect", "read", "write", "timeout"))
    s.check(failed <= MOST * figures["requests"], f"{failed} of {figures['requests']} failed: {figures}")


def kill(cluster, *numbers):
    for number in numbers:
        cluster.upstreams[number].signal(signal.SIGKILL)


def stop(cluster, *numbers):
    for number in numbers:
        cluster.upstreams[number].signal(signal.SIGSTOP)


def test_two_killed():
    under_load(lambda cluster: kill(cluster, 0, 1))


def test_two_answer_503():
    def befall(cluster):
        cluster.tell(0, "status=503")
        cluster.tell(1, "status=503")

    under_load(befall)


def test_two_slowed():
    def befall(cluster):
        cluster.tell(0, "delay=0.3")
        cluster.tell(1, "delay=0.3")

    under_load(befall)


def test_one_stopped():
    under_load(lambda cluster: stop(cluster, 0))


def test_one_of_each():
    def befall(cluster):
        cluster.tell(0, "delay=0.3")
        kill(cluster, 1)
        cluster.tell(2, "status=503")
        stop(cluster, 3)

    under_load(befall)


def test_a_killed_one_comes_back():
    cluster = Cluster()
    load = s.Load(cluster.address, connections=20, bodies=False)
    cluster.more(1000)
    kill(cluster, 0)
    cluster.upstreams[0].ended()
    cluster.more(1000)
    cluster.upstreams[0] = upstream(cluster.addresses[0][1])
    cluster.upstreams[0].address()
    cluster.more(1000)
    figures = load.stop()
    cluster.end()
    failed = sum(figures[name] for name in ("failed", "connect", "read", "write", "timeout"))
    s.check(failed <= MOST * figures["requests"], f"{failed} of {figures['requests']} failed: {figures}")


s.run(test_two_killed, test_two_answer_503, test_two_slowed, test_one_stopped, test_one_of_each, test_a_killed_one_comes_back)
