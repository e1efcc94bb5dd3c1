local neap = require "neap"
local task = require "neap.task"

-- Spans of tests: one that is never over while a test runs, and one that is over at once.
local LONG, SHORT = 1000, 0.001

local count = 0
local function fresh(opts)
  count = count + 1
  opts.name = opts.name or ("breaker.spec." .. count)
  return assert(neap.breaker.new(opts))
end

local function failing() return nil, task.error("ECONNREFUSED", "nobody there") end
local function fine() return "fine", 2 end

-- Waits for a state that time brings about.
local function await_state(b, state)
  while b:state() ~= state do task.sleep(0.0005) end
end

describe("neap.breaker", function()
  it("lets calls pass and gives what they give", function()
    local b = fresh { consecutive_failures = 2 }
    assert.same({ "fine", 2 }, { b:call(fine) })
    local result, err = b:call(failing)
    assert.is_nil(result)
    assert.equal("ECONNREFUSED", err.code)
    assert.equal("closed", b:state())
    local s = b:stats()
    assert.equal(2, s.calls)
    assert.equal(1, s.failures)
    assert.equal(0, s.in_flight)
  end)

  it("opens, and then refuses with how long to wait", function()
    local b = fresh { consecutive_failures = 2, open = LONG }
    b:call(failing)
    b:call(failing)
    assert.equal("open", b:state())
    local called = false
    local result, err = b:call(function() called = true end)
    assert.is_false(called)
    assert.is_nil(result)
    assert.equal("EBUSY", err.code)
    assert.equal("open", err.reason)
    assert.is_true(err.retry_after > LONG * 0.7 and err.retry_after <= LONG + 0.001)
    assert.matches(b.name, tostring(err), 1, true)
    assert.equal(1, b:stats().refused_open)
  end)

  it("opens by the share of failures", function()
    local b = fresh { failure_rate = 0.5, minimum_calls = 4, open = LONG }
    b:call(failing)
    b:call(fine)
    b:call(failing)
    assert.equal("closed", b:state())
    b:call(fine)
    assert.equal("open", b:state())
  end)

  it("closes when a probe goes well", function()
    local b = fresh { consecutive_failures = 1, open = SHORT }
    b:call(failing)
    await_state(b, "half_open")
    local pass = assert(b:enter())
    assert.is_true(pass.probe)
    local other, err = b:enter()
    assert.is_nil(other)
    assert.equal("EBUSY", err.code)
    pass:done(true)
    pass:done(false) -- a second time does nothing
    assert.equal("closed", b:state())
    local s = b:stats()
    assert.equal(1, s.opened)
    assert.equal(1, s.closed)
  end)

  it("has fallbacks in a line of Lua", function()
    local b = fresh { consecutive_failures = 1, open = LONG }
    assert.equal("cached", b:call(failing, "cached"))
    assert.equal("EBUSY", b:call(fine, function(err) return err.code end))
    assert.is_false(b:call(fine, false))
    assert.equal("fine", (fresh {}):call(fine, "cached"))
  end)

  it("takes a function's word on what a failure is", function()
    local function is_failure(res) return res.status >= 500 end
    local b = fresh { consecutive_failures = 1, open = LONG, is_failure = is_failure }
    local res = b:call(function() return { status = 404 } end, "never")
    assert.equal(404, res.status)
    assert.equal("closed", b:state())
    local given, err, result
    given = b:call(function() return { status = 503 } end, function(e, r)
      err, result = e, r
      return "instead"
    end)
    assert.equal("instead", given)
    assert.is_nil(err)
    assert.equal(503, result.status)
    assert.equal("open", b:state())
    b:reset()
    assert.equal(500, b:call(function() return { status = 500 } end).status)
  end)

  it("counts what is raised, and raises it on", function()
    local b = fresh { consecutive_failures = 1, open = LONG }
    local ok, err = pcall(b.call, b, function() error("a mistake", 0) end, "cached")
    assert.is_false(ok)
    assert.matches("a mistake", err)
    assert.equal("open", b:state())
    b:reset()
    -- An error object is an expected failure, however it comes.
    assert.equal("EIO", b:call(function() error(task.error("EIO")) end, function(e) return e.code end))
    b:reset()
    ok, err = pcall(b.call, b, function() error(task.error("EIO")) end)
    assert.is_false(ok)
    assert.equal("EIO", err.code)
  end)

  it("learns nothing of a call that was cancelled", function()
    local b = fresh { consecutive_failures = 1, open = SHORT }
    b:trip()
    await_state(b, "half_open")
    local entered = task.future()
    local call = task.spawn(function()
      return b:call(function()
        entered:resolve()
        task.sleep(LONG)
      end, "cached")
    end)
    entered:await()
    assert.equal(1, b:stats().in_flight)
    call:cancel()
    local _, err = call:await()
    assert.equal("ECANCELED", err.code)
    assert.equal("half_open", b:state())
    assert.equal(0, b:stats().in_flight)
    assert.equal("fine", b:call(fine)) -- the probe's place is free
    assert.equal("closed", b:state())
  end)

  it("counts a call that its task's deadline ended", function()
    local b = fresh { consecutive_failures = 1, open = LONG }
    local _, err = task.timeout(0.001, function()
      return b:call(function() task.sleep(LONG) end, "cached")
    end)
    assert.equal("ETIMEDOUT", err.code)
    assert.equal("open", b:state())
  end)

  it("gives the place back of who forgets to", function()
    local b = fresh { max_requests = 1 }
    do
      local pass <close> = assert(b:enter()) -- luacheck: ignore 211
      local other, err = b:enter()
      assert.is_nil(other)
      assert.equal("cap", err.reason)
    end
    assert(b:enter())
    collectgarbage()
    collectgarbage()
    assert.equal(0, b:stats().in_flight)
    assert.equal(1, b:stats().refused_cap)
  end)

  it("decides and counts in shadow mode, and lets all pass", function()
    local b = fresh { consecutive_failures = 1, open = LONG, shadow = true, max_requests = 1 }
    b:call(failing)
    assert.equal("open", b:state())
    assert.equal("fine", b:call(fine))
    local s = b:stats()
    assert.is_true(s.shadow)
    assert.equal(1, s.would_refuse_open)
    assert.is_nil(s.refused_open)
  end)

  it("tells of changes, in a task of its own", function()
    local told = {}
    local closed = task.future()
    local b = fresh {
      consecutive_failures = 1,
      open = SHORT,
      on_change = function(state)
        told[#told + 1] = state
        if state == "closed" then closed:resolve() end
      end,
    }
    b:call(failing)
    await_state(b, "half_open")
    b:call(fine)
    closed:await()
    assert.equal("open", told[1])
    assert.equal("closed", told[#told])
  end)

  it("is one for a name", function()
    local a = fresh { consecutive_failures = 1, open = LONG }
    local b = fresh { name = a.name, consecutive_failures = 1, open = LONG }
    a:call(failing)
    assert.equal("open", b:state())
    b:reset()
    assert.equal("closed", a:state())
    -- The newest options hold.
    fresh { name = a.name, consecutive_failures = 3, open = LONG }
    a:call(failing)
    assert.equal("closed", a:state())
    -- One without a name is its own.
    local c, d = neap.breaker.new(), neap.breaker.new()
    c:trip()
    assert.equal("closed", d:state())
    assert.matches("open", tostring(c))
  end)

  it("refuses options that make no sense", function()
    local function refused(opts, words)
      local ok, err = pcall(neap.breaker.new, opts)
      assert.is_false(ok)
      assert.matches(words, err, 1, true)
    end
    refused({ failure_rat = 0.5 }, "opts.failure_rat: unknown option (did you mean failure_rate?)")
    refused({ failure_rate = 2 }, "opts.failure_rate: expected at most 1")
    refused({ minimum_calls = 0 }, "opts.minimum_calls")
    refused({ half_open_probes = 1001 }, "opts.half_open_probes")
    refused({ open = 0 }, "opts.open")
    refused({ open = 10, max_open = 5 }, "opts.max_open")
    refused({ on_change = 1 }, "opts.on_change: expected function, got number")
    refused({ name = "" }, "opts.name")
    assert.has_error(function() fresh({}):call "no function" end)
  end)
end)
