-- The server that bench/http_json.py measures: an order comes in, priced it goes out. Its port is the argument.
local neap = require "neap"

local app = neap.http.app()
app:post("/orders", function(req)
  local order = req:json()
  local total = 0
  for _, line in ipairs(order.lines) do
    line.price = line.quantity * 2.5
    total = total + line.price
  end
  order.total = total
  return order
end)

assert(neap.http.serve { app = app, port = tonumber(arg[1]) })
