local balancer = require "neap.balancer"
local log = require "neap.log"
local registry = require "neap.registry"
local task = require "neap.task"

local three = { "a:1", "b:2", "c:3" }

-- Who is picked in so many turns, and how often.
local function turns(b, n, ctx)
  local seen, order = {}, {}
  for i = 1, n do
    local e = assert(b:pick(ctx))
    b:release(e)
    seen[e.address] = (seen[e.address] or 0) + 1
    order[i] = e.address:sub(1, 1)
  end
  return seen, table.concat(order)
end

local function quietly(fn)
  local level = log.level()
  log.set_level "off"
  local ok, err = pcall(fn)
  log.set_level(level)
  if not ok then error(err, 0) end
end

describe("a balancer", function()
  it("knows its policies", function()
    for _, name in ipairs {
      "round_robin",
      "weighted_round_robin",
      "random",
      "weighted_random",
      "least_request",
      "p2c",
      "ring_hash",
      "consistent_hash",
      "peak_ewma",
    } do
      local b <close> = assert(balancer.new(name, { endpoints = three }))
      local seen = turns(b, 300, nil)
      for _, address in ipairs(three) do assert.is_true((seen[address] or 0) > 30, name .. " " .. address) end
    end
  end)

  it("takes turns", function()
    local b <close> = assert(balancer.new("round_robin", { endpoints = three }))
    local _, order = turns(b, 6)
    assert.is_truthy(("abcabcabc"):find(order, 1, true))
  end)

  it("follows weights smoothly", function()
    local b <close> = assert(balancer.new("weighted_round_robin", {
      endpoints = { { address = "a:1", weight = 5 }, "b:1", "c:1" },
    }))
    local _, order = turns(b, 14)
    assert.equal("aabacaaaabacaa", order)
  end)

  it("sends a key to one endpoint, and a retry to another", function()
    local b <close> = assert(balancer.new("ring_hash", { endpoints = three }))
    local seen, owners = {}, {}
    for key = 1, 100 do
      local e = b:pick { key = "user-" .. key }
      b:release(e)
      owners[key], seen[e.id] = e, true
    end
    for key = 1, 100 do
      local again = b:pick { key = "user-" .. key }
      local other = b:pick { key = "user-" .. key, exclude = { again } }
      b:release(again)
      b:release(other)
      assert.equal(owners[key], again)
      assert.not_equal(again, other)
    end
    assert.same({ ["a:1"] = true, ["b:2"] = true, ["c:3"] = true }, seen)
    local number, text = b:pick { key = 42 }, b:pick { key = "42" }
    assert.equal(number, text)
    b:release(number)
    b:release(text)
  end)

  it("counts what is in flight, fails and takes how long", function()
    local b <close> = assert(balancer.new("p2c", { endpoints = { "counted:1" } }))
    local e = b:pick()
    local same = b:pick()
    assert.equal(e, same)
    assert.same({ 2, 2, 0 }, { e.active, e.total, e.errors })
    b:release(e, true, 0.2)
    assert.same({ 1, 0.2 }, { e.active, e.ewma })
    b:release(e, { ok = false, latency = 0.1 })
    assert.same({ 0, 1, 0.2 }, { e.active, e.errors, e.ewma })
    assert.is_true(e.cost > e.ewma)
  end)

  it("shares with others over the same addresses what is known of them", function()
    local addresses = { "shared:1", "shared:2" }
    local a <close> = assert(balancer.new("least_request", { endpoints = addresses, full_scan = true }))
    local b <close> = assert(balancer.new("least_request", { endpoints = addresses, full_scan = true }))
    local first = a:pick()
    local other = b:pick() -- the one that `a` has nothing in flight at
    assert.not_equal(first, other)
    assert.same({ 1, 1 }, { b:endpoints()[1].active, b:endpoints()[2].active })
    a:release(first, true, 0.2)
    b:release(other, true, 0.3)
    for i, e in ipairs(a:endpoints()) do assert.equal(b:endpoints()[i].ewma, e.ewma) end
  end)

  it("keeps two entries of a list apart, even at the same address", function()
    local twins = { { id = "one", address = "twin:1" }, { id = "two", address = "twin:1" } }
    local b <close> = assert(balancer.new("round_robin", { endpoints = twins }))
    local one, two = b:pick(), b:pick()
    assert.not_equal(one, two)
    assert.same({ 1, 1 }, { one.active, two.active })
    assert.equal(two, b:pick { exclude = { one } })
    b:release(one)
    b:release(two)
    b:release(two)
    assert(b:update { twins[2], twins[1] })
    assert.same({ "two", "one" }, { b:endpoints()[1].id, b:endpoints()[2].id })
    assert.not_equal(b:endpoints()[1], b:endpoints()[2])
    for _, e in ipairs(b:endpoints()) do assert.equal(e.id == two.id and 2 or 1, e.total) end
  end)

  it("refuses a release that no pick stands for", function()
    local b <close> = assert(balancer.new("p2c", { endpoints = { "a:1" } }))
    local e = b:pick()
    b:release(e)
    assert.error_matches(function() b:release(e) end, "was not picked, or was released")
    assert.error_matches(function() b:release {} end, "neap.endpoint expected")
    assert.error_matches(function() b:release(b:pick(), "yes") end, "boolean expected")
    collectgarbage()
  end)

  it("ends what was picked and forgotten", function()
    local b <close> = assert(balancer.new("p2c", { endpoints = three }))
    for _ = 1, 10 do b:pick() end
    for _, e in ipairs(b:endpoints()) do assert.is_true(e.active < 10) end
    -- The list holds the endpoints' views, so they are not forgotten until it goes.
    b:update(three)
    collectgarbage()
    collectgarbage()
    local active = 0
    for _, e in ipairs(b:endpoints()) do active = active + e.active end
    assert.equal(0, active)
  end)

  it("avoids the excluded while another is there", function()
    local b <close> = assert(balancer.new("random", { endpoints = three }))
    local all = b:endpoints()
    local seen = turns(b, 50, { exclude = { all[1], all[3] } })
    assert.same({ ["b:2"] = 50 }, seen)
    assert.is_table((turns(b, 1, { exclude = all })))
    local none, err = b:pick { exclude = all, strict = true }
    assert.is_nil(none)
    assert.equal("ENOENDPOINT", err.code)
  end)

  it("takes lists of ten thousand as quickly as short ones, each for its length", function()
    local many = {}
    for i = 1, 10000 do many[i] = ("10.3.%d.%d:1"):format(i // 256, i % 256) end
    local b <close> = assert(balancer.new("p2c", { endpoints = many }))
    local picked = b:pick()
    for _ = 1, 20 do b:update(many) end -- the watchdog ends what compares all with all
    assert.equal(1, picked.active)
    local active = 0
    for _, n in ipairs(b:all().active) do active = active + n end
    assert.equal(1, active)
    b:release(picked)
    assert.has_error(function() b:update { many[1], many[2], many[1] } end)
    assert.equal(10000, #b:all())
  end)

  it("takes another list and keeps the statistics of who stays", function()
    local b <close> = assert(balancer.new("round_robin", { endpoints = { "a:1", "b:2" } }))
    local e = b:pick { exclude = { b:endpoints()[2] } }
    assert.equal("a:1", e.id)
    assert.is_true(b:update { "c:3", { address = "a:1", weight = 9 } })
    local now = b:endpoints()
    assert.same({ "c:3", "a:1" }, { now[1].id, now[2].id })
    assert.same({ 9, 1 }, { now[2].weight, now[2].active })
    assert.equal(e, now[2])
    b:release(e)
    assert.equal(now, b:endpoints())
    assert.is_true(b:update {})
    assert.equal("ENOENDPOINT", select(2, b:pick()).code)
  end)

  it("follows its service", function()
    local b <close> = assert(balancer.new("round_robin", { service = "goods", tags = { "v2" } }))
    assert.matches("no endpoint of goods", select(2, b:pick()).message)
    local old <close> = registry.register { name = "goods", address = "old:1", tags = { "v1" } }
    local new <close> = registry.register { name = "goods", address = "new:1", tags = { "v2", "x" } }
    assert.same({ ["new:1"] = 3 }, (turns(b, 3)))
    old:update { tags = { "v2" } }
    assert.same({ ["new:1"] = 2, ["old:1"] = 2 }, (turns(b, 4)))
    new:deregister()
    assert.same({ ["old:1"] = 3 }, (turns(b, 3)))
    local e = b:pick()
    old:deregister()
    assert.equal("ENOENDPOINT", select(2, b:pick()).code)
    b:release(e, true, 1) -- what was picked may end later
    assert.equal(0, e.active)
  end)

  it("can be released after it was closed", function()
    local b = assert(balancer.new("p2c", { endpoints = { "a:1" } }))
    local e = b:pick()
    b:close()
    b:close()
    b:release(e, true, 1)
    assert.equal(0, e.active)
    assert.error_matches(function() b:pick() end, "closed")
    assert.matches("closed", tostring(b))
  end)

  it("refuses what is malformed, at the caller's line", function()
    local function refused(words, ...)
      local args = table.pack(...)
      local ok, err = pcall(function() balancer.new(table.unpack(args, 1, args.n)) end)
      assert.is_false(ok)
      assert.matches(words, err)
      assert.matches("balancer_spec", err)
    end
    refused("unknown policy 'round_robbin' %(did you mean round_robin%?%)", "round_robbin", { service = "a" })
    refused("opts: expected table, got nil", "p2c")
    refused("either a service or endpoints", "p2c", {})
    refused("either a service or endpoints", "p2c", { service = "a", endpoints = {} })
    refused("opts.servcie: unknown option", "p2c", { servcie = "a" })
    refused("opts.choices", "p2c", { service = "a", choices = 0 })
    refused("opts.load_factor", "ring_hash", { service = "a", load_factor = 0.5 })
    refused("endpoints%[2%]: bad address 'b'", "p2c", { endpoints = { "a:1", "b" } })
    refused("endpoints%[2%]: 'a:1' twice", "p2c", { endpoints = { "a:1", "a:1" } })
    refused("endpoints%[1%].wieght: unknown", "p2c", { endpoints = { { address = "a:1", wieght = 1 } } })
    refused("opts.service: bad name 'a b'", "p2c", { service = "a b" })
    refused("policy.pick: required", {}, { service = "a" })
    refused("unknown option", { pick = print, picks = print }, { service = "a" })
  end)
end)

describe("a policy written in Lua", function()
  local function pick_last(_, endpoints) return endpoints[#endpoints] end

  it("picks from the live endpoints", function()
    balancer.define("spec_idlest", {
      pick = function(_, endpoints)
        local best = endpoints[1]
        for _, e in ipairs(endpoints) do
          if e.active < best.active then best = e end
        end
        return best
      end,
    })
    local idle = { "idle:1", "idle:2", "idle:3" }
    local b <close> = assert(balancer.new("spec_idlest", { endpoints = idle }))
    local picked = {}
    for i = 1, 6 do picked[i] = b:pick() end
    for _, e in ipairs(b:endpoints()) do assert.equal(2, e.active) end
    for _, e in ipairs(picked) do b:release(e, true, 0.1) end
    for _, e in ipairs(b:endpoints()) do assert.same({ 0, 2 }, { e.active, e.total }) end
    local names = table.concat(balancer.policies(), " ")
    assert.matches("spec_idlest", names)
    assert.matches("peak_ewma", names)
  end)

  it("has a state of its own for each balancer, and hears of changes and releases", function()
    local states = {}
    local policy = {
      init = function(config)
        states[#states + 1] = { config = config, updates = {}, released = {} }
        return states[#states]
      end,
      update = function(endpoints, state) state.updates[#state.updates + 1] = #endpoints end,
      pick = function(ctx, endpoints, state)
        state.last = ctx
        return pick_last(ctx, endpoints)
      end,
      release = function(e, ok, latency, state) state.released = { e.id, ok, latency } end,
    }
    local b <close> = assert(balancer.new(policy, { endpoints = three, config = "mine" }))
    local other <close> = assert(balancer.new(policy, { endpoints = three }))
    local mine = states[1]
    assert.equal(2, #states)
    assert.equal("mine", mine.config)
    local ctx = { zone = "a", exclude = {} }
    local e = b:pick(ctx)
    assert.equal("c:3", e.id)
    assert.equal(ctx, mine.last)
    b:release(e, { ok = true, latency = 0.5 })
    assert.same({ "c:3", true, 0.5 }, mine.released)
    b:release(b:pick(), false)
    assert.same({ "c:3", false }, mine.released)
    b:update { "d:4" }
    assert.equal("d:4", b:pick().id)
    assert.same({ 3, 1 }, mine.updates)
    other:close()
    assert.is_nil(states[2].last)
    collectgarbage()
  end)

  it("can be a mere function", function()
    local b <close> = assert(balancer.new(pick_last, { endpoints = three }))
    assert.same({ ["c:3"] = 3 }, (turns(b, 3)))
  end)

  it("may wait", function()
    local b <close> = assert(balancer.new(function(_, endpoints)
      task.sleep(0)
      return endpoints[2]
    end, { endpoints = three }))
    assert.same({ ["b:2"] = 2 }, (turns(b, 2)))
  end)

  it("gives way to P2C when it fails", function()
    quietly(function()
      local b <close> = assert(balancer.new(function(ctx)
        if ctx.mood == "raise" then error "boom" end
        return "not an endpoint"
      end, { endpoints = three }))
      for _, mood in ipairs { "raise", "wrong", "raise" } do
        local e = assert(b:pick { mood = mood })
        assert.equal(1, e.active)
        b:release(e)
      end
      assert.equal(3, b:stats().faults)
    end)
  end)

  it("may decide that none will do", function()
    local b <close> = assert(balancer.new(function() return nil end, { endpoints = three }))
    local none, err = b:pick()
    assert.is_nil(none)
    assert.equal("ENOENDPOINT", err.code)
    local c <close> = assert(balancer.new(function() return nil, task.error("EBUSY", "later") end, {
      endpoints = three,
    }))
    assert.equal("EBUSY", select(2, c:pick()).code)
  end)

  it("is not asked when there is no endpoint", function()
    local b <close> = assert(balancer.new(function() error "asked" end, { endpoints = {} }))
    assert.equal("ENOENDPOINT", select(2, b:pick()).code)
    assert.equal(0, b:stats().faults)
  end)

  it("ends with the task that is cancelled in it, and is not to blame", function()
    local started = task.future()
    local b <close> = assert(balancer.new(function()
      started:resolve(true)
      task.sleep(60)
    end, { endpoints = three }))
    local picking = task.spawn(function() return b:pick() end)
    started:await(5)
    picking:cancel()
    local _, err = picking:await(5)
    assert.equal("ECANCELED", err.code)
    assert.equal(0, b:stats().faults)
  end)

  it("cannot take a built-in one's name", function()
    assert.error_matches(function() balancer.define("p2c", { pick = print }) end, "p2c is built in")
    assert.error_matches(function() balancer.define("x", { pik = print }) end, "policy.pik: unknown option")
  end)
end)
