-- A routing policy of one's own: the instance in the nearest zone that is not too busy.
--
--   neap run examples/policy.lua

local neap = require "neap"

-- Called for every request; the fields of an endpoint are live statistics.
neap.balancer.define("nearest_zone", {
  pick = function(_, endpoints)
    local best, best_cost
    for _, endpoint in ipairs(endpoints) do
      local distance = endpoint.zone == "eu-1" and 1 or 10
      local cost = distance * (endpoint.active + 1)
      if not best or cost < best_cost then best, best_cost = endpoint, cost end
    end
    return best
  end,
})

local servers = {}
for i, zone in ipairs { "eu-1", "eu-1", "us-1" } do
  local app = neap.http.app()
  app:get("/", function()
    neap.task.sleep(0.02)
    return zone .. " " .. i
  end)
  servers[i] = assert(neap.http.serve { app = app })
  assert(neap.registry.register { name = "echo", address = servers[i].address, zone = zone })
end

local echo = neap.http.client { service = "echo", balancer = "nearest_zone" }

-- Thirty calls at once: the near instances take ten times as many each as the far one.
local calls, count = {}, {}
for i = 1, 30 do calls[i] = echo:async():get "/" end
for _, call in ipairs(calls) do
  local res = assert(call:await(5))
  count[res.body] = (count[res.body] or 0) + 1
end

for who, n in pairs(count) do print(n .. " answered by " .. who) end
for _, server in ipairs(servers) do server:close() end
