-- What the tests with other people's clients talk to: a bit of everything that HTTP/1.1 has.
local neap = require "neap"

local app = neap.http.app()

app:get("/hello", function() return "hello, world\n" end)
app:get("/json", function(req)
  return { method = req.method, host = req:header "host", query = req.query }
end)
app:get("/status/:code", function(req) return math.tointeger(req.params.code), "" end)
app:get("/big/:size", function(req) return ("x"):rep(math.tointeger(req.params.size)) end)
app:get("/headers", function(req) return req.headers end)
app:get("/remote", function(req) return req.remote end)
app:get("/cookie", function(req)
  return 200, req.cookies, { ["set-cookie"] = { "a=1; Path=/", "b=2; Path=/" } }
end)
app:get("/redirect", function() return 302, "", { location = "/hello" } end)
app:get("/version", function(req) return req.version end)

-- The body as it came, with what was said of it.
app:any("/echo", function(req)
  local body, err = req:body()
  if not body then return nil, err end
  return 200, body, {
    ["content-type"] = "application/octet-stream",
    ["x-method"] = req.method,
    ["x-length"] = req:header "content-length" or "none",
    ["x-coding"] = req:header "transfer-encoding" or "none",
  }
end)

-- Counts without keeping.
app:put("/count", function(req)
  local n, pieces = 0, 0
  for piece in req:chunks() do n, pieces = n + #piece, pieces + 1 end
  return { bytes = n, pieces = pieces, trailers = req.trailers or {} }
end)

-- Both ways at once, piece by piece.
app:post("/stream", function(req)
  req:start(200, { ["content-type"] = "application/octet-stream" })
  for piece in req:chunks() do req:write(piece) end
  req:finish()
end)

app:get("/chunked/:n", function(req)
  req:start(200, { ["content-type"] = "text/plain" })
  for i = 1, math.tointeger(req.params.n) do req:write(("line %d\n"):format(i)) end
  req:finish()
end)

-- Much, as fast as the client takes it.
app:get("/flow/:pieces", function(req)
  req:start(200, { ["content-type"] = "application/octet-stream" })
  local piece = ("x"):rep(65536)
  for _ = 1, math.tointeger(req.params.pieces) do
    if not req:write(piece) then return end
  end
  req:finish()
end)

app:get("/trailers", function(req)
  req:start(200, { trailer = "x-sum", ["content-type"] = "text/plain" })
  req:write "body\n"
  req:finish { ["x-sum"] = "42" }
end)

app:get("/early", function(req)
  req:inform(103, { link = "</style.css>; rel=preload" })
  return "late\n"
end)

-- Refuses a body without reading it.
app:post("/refuse", function() return 413, "no\n" end)

app:get("/wait/:ms", function(req)
  neap.task.sleep(math.tointeger(req.params.ms) / 1000)
  return req.params.ms
end)

app:get("/upgrade", function(req)
  local stream, err = req:upgrade("echo", { ["x-said"] = "yes" })
  if not stream then return 426, err.message, { upgrade = "echo" } end
  while true do
    local piece = stream:read()
    if not piece then break end
    stream:write(piece:upper())
  end
  stream:close()
end)

app:get("/tls", function(req) return req.tls or {} end)
app:get("/who", function(req) return { remote = req.remote, client = req.client, scheme = req.scheme } end)

-- A form, and what files it had.
app:post("/form", function(req)
  local fields, files = req:form { max_file_bytes = 8 * 1024 * 1024 }
  if not fields then return nil, files end
  local seen = {}
  for _, f in ipairs(files) do
    seen[#seen + 1] = { name = f.name, filename = f.filename, type = f.content_type, size = #f.body }
  end
  return { fields = fields, files = seen }
end)

app:get("/events", function(req)
  local events <close> = req:events { heartbeat = 0.05 }
  local from = tonumber(events.last_event_id) or 0
  for i = from + 1, from + 3 do
    events:send { id = tostring(i), event = "tick", data = "line one\nnumber " .. i }
    neap.task.sleep(0.12)
  end
end)

-- A proxy: CONNECT.
local function pump(from, to)
  for piece in from:chunks() do
    if not to:write(piece) then break end
  end
  to:shutdown()
end
app:connect(function(req)
  local host, port = req.path:match "^(.*):(%d+)$"
  local up, err = neap.tcp.connect(host, math.tointeger(port))
  if not up then return nil, err end
  local down <close>, why = req:tunnel()
  if not down then return nil, why end
  local back = neap.task.spawn(pump, up, down)
  pump(down, up)
  back:await()
  up:close()
end)

-- A gateway: all below /up goes to the upstream that the header names.
app:any("/up/*rest", function(req)
  local ok, err = req:forward("http://" .. req:header "x-upstream", {
    target = req.target:sub(4), via = "neap", forwarded = "x-forwarded",
    headers = { ["x-upstream"] = false },
  })
  if not ok then return nil, err end
end)

-- The options of neap.http.serve as JSON; a directory that is served, and what else is asked for.
local options = neap.json.decode(arg[1])
if options.static then app:static("/files", options.static) end
options.static = nil
options.app = app
if not options.unix then options.port = 0 end
options.max_body_bytes = options.max_body_bytes or 64 * 1024 * 1024
local server = assert(neap.http.serve(options))
print("listening on " .. server.address)
