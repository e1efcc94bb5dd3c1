-- Hedging over real sockets: the first good answer wins, the others are cancelled and leave nothing behind.
local neap = require "neap"
local http, task = neap.http, neap.task

local open = {}

local function serve(handler)
  local server = assert(http.serve { handler = handler })
  open[#open + 1] = server
  return server.address
end

-- A server that answers at once, until it is told to be slow: then each request waits until it is cancelled,
-- which resolves `cancelled`.
local function turning_slow(id)
  local self = { slow = false, begun = 0, cancelled = task.future() }
  self.address = serve(function(req)
    self.begun = self.begun + 1
    local body = req:body()
    if not self.slow then return id .. body end
    local mark <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function() self.cancelled:resolve(true) end,
    })
    task.future():await()
  end)
  return self
end

local function client_of(endpoints, hedge, more)
  hedge = hedge or {}
  hedge.min_samples, hedge.min_delay = 2, hedge.min_delay or 0.001
  local opts = {
    endpoints = endpoints, hedge = hedge, balancer = "round_robin", timeout = 20,
    outlier = false, concurrency = false, retry = { budget = 10, backoff = 0 },
  }
  for k, v in pairs(more or {}) do opts[k] = v end
  local client = http.client(opts)
  for _ = 1, 64 do assert(client:get "/") end -- so that its latency is known
  return client
end

local function nothing_in_flight(client)
  for _, endpoint in ipairs(client:endpoints()) do assert.equal(0, endpoint.active) end
end

-- Two servers, one of which is slow from now on.
local function pair(hedge, more)
  local a, b = turning_slow "a", turning_slow "b"
  local client = client_of({ a.address, b.address }, hedge, more)
  a.slow = true
  return client, a, b
end

describe("a hedge", function()
  setup(function() http.get "http://127.0.0.1:1" end)
  after_each(function()
    for _, server in ipairs(open) do server:close { grace = 0 } end
    open = {}
  end)

  it("is sent when the answer is late; it wins, and the first is cancelled", function()
    local client, a = pair()
    for _ = 1, 4 do assert.equal("b", client:get("/").body) end
    assert.is_true(a.cancelled:await(20))
    nothing_in_flight(client)
    local stats = client:stats().cluster
    assert.is_true(stats.hedges >= 1 and stats.hedges_won >= 1)
    assert.is_true(stats.hedge_delay > 0)
  end)

  it("says which attempt it was", function()
    local client, a, b = pair()
    assert.equal(2, math.max(client:get("/").attempts, client:get("/").attempts))
    a.slow, b.slow = false, false
    assert.equal(1, client_of({ a.address }, { min_delay = 10 }):get("/").attempts)
  end)

  it("sends a body again, whether a string or pieces that were kept", function()
    local client = pair()
    for _ = 1, 2 do assert.equal("bmine", client:put("/", { body = "mine" }).body) end
    for _ = 1, 2 do
      local pieces = { "mi", "ne" }
      assert.equal("bmine", client:put("/", { body = function() return table.remove(pieces, 1) end }).body)
    end
    nothing_in_flight(client)
  end)

  it("is none of a call that may not be made twice", function()
    local client, _, b = pair()
    local before = b.begun
    local failed = 0
    for _ = 1, 2 do
      local res = client:post("/", { body = "x", timeout = 0.2 })
      if not res then failed = failed + 1 end
    end
    assert.same({ 1, 1 }, { failed, b.begun - before })
    for _ = 1, 2 do assert.equal("bx", client:post("/", { body = "x", idempotent = true }).body) end
    assert.is_nil((client:get("/", { retry = false, timeout = 0.2 })) and nil)
  end)

  it("hands on a streamed answer, which alone goes on", function()
    local gate = task.future()
    local a = turning_slow "a"
    local b = serve(function(req)
      if req.path == "/" then return "b" end
      local n = 0
      return 200, function()
        n = n + 1
        if n == 2 then gate:await() end
        return n <= 3 and "piece" or nil
      end
    end)
    local client = client_of({ a.address, b })
    a.slow = true
    for i = 1, 2 do
      local res = assert(client:get("/stream", { stream = true }))
      assert.matches("^piece", res:read())
      assert.equal(1, res.endpoint.active)
      gate:resolve(true)
      for _ in res:chunks() do end -- luacheck: ignore 542
      nothing_in_flight(client)
      if i == 2 then assert.is_true(a.cancelled:await(20)) end
    end
  end)

  it("leaves nothing behind when its caller is cancelled", function()
    local a, b = turning_slow "a", turning_slow "b"
    local client = client_of({ a.address, b.address })
    a.slow, b.slow = true, true
    local before = a.begun + b.begun
    local call = client:async():get "/"
    while a.begun + b.begun < before + 2 do task.yield() end
    call:cancel()
    call:await(20)
    assert.is_true(a.cancelled:await(20))
    assert.is_true(b.cancelled:await(20))
    nothing_in_flight(client)
  end)

  it("ends with the call's time when nobody answers", function()
    local a, b = turning_slow "a", turning_slow "b"
    local client = client_of({ a.address, b.address })
    a.slow, b.slow = true, true
    local _, err = client:get("/", { timeout = 0.1 })
    assert.equal("ETIMEDOUT", err.code)
    nothing_in_flight(client)
  end)

  it("is within the budget", function()
    local a, b = turning_slow "a", turning_slow "b"
    local client = client_of({ a.address, b.address }, nil, { retry = { budget = 0, reserve = 1 } })
    a.slow, b.slow = true, true
    for _ = 1, 3 do client:get("/", { timeout = 0.1 }) end
    local stats = client:stats().cluster
    assert.is_true(stats.hedges <= 1)
    assert.is_true(stats.refused.hedge >= 2)
  end)

  it("is but counted in shadow mode", function()
    local client, _, b = pair { shadow = true }
    local before = b.begun
    for _ = 1, 2 do client:get("/", { timeout = 0.1 }) end
    local stats = client:stats().cluster
    assert.same({ 0, 1 }, { stats.hedges, b.begun - before })
    assert.is_true(stats.would_hedge >= 1)
  end)

  it("lets a good answer win over a bad one that came first", function()
    local gate, bad = task.future(), false
    local a = serve(function()
      if bad then gate:await() end
      return "a"
    end)
    local b = serve(function()
      if not bad then return "b" end
      gate:resolve(true)
      return 503, "bad"
    end)
    local client = client_of({ a, b }, nil, { retry = { attempts = 2, budget = 10, backoff = 0 } })
    bad = true
    local res = client:get "/"
    assert.same({ 200, "a" }, { res.status, res.body })
    nothing_in_flight(client)
  end)

  it("is told of a hook that fails, by its caller", function()
    local a = turning_slow "a"
    local broken = false
    local client = client_of({ a.address }, nil, {
      on_request = function() if broken then error "mine" end end,
    })
    broken = true
    assert.error_matches(function() client:get "/" end, "mine")
    nothing_in_flight(client)
  end)
end)
