-- The gateway of bench/faults.py: what a client of a service has by default, and nothing else. Its port and the
-- upstreams' are the arguments.
local neap = require "neap"

for i = 2, #arg do
  assert(neap.registry.register { name = "upstream", id = "upstream-" .. i - 1, address = "127.0.0.1:" .. arg[i] })
end

local upstream = neap.http.client { service = "upstream" }

assert(neap.http.serve {
  port = tonumber(arg[1]),
  handler = function(req) return req:forward(upstream) end,
})
