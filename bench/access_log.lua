-- The server that bench/access_log.py measures: its port, and the file of its access log, if any.
local neap = require "neap"

local app = neap.http.app()
app:get("/", function()
  return "hello, world"
end)

local log = arg[2] and { path = arg[2] } or false
assert(neap.http.serve { app = app, port = tonumber(arg[1]), access_log = log })
