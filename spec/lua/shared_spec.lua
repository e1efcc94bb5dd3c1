local neap = require "neap"
local task = require "neap.task"

describe("neap.shared", function()
  local map
  before_each(function()
    map = assert(neap.shared("spec", { bytes = 1 << 20 }))
    map:clear()
  end)

  it("is one map for a name", function()
    map:set("k", "v")
    assert.equal("v", neap.shared("spec"):get("k"))
    assert.is_nil(neap.shared("spec.other"):get("k"))
  end)

  it("keeps values as they are", function()
    for _, value in ipairs { "text", "", "with\0nul", 1, -7, 1.5, math.mininteger, true, false } do
      assert.is_true(map:set("k", value))
      local got = map:get "k"
      assert.equal(value, got)
      assert.equal(math.type(value), math.type(got))
    end
    assert.is_nil(map:get "absent")
  end)

  it("refuses what is no scalar", function()
    assert.has_error(function() map:set("k", {}) end)
    assert.has_error(function() map:set("k", nil) end)
    assert.has_error(function() map:set("k", print) end)
    assert.has_error(function() map:set({}, 1) end)
    assert.has_error(function() map:set(("k"):rep(70000), 1) end)
    assert.has_error(function() map:set("k", 1, { tll = 1 }) end)
    assert.has_error(function() neap.shared(1) end)
    assert.has_error(function() neap.shared("x", { byte = 1 }) end)
    assert.has_error(function() map.get({}, "k") end)
  end)

  it("adds only what is absent, replaces only what is there", function()
    assert.is_true(map:add("k", 1))
    local ok, err = map:add("k", 2)
    assert.is_nil(ok)
    assert.equal("EEXIST", err.code)
    assert.is_true(map:replace("k", 3))
    assert.equal(3, map:get "k")
    ok, err = map:replace("other", 1)
    assert.is_nil(ok)
    assert.equal("ENOTFOUND", err.code)
  end)

  it("counts", function()
    assert.equal(1, map:incr "n")
    assert.equal(6, map:incr("n", 5))
    assert.equal(4, map:incr("n", -2))
    assert.equal("integer", math.type(map:get "n"))
    assert.equal(4.5, map:incr("n", 0.5))
    assert.equal(101, map:incr("m", 1, { init = 100 }))
    map:set("max", math.maxinteger)
    assert.equal(math.mininteger, map:incr "max")
    local n, err = map:incr("absent", 1, { init = false })
    assert.is_nil(n)
    assert.equal("ENOTFOUND", err.code)
    map:set("text", "x")
    n, err = map:incr "text"
    assert.is_nil(n)
    assert.equal("EINVAL", err.code)
  end)

  it("compares and swaps", function()
    assert.is_true(map:cas("k", nil, "a"))
    local ok, err = map:cas("k", nil, "b")
    assert.is_nil(ok)
    assert.equal("EBUSY", err.code)
    assert.is_true(map:cas("k", "a", 1))
    ok, err = map:cas("k", 1.0, 2)
    assert.is_nil(ok)
    assert.equal("EBUSY", err.code)
    assert.is_true(map:cas("k", 1, nil))
    assert.is_nil(map:get "k")
  end)

  it("forgets what has expired", function()
    map:set("k", 1, { ttl = 0.02 })
    map:set("stays", 1)
    assert.is_true(map:ttl "k" <= 0.02)
    assert.equal(math.huge, map:ttl "stays")
    while map:get "k" do task.sleep(0.005) end
    assert.equal(1, map:stats().expired)
    assert.equal(1, map:stats().entries)
    assert.is_true(map:set("k", 1, { ttl = 0.02 }))
    assert.is_true(map:expire("k", nil))
    assert.equal(math.huge, map:ttl "k")
    assert.is_nil((map:expire("absent", 1)))
    assert.is_nil((map:ttl "absent"))
  end)

  it("deletes and lists", function()
    map:set("a", 1)
    map:set("b", 2)
    local keys = map:keys()
    table.sort(keys)
    assert.same({ "a", "b" }, keys)
    assert.equal(1, #map:keys(1))
    assert.is_true(map:delete "a")
    assert.is_false(map:delete "a")
    map:clear()
    assert.same({}, map:keys())
  end)

  it("lists while a finaliser uses the map", function()
    local used = 0
    local function arm()
      setmetatable({}, { __gc = function()
        map:keys()
        map:get "key1"
        used = used + 1
        arm()
      end })
    end
    for i = 1, 500 do map:set("key" .. i, i) end
    arm()
    collectgarbage "generational"
    for _ = 1, 5 do
      for _, key in ipairs(map:keys(1000)) do assert.matches("^key%d+$", key) end
    end
    collectgarbage "incremental"
    function arm() end
    assert.is_true(used > 3)
  end)

  it("keeps to its bound: what was used longest ago goes", function()
    local small = neap.shared("spec.small", { bytes = 64 * 1024 })
    small:clear()
    local before = small:stats().evictions
    for i = 1, 2000 do
      assert.is_true(small:set("k" .. i, ("x"):rep(100)))
      assert.truthy(small:get "k1") -- in use all the time
    end
    local stats = small:stats()
    assert.is_true(stats.bytes <= 64 * 1024)
    assert.equal(64 * 1024, stats.capacity)
    assert.equal(2000 - stats.entries, stats.evictions - before)
    assert.is_nil(small:get "k2")
    assert.truthy(small:get "k2000")
    local ok, err = small:set("big", ("x"):rep(8192))
    assert.is_nil(ok)
    assert.equal("EMSGSIZE", err.code)
  end)

  it("gets another bound later", function()
    local m = neap.shared("spec.resized", { bytes = 1 << 20 })
    for i = 1, 1000 do m:set("k" .. i, ("x"):rep(200)) end
    assert.equal(1000, m:stats().entries)
    neap.shared("spec.resized", { bytes = 64 * 1024 })
    assert.is_true(m:stats().bytes <= 64 * 1024)
    assert.is_true(m:stats().entries > 0)
  end)

  it("may be unloaded and loaded anew", function()
    local name = "neap.core.shared"
    local loaded = package.loaded[name]
    package.loaded[name] = nil
    assert.is_table(require(name)) -- which goes again; the state's end is the proof
    package.loaded[name] = loaded
    collectgarbage()
    collectgarbage()
  end)
end)
