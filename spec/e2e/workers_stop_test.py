"""SIGTERM under load: what is in flight is answered, keep-alive connections are closed politely, and it ends in time."""

import http.client
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s

SCRIPT = """
local neap = require "neap"
local app = neap.http.app()
app:get("/", function() return "ok" end)
app:get("/worker", function() return tostring(neap.worker.id) end)
app:get("/hold", function()
  print("in flight in " .. neap.worker.id)
  while not io.open("@release@") do neap.task.sleep(0.01) end
  return "finished"
end)
app:get("/stuck", function() print "in flight" neap.task.sleep(1000) end)
app:get("/in-c", function()      -- exponential: minutes and more
  return tostring(string.find(("a"):rep(40), ("a?"):rep(40) .. ("a"):rep(40)))
end)
local server = assert(neap.http.serve { app = app, port = 0 })
if neap.worker.id == 0 then print("listening on " .. server.address) end
"""


def start(*options):
    script = s.write("service.lua", SCRIPT.replace("@release@", s.path("release")))
    return s.Service(script, options=["--workers", "2", *options])


def in_flight_is_answered():
    service = start()
    address = service.address()
    held = [s.on_worker(address, worker) for worker in (0, 1)]
    idle = [s.on_worker(address, worker) for worker in (0, 1)]
    load = s.Load(address, bodies=False)
    for worker, client in enumerate(held):
        client.send("/hold")
        service.await_line(f"in flight in {worker}")
    service.signal(signal.SIGTERM)
    s.until(lambda: refused(address), "new connections are refused")
    for client in idle:
        s.equal(client.connection.sock.recv(1), b"", "an idle connection while it drains")
    s.check(service.process.poll() is None, "it ended with requests in flight")
    s.write("release", "")
    for client in held:
        s.equal(client.receive(), (200, "finished"), "what was in flight")
        s.equal(client.headers.get("connection"), "close", "its connection header")
    s.equal(service.ended(), 0, "the exit code")
    figures = load.stop()
    print(f"   wrk while it stopped: {figures}")
    s.equal(figures["failed"], 0, "answers that were no 200")
    os.remove(s.path("release"))


def refused(address):
    try:
        s.get(address, "/")
        return False
    except ConnectionRefusedError:
        return True
    except (ConnectionError, http.client.HTTPException):
        return False


def no_request_is_cut_off():
    """Clients that ask on and on, each on one connection: every answer that has begun is whole and a 200."""
    service = start()
    address = service.address()

    def ask():
        client = s.Client(address)
        count = 0
        while True:
            try:
                client.send("/")
                s.equal(client.receive(), (200, "ok"), "an answer")
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                return count, False  # it came when the connection was being closed as idle
            count += 1
            if client.headers.get("connection") == "close":
                return count, True

    clients = [s.Background(ask) for _ in range(16)]
    s.until(lambda: int(s.get(address, "/worker")[1]) >= 0, "it answers")
    service.signal(signal.SIGTERM)
    results = [client.result() for client in clients]
    s.equal(service.ended(), 0, "the exit code")
    s.check(sum(polite for _, polite in results) > len(results) / 2, "most busy connections were cut, not told to close")
    print(f"   told to close: {sum(polite for _, polite in results)} of {len(results)} busy connections, "
          f"{sum(count for count, _ in results)} requests")


def what_is_stuck_has_its_time():
    service = start("--drain-timeout", "0.3")
    address = service.address()
    stuck = [s.on_worker(address, worker) for worker in (0, 1)]
    for number, client in enumerate(stuck):
        client.send("/stuck")
        service.await_line("in flight", number + 1)
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 1, "the exit code when the time was over")
    service.await_line(r"^neap: not all was drained within 0\.3 seconds")


def a_second_signal():
    service = start()
    address = service.address()
    client = s.on_worker(address, 1)
    client.send("/stuck")
    service.await_line("in flight")
    service.signal(signal.SIGTERM)
    service.await_line("stopping")
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 143, "the exit code after the second SIGTERM")


def worker_0_stuck_in_c():
    """The loop that would end the others does not turn; the stop ends all the same."""
    service = start("--drain-timeout", "0.3", "--script-timeout", "0.2")
    s.on_worker(service.address(), 0).send("/in-c")
    service.await_line("worker 0 is stuck in ")
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 143, "the exit code")
    service.await_line("the stop does not come to its end")


def a_stop_while_it_reloads():
    service = start()
    address = service.address()
    load = s.Load(address, bodies=False)
    s.until(lambda: s.get(address, "/")[0] == 200, "it answers")
    service.signal(signal.SIGHUP)
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")
    s.equal(load.stop()["failed"], 0, "answers that were no 200")


s.run(in_flight_is_answered, no_request_is_cut_off, what_is_stuck_has_its_time, a_second_signal,
      worker_0_stuck_in_c, a_stop_while_it_reloads)
