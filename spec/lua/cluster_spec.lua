local core = require "neap.core.cluster"
local core_http = require "neap.core.http"
local http = require "neap.http"
local registry = require "neap.registry"
local runtime = require "neap.core.runtime"
local task = require "neap.task"

local three = { "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3" }

-- Nothing is on but what is named; round robin, so that a test knows who is next.
local function plain(opts)
  opts.endpoints = opts.endpoints or three
  opts.plain, opts.seed = true, 7
  opts.policy = opts.policy == nil and "round_robin" or opts.policy
  return assert(core.new(opts))
end

-- A call that is answered with so much.
local function answer(cluster, status, seconds)
  local call <close> = assert(cluster:pick())
  return call:finish(1, status, seconds)
end

local function refused(opts, words)
  opts.endpoints = opts.endpoints or three
  local ok, err = pcall(core.new, opts)
  assert.is_false(ok)
  assert.is_truthy(tostring(err):find(words, 1, true), tostring(err))
end

describe("a cluster's call", function()
  it("is admitted, sent to an endpoint and done with its answer", function()
    local cluster <close> = plain { name = "goods" }
    do
      local call <close>, endpoint, timeout = cluster:pick()
      assert.equal("127.0.0.1", endpoint.host)
      assert.is_nil(timeout)
      assert.equal(1, endpoint.active)
      assert.equal(1, call:attempts())
      assert.is_nil(call:finish(1, 200, 0.01))
      assert.equal(0, endpoint.active)
    end
    local stats = cluster:stats()
    assert.equal(1, stats.calls)
    assert.equal(1, stats.succeeded)
    assert.equal(3, stats.endpoints)
    assert.is_nil(stats.breaker)
    assert.equal("neap.cluster: goods", tostring(cluster))
  end)

  it("has what is left of its time, or less", function()
    local cluster <close> = plain { retry = { timeout = 5 } }
    local now = runtime.monotonic()
    local call <close>, _, timeout = cluster:pick(nil, true, now + 2)
    assert.is_true(timeout <= 2 and timeout > 1)
    local other <close>, _, five = cluster:pick(nil, true, now + 60)
    assert.equal(5, five)
    assert.is_not_nil(other)
    local none, err = cluster:pick(nil, true, now)
    assert.is_nil(none)
    assert.equal("ETIMEDOUT", err.code)
    assert.equal("deadline", err.rule)
    assert.is_not_nil(call)
  end)

  it("is made once more elsewhere when that is safe", function()
    local cluster <close> = plain { retry = true }
    local call <close>, first = cluster:pick("normal", true)
    local delay = call:finish(1, 503)
    assert.is_true(delay >= 0 and delay <= 0.025)
    local second, _, number = call:start()
    assert.equal(2, number)
    assert.not_equal(first, second)
    assert.same({ first, second }, call:tried())
    assert.is_nil(call:finish(2, 200))
    local unsafe <close> = cluster:pick("normal", false)
    assert.is_nil(unsafe:finish(1, 503))
    local unreached <close> = cluster:pick("normal", false)
    assert.equal(0, unreached:finish(1, { code = "ECONNREFUSED" }))
  end)

  it("tells failures apart", function()
    local cluster <close> = plain {
      endpoints = { "127.0.0.3:1", "127.0.0.3:2" },
      retry = { attempts = 2, reserve = 1000, statuses = { 404, 500 } },
    }
    local cases = {
      { 200 }, { 404, again = true }, { 500, again = true }, { 503 }, { 429 }, { 302 },
      { { code = "ECONNRESET" }, again = true },
      { { code = "ETIMEDOUT" }, again = true },
      { { code = "ETLS", phase = "tls" }, again = true },
      { { code = "EMSGSIZE" } },
      { { code = "EMSGSIZE", phase = "connect" }, again = true },
      { { code = "ECANCELED" } },
      { { code = "ELIMIT", phase = "wait" }, again = true },
      { nil },
    }
    for i = 1, 14 do
      local case = cases[i]
      local call <close> = cluster:pick(nil, true)
      assert.equal(case.again or false, call:finish(1, case[1]) ~= nil, "case " .. i)
    end
    local stats = cluster:stats()
    assert.equal(2, stats.succeeded) -- 200 and 302
    local errors = 0
    for _, endpoint in ipairs(cluster:endpoints()) do errors = errors + endpoint.errors end
    assert.equal(8, errors) -- four statuses, and who was not reached or did not answer; the rest was ours
  end)

  it("honours what an answer asked for", function()
    local cluster <close> = plain { endpoints = { "127.0.0.1:1" }, retry = true }
    local call <close> = cluster:pick(nil, true)
    assert.is_true(call:finish(1, 503, nil, 3) > 2.9)
    local hasty <close> = cluster:pick(nil, true, runtime.monotonic() + 2)
    assert.is_nil(hasty:finish(1, 503, nil, 3))
  end)

  it("keeps an answer's latency apart from its body", function()
    local cluster <close> = plain { retry = true }
    local call <close>, endpoint = cluster:pick(nil, true)
    assert.is_true(call:retriable(503))
    assert.is_false(call:retriable(200))
    call:answered(1)
    assert.is_nil(call:finish(1, 503)) -- it is the call's, whatever it is
    assert.equal(0, endpoint.active)
  end)

  it("can be chosen for by its caller", function()
    local cluster <close> = plain { policy = false }
    local all = cluster:endpoints()
    assert.equal(all, cluster:endpoints())
    assert.equal(3, #cluster:usable())
    local call <close> = cluster:begin()
    local endpoint, _, number = call:start(all[2])
    assert.equal(all[2], endpoint)
    assert.equal(1, number)
    call:finish(1, 200)
    local stranger = plain { endpoints = { "127.0.0.1:9" } }
    local other <close> = cluster:begin()
    local none, err = other:start(stranger:endpoints()[1])
    assert.is_nil(none)
    assert.equal("ENOENDPOINT", err.code)
  end)

  it("ends with its scope, and its attempts with it", function()
    local cluster <close> = plain {}
    local picked
    do
      local call <close>, endpoint = cluster:pick()
      assert.equal(1, endpoint.active)
      assert.is_not_nil(call)
      picked = endpoint
    end
    assert.equal(0, picked.active)
    assert.equal(1, cluster:stats().canceled)
  end)

  it("ends with its task", function()
    local cluster <close> = plain {}
    local picked
    local waiting = task.spawn(function()
      local call <close>, endpoint = cluster:pick()
      picked = endpoint
      task.sleep(60)
      assert.is_not_nil(call)
    end)
    task.yield()
    assert.equal(1, picked.active)
    waiting:cancel()
    task.yield()
    assert.equal(0, picked.active)
  end)

  it("ends when nobody knows it any more", function()
    local cluster <close> = plain {}
    local endpoint
    do
      local call
      call, endpoint = cluster:pick()
      assert.is_not_nil(call)
    end
    for _ = 1, 3 do collectgarbage() end
    assert.equal(0, endpoint.active)
  end)

  it("is an error to use after its end, and is used again", function()
    local cluster <close> = plain {}
    local call = cluster:pick()
    call:finish(1, 200)
    for _, name in ipairs { "start", "hedge", "hedge_delay", "tried" } do
      assert.has_error(function() call[name](call) end)
    end
    assert.has_error(function() call:finish(1, 200) end)
    call:close()
    call:close()
    assert.equal("neap.cluster.call: closed", tostring(call))
    local again = cluster:pick()
    assert.is_true(rawequal(call, again))
    assert.has_error(function() again:finish(2, 200) end)
    assert.has_error(function() again:finish(1, "200") end)
    assert.is_nil(again:finish(1, 200))
    assert.has_error(function() again:finish(1, 200) end)
    again:close()
  end)

  it("outlives its cluster", function()
    local cluster = plain {}
    local call, endpoint = cluster:pick()
    cluster:close()
    assert.has_error(function() cluster:pick() end)
    assert.is_nil(call:finish(1, 200))
    assert.equal(0, endpoint.active)
    call:close()
  end)
end)

describe("a cluster's rule", function()
  it("of rates refuses and says when to come again", function()
    local cluster <close> = plain { rate_limit = { rate = 1, burst = 2 } }
    answer(cluster, 200)
    answer(cluster, 200)
    local call, err = cluster:pick()
    assert.is_nil(call)
    assert.equal("ELIMIT", err.code)
    assert.equal("rate_limit", err.rule)
    assert.is_true(err.retry_after > 0 and err.retry_after <= 1)
    assert.equal(1, cluster:stats().refused.rate_limit)
  end)

  it("of a leaky bucket lets calls wait", function()
    local bucket = { algorithm = "leaky_bucket", rate = 10, burst = 1, queue = 3 }
    local cluster <close> = plain { rate_limit = bucket }
    answer(cluster, 200)
    local call <close>, wait = cluster:pick()
    assert.is_true(wait > 0 and wait <= 0.1)
    assert.is_not_nil(call:start())
    assert.is_nil(call:finish(1, 200))
  end)

  it("of concurrency refuses the lesser classes first", function()
    local cluster <close> = plain { concurrency = { adaptive = false, initial = 2, share = { low = 0.5 } } }
    local first <close> = cluster:pick "low"
    local call, err = cluster:pick "low"
    assert.is_nil(call)
    assert.equal("ELIMIT", err.code)
    assert.equal("concurrency", err.rule)
    local second <close> = cluster:pick "high"
    assert.is_not_nil(first)
    assert.is_not_nil(second)
    local stats = cluster:stats().concurrency
    assert.equal(2, stats.limit)
    assert.equal(2, stats.inflight)
    assert.equal(1, stats.refused.low)
  end)

  it("of a breaker refuses while it is open", function()
    local cluster <close> = plain { breaker = { consecutive_failures = 3 } }
    for _ = 1, 3 do answer(cluster, 500) end
    local call, err = cluster:pick()
    assert.is_nil(call)
    assert.equal("EBUSY", err.code)
    assert.equal("breaker", err.rule)
    assert.is_true(err.retry_after > 1)
    assert.equal("open", cluster:stats().breaker.state)
  end)

  it("of outliers ejects who fails", function()
    local cluster <close> = plain { -- of their own: what is known of an address all clusters know
      endpoints = { "127.0.0.2:1", "127.0.0.2:2", "127.0.0.2:3" },
      outlier = { consecutive_5xx = 3, max_ejection_percent = 50 },
    }
    local bad = cluster:endpoints()[2]
    for _ = 1, 30 do
      local call <close>, endpoint = cluster:pick()
      call:finish(1, endpoint == bad and 500 or 200)
    end
    assert.equal(3, bad.errors)
    assert.equal(1, cluster:stats().outlier.ejected.consecutive_5xx)
    assert.equal(2, cluster:stats().usable)
  end)

  it("in shadow mode counts and does not act", function()
    local cluster <close> = plain {
      rate_limit = { rate = 1, burst = 1, shadow = true },
      breaker = { consecutive_failures = 2, shadow = true },
      concurrency = { adaptive = false, initial = 1, shadow = true },
      retry = { shadow = true },
    }
    for _ = 1, 5 do answer(cluster, 500) end
    local call <close> = cluster:pick(nil, true)
    local other <close> = cluster:pick(nil, true)
    assert.is_nil(call:finish(1, 503))
    assert.is_nil(other:finish(1, 503))
    local stats = cluster:stats()
    assert.equal(0, stats.refused.rate_limit + stats.refused.breaker + stats.refused.concurrency)
    assert.equal(6, stats.would_refuse.rate_limit)
    assert.is_true(stats.would_refuse.breaker > 0)
    assert.equal(1, stats.would_refuse.concurrency)
    assert.equal(2, stats.would_retry)
    assert.equal(0, stats.retries)
  end)

  it("is shared by clusters of one name with equal options", function()
    local opts = { plain = true, share = "spec.shared", breaker = { consecutive_failures = 1 } }
    local one <close> = plain(opts)
    local two <close> = plain(opts)
    opts.breaker = { consecutive_failures = 2 }
    local other <close> = plain(opts)
    opts.share = false
    opts.breaker = { consecutive_failures = 1 }
    local apart <close> = plain(opts)
    answer(one, 500)
    assert.equal("open", two:stats().breaker.state)
    assert.equal("closed", other:stats().breaker.state)
    assert.equal("closed", apart:stats().breaker.state)
  end)
end)

describe("a hedge", function()
  local function taught()
    local cluster = plain { hedge = { min_samples = 20 }, retry = { reserve = 1000 } }
    for i = 1, 100 do answer(cluster, 200, i % 30 == 0 and 0.5 or 0.01) end
    return cluster
  end

  it("is due after what nearly all answers took", function()
    local cluster <close> = taught()
    local call <close> = cluster:pick(nil, true)
    local delay = call:hedge_delay()
    assert.is_true(delay > 0 and delay < 0.02)
    local unsafe <close> = cluster:pick(nil, false)
    assert.is_nil(unsafe:hedge_delay())
    assert.is_true(cluster:stats().hedge_delay > 0.005)
  end)

  it("goes elsewhere, and the first answer wins", function()
    local cluster <close> = taught()
    local call <close>, first = cluster:pick(nil, true)
    local second, _, number = call:hedge()
    assert.not_equal(first, second)
    assert.is_nil(call:hedge_delay())
    assert.is_false(call:finish(1, 503)) -- the hedge may still do better
    assert.is_nil(call:finish(number, 200))
    local stats = cluster:stats()
    assert.equal(1, stats.hedges)
    assert.equal(1, stats.hedges_won)
    assert.equal(0, stats.failed)
  end)

  it("leaves a streamed answer its place", function()
    local cluster <close> = taught()
    local call <close>, _ = cluster:pick(nil, true)
    local slow, _, number = call:hedge()
    call:answered(1)
    assert.has_error(function() call:answered(number) end)
    call:finish(number, nil)
    assert.equal(0, slow.active)
    assert.is_nil(call:finish(1, 200))
  end)
end)

describe("a forwarded answer", function()
  -- Its body may go on for hours; that is no reason to hedge, nor to take its endpoint for a slow one.
  it("is there for its call when its head is", function()
    local head, body = task.future(), task.future()
    local upstream = assert(http.serve {
      handler = function(req)
        head:await(20)
        req:start(200)
        req:write "begun"
        body:await(20)
        req:finish()
      end,
    })
    local cluster = plain { endpoints = { upstream.address, "127.0.0.1:1" }, hedge = { min_samples = 20 } }
    for _ = 1, 40 do answer(cluster, 200, 0.01) end
    local under
    local gateway = assert(http.serve {
      handler = function(req)
        local call <close> = cluster:begin(nil, true)
        local endpoint = call:start(cluster:endpoints()[1])
        under = call
        local ok, _, status, seconds = core_http.forward(nil, req, endpoint.host, endpoint.port,
          nil, nil, nil, nil, nil, nil, nil, nil, call)
        assert.is_true(ok)
        assert.is_nil(call:finish(1, status, seconds))
      end,
    })
    local asked = task.spawn(http.get, "http://" .. gateway.address, { stream = true })
    repeat task.yield() until under
    assert.is_not_nil(under:hedge_delay())
    head:resolve()
    local res = asked:await(20)
    assert.equal("begun", res:read())
    assert.is_nil(under:hedge_delay())
    body:resolve()
    assert.is_nil(res:read())
    cluster:close()
    gateway:close { grace = 0 }
    upstream:close { grace = 0 }
  end)
end)

describe("a cluster", function()
  it("follows its service", function()
    local cluster <close> = assert(core.new { service = "spec.cluster.goods", plain = true })
    local none, err = cluster:pick()
    assert.is_nil(none)
    assert.equal("ENOENDPOINT", err.code)
    assert.equal("endpoints", err.rule)
    local one <close> = assert(registry.register { name = "spec.cluster.goods", address = "127.0.0.1:7" })
    assert.is_not_nil(one)
    local call <close>, endpoint = cluster:pick()
    assert.equal("127.0.0.1:7", endpoint.address)
    assert.is_nil(call:finish(1, 200))
    assert.has_error(function() cluster:update(three) end)
  end)

  it("takes another list", function()
    local cluster <close> = plain {}
    local call <close>, endpoint = cluster:pick()
    assert(cluster:update { "127.0.0.1:8" })
    assert.equal(1, #cluster:endpoints())
    assert.is_nil(call:finish(1, 200))
    assert.equal(0, endpoint.active)
    local other <close>, eight = cluster:pick()
    assert.equal("127.0.0.1:8", eight.address)
    assert.is_not_nil(other)
  end)

  it("gives calls with one key to one endpoint", function()
    local cluster <close> = plain { policy = "ring_hash" }
    for key = 1, 20 do
      local a <close>, first = cluster:pick(nil, nil, nil, key)
      local b <close>, second = cluster:pick(nil, nil, nil, tostring(key))
      assert.equal(first, second)
      assert.is_not_nil(a)
      assert.is_not_nil(b)
    end
  end)

  it("gives calls endpoints of the subset that they ask for", function()
    local endpoints = {
      { address = "127.0.0.1:1", meta = { version = "1" } },
      { address = "127.0.0.1:2", meta = { version = "2" } },
    }
    local cluster <close> = plain { endpoints = endpoints, subset_keys = { "version" } }
    for _ = 1, 4 do
      local call <close>, endpoint = cluster:pick(nil, nil, nil, nil, { version = "2" })
      assert.equal("127.0.0.1:2", endpoint.address)
      assert.is_not_nil(call)
    end
    -- A retry goes by what the call began with.
    local retrying <close> = plain {
      endpoints = endpoints, subset_keys = { "version" }, subset_fallback = "none", retry = { reserve = 100 },
    }
    local wish = { version = tostring(1 + 1) }
    local call <close> = retrying:pick(nil, true, nil, nil, wish)
    wish.version = nil
    for _ = 1, 3 do collectgarbage() end
    assert.is_truthy(call:finish(1, 503))
    assert.equal("127.0.0.1:2", call:start().address)
    assert.has_error(function() cluster:pick(nil, nil, nil, nil, { version = 2 }) end)
    assert.has_error(function() cluster:pick(nil, nil, nil, nil, "2") end)
  end)

  it("gives calls the endpoint that they stick to", function()
    local cluster <close> = plain { sticky = "secret" }
    local endpoint = cluster:endpoints()[2]
    local value = cluster:sticky(endpoint)
    for _ = 1, 4 do
      local call <close>, got = cluster:pick(nil, nil, nil, nil, nil, value)
      assert.equal(endpoint, got)
      assert.is_not_nil(call)
    end
    local call <close> = cluster:pick(nil, nil, nil, nil, nil, "no such value")
    assert.is_not_nil(call)
    local without <close> = plain {}
    assert.is_nil(without:sticky(without:endpoints()[1]))
  end)

  it("checks its options", function()
    refused({ retry = { attempts = 17 } }, "opts.retry.attempts: must be between 1 and 16")
    refused({ retry = { attemps = 3 } }, "opts.retry.attemps: unknown option")
    refused({ retry = { statuses = { 99 } } }, "opts.retry.statuses[1]")
    refused({ hedge = { quantile = 2 } }, "opts.hedge.quantile")
    refused({ outlier = { interval = "1" } }, "opts.outlier.interval: expected number, got string")
    refused({ breaker = 3 }, "opts.breaker: expected table or boolean, got number")
    refused({ breaker = { failure_rate = 2 } }, "opts.breaker.failure_rate")
    refused({ concurrency = { min = 9, max = 3 } }, "opts.concurrency")
    refused({ concurrency = { share = { urgent = 1 } } }, "opts.concurrency.share")
    refused({ rate_limit = {} }, "opts.rate_limit.rate: is required")
    refused({ rate_limit = true }, "opts.rate_limit.rate: is required")
    refused({ rate_limit = { rate = 1, algorithm = "bucket" } }, "no algorithm 'bucket'")
    refused({ policy = "fastest" }, "unknown policy 'fastest'")
    refused({ policy = true }, "opts.policy")
    refused({ keyed = "p2c" }, "no hashing policy 'p2c'")
    refused({ slow_start = {} }, "opts.slow_start.duration: is required")
    refused({ slow_start = { duration = 1, curve = "steep" } }, "opts.slow_start.curve")
    refused({ subset_fallback = "some" }, "opts.subset_fallback")
    refused({ service = "s" }, "either a service or endpoints")
    refused({ share = 1 }, "opts.share: expected string or false, got number")
  end)

  it("checks what a call asks for", function()
    local cluster <close> = plain {}
    assert.has_error(function() cluster:pick "urgent" end)
    assert.has_error(function() cluster:pick(5) end)
    assert.has_error(function() cluster:pick(nil, nil, "soon") end)
    assert.has_error(function() cluster:pick(nil, nil, nil, {}) end)
    assert.equal(0, cluster:stats().calls)
    assert.equal(4, core.priorities.critical)
  end)
end)
