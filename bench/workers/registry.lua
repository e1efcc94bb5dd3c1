-- What a policy pays to look at a service: the registry's snapshot, read again and again.
local neap = require "neap"

local ROUNDS, CALLS = 5, 1000000
for i = 1, 10 do
  assert(neap.registry.register { name = "goods", address = "127.0.0.1:" .. (9000 + i) })
end

local function measure(name, fn, calls)
  local best = math.huge
  for _ = 1, ROUNDS do
    local begun = neap.runtime.monotonic()
    for _ = 1, calls do fn "goods" end
    best = math.min(best, (neap.runtime.monotonic() - begun) / calls * 1e9)
    neap.task.yield()
  end
  print(("%s %.1f"):format(name, best))
end

measure("registry.snapshot_ns", neap.registry.snapshot, CALLS)
measure("registry.lookup_ns", neap.registry.lookup, CALLS // 10)
