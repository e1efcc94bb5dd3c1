-- Policies written in Lua: columns, wrapping, faults, choosing without beginning.

local balancer = require "neap.balancer"
local log = require "neap.log"
local task = require "neap.task"

local function list(prefix, n)
  local out = {}
  for i = 1, n do out[i] = { id = prefix .. i, address = ("%s%d:1"):format(prefix, i) } end
  return out
end

local function over(policy, endpoints, opts)
  opts = opts or {}
  opts.endpoints = endpoints
  return assert(balancer.new(policy, opts))
end

local function quietly(fn)
  local level = log.level()
  log.set_level "off"
  local ok, err = pcall(fn)
  log.set_level(level)
  if not ok then error(err, 0) end
end

describe("columns of endpoints", function()
  it("are the fields of all, read anew when asked for", function()
    local b <close> = over("round_robin", list("col", 3))
    local endpoints = b:endpoints()
    local active = endpoints.active
    assert.same({ 0, 0, 0 }, active)
    local e = b:pick()
    assert.same({ 0, 0, 0 }, active)
    assert.equal(active, endpoints.active) -- the same table
    for i = 1, 3 do assert.equal(endpoints[i].active, active[i]) end
    assert.equal(1, active[1] + active[2] + active[3])
    b:release(e, { ok = true, latency = 0.5, bytes_in = 7 })
    for _, field in ipairs {
      "id", "name", "address", "host", "port", "zone", "weight", "priority", "active", "total", "errors",
      "ewma", "cost", "p95", "success_rate", "bytes_in", "bytes_out", "ejections", "since",
      "available", "ejected", "healthy", "draining",
    } do
      local column = endpoints[field]
      for i = 1, 3 do assert.equal(endpoints[i][field], column[i], field) end
    end
    assert.is_nil(endpoints.tags)
    assert.is_nil(endpoints.actve)
    assert.is_nil(endpoints[4])
    local n = 0
    for _ in pairs(endpoints) do n = n + 1 end
    assert.equal(3, n)
  end)

  it("outlive the balancer they came from", function()
    local endpoints
    do
      local b <close> = over("p2c", list("late", 2))
      endpoints = b:endpoints()
    end
    collectgarbage()
    assert.same({ 0, 0 }, endpoints.active)
    assert.same({ "late1", "late2" }, endpoints.id)
  end)

  it("find the least, among equals any", function()
    local b <close> = over("p2c", list("least", 4))
    local endpoints = b:endpoints()
    local seen = {}
    for _ = 1, 200 do seen[endpoints:least("active").id] = true end
    assert.same({ least1 = true, least2 = true, least3 = true, least4 = true }, seen)
    local held = {}
    for i = 1, 3 do held[i] = b:pick { exclude = { endpoints[2] } } end
    local e, place, value = endpoints:least "active"
    assert.equal(0, value)
    assert.equal(endpoints[place], e)
    e, place = endpoints:least("active", { endpoints[1], endpoints[3], endpoints[4] })
    assert.same({ "least2", 2 }, { e.id, place })
    assert.is_nil(endpoints:least("active", endpoints))
    for _, one in ipairs(held) do b:release(one) end
    assert.error_matches(function() endpoints:least "zone" end, "'zone' is no number")
    assert.error_matches(function() endpoints:least "nothing" end, "is no number")
    assert.error_matches(function() endpoints.least({}, "active") end, "expected an array of endpoints")
  end)
end)

