"""The shipped default (np_cluster_defaults: peak_ewma, outlier detection, retries within a budget, adaptive
concurrency) against round robin and plain P2C in each shipped scenario: it must have the better p99 and the
greater goodput. Where this fails, a change has made the default worse. Deterministic by seed."""
import glob
import json
import os
import subprocess
import sys

NEAP = os.environ["NEAP"]
SEEDS = os.environ.get("NEAP_SIM_SEEDS", "1").split(",")


def run(path, seed):
    out = subprocess.run([NEAP, "sim", "--json", "--duration", "50", "--seed", seed, path], check=True, capture_output=True)
    return {p["name"]: p for p in json.loads(out.stdout)["policies"]}


def check(path, seed):
    results = run(path, seed)
    default = results["default"]
    wrong = []
    for name in ("round_robin", "p2c"):
        other = results[name]
        if not default["p99"] < other["p99"]:
            wrong.append(f"p99 {default['p99']:.4f} s, {name} has {other['p99']:.4f} s")
        if not default["goodput"] > other["goodput"]:
            wrong.append(f"goodput {default['goodput']:.1f}/s, {name} has {other['goodput']:.1f}/s")
    for line in wrong:
        print(f"FAILED: {path}, seed {seed}: default: {line}")
    return not wrong


def main():
    paths = sorted(glob.glob("examples/sim/*.lua"))
    assert len(paths) >= 8, paths
    if not all([check(path, seed) for path in paths for seed in SEEDS]):
        sys.exit(1)


main()
