-- What neap.core.http.forward does with answers that are not to be passed on before somebody has said so.
local neap = require "neap"
local core = require "neap.core.http"
local http, task, tcp = neap.http, neap.task, neap.tcp

local unavailable = core.statuses { 503 }

-- A client, a gateway that runs `gate(req, host, port)`, an upstream that runs `up(req)`.
local function through(gate, up, fn)
  local upstream = assert(http.serve { handler = up })
  local function handler(req) return gate(req, "127.0.0.1", upstream.port) end
  local gateway = assert(http.serve { handler = handler })
  local ok, err = xpcall(fn, debug.traceback, gateway)
  gateway:close { grace = 0 }
  upstream:close { grace = 0 }
  if not ok then error(err, 0) end
end

local function hold(req, host, port, body)
  return core.forward(nil, req, host, port, nil, nil, nil, body, nil, unavailable)
end

local function url_of(gateway) return "http://" .. gateway.address end

describe("an answer that is held", function()
  setup(function() http.get "http://127.0.0.1:1" end)

  it("is passed on when it is told to", function()
    local seen
    through(function(req, host, port)
      local ok, held, status, seconds, after = hold(req, host, port)
      seen = { ok, status, math.type(seconds), after }
      local passed, err, again = held:pass()
      seen[5] = again
      return passed, err
    end, function() return 503, "not now", { ["retry-after"] = "7", ["x-a"] = "b" } end, function(gateway)
      local res = assert(http.get(url_of(gateway)))
      assert.same({ 503, "not now", "b" }, { res.status, res.body, res.headers["x-a"] })
      assert.same({ false, 503, "float", "7", 503 }, seen)
    end)
  end)

  it("can be dropped, and the request is asked of another", function()
    local calls = 0
    through(function(req, host, port)
      local _, held = hold(req, host, port, "kept")
      held:drop()
      held:drop()
      return hold(req, host, port, "kept")
    end, function(req)
      calls = calls + 1
      if calls == 1 then return 503, ("x"):rep(1000000) end
      return 200, req:body()
    end, function(gateway)
      local res = assert(http.post(url_of(gateway), { body = "mine" }))
      assert.same({ 200, "kept", 2 }, { res.status, res.body, calls })
    end)
  end)

  it("is none of another status", function()
    through(function(req, host, port) return hold(req, host, port) end, function() return 500, "other" end,
      function(gateway) assert.equal("other", http.get(url_of(gateway)).body) end)
  end)

  it("may have no body", function()
    through(function(req, host, port)
      local _, held = hold(req, host, port)
      task.yield()
      return held:pass()
    end, function() return 503 end, function(gateway)
      assert.equal(503, http.get(url_of(gateway)).status)
    end)
  end)

  it("is gone when its client leaves meanwhile", function()
    local ready, outcome = task.future(), task.future()
    through(function(req, host, port)
      local _, held = hold(req, host, port)
      ready:resolve(true)
      local left = not pcall(task.sleep, 60)
      local ok, err = task.shield(held.pass, held)
      outcome:resolve(left, ok, err.code)
    end, function() return 503, "not now" end, function(gateway)
      local c <close> = assert(tcp.connect("127.0.0.1", gateway.port))
      assert(c:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      ready:await(20)
      c:close()
      assert.same({ true, nil, "ECONNRESET" }, { outcome:await(20) })
    end)
  end)

  it("leaves nothing behind when it is forgotten", function()
    through(function(req, host, port)
      hold(req, host, port)
      collectgarbage()
      collectgarbage()
      return "mine"
    end, function() return 503, "not now" end, function(gateway)
      assert.equal("mine", http.get(url_of(gateway)).body)
    end)
  end)
end)