describe("a policy", function()
  it("may give an endpoint's place", function()
    local b <close> = over(function() return 2 end, list("place", 3))
    assert.equal("place2", b:pick().id)
    assert.equal(0, b:stats().faults)
    collectgarbage()
  end)

  it("chooses, and nothing begins", function()
    local asked = 0
    local b <close> = over(function(_, endpoints)
      asked = asked + 1
      return endpoints[3]
    end, list("ch", 3))
    local e = b:choose { key = "a" }
    assert.same({ "ch3", 0, 0 }, { e.id, e.active, e.total })
    assert.error_matches(function() b:release(e) end, "was not picked")
    assert.equal(1, asked)
    local c <close> = over("least_request", list("ch", 3))
    assert.is_truthy(c:choose())
    assert.equal("ENOENDPOINT", select(2, over("p2c", {}):choose()).code)
  end)

  it("hears the whole result", function()
    local heard
    local b <close> = over({
      pick = function() return 1 end,
      release = function(e, ok, latency, _, result) heard = { e.id, ok, latency, result } end,
    }, list("heard", 1))
    b:release(b:pick(), { status = 503, latency = 0.2, retry_after = 3 })
    assert.same({ "heard1", false, 0.2, { status = 503, latency = 0.2, retry_after = 3 } }, heard)
    b:release(b:pick(), true, 0.1)
    assert.same({ "heard1", true, 0.1 }, heard)
    b:release(b:pick())
    assert.same({ "heard1" }, heard)
  end)

  it("is given an array that stays while it is the same, and told of a new one", function()
    local arrays, updates = {}, 0
    local b <close> = over({
      update = function() updates = updates + 1 end,
      pick = function(_, endpoints)
        arrays[endpoints] = true
        return 1
      end,
    }, list("arr", 2))
    for _ = 1, 5 do b:release(b:pick()) end
    assert.equal(1, updates)
    b:update(list("arr", 3))
    for _ = 1, 5 do b:release(b:pick()) end
    assert.equal(2, updates)
    local n = 0
    for _ in pairs(arrays) do n = n + 1 end
    assert.equal(2, n)
  end)

  it("sees what the request may go to, and no more", function()
    local seen
    local b <close> = over(function(_, endpoints)
      seen = table.concat(endpoints.id, " ")
      return 1
    end, {
      { id = "x1", address = "x1:1", meta = { version = "1" } },
      { id = "x2", address = "x2:1", meta = { version = "2" } },
      { id = "x3", address = "x3:1", meta = { version = "2", priority = "1" } },
    }, { subset = { keys = { "version" } } })
    b:release(b:pick())
    assert.equal("x1 x2", seen)
    b:release(b:pick { subset = { version = "2" } })
    assert.equal("x2", seen)
    b:all()[1]:eject(60)
    b:release(b:pick { exclude = { b:all()[2], b:all()[1] } })
    assert.equal("x3", seen)
    b:all()[1]:readmit()
  end)

  it("cannot send a retry to whom was tried, while there is another", function()
    local b <close> = over(function() return 1 end, list("again", 3))
    local all = b:endpoints()
    for _ = 1, 10 do assert.not_equal(all[1], b:choose { exclude = { all[1] } }) end
    assert.equal(all[3], b:choose { exclude = { all[1], all[2] } })
    assert.equal(all[1], b:choose { exclude = all })
    assert.equal(0, b:stats().faults)
  end)

  it("gives way when whom it picked is unavailable, without being to blame", function()
    local b <close> = over(function() return 1 end, list("gone", 3))
    assert.equal("gone1", b:endpoints()[1].id)
    b:endpoints()[1]:drain()
    local e = b:pick()
    assert.not_equal("gone1", e.id)
    b:release(e)
    assert.equal(0, b:stats().faults)
    b:all()[1]:drain(false)
  end)
end)

