-- The corners of tasks: waits inside coroutines, shields, groups, loops that ignore being cancelled.

local task = require "neap.task"

-- The message of what a call raises, the place in front of it included.
local function raised_by(fn, ...) return select(2, pcall(fn, ...)) end

local function closing(fn) return setmetatable({}, { __close = fn }) end

describe("a coroutine that waits", function()
  it("cannot be resumed or closed by another task meanwhile", function()
    local gate = task.future()
    local co = coroutine.create(function() return gate:await() end)
    local owner = task.spawn(function() return coroutine.resume(co) end)
    task.yield()
    assert.equal("normal", coroutine.status(co))
    assert.same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(co) })
    assert.error_matches(function() coroutine.close(co) end, "cannot close a normal coroutine$")
    gate:resolve "through"
    assert.same({ true, "through" }, { owner:await() })
    assert.equal("dead", coroutine.status(co))
  end)

  it("refuses where its caller cannot be suspended, and leaves the task as it was", function()
    local ok, err = pcall(table.sort, { 2, 1 }, function(a, b)
      coroutine.wrap(function() task.sleep(3600) end)()
      return a < b
    end)
    assert.is_false(ok)
    assert.matches("cannot wait here", err)
    assert.is_true(task.sleep(0))
    assert.is_true(task.spawn(task.yield):await())
  end)

  it("is not a task's own to resume from outside", function()
    local co
    local owner = task.spawn(function()
      co = coroutine.running()
      task.yield()
      return "well"
    end)
    task.yield()
    assert.is_false((coroutine.resume(co)))
    assert.has_error(function() coroutine.close(co) end)
    assert.equal("well", (owner:await()))
  end)
end)

describe("coroutine.wrap", function()
  it("raises as Lua's own does", function()
    local failing = coroutine.wrap(function() error("inside", 0) end)
    local function call() failing() end
    assert.matches("^[^:]*task_edge_spec%.lua:%d+: inside$", raised_by(call))
    assert.matches("^[^:]*task_edge_spec%.lua:%d+: cannot resume dead coroutine$", raised_by(call))
    local raised = {}
    local with_table = coroutine.wrap(function() error(raised) end)
    assert.equal(raised, raised_by(with_table))
    local again
    again = coroutine.wrap(function() again() end)
    assert.matches("cannot resume non%-suspended coroutine$", raised_by(again))
  end)

  it("gives the error of a closing that failed", function()
    local failing = coroutine.wrap(function()
      local guard <close> = closing(function() error("closing", 0) end) -- luacheck: ignore 211
      error("first", 0)
    end)
    assert.matches("closing$", raised_by(failing))
  end)
end)

describe("require", function()
  local function module(name, loader)
    package.preload[name] = loader
    finally(function() package.preload[name], package.loaded[name] = nil, nil end)
  end

  it("refuses a circle over two tasks", function()
    module("spec.left", function()
      task.yield()
      return require "spec.right"
    end)
    module("spec.right", function()
      task.yield()
      return require "spec.left"
    end)
    local left, right = task.spawn(pcall, require, "spec.left"), task.spawn(pcall, require, "spec.right")
    assert.is_false((left:await()))
    local ok, err = right:await()
    assert.is_false(ok)
    assert.matches("loop or previous error loading module", err)
  end)

  it("keeps the place of an error in a loader", function()
    module("spec.broken", function() error "broken" end)
    local _, trace = xpcall(require, debug.traceback, "spec.broken")
    assert.matches("task_edge_spec%.lua:%d+: broken", trace)
    assert.matches("task_edge_spec%.lua:%d+: in [^\n]*loader", trace)
  end)

  it("loads anew for others when the loading task was cancelled", function()
    local gate, loads = task.future(), 0
    module("spec.slow", function()
      loads = loads + 1
      if loads == 1 then gate:await() end
      return { loads = loads }
    end)
    local first, second = task.spawn(require, "spec.slow"), task.spawn(require, "spec.slow")
    task.yield()
    first:cancel()
    assert.equal("ECANCELED", select(2, first:await()).code)
    assert.same({ loads = 2 }, (second:await()))
  end)
end)

