-- Forwarding by a client that hedges, over real sockets: the first good head is passed on, who has lost is
-- cancelled and leaves nothing behind, and what is passed on is what forwarding passes on.
local neap = require "neap"
local http, task, tcp = neap.http, neap.task, neap.tcp

local open = {}

local function serve(opts)
  if type(opts) == "function" then opts = { handler = opts } end
  local server = assert(http.serve(opts))
  open[#open + 1] = server
  return server.address
end

-- An upstream that answers by `handler` until it is a black hole: then each request waits until its
-- connection is closed, which resolves `cancelled`.
local function upstream(id, handler)
  local self = { hole = false, begun = 0, cancelled = task.future() }
  self.address = serve(function(req)
    if not self.hole then
      if handler then return handler(req) end
      return id .. req:body()
    end
    self.begun = self.begun + 1
    local mark <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function() self.cancelled:resolve(true) end,
    })
    task.future():await()
  end)
  return self
end

-- The URL of a gateway over these endpoints, whose latency is known, and its client.
local function gateway(endpoints, more, forward)
  local opts = {
    endpoints = endpoints, hedge = { min_samples = 2, min_delay = 0.001 }, balancer = "round_robin",
    timeout = 20, outlier = false, concurrency = false, retry = { budget = 10, backoff = 0 },
  }
  for k, v in pairs(more or {}) do opts[k] = v end
  local client = http.client(opts)
  local url = "http://" .. serve(function(req) return req:forward(client, forward) end)
  for _ = 1, 64 do assert.equal(200, http.get(url).status) end
  return url, client
end

-- Two upstreams, of which the first is a black hole from now on.
local function pair(more, handler, forward)
  local a, b = upstream("a", handler), upstream("b", handler)
  local url, client = gateway({ a.address, b.address }, more, forward)
  a.hole = true
  return url, client, a, b
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

