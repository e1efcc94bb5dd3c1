local inspect = require "neap.inspect"

describe("inspect", function()
  it("writes scalars as Lua would", function()
    assert.equal("nil", inspect(nil))
    assert.equal("true", inspect(true))
    assert.equal("42", inspect(42))
    assert.equal("1.0", inspect(1.0))
    assert.equal("0.1", inspect(0.1))
    assert.equal("1e+100", inspect(1e100))
    assert.equal("inf", inspect(math.huge))
    assert.equal("-9223372036854775808", inspect(math.mininteger))
    assert.equal('"a \\"b\\" \\n\\t\\x00"', inspect 'a "b" \n\t\0')
  end)

  it("keeps UTF-8 and escapes other bytes", function()
    assert.equal('"hé"', inspect "hé")
    assert.equal('"\\xff\\xc3x"', inspect "\xff\xc3x")
  end)

  it("sorts keys, the sequence first", function()
    assert.equal('{ 1, 2, b = 4, ["c d"] = 5, z = 3 }', inspect { 1, 2, z = 3, b = 4, ["c d"] = 5 })
    assert.equal('{ [-1] = "a", [1.5] = "b", ["end"] = "c", [true] = "d" }',
      inspect { [-1] = "a", [1.5] = "b", ["end"] = "c", [true] = "d" })
    assert.equal("{}", inspect {})
  end)

  it("breaks what does not fit on a line", function()
    local text = inspect({ first = ("x"):rep(30), second = { 1, 2 } }, { width = 40 })
    assert.equal('{\n  first = "' .. ("x"):rep(30) .. '",\n  second = { 1, 2 }\n}', text)
  end)

  it("names cycles and what was shown before", function()
    local t = { name = "t" }
    t.self = t
    t.list = { { up = t } }
    t.same = t.list
    local text = inspect(t)
    assert.matches("self = <the table itself>", text, 1, true)
    assert.matches("list = { { up = <the table itself> } }", text, 1, true)
    assert.matches("same = <same as list>", text, 1, true)
  end)

  it("cuts what is long or deep, and says so", function()
    assert.equal('"' .. ("x"):rep(10) .. '…" (5000 bytes)', inspect(("x"):rep(5000), { string = 10 }))
    assert.equal('"h…" (7 bytes)', inspect("héllo!", { string = 2 })) -- no half of a character
    assert.equal("{ 1, 2, … 98 more }", inspect(table.move({}, 1, 0, 1, (function()
      local t = {}
      for i = 1, 100 do t[i] = i end
      return t
    end)()), { items = 2 }))
    assert.equal("{ a = { b = { … } } }", inspect({ a = { b = { c = 1 } } }, { depth = 2 }))
    local wide = {}
    for i = 1, 50 do
      wide[i] = {}
      for j = 1, 50 do wide[i][j] = j end
    end
    assert.is_true(#inspect(wide, { total = 100 }) < 2000)
  end)

  it("shows objects by their own text, and never raises", function()
    local err = require("neap.task").error("EBUSY", "later")
    assert.equal("EBUSY: later", inspect(err))
    local bad = setmetatable({ x = 1 }, { __tostring = function() error "no" end, __name = "thing" })
    assert.equal("thing { x = 1 }", inspect(bad))
    local trap = setmetatable({ x = 1 }, {
      __index = function() error "index" end,
      __pairs = function() error "pairs" end,
      __len = function() error "len" end,
    })
    assert.equal("{ x = 1 }", inspect(trap))
    assert.matches("^<function .*inspect_spec%.lua:%d+>$", inspect(function() end))
    assert.matches("^<function: 0x%x+>$", inspect(print):gsub("builtin: ", ""))
    assert.matches("^<file", inspect(io.stdout):gsub("^file", "<file"))
  end)
end)
