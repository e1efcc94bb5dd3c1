"""balancer: what a pick and its release cost, a limiter's check, and a call through the whole stack of rules.

In C, of one thread's CPU time (bench/balancer.c, where it is said what is measured); policies in Lua from
bench/balancer.lua.
"""

import json
import os
import statistics
import subprocess
import sys

import harness as h

GOALS = {10: 60, 10000: 120}  # ns of a pick and its release, by endpoints
LIMITER_GOAL, LUA_GOAL, STACK_GOAL = 30, 500, 1000
# These look at more than a few endpoints, or compute weights: they are shown and have no goal.
NO_GOAL = ("first", "least_request.weighted")
SEARCHES = ("ring_hash",)  # these find a key's place in a large array


def output(argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    if done.returncode:
        sys.exit(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def figures(argv):
    """The lines {"name": …, "ns": …} that a program prints."""
    return [json.loads(line) for line in output(argv).splitlines() if line.startswith("{")]


def built():
    build = os.path.dirname(os.path.abspath(h.program()))
    output(["cmake", "--build", build, "--target", "bench_balancer"])
    return os.path.join(build, "bench_balancer")


def in_c(rounds):
    """{name: ns}, medians of as many runs of the program as make up the rounds."""
    program, taken = built(), {}
    for number in range(3):
        h.progress(f"balancer {number + 1}/3")
        for row in figures([program, "--rounds", str(rounds)]):
            if "name" in row:
                taken.setdefault(row["name"], []).append(row["ns"])
    h.progress("")
    return {name: statistics.median(values) for name, values in taken.items()}


def spread():
    """{policy.endpoints: figures}: how evenly keys are spread and how many move."""
    return {row["spread"]: row for row in figures([built(), "--only", "spread"])}


def in_lua():
    found = figures([h.program(), "run", os.path.join(h.HERE, "balancer.lua")])
    return {row["name"].removeprefix("lua: "): row["ns"] for row in found}


def by_size(rows_in):
    """{policy: {"10": ns, "10000": ns}} of the names that end in a number."""
    rows = {}
    for name, ns in rows_in.items():
        what, _, size = name.rpartition(".")
        if size.isdigit():
            rows.setdefault(what, {})[size] = ns
    return rows


def run(opts):
    out = h.Results("balancer")
    c, lua = in_c(opts.rounds), in_lua()
    rows = by_size(c)
    columns = [("10", "10", ",.1f"), ("10000", "10,000", ",.1f")]
    policies = {name: row for name, row in rows.items() if not name.startswith("cluster.")}
    out.table("a policy's pick and release, ns, by endpoints", policies, columns)
    clusters = {name.removeprefix("cluster."): row for name, row in rows.items() if name.startswith("cluster.")}
    out.table("a call through a cluster, ns, by endpoints", clusters, columns)
    limiters = {name.removeprefix("limiter."): {"ns": ns} for name, ns in c.items() if name.startswith("limiter.")}
    out.table("a limiter's check", limiters, [("ns", "ns", ",.1f")])
    moved = [("most", "most/mean", ".3f"), ("own", "its own %", ".3f"), ("others", "others %", ".3f")]
    out.table("keys when one of so many endpoints goes", spread(), moved)
    out.table("a policy in Lua, pick and release, 10 endpoints", {name: {"ns": ns} for name, ns in lua.items()},
              [("ns", "ns", ",.0f")])
    print()
    for size, goal in GOALS.items():
        for what, named in (("", lambda name: not name.startswith(NO_GOAL + SEARCHES)),
                            (" of those that search", lambda name: name.startswith(SEARCHES))):
            judged = {name: row[str(size)] for name, row in policies.items() if named(name)}
            slowest = max(judged, key=judged.get)
            out.ratio(f"ns of a pick and its release, {size:,} endpoints, the slowest{what} ({slowest})",
                      judged[slowest], goal)
    out.ratio("ns of a limiter's check, the slowest", max(row["ns"] for row in limiters.values()), LIMITER_GOAL)
    out.ratio("ns of all rules over a pick and a release",
              clusters["everything"]["10"] - policies["peak_ewma"]["10"], STACK_GOAL)
    written = {name: ns for name, ns in lua.items() if name.startswith("policy,")}
    if written:
        out.ratio("ns of a pick and its release by a policy in Lua, 10 endpoints, the quickest that looks at all",
                  min(ns for name, ns in written.items() if "active" in name), LUA_GOAL)
    return out
