local http = require "neap.http"
local json = require "neap.json"
local sandbox = require "neap.sandbox"
local task = require "neap.task"
local tcp = require "neap.tcp"

local attempts = dofile "spec/support/sandbox_attempts.lua"

local function matches(text, patterns)
  for pattern in patterns:gmatch "[^|]+" do
    if text:find(pattern) then return true end
  end
end

local function good(...)
  local value, err = sandbox.load(...)
  assert.is_nil(err, tostring(err))
  return value
end

local function bad(source, opts)
  local value, err = sandbox.load(source, opts)
  assert.is_nil(value)
  assert.equal("ESCRIPT", err.code)
  return err.message
end

describe("a guest", function()
  for i, attempt in ipairs(attempts) do
    it(("does not get out: %d %s"):format(i, attempt[1]:match "^[^\n]+"), function()
      local try = good(
        [[local code = ...
          return function(code)
            local chunk = assert(load(code, "=attempt"))
            local results = table.pack(pcall(chunk))
            return not results[1] or not results[2], tostring(results[1] and results[3] or results[2])
          end]]
      )
      local refused, words = try(attempt[1])
      assert.is_true(refused, words)
      assert(matches(words, attempt[2]), words)
    end)
  end

  it("computes", function()
    local policy = good [[
      local M = { seen = 0 }
      function M.pick(list)
        M.seen = M.seen + 1
        table.sort(list)
        return ("%s of %d"):format(list[1], #list)
      end
      return M
    ]]
    assert.equal("a of 2", policy.pick { "b", "a" })
    assert.equal(1, policy.seen)
    assert.is_true(good "local x = 1")
    assert.equal("6", good "return (('x'):rep(2):gsub('x', '6')):sub(1, 1)")
  end)

  it("may wait, and be cancelled", function()
    local fn = good("local task = require 'neap.task' return function() task.sleep(0.001) return 7 end", {
      allow = { "neap.task" },
    })
    assert.equal(7, fn())
    local gen = good(
      [[local task = require 'neap.task'
        return coroutine.wrap(function() task.sleep(0.001) coroutine.yield(8) end)]],
      { allow = { "neap.task" } }
    )
    assert.equal(8, gen())
    local sleep = "return function() require 'neap.task'.sleep(1000) end"
    local forever = task.spawn(good(sleep, { allow = { "neap.task" } }))
    task.yield()
    forever:cancel()
    local _, err = forever:await()
    assert.equal("ECANCELED", err.code)
  end)

  it("changes its own libraries, and nobody else's", function()
    local format, insert, wrap, escape = string.format, table.insert, coroutine.wrap, _G.escaped
    good [[
      string.format, table.insert, coroutine.wrap, math.floor = print, print, print, print
      _G.escaped, escaped, pairs, string = 1, 1, nil, nil
      setmetatable(_G, { __index = function() return 1 end })
    ]]
    assert.equal(format, string.format)
    assert.equal(insert, table.insert)
    assert.equal(wrap, coroutine.wrap)
    assert.equal(1, math.floor(1.5))
    assert.equal(escape, _G.escaped)
    assert.is_function(pairs)
    assert.equal("%d", ("%%d"):format())
    assert.is_nil(getmetatable(_G) and getmetatable(_G).__index and rawget(_G, "escaped"))
    assert.equal("function", good "return type(string.format)")
    assert.is_nil(good("return { x }")[1])
  end)

  it("cannot make the host's chance predictable, or stop its collector", function()
    assert.matches("math.randomseed is not available", bad "math.randomseed(1)", 1, true)
    assert.matches("is not available", bad "collectgarbage()", 1, true)
    assert.is_number(good "return collectgarbage 'count'")
  end)

  it("does not see the metatables of others", function()
    local shown = good [[
      local meta = {}
      local t = setmetatable({}, meta)
      local _, err = pcall(error, setmetatable({}, { __metatable = "locked" }))
      return function(theirs, failure)
        return getmetatable(t) == meta, getmetatable(theirs), getmetatable(failure), getmetatable(err),
          getmetatable ""
      end]]
    local mine = setmetatable({}, { secret = true })
    local _, failure = tcp.connect("127.0.0.1", 1, { timeout = 0.5 })
    assert.same({ true, false, false, false, false }, { shown(mine, failure) })
  end)

  it("requires what it may, and cannot change it", function()
    local opts = { allow = { "neap.json" } }
    assert.equal("[1]", good("return require 'neap.json'.encode { 1 }", opts))
    for _, change in ipairs {
      "require 'neap.json'.encode = nil",
      "rawset(require 'neap.json', 'encode', 1)",
      "table.insert(require 'neap.json', 1)",
      "setmetatable(require 'neap.json', {})",
    } do
      assert.matches("read%-only", (bad(change, opts):gsub("protected metatable", "read-only")))
    end
    assert.is_false(good("return getmetatable(require 'neap.json')", opts))
    assert.is_function(json.encode)
    assert.matches("not allowed in this sandbox", bad("require 'neap.http'", opts), 1, true)
    assert.equal("string", good "return type(require 'string'.format('x'))")
    assert.is_true(good "return require '_G' == _G and require 'math' == math")
  end)

  it("is given names", function()
    local box = { n = 1 }
    assert.equal(3, good("box.n = limit return box.n", { env = { box = box, limit = 3 } }))
    assert.equal(3, box.n)
    assert.matches(
      "read-only",
      bad("box.n = 4", { env = { box = sandbox.readonly(box) } }),
      1,
      true
    )
  end)

  it("is loaded from a file", function()
    local path = os.tmpname()
    local file = assert(io.open(path .. ".lua", "w"))
    file:write "#!/usr/bin/lua\nlocal x <const> = 5\nreturn { x = x, os = os.execute }"
    file:close()
    assert.equal(5, good(path .. ".lua").x)
    assert.equal(5, sandbox.require(path .. ".lua").x)
    assert.has_error(good(path .. ".lua").os, "os.execute is not available in a sandbox")
    os.remove(path)
    os.remove(path .. ".lua")
    local _, err = sandbox.load "/nonexistent/policy.lua"
    assert.equal("ENOENT", err.code)
    assert.matches("/nonexistent/policy.lua", err.message, 1, true)
  end)

  it("says where it is wrong", function()
    assert.matches("^policy:1:", bad("x = = 1", { name = "=policy" }))
    assert.matches("^policy:2: no", bad("\nerror 'no'", { name = "=policy" }))
    assert.matches("bytecode|binary", (bad(string.dump(function() end)):gsub("binary", "bytecode|binary")))
    local _, err = sandbox.load("error(e)", { env = { e = task.error "EAGAIN" } })
    assert.equal("EAGAIN", err.code)
  end)

  it("is made with options that are checked", function()
    assert.has_error(function() sandbox.load(1) end)
    local unknown = "opts.alow: unknown option (did you mean allow?)"
    assert.has_error(function() sandbox.load("", { alow = {} }) end, unknown)
    local inner = { "neap.core.runtime", "neap.sandbox.env", "neap.repl", "neap.test.runner" }
    for _, name in ipairs { "neap.sandbox", "io", "neap", table.unpack(inner) } do
      assert.has_error(function() sandbox.load("", { allow = { name } }) end)
    end
  end)

  it("balances", function()
    local balancer = require "neap.balancer"
    balancer.define(
      "sandbox_spec_last",
      good "return { pick = function(_, endpoints) return endpoints[#endpoints] end }"
    )
    local endpoints = { "127.0.0.1:1", "127.0.0.1:2" }
    local b <close> = assert(balancer.new("sandbox_spec_last", { endpoints = endpoints }))
    local picked = b:pick()
    assert.equal("127.0.0.1:2", picked.address)
    b:release(picked, true, 0.1)
  end)
end)

describe("a view that cannot be written to", function()
  it("reads as what it shows", function()
    local t = { 1, 2, inner = { deep = { x = 1 } }, fn = function(a) return a end }
    local view = sandbox.readonly(t)
    assert.equal(2, #view)
    assert.equal(1, view.inner.deep.x)
    assert.equal(5, view.fn(5))
    local seen = {}
    for k in pairs(view) do seen[k] = true end
    assert.same({ true, true, inner = true, fn = true }, seen)
    local n = 0
    for _ in ipairs(view) do n = n + 1 end
    assert.equal(2, n)
    assert.equal(view.inner, view.inner)
    t[3] = 3
    assert.equal(3, #view)
    assert.equal(view, sandbox.readonly(view))
  end)

  it("keeps false", function()
    local seen = {}
    for k, v in pairs(sandbox.readonly { a = false }) do seen[k] = v end
    assert.same({ a = false }, seen)
    assert.is_false(sandbox.readonly({ a = false }).a)
  end)

  it("is not changed", function()
    local view = sandbox.readonly { inner = {} }
    assert.has_error(function() view.x = 1 end, "attempt to change a read-only table")
    assert.has_error(function() view.inner.x = 1 end, "attempt to change a read-only table")
    assert.has_error(function() setmetatable(view, nil) end)
    assert.is_false(getmetatable(view))
    assert.has_error(function() sandbox.readonly(1) end)
  end)
end)

it("a host is not in a sandbox unless it was put there", function()
  assert.is_false(sandbox.active)
  assert.is_table(http)
end)
