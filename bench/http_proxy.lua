-- The proxy that bench/http_proxy.py measures: a policy of its own chooses one of two upstreams for each request.
-- Its port and the upstreams' are the arguments.
local neap = require "neap"

neap.balancer.define("in_turn", function()
  local n = 0
  return { pick = function(_, endpoints) n = n + 1 return endpoints[n % #endpoints + 1] end }
end)

local client = neap.http.client {
  balancer = neap.balancer.new("in_turn", {
    endpoints = { "127.0.0.1:" .. arg[2], "127.0.0.1:" .. arg[3] },
  }),
}

assert(neap.http.serve {
  port = tonumber(arg[1]),
  handler = function(req) return req:forward(client) end,
})
