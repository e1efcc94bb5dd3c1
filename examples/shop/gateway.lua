-- The gateway: the one door for clients.
--
--   neap run examples/shop/gateway.lua [PORT [REGISTRY_PORT BUS_PORT]]
--
-- With ports for them it also serves its registry and its bus, for the other parts in processes of their own:
--
--   neap run examples/shop/gateway.lua 8080 8500 4222
--   neap run examples/shop/goods.lua goods-1 http://127.0.0.1:8500 nats://127.0.0.1:4222
--   neap run examples/shop/goods.lua goods-2 http://127.0.0.1:8500 nats://127.0.0.1:4222
--   neap run examples/shop/orders.lua http://127.0.0.1:8500 nats://127.0.0.1:4222
--   neap run examples/shop/billing.lua nats://127.0.0.1:4222

local neap = require "neap"

local port, registry_port, bus_port = ...
if registry_port then
  local registry = assert(neap.registry.serve { port = tonumber(registry_port) })
  neap.log.info("serving the registry", { url = "http://" .. registry.address })
end
if bus_port then
  local bus = assert(neap.bus.serve { port = tonumber(bus_port) })
  neap.log.info("serving the bus", { url = "nats://" .. bus.address })
end

local orders = neap.http.client { service = "orders", timeout = 5, retry = { attempts = 3 }, redirects = 0 }

-- What a handler returns of another service's response, status, headers and body, is passed on.
local function forward(req)
  local body, err = req:body()
  if not body then return nil, err end
  return orders:request(req.method, req.target, {
    headers = { ["content-type"] = req:header "content-type", accept = req:header "accept" },
    body = body ~= "" and body or nil,
  })
end

local app = neap.http.app()

app:any("/orders", forward)
app:any("/orders/*rest", forward)

app:post("/admin/stop/:id", function(req)
  local id = req.params.id
  if not id:find "^[%w-]+$" then return 400, { error = "that is no instance's name" } end
  local reply, err = neap.bus.request("admin.stop." .. id, "", { timeout = 15 })
  if reply then return { stopped = id } end
  if err.code == "ENORESPONDERS" then return 404, { error = "no such instance: " .. id } end
  return nil, err
end)

local server = assert(neap.http.serve { app = app, port = tonumber(port or 8080) })

neap.log.info("the gateway is open", { address = server.address })
return server
