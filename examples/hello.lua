-- A first service, and a call to it.
--
--   neap run examples/hello.lua [PORT]        serves; without a port: calls itself once and ends
--   curl -s localhost:8080/hello/you

local neap = require "neap"

local app = neap.http.app()

app:get("/hello/:name", function(req)
  neap.task.sleep(0.01) -- waits; everything else goes on
  return { hello = req.params.name }
end)

local port = ...
local server = assert(neap.http.serve { app = app, port = tonumber(port or 0) })
print("listening on " .. server.address)

if not port then
  local res = assert(neap.http.get("http://" .. server.address .. "/hello/you"))
  print(res.status, res.body)
  server:close()
end
