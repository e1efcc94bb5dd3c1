-- Many requests that are answered in one go: more than a server keeps spare room for.
local neap = require "neap"
local http, task = neap.http, neap.task

local MANY = 150

-- All of them wait in their handlers, then all answer.
local function all_at_once(finish, check)
  local waiting, go = 0, task.future()
  local server = assert(http.serve {
    handler = function(req)
      waiting = waiting + 1
      if waiting == MANY then go:resolve(true) end
      go:await()
      return finish(req)
    end,
  })
  local client = http.client { base = "http://" .. server.address, pool = { max_connections = MANY } }
  local ok, err = xpcall(function()
    local calls = {}
    for i = 1, MANY do calls[i] = client:async():get "/" end
    for i = 1, MANY do check(assert(calls[i]:await(30))) end
    check(assert(client:get "/")) -- and one that finds them all at rest
  end, debug.traceback)
  server:close { grace = 0 }
  if not ok then error(err, 0) end
end

describe("many answers at once", function()
  setup(function() http.get "http://127.0.0.1:1" end) -- the client's own timer stays

  local function is(text)
    return function(res) assert.same({ 200, text }, { res.status, res.body }) end
  end

  it("of a text", function()
    all_at_once(function() return "hello" end, is "hello")
  end)

  it("by req:respond", function()
    all_at_once(function(req)
      assert.is_true(req:respond(200, "hello"))
      return nil
    end, is "hello")
  end)

  it("in pieces, with trailers", function()
    all_at_once(function(req)
      req:start(200, { trailer = "x-sum" })
      req:write "hello"
      req:finish { ["x-sum"] = "5" }
    end, is "hello")
  end)

  it("of a file", function()
    local name = os.tmpname()
    local file <close> = assert(io.open(name, "w"))
    file:write "hello"
    file:close()
    local ok, err = pcall(all_at_once, function(req) req:send_file(name) end, is "hello")
    os.remove(name)
    if not ok then error(err, 0) end
  end)
end)
