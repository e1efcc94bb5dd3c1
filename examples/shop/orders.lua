-- The orders service: takes orders, prices them with whatever goods instance the balancer picks, and tells
-- the world.
--
--   neap run examples/shop/orders.lua [REGISTRY BUS]

local neap = require "neap"

local registry, bus = ...
if registry then neap.registry.connect(registry) end
if bus then neap.bus.connect(bus) end

-- A call that fails is made once more, at another instance, as long as that is safe and no storm.
local goods = neap.http.client {
  service = "goods",
  balancer = "round_robin",
  timeout = 2,
  retry = { attempts = 3, budget = 0.2 },
}

local order_fields = neap.schema.new {
  goods = { "string", required = true, min = 1, max = 64 },
  quantity = { "integer", required = true, min = 1, max = 1000 },
}

local orders = neap.shared "orders" -- one for all workers, and it outlives a reload; the last id is in "last"

local app = neap.http.app()

app:post("/orders", function(req)
  local wish, err = req:json()
  if err then return 400, { error = err.message } end
  local problem = order_fields:problem(wish, "order")
  if problem then return 400, { error = problem } end

  local res
  res, err = goods:get("/goods/" .. neap.http.encode(wish.goods))
  if not res then return nil, err end
  if res.status == 404 then return 404, { error = "no such goods: " .. wish.goods } end
  if res.status ~= 200 then return 502, { error = "goods cannot be priced" } end
  local item = res:json()

  local order = {
    id = orders:incr "last",
    goods = wish.goods,
    name = item.name,
    quantity = wish.quantity,
    total = item.price * wish.quantity,
    priced_by = item.served_by,
  }
  local text = neap.json.encode(order)
  orders:set(tostring(order.id), text)
  neap.bus.publish("orders.created", text)
  return 201, order, { location = "/orders/" .. order.id }
end)

app:get("/orders/:id", function(req)
  local order = tonumber(req.params.id) and orders:get(req.params.id)
  if not order then return 404, { error = "no such order" } end
  return neap.json.decode(order)
end)

local server = assert(neap.http.serve { app = app })
assert(neap.registry.register { name = "orders", address = server.address, ttl = 10 })

neap.log.info("taking orders", { address = server.address })
return server
