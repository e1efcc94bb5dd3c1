-- Three generations of machines behind one name, and nobody has set weights: the newest can do eight times as
-- much as the oldest. The load has a burst.
--
--   neap sim examples/sim/heterogeneous.lua

local neap = require "neap"

return neap.sim.scenario {
  name = "heterogeneous",
  description = "endpoints of 20, 14 and 10 ms, and 4, 8 and 16 at a time; twice the load from 30 s to 40 s",
  duration = 60,
  clients = 3,
  timeout = 1,
  slo = 0.2, -- a good answer comes within 200 ms
  endpoints = {
    { name = "old", count = 4, latency = { "lognormal", median = 0.020, p99 = 0.100 }, concurrency = 4 },
    { name = "mid", count = 4, latency = { "lognormal", median = 0.014, p99 = 0.070 }, concurrency = 8 },
    { name = "new", count = 4, latency = { "lognormal", median = 0.010, p99 = 0.050 }, concurrency = 16 },
  },
  arrival = { rate = 2600, bursts = { { at = 30, lasts = 10, factor = 2 } } },
}
