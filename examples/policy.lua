-- A routing policy of one's own: the instance in the nearest zone that is not too busy.
--
--   neap run examples/policy.lua

local neap = require "neap"

-- Called for every request. The fields of an endpoint are live statistics; taken as columns they are read in
-- one go: `active[i]` is endpoints[i].active.
neap.balancer.define("nearest_zone", {
  pick = function(_, endpoints)
    local active, zone = endpoints.active, endpoints.zone
    local best, best_cost
    for i = 1, #endpoints do
      local distance = zone[i] == "eu-1" and 1 or 10
      local cost = distance * (active[i] + 1)
      if not best or cost < best_cost then best, best_cost = i, cost end
    end
    return best
  end,
})

-- One policy around another: requests of a customer stay where they were, while that is not too busy.
neap.balancer.define("loyal", {
  wraps = "nearest_zone",
  init = function() return { last = {}, known = 0 } end,
  pick = function(ctx, _, state, inner)
    local customer = ctx.key
    local last = customer and state.last[customer]
    if last and last.available and last.active < 8 then return last end
    local picked = inner(ctx)
    if not customer then return picked end
    if state.known >= 10000 then state.last, state.known = {}, 0 end
    if not last then state.known = state.known + 1 end
    state.last[customer] = picked
    return picked
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

local loyal, visits = neap.http.client { service = "echo", balancer = "loyal" }, {}
for _ = 1, 5 do visits[#visits + 1] = assert(loyal:get("/", { hash_key = "ann" })).body end
print("ann went to " .. table.concat(visits, ", "))

for _, server in ipairs(servers) do server:close() end