describe("a policy that wraps another", function()
  it("asks it, and nothing begins before the end", function()
    local b <close> = over({
      wraps = "round_robin",
      pick = function(ctx, _, _, inner)
        local one, two = inner(ctx), inner(ctx)
        assert(one.active == 0 and two.active == 0)
        return two
      end,
    }, list("wr", 4))
    local seen = {}
    for i = 1, 4 do
      seen[i] = b:pick()
      b:release(seen[i])
    end
    assert.not_equal(seen[1], seen[2])
    assert.equal(seen[1], seen[3])
    assert.equal(seen[2], seen[4])
    assert.equal(4, b:stats().picks)
    assert.equal(0, b:stats().faults)
  end)

  it("hands on what the request brings", function()
    local b <close> = over({
      wraps = "ring_hash",
      pick = function(ctx, _, _, inner) return inner(ctx) end,
    }, list("hand", 5))
    local plain <close> = over("ring_hash", list("hand", 5))
    for key = 1, 50 do
      local e = b:choose { key = key }
      assert.equal(plain:choose { key = key }, e)
      assert.not_equal(e, b:choose { key = key, exclude = { e } })
    end
  end)

  it("may wrap one in Lua, which wraps another", function()
    local events = {}
    balancer.define("spec_inner", {
      wraps = "p2c",
      init = function(config) return { mine = "inner", config = config } end,
      update = function(_, state) events[#events + 1] = "update " .. state.mine end,
      pick = function(ctx, endpoints, state, inner)
        assert(state.mine == "inner" and state.config == 7 and inner(ctx))
        if ctx.last then return #endpoints end
        return endpoints[1]
      end,
      release = function(e, _, _, state) events[#events + 1] = state.mine .. " " .. e.id end,
    })
    local b <close> = over({
      wraps = "spec_inner",
      init = function() return { mine = "outer" } end,
      pick = function(ctx, _, state, inner)
        assert(state.mine == "outer")
        return inner(ctx)
      end,
      release = function(e, _, _, state) events[#events + 1] = state.mine .. " " .. e.id end,
    }, list("two", 3), { config = 7 })
    b:release(b:pick())
    b:release(b:pick { last = true })
    assert.same({ "update inner", "inner two1", "outer two1", "inner two3", "outer two3" }, events)
    assert.equal(0, b:stats().faults)
  end)

  it("cannot wrap itself, or what there is not", function()
    balancer.define("spec_self", { wraps = "spec_self", pick = print })
    local function itself() balancer.new("spec_self", { endpoints = {} }) end
    assert.error_matches(itself, "more than 16 in a row")
    local function wrapping(what)
      return function() balancer.new({ wraps = what, pick = print }, { endpoints = {} }) end
    end
    assert.error_matches(wrapping "p2d", "policy.wraps: unknown policy 'p2d' %(did you mean p2c%?%)")
    assert.error_matches(wrapping(5), "policy.wraps: expected string or table")
  end)
end)

describe("a policy that fails", function()
  -- What is picked all the same, and how many faults are counted.
  local function faults(policy, n)
    local b <close> = over(policy, list("fault", 3))
    quietly(function()
      for _ = 1, n do
        local e = assert(b:pick {})
        assert.equal(1, e.active)
        b:release(e)
      end
    end)
    return b:stats().faults
  end

  it("is counted, and another picks", function()
    assert.equal(4, faults(function() error "boom" end, 4))
    local mute = setmetatable({}, { __tostring = function() error "no words" end })
    assert.equal(2, faults(function() error(mute) end, 2))
    assert.equal(4, faults(function() error { code = "EMINE" } end, 4))
    assert.equal(4, faults(function() error(nil) end, 4))
    assert.equal(4, faults(function() return "fault1" end, 4))
    assert.equal(4, faults(function() return 7 end, 4))
    assert.equal(4, faults(function() return 0 end, 4))
    assert.equal(4, faults(function() return {} end, 4))
    assert.equal(4, faults(function() return true end, 4))
    assert.equal(4, faults({ pick = function() return 1 end, release = function() error "late" end }, 4))
    assert.equal(1, faults({ pick = function() return 1 end, update = function() error "early" end }, 4))
  end)

  it("picks one that it was not given", function()
    local other <close> = over("p2c", list("other", 1))
    local stranger = other:endpoints()[1]
    assert.equal(3, faults(function() return stranger end, 3))
    assert.equal(0, stranger.total)
    assert.equal(0, #over(function() return 1 end, {}):endpoints())
  end)

  it("is logged now and then, with its name and where it failed", function()
    balancer.define("spec_broken", { pick = function() error "boom" end })
    local b <close> = over("spec_broken", list("logged", 2))
    quietly(function()
      for _ = 1, 50 do b:release(b:pick()) end
    end)
    assert.equal(50, b:stats().faults)
    assert.matches("by spec_broken", tostring(b))
  end)

  it("leaves the choice to the policy that it wraps", function()
    local b <close> = over({ wraps = "round_robin", pick = function() error "boom" end }, list("fall", 4))
    local seen = {}
    quietly(function()
      for i = 1, 8 do
        local e = b:pick()
        b:release(e)
        seen[i] = e.id
      end
    end)
    for i = 1, 4 do assert.equal(seen[i], seen[i + 4]) end
    table.sort(seen)
    assert.same({ "fall1", "fall1", "fall2", "fall2", "fall3", "fall3", "fall4", "fall4" }, seen)
  end)

  it("also when it chooses", function()
    local b <close> = over(function() error "boom" end, list("fch", 2))
    quietly(function() assert.equal(0, assert(b:choose()).active) end)
    assert.equal(1, b:stats().faults)
  end)
end)

describe("a policy that waits", function()
  it("may find the set changed, or the balancer closed", function()
    local gate
    local b <close> = over(function(_, endpoints)
      gate:await(5)
      return endpoints[1]
    end, list("wait", 2))
    local function pick_after(change)
      gate = task.future()
      local picking = task.spawn(function() return b:pick() end)
      task.sleep(0)
      change()
      gate:resolve(true)
      return picking:await(5)
    end
    assert.equal("wait1", pick_after(function() end).id)
    assert.equal("other1", pick_after(function() b:update(list("other", 1)) end).id)
    local none, err = pick_after(function() b:close() end)
    assert.is_nil(none)
    assert.equal("ENOENDPOINT", err.code)
    collectgarbage()
  end)

  it("serves several requests at once", function()
    local b <close> = over(function(ctx, endpoints)
      task.sleep(0)
      return endpoints[ctx.n]
    end, list("many", 5))
    local picks = {}
    for n = 1, 5 do picks[n] = task.spawn(function() return b:pick { n = n } end) end
    for n = 1, 5 do assert.equal("many" .. n, picks[n]:await(5).id) end
    assert.same({ 1, 1, 1, 1, 1 }, b:endpoints().active)
    picks = nil -- luacheck: ignore 311
    b:update {}
    collectgarbage()
    collectgarbage()
  end)
end)
