-- For eight seconds the endpoints have a third of their capacity (a batch job, a noisy host). Users whose
-- call failed call again, up to three times, so that the load grows just when there is least to spare; and
-- the servers do not notice when a caller has given up.
--
--   neap sim examples/sim/retry_storm.lua

local neap = require "neap"

return neap.sim.scenario {
  name = "retry_storm",
  description = "a third of the capacity from 20 s to 28 s, and users that try again three times",
  duration = 80,
  clients = 3,
  timeout = 1,
  slo = 0.2, -- a good answer comes within 200 ms
  endpoints = {
    {
      name = "app", count = 10, latency = { "lognormal", median = 0.010, p99 = 0.050 }, concurrency = 16,
      queue = 512, contention = 0.1,
    },
  },
  arrival = { rate = 6000 },
  user_retries = { attempts = 3, delay = { "uniform", min = 0.1, max = 0.5 } },
  faults = { { at = 20, lasts = 8, capacity = 0.34 } },
}
