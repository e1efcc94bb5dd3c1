-- Half of the fleet restarts at once: what was in flight breaks, connections are refused for four seconds,
-- and what comes back is cold. The other half is nearly full meanwhile.
--
--   neap sim examples/sim/thundering_restart.lua

local neap = require "neap"

return neap.sim.scenario {
  name = "thundering_restart",
  description = "half of twelve endpoints restart at 20 s, for 4 s, and are eight times as slow at first",
  duration = 60,
  clients = 3,
  timeout = 1,
  slo = 0.2, -- a good answer comes within 200 ms
  endpoints = {
    { name = "app", count = 12, latency = { "lognormal", median = 0.010, p99 = 0.050 }, concurrency = 16 },
  },
  arrival = { rate = 5200 },
  faults = {
    {
      at = 20, lasts = 4, endpoints = { "app1", "app3", "app5", "app7", "app9", "app11" },
      restart = true, cold = { lasts = 15, slow = 8 },
    },
  },
}
