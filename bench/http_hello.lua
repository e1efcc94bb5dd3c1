-- The server that bench/http_hello.py measures: one route, a few bytes. Its port is the argument.
local neap = require "neap"

local app = neap.http.app()
app:get("/", function()
  return "hello, world"
end)

assert(neap.http.serve { app = app, port = tonumber(arg[1]) })