describe("a shield", function()
  it("shelters the tasks that are started in it", function()
    local gate, result = task.future(), nil
    local shielded = task.spawn(function()
      task.shield(function() result = task.all(function() return gate:await() end) end)
      task.sleep(3600)
    end)
    task.yield()
    task.yield() -- now its child waits, too
    shielded:cancel()
    gate:resolve "finished"
    assert.equal("ECANCELED", select(2, shielded:await()).code)
    assert.equal("finished", result)
  end)

  it("lets a cancelled task clean up with tasks of its own", function()
    local result
    local cancelled = task.spawn(function()
      local guard <close> = closing(function() -- luacheck: ignore 211
        task.shield(function() result = task.timeout(60, function() return task.sleep(0) end) end)
      end)
      task.sleep(3600)
    end)
    task.yield()
    cancelled:cancel()
    cancelled:await()
    assert.is_true(result)
  end)

  it("lets go of what was started in it when it ends", function()
    local left
    local shielded = task.spawn(function()
      task.shield(function()
        left = task.spawn(task.sleep, 3600)
        task.yield()
        task.yield()
      end)
    end)
    task.yield()
    shielded:cancel()
    assert.equal("ECANCELED", select(2, left:await()).code)
  end)

  it("may be left in another task than it was entered in", function()
    local co = coroutine.create(function()
      task.shield(coroutine.yield, "inside")
      return "outside"
    end)
    assert.same({ true, "inside" }, { task.spawn(coroutine.resume, co):await() })
    collectgarbage()
    assert.same({ true, "outside" }, { task.spawn(coroutine.resume, co):await() })
    local later = task.spawn(task.sleep, 3600)
    later:cancel()
    assert.equal("ECANCELED", select(2, later:await()).code)
  end)
end)

describe("a cancelled task that catches and waits again", function()
  it("gives the others their turn", function()
    local stop, rounds = false, 0
    local stubborn = task.spawn(function()
      while not stop do
        pcall(task.sleep, 3600)
        rounds = rounds + 1
      end
    end)
    task.yield()
    stubborn:cancel()
    for _ = 1, 50 do task.yield() end
    stop = true
    stubborn:await()
    assert.is_true(rounds < 200)
  end)
end)

describe("task.group", function()
  it("counts error(nil) as a failure", function()
    local group = task.group()
    group:spawn(function() error(nil) end)
    local ok, err = group:wait()
    assert.is_nil(ok)
    assert.equal("ESCRIPT", err.code)
  end)

  it("forgets members that have ended", function()
    local group = task.group()
    for _ = 1, 1000 do
      group:spawn(function() end)
      task.yield()
    end
    assert.is_true(#group.members < 100)
    assert.is_true(group:wait())
  end)

  it("refuses what is no function, at the caller's level", function()
    local group = task.group()
    assert.matches("task_edge_spec.*function expected, got number", raised_by(function() group:spawn(1) end))
    assert.matches("task_edge_spec.*all: bad argument #2", raised_by(function() task.all(print, 1) end))
    assert.matches("task_edge_spec.*any: bad argument #1", raised_by(function() task.any(nil) end))
  end)
end)

describe("a future", function()
  it("survives an error whose __tostring raises", function()
    local odd = setmetatable({}, { __tostring = function() error "no" end })
    local value, err = task.spawn(function() error(odd) end):await()
    assert.is_nil(value)
    assert.equal("ESCRIPT", err.code)
    assert.equal(odd, rawget(err, "value"))
  end)

  it("makes no traceback for tasks that are cancelled, as nobody reads it", function()
    local futures = {}
    for i = 1, 100 do futures[i] = task.spawn(function() task.sleep(100) end) end
    task.yield()
    collectgarbage()
    collectgarbage "stop"
    local before = collectgarbage "count"
    for i = 1, 100 do futures[i]:cancel() end
    task.yield()
    task.yield()
    local grown = collectgarbage "count" - before
    collectgarbage "restart"
    assert.is_true(grown < 25, grown) -- KiB; a traceback of such a task is 240 bytes
  end)
end)
