-- Billing: hears of each order once, however many instances of it run, as they share the queue group.
--
--   neap run examples/shop/billing.lua [BUS]

local neap = require "neap"

local bus = ...
if bus then neap.bus.connect(bus) end

neap.bus.subscribe("orders.created", function(msg)
  local order = assert(neap.json.decode(msg.data))
  neap.log.info("billed", { order = order.id, total = order.total, priced_by = order.priced_by })
end, { queue = "billing" })

neap.log.info "billing orders"
