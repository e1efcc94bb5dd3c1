local neap = require "neap"
local task = require "neap.task"

describe("neap.thread", function()
  it("runs a function elsewhere and gives what it returns", function()
    local function sum(n)
      local s = 0
      for i = 1, n do s = s + i end
      return s, "done", { n = n }
    end
    local s, text, t = neap.thread(sum, 100000)
    assert.equal(5000050000, s)
    assert.equal("done", text)
    assert.same({ n = 100000 }, t)
    assert.equal(0, select("#", neap.thread(function() end)))
    assert.equal(3, select("#", neap.thread(function() return nil, nil, nil end)))
  end)

  it("lets the loop go on meanwhile", function()
    local flags = neap.shared "spec.thread"
    flags:clear()
    local seen = task.spawn(function()
      return neap.thread(function()
        local shared = require "neap.shared" "spec.thread"
        while not shared:get "go" do end
        return "went"
      end)
    end)
    task.sleep(0.01)
    assert.is_false(seen:done())
    flags:set("go", true)
    -- where the spec's state has no host the thread's map is another one
    if neap.runtime.modules then assert.equal("went", (seen:await(10))) end
  end)

  it("runs many at once", function()
    local futures = {}
    for i = 1, 50 do
      futures[i] = task.spawn(function() return neap.thread(function(n) return n * 2 end, i) end)
    end
    for i = 1, 50 do assert.equal(i * 2, (futures[i]:await(10))) end
  end)

  it("gives a failure as an error", function()
    local ok, err = neap.thread(function() error "broken" end)
    assert.is_nil(ok)
    assert.equal("ESCRIPT", err.code)
    assert.matches("broken", err.message)
    assert.matches("traceback", err.message)
    ok, err = neap.thread(function() return print end)
    assert.is_nil(ok)
    assert.equal("ESCRIPT", err.code)
  end)

  it("refuses what cannot be carried", function()
    local outside = 1
    assert.error_matches(function() neap.thread(function() return outside end) end, "outside")
    assert.has_error(function() neap.thread(print) end)
    assert.has_error(function() neap.thread(function() end, function() end) end)
    assert.has_error(function() neap.thread "nothing" end)
    assert.has_error(function() neap.thread(nil) end)
    assert.has_error(function() neap.thread.run(function() end, {}, { timeuot = 1 }) end)
  end)

  it("stops what takes too long, even one that catches it", function()
    local ok, err = neap.thread.run(function()
      while true do pcall(function() while true do end end) end
    end, {}, { timeout = 0.02 })
    assert.is_nil(ok)
    assert.equal("ETIMEDOUT", err.code)
    assert.equal(1, (neap.thread(function() return 1 end))) -- the pool is as good as before
  end)

  it("stops one whose message handler catches it", function()
    local evaders = {}
    for i = 1, 4 do
      evaders[i] = task.spawn(neap.thread.run, function()
        local function again() while true do end end
        while true do xpcall(again, again) end
      end, {}, { timeout = 0.05 })
    end
    for i = 1, 4 do evaders[i]:await() end
    assert.equal(1, (neap.thread.run(function() return 1 end, {}, { timeout = 10 })))
  end)

  it("stops with its task", function()
    local future = task.spawn(function() return neap.thread(function() while true do end end) end)
    task.sleep(0.01)
    future:cancel()
    local ok, err = future:await(5)
    assert.is_nil(ok)
    assert.equal("ECANCELED", err.code)
  end)

  it("calls a module's function and a file", function()
    assert.equal('{"a":1}', (neap.thread("neap.json:encode", { a = 1 })))
    local path = os.tmpname() .. ".lua"
    local file = assert(io.open(path, "w"))
    file:write "local a, b = ...\nreturn a + b\n"
    file:close()
    assert.equal(5, (neap.thread(path, 2, 3)))
    os.remove(path)
    local ok, err = neap.thread "neap.json:nothing"
    assert.is_nil(ok)
    assert.matches("no function", err.message)
  end)

  it("has no modules that need a loop", function()
    local ok, err = neap.thread(function() return require "neap.tcp" ~= nil end)
    assert.is_nil(ok)
    assert.matches("needs a loop", err.message)
  end)

  it("may be unloaded and loaded anew", function()
    local name = "neap.core.thread"
    local loaded = package.loaded[name]
    package.loaded[name] = nil
    assert.is_table(require(name)) -- which goes again; the state's end is the proof
    package.loaded[name] = loaded
    collectgarbage()
    collectgarbage()
  end)
end)
