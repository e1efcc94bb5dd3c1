"""What the end-to-end tests in Python share: services, clients, load.

NEAP is the program, NEAP_SOURCE the checkout (ctest sets them). A `Service` keeps all that it prints; `await_line`
waits for a line of it. Nothing sleeps to let something happen: `until` asks again and again until a condition
holds, and fails when it does not within a minute. What a test started is ended when the test ends, however it
ends; when it fails, the output of each service is shown.

NEAP_BOUNDS=1 (scripts/test --bounds) says that the program is a release build on a machine that has time for it:
then tests also assert the bounds of time and memory that the issue names.
"""

import ctypes
import http.client
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

NEAP = os.environ.get("NEAP", "build/neap")
SOURCE = os.environ.get("NEAP_SOURCE", ".")
BOUNDS = os.environ.get("NEAP_BOUNDS") == "1"
PATIENCE = 60

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_started = []  # services and load, in their order
_directory = tempfile.mkdtemp(prefix="neap-e2e-")


def path(name):
    """A file of the test's own folder."""
    return os.path.join(_directory, name)


def write(name, text):
    """Replaces the file in one step, as editors and deployments do."""
    with open(path(name + ".new"), "w") as f:
        f.write(text)
    os.replace(path(name + ".new"), path(name))
    return path(name)


def _end_with_test():
    """In a child: it is killed when the test is, which then cannot clean up."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Failed(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Failed(what)


def equal(got, want, what):
    check(got == want, f"{what}: wanted {want!r}, got {got!r}")


def until(condition, what, patience=PATIENCE):
    """Waits until `condition()` is true, and returns what it gave."""
    end = time.monotonic() + patience
    while True:
        result = condition()
        if result:
            return result
        check(time.monotonic() < end, f"not within {patience} s: {what}")
        time.sleep(0.005)  # between two looks


class Service:
    """`neap run OPTIONS SCRIPT ARGS`, or any other command with `argv`."""

    def __init__(self, script=None, *args, options=(), argv=None, env=None, files=None, cwd=None, pass_fds=()):
        def prepare():
            _end_with_test()
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        argv = argv or [NEAP, "run", "--log-format", "text", *options, script, *args]
        self.lines = []
        self._change = threading.Condition()
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}, cwd=cwd,
                                        text=True, errors="replace", preexec_fn=prepare, pass_fds=pass_fds)
        self.pid = self.process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        _started.append(self)

    def _read(self):
        for line in self.process.stdout:
            with self._change:
                self.lines.append(line.rstrip("\n"))
                self._change.notify_all()
        with self._change:
            self.lines.append(None)  # the end
            self._change.notify_all()

    def matching(self, regex):
        with self._change:
            return [m for m in (re.search(regex, line) for line in self.lines if line is not None) if m]

    def await_line(self, regex, count=1, patience=PATIENCE):
        """The match of the `count`th line that matches."""
        end = time.monotonic() + patience
        with self._change:
            while True:
                found = [m for m in (re.search(regex, line) for line in self.lines if line is not None) if m]
                if len(found) >= count:
                    return found[count - 1]
                gone = bool(self.lines) and self.lines[-1] is None
                check(not gone, f"it ended and did not say: {regex}")
                self._change.wait(end - time.monotonic())
                check(time.monotonic() < end, f"not within {patience} s: the line {regex}")

    def address(self):
        """(host, port) of the first "listening on HOST:PORT"."""
        found = self.await_line(r"listening on ([\d.]+):(\d+)")
        return found.group(1), int(found.group(2))

    def signal(self, number):
        os.kill(self.pid, number)

    def reload(self, wanted="reloaded in", other="reload failed"):
        """SIGHUP; returns the line that says how it went, which `wanted` must match."""
        before = len(self.matching(f"(?:{wanted}|{other})"))
        self.signal(signal.SIGHUP)
        line = self.await_line(f"(?:{wanted}|{other})", before + 1).string
        check(re.search(wanted, line), f"wanted {wanted!r}, got {line!r}")
        return line

    def ended(self, patience=PATIENCE):
        """Waits for its end; the exit code, 128 + n for a signal."""
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise Failed(f"it did not end within {patience} s") from None
        self._reader.join(PATIENCE)
        return code if code >= 0 else 128 - code

    def status(self, field):
        with open(f"/proc/{self.pid}/status") as f:
            return int(re.search(rf"^{field}:\s+(\d+)", f.read(), re.M).group(1))

    def resident_kib(self):
        return self.status("VmRSS")

    def threads(self):
        return self.status("Threads")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Load:
    """wrk against an address until `stop`. Keeps every body it saw with `bodies=True`."""

    SCRIPT = """
local seen = {}
bodies = ""
function response(status, headers, body)
  if not seen[body] then seen[body] = true; bodies = bodies .. body .. "\\n" end
