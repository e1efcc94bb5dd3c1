local neap = require "neap"
local runtime = require "neap.core.runtime"
local task = require "neap.task"

local counter = 0
local function unique()
  counter = counter + 1
  return "spec.limiter." .. counter
end

describe("neap.limiter", function()
  it("lets a burst pass and says when to come again", function()
    local l = assert(neap.limiter.new { rate = 0.001, burst = 3 })
    assert.is_true(l:allow())
    local ok, info = l:check(2)
    assert.is_true(ok)
    assert.is_true(info.remaining < 0.01)
    assert.is_true(info.would_allow)
    local none, err = l:check()
    assert.is_nil(none)
    assert.equal("ELIMIT", err.code)
    assert.equal(429, err.status)
    assert.is_true(err.retry_after > 900 and err.retry_after <= 1000)
    assert.is_false(l:allow())
    local stats = l:stats()
    assert.equal(2, stats.allowed)
    assert.equal(2, stats.refused)
    assert.equal("token_bucket", stats.algorithm)
  end)

  it("says so when a cost can never pass", function()
    local l = neap.limiter.new { rate = 5 }
    local none, err = l:check(6)
    assert.is_nil(none)
    assert.is_true(err.never)
    assert.is_nil(err.retry_after)
    none, err = l:wait(1, 6)
    assert.is_nil(none)
    assert.is_true(err.never)
  end)

  it("only asks with a cost of 0", function()
    local l = neap.limiter.new { rate = 0.001, burst = 1 }
    assert.is_true(l:check(0))
    assert.is_true(l:check(1))
    assert.is_nil(l:check(0))
    assert.equal(1, l:stats().allowed)
    assert.equal(0, l:stats().refused)
  end)

  it("keeps one for each key, of a bounded number", function()
    local l = neap.limiter.new { rate = 0.001, burst = 1, max_keys = 4 }
    for _, key in ipairs { "a", "b", "c", "d" } do
      assert.is_true(l:allow(key))
      assert.is_false(l:allow(key))
    end
    assert.is_nil(l:check(1, "a"))
    assert.is_true(l:allow()) -- the one for all is another
    assert.is_true(l:allow "e") -- b goes
    assert.is_true(l:allow "b")
    local stats = l:stats()
    assert.equal(4, stats.keys)
    assert.equal(2, stats.evicted)
    assert.equal(2, stats.forgotten)
  end)

  it("has every algorithm", function()
    for _, name in ipairs { "token_bucket", "gcra", "sliding_window", "leaky_bucket" } do
      local l = neap.limiter.new { algorithm = name, rate = 0.01, burst = 2, window = 200, queue = 1 }
      assert.is_true(l:allow())
      assert.is_true(l:allow())
      assert.is_false(l:allow())
      assert.equal(name, l:stats().algorithm)
    end
  end)

  it("is one for a name, and takes over new terms", function()
    local name = unique()
    local a = neap.limiter.new { name = name, rate = 0.001, burst = 2 }
    assert.is_true(a:allow())
    local b = neap.limiter.new { name = name, rate = 0.001, burst = 3 }
    assert.is_true(b:allow())
    assert.is_true(a:allow())
    assert.is_false(b:allow())
    assert.is_true(a:set { rate = 0.001, burst = 4 })
    assert.is_true(b:allow())
    assert.equal(4, b:stats().burst)
    a:close()
    a:close()
    assert.is_false(b:allow()) -- it lives on
    b:close()
    local c = neap.limiter.new { name = name, rate = 0.001, burst = 1 }
    assert.is_true(c:allow()) -- it went with its last user
  end)

  it("is nobody else's without a name", function()
    local a, b = neap.limiter.new { rate = 0.001 }, neap.limiter.new { rate = 0.001 }
    assert.is_true(a:allow())
    assert.is_true(b:allow())
  end)

  it("counts in shadow mode, and lets all pass", function()
    local l = neap.limiter.new { rate = 0.001, burst = 1, shadow = true }
    for _ = 1, 5 do assert.is_true(l:allow()) end
    local ok, info = l:check()
    assert.is_true(ok)
    assert.is_false(info.would_allow)
    assert.equal(5, l:stats().would_refuse)
    assert.is_nil(l:stats().refused)
    assert.is_true(l:wait(0))
  end)

  describe("wait", function()
    it("is first come, first served", function()
      for _, algorithm in ipairs { "token_bucket", "gcra", "leaky_bucket", "sliding_window" } do
        local l = neap.limiter.new { algorithm = algorithm, rate = 200, burst = 1, window = 0.02, queue = 10 }
        local order, futures = {}, {}
        for i = 1, 6 do
          futures[i] = task.spawn(function()
            assert(l:wait())
            order[#order + 1] = i
          end)
        end
        for _, future in ipairs(futures) do future:await(5) end
        assert.same({ 1, 2, 3, 4, 5, 6 }, order)
      end
    end)

    it("refuses at once who would wait for too long", function()
      local l = neap.limiter.new { rate = 0.01, burst = 1 }
      assert.is_true(l:wait(0))
      local none, err = l:wait(5)
      assert.is_nil(none)
      assert.equal("ELIMIT", err.code)
      assert.is_true(err.retry_after > 90)
      local future = task.spawn(function() return task.timeout(5, function() return l:wait() end) end)
      none, err = future:await(2)
      assert.is_nil(none)
      assert.equal("ELIMIT", err.code)
    end)

    it("gives a place back that is not needed", function()
      local l = neap.limiter.new { rate = 0.01, burst = 1 }
      assert.is_true(l:wait(0))
      local waiting = task.spawn(function() return l:wait() end)
      task.yield()
      local _, before = l:wait(0)
      waiting:cancel()
      waiting:await()
      local _, after = l:wait(0)
      assert.is_true(before.retry_after > 150)
      assert.is_true(after.retry_after < 101)
    end)

    it("goes on when one in the line gives up", function()
      local l = neap.limiter.new { algorithm = "sliding_window", rate = 100, window = 0.05 }
      while l:allow() do end
      local first = task.spawn(function() return l:wait() end)
      local second = task.spawn(function() return l:wait() end)
      task.yield()
      first:cancel()
      assert.is_true((second:await(5)))
    end)

    it("bounds the line", function()
      for _, algorithm in ipairs { "token_bucket", "leaky_bucket", "sliding_window" } do
        local l = neap.limiter.new { algorithm = algorithm, rate = 0.1, burst = 1, queue = 2, window = 10 }
        if algorithm == "sliding_window" then l:wait() end
        local waiting <close> = task.group()
        for _ = 1, 3 do
          waiting:spawn(function() l:wait() end)
        end
        task.yield()
        local none, err = l:wait(1000)
        assert.is_nil(none)
        assert.equal("ELIMIT", err.code)
      end
    end)
  end)

  it("refuses what it does not know", function()
    assert.has_error(function() neap.limiter.new() end)
    local _, where = pcall(function() neap.limiter.new { rate = 0 } end)
    assert.matches("limiter_spec.lua:%d+: opts.rate: above 0", where)
    assert.error_matches(function() neap.limiter.new {} end, "opts.rate: above 0")
    assert.error_matches(function() neap.limiter.new { rate = 1, brust = 1 } end, "opts.brust")
    assert.error_matches(function() neap.limiter.new { rate = "1" } end, "opts.rate")
    assert.error_matches(function() neap.limiter.new { rate = 1, algorithm = "leaky" } end, "opts.algorithm")
    assert.error_matches(function() neap.limiter.new { rate = 1, burst = 0.5 } end, "opts.burst: at least 1")
    assert.error_matches(function() neap.limiter.new { rate = 1, name = "" } end, "opts.name")
    local window = { rate = 0.1, algorithm = "sliding_window" }
    assert.error_matches(function() neap.limiter.new(window) end, "opts.window")
    local l = neap.limiter.new { rate = 1 }
    assert.has_error(function() l:check(-1) end)
    assert.has_error(function() l:check(1, {}) end)
    assert.has_error(function() l:set { rate = 1, name = "x" } end)
    l:close()
    assert.error_matches(function() l:allow() end, "closed")
    assert.matches("closed", tostring(l))
  end)

  it("is quick", function() -- shows it, and asserts nothing of the clock
    local l = neap.limiter.new { rate = 1e9 }
    local began = runtime.monotonic()
    for _ = 1, 1000 do l:allow() end
    assert.is_true(runtime.monotonic() >= began)
    assert.equal(1000, l:stats().allowed)
  end)
end)
