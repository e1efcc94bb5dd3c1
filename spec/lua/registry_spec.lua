local balancer = require "neap.balancer"
local registry = require "neap.registry"
local task = require "neap.task"

local open = {} -- closed after each test

local function keep(object, err)
  assert(object, err)
  open[#open + 1] = object
  return object
end

local function register(opts) return keep(registry.register(opts)) end

local function watch(...) return keep(registry.watch(...)) end

local function ids(name, opts)
  local out = {}
  for i, endpoint in ipairs((registry.lookup(name, opts))) do out[i] = endpoint.id end
  return table.concat(out, " ")
end

describe("the registry", function()
  after_each(function()
    for i = #open, 1, -1 do
      local object = table.remove(open, i)
      object:close()
    end
  end)

  it("finds what was registered", function()
    register { name = "goods", id = "g1", address = "127.0.0.1:1" }
    register { name = "goods", id = "g2", address = "127.0.0.1:2" }
    register { name = "orders", address = "127.0.0.1:3" }
    assert.equal("g1 g2", ids "goods")
    assert.equal("orders-1", ids "orders")
    assert.equal("", ids "unknown")
  end)

  it("gives endpoints with all that was said of them", function()
    register {
      name = "goods",
      id = "g1",
      address = "[::1]:8080",
      tags = { "v1", "eu" },
      meta = { zone = "a", cpu = "4" },
      weight = 3,
    }
    local e = registry.lookup("goods")[1]
    assert.same(
      { "g1", "goods", "goods", "[::1]:8080", "::1", 8080, 3, "a" },
      { e.id, e.name, e.service, e.address, e.host, e.port, e.weight, e.zone }
    )
    assert.same({ "v1", "eu" }, e.tags)
    assert.same({ zone = "a", cpu = "4" }, e.meta)
    assert.is_true(e:has_tag "eu")
    assert.is_false(e:has_tag "us")
    assert.is_nil(e.path)
    assert.is_nil(e.nonsense)
    assert.same({ 0, 0, 0, 0 }, { e.active, e.total, e.errors, e.ewma })
    assert.equal("neap.endpoint: g1 ([::1]:8080)", tostring(e))
    assert.equal(e, registry.get "g1")
  end)

  it("knows unix sockets", function()
    register { name = "goods", address = "unix:/run/goods.sock" }
    local e = registry.lookup("goods")[1]
    assert.equal("/run/goods.sock", e.path)
    assert.is_nil(e.host)
    assert.is_nil(e.port)
  end)

  it("looks up by tags", function()
    register { name = "goods", id = "a", address = "h:1", tags = { "v1", "eu" } }
    register { name = "goods", id = "b", address = "h:2", tags = { "v1" } }
    assert.equal("a b", ids("goods", { tag = "v1" }))
    assert.equal("a", ids("goods", { tags = { "v1", "eu" } }))
    assert.equal("a", ids("goods", { tags = { "v1" }, tag = "eu" }))
    assert.equal("", ids("goods", { tag = "us" }))
  end)

  it("moves a service's index with its own changes only", function()
    local g = register { name = "goods", address = "h:1" }
    local _, first = registry.lookup "goods"
    register { name = "orders", address = "h:2" }
    local _, second = registry.lookup "goods"
    assert.equal(first, second)
    assert.equal(first, registry.index "goods")
    g:update { weight = 2 }
    assert.is_true(registry.index "goods" > first)
    assert.equal(registry.index(), registry.index "goods")
  end)

  it("lists services", function()
    register { name = "goods", address = "h:1" }
    register { name = "goods", address = "h:2" }
    local found
    for _, service in ipairs(registry.services()) do
      if service.name == "goods" then found = service end
    end
    assert.same({ name = "goods", endpoints = 2, index = registry.index "goods" }, found)
  end)

  it("updates in place and keeps the statistics", function()
    local g = register { name = "goods", id = "g1", address = "h:1", tags = { "v1" }, meta = { zone = "a" } }
    local b <close> = assert(balancer.new("round_robin", { service = "goods" }))
    local picked = b:pick()
    assert.equal(g, g:update { address = "h:2", weight = 5 })
    local now = registry.lookup("goods")[1]
    assert.same({ "h:2", 5, "a", 1 }, { now.address, now.weight, now.zone, now.active })
    assert.same({ "v1" }, now.tags)
    assert.equal(picked, now) -- two descriptions of one instance
    b:release(picked, true, 0.25)
    assert.same({ 0, 1, 0.25 }, { now.active, now.total, now.ewma })
    g:update { meta = { zone = "b" } }
    assert.equal("b", registry.get("g1").zone)
  end)

  it("takes the place of what had the id before", function()
    local first = register { name = "goods", id = "g1", address = "h:1" }
    local second = register { name = "goods", id = "g1", address = "h:2" }
    assert.is_false(first.active)
    assert.is_true(second.active)
    first:deregister()
    assert.equal("h:2", registry.get("g1").address)
  end)

  it("deregisters, by the object, by id and by leaving a scope", function()
    local g = register { name = "goods", id = "g1", address = "h:1" }
    g:deregister()
    g:deregister()
    assert.is_false(g.active)
    assert.equal("g1", g.id)
    assert.matches("ended", tostring(g))
    assert.error_matches(function() g:update { weight = 2 } end, "has ended")

    g = register { name = "goods", id = "g2", address = "h:1" }
    assert.is_true(registry.deregister "g2")
    assert.is_false(g.active)
    local ok, err = registry.deregister "g2"
    assert.is_nil(ok)
    assert.equal("ENOTFOUND", err.code)
    do
      local scoped <close> = registry.register { name = "goods", address = "h:1" }
      assert.equal(scoped.id, ids "goods")
    end
    assert.equal("", ids "goods")
  end)

  it("keeps a registration whose object nobody keeps", function()
    registry.register { name = "goods", id = "forgotten", address = "h:1" }
    collectgarbage()
    collectgarbage()
    assert.equal("forgotten", ids "goods")
    local again = registry.registrations()[1]
    assert.equal("forgotten", again.id)
    again:deregister()
  end)

  it("refuses what is malformed, at the caller's line", function()
    local function refused(opts, words)
      local ok, err = pcall(function() registry.register(opts) end)
      assert.is_false(ok)
      assert.matches(words, err)
      assert.matches("registry_spec", err)
    end
    refused({ name = "goods" }, "opts.address: required")
    refused({ address = "h:1" }, "opts.name: required")
    refused({ name = "a b", address = "h:1" }, "bad service name 'a b'")
    refused({ name = "goods", address = "h" }, "bad address 'h'")
    refused({ name = "goods", address = "h:1", colour = "red" }, "opts.colour: unknown option")
    refused({ name = "goods", address = "h:1", tags = { 1 } }, "opts.tags%[1%]: expected string, got number")
    refused({ name = "goods", address = "h:1", meta = { a = true } }, "opts.meta.a: expected string")
    refused({ name = "goods", address = "h:1", weight = 0 }, "opts.weight")
    refused({ name = "goods", address = "h:1", ttl = -1 }, "opts.ttl")
    refused({ name = "goods", address = "h\0:1" }, "NUL")
    assert.error_matches(function() registry.lookup("goods", { tagz = {} }) end, "did you mean tag")
    assert.error_matches(function() registry.watch "a b" end, "bad service name")
    assert.equal("", ids "goods")
  end)

  it("says when a limit is reached", function()
    local tags = {}
    for i = 1, 65 do tags[i] = "t" .. i end
    local g, err = registry.register { name = "goods", address = "h:1", tags = tags }
    assert.is_nil(g)
    assert.equal("ELIMIT", err.code)
    assert.matches("65 tags: at most 64", err.message)
  end)
end)

describe("a lease", function()
  after_each(function()
    for i = #open, 1, -1 do table.remove(open, i):close() end
  end)

  it("ends when nobody renews it", function()
    local w = watch "goods"
    assert(registry.put { name = "goods", id = "g1", address = "h:1", ttl = 0.02 })
    assert.equal("added", w:next(5).kind)
    local change = w:next(5)
    assert.same({ "removed", "g1", true }, { change.kind, change.id, change.expired })
    local ok, err = registry.heartbeat "g1"
    assert.is_nil(ok)
    assert.equal("ENOTFOUND", err.code)
  end)

  it("is renewed by a heartbeat", function()
    assert(registry.put { name = "goods", id = "g1", address = "h:1", ttl = 60 })
    local _, left = registry.get "g1"
    assert.is_true(left > 50 and left <= 60)
    assert.is_true(registry.heartbeat "g1")
    registry.deregister "g1"
  end)

  it("of a registration is renewed by itself", function()
    local w = watch "clock"
    register { name = "goods", id = "g1", address = "h:1", ttl = 0.03 }
    -- Five leases of the same length, one after the other, end while this one stands.
    for i = 1, 5 do
      assert(registry.put { name = "clock", id = "tick" .. i, address = "h:1", ttl = 0.03 })
      repeat
        local change = assert(w:next(5))
      until change.kind == "removed"
      assert.equal("g1", ids "goods")
    end
  end)

  it("survives a loop that stood still for longer", function()
    local runtime = require "neap.core.runtime"
    register { name = "goods", id = "g1", address = "h:1", ttl = 0.02 }
    local w = watch "goods"
    local ends = runtime.monotonic() + 0.06
    while runtime.monotonic() < ends do end -- luacheck: ignore 542
    assert.is_nil(w:next(0.03))
    assert.equal("g1", ids "goods")
  end)

  it("may be without an end", function()
    register { name = "goods", id = "g1", address = "h:1", ttl = false }
    local _, left = registry.get "g1"
    assert.is_nil(left)
  end)
end)

describe("a watch", function()
  after_each(function()
    for i = #open, 1, -1 do table.remove(open, i):close() end
  end)

  it("tells each change, in order", function()
    local w = watch "goods"
    register({ name = "orders", address = "h:9" }):update { weight = 3 }
    local g = register { name = "goods", id = "g1", address = "h:1" }
    g:update { weight = 2 }
    g:deregister()
    local added, updated, removed = w:next(), w:next(), w:next()
    assert.same({ "added", "updated", "removed" }, { added.kind, updated.kind, removed.kind })
    assert.same({ "goods", "g1", 1 }, { added.service, added.id, added.endpoint.weight })
    assert.same({ 2, 1 }, { updated.endpoint.weight, updated.old.weight })
    assert.is_false(removed.expired)
    assert.is_true(added.index < updated.index and updated.index < removed.index)
    local none, err = w:next(0)
    assert.is_nil(none)
    assert.equal("ETIMEDOUT", err.code)
  end)

  it("wakes who waits for a change", function()
    local w = watch()
    local change = task.spawn(function() return w:next() end)
    task.yield()
    register { name = "anything", id = "x", address = "h:1" }
    assert.equal("x", change:await(5).id)
  end)

  it("calls a function for each change, one at a time", function()
    local seen, running, done = {}, 0, task.future()
    watch("goods", function(change)
      running = running + 1
      assert.equal(1, running)
      task.yield()
      running = running - 1
      seen[#seen + 1] = change.kind
      if #seen == 3 then done:resolve(true) end
    end)
    local g = register { name = "goods", address = "h:1" }
    g:update { weight = 2 }
    g:deregister()
    assert.is_true(done:await(5))
    assert.same({ "added", "updated", "removed" }, seen)
  end)

  it("goes on after its function failed", function()
    local log = require "neap.log"
    local level = log.level()
    log.set_level "off"
    local done = task.future()
    watch("goods", function(change)
      if change.kind == "added" then error "no" end
      done:resolve(change.kind)
    end)
    register({ name = "goods", address = "h:1" }):deregister()
    assert.equal("removed", done:await(5))
    log.set_level(level)
  end)

  it("tells no more when it is closed", function()
    local w = watch "goods"
    local waiting = task.spawn(function() return w:next() end)
    task.yield()
    w:close()
    w:close()
    local none, err = waiting:await(5)
    assert.is_nil(none)
    assert.equal("ECLOSED", err.code)
    register { name = "goods", address = "h:1" }
    assert.equal("ECLOSED", select(2, w:next()).code)
  end)

  it("keeps a bounded number of changes, the newest", function()
    local w = watch("goods", nil, { limit = 2 })
    local g = register { name = "goods", id = "g1", address = "h:1" }
    for weight = 2, 5 do g:update { weight = weight } end
    assert.equal(4, w:next().endpoint.weight)
    assert.equal(5, w:next().endpoint.weight)
    assert.equal(3, w:lost())
    assert.equal(0, w:lost())
  end)
end)

describe("neap.registry.snapshot", function()
  it("is the same list until the service changes", function()
    local a = assert(registry.register { name = "snapped", address = "127.0.0.1:1" })
    local list = assert(registry.snapshot "snapped")
    assert.equal(1, #list)
    assert.equal(a.id, list[1].id)
    assert.is_nil(list[2])
    assert.equal(registry.index "snapped", list.index)
    assert.is_true(rawequal(list, registry.snapshot "snapped"))
    local b = assert(registry.register { name = "snapped", address = "127.0.0.1:2" })
    local two = registry.snapshot "snapped"
    assert.equal(2, #two)
    assert.equal(1, #list) -- as it was
    a:deregister()
    b:deregister()
    assert.equal(0, #registry.snapshot "snapped")
  end)

  it("cannot be changed", function()
    local list = registry.snapshot "nobody"
    assert.equal(0, #list)
    assert.error_matches(function() list[1] = {} end, "cannot be changed")
    assert.has_error(function() registry.snapshot(1) end)
  end)

  it("gives lookup lists of one's own", function()
    local a = registry.register { name = "copied", address = "127.0.0.1:1", tags = { "v1" } }
    local b = registry.register { name = "copied", address = "127.0.0.1:2", tags = { "v1", "v2" } }
    local list, index = registry.lookup "copied"
    assert.equal(registry.snapshot("copied").index, index)
    list[1] = nil
    assert.equal(2, #registry.lookup "copied")
    assert.equal(2, #registry.snapshot "copied")
    local second = registry.lookup("copied", { tags = { "v1", "v2" } })
    assert.equal(1, #second)
    assert.equal(b.id, second[1].id)
    a:deregister()
    b:deregister()
  end)

  it("outlives being collected, as its endpoints do", function()
    local said = {}
    do -- an older object's finalizer runs after those of what it holds
      local holder = setmetatable({}, {
        __gc = function(self)
          said.endpoint = select(2, pcall(function() return self.endpoint.id end))
          said.list = select(2, pcall(function() return #self.list end))
          said.text = tostring(self.endpoint) .. tostring(self.list)
        end,
      })
      local r = registry.register { name = "collected", address = "127.0.0.1:1" }
      holder.endpoint, holder.list = registry.lookup("collected")[1], registry.snapshot "collected"
      r:deregister()
    end
    registry.snapshot "collected" -- the new list takes the place of the old one
    for _ = 1, 3 do collectgarbage() end
    assert.matches("collected", said.endpoint)
    assert.matches("collected", said.list)
    assert.matches("neap.endpoint: collected", said.text)
  end)
end)
