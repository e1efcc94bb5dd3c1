local compile = require("neap.repl.compile").compile

describe("repl.compile", function()
  local env
  before_each(function() env = setmetatable({}, { __index = _G }) end)

  local function run(text)
    local fn, err = compile(text, "=t", env)
    assert(fn, err)
    return fn()
  end

  it("gives the values of an expression", function()
    assert.equal(2, run "1 + 1")
    assert.same({ 1, 2 }, { run "1, 2" })
    assert.equal("x", run "= 'x'")
    assert.equal(3, run "(function() return 3 end)()")
  end)

  it("runs statements", function()
    assert.equal(0, select("#", run "x = 5"))
    assert.equal(5, env.x)
    assert.equal(6, run "return x + 1")
  end)

  it("tells what is not finished from what is wrong", function()
    local beginnings = { "for i = 1, 2 do", "f(", "x = {", "'a' ..", "function f()", "s = [[", "if x then" }
    for _, text in ipairs(beginnings) do
      local fn, _, incomplete = compile(text, "=t", env)
      assert.is_nil(fn)
      assert.is_true(incomplete, text)
    end
    for _, text in ipairs { "x = = 1", "end", ")", "1 +* 2", "'a\n", "= = 1" } do
      local fn, err, incomplete = compile(text, "=t", env)
      assert.is_nil(fn)
      assert.matches("^t:1:", err)
      assert.is_false(incomplete, text)
    end
  end)

  it("keeps locals of the top level for the next line", function()
    run "local a, b = 1, 2"
    assert.same({ 1, 2 }, { env.a, env.b })
    run "local function double(n) return n * 2 end"
    assert.equal(8, env.double(4))
    run "do local inner = 1 end local outer = 2 -- a comment"
    assert.is_nil(env.inner)
    assert.equal(2, env.outer)
    assert.equal(9, run "local c = 9 return c")
    for key in pairs(env) do assert.not_matches("^__neap", key) end
  end)

  it("lets a line wait", function()
    env.task = require "neap.task"
    run "local slept = task.sleep(0.001)"
    assert.is_true(env.slept)
  end)
end)
