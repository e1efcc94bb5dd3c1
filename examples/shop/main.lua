-- A small shop in one process: three goods services, orders, billing and a gateway.
--
--   neap run examples/shop/main.lua [PORT]      (or PORT in the environment; default 8080, 0: any)
--
-- Each part is a script of its own that can as well run in a process of its own; see gateway.lua. Here they
-- run side by side and find each other through the registry and the bus that every process has.

local directory = arg[0]:match "^(.*/)" or ""

local neap = require "neap"

local function run(script, ...)
  return assert(loadfile(directory .. script))(...)
end

local port = tonumber((...) or os.getenv "PORT" or 8080)

for i = 1, 3 do run("goods.lua", "goods-" .. i) end
run "orders.lua"
run "billing.lua"
local gateway = run("gateway.lua", port)

if neap.worker.id > 0 then return end -- with --workers, each has loaded all of it

print(([[
the shop is open:
  gateway   http://%s

try:
  curl -s localhost:%d/orders -d '{"goods":"42","quantity":3}'
  curl -s localhost:%d/orders/1
  curl -s -X POST localhost:%d/admin/stop/goods-2
]]):format(gateway.address, gateway.port, gateway.port, gateway.port))
