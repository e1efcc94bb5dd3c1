-- The server that bench/tls_hello.py measures. Its port, certificate and key are the arguments.
local neap = require "neap"

local app = neap.http.app()
app:get("/", function()
  return "hello, world"
end)

assert(neap.http.serve { app = app, port = tonumber(arg[1]), tls = { cert = arg[2], key = arg[3] } })
