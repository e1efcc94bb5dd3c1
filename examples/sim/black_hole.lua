-- One of ten endpoints takes requests and never answers: a hung process, a firewall that drops.
--
--   neap sim examples/sim/black_hole.lua

local neap = require "neap"

return neap.sim.scenario {
  name = "black_hole",
  description = "10 % of the endpoints answer nothing from 20 s to 70 s",
  duration = 90,
  clients = 3,
  timeout = 1,
  slo = 0.2, -- a good answer comes within 200 ms
  endpoints = {
    { name = "app", count = 10, latency = { "lognormal", median = 0.010, p99 = 0.050 }, concurrency = 16 },
  },
  arrival = { rate = 3500 },
  faults = { { at = 20, lasts = 50, endpoints = "app7", black_hole = true } },
}
