-- How fast one worker's scripts are with a map that is shared: operations a second, uncontended.
local neap = require "neap"

local ROUNDS, CALLS = 5, 1000000
local map = neap.shared "bench"

local function measure(name, fn)
  local best = 0
  for _ = 1, ROUNDS do
    local begun = neap.runtime.monotonic()
    fn()
    best = math.max(best, CALLS / (neap.runtime.monotonic() - begun))
    neap.task.yield()
  end
  print(("shared.%s %.0f"):format(name, best))
end

map:set("text", ("x"):rep(100))
measure("incr", function() for _ = 1, CALLS do map:incr "n" end end)
measure("get", function() for _ = 1, CALLS do map:get "text" end end)
measure("set", function() for _ = 1, CALLS do map:set("text", "a value of some length") end end)
