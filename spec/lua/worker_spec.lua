local task = require "neap.task"
local worker = require "neap.worker"

describe("neap.worker", function()
  it("says where a script runs", function()
    assert.equal(0, worker.id)
    assert.equal(1, worker.count)
    assert.equal(0, worker.generation)
  end)

  it("sends plain values, to itself too", function()
    local got = task.future()
    local stop <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = worker.on_message(function(value, from) got:resolve(value, from) end),
    })
    local sent = { 1, 2.5, "three", { four = true } }
    assert.is_true(worker.send(0, sent))
    local value, from = got:await(5)
    assert.same(sent, value)
    assert.are_not.equal(sent, value)
    assert.equal(0, from)
  end)

  it("calls every listener, until it is stopped", function()
    local first, second = task.future(), task.future()
    local calls = 0
    local stop_first = worker.on_message(function(value)
      calls = calls + 1
      first:resolve(value)
    end)
    local stop_second = worker.on_message(function(value)
      if value == 2 then second:resolve(value) end
    end)
    worker.send(0, 1)
    assert.equal(1, (first:await(5)))
    stop_first()
    worker.send(0, 2)
    assert.equal(2, (second:await(5)))
    assert.equal(1, calls)
    stop_second()
  end)

  it("broadcasts to nobody when there is no other worker", function()
    local got = {}
    local stop = worker.on_message(function(value) got[#got + 1] = value end)
    assert.is_true(worker.broadcast("to the others"))
    local last = task.future()
    local stop_last = worker.on_message(function() last:resolve() end)
    worker.send(0, "to me")
    last:await(5)
    stop()
    stop_last()
    assert.same({ "to me" }, got)
  end)

  it("has a bound on what is on its way", function()
    local got = 0
    local stop = worker.on_message(function() got = got + 1 end)
    local large = ("x"):rep(10 * 1024 * 1024)
    local sent, ok, err = 0
    repeat
      ok, err = worker.send(0, large)
      if ok then sent = sent + 1 end
    until not ok or sent == 20
    assert.equal(6, sent)
    assert.equal("ELIMIT", err.code)
    while got < sent do task.sleep(0.001) end
    assert.is_true(worker.send(0, ("x"):rep(100 * 1024 * 1024))) -- alone it may be larger
    while got < 7 do task.sleep(0.001) end
    assert.is_true(worker.send(0, large))
    while got < 8 do task.sleep(0.001) end
    stop()
  end)

  it("refuses what is no value and who is no worker", function()
    assert.has_error(function() worker.broadcast(print) end)
    assert.has_error(function() worker.send(0, { f = function() end }) end)
    assert.has_error(function() worker.send(-1, 1) end)
    assert.has_error(function() worker.send("0", 1) end)
    assert.has_error(function() worker.on_message("f") end)
    assert.has_error(function() worker.once("", print) end)
    assert.has_error(function() worker.once("name", 1) end)
    local ok, err = worker.send(1, "x")
    assert.is_nil(ok)
    assert.equal("ENOTFOUND", err.code)
  end)

  it("runs a job once for a name", function()
    local runs = 0
    local done = task.future()
    worker.once("spec.job", function()
      runs = runs + 1
      done:resolve()
    end)
    done:await(5)
    worker.once("spec.job", function() runs = runs + 1 end)
    local other = task.future()
    worker.once("spec.other", function() other:resolve() end)
    other:await(5)
    task.sleep(0)
    assert.equal(1, runs)
  end)
end)
