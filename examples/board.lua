-- A notice board: forms, signed cookies, and server-sent events for those who watch.
--
--   neap run examples/board.lua

local neap = require "neap"
local http = neap.http

-- In a real service the key comes from its configuration and stays the same.
local session = http.cookie.signed { keys = neap.crypto.random(32), max_age = 3600 }
local app = http.app()

app:post("/login", function(req)
  local fields, err = req:form { max_bytes = 4096 }
  if not fields then return nil, err end
  session:set(req, "name", fields.name or "nobody")
  return 204
end)

-- A notice has a text, and maybe a file with it, which is counted as it comes and never kept.
app:post("/notices", function(req)
  local name = session:get(req, "name")
  if not name then return 401, { error = "log in first" } end
  local notice = { by = name }
  for part in req:parts { max_file_bytes = 1 << 20 } do
    if part.filename then
      local hasher, size = neap.crypto.hasher "sha256", 0
      for piece in part:chunks() do
        hasher:update(piece)
        size = size + #piece
      end
      notice.file = { name = part.filename, bytes = size, sha256 = neap.crypto.encode("hex", hasher:final()) }
    elseif part.name == "text" then
      notice.text = part:body(1000)
    end
  end
  neap.bus.publish("board.notices", neap.json.encode(notice))
  return 201
end)

app:get("/watch", function(req)
  local events <close> = req:events { heartbeat = 15, retry = 1, policy = "drop_oldest" }
  local function pass_on(msg) events:send { event = "notice", data = msg.data } end
  local heard <close> = assert(neap.bus.subscribe("board.notices", pass_on)) -- luacheck: ignore 211
  events:send { event = "welcome", data = "you watch" }
  events:wait()
end)

local server = assert(http.serve { app = app, port = 0 })
local url = "http://" .. server.address
print("a board at " .. url)

-- Somebody watches …
local watcher = http.events(url .. "/watch")
print("the watcher sees: " .. watcher:next().data)

-- … and somebody else has something to say.
local browser = http.client { base = url, cookies = true }
print("without a name: " .. assert(browser:post("/notices", { form = {} })).status)
assert(browser:post("/login", { form = { name = "ann" } }))
local body, headers = http.multipart {
  text = "The lift is out of order",
  picture = { filename = "lift.txt", content_type = "text/plain", body = "|x|" },
}
print("with one: " .. assert(browser:post("/notices", { body = body, headers = headers })).status)

print("the watcher sees: " .. watcher:next().data)
watcher:close()
server:close { grace = 0 }
