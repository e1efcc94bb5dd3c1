-- A handler that ends in `return req:forward(client)`, where the client's balancer is one in Lua that does
-- not want to hear of ends: its task has nothing to wait for. Who asks, the endpoint's numbers and who
-- stops the server see no difference.
local neap = require "neap"
local http, task, tcp = neap.http, neap.task, neap.tcp

local function url_of(server) return "http://" .. server.address end

-- A gateway whose handler is `gate(req, client)`, over an upstream that runs `up(req)`.
local function through(gate, up, fn, policy)
  local upstream = assert(http.serve { handler = up, max_body_bytes = 0 })
  local balancer = neap.balancer.new(policy or function(_, endpoints) return endpoints[1] end,
    { endpoints = { upstream.address } })
  local client = http.client { balancer = balancer }
  local gateway = assert(http.serve { handler = function(req) return gate(req, client) end })
  local ok, err = xpcall(fn, debug.traceback, gateway, balancer:endpoints()[1], upstream)
  gateway:close { grace = 0 }
  upstream:close { grace = 0 }
  if not ok then error(err, 0) end
end

local function lone(req, client) return req:forward(client) end

-- Waits, turn by turn, for what the other side's connection has to bring about.
local function await(condition)
  for _ = 1, 100000 do
    if condition() then return end
    task.yield()
  end
  error "it did not come about"
end

describe("a forward that ends its handler", function()
  it("answers, and tells the endpoint how it went", function()
    through(lone, function(req) return 201, req.path .. req:body() end, function(gateway, endpoint)
      local res = assert(http.post(url_of(gateway) .. "/a", { body = "b" }))
      assert.same({ 201, "/ab" }, { res.status, res.body })
      await(function() return endpoint.active == 0 end)
      assert.same({ 1, 0 }, { endpoint.total, endpoint.errors })
      assert.is_true(endpoint.ewma > 0)
    end)
  end)

  it("has no task any more while the upstream thinks", function()
    local it, ended
    through(function(req, client)
      it = task.current()
      return req:forward(client)
    end, function()
      ended = tostring(it)
      return "ok"
    end, function(gateway)
      assert.equal("ok", http.get(url_of(gateway)).body)
      assert.matches("ended", ended)
    end)
  end)

  it("counts an answer of 5xx as an error", function()
    through(lone, function() return 503, "no" end, function(gateway, endpoint)
      assert.equal(503, http.get(url_of(gateway)).status)
      await(function() return endpoint.active == 0 end)
      assert.equal(1, endpoint.errors)
    end)
  end)

  it("answers 502 for an upstream that is not there, as one that waits does", function()
    local bodies = {}
    for i, gate in ipairs { lone, function(req, client)
      local ok, err = req:forward(client)
      return ok, err
    end } do
      through(gate, function() end, function(gateway, endpoint, upstream)
        upstream:close { grace = 0 }
        local res = assert(http.get(url_of(gateway)))
        bodies[i] = { res.status, res.body, res.headers["content-type"] }
        await(function() return endpoint.active == 0 end)
        assert.same({ 1, 1 }, { endpoint.total, endpoint.errors })
      end)
    end
    assert.equal(502, bodies[1][1])
    assert.same(bodies[2], bodies[1])
  end)

  it("says nothing about an endpoint whose client has left", function()
    local came, go = false, false
    through(lone, function()
      came = true
      await(function() return go end)
      return "late"
    end, function(gateway, endpoint)
      local c = assert(tcp.connect("127.0.0.1", gateway.port))
      assert(c:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      await(function() return came end)
      assert.equal(1, endpoint.active)
      c:close()
      await(function() return endpoint.active == 0 end)
      assert.same({ 1, 0, 0 }, { endpoint.total, endpoint.errors, endpoint.ewma })
      go = true
    end)
  end)

  it("keeps pipelined answers in order", function()
    through(lone, function(req) return req.path end, function(gateway)
      local c <close> = assert(tcp.connect("127.0.0.1", gateway.port))
      local asked = {}
      for i = 1, 9 do asked[i] = ("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"):format(i) end
      asked[9] = asked[9]:gsub("a\r\n", "a\r\nConnection: close\r\n")
      assert(c:write(table.concat(asked)))
      local pieces = {}
      for piece in function() return (c:read { timeout = 20 }) end do pieces[#pieces + 1] = piece end
      local seen = {}
      for path in table.concat(pieces):gmatch "\r\n\r\n/(%d)" do seen[#seen + 1] = path end
      assert.equal("123456789", table.concat(seen))
    end)
  end)

  it("waits where something is still to be done", function()
    local ok, path
    through(function(req, client)
      req:add_header("X-Gate", "1")
      ok = req:forward(client)
      path = req.path
    end, function() return "ok" end, function(gateway)
      local res = assert(http.get(url_of(gateway) .. "/p"))
      assert.same({ "ok", "1" }, { res.body, res.headers["x-gate"] })
      await(function() return path ~= nil end)
      assert.same({ true, "/p" }, { ok, path })
    end)
    local closed = false
    through(function(req, client)
      local held <close> = setmetatable({}, { -- luacheck: ignore 211
        __close = function() closed = true end,
      })
      return req:forward(client)
    end, function() return tostring(closed) end, function(gateway)
      assert.equal("false", http.get(url_of(gateway)).body)
    end)
    assert.is_true(closed)
  end)

  it("keeps what the script wants any answer to have", function()
    through(function(req, client)
      req:add_header("X-Gate", "1")
      return req:forward(client)
    end, function() return "ok" end, function(gateway)
      assert.equal("1", http.get(url_of(gateway)).headers["x-gate"])
    end)
  end)

  it("tells a policy that wants to hear of ends", function()
    local told = {}
    local policy = {
      pick = function(_, endpoints) return endpoints[1] end,
      release = function(_, ok, latency) told[#told + 1] = ok and latency > 0 end,
    }
    through(lone, function() return "ok" end, function(gateway)
      assert.equal("ok", http.get(url_of(gateway)).body)
      await(function() return #told == 1 end)
    end, policy)
    assert.same({ true }, told)
  end)

  it("is waited for by a server that drains", function()
    local came, go = false, false
    through(lone, function()
      came = true
      await(function() return go end)
      return "whole"
    end, function(gateway)
      local res
      local asking = task.spawn(function() res = http.get(url_of(gateway)) end)
      await(function() return came end)
      local closing = task.spawn(function() gateway:close { grace = 20 } end)
      task.yield()
      go = true
      asking:await()
      closing:await()
      assert.equal("whole", res.body)
    end)
  end)
end)
