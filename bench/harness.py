"""What every benchmark needs: servers started and stopped, their CPU time, wrk's figures, medians.

The server under test runs on one core and the load generator on another, where there are two. A server's
cost is its own user and system time (its children's included) over the requests it answered, so it
does not depend on how fast the generator is.
"""

import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def one_each():
    """(server's, generator's): the same one where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return {available[0]}, {available[-1]}


def all_cores():
    return set(os.sched_getaffinity(0))


def pinned(core):
    return lambda: os.sched_setaffinity(0, core)


class Server:
    """A server process that is killed at the end, with whatever it started."""

    def __init__(self, name, argv, port, env=None, cwd=None, cores=None):
        self.name, self.port = name, port
        self.errors = tempfile.TemporaryFile()
        started = time.monotonic()
        self.process = subprocess.Popen(
            argv, env={**os.environ, **(env or {})}, cwd=cwd, stdout=subprocess.DEVNULL,
            stderr=self.errors, start_new_session=True, preexec_fn=pinned(cores or one_each()[0]))
        self.wait_until_listening()
        self.start_seconds = time.monotonic() - started

    def wait_until_listening(self, patience=10):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.0005)
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace")
        self.stop()
        sys.exit(f"{self.name}: does not listen on port {self.port}\n{text}")

    def pids(self):
        """The process and all its descendants."""
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as f:
                    queue += [int(child) for child in f.read().split()]
            except OSError:
                pass
        return found

    def cpu_seconds(self):
        """User and system time so far, of all threads; in nanoseconds' steps where the kernel keeps them."""
        total = 0
        for pid in self.pids():
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                    total += int(f.read().split()[0])
        return total / 1e9

    def resident_kib(self):
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/status") as f:
                total += int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
        return total

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.errors.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def milliseconds(text):
    """wrk's "1.02ms" as a number; wrk itself says "-nanus" at times, in pipelined rounds."""
    found = re.match(r"([\d.]+)(\w+)", text)
    if not found:
        return float("nan")
    value, unit = found.groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit]


def wrk(server, seconds, connections, path="/", script=None, args=(), cores=None, scheme="http"):
    """One round: requests a second, p50 and p99 in ms, server CPU in µs a request, failed requests."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    if script:
        argv += ["-s", script]
    argv += [f"{scheme}://127.0.0.1:{server.port}{path}", "--", *map(str, args)]
    before = server.cpu_seconds()
    out = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 30,
                         preexec_fn=pinned(cores or one_each()[1])).stdout
    used = server.cpu_seconds() - before
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    failed = sum(int(n) for n in re.findall(r"(?:Non-2xx or 3xx responses: |connect |read |write |timeout )(\d+)", out))
    return {
        "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
        "p50": milliseconds(re.search(r"50%\s+(\S+)", out).group(1)),
        "p99": milliseconds(re.search(r"99%\s+(\S+)", out).group(1)),
        "cpu_us": used * 1e6 / max(requests, 1),
        "failed": failed,
    }


def rounds(servers, count, measure):
    """Alternates between the servers, `count` times each after a warm-up; {name: {figure: median}}."""
    samples = {name: [] for name in servers}
    for number in range(count + 1):
        for name, server in servers.items():
            sample = measure(server)
            if number > 0:  # the first round warms up
                samples[name].append(sample)
            progress(f"round {number}/{count}: {name}")
    progress("")
    return {name: {key: statistics.median(s[key] for s in taken) for key in taken[0]}
            for name, taken in samples.items()}


def progress(text):
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + text)
        sys.stderr.flush()


def table(title, results, columns):
    """columns: (key, heading, format)"""
    width = max(len(name) for name in results)
    print(f"\n{title}")
    print("  " + " " * width + "".join(f"  {heading:>12}" for _, heading, _ in columns))
    for name, figures in results.items():
        cells = "".join(f"  {format(figures[key], form):>12}" for key, _, form in columns)
        print(f"  {name:<{width}}{cells}")


def ratio(what, value, bound, at_most=True):
    met = value <= bound if at_most else value >= bound
    sign = "≤" if at_most else "≥"
    print(f"  {what}: {value:,.2f}  (goal {sign} {bound:,}: {'met' if met else 'MISSED'})")
    return met


def program():
    return os.environ.get("NEAP", os.path.join(ROOT, "build", "neap"))


def neap(script, port, *args):
    return Server("neap", [program(), "run", os.path.join(HERE, script), str(port), *map(str, args)], port)


def neap_here(script, *args):
    """On a free port."""
    return neap(script, free_port(), *args)


def configured(name, conf, argv, **values):
    """A peer with a configuration of ours; `@port@`, `@dir@` (a scratch folder) and `@name@` of `values` are filled in."""
    port = free_port()
    scratch = tempfile.mkdtemp(prefix="neap-bench-")
    with open(os.path.join(HERE, "peers", conf)) as f:
        text = f.read()
    for key, value in {"port": port, "dir": scratch, **values}.items():
        text = text.replace(f"@{key}@", str(value))
    path = os.path.join(scratch, conf)
    with open(path, "w") as f:
        f.write(text)
    server = Server(name, [part.replace("@dir@", scratch).replace("@conf@", path) for part in argv], port)
    stop = server.stop

    def stop_and_clean():
        stop()
        shutil.rmtree(scratch, ignore_errors=True)

    server.stop = stop_and_clean
    return server


def nginx(name, conf, **values):
    return configured(name, conf, ["nginx", "-p", "@dir@", "-c", "@conf@", "-e", "@dir@/error.log"], **values)


def haproxy(name, conf, **values):
    return configured(name, conf, ["haproxy", "-f", "@conf@", "-db", "-q"], **values)


class Results:
    """A row's tables and ratios, printed as they come and kept for the report."""

    def __init__(self, title):
        self.title, self.tables, self.ratios, self.notes = title, [], [], []

    def table(self, title, results, columns):
        self.tables.append((title, results, columns))
        table(title, results, columns)

    def ratio(self, what, value, bound, at_most=True):
        met = ratio(what, value, bound, at_most)
        self.ratios.append((what, value, bound, at_most, met))
        return met

    def check_failed(self, *parts):
        failed = sum(figures["failed"] for part in parts for figures in part.values())
        if failed:
            self.note(f"{failed:.0f} requests failed: the figures above do not count")
        return failed

    def note(self, text):
        self.notes.append(text)
        print("  " + text)

    @property
    def met(self):
        return all(row[4] for row in self.ratios) and not self.notes


HTTP_COLUMNS = [("rps", "requests/s", ",.0f"), ("p50", "p50 ms", ".3f"), ("p99", "p99 ms", ".3f"),
                ("cpu_us", "CPU µs/req", ".2f"), ("failed", "failed", ".0f")]
