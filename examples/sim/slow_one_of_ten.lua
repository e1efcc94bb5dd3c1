-- One of ten endpoints becomes ten times as slow: a noisy neighbour, a failing disk. It answers all the
-- same, so nothing counts as an error.
--
--   neap sim examples/sim/slow_one_of_ten.lua

local neap = require "neap"

return neap.sim.scenario {
  name = "slow_one_of_ten",
  description = "one of ten endpoints takes ten times as long from 20 s to 70 s",
  duration = 90,
  clients = 3, -- processes that share nothing
  timeout = 1,
  slo = 0.2, -- a good answer comes within 200 ms
  endpoints = {
    -- A service of 10 ms with the tail that services have; 30 % busy when all is well.
    { name = "app", count = 10, latency = { "lognormal", median = 0.010, p99 = 0.050 }, concurrency = 16 },
  },
  arrival = { rate = 3500 },
  faults = { { at = 20, lasts = 50, endpoints = "app4", slow = 10 } },
}
