-- Metastable overload (Bronson et al., HotOS 2021): a trigger that is over in five seconds, and a system that
-- stays down. Queues are long, work that nobody waits for any more is done all the same, and users try again,
-- so that at a load of 80 % all of the capacity goes into answers that come too late.
--
--   neap sim examples/sim/metastable.lua

local neap = require "neap"

return neap.sim.scenario {
  name = "metastable",
  description = "80 % of the capacity; five seconds of three times the load at 20 s; users try again",
  duration = 80,
  clients = 3,
  timeout = 1,
  slo = 0.2, -- a good answer comes within 200 ms
  endpoints = {
    {
      name = "app", count = 10, latency = { "lognormal", median = 0.010, p99 = 0.050 }, concurrency = 8,
      queue = 2000, contention = 0.02,
    },
  },
  arrival = { rate = 5000, bursts = { { at = 20, lasts = 5, factor = 3 } } },
  user_retries = { attempts = 3, delay = { "uniform", min = 0.05, max = 0.25 } },
}
