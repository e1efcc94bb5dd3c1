-- What finalisers may do to what a binding is busy with, and must not break it: they are the script's
-- code, and run wherever memory is asked for. For spec/e2e/finaliser_test.sh, which names the case; in a
-- small state of its own, where they run often. The address sanitizer tells.
local bus, frame, registry = require "neap.bus", require "neap.frame", require "neap.registry"
local task, tcp, udp = require "neap.task", require "neap.tcp", require "neap.udp"
local core = require "neap.core.registry"

local action
local runs = 0

local function arm()
  setmetatable({}, {
    __gc = function()
      if action then
        runs = runs + 1
        pcall(action, runs)
      end
      arm()
    end,
  })
end

-- Calls `fn` up to `n` times, until it gives false, while finalisers do `what`.
local function disturbed(n, what, fn)
  action = what
  for _ = 1, n do
    local ok, more = pcall(fn)
    if ok and more == false then break end
    for k = 1, 5 do table.pack(k) end
  end
  action = nil
end

local cases = {}

function cases.headers()
  local headers = {}
  disturbed(2000, function(i) headers.a = ("y"):rep(5000 + i * 100) end, function()
    headers.a = ("y"):rep(5000)
    bus.publish("finaliser", "", { headers = headers })
  end)
end

function cases.metadata()
  local meta
  disturbed(20000, function()
    for k = 1, 60 do meta["k" .. k] = "v" end
  end, function()
    meta = { a = "b" }
    registry.put { name = "finaliser", address = "10.0.0.1:1", id = "f", meta = meta }
  end)
end

local function changes(method)
  for _ = 1, 10 do
    local watch = core.watch("finaliser", 4000)
    for i = 1, 300 do registry.put { name = "finaliser", address = "10.0.0.1:" .. i, id = "f" } end
    disturbed(300, function() watch[method](watch, 0) end, function() return watch:next(0) ~= nil end)
    watch:close()
  end
end
function cases.changes() changes "next" end
function cases.closed_watch() changes "close" end

function cases.registrations()
  for round = 1, 20 do
    for i = 1, 100 do
      registry.register { name = "finaliser", address = "10.0.0.1:" .. i, id = "f" .. i .. "." .. round }
    end
    collectgarbage()
    disturbed(20, function()
      for i = 1, 100 do registry.deregister("f" .. i .. "." .. round) end
    end, core.registrations)
  end
end

local function datagrams(what)
  for _ = 1, 30 do
    local from, to = assert(udp.open { host = "127.0.0.1" }), assert(udp.open { host = "127.0.0.1" })
    for _ = 1, 200 do from:send(("x"):rep(100), "127.0.0.1", to.port) end
    assert(to:recv())
    disturbed(200, function() what(to) end, function() return to:recv { timeout = 0.001 } ~= nil end)
    from:close()
    to:close()
  end
end
function cases.datagrams() datagrams(function(to) to:recv { timeout = 0.001 } end) end
function cases.closed_socket() datagrams(function(to) to:close() end) end

local function frames(what)
  for _ = 1, 30 do
    local listener = assert(tcp.listen { host = "127.0.0.1", port = 0 })
    local a = assert(tcp.connect("127.0.0.1", listener.port))
    local b = assert(listener:accept())
    listener:close()
    local out, into = frame.wrap(a, { header_length = 2 }), frame.wrap(b, { header_length = 2 })
    for _ = 1, 200 do out:write(("b"):rep(100), ("h"):rep(60)) end
    assert(into:read())
    disturbed(200, function() what(b) end, function() return into:read { timeout = 0.01 } ~= nil end)
    a:close()
    b:close()
  end
end
function cases.frames()
  frames(function(b) b:read(10, { timeout = 0 }) end)
end
function cases.closed_stream()
  frames(function(b) b:close() end)
end

function cases.subscription()
  for _ = 1, 300 do
    local sub = bus.subscribe "finaliser"
    for _ = 1, 3 do bus.publish("finaliser", "x") end
    task.sleep(0)
    disturbed(30, function() sub:close() end, function() return sub:next { timeout = 0 } end)
    sub:close()
  end
end

arm()
collectgarbage "generational"
cases[arg[1]]()
print(runs > 0 and "done" or "no finaliser ran")
