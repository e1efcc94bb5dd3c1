"""workers: what a second worker brings, what it costs a request, and what goes between workers.

Here servers and load generator have all cores, since two workers want two. Where the cores are no more than the
workers the generator takes its time from them, so the requests a second of hello say little; what counts there is the
CPU time of a request, and the requests a second of a handler that computes beside which wrk hardly counts.
"""

import os
import re
import statistics
import subprocess
import sys

import harness as h

FIGURES = [  # what the scripts in bench/workers print: name, what it is, goal, whether at most
    ("shared.incr", "neap.shared incr a second and worker, uncontended", 5e6, False),
    ("registry.snapshot_ns", "registry snapshot read from Lua, ns", 200, True),
    ("bus.p50_us", "a bus message between workers, p50 µs", 20, True),
    ("bus.batched", "bus messages a second between workers, batched", 1e6, False),
]
SCRIPTS = [("shared.lua", 1), ("registry.lua", 1), ("bus.lua", 2)]


def server(script, workers):
    port = h.free_port()
    argv = [h.program(), "run", "--workers", str(workers), os.path.join(h.HERE, script), str(port)]
    return h.Server(f"{workers} workers", argv, port, cores=h.all_cores())


def one_and_two(script, opts):
    with server(script, 1) as one, server(script, 2) as two:
        return h.rounds({"one worker": one, "two workers": two}, opts.rounds,
                        lambda s: h.wrk(s, opts.seconds, opts.connections, cores=h.all_cores()))


def printed(script, workers):
    """{name: number} of the lines "name number" that the script prints."""
    argv = [h.program(), "run", "--workers", str(workers), os.path.join(h.HERE, "workers", script)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    if done.returncode:
        sys.exit(f"{script}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return {name: float(number) for name, number in re.findall(r"^([\w.]+) ([\d.e+-]+)$", done.stdout, re.M)}


def figures(rounds):
    taken = {}
    for script, workers in SCRIPTS:
        if not os.path.exists(os.path.join(h.HERE, "workers", script)):
            continue
        for number in range(rounds):
            h.progress(f"{script} {number + 1}/{rounds}")
            for name, value in printed(script, workers).items():
                taken.setdefault(name, []).append(value)
    h.progress("")
    return {name: statistics.median(values) for name, values in taken.items()}


def run(opts):
    out = h.Results("workers")
    hello, busy = one_and_two("http_hello.lua", opts), one_and_two("workers/busy.lua", opts)
    between = figures(min(opts.rounds, 5))
    out.table(f"http-hello: {opts.connections} connections, keep-alive", hello, h.HTTP_COLUMNS)
    out.table("a handler that computes", busy, h.HTTP_COLUMNS)
    print()
    one, two = hello["one worker"], hello["two workers"]
    out.ratio("hello, CPU per request, two workers over one", two["cpu_us"] / one["cpu_us"], 1.1)
    if len(h.all_cores()) > 2:
        out.ratio("hello, requests a second, two workers over one", two["rps"] / one["rps"], 1.7, at_most=False)
    one, two = busy["one worker"], busy["two workers"]
    out.ratio("computing, requests a second, two workers over one", two["rps"] / one["rps"], 1.7, at_most=False)
    for name, what, goal, at_most in FIGURES:
        if name in between:
            out.ratio(what, between.pop(name), goal, at_most)
    for name, value in between.items():
        print(f"  {name}: {value:,.2f}")
    out.check_failed(hello, busy)
    return out
