"""scripts/bench: runs one benchmark by name."""

import argparse
import importlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
NAMES = ["http-hello", "startup", "workers"]


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="side by side with real peers")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds each (default 9)")
    parser.add_argument("--seconds", type=int, default=2, help="a round's length (default 2)")
    parser.add_argument("--connections", type=int, default=50, help="default 50")
    parser.add_argument("--depth", type=int, default=16, help="requests in a pipelined group (default 16)")
    opts = parser.parse_args()
    return 0 if importlib.import_module(opts.name.replace("-", "_")).run(opts) else 1


sys.exit(main())
