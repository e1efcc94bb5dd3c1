-- The account of what tasks compute.

local task = require "neap.task"

local function compute()
  local n = 0
  for i = 1, 200000 do n = n + i % 7 end
  return n
end

describe("a task's CPU time", function()
  it("grows while it computes", function()
    local me = task.current()
    local before = me:cpu()
    compute()
    local after = me:cpu()
    assert.is_true(after > before)
  end)

  it("does not grow while it waits, but for what the waiting itself takes", function()
    local me = task.current()
    me:cpu()
    compute()
    local busy = me:cpu()
    task.spawn(function()
      for _ = 1, 10 do compute() end
    end):await()
    local waited = me:cpu() - busy
    assert.is_true(waited < busy, ("%g waiting, %g computing"):format(waited, busy))
  end)

  it("is there when the task has ended", function()
    task.account_cpu(true)
    local it
    task.spawn(function()
      it = task.current()
      compute()
    end):await()
    local total = it:cpu()
    assert.is_true(total > 0)
    compute()
    assert.equal(total, it:cpu())
    assert.matches("^neap%.task: .*ended", tostring(it))
  end)

  it("counts what coroutines of its own compute", function()
    local me = task.current()
    local before = me:cpu()
    coroutine.wrap(compute)()
    assert.is_true(me:cpu() > before)
  end)

  it("is one object for one task", function()
    assert.equal(task.current(), task.current())
    local other
    task.spawn(function() other = task.current() end):await()
    assert.not_equal(task.current(), other)
  end)
end)

describe("pcall and xpcall", function()
  it("are as Lua's own", function()
    assert.same({ true, 1, nil, 3 }, { pcall(function(...) return ... end, 1, nil, 3) })
    assert.same({ false, "x" }, { pcall(error, "x", 0) })
    assert.same({ false }, { pcall(error) })
    assert.same({ true, 4 }, { xpcall(function(a) return a + 1 end, print, 3) })
    assert.same({ false, "handled x" }, {
      xpcall(error, function(e) return "handled " .. e end, "x", 0),
    })
    assert.has_error(function() pcall() end, "bad argument #1 to 'pcall' (value expected)")
    assert.has_error(
      function() xpcall(print) end,
      "bad argument #2 to 'xpcall' (function expected, got no value)"
    )
  end)

  it("let a wait pass", function()
    assert.same({ true, 1 }, { pcall(function() task.sleep(0) return 1 end) })
    assert.same({ false, "e!" }, {
      xpcall(function() task.sleep(0) error("e", 0) end, function(e) return e .. "!" end),
    })
  end)

  it("are named in tracebacks", function()
    local trace
    pcall(function() trace = debug.traceback() end)
    assert.matches("in function 'pcall'", trace)
  end)
end)
