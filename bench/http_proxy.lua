-- The proxy that bench/http_proxy.py measures: a policy of its own chooses one of two upstreams for each request.
-- Its port and the upstreams' are the arguments.
local neap = require "neap"

for i = 2, 3 do
  assert(neap.registry.register { name = "upstream", id = "upstream-" .. i, address = "127.0.0.1:" .. arg[i] })
end

local turn = 0
neap.balancer.define("in_turn", {
  pick = function(_, endpoints)
    turn = turn + 1
    return endpoints[turn % #endpoints + 1]
  end,
})

-- The policy and nothing else, as the peers are configured: without the rules of a client of a service
-- (retries, outliers, limits).
local upstream = neap.http.client { balancer = neap.balancer.new("in_turn", { service = "upstream" }) }

assert(neap.http.serve {
  port = tonumber(arg[1]),
  handler = function(req) return req:forward(upstream) end,
})
