"""scripts/bench: runs benchmarks by name; --report writes their page."""

import argparse
import importlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# startup comes first: a harness that has grown takes longer to start a process.
NAMES = ["startup", "http-hello", "http-json", "http-proxy", "tls-hello", "idle", "static", "access-log", "faults", "balancer",
         "workers"]


def run(name, opts):
    return importlib.import_module(name.replace("-", "_")).run(opts)


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="side by side with real peers")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--report", action="store_true",
                        help="write docs/benchmarks.md and its plots; without names, of all rows")
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds each (default 9)")
    parser.add_argument("--seconds", type=int, default=2, help="a round's length (default 2)")
    parser.add_argument("--connections", type=int, default=50, help="default 50")
    parser.add_argument("--depth", type=int, default=16, help="requests in a pipelined group (default 16)")
    opts = parser.parse_args()
    unknown = [name for name in opts.names if name not in NAMES]
    if unknown or not (opts.names or opts.report):
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "name a benchmark, or --report")
    results = [run(name, opts) for name in opts.names or NAMES]
    if opts.report:
        importlib.import_module("report").write(results, opts)
    return 0 if all(result.met for result in results) else 1


sys.exit(main())
