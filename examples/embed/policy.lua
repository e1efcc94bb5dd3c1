-- The part of the program that its users write: what an order costs, and an HTTP service that says so.
-- `neap.host` is the C program: stock() looks into its table, listening() tells it where to ask.
local neap = require "neap"

local M = {}

-- A policy that C calls on its own hot path: it does not wait.
function M.discount(order)
  if order.quantity >= 10 then return 0.2 end
  if order.customer == "regular" then return 0.1 end
  return 0
end

local app = neap.http.app()

app:get("/price/:goods/:quantity", function(req)
  local quantity = math.tointeger(req.params.quantity)
  if not quantity then return 400, { error = "no quantity" } end
  local price, err = neap.host.stock(req.params.goods) -- C, which answers later: the request waits
  if not price then return 404, { error = err.message } end
  local off = M.discount { quantity = quantity, customer = req.query.customer }
  return { goods = req.params.goods, total = quantity * price * (1 - off) }
end)

local server = assert(neap.http.serve { app = app, port = 0 })
neap.host.listening(server.port)

return M
