-- The goods service: what there is, and what it costs. Any number of instances may run.
--
--   neap run examples/shop/goods.lua ID [REGISTRY BUS]

local neap = require "neap"

local id, registry, bus = ...
id = id or "goods-1"
if registry then neap.registry.connect(registry) end
if bus then neap.bus.connect(bus) end

local catalog = {
  ["7"] = { name = "a spool of thread", price = 1.25 },
  ["42"] = { name = "a towel", price = 12.5 },
  ["99"] = { name = "a kettle", price = 30.0 },
}

local app = neap.http.app()

app:get("/goods/:id", function(req)
  local goods = catalog[req.params.id]
  if not goods then return 404, { error = "no such goods" } end
  return { id = req.params.id, name = goods.name, price = goods.price, served_by = id }
end)

local server = assert(neap.http.serve { app = app })
local registration = assert(neap.registry.register {
  name = "goods",
  id = id,
  address = server.address,
  ttl = 10,
})

-- Asked to stop, it takes itself off the registry first, then finishes what it has begun.
neap.bus.subscribe("admin.stop." .. id, function(msg)
  registration:deregister()
  server:close { grace = 10 }
  neap.log.info("stopped", { instance = id })
  msg:respond "stopped"
end, { max = 1 })

neap.log.info("selling goods", { instance = id, address = server.address })
return server
