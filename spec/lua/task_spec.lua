local task = require "neap.task"

-- What a function's turns leave behind, in order.
local function recorder()
  local list = {}
  return list, function(word) list[#list + 1] = word end
end

describe("task.spawn", function()
  it("gives a future of what the function returns", function()
    local future = task.spawn(function(a, b) return a + b, nil, "third" end, 1, 2)
    assert.same({ 3, nil, "third", n = 3 }, table.pack(future:await()))
    assert.is_true(future:done())
    assert.equal(3, (future:await()))
  end)

  it("runs soon, not at once, and beside others", function()
    local list, note = recorder()
    local function worker(name)
      for i = 1, 3 do
        note(name .. i)
        task.yield()
      end
    end
    local a, b = task.spawn(worker, "a"), task.spawn(worker, "b")
    note "spawned"
    a:await()
    b:await()
    assert.equal("spawned a1 b1 a2 b2 a3 b3", table.concat(list, " "))
  end)

  it("hands on an expected failure", function()
    local value, err = task.spawn(function() return nil, "expected" end):await()
    assert.is_nil(value)
    assert.equal("expected", err)
  end)

  it("makes an error object of what was raised", function()
    local value, err = task.spawn(function() error "broken" end):await()
    assert.is_nil(value)
    assert.equal("ESCRIPT", err.code)
    assert.matches("task_spec%.lua:%d+: broken$", err.message)
    assert.matches("stack traceback:", err.traceback)
    local raised = { odd = true }
    value, err = task.spawn(function() error(raised) end):await()
    assert.is_nil(value)
    assert.equal(raised, err.value)
  end)

  it("passes an error object on as it is", function()
    local own = task.error("EBUSY", "come back later")
    local _, err = task.spawn(function() error(own) end):await()
    assert.equal(own, err)
    assert.equal("EBUSY: come back later", tostring(err))
  end)
end)

describe("future:await", function()
  it("waits so long and no longer", function()
    local future = task.future()
    local value, err = future:await(0.001)
    assert.is_nil(value)
    assert.equal("ETIMEDOUT", err.code)
    assert.is_false(future:done())
    value, err = future:await(0)
    assert.is_nil(value)
    assert.equal("ETIMEDOUT", err.code)
    future:resolve "after all"
    assert.equal("after all", future:await(0))
  end)

  it("wakes everybody who waits", function()
    local future, waiters = task.future(), {}
    for i = 1, 3 do waiters[i] = task.spawn(function() return future:await() end) end
    task.yield()
    assert.is_true(future:resolve "come")
    assert.is_false(future:resolve "again")
    for i = 1, 3 do assert.equal("come", waiters[i]:await()) end
  end)

  it("gives the failure that somebody set", function()
    local future = task.future()
    assert.is_true(future:fail "bad luck")
    assert.is_false(future:fail "worse")
    local value, err = future:await()
    assert.is_nil(value)
    assert.equal("ESCRIPT: bad luck", tostring(err))
  end)
end)

describe("cancelling", function()
  it("raises out of the wait, and out of each later one", function()
    local list, note = recorder()
    local future = task.spawn(function()
      local ok, err = pcall(task.sleep, 60)
      note(tostring(ok) .. " " .. err.code)
      note(tostring(task.cancelled()))
      ok, err = pcall(task.sleep, 60)
      note(tostring(ok) .. " " .. err.code)
      task.sleep(60)
      note "never"
    end)
    task.yield()
    future:cancel()
    future:cancel()
    local _, err = future:await()
    assert.equal("ECANCELED", err.code)
    assert.same({ "false ECANCELED", "true", "false ECANCELED" }, list)
  end)

  it("reaches the children", function()
    local child
    local parent = task.spawn(function()
      child = task.spawn(task.sleep, 60)
      task.sleep(60)
    end)
    task.yield()
    parent:cancel()
    local _, err = child:await()
    assert.equal("ECANCELED", err.code)
  end)

  it("leaves a task that ended before alone", function()
    local future = task.spawn(function() return "done" end)
    future:await()
    future:cancel()
    assert.equal("done", future:await())
  end)

  it("waits for what is shielded", function()
    local begun, finished = task.future(), false
    local future = task.spawn(function()
      local result = task.shield(function()
        begun:resolve()
        task.sleep(0.005)
        finished = true
        return "put in order"
      end)
      assert(result == "put in order")
      task.sleep(60)
    end)
    begun:await()
    future:cancel()
    local _, err = future:await()
    assert.equal("ECANCELED", err.code)
    assert.is_true(finished)
  end)

  it("closes what is to be closed", function()
    local closed = false
    local future = task.spawn(function()
      local guard <close> = setmetatable({}, { -- luacheck: ignore 211
        __close = function() closed = true end,
      })
      task.sleep(60)
    end)
    task.yield()
    future:cancel()
    future:await()
    assert.is_true(closed)
  end)
end)

describe("task.all", function()
  it("gives the first value of each, in order", function()
    local a, b, c = task.all(
      function()
        task.sleep(0.002)
        return "slow", "more"
      end,
      function() return "fast" end,
      function() end
    )
    assert.same({ "slow", "fast" }, { a, b, c })
  end)

  it("runs them at the same time", function()
    local first, second = task.future(), task.future()
    assert.same({ "b", "a" }, {
      task.all(
        function()
          first:resolve "a"
          return second:await(5)
        end,
        function()
          second:resolve "b"
          return first:await(5)
        end
      ),
    })
  end)

  it("fails as the first that fails, and cancels the others", function()
    for _, fail in ipairs {
      function() return nil, task.error "EBUSY" end,
      function() error(task.error "EBUSY") end,
    } do
      local ended
      local value, err = task.all(fail, function()
        local _, why = pcall(task.sleep, 60)
        ended = why.code
        error(why, 0)
      end)
      assert.is_nil(value)
      assert.equal("EBUSY", err.code)
      assert.equal("ECANCELED", ended)
    end
  end)
end)

describe("task.any", function()
  it("gives the results of the first that succeeds, and cancels the others", function()
    local loser = task.future()
    local a, b = task.any(
      function() return nil, "failed" end,
      function()
        task.sleep(0.001)
        return "won", 2
      end,
      function()
        local guard <close> = setmetatable({}, { -- luacheck: ignore 211
          __close = function() loser:resolve(task.cancelled()) end,
        })
        task.sleep(60)
      end
    )
    assert.same({ "won", 2 }, { a, b })
    assert.is_true(loser:await(5))
  end)

  it("fails as the last when all fail", function()
    local value, err = task.any(
      function() return nil, task.error "EBUSY" end,
      function()
        task.sleep(0.001)
        error(task.error "EIO")
      end
    )
    assert.is_nil(value)
    assert.equal("EIO", err.code)
  end)
end)

describe("deadlines", function()
  it("end what takes too long", function()
    local value, err = task.timeout(0.002, function() task.sleep(60) end)
    assert.is_nil(value)
    assert.equal("ETIMEDOUT", err.code)
    assert.same({ 1, 2 }, { task.timeout(5, function(...) return ... end, 1, 2) })
  end)

  it("are inherited, and the smaller wins", function()
    assert.is_nil(task.deadline())
    task.timeout(50, function()
      assert.is_true(task.deadline() <= 50 and task.deadline() > 40)
      task.timeout(100, function() assert.is_true(task.deadline() <= 50) end)
      task.spawn(function() assert.is_true(task.deadline() <= 50) end):await()
      task.timeout(10, function() assert.is_true(task.deadline() <= 10) end)
      assert.is_true(task.deadline() > 40)
    end)
    assert.is_nil(task.deadline())
  end)
end)

describe("task.group", function()
  it("waits for its members and gives the function's results", function()
    local sum = 0
    local result = task.group(function(group)
      for i = 1, 4 do
        group:spawn(function()
          task.sleep(0)
          sum = sum + i
        end)
      end
      return "result"
    end)
    assert.same({ "result", 10 }, { result, sum })
  end)

  it("ends as one when a member fails", function()
    local other
    local value, err = task.group(function(group)
      other = group:spawn(task.sleep, 60)
      group:spawn(function() error(task.error "EIO") end)
    end)
    assert.is_nil(value)
    assert.equal("EIO", err.code)
    local _, why = other:await()
    assert.equal("ECANCELED", why.code)
  end)

  it("ends with the block that declares it", function()
    local member
    do
      local group <close> = task.group()
      member = group:spawn(task.sleep, 60)
      task.yield()
    end
    assert.is_true(member:done())
  end)
end)

describe("timers", function()
  it("sleep in order", function()
    local list, note = recorder()
    local futures = {}
    for _, ms in ipairs { 9, 3, 6 } do
      futures[#futures + 1] = task.spawn(function()
        task.sleep(ms / 1000)
        note(ms)
      end)
    end
    for _, future in ipairs(futures) do future:await() end
    assert.same({ 3, 6, 9 }, list)
  end)

  it("call once after a while, unless they are cancelled", function()
    assert.equal("later x", task.after(0.001, function(x) return "later " .. x end, "x"):await(5))
    local called = false
    local future = task.after(60, function() called = true end)
    future:cancel()
    future:await()
    assert.is_false(called)
  end)

  it("call again and again, whatever a call does", function()
    local count, thrice = 0, task.future()
    local future = task.every(0.001, function()
      count = count + 1
      if count == 2 then error "the second call" end
      if count == 3 then thrice:resolve() end
    end)
    thrice:await(5)
    future:cancel()
    future:await()
    assert.is_true(count >= 3)
  end)

  it("refuse spans that are none", function()
    assert.has_error(function() task.sleep(-1) end)
    assert.has_error(function() task.sleep(0 / 0) end)
    assert.error_matches(function() task.every(0, print) end, "positive")
  end)
end)

describe("waiting", function()
  it("passes through pcall, metamethods and iterators", function()
    assert.is_true(pcall(task.sleep, 0.001))
    local slow = setmetatable({}, {
      __index = function(_, key)
        task.sleep(0)
        return key .. "!"
      end,
      __add = function(_, n)
        task.sleep(0)
        return n + 1
      end,
    })
    assert.equal("x!", slow.x)
    assert.equal(3, slow + 2)
    local function counting(n, i)
      task.sleep(0)
      if i < n then return i + 1 end
    end
    local sum = 0
    for i in counting, 4, 0 do sum = sum + i end
    assert.equal(10, sum)
  end)

  it("passes through a coroutine of the script's own", function()
    local numbers = coroutine.wrap(function()
      for i = 1, 3 do
        task.sleep(0.001)
        coroutine.yield(i)
      end
    end)
    assert.same({ 1, 2, 3 }, { numbers(), numbers(), numbers() })
  end)

  it("is refused where C cannot be left", function()
    local ok, err = pcall(table.sort, { 2, 1 }, function(a, b)
      task.sleep(0.001)
      return a < b
    end)
    assert.is_false(ok)
    assert.matches("cannot wait here", tostring(err))
  end)
end)

describe("task.error", function()
  it("makes an error object with one of the codes", function()
    local err = task.error("ENOENT", "no such thing")
    assert.same({ "ENOENT", "no such thing" }, { err.code, err.message })
    assert.equal("ETIMEDOUT: timed out", tostring(task.error "ETIMEDOUT"))
    assert.has_error(function() task.error "EODD" end)
  end)
end)
