"""neap as a service: pid file, log file opened anew, another user, sockets and readiness as systemd has them, --watch."""

import os
import pwd
import signal
import socket
import sys

sys.path.insert(0, os.path.join(os.environ.get("NEAP_SOURCE", "."), "spec", "support"))
import service as s

SCRIPT = """
local neap = require "neap"
local app = neap.http.app()
app:get("/", function() return "@generation@" end)
app:get("/worker", function() return tostring(neap.worker.id) end)
app:get("/log/:word", function(req) neap.log.info(req.params.word) return "ok" end)
local server = assert(neap.http.serve { app = app, port = @port@ })
if neap.worker.id == 0 then print("listening on " .. server.address) end
"""
# Puts the socket where systemd does, says so, and becomes the program.
ACTIVATE = """
import os, sys
fd = int(sys.argv[1])
os.dup2(fd, 3)
if fd != 3: os.close(fd)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


STUCK = """
local neap = require "neap"
local app = neap.http.app()
app:get("/worker", function() return tostring(neap.worker.id) end)
app:get("/stuck", function()     -- exponential: minutes and more
  return tostring(string.find(("a"):rep(40), ("a?"):rep(40) .. ("a"):rep(40)))
end)
local server = assert(neap.http.serve { app = app, port = 0 })
if neap.worker.id == 0 then print("listening on " .. server.address) end
"""


def script(generation="one", port=0):
    return s.write("service.lua", SCRIPT.replace("@generation@", generation).replace("@port@", str(port)))


def read(name):
    try:
        with open(s.path(name)) as f:
            return f.read()
    except FileNotFoundError:
        return ""


def stop(service):
    service.signal(signal.SIGTERM)
    s.equal(service.ended(), 0, "the exit code")


def pid_file():
    options = ["--workers", "2", "--pid-file", s.path("pid")]
    service = s.Service(script(), options=options)
    address = service.address()
    s.until(lambda: read("pid") == f"{service.pid}\n", "the process's number stands in the file")
    second = s.Service(script(), options=options)
    s.equal(second.ended(), 1, "the exit code of a second one with the same file")
    s.equal(read("pid"), f"{service.pid}\n", "the pid file after the second one")
    service.reload()
    s.equal(s.get(address, "/"), (200, "one"), "an answer")
    stop(service)
    s.check(not os.path.exists(s.path("pid")), "the pid file stayed")


def log_file():
    service = s.Service(script(), options=["--workers", "2", "--log-file", s.path("log")])
    address = service.address()
    s.get(address, "/log/before")
    s.until(lambda: "before" in read("log"), "the line is in the file")
    os.rename(s.path("log"), s.path("log.1"))  # as logrotate does
    service.signal(signal.SIGUSR1)
    s.until(lambda: os.path.exists(s.path("log")), "the file is opened anew")
    s.get(address, "/log/after")
    s.until(lambda: "after" in read("log"), "a later line is in the new file")
    s.check("after" not in read("log.1") and "before" in read("log.1"), "the lines are in the wrong files")
    stop(service)


def another_user():
    if os.getuid() != 0:
        print("   skipped: not root")
        return
    nobody = pwd.getpwnam("nobody")
    os.chmod(os.path.dirname(s.path("x")), 0o755)
    service = s.Service(script(), options=["--workers", "2", "--user", "nobody"])
    address = service.address()
    s.until(lambda: service.status("Uid") == nobody.pw_uid, "it is another user")
    for task in os.listdir(f"/proc/{service.pid}/task"):
        with open(f"/proc/{service.pid}/task/{task}/status") as f:
            ids = next(line for line in f if line.startswith("Uid:")).split()[1:]
        s.equal(set(ids), {str(nobody.pw_uid)}, f"the ids of thread {task}")
    service.reload()
    s.equal(s.get(address, "/"), (200, "one"), "an answer after a reload")
    stop(service)


def a_socket_from_systemd():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        service = s.Service(pass_fds=[listener.fileno()], argv=[
            sys.executable, "-c", ACTIVATE, str(listener.fileno()), os.path.abspath(s.NEAP), "run", "--log-format", "text",
            "--workers", "2", script(port=address[1])])
        service.address()
    load = s.Load(address)
    for worker in (0, 1):
        s.on_worker(address, worker).close()
    script("two", address[1])
    service.reload()
    s.until(lambda: s.get(address, "/") == (200, "two"), "the new code answers on the same socket")
    load.stop_clean()
    stop(service)


def readiness():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(s.path("notify"))
        notified.settimeout(s.PATIENCE)

        def hear(word):
            while word not in notified.recv(4096).decode().split("\n"):
                pass

        service = s.Service(script(), options=["--workers", "2"],
                            env={"NOTIFY_SOCKET": s.path("notify"), "WATCHDOG_USEC": "200000"})
        hear("READY=1")
        for worker in (0, 1):
            s.on_worker(service.address(), worker).close()
        hear("WATCHDOG=1")
        service.signal(signal.SIGHUP)
        hear("RELOADING=1")
        hear("READY=1")
        service.signal(signal.SIGTERM)
        hear("STOPPING=1")
        s.equal(service.ended(), 0, "the exit code")


def alive_beside_the_stuck():
    """systemd hears that all live once a worker that is stuck was replaced."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(s.path("alive"))
        notified.settimeout(s.PATIENCE)
        service = s.Service(s.write("stuck.lua", STUCK), options=["--workers", "2", "--script-timeout", "0.2"],
                            env={"NOTIFY_SOCKET": s.path("alive"), "WATCHDOG_USEC": "400000"})
        s.on_worker(service.address(), 1).send("/stuck")
        service.await_line("worker 1 is stuck and was replaced")
        notified.setblocking(False)
        try:
            while notified.recv(4096):
                pass
        except BlockingIOError:
            pass
        notified.settimeout(s.PATIENCE)
        while notified.recv(4096) != b"WATCHDOG=1\n":
            pass
        service.signal(signal.SIGTERM)
        s.check(service.ended() in (0, 1), "the exit code")


def watching():
    service = s.Service(script("one"), options=["--workers", "2", "--watch"])
    address = service.address()
    s.until(lambda: s.get(address, "/") == (200, "one"), "the first code answers")
    script("two")
    s.until(lambda: s.get(address, "/") == (200, "two"), "the changed file is loaded")
    s.write("service.lua", "local x = = 1")
    service.await_line("reload failed, the old code serves on")
    s.equal(s.get(address, "/"), (200, "two"), "who answers while the file is broken")
    script("three")
    s.until(lambda: s.get(address, "/") == (200, "three"), "the mended file is loaded")
    stop(service)


s.run(pid_file, log_file, another_user, a_socket_from_systemd, readiness, alive_beside_the_stuck, watching)
