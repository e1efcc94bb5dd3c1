-- Three of ten endpoints brown out: within ten seconds they take six times as long and fail one request in
-- twenty, stay so for half a minute, and recover at once.
--
--   neap sim examples/sim/brownout.lua

local neap = require "neap"

return neap.sim.scenario {
  name = "brownout",
  description = "three of ten endpoints grow six times as slow, with 5 % of errors, from 20 s to 60 s",
  duration = 90,
  clients = 3,
  timeout = 1,
  slo = 0.2, -- a good answer comes within 200 ms
  endpoints = {
    { name = "app", count = 10, latency = { "lognormal", median = 0.010, p99 = 0.050 }, concurrency = 16 },
  },
  arrival = { rate = 3500 },
  faults = {
    {
      at = 20, lasts = 40, ramp = 10, endpoints = { "app2", "app5", "app9" },
      slow = 6, error_rate = 0.05, error_status = 503, error_latency = false,
    },
  },
}
