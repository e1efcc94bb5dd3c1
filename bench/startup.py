"""startup: from exec to listening, and what an idle server keeps resident."""

import statistics

import harness as h


def run(opts):
    seconds, resident = [], []
    for number in range(opts.rounds * 2 + 1):
        with h.neap("http_hello.lua", h.free_port()) as server:
            if number > 0:  # the first one warms the page cache
                seconds.append(server.start_seconds)
                resident.append(server.resident_kib())
    ms, mib = statistics.median(seconds) * 1000, statistics.median(resident) / 1024
    out = h.Results("startup")
    out.table(f"the http-hello server, median of {len(seconds)} starts",
              {"neap": {"ms": ms, "mib": mib}}, [("ms", "ms to listen", ".1f"), ("mib", "resident MiB", ".1f")])
    out.ratio("ms from exec to listening", ms, 20)
    out.ratio("MiB resident when idle", mib, 8)
    return out
