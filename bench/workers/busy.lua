-- A handler that computes for a while, so that the load generator is not the limit; for bench/workers.py.
local neap = require "neap"

local app = neap.http.app()
app:get("/", function()
  local sum = 0
  for i = 1, 20000 do sum = sum + i % 7 end
  return tostring(sum)
end)

assert(neap.http.serve { app = app, port = tonumber(arg[1]) })
