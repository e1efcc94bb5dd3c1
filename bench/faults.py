"""faults: ten upstreams, of which some are slowed, killed, answer 503 or are stopped (SIGSTOP) while wrk asks for more;
neap with what a client of a service has by default, against HAProxy with all that it has.

Each upstream is a process that answers after 3 to 7 ms. Three phases: all are well; the faults come, a second after the
load has begun; and the faults are still there.
"""

import os
import re
import signal
import subprocess
import threading
import time
import urllib.request

import harness as h

UPSTREAMS = 10
HAPROXY = "HAProxy"
TIMEOUT = 10  # seconds that the generator waits for an answer: what hangs counts with what it took

# name: {upstream's number: what befalls it}
SCENARIOS = {
    "one of each": {0: "slow", 1: "kill", 2: "503", 3: "stop"},
    "two slowed": {0: "slow", 1: "slow"},
    "two killed -9": {0: "kill", 1: "kill"},
    "two answer 503": {0: "503", 1: "503"},
    "two stopped (SIGSTOP)": {0: "stop", 1: "stop"},
}


class Upstreams:
    def __init__(self):
        self.ports = [h.free_port() for _ in range(UPSTREAMS)]
        self.servers = [None] * UPSTREAMS
        self.stopped = set()
        for number in range(UPSTREAMS):
            self.start(number)

    def start(self, number):
        self.servers[number] = h.Server(
            f"upstream {number}", [h.program(), "run", os.path.join(h.HERE, "faults_upstream.lua"), str(self.ports[number])],
            self.ports[number], cores=h.one_each()[1])

    def tell(self, number, query):
        urllib.request.urlopen(f"http://127.0.0.1:{self.ports[number]}/_set?{query}", timeout=5).close()

    def befall(self, number, fault):
        if fault == "slow":
            self.tell(number, "delay=0.3")
        elif fault == "503":
            self.tell(number, "status=503")
        elif fault == "kill":
            self.servers[number].process.kill()
            self.servers[number].process.wait()
        else:
            os.kill(self.servers[number].process.pid, signal.SIGSTOP)
            self.stopped.add(number)

    def mend(self, faults):
        for number, fault in faults.items():
            if fault == "kill":
                self.servers[number].stop()
                self.start(number)
            elif fault == "stop":
                os.kill(self.servers[number].process.pid, signal.SIGCONT)
                self.stopped.discard(number)
            else:
                self.tell(number, "")

    def stop(self):
        for number in self.stopped:
            os.kill(self.servers[number].process.pid, signal.SIGCONT)
        for server in self.servers:
            server.stop()


def load(gateway, seconds, connections, then=None):
    """wrk for so long; `then` is called when it has run for a second. Requests, errors in percent, latencies in ms."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{TIMEOUT}s", "--latency",
            f"http://127.0.0.1:{gateway.port}/"]
    wrk = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           preexec_fn=h.pinned(h.one_each()[1]))
    if then:
        timer = threading.Timer(1, then)
        timer.start()
    out = wrk.communicate(timeout=seconds + 3 * TIMEOUT)[0]
    if then:
        timer.join()
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    non2xx = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    socket = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    errors = non2xx + (sum(int(n) for n in socket.groups()) if socket else 0)
    figures = {"requests": requests, "errors": errors, "errors_percent": 100 * errors / max(requests + errors - non2xx, 1)}
    for part in ("50", "99"):
        figures["p" + part] = h.milliseconds(re.search(part + r"%\s+(\S+)", out).group(1))
    return figures


def phases(gateway, upstreams, faults, opts):
    def befall():
        for number, fault in faults.items():
            upstreams.befall(number, fault)

    connections = min(opts.connections, 32)
    healthy = load(gateway, opts.seconds, connections)
    try:
        onset = load(gateway, opts.seconds + 3, connections, befall)
        after = load(gateway, opts.seconds + 1, connections)
    finally:
        upstreams.mend(faults)
    total = onset["requests"] + after["requests"]
    return {
        "requests": total, "errors": onset["errors"] + after["errors"],
        "errors_percent": 100 * (onset["errors"] + after["errors"]) / max(total, 1),
        "healthy_p99": healthy["p99"], "onset_p99": onset["p99"], "after_p99": after["p99"],
        "p99_ratio": after["p99"] / healthy["p99"],
    }


COLUMNS = [("requests", "requests", ",.0f"), ("errors", "errors", ".0f"), ("errors_percent", "errors %", ".3f"),
           ("healthy_p99", "healthy p99", ".1f"), ("onset_p99", "onset p99", ".1f"), ("after_p99", "after p99", ".1f"),
           ("p99_ratio", "after/healthy", ".2f")]


def gateways(upstreams):
    yield "neap", lambda: h.neap_here("faults_gateway.lua", *upstreams.ports)
    servers = "\n".join(f"    server s{i} 127.0.0.1:{port}" for i, port in enumerate(upstreams.ports))
    yield HAPROXY, lambda: h.haproxy(HAPROXY, "haproxy-faults.conf", servers=servers)


def run(opts):
    out = h.Results("faults")
    upstreams = Upstreams()
    worst = {"errors": 0, "ratio": 0}
    try:
        for name, faults in SCENARIOS.items():
            results = {}
            for gateway, start in gateways(upstreams):
                with start() as server:
                    time.sleep(1)  # its checks have run
                    results[gateway] = phases(server, upstreams, faults, opts)
                h.progress(f"{name}: {gateway}")
            h.progress("")
            out.table(name + ", ms", results, COLUMNS)
            worst["errors"] = max(worst["errors"], results["neap"]["errors_percent"])
            worst["ratio"] = max(worst["ratio"], results["neap"]["p99_ratio"])
    finally:
        upstreams.stop()
    print()
    out.ratio("errors that neap's client saw, in percent, at worst", worst["errors"], 0.1)
    out.ratio("neap's p99 with the faults over its healthy one, at worst", worst["ratio"], 2.0)
    return out
