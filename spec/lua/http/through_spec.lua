-- A handler that ends in `return req:forward(client)`, where the client has rules and nothing of a script's
-- own: the attempts go on without a task. Who asks, the endpoints, the rules and who stops the server see
-- no difference to a handler that waits.
local neap = require "neap"
local http, task, tcp = neap.http, neap.task, neap.tcp

local open = {}

local function keep(server)
  open[#open + 1] = server
  return server
end

local function serve(handler)
  local count = { n = 0 }
  local server = keep(assert(http.serve {
    handler = function(req)
      count.n = count.n + 1
      return handler(req, count.n)
    end,
  }))
  return server.address, count, server
end

local function refusing()
  local server = assert(http.serve { handler = function() end })
  local address = server.address
  server:close { grace = 0 }
  return address
end

-- The URL of a gateway that has forwarded once already, and its client. `waits`: its handler has something
-- left to do.
local function gateway(opts, waits)
  for k, v in pairs { balancer = "round_robin", outlier = false, concurrency = false, timeout = 20 } do
    if opts[k] == nil then opts[k] = v end
  end
  local client = http.client(opts)
  local function alone(req) return req:forward(client) end
  local function waiting(req)
    local ok, err = req:forward(client)
    return ok, err
  end
  local server = keep(assert(http.serve { handler = waits and waiting or alone }))
  return "http://" .. server.address, client, server
end

local function turns_until(condition)
  for _ = 1, 100000 do
    if condition() then return true end
    task.yield()
  end
  return false
end

local function nothing_in_flight(client)
  assert.is_true(turns_until(function()
    for _, endpoint in ipairs(client:endpoints()) do
      if endpoint.active > 0 then return false end
    end
    return true
  end))
end

local at_once = { backoff = 0, reserve = 1000 }

describe("a forward by rules that ends its handler", function()
  setup(function() http.get "http://127.0.0.1:1" end)
  after_each(function()
    for _, server in ipairs(open) do server:close { grace = 0 } end
    open = {}
  end)

  it("has no task any more while the upstream thinks", function()
    local current, ended
    local address = serve(function()
      ended = current and tostring(current)
      return "ok"
    end)
    local client = http.client { endpoints = { address } }
    local server = keep(assert(http.serve {
      handler = function(req)
        current = task.current()
        return req:forward(client)
      end,
    }))
    assert.equal("ok", http.get("http://" .. server.address).body)
    assert.equal("ok", http.get("http://" .. server.address).body)
    assert.matches("ended", ended)
    nothing_in_flight(client)
    assert.equal(2, client:stats().cluster.succeeded)
  end)

  for _, waits in ipairs { false, true } do
    local name = waits and " (one that waits)" or ""

    it("tries again and passes the best answer on" .. name, function()
      local bad, count = serve(function() return 503, "bad" end)
      local good = serve(function() return "good" end)
      local url, client = gateway({ endpoints = { bad, refusing(), good }, retry = at_once }, waits)
      for _ = 1, 9 do
        local res = assert(http.get(url))
        assert.same({ 200, "good" }, { res.status, res.body })
      end
      assert.is_true(count.n >= 2)
      nothing_in_flight(client)
      local stats = client:stats().cluster
      assert.same({ 9, 9, 0 }, { stats.calls, stats.succeeded, stats.failed })
      assert.is_true(stats.retries >= 4)
    end)

    it("passes the last answer on when none is good" .. name, function()
      local bad, count = serve(function(_, n) return 503, "bad " .. n, { ["x-n"] = n } end)
      local url, client = gateway({ endpoints = { bad }, retry = { backoff = 0.001, reserve = 1000 } }, waits)
      for i = 1, 3 do
        local res = http.get(url)
        assert.same({ 503, "bad " .. 3 * i, tostring(3 * i) }, { res.status, res.body, res.headers["x-n"] })
      end
      assert.equal(9, count.n)
      nothing_in_flight(client)
      assert.equal(3, client:stats().cluster.failed)
    end)

    it("lets who asks for it alone" .. name, function()
      local date = require("neap.http.conditional").format_date
      for _, value in ipairs { "60", date(os.time() + 60) } do
        local bad, count = serve(function() return 503, "", { ["retry-after"] = value } end)
        local url = gateway({ endpoints = { bad }, retry = at_once }, waits)
        for i = 1, 2 do
          assert.equal(503, http.get(url).status)
          assert.equal(i, count.n)
        end
      end
    end)

    it("answers 502, 503 and 504 as it should" .. name, function()
      local url, client = gateway({ endpoints = { refusing() }, retry = at_once }, waits)
      for _ = 1, 2 do assert.equal(502, http.get(url).status) end
      nothing_in_flight(client)
      url = gateway({ endpoints = {} }, waits)
      for _ = 1, 2 do assert.equal(503, http.get(url).status) end
      local hole, count = serve(function() task.future():await() end)
      local retry = { timeout = 0.03, backoff = 0, reserve = 1000 }
      url, client = gateway({ endpoints = { hole }, retry = retry }, waits)
      for i = 1, 2 do
        assert.equal(504, http.get(url).status)
        assert.equal(3 * i, count.n)
      end
      nothing_in_flight(client)
      url = gateway({
        endpoints = { (serve(function() return 500 end)) }, breaker = { consecutive_failures = 2, open = 30 },
      }, waits)
      for _ = 1, 2 do assert.equal(500, http.get(url).status) end
      local res = http.get(url)
      assert.equal(503, res.status)
      assert.is_true(tonumber(res.headers["retry-after"]) > 1)
    end)

    it("gives all back when its client leaves, between attempts, too" .. name, function()
      local begun, finished = 0, 0
      local hole = serve(function()
        begun = begun + 1
        local mark <close> = setmetatable({}, { -- luacheck: ignore 211
          __close = function() finished = finished + 1 end,
        })
        task.future():await()
      end)
      for _, opts in ipairs {
        { endpoints = { hole }, concurrency = { adaptive = false, initial = 5 } },
        { endpoints = { refusing() }, retry = { backoff = 60, max_backoff = 60 }, timeout = 600 },
        { endpoints = { (serve(function() return 503, "x" end)) }, retry = { backoff = 60, max_backoff = 60 },
          timeout = 600 },
      } do
        local url, client, server = gateway(opts, waits)
        for i = 1, 2 do
          local c <close> = assert(tcp.connect("127.0.0.1", server.port))
          assert(c:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
          assert.is_true(turns_until(function()
            local stats = client:stats().cluster
            return stats.attempts >= i and (opts.concurrency or client:endpoints()[1].active == 0)
          end))
          if opts.concurrency then assert.is_true(turns_until(function() return begun == i end)) end
          c:close()
          nothing_in_flight(client)
          if opts.concurrency then
            local function idle() return client:stats().cluster.concurrency.inflight == 0 end
            assert.is_true(turns_until(idle))
            assert.is_true(turns_until(function() return finished == i end))
          end
        end
        assert.is_string(url)
      end
    end)

    it("is waited for by a server that drains" .. name, function()
      local gate = task.future()
      local address = serve(function()
        gate:await()
        return "late"
      end)
      local url, _, server = gateway({ endpoints = { address } }, waits)
      gate:resolve(true)
      assert.equal("late", http.get(url).body)
      gate = task.future()
      local call = http.client():async():get(url)
      assert.is_true(turns_until(function() return server.connections > 0 end))
      for _ = 1, 20 do task.yield() end
      local closing = task.spawn(function() return server:close { grace = 20 } end)
      for _ = 1, 20 do task.yield() end
      gate:resolve(true)
      assert.equal("late", call:await(20).body)
      assert.is_true(closing:await(20))
    end)

    it("breaks off an answer that breaks off, and counts it" .. name, function()
      local listener = keep(assert(tcp.listen({}, function(s)
        s:read()
        s:write "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
      end)))
      local url, client = gateway({ endpoints = { "127.0.0.1:" .. listener.port }, retry = at_once }, waits)
      for _ = 1, 2 do
        local _, err = http.get(url, { idempotent = false })
        assert.is_truthy(err)
      end
      nothing_in_flight(client)
      assert.equal(0, client:stats().cluster.retries)
    end)
  end

  it("reads a request's priority", function()
    local gate, arrived = task.future(), 0
    local address = serve(function()
      arrived = arrived + 1
      gate:await()
      return "good"
    end)
    gate:resolve(true)
    local url = gateway { endpoints = { address }, concurrency = { adaptive = false, initial = 4 } }
    assert.equal(200, http.get(url).status)
    gate, arrived = task.future(), 0
    local calls, caller = {}, http.client { priority = "critical" }
    for i = 1, 4 do calls[i] = caller:async():get(url) end
    assert.is_true(turns_until(function() return arrived == 4 end))
    assert.equal(503, http.get(url, { headers = { ["x-neap-priority"] = "u=7" } }).status)
    assert.equal(503, http.get(url).status)
    gate:resolve(true)
    for i = 1, 4 do assert.equal(200, calls[i]:await(20).status) end
  end)
end)
