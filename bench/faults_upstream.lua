-- One of the ten upstreams of bench/faults.py: answers after 3 to 7 ms, or as it was told last by
-- /_set?delay=SECONDS&status=N. Its port is the argument.
local neap = require "neap"

local app = neap.http.app()
local delay, status = 0, 200

app:get("/_set", function(req)
  delay, status = tonumber(req.query.delay) or 0, tonumber(req.query.status) or 200
  return 204
end)

app:get("/", function()
  neap.task.sleep(0.003 + 0.004 * math.random() + delay)
  return status, "hello from an upstream"
end)

assert(neap.http.serve { app = app, port = tonumber(arg[1]) })
