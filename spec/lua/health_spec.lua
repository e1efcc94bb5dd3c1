-- Active checks: what they find, whom they tell, and what balancers make of it.
local neap = require "neap"
local http, tcp, tls, task = neap.http, neap.tcp, neap.tls, neap.task
local certs = dofile "spec/support/certs.lua"

local SOON, LONG = 0.001, 1000 -- intervals: one check after the other; one alone

-- A peer of gRPC's health service, of which just enough is HTTP/2: the answer's frames as they are.
local function frame(kind, flags, stream, payload)
  return string.pack(">I3BBI4", #payload, kind, flags, stream) .. payload
end

local function literal(name, value) return "\0" .. string.pack("s1s1", name, value) end

local function grpc_answer(status, body)
  local head = "\x88" .. literal("content-type", "application/grpc")
  local out = frame(4, 0, 0, "") .. frame(4, 1, 0, "")
  out = out .. frame(1, 4, 1, head)
  if body then out = out .. frame(0, 0, 1, "\0" .. string.pack(">s4", body)) end
  return out .. frame(1, 5, 1, literal("grpc-status", status))
end

describe("neap.health", function()
  local open, names = {}, 0

  setup(function() http.get "http://127.0.0.1:1" end) -- the client's own timer stays

  after_each(function()
    for i = #open, 1, -1 do open[i]() end
    open = {}
  end)

  local function later(fn) open[#open + 1] = fn end

  local function serve(handler, secure)
    local server = assert(http.serve { handler = handler, tls = secure })
    later(function() server:close { grace = 0 } end)
    return server.address
  end

  local function listen(handler, secure)
    local l = assert(tcp.listen({ port = 0, tls = secure }, handler))
    later(function() l:close() end)
    return "127.0.0.1:" .. l.port
  end

  local function dead()
    local l = assert(tcp.listen({ port = 0 }, function() end))
    local address = "127.0.0.1:" .. l.port
    l:close()
    return address
  end

  -- Checks whose changes come one by one out of `next`.
  local function check(opts)
    local queue, waiting = {}, nil
    names = names + 1
    opts.name = opts.name or ("health.spec." .. names)
    opts.interval = opts.interval or SOON
    opts.timeout = opts.timeout or 10
    opts.on_change = function(endpoint, healthy, why)
      queue[#queue + 1] = { endpoint = endpoint, healthy = healthy, why = why }
      if waiting then waiting:resolve() end
    end
    local c, err = neap.health.check(opts)
    if not c then return nil, err end
    later(function() c:stop() end)
    return c, function()
      while not queue[1] do
        waiting = task.future()
        waiting:await()
      end
      return table.remove(queue, 1)
    end
  end

  -- What the first check of an address finds.
  local function verdict(address, opts)
    opts.endpoints, opts.fall = { address }, 1
    local c, changed = assert(check(opts))
    local change = changed()
    c:stop()
    return change.healthy, change.why
  end

  describe("over HTTP", function()
    it("finds who falls and who rises, and balancers pass it over", function()
      local status = 200
      local a = serve(function() return 200, "ok" end)
      local b = serve(function() return status, "ok" end)
      local lb = assert(neap.balancer.new("round_robin", { endpoints = { a, b } }))
      later(function() lb:close() end)
      local function picked()
        local seen = {}
        for _ = 1, 8 do
          local e = assert(lb:pick())
          seen[e.address] = true
          lb:release(e, true)
        end
        return seen
      end
      local c, changed = assert(check { balancer = lb, path = "/health" })
      assert.is_true(changed().healthy)
      assert.is_true(changed().healthy)
      assert.same({ [a] = true, [b] = true }, picked())
      status = 503
      local change = changed()
      assert.equal(b, change.endpoint.address)
      assert.is_false(change.healthy)
      assert.equal("status 503", change.why)
      assert.same({ [a] = true }, picked())
      for _ = 1, 20 do task.yield() end
      local stats = c:stats() -- the one that is ill is checked on
      assert.is_true(stats.leader)
      assert.equal(1, stats.healthy)
      assert.equal(1, stats.unhealthy)
      assert.is_true(stats.http_failures >= 3)
      assert.equal(2, #stats.endpoints)
      status = 204
      change = changed()
      assert.equal(b, change.endpoint.address)
      assert.is_true(change.healthy)
      while not picked()[b] do task.sleep(SOON) end -- a balancer looks again four times a second
    end)

    it("asks as it is told and judges as it is told", function()
      local seen
      local address = serve(function(req)
        seen = { req.method, req.target, req.headers["x-check"], req.headers.host }
        return 404, "the cache is warm"
      end)
      assert.is_true(verdict(address, {
        path = "/health?deep=1", method = "POST", headers = { ["x-check"] = "yes", host = "goods.test" },
        status = { 200, "400-404" }, body = "warm",
      }))
      assert.same({ "POST", "/health?deep=1", "yes", "goods.test" }, seen)
      local healthy, why = verdict(address, { status = 404, body = "hot" })
      assert.is_false(healthy)
      assert.matches('"the cache is warm" lacks "hot"', why, 1, true)
      healthy, why = verdict(address, {})
      assert.is_false(healthy)
      assert.equal("status 404", why)
    end)

    it("does not follow redirects", function()
      local address = serve(function() return 302, "", { location = "/elsewhere" } end)
      assert.is_true(verdict(address, {}))
      assert.is_false(verdict(address, { status = 200 }))
    end)

    it("opens a connection for each check, or keeps it", function()
      for _, keep in ipairs { false, true } do
        local peers, count, enough = {}, 0, task.future()
        local address = serve(function(req)
          count = count + 1
          peers[req.remote] = true
          if count == 4 then enough:resolve() end
          return 200
        end)
        local c = assert(check { endpoints = { address }, keep_alive = keep })
        enough:await()
        c:stop()
        local n = 0
        for _ in pairs(peers) do n = n + 1 end
        assert.equal(keep, n == 1)
      end
    end)

    it("knows a peer that is not there from one that answers too late", function()
      local healthy, why = verdict(dead(), {})
      assert.is_false(healthy)
      assert.matches("ECONNREFUSED", why)
      local gate = task.future()
      local c, changed = assert(check {
        endpoints = { (serve(function() gate:await() end)) }, fall = 1, timeout = 0.01, interval = LONG,
      })
      assert.is_false(changed().healthy)
      assert.equal(1, c:stats().timeouts)
      gate:resolve()
    end)
  end)

  describe("over TCP and TLS", function()
    it("connects, and may talk", function()
      local address = listen(function(stream)
        if stream:read_line() == "PING" then stream:write "+PONG\r\n" end
      end)
      assert.is_true(verdict(address, { type = "tcp" }))
      assert.is_true(verdict(address, { type = "tcp", send = "PING\r\n", expect = "+PONG" }))
      local healthy, why = verdict(listen(function(stream) stream:write "-ERR\r\n" end), {
        type = "tcp", expect = "+PONG",
      })
      assert.is_false(healthy)
      assert.matches('lacks "+PONG"', why, 1, true)
      assert.is_false((verdict(dead(), { type = "tcp" })))
    end)

    it("makes a handshake, with verification", function()
      local dir = certs.new()
      later(function() dir:remove() end)
      local here, other = dir:server "127.0.0.1", dir:server "other.test"
      local good = listen(function(s) s:read() end, here)
      local bad = listen(function(s) s:read() end, other)
      local trust = { ca = dir.ca }
      assert.is_true(verdict(good, { type = "tls", tls = trust }))
      local healthy, why = verdict(bad, { type = "tls", tls = trust })
      assert.is_false(healthy)
      assert.matches("ETLS", why)
      assert.is_true(verdict(bad, { type = "tls", tls = trust, tls_name = "other.test" }))
      assert.is_false((verdict(good, { type = "tls" }))) -- the system does not know that authority
      local site = serve(function() return 200 end, here)
      assert.is_true(verdict(site, { tls = assert(tls.context(trust)) }))
      assert.is_false((verdict(site, {})))
      local absent = { ca = dir.dir .. "/absent.pem" }
      local nobody, err = check { endpoints = { good }, type = "tls", tls = absent }
      assert.is_nil(nobody)
      assert.equal("ENOENT", err.code)
    end)
  end)

  describe("over gRPC", function()
    local function peer(bytes)
      return listen(function(stream)
        stream:read()
        stream:write(bytes)
        repeat until not stream:read()
      end)
    end

    it("asks the health service", function()
      local asked
      local address = listen(function(stream)
        asked = stream:read()
        stream:write(grpc_answer("0", "\x08\1"))
        repeat until not stream:read()
      end)
      assert.is_true(verdict(address, { type = "grpc", service_name = "rates.Rates" }))
      assert.matches("rates.Rates", asked, 1, true)
    end)

    it("knows who does not serve, and who is none", function()
      local function why(bytes)
        local healthy, words = verdict(peer(bytes), { type = "grpc" })
        assert.is_false(healthy)
        return words
      end
      assert.equal("NOT_SERVING", why(grpc_answer("0", "\x08\2")))
      assert.equal("grpc-status 12", why(grpc_answer "12"))
      assert.matches("HTTP/2", why "HTTP/1.1 400 Bad Request\r\n\r\n")
      assert.matches("EOF", (select(2, verdict(listen(function() end), { type = "grpc" }))))
    end)
  end)

  describe("by a function", function()
    it("takes its word", function()
      local well = true
      local _, changed = assert(check {
        endpoints = { "10.1.1.1:1" },
        fall = 1,
        rise = 1,
        type = function(endpoint)
          assert(endpoint.host == "10.1.1.1")
          if well then return true end
          return nil, task.error("ENOTFOUND", "no leader")
        end,
      })
      assert.is_true(changed().healthy)
      well = false
      local change = changed()
      assert.is_false(change.healthy)
      assert.matches("no leader", change.why)
      well = true
      assert.is_true(changed().healthy)
    end)

    it("counts one that raises or is late as a failure", function()
      local c, changed = assert(check {
        endpoints = { "10.1.1.2:1" }, fall = 1, interval = LONG, type = function() error "a mistake" end,
      })
      assert.matches("a mistake", changed().why)
      assert.equal(1, c:stats().http_failures)
      local mute = setmetatable({}, { __tostring = function() error "no words" end })
      c, changed = assert(check {
        endpoints = { "10.1.1.4:1" }, fall = 1, interval = LONG, type = function() error(mute) end,
      })
      assert.matches("cannot be described", changed().why)
      assert.equal(1, c:stats().http_failures)
      c, changed = assert(check {
        endpoints = { "10.1.1.3:1" }, fall = 1, interval = LONG, timeout = 0.005,
        type = function() task.sleep(LONG) end,
      })
      assert.matches("no answer", changed().why)
      assert.equal(1, c:stats().timeouts)
    end)
  end)

  it("checks so many at a time at most", function()
    local gates, running, most = {}, 0, 0
    local endpoints = {}
    for i = 1, 9 do endpoints[i] = "10.1.2." .. i .. ":1" end
    local arrived = task.future()
    local c = assert(check {
      endpoints = endpoints, concurrency = 3, interval = LONG,
      type = function(endpoint)
        running = running + 1
        most = math.max(most, running)
        local gate = task.future()
        gates[#gates + 1] = gate
        if running == 3 then arrived:resolve() end
        gate:await()
        running = running - 1
        return endpoint ~= nil
      end,
    })
    for _ = 1, 3 do
      arrived:await()
      arrived = task.future()
      for _, gate in ipairs(gates) do gate:resolve() end
    end
    assert.equal(3, most)
    while c:stats().healthy < 9 do task.yield() end
    assert.equal(0, c:stats().running)
  end)

  it("follows a service", function()
    local registry = neap.registry
    local function put(id)
      later(function() registry.deregister(id) end)
      return assert(registry.put { id = id, name = "checked", address = "10.1.3.1:" .. id:sub(2), ttl = 60 })
    end
    put "i1"
    local c, changed = assert(check { service = "checked", fall = 1, type = function() return false end })
    assert.equal("i1", changed().endpoint.id)
    put "i2"
    assert.equal("i2", changed().endpoint.id)
    registry.deregister "i1"
    while #c:stats().endpoints > 1 do task.sleep(SOON) end
    assert.equal("i2", c:stats().endpoints[1].id)
  end)

  it("leaves none unhealthy when it ends", function()
    local lb = assert(neap.balancer.new("round_robin", { endpoints = { "10.1.4.1:1", "10.1.4.2:1" } }))
    later(function() lb:close() end)
    local e = lb:all()[1]
    local c, changed = assert(check {
      endpoints = { "10.1.4.1:1" }, fall = 1, type = function() return false end,
    })
    changed()
    assert.is_false(e.available)
    c:stop()
    c:stop()
    assert.is_true(e.available)
    assert.is_false(c:stats().leader)
  end)

  it("may be stopped from inside a check, or when it tells", function()
    local stopped = task.future()
    local c
    c = assert(check { endpoints = { "10.1.9.1:1" }, interval = LONG, type = function()
      c:stop()
      stopped:resolve()
      task.sleep(LONG)
    end })
    stopped:await()
    assert.is_false(c:stats().leader)
    stopped = task.future()
    c = assert(neap.health.check {
      name = "health.spec.inside", endpoints = { "10.1.9.2:1" }, fall = 1, type = function() return false end,
      on_change = function()
        c:stop()
        stopped:resolve()
      end,
    })
    stopped:await()
    -- The name is free for another.
    local _, changed = assert(check {
      name = "health.spec.inside", endpoints = { "10.1.9.2:1" }, type = function() return true end,
    })
    assert.is_true(changed().healthy)
  end)

  it("tells in shadow mode and leaves them as they are", function()
    local lb = assert(neap.balancer.new("round_robin", { endpoints = { "10.1.5.1:1" } }))
    later(function() lb:close() end)
    local c, changed = assert(check {
      endpoints = { "10.1.5.1:1" }, fall = 1, shadow = true, type = function() return false end,
    })
    assert.is_false(changed().healthy)
    assert.is_true(lb:all()[1].available)
    assert.equal(1, c:stats().unhealthy)
  end)

  it("is done once for a name, and goes on with what is known", function()
    local function opts(who)
      return {
        name = "health.spec.shared", endpoints = { "10.1.6.1:1" }, fall = 1, rise = 3,
        type = function() return who == "second" end,
      }
    end
    local first, changed = assert(check(opts "first"))
    assert.is_false(changed().healthy)
    local second, changed_too = assert(check(opts "second"))
    assert.is_false(second:stats().leader)
    first:stop()
    assert.is_true(changed_too().healthy) -- three successes after the failure that `first` saw
    assert.is_true(second:stats().checks >= 4)
  end)

  it("runs in each worker when it is told so", function()
    local both = {}
    for i = 1, 2 do
      local c, changed = assert(check {
        name = "health.spec.each", leader = false, endpoints = { "10.1.7.1:1" },
        type = function() return true end,
      })
      both[i] = { c, changed }
    end
    assert.is_true(both[1][2]().healthy)
    assert.is_true(both[2][2]().healthy)
    assert.is_true(both[1][1]:stats().leader and both[2][1]:stats().leader)
  end)

  it("outlives an on_change that raises", function()
    local done = task.future()
    local well = false
    local c = assert(neap.health.check {
      name = "health.spec.raises", endpoints = { "10.1.8.1:1" }, interval = SOON, fall = 1, rise = 1,
      type = function() return well end,
      on_change = function(_, healthy)
        if healthy then return done:resolve() end
        well = true
        error "a mistake"
      end,
    })
    later(function() c:stop() end)
    done:await()
  end)

  it("refuses options that make no sense", function()
    local function refused(opts, words)
      local ok, err = pcall(neap.health.check, opts)
      assert.is_false(ok)
      assert.matches(words, err, 1, true)
    end
    refused({}, "opts: expected one of service, endpoints and balancer")
    refused({ service = "a", endpoints = { "a:1" } }, "opts: expected one of")
    refused({ service = "a", intervall = 1 }, "opts.intervall: unknown option (did you mean interval?)")
    refused({ service = "a", type = "htp" }, "did you mean http?")
    refused({ service = "a", status = { "200-99" } }, "opts.status[1]")
    refused({ service = "a", status = {} }, "opts.status")
    refused({ service = "a", path = "health" }, "opts.path")
    refused({ service = "a", path = "/a\r\nb: c" }, "opts.path")
    refused({ service = "a", method = "GET /x" }, "opts.method")
    refused({ service = "a", concurrency = 0 }, "opts.concurrency")
    refused({ service = "not a name" }, "opts.service")
    refused({ endpoints = { "nowhere" } }, "endpoints[1]")
    refused({ endpoints = { "a:1" }, tags = { "x" } }, "opts.tags")
    refused({ endpoints = { "a:1" }, initial = "well" }, "opts.initial")
  end)
end)
