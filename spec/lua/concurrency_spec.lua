local neap = require "neap"
local task = require "neap.task"

local function bulkhead(n, more)
  local opts = { adaptive = false, initial = n }
  for k, v in pairs(more or {}) do opts[k] = v end
  return assert(neap.concurrency.new(opts))
end

local function enter(c, priority, timeout) return c:enter { priority = priority, timeout = timeout } end

describe("neap.concurrency", function()
  it("lets so many in, and the next when one has left", function()
    local c = bulkhead(2)
    local a, b = assert(enter(c, "high")), assert(enter(c, "high"))
    local none, err = enter(c, "high")
    assert.is_nil(none)
    assert.equal("ELIMIT", err.code)
    assert.equal(503, err.status)
    a:done(true)
    a:done(true) -- a second time does nothing
    assert.equal(1, c:stats().inflight)
    local d = assert(enter(c, "high"))
    b:done()
    d:done(false)
    local stats = c:stats()
    assert.equal(0, stats.inflight)
    assert.equal(3, stats.admitted)
    assert.equal(1, stats.refused)
    assert.equal(1, stats.classes.high.refused)
  end)

  it("leaves with its block, and when it is forgotten", function()
    local c = bulkhead(5)
    do
      local ticket <close> = assert(c:enter()) -- luacheck: ignore 211
      assert.equal(1, c:stats().inflight)
    end
    assert.equal(0, c:stats().inflight)
    assert(c:enter())
    collectgarbage()
    collectgarbage()
    assert.equal(0, c:stats().inflight)
  end)

  it("sheds low classes first", function()
    local c = bulkhead(10)
    local function fill(priority)
      local n = 0
      while true do
        local ticket = enter(c, priority)
        if not ticket then return n end
        n = n + 1
        c[#c + 1] = ticket -- kept
      end
    end
    assert.same({ 5, 2, 2, 1, 1 }, {
      fill "sheddable", fill "low", fill "normal", fill "high", fill "critical",
    })
  end)

  it("calls, and learns from what comes of it", function()
    local c = neap.concurrency.new { initial = 10, min = 1 }
    assert.same({ 1, "b", nil, 4 }, { c:call(function() return 1, "b", nil, 4 end) })
    local none, err = c:call(function() return nil, task.error("EIO", "no") end)
    assert.is_nil(none)
    assert.equal("EIO", err.code)
    assert.error_matches(function() c:call(function() error("bad luck", 0) end) end, "^bad luck$")
    assert.equal(0, c:stats().inflight)
    assert.equal(10, c:stats().limit)
    for _ = 1, 5 do c:call(function() return { status = 503 } end) end
    assert.equal(9, c:stats().limit)
  end)

  it("frees its place when the task is cancelled", function()
    local c = bulkhead(1)
    local future = task.spawn(function()
      return c:call(function() task.sleep(100) end, { priority = "high" })
    end)
    task.yield()
    assert.equal(1, c:stats().inflight)
    future:cancel()
    future:await()
    assert.equal(0, c:stats().inflight)
  end)

  describe("with a queue", function()
    it("is fair, and higher classes come first", function()
      local c = bulkhead(1, { max_waiting = 10 })
      local ticket = assert(enter(c, "high"))
      local order, futures = {}, {}
      for i, priority in ipairs { "low", "normal", "low", "high", "normal", "high" } do
        futures[i] = task.spawn(function()
          c:call(function()
            order[#order + 1] = priority .. i
            task.yield()
          end, { priority = priority })
        end)
      end
      task.yield()
      assert.equal(6, c:stats().waiting)
      ticket:done(true)
      for _, future in ipairs(futures) do future:await(5) end
      assert.same({ "high4", "high6", "normal2", "normal5", "low1", "low3" }, order)
      local stats = c:stats()
      assert.equal(0, stats.waiting)
      assert.equal(6, stats.queued)
      assert.equal(0, stats.refused)
    end)

    it("is bounded, and a higher class takes a lower one's place", function()
      local c = bulkhead(1, { max_waiting = 2 })
      local ticket = assert(enter(c, "high"))
      local low = task.spawn(function() return enter(c, "low") end)
      local lower = task.spawn(function() return enter(c, "sheddable") end)
      task.yield()
      local none, err = enter(c, "sheddable")
      assert.is_nil(none)
      assert.equal("ELIMIT", err.code)
      local high = task.spawn(function() return enter(c, "high") end)
      none, err = lower:await(1)
      assert.is_nil(none)
      assert.equal("ELIMIT", err.code)
      ticket:done(true)
      assert(high:await(1)):done(true)
      assert(low:await(1)):done(true)
      assert.equal(1, c:stats().displaced)
      assert.equal(2, c:stats().refused)
    end)

    it("waits no longer than it is told to", function()
      local c = bulkhead(1, { max_waiting = 2 })
      local ticket = assert(enter(c, "high"))
      local none, err = enter(c, "high", 0)
      assert.is_nil(none)
      assert.equal("ELIMIT", err.code)
      none, err = enter(c, "high", 0.001)
      assert.is_nil(none)
      assert.equal("ETIMEDOUT", err.code)
      local future = task.spawn(function() return enter(c, "high") end)
      task.yield()
      future:cancel()
      future:await()
      assert.equal(0, c:stats().waiting)
      assert.equal(2, c:stats().gave_up)
      ticket:done(true)
      assert.equal(0, c:stats().inflight)
    end)

    it("tells who waits that it is closed", function()
      local c = bulkhead(1, { max_waiting = 2 })
      local ticket = assert(enter(c, "high"))
      local future = task.spawn(function() return enter(c, "high") end)
      task.yield()
      c:close()
      local none, err = future:await(1)
      assert.is_nil(none)
      assert.equal("ECLOSED", err.code)
      ticket:done(true)
      assert.error_matches(function() enter(c, "high") end, "closed")
    end)

    it("serves whoever shares the name", function()
      local name = "spec.concurrency.shared"
      local a = bulkhead(1, { name = name, max_waiting = 5 })
      local b = bulkhead(1, { name = name, max_waiting = 5 })
      local ticket = assert(enter(a, "high"))
      local future = task.spawn(function() return enter(b, "high") end)
      task.yield()
      ticket:done(true)
      assert(future:await(1)):done(true)
      assert.equal(0, a:stats().inflight)
    end)
  end)

  it("counts in shadow mode, and lets all in", function()
    local c = bulkhead(1, { shadow = true, max_waiting = 3 })
    local tickets = {}
    for i = 1, 4 do tickets[i] = assert(enter(c, "high")) end
    assert.equal(#tickets, c:stats().inflight)
    assert.equal(3, c:stats().would_refuse)
    assert.is_nil(c:stats().refused)
  end)

  it("takes over new terms", function()
    local name = "spec.concurrency.terms"
    local a = bulkhead(1, { name = name })
    local b = bulkhead(2, { name = name })
    local one, two = enter(a, "high"), enter(a, "high")
    assert.is_truthy(one)
    assert.is_truthy(two)
    assert.equal(2, b:stats().limit)
  end)

  it("refuses what it does not know", function()
    assert.error_matches(function() neap.concurrency.new { limit = 3 } end, "opts.limit")
    assert.error_matches(function() neap.concurrency.new { min = 10, max = 5 } end, "opts.min")
    assert.error_matches(function() neap.concurrency.new { initial = 0 } end, "opts.initial")
    assert.error_matches(function() neap.concurrency.new { quantile = 1 } end, "opts.quantile")
    local c = bulkhead(1)
    assert.error_matches(function() c:enter { priority = "urgent" } end, "opts.priority")
    assert.error_matches(function() c:call(1) end, "fn")
  end)
end)
