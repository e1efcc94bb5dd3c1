"""A script that does not load, under load: the reload is rolled back, the old code answers on, wrk sees nothing of it."""

import os
import socket
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s

GOOD = """
local neap = require "neap"
local app = neap.http.app()
app:get("/", function() return "@generation@" end)
local server = assert(neap.http.serve { app = app, port = 0 })
if neap.worker.id == 0 then print("listening on " .. server.address) end
"""


def good(generation, more=""):
    return s.write("service.lua", GOOD.replace("@generation@", generation) + more)


def cases(taken):
    """What is wrong with the script, what stands at its end, what the log says of it."""
    yield "a syntax error", "local x = = 1", r"service\.lua:\d+: unexpected symbol near '='"
    yield "an error while it loads", 'error "the configuration is wrong"', r"service\.lua:\d+: the configuration is wrong"
    yield "an error that is no string", "error { code = 7 }", ""
    yield "an error after the first wait", 'neap.task.sleep(0.01) error "found out late"', "found out late"
    yield "an error in one worker", 'if neap.worker.id == 1 then error "not here" end', "worker 1: .*not here"
    yield "an error in the other", 'if neap.worker.id == 0 then error "nor here" end', "worker 0: .*nor here"
    yield "a port in use", f"assert(neap.http.serve {{ app = app, port = {taken} }})", "EADDRINUSE|address already in use"
    yield "a main chunk that spins", "while true do end", r"service\.lua:\d+.*|not loaded within"
    yield "a main chunk that waits for ever", "neap.task.sleep(1e6)", "not loaded within 1 s"


def broken_scripts():
    service = s.Service(good("old"), options=["--workers", "2", "--load-timeout", "1"])
    address = service.address()
    load = s.Load(address)
    old = "old"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        for number, (name, lua, words) in enumerate(cases(other.getsockname()[1])):
            good("broken", lua)
            line = service.reload(f"reload failed, the old code serves on: .*(?:{words})", "reloaded in")
            print(f"   {name}: {line[28:]}")
            s.equal({s.get(address, "/")[1] for _ in range(8)}, {old}, f"who answers after {name}")
            if number % 3 == 2:  # a corrected one loads
                old = f"mended{number}"
                good(old)
                service.reload()
                s.equal({s.get(address, "/")[1] for _ in range(8)}, {old}, f"who answers after the mend of {name}")
    good("last")
    service.reload()
    s.until(lambda: s.get(address, "/")[1] == "last", "the last one answers")
    figures = load.stop_clean()
    s.check("broken" not in figures["bodies"], "broken code answered")
    print(f"   {figures['requests']} requests")
    service.signal(s.signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def a_broken_first_script():
    """The first load has nothing to fall back to: the process ends, whichever worker it was that failed."""
    for worker in (0, 1):
        more = f'if neap.worker.id == {worker} then error "cannot begin" end'
        service = s.Service(good("never", more), options=["--workers", "2"])
        s.equal(service.ended(), 1, f"the exit code when worker {worker} fails")
        service.await_line("cannot begin")


s.run(broken_scripts, a_broken_first_script)
