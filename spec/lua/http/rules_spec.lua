-- The rules of a client over real sockets: who is refused, by which rule, and what the caller learns of it.
local neap = require "neap"
local monotonic = require("neap.core.runtime").monotonic
local http, task = neap.http, neap.task

local open = {}

local function serve(handler)
  local count = { n = 0 }
  local server = assert(http.serve {
    handler = function(req)
      count.n = count.n + 1
      return handler(req, count.n)
    end,
  })
  open[#open + 1] = server
  return server.address, count
end

-- A client of a list under this rule alone.
local function client_of(endpoints, rule)
  local opts = { outlier = false, concurrency = false, retry = false, balancer = "round_robin", timeout = 20 }
  for k, v in pairs(rule) do opts[k] = v end
  opts.endpoints = endpoints
  return http.client(opts)
end

local function ok() return "good" end

-- A server that holds its answers back until they are let go.
local function gated()
  local gate, arrived = task.future(), 0
  local address = serve(function()
    arrived = arrived + 1
    gate:await()
    return "good"
  end)
  local function wait_for(n)
    while arrived < n do task.yield() end
  end
  return address, wait_for, function() gate:resolve(true) end
end

local function until_true(fn)
  local ends = monotonic() + 20
  repeat
    if fn() then return true end
    task.yield()
  until monotonic() > ends
  return false
end

local function close_all()
  for _, server in ipairs(open) do server:close { grace = 0 } end
  open = {}
end

describe("a rate limit", function()
  setup(function() http.get "http://127.0.0.1:1" end)
  after_each(close_all)

  it("refuses what is more, and says when to come again", function()
    for _, algorithm in ipairs { "token_bucket", "gcra", "sliding_window" } do
      local address, count = serve(ok)
      local client = client_of({ address }, {
        rate_limit = { algorithm = algorithm, rate = 0.1, burst = 2, window = 20 },
      })
      assert.equal(200, client:get("/").status)
      assert.equal(200, client:get("/").status)
      local res, err = client:get "/"
      assert.is_nil(res)
      assert.same({ "ELIMIT", "rate_limit" }, { err.code, err.rule })
      assert.is_true(err.retry_after > 0 and err.retry_after <= 40)
      assert.equal(2, count.n)
      local stats = client:stats().cluster
      assert.same({ 1, 0 }, { stats.refused.rate_limit, stats.would_refuse.rate_limit })
    end
  end)

  it("lets calls wait for their turn in a leaky bucket", function()
    local address, count = serve(ok)
    local function leaky(rate)
      return { rate_limit = { algorithm = "leaky_bucket", rate = rate, queue = 2 } }
    end
    local client = client_of({ address }, leaky(200))
    local first, second = client:async():get "/", client:async():get "/"
    assert.equal(200, first:await(20).status)
    assert.equal(200, second:await(20).status)
    assert.equal(2, count.n)
    local slow = client_of({ address }, leaky(0.01))
    assert.equal(200, slow:get("/").status)
    local _, err = slow:get("/", { timeout = 0.5 })
    assert.is_true(err.code == "ETIMEDOUT" or err.code == "ELIMIT")
  end)

  it("but counts in shadow mode", function()
    local address, count = serve(ok)
    local client = client_of({ address }, { rate_limit = { rate = 0.1, burst = 1, shadow = true } })
    for _ = 1, 3 do assert.equal(200, client:get("/").status) end
    assert.equal(3, count.n)
    assert.equal(2, client:stats().cluster.would_refuse.rate_limit)
  end)
end)

describe("a concurrency limit", function()
  after_each(close_all)

  it("refuses what is more, of low priority first", function()
    local address, wait_for, let_go = gated()
    local client = client_of({ address }, { concurrency = { adaptive = false, initial = 10 } })
    local calls = {}
    local function call(priority) calls[#calls + 1] = client:async():get("/", { priority = priority }) end
    local function refused(priority)
      local _, err = client:get("/", { priority = priority })
      return err.code == "ELIMIT" and err.rule == "concurrency"
    end
    for _ = 1, 5 do call "sheddable" end
    wait_for(5)
    assert.is_true(refused "sheddable")
    for _ = 1, 4 do call() end
    wait_for(9)
    assert.is_true(refused())
    assert.is_true(refused "low")
    call "high"
    wait_for(10)
    assert.is_true(refused "high")
    call "critical"
    wait_for(11)
    let_go()
    for _, future in ipairs(calls) do assert.equal(200, future:await(20).status) end
    assert.equal(0, client:stats().cluster.concurrency.inflight)
    assert.equal(200, client:get("/", { priority = "sheddable" }).status)
  end)

  it("but counts in shadow mode", function()
    local address, wait_for, let_go = gated()
    local client = client_of({ address }, {
      concurrency = { adaptive = false, initial = 1, min = 1, shadow = true },
    })
    local first, second = client:async():get "/", client:async():get "/"
    wait_for(2)
    let_go()
    assert.equal(200, first:await(20).status)
    assert.equal(200, second:await(20).status)
    assert.is_true(client:stats().cluster.would_refuse.concurrency > 0)
  end)

  it("is given back by calls that are cancelled, and by streamed answers at their end", function()
    local address, wait_for = gated()
    local client = client_of({ address }, { concurrency = { adaptive = false, initial = 10 } })
    local call = client:async():get "/"
    wait_for(1)
    assert.equal(1, client:stats().cluster.concurrency.inflight)
    call:cancel()
    call:await(20)
    assert.equal(0, client:stats().cluster.concurrency.inflight)
    client = client_of({ (serve(ok)) }, { concurrency = { adaptive = false, initial = 10 } })
    local res = client:get("/", { stream = true })
    assert.equal(1, client:stats().cluster.concurrency.inflight)
    res:read()
    res:read()
    assert.equal(0, client:stats().cluster.concurrency.inflight)
  end)
end)

describe("a circuit breaker", function()
  after_each(close_all)

  it("refuses at once after so many failures, and lets a probe through", function()
    local well = false
    local address, count = serve(function() return well and 200 or 500, "x" end)
    local client = client_of({ address }, { breaker = { consecutive_failures = 3, open = 0.02, jitter = 0 } })
    for _ = 1, 3 do assert.equal(500, client:get("/").status) end
    local err = select(2, client:get "/")
    assert.same({ "EBUSY", "breaker", 3 }, { err.code, err.rule, count.n })
    assert.is_true(err.retry_after > 0)
    assert.equal("open", client:stats().cluster.breaker.state)
    well = true
    assert.is_true(until_true(function() return client:get "/" ~= nil end))
    assert.equal("closed", client:stats().cluster.breaker.state)
  end)

  it("but counts in shadow mode", function()
    local address, count = serve(function() return 500 end)
    local client = client_of({ address }, { breaker = { consecutive_failures = 2, shadow = true } })
    for _ = 1, 5 do assert.equal(500, client:get("/").status) end
    assert.equal(5, count.n)
    assert.is_true(client:stats().cluster.would_refuse.breaker > 0)
  end)
end)

describe("outlier detection", function()
  after_each(close_all)

  local function bad_and_good()
    local bad, count = serve(function() return 500, "bad" end)
    return { bad, (serve(ok)), (serve(ok)) }, count
  end

  it("keeps calls from an endpoint that fails", function()
    local endpoints, count = bad_and_good()
    local client = client_of(endpoints, { outlier = { consecutive_5xx = 3 } })
    for _ = 1, 30 do client:get "/" end
    assert.equal(3, count.n)
    local stats = client:stats().cluster
    assert.same({ 3, 2, 1 }, { stats.endpoints, stats.usable, stats.outlier.ejected.consecutive_5xx })
  end)

  it("learns from calls whose task's deadline ended them", function()
    local hole = serve(function() task.future():await() end)
    local endpoints = { hole, (serve(ok)), (serve(ok)) }
    local client = client_of(endpoints, { outlier = { consecutive_local_failure = 2 } })
    for _ = 1, 12 do task.timeout(0.03, client.get, client, "/") end
    assert.equal(2, client:stats().cluster.usable)
  end)

  it("but counts in shadow mode", function()
    local endpoints, count = bad_and_good()
    local client = client_of(endpoints, { outlier = { consecutive_5xx = 3, shadow = true } })
    for _ = 1, 30 do client:get "/" end
    assert.equal(10, count.n)
    local stats = client:stats().cluster
    assert.same({ 3, true }, { stats.usable, stats.outlier.ejected.consecutive_5xx > 0 })
  end)

  it("tries who was ejected again when the time is over", function()
    local well = false
    local bad, count = serve(function() return well and 200 or 500 end)
    local client = client_of({ bad, (serve(ok)), (serve(ok)) }, {
      outlier = { consecutive_5xx = 2, base_ejection_time = 0.02 },
    })
    for _ = 1, 12 do client:get "/" end
    well = true
    assert.is_true(until_true(function()
      client:get "/"
      return client:stats().cluster.outlier.readmitted > 0
    end))
    assert.is_true(count.n > 2)
  end)
end)

describe("active checks of a client", function()
  after_each(close_all)

  it("keep calls from who does not answer as it should, until it does", function()
    local well = true
    local one, count = serve(function(req)
      if req.path == "/health" then return well and 200 or 500 end
      return "one"
    end)
    local client <close> = client_of({ one, (serve(ok)) }, {
      health = { path = "/health", interval = 0.01, fall = 1, rise = 1 },
    })
    local function usable(n) return client:stats().cluster.usable == n end
    assert.is_true(until_true(function() return count.n > 0 end))
    well = false
    assert.is_true(until_true(function() return usable(1) end))
    for _ = 1, 4 do assert.equal("good", client:get("/").body) end
    well = true
    assert.is_true(until_true(function() return usable(2) end))
    assert.is_true(client:update { one })
    well = false
    assert.is_true(until_true(function()
      return client:endpoints()[1].available == false
    end))
  end)

  it("refuse what is none", function()
    local function misuse() client_of({ "127.0.0.1:1" }, { health = { intervall = 1 } }) end
    assert.error_matches(misuse, "opts.intervall: unknown option")
  end)
end)

describe("a client's endpoints", function()
  after_each(close_all)

  it("may be none", function()
    local _, err = http.client({ endpoints = {} }):get "/"
    assert.same({ "ENOENDPOINT", "endpoints" }, { err.code, err.rule })
    assert.matches("endpoints: no endpoint is available", err.message)
  end)

  it("may be others from now on", function()
    local client = http.client { endpoints = { (serve(function() return "one" end)) } }
    assert.equal("one", client:get("/").body)
    assert.is_true(client:update { (serve(function() return "two" end)) })
    assert.equal("two", client:get("/").body)
    assert.equal(1, #client:endpoints())
    assert.error_matches(function() http.client({ base = "http://a" }):update {} end, "not made from a list")
    local _, where = pcall(function() client:update { "bad" } end)
    assert.matches("rules_spec.lua:%d+: endpoints%[1%]: bad address", where)
    _, where = pcall(function() client:update(nil) end)
    assert.matches("rules_spec.lua:%d+: endpoints: expected table", where)
  end)

  it("may be others for a policy in Lua, too", function()
    local client = http.client {
      endpoints = { (serve(function() return "one" end)) },
      balancer = function(_, endpoints) return endpoints[1] end,
    }
    assert.equal("one", client:get("/").body)
    assert.is_true(client:update { (serve(function() return "two" end)) })
    assert.equal("two", client:get("/").body)
  end)

  it("may be unix sockets", function()
    local path = "@neap-rules-" .. tostring(os.time()) .. tostring(math.random(1 << 30))
    open[#open + 1] = assert(http.serve { handler = ok, unix = path })
    local client = http.client { endpoints = { "unix:" .. path } }
    local gate = serve(function(req) return req:forward(client) end)
    for _ = 1, 2 do
      assert.equal("good", client:get("/").body)
      assert.equal("good", http.get("http://" .. gate).body)
    end
  end)

  it("are chosen by a call's subset", function()
    local function of(version)
      return { address = (serve(function() return version end)), meta = { version = version } }
    end
    local client = http.client {
      endpoints = { of "1", of "2" },
      subset = { keys = { "version" }, fallback = "none" },
    }
    for _ = 1, 4 do
      assert.equal("1", client:get("/", { subset = { version = "1" } }).body)
      assert.equal("2", client:get("/", { subset = { version = "2" } }).body)
    end
    local _, err = client:get("/", { subset = { version = "3" } })
    assert.equal("ENOENDPOINT", err.code)
  end)

  it("are of the caller's zone first", function()
    local endpoints = {}
    for i = 1, 6 do
      local zone = i % 2 == 0 and "a" or "b"
      endpoints[i] = { address = (serve(function() return zone end)), zone = zone }
    end
    local client = http.client { endpoints = endpoints, zone = "a" }
    for _ = 1, 12 do assert.equal("a", client:get("/").body) end
  end)
end)

describe("a call's priority", function()
  after_each(close_all)

  it("is told to the server, where the script has set one", function()
    local address = serve(function(req) return { req.headers["x-neap-priority"] or "none" } end)
    local client = http.client { endpoints = { address } }
    assert.same({ "none" }, client:get("/"):json())
    assert.same({ "high" }, client:get("/", { priority = "high" }):json())
    client = http.client { base = "http://" .. address, priority = "low" }
    assert.same({ "low" }, client:get("/"):json())
    assert.same({ "critical" }, client:get("/", { priority = "critical" }):json())
    local gate = serve(function(req) return req:forward(client) end)
    assert.same({ "u=1" }, http.get("http://" .. gate, { headers = { ["x-neap-priority"] = "u=1" } }):json())
  end)
end)

describe("a fallback", function()
  after_each(close_all)

  local function failing(fallback, more)
    local opts = { endpoints = {}, fallback = fallback }
    for k, v in pairs(more or {}) do opts[k] = v end
    return http.client(opts)
  end

  it("stands in for an answer that did not come", function()
    local seen
    local client = failing(function(err, request)
      seen = { err.code, err.rule, request.method, request.target }
      return "instead"
    end)
    local res = client:get "/things?x=1"
    assert.same({ 200, "instead", true }, { res.status, res.body, res.fallback })
    assert.same({ "ENOENDPOINT", "endpoints", "GET", "/things?x=1" }, seen)
    assert.equal("late", client:async():get("/", { fallback = function() return "late" end }):await(20).body)
  end)

  it("may be a table, or nothing", function()
    local res = failing(function()
      return { status = 203, body = { cached = true }, headers = { ["X-From"] = "cache" } }
    end):get "/"
    assert.same({ 203, true, "cache" }, { res.status, res:json().cached, res.headers["x-from"] })
    local _, err = failing(function() return nil end):get "/"
    assert.equal("ENOENDPOINT", err.code)
    _, err = failing(function() return nil, task.error("ENOTFOUND", "not here either") end):get "/"
    assert.equal("ENOTFOUND", err.code)
    assert.error_matches(function() failing(function() return 5 end):get "/" end, "fallback: expected")
  end)

  it("can be read piece by piece, passed on, and be another client's answer", function()
    local res = failing(function() return "instead" end):get("/", { stream = true })
    assert.same({ "instead" }, { res:read(), res:read() })
    res:close()
    local other = http.client { endpoints = { (serve(ok)) } }
    assert.equal("good", failing(function() return other:get "/" end):get("/").body)
    local function odd() return { status = 299, body = "x" } end
    local gate = serve(function() return failing(odd):get "/" end)
    assert.equal(299, http.get("http://" .. gate).status)
  end)

  it("is not asked when there is an answer", function()
    local client = failing(function() return "instead" end, { endpoints = { (serve(ok)) } })
    assert.equal("good", client:get("/").body)
  end)
end)

describe("a policy written in Lua", function()
  after_each(close_all)

  it("is told of the request, its deadline, and what was tried", function()
    local seen = {}
    local bad, good = serve(function() return 503 end), serve(ok)
    local client = http.client {
      endpoints = { bad, good },
      retry = { backoff = 0 }, outlier = false, timeout = 20,
      balancer = function(ctx, endpoints)
        seen[#seen + 1] = {
          ctx.request.method, ctx.request.target, ctx.attempts,
          ctx.previous and ctx.previous[1].address or "none",
          ctx.deadline > 0 and ctx.deadline <= 20, ctx.key,
        }
        return endpoints[ctx.attempts + 1]
      end,
    }
    assert.equal("good", client:get("/x", { hash_key = "k" }).body)
    assert.same({ { "GET", "/x", 0, "none", true, "k" }, { "GET", "/x", 1, bad, true, "k" } }, seen)
    for _, endpoint in ipairs(client:endpoints()) do assert.equal(0, endpoint.active) end
  end)

  it("may wait for as long as the call has time", function()
    local never, asked = neap.task.future(), 0
    local client = http.client {
      endpoints = { (serve(ok)) }, timeout = 0.01,
      balancer = function()
        asked = asked + 1
        never:await()
      end,
    }
    local res, err = client:get "/"
    assert.is_nil(res)
    assert.same({ "ETIMEDOUT", "total", 1 }, { err.code, err.timeout, asked })
    local cluster = client:stats().cluster
    assert.same({ 1, 0 }, { cluster.calls, cluster.concurrency.inflight })
  end)
end)

describe("a policy's hook", function()
  after_each(close_all)

  -- A client whose policy takes the first endpoint that was not tried, and notes what ended.
  local function noting(endpoints, more)
    local ended = {}
    local opts = {
      endpoints = endpoints, outlier = false, timeout = 20, retry = { backoff = 0 },
      balancer = {
        pick = function(ctx, list) return list[ctx.attempts + 1] end,
        release = function(endpoint, went_well, latency)
          ended[#ended + 1] = { endpoint.address, went_well, latency and latency > 0 }
        end,
      },
    }
    for k, v in pairs(more or {}) do opts[k] = v end
    return http.client(opts), ended
  end

  it("is told how each attempt ended", function()
    local bad, good = serve(function() return 503 end), serve(ok)
    local client, ended = noting { bad, good }
    assert.equal("good", client:get("/").body)
    assert.same({ { bad, false, true }, { good, true, true } }, ended)
    local gate = serve(function(req) return req:forward(client) end)
    assert.equal("good", http.get("http://" .. gate).body)
    assert.same({ { bad, false, true }, { good, true, true } }, { ended[3], ended[4] })
  end)

  it("is told of a streamed answer at its end, and of a call that was cancelled", function()
    local good = serve(ok)
    local client, ended = noting { good }
    local res = client:get("/", { stream = true })
    assert.same({}, ended)
    res:read()
    res:read()
    assert.same({ { good, true, true } }, ended)
    local hole, wait_for = gated()
    client, ended = noting { hole }
    local call = client:async():get "/"
    wait_for(1)
    call:cancel()
    call:await(20)
    assert.same({ { hole, nil, true } }, ended)
  end)
end)

describe("misuse of a rule", function()
  it("is told with its path", function()
    local list = { "127.0.0.1:1" }
    for words, opts in pairs {
      ["opts.retry.attemps: unknown option"] = { retry = { attemps = 2 } },
      ["opts.retry.attempts"] = { retry = { attempts = 0 } },
      ["opts.retry.methods%[1%]: expected string"] = { retry = { methods = { 5 } } },
      ["opts.hedge.quantile"] = { hedge = { quantile = 2 } },
      ["opts.outlier.consecutive"] = { outlier = { consecutive = 2 } },
      ["opts.breaker.open"] = { breaker = { open = "long" } },
      ["opts.concurrency.min"] = { concurrency = { min = "x" } },
      ["opts.rate_limit.rate"] = { rate_limit = {} },
      ["opts.rate_limit: expected table"] = { rate_limit = true },
      ["opts.sticky: expected cookie or header"] = { sticky = {} },
      ['opts.sticky: expected "key" or a table'] = { sticky = "cookie" },
      ["opts.sticky.coookie: unknown option"] = { sticky = { coookie = "a" } },
      ["opts.sticky: "] = { sticky = { cookie = "a b" } },
      ["opts.priority: expected one of"] = { priority = "hihg" },
      ["unknown policy 'p2d'"] = { balancer = "p2d" },
    } do
      opts.endpoints = list
      assert.error_matches(function() http.client(opts) end, words)
    end
    for words, opts in pairs {
      ["opts.retry.attempts"] = { retry = { attempts = 0 } },
      ["opts.zone: is for a service"] = { zone = "a" },
      ["opts.endpoints: expected"] = { endpoints = 5 },
    } do
      assert.error_matches(function() http.client(opts) end, words)
    end
    local function twice() http.client { base = "http://a", endpoints = list } end
    assert.error_matches(twice, "expected one of base, service and endpoints")
  end)
end)