end
local thread
function setup(t) thread = t end
function done() io.write("\\nbodies:\\n", thread:get "bodies", "\\n") end
"""

    def __init__(self, address, url="/", connections=20, bodies=True):
        argv = ["wrk", "-t1", f"-c{connections}", "-d600s", "--timeout", "30s", "--latency"]
        if bodies:
            argv += ["-s", write("load.lua", Load.SCRIPT)]
        self.process = subprocess.Popen(argv + [f"http://{address[0]}:{address[1]}{url}"],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        preexec_fn=_end_with_test)
        _started.append(self)
        until(lambda: self._sockets() >= connections, "wrk has connected")

    def _sockets(self):
        check(self.process.poll() is None, "wrk has ended")
        folder = f"/proc/{self.process.pid}/fd"
        return sum(self._is_socket(os.path.join(folder, fd)) for fd in os.listdir(folder))

    @staticmethod
    def _is_socket(path):
        try:
            return os.readlink(path).startswith("socket:")
        except FileNotFoundError:  # closed meanwhile
            return False

    def stop(self):
        """Its figures: requests, failed (non-2xx), each of the socket errors, bodies (a set)."""
        self.process.send_signal(signal.SIGINT)
        out = self.process.communicate(timeout=PATIENCE)[0]
        self.out = out
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
        failed = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        requests = re.search(r"(\d+) requests in", out)
        check(requests, f"wrk says nothing: {out}")
        bodies = out.split("bodies:\n", 1)[1].split() if "bodies:\n" in out else []
        result = {"requests": int(requests.group(1)), "failed": int(failed.group(1)) if failed else 0}
        for i, name in enumerate(("connect", "read", "write", "timeout")):
            result[name] = int(errors.group(i + 1)) if errors else 0
        result["bodies"] = set(bodies)
        return result

    def stop_clean(self):
        """Stops it and asserts that not one request has failed."""
        figures = self.stop()
        wrong = {k: figures[k] for k in ("failed", "connect", "read", "write", "timeout") if figures[k]}
        check(not wrong, f"wrk saw failures: {wrong} of {figures['requests']}")
        check(figures["requests"] > 0, "wrk had not one answer")
        return figures

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Client:
    """A keep-alive connection."""

    def __init__(self, address, timeout=PATIENCE):
        self.connection = http.client.HTTPConnection(*address, timeout=timeout)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.auto_open = 0  # one connection, one worker

    def send(self, url, method="GET", body=None):
        self.connection.request(method, url, body)

    def receive(self):
        """(status, body)"""
        response = self.connection.getresponse()
        self.headers = response.headers
        return response.status, response.read().decode(errors="replace")

    def get(self, url):
        self.send(url)
        return self.receive()

    def close(self):
        self.connection.close()


def get(address, url, method="GET", body=None):
    """One request on a connection of its own: (status, body)."""
    client = Client(address)
    try:
        client.send(url, method, body)
        return client.receive()
    finally:
        client.close()


def on_worker(address, worker, url="/worker"):
    """A connection whose other end is that worker; `url` must answer with the worker's number."""
    tried = []

    def one():
        client = Client(address)
        if client.get(url)[1] == str(worker):
            return client
        tried.append(client)  # kept open, so that balancing moves on
        if len(tried) > 64:
            tried.pop(0).close()
        return None

    client = until(one, f"a connection to worker {worker}")
    for other in tried:
        other.close()
    return client


class Background(threading.Thread):
    """Runs `fn` beside the test; `result` waits and raises what it raised."""

    def __init__(self, fn, *args):
        super().__init__(daemon=True)
        self.fn, self.args = fn, args
        self.value = self.error = None
        self.start()

    def run(self):
        try:
            self.value = self.fn(*self.args)
        except BaseException as error:  # pylint: disable=broad-except
            self.error = error

    def result(self):
        self.join(PATIENCE)
        check(not self.is_alive(), "it did not end")
        if self.error:
            raise self.error
        return self.value


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def _clean():
    for thing in reversed(_started):
        thing.end()
    shutil.rmtree(_directory, ignore_errors=True)


def run(*tests):
    """Runs the tests one after the other; names on the command line choose among them."""
    chosen = [t for t in tests if len(sys.argv) < 2 or t.__name__ in sys.argv[1:]]
    for test in chosen:
        del _started[:]
        print(f"== {test.__name__}", flush=True)
        try:
            test()
        except BaseException:  # whatever it is, shown with what the services said
            traceback.print_exc()
            for thing in _started:
                if isinstance(thing, Service):
                    print(f"---- {' '.join(thing.process.args)}")
                    print("\n".join(line for line in thing.lines[-60:] if line is not None))
            _clean()
            sys.exit(1)
        for thing in reversed(_started):
            thing.end()
    _clean()
