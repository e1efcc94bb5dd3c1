-- One of three zones is cut off: packets into it vanish. It comes back after forty seconds.
--
--   neap sim examples/sim/zone_loss.lua

local neap = require "neap"

local latency = { "lognormal", median = 0.010, p99 = 0.050 }

return neap.sim.scenario {
  name = "zone_loss",
  description = "four of twelve endpoints, a whole zone, are cut off from 20 s to 60 s",
  duration = 90,
  clients = 4,
  timeout = 1,
  slo = 0.2, -- a good answer comes within 200 ms
  zone_latency = 0.001,
  endpoints = {
    { name = "a", count = 4, zone = "a", latency = latency, concurrency = 16 },
    { name = "b", count = 4, zone = "b", latency = latency, concurrency = 16 },
    { name = "c", count = 4, zone = "c", latency = latency, concurrency = 16 },
  },
  arrival = { rate = 4200 },
  faults = { { at = 20, lasts = 40, zone = "b", black_hole = true } },
}