describe("forwarding by a client that hedges", function()
  setup(function() http.get "http://127.0.0.1:1" end)
  after_each(function()
    for _, server in ipairs(open) do server:close { grace = 0 } end
    open = {}
  end)

  it("goes past a black hole, whose attempt is cancelled", function()
    local url, client, a = pair()
    for _ = 1, 4 do assert.equal("b", http.get(url).body) end
    assert.is_true(a.begun >= 2)
    assert.is_true(a.cancelled:await(20))
    nothing_in_flight(client)
    local stats = client:stats().cluster
    assert.is_true(stats.hedges >= 2 and stats.hedges_won >= 2)
    assert.same({ 68, 68, 0 }, { stats.calls, stats.succeeded, stats.failed })
    assert.equal(stats.attempts, stats.calls + stats.hedges + stats.retries)
  end)

  it("sends a small body to both, and a larger one to none but the first", function()
    local retry = { budget = 10, backoff = 0, max_body = 8 }
    local url, client, a = pair({ retry = retry }, nil, { timeout = 1 })
    for _ = 1, 4 do assert.equal("bsmall", http.put(url, { body = "small" }).body) end
    local statuses = {}
    local before = a.begun
    for i = 1, 2 do statuses[i] = http.put(url, { body = ("x"):rep(9) }).status end
    table.sort(statuses)
    assert.same({ 200, 504, 1 }, { statuses[1], statuses[2], a.begun - before })
    nothing_in_flight(client)
  end)

  it("does not hedge what may not be made twice", function()
    local url, client = pair(nil, nil, { timeout = 1 })
    local before, statuses = client:stats().cluster.hedges, {}
    for i = 1, 2 do statuses[i] = http.post(url, { body = "x" }).status end
    table.sort(statuses)
    assert.same({ 200, 504 }, statuses)
    assert.equal(before, client:stats().cluster.hedges)
  end)

  it("tries again what was answered badly, and passes the last answer on", function()
    local bad = false
    local function handler() return bad and 503 or 200, "answer" end
    local url, client = gateway({ upstream("a", handler).address, upstream("b", handler).address },
      { retry = { attempts = 2, budget = 10, backoff = 0 } })
    bad = true
    local res = http.get(url)
    assert.same({ 503, "answer" }, { res.status, res.body })
    nothing_in_flight(client)
  end)

  it("passes heads on as forwarding does", function()
    local seen
    local url, client = pair({ headers = { ["x-mine"] = "m" } }, function(req)
      seen = req.headers
      return 200, "body", {
        ["set-cookie"] = { "a=1", "b=2" }, ["keep-alive"] = "timeout=77", ["x-end"] = "e",
        ["content-encoding"] = "odd",
      }
    end, { headers = { ["x-away"] = false, ["x-own"] = 5 }, via = "gate", target = "/t" })
    local res = http.get(url, { decompress = false, headers = {
      ["x-away"] = "1", ["x-stays"] = "s", ["accept-encoding"] = "odd",
    } })
    assert.same({ 200, "body", "e", "odd" },
      { res.status, res.body, res.headers["x-end"], res.headers["content-encoding"] })
    assert.same({ "a=1", "b=2" }, res.headers["set-cookie"])
    assert.not_equal("timeout=77", res.headers["keep-alive"])
    assert.equal("4", res.headers["content-length"])
    assert.same({ "m", "s", "5", "1.1 gate", "odd" },
      { seen["x-mine"], seen["x-stays"], seen["x-own"], seen["via"], seen["accept-encoding"] })
    assert.is_nil(seen["x-away"])
    assert.not_equal(url:match "//(.*)", seen["host"])
    nothing_in_flight(client)
  end)

  it("tells of HEAD's length, and has no body", function()
    local url, client = pair(nil, function() return "four" end)
    for _ = 1, 2 do
      local res = http.head(url)
      assert.same({ 200, "", "4" }, { res.status, res.body, res.headers["content-length"] })
    end
    nothing_in_flight(client)
  end)

  it("streams the body as it comes, with its trailers", function()
    local gate, streams = task.future(), false
    local url, client = pair(nil, function(req)
      if not streams then return "warm" end
      req:start(200, { trailer = "x-sum" })
      req:write "one"
      gate:await()
      req:write "two"
      req:finish { ["x-sum"] = "6" }
    end)
    streams = true
    local res = assert(http.get(url, { stream = true }))
    assert.equal("one", res:read())
    gate:resolve(true)
    assert.same({ "two", nil }, { res:read(), res:read() })
    assert.equal("6", res.trailers["x-sum"])
    nothing_in_flight(client)
  end)

  it("breaks an answer off whose upstream does", function()
    local breaks, outcome = false, task.future()
    local function handler(req)
      if not breaks then return "warm" end
      req:start(200)
      req:write "one"
      error(task.error("EPROTO", "mine"), 0)
    end
    local a = upstream("a", handler)
    local _, client = gateway { a.address }
    breaks = true
    local url = "http://" .. serve(function(req)
      local ok, err = req:forward(client)
      outcome:resolve(ok, err and err.code) -- and says nothing of it
    end)
    local _, err = http.get(url)
    assert.is_string(err and err.code)
    local ok, code = outcome:await(20)
    assert.is_nil(ok)
    assert.is_string(code)
    nothing_in_flight(client)
  end)

  it("gives all back when the client leaves", function()
    local url, client, a, b = pair()
    b.hole = true
    local c <close> = assert(tcp.connect("127.0.0.1", tonumber(url:match ":(%d+)$")))
    assert(c:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.is_true(turns_until(function() return a.begun + b.begun == 2 end))
    c:close()
    assert.is_true(a.cancelled:await(20))
    assert.is_true(b.cancelled:await(20))
    nothing_in_flight(client)
  end)

  it("keeps a client with its endpoint", function()
    local url, client = gateway({ upstream("a").address, upstream("b").address },
      { sticky = { header = "x-stick" } })
    local first = http.get(url)
    local value = assert(first.headers["x-stick"])
    for _ = 1, 4 do
      local res = http.get(url, { headers = { ["x-stick"] = value } })
      assert.same({ first.body, nil }, { res.body, res.headers["x-stick"] })
    end
    nothing_in_flight(client)
  end)

  it("tells the upstream how long the task has", function()
    local left
    local url = pair(nil, function(req)
      left = req.headers["x-neap-deadline"]
      return "ok"
    end)
    http.get(url, { headers = { ["x-neap-deadline"] = "15000" } })
    assert.is_true(tonumber(left) > 0 and tonumber(left) <= 15000, left)
  end)

  it("goes by a script's policy", function()
    local a, b = upstream "a", upstream "b"
    local url, client = gateway({ a.address, b.address }, {
      balancer = function(ctx, endpoints)
        assert(ctx.request.method == "GET" and ctx.request.target == "/")
        return endpoints[2]
      end,
    })
    assert.equal("b", http.get(url).body)
    nothing_in_flight(client)
  end)

  it("answers as other forwards do where nobody is there", function()
    local client = http.client { endpoints = {}, hedge = true }
    local url = "http://" .. serve(function(req) return req:forward(client) end)
    assert.equal(503, http.get(url).status)
  end)
end)
