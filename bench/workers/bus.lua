-- Messages between two workers; for bench/workers.py: neap run --workers 2 bench/workers/bus.lua
--
-- Worker 1 sends back what worker 0 sends; half of a round trip is what one message takes. Then worker 0 publishes
-- in batches and worker 1 says how far it has come, so that no more are under way than its queue holds.
local neap = require "neap"
local now = require("neap.runtime").monotonic

local TRIPS, WARM_UP = 20000, 2000
local MESSAGES, BATCH, WINDOW = 1000000, 1000, 40000
local PAYLOAD = ("x"):rep(64)

local function echo()
  local count = 0
  neap.bus.subscribe("bench.ping", function(msg) neap.bus.publish("bench.pong", msg.data) end)
  neap.bus.subscribe("bench.many", function()
    count = count + 1
    if count % BATCH == 0 then neap.bus.publish("bench.count", count) end
  end)
  neap.bus.subscribe("bench.ready", function(msg) msg:respond() end)
end

local function await_the_other()
  for _ = 1, 500 do
    if neap.bus.request("bench.ready", "", { timeout = 1 }) then return end
    neap.task.sleep(0.01)
  end
  error "worker 1 is not there"
end

local function trips()
  local pongs = assert(neap.bus.subscribe "bench.pong")
  local took = {}
  for i = 1 - WARM_UP, TRIPS do
    local began = now()
    neap.bus.publish("bench.ping", PAYLOAD)
    assert(pongs:next(10))
    if i > 0 then took[i] = (now() - began) / 2 * 1e6 end
  end
  pongs:close()
  table.sort(took)
  print(("bus.p50_us %.2f"):format(took[TRIPS // 2]))
  print(("bus.p99_us %.2f"):format(took[TRIPS * 99 // 100]))
end

local function batches()
  local counts = assert(neap.bus.subscribe "bench.count")
  local sent, arrived, began = 0, 0, now()
  while arrived < MESSAGES do
    while sent < MESSAGES and sent - arrived < WINDOW do
      for _ = 1, BATCH do neap.bus.publish("bench.many", PAYLOAD) end
      sent = sent + BATCH
    end
    arrived = tonumber(assert(counts:next(10)).data)
  end
  print(("bus.batched %.0f"):format(MESSAGES / (now() - began)))
end

if neap.worker.id == 1 then
  echo()
elseif neap.worker.id == 0 then
  await_the_other()
  trips()
  batches()
  require("neap.runtime").exit()
end
