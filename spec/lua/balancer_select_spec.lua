-- What a balancer does before its policy: availability, levels, zones, subsets, sticky values.

local balancer = require "neap.balancer"
local registry = require "neap.registry"

-- Who is picked in so many turns, and how often.
local function turns(b, n, ctx)
  local seen = {}
  for _ = 1, n do
    local e = assert(b:pick(ctx))
    b:release(e, true, 0.001)
    seen[e.id] = (seen[e.id] or 0) + 1
  end
  return seen
end

local function ids(seen)
  local list = {}
  for id in pairs(seen) do list[#list + 1] = id end
  table.sort(list)
  return table.concat(list, " ")
end

local function by_id(b)
  local map = {}
  for _, e in ipairs(b:all()) do map[e.id] = e end
  return map
end

-- Balancers look at their endpoints four times a second; and when they are given others.
local function look(b)
  local same = {}
  for i, e in ipairs(b:all()) do same[i] = e end
  assert(b:update(same))
end

local function entries(list)
  local out = {}
  for i, item in ipairs(list) do
    out[i] = { id = item[1], address = item[1] .. ":1", zone = item.zone, meta = item.meta }
  end
  return out
end

describe("a balancer's endpoints", function()
  it("tell what is known of them", function()
    local one = { address = "told:1", meta = { priority = "3" } }
    local b <close> = assert(balancer.new("p2c", { endpoints = { one } }))
    local e = b:pick()
    assert.same({ 3, 0, true, true }, { e.priority, e.p95, e.available, e.healthy })
    assert.same({ false, false, 0 }, { e.ejected, e.draining, e.ejections })
    b:release(e, { status = 200, latency = 0.02, bytes_in = 1000, bytes_out = 10 })
    assert.same({ 1000, 10, 1 }, { e.bytes_in, e.bytes_out, e.success_rate })
    for _ = 1, 40 do b:release(b:pick(), true, 0.02) end
    assert.is_true(e.p95 > 0.018 and e.p95 < 0.022)
    b:release(b:pick(), { status = 503 })
    assert.equal(1, e.errors)
    assert.is_true(e.success_rate < 1 and e.success_rate > 0.9)
    b:release(b:pick(), { fault = "local", latency = 1 })
    b:release(b:pick(), { status = 404 })
    assert.equal(2, e.errors)
    assert.equal(0, e.active)
  end)

  it("refuses a malformed result", function()
    local b <close> = assert(balancer.new("p2c", { endpoints = { "a:1" } }))
    local e = b:pick()
    assert.error_matches(function() b:release(e, { statsu = 200 }) end, "result.statsu: unknown")
    assert.error_matches(function() b:release(e, { fault = "mine" }) end, "result.fault: expected local")
    assert.error_matches(function() b:release(e, { bytes_in = -1 }) end, "result.bytes_in")
    assert.equal(1, e.active)
    b:release(e)
  end)

  it("are passed over while they are ejected, failing or draining", function()
    local list = entries { { "pa" }, { "pb" }, { "pc" }, { "pd" } }
    local b <close> = assert(balancer.new("round_robin", { endpoints = list }))
    local all = by_id(b)
    all.pa:eject(60)
    assert.same({ true, false }, { all.pa.ejected, all.pa.available })
    assert.equal("pb pc pd", ids(turns(b, 30)))
    all.pb:drain()
    all.pc:set_healthy(false)
    assert.equal("pd", ids(turns(b, 1, { exclude = { all.pa } })))
    all.pa:readmit()
    all.pb:drain(false)
    all.pc:set_healthy()
    look(b)
    assert.equal("pa pb pc pd", ids(turns(b, 30)))
    assert.error_matches(function() all.pa:eject() end, "for how many seconds")
    assert.error_matches(function() all.pa:eject(-1) end, "negative")
  end)

  it("are all used in panic", function()
    local list = entries { { "na" }, { "nb" }, { "nc" } }
    local b <close> = assert(balancer.new("round_robin", { endpoints = list }))
    local never <close> = assert(balancer.new("round_robin", { endpoints = list, panic_threshold = 0 }))
    for _, e in ipairs(b:all()) do e:set_healthy(false) end
    look(b)
    look(never)
    assert.equal("na nb nc", ids(turns(b, 30)))
    assert.is_true(b:stats().panics >= 30)
    assert.equal("ENOENDPOINT", select(2, never:pick()).code)
    assert.equal(0, #never:endpoints())
    assert.equal(3, #never:all())
    for _, e in ipairs(b:all()) do e:set_healthy() end
  end)

  it("come back by a trial of one", function()
    local b <close> = assert(balancer.new("p2c", { endpoints = entries { { "ta" }, { "tb" }, { "tc" } } }))
    local a = by_id(b).ta
    a:eject(0)
    look(b)
    local first, rest = b:pick(), {}
    assert.equal(a, first)
    for i = 1, 10 do
      rest[i] = b:pick()
      assert.not_equal(a, rest[i])
    end
    for i = 1, 10 do b:release(rest[i], true, 0.001) end
    b:release(first, true, 0.001)
    assert.is_true(a.available)
    assert.is_true(a.since > 0)
    assert.equal(1, b:stats().trials)
  end)

  it("end a forgotten trial when they are collected", function()
    local b <close> = assert(balancer.new("p2c", { endpoints = entries { { "fa" }, { "fb" } } }))
    by_id(b).fa:eject(0)
    look(b)
    assert.equal("fa", b:pick().id)
    collectgarbage()
    collectgarbage()
    assert.equal("fa", b:pick().id)
    assert.equal(2, b:stats().trials)
    collectgarbage()
    collectgarbage()
  end)
end)

describe("levels and zones", function()
  it("fail over and come back", function()
    local b <close> = assert(balancer.new("p2c", {
      endpoints = entries {
        { "la" },
        { "lb", meta = { priority = "0" } },
        { "lc", meta = { priority = "1" } },
        { "ld", meta = { priority = "1" } },
      },
    }))
    local all = by_id(b)
    assert.equal("la lb", ids(turns(b, 50)))
    all.la:eject(60)
    all.lb:eject(60)
    assert.equal("lc ld", ids(turns(b, 50)))
    assert.is_true(b:stats().failed_over >= 49)
    all.la:readmit()
    all.lb:readmit()
    look(b)
    assert.equal("la lb", ids(turns(b, 50)))
  end)

  it("keep to the caller's zone while it is well", function()
    local list = {}
    for i = 1, 4 do list[i] = { "z1" .. i, zone = "one" } end
    for i = 1, 4 do list[i + 4] = { "z2" .. i, zone = "two" } end
    local b <close> = assert(balancer.new("random", { endpoints = entries(list), zone = "one", seed = 7 }))
    assert.equal("z11 z12 z13 z14", ids(turns(b, 100)))
    assert.equal(4, #b:endpoints())
    local all = by_id(b)
    for i = 1, 4 do all["z1" .. i]:drain() end
    assert.equal("z21 z22 z23 z24", ids(turns(b, 100)))
    for i = 1, 4 do all["z1" .. i]:drain(false) end
  end)
end)

describe("subsets", function()
  local list = entries {
    { "v1a", meta = { version = "1" } },
    { "v1b", meta = { version = "1" } },
    { "v2", meta = { version = "2" } },
  }

  it("narrow what a request may go to", function()
    local keys = { keys = { "version" } }
    local b <close> = assert(balancer.new("round_robin", { endpoints = list, subset = keys }))
    assert.equal("v1a v1b", ids(turns(b, 20, { subset = { version = "1" } })))
    assert.equal("v2", ids(turns(b, 20, { subset = { version = "2" } })))
    assert.equal("v1a v1b v2", ids(turns(b, 20, { subset = { version = "3" } })))
    assert.equal(20, b:stats().fallbacks)
    assert.error_matches(function() b:pick { subset = { version = 2 } } end, "must be strings")
  end)

  it("refuse who asks for none that exists, if so wanted", function()
    local b <close> = assert(balancer.new("p2c", {
      endpoints = list,
      subset = { keys = { "version" }, fallback = "none" },
    }))
    assert.equal("ENOENDPOINT", select(2, b:pick { subset = { version = "3" } }).code)
    assert.equal("v2", b:choose({ subset = { version = "2" } }).id)
  end)

  it("are followed in a service", function()
    local b <close> = assert(balancer.new("p2c", { service = "subsets", subset = { keys = { "version" } } }))
    local one <close> = registry.register { name = "subsets", address = "s:1", meta = { version = "1" } }
    local two <close> = registry.register { name = "subsets", address = "s:2", meta = { version = "2" } }
    assert.equal(two.id, ids(turns(b, 5, { subset = { version = "2" } })))
    two:update { meta = { version = "1" } }
    assert.equal(one.id .. " " .. two.id, ids(turns(b, 50, { subset = { version = "1" } })))
  end)
end)

describe("sticky requests", function()
  local list = entries { { "sa" }, { "sb" }, { "sc" }, { "sd" } }

  it("come back to their endpoint while it is available", function()
    local rule = { cookie = "route", ttl = 60, secret = "s3cret" }
    local b <close> = assert(balancer.new("random", { endpoints = list, sticky = rule }))
    assert.equal(rule, b:sticky())
    local e = b:choose()
    local value = b:sticky(e)
    assert.matches("^%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x$", value)
    assert.same({ [e.id] = 20 }, turns(b, 20, { sticky = value }))
    assert.equal(e, b:choose { sticky = value })
    e:eject(60)
    assert.is_nil(turns(b, 20, { sticky = value })[e.id])
    assert.is_true(b:stats().unstuck >= 20)
    e:readmit()
    for _, forged in ipairs { "", "x", value .. "0", value:upper() .. "g", ("0"):rep(16) } do
      assert.is_table(turns(b, 1, { sticky = forged }))
    end
  end)

  it("may go by a key", function()
    local b <close> = assert(balancer.new("round_robin", { endpoints = list, sticky = "key" }))
    local home = ids(turns(b, 20, { key = "ann" }))
    assert.is_nil(home:find " ")
    assert.equal("sa sb sc sd", ids(turns(b, 20)))
    assert.is_nil(b:sticky(b:choose()))
  end)

  it("are described rightly or not at all", function()
    local function refused(words, sticky)
      assert.error_matches(function() balancer.new("p2c", { endpoints = list, sticky = sticky }) end, words)
    end
    refused("either a cookie or a header", {})
    refused("either a cookie or a header", { cookie = "a", header = "b" })
    refused("opts.sticky.cokie", { cokie = "a" })
    refused('expected "key" or a table', "cookie")
  end)
end)

describe("options of the selection", function()
  it("are checked with their paths", function()
    local function refused(words, opts)
      opts.endpoints = { "a:1" }
      assert.error_matches(function() balancer.new("p2c", opts) end, words)
    end
    refused("opts.panic_threshold", { panic_threshold = 2 })
    refused("opts.subset.keys: required", { subset = {} })
    refused("opts.subset.keys%[1%]: expected string", { subset = { keys = { true } } })
    refused('opts.subset.fallback: expected "any"', { subset = { keys = { "a" }, fallback = "all" } })
    refused("opts.slow_start.duration: required", { slow_start = {} })
    refused("opts.slow_start.curve", { slow_start = { duration = 1, curve = "square" } })
    refused("opts.slow_start.agression", { slow_start = { duration = 1, agression = 1 } })
    refused("opts.zone: expected string", { zone = 1 })
    refused("opts.zone_callers", { zone_callers = 2 })
  end)

  it("spare new endpoints for a while", function()
    local b <close> = assert(balancer.new("weighted_random", {
      endpoints = { "w:1", "w:2" },
      slow_start = { duration = 3600, min = 0.01, curve = "linear" },
      seed = 3,
    }))
    b:update { "w:1", "w:2", "w:3" }
    local seen = turns(b, 300)
    assert.is_true((seen["w:3"] or 0) < 30, "w:3 has " .. (seen["w:3"] or 0))
  end)
end)
