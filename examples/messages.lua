-- Messages: publish and subscribe, queue groups, request and reply.
--
--   neap run examples/messages.lua

local neap = require "neap"

local subscriptions = {}
local function subscribe(...) subscriptions[#subscriptions + 1] = assert(neap.bus.subscribe(...)) end

-- Every subscriber hears every message of its subjects; '*' is one word, '>' the rest.
local heard = neap.task.future()
subscribe("orders.*.created", function(msg)
  print("audit hears " .. msg.subject .. ": " .. msg.data)
  if msg.subject == "orders.us.created" then heard:resolve() end
end)

-- Of a queue group, one hears each message.
for i = 1, 2 do
  subscribe("orders.>", function(msg)
    print(("billing %d bills %s"):format(i, msg.subject))
  end, { queue = "billing" })
end

neap.bus.publish("orders.eu.created", neap.json.encode { id = 1 })
neap.bus.publish("orders.us.created", neap.json.encode { id = 2 })
heard:await(1)

-- A request is a message that wants a reply.
subscribe("price.quote", function(msg)
  neap.task.sleep(0.01)
  msg:respond(neap.json.encode { goods = msg.data, price = 12.5 })
end)

local reply = assert(neap.bus.request("price.quote", "42", { timeout = 1 }))
print("the quote is " .. reply.data)

local _, err = neap.bus.request("price.nobody", "42", { timeout = 1 })
print(err)

for _, subscription in ipairs(subscriptions) do subscription:close() end
