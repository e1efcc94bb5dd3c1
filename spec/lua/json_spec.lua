local json = require "neap.json"

describe("json.decode", function()
  local values = {
    { "null", json.null },
    { "true", true },
    { " false ", false },
    { "42", 42 },
    { "-0", 0 },
    { "1.5e3", 1500.0 },
    { "9223372036854775807", math.maxinteger },
    { "-9223372036854775808", math.mininteger },
    { "9007199254740993", 9007199254740993 },
    { '""', "" },
    { [["a\"\\\/\b\f\n\r\t"]], 'a"\\/\b\f\n\r\t' },
    { [["\u0000\u00e9\ud83d\ude00"]], "\0é😀" },
    { '{"a":{"b":[1,[2]]},"":1}', { a = { b = { 1, { 2 } } }, [""] = 1 } },
    { '{"a":1,"a":2}', { a = 2 } },
    { '[null,{"b":null}]', { json.null, { b = json.null } } },
  }
  for _, case in ipairs(values) do
    it("reads " .. case[1], function() assert.same(case[2], json.decode(case[1])) end)
  end

  it("keeps integers and floats apart", function()
    assert.equal("integer", math.type(json.decode "3"))
    assert.equal("float", math.type(json.decode "3.0"))
    assert.equal("float", math.type(json.decode "18446744073709551615"))
    assert.equal(2.0 ^ 64, json.decode "18446744073709551615")
  end)

  it("tells [] from {}", function()
    local v = json.decode '{"list":[],"map":{}}'
    assert.is_true(json.is_array(v.list))
    assert.is_false(json.is_array(v.map))
    assert.equal('{"list":[],"map":{}}', json.encode(v, { sort_keys = true }))
  end)

  -- Each with the words and the position of what is wrong.
  local malformed = {
    { "", "empty document", 1 },
    { " \n", "empty document", 3 },
    { "{", "unclosed object", 2 },
    { '{"a"', "unclosed object", 5 },
    { '{"a":', "the document ends too early", 6 },
    { "[", "the document ends too early", 2 },
    { "[1", "unclosed array", 3 },
    { "[1,]", "expected a value", 4 },
    { "[1 2]", "expected ',' or ']'", 4 },
    { "[1}", "expected ',' or ']'", 3 },
    { '{"a":1,}', "expected a string as key", 8 },
    { '{"a" 1}', "expected ':'", 6 },
    { '{"a":1 "b":2}', "expected ',' or '}'", 8 },
    { "{a:1}", "expected a string as key", 2 },
    { "{1:1}", "expected a string as key", 2 },
    { "]", "expected a value", 1 },
    { "[1]x", "more after the end of the document", 4 },
    { "1 2", "more after the end of the document", 3 },
    { '"abc', "unclosed string", 1 },
    { '"a\\', "unclosed string", 4 },
    { '"\\x"', "unknown escape in a string", 2 },
    { '"\\u12g4"', "\\u needs four hex digits", 2 },
    { '"\\ud800"', "half of a surrogate pair", 2 },
    { '"\\ud800\\u0041"', "half of a surrogate pair", 2 },
    { '"\\udc00"', "half of a surrogate pair", 2 },
    { '"a\nb"', "control character in a string", 3 },
    { '"\xff"', "invalid UTF-8", 2 },
    { '"\xc0\x80"', "invalid UTF-8", 2 },
    { '"\xed\xa0\x80"', "invalid UTF-8", 2 },
    { "nul", "unexpected word", 1 },
    { "nulll", "unexpected word", 1 },
    { "[True]", "unexpected word", 2 },
    { "[NaN]", "unexpected word", 2 },
    { "'a'", "unexpected character", 1 },
    { "\xef\xbb\xbf[]", "byte order mark", 1 },
    { "[1] // one", "more after the end of the document", 5 },
    { "01", "malformed number", 1 },
    { "+1", "unexpected word", 1 },
    { "1.", "malformed number", 1 },
    { ".5", "unexpected word", 1 },
    { "-", "malformed number", 1 },
    { "1e", "malformed number", 1 },
    { "1e+", "malformed number", 1 },
    { "[0x10]", "malformed number", 2 },
    { "1e400", "number out of range", 1 },
    { "18446744073709551616", "number out of range", 1 },
    { "-9223372036854775809", "number out of range", 1 },
  }
  for _, case in ipairs(malformed) do
    it(("refuses %q"):format(case[1]), function()
      local value, err = json.decode(case[1])
      assert.is_nil(value)
      assert.equal("EINVAL", err.code)
      assert.equal(case[2], err.message:match "^JSON: (.-) at line")
      assert.equal(case[3], err.position)
    end)
  end

  it("says the line and the column", function()
    local _, err = json.decode '{\n  "a": 1,\n  "b": tru\n}'
    assert.equal("EINVAL: JSON: unexpected word at line 3, column 8 (byte 20)", tostring(err))
  end)

  it("bounds the depth", function()
    local function nested(n) return ("["):rep(n) .. ("]"):rep(n) end
    assert.is_table(json.decode(nested(128)))
    local _, err = json.decode(nested(129))
    assert.equal("ELIMIT", err.code)
    assert.is_table(json.decode(nested(129), { max_depth = 129 }))
    _, err = json.decode('{"a":[1]}', { max_depth = 1 })
    assert.equal("ELIMIT", err.code)
    _, err = json.decode(("["):rep(1000000))
    assert.equal("ELIMIT", err.code)
    assert.equal(3, json.decode("[1,2,3]")[3])
  end)

  it("bounds the size", function()
    local _, err = json.decode("[1,2,3]", { max_size = 6 })
    assert.equal("ELIMIT", err.code)
    assert.is_table(json.decode("[1,2,3]", { max_size = 7 }))
    _, err = json.decode((" "):rep(16 * 1024 * 1024 + 1))
    assert.equal("ELIMIT", err.code)
  end)

  it("refuses misuse", function()
    assert.has_error(function() json.decode(42) end)
    assert.error_matches(function() json.decode("1", { depth = 1 }) end, "opts.depth: unknown option")
    assert.error_matches(function() json.decode("1", { max_depth = 100000 }) end, "opts.max_depth")
  end)

  it("reads large documents and small ones after them", function()
    local list = {}
    for i = 1, 20000 do list[i] = { id = i, name = "n" .. i } end
    local text = json.encode(list)
    local back = json.decode(text)
    assert.equal(20000, #back)
    assert.same({ id = 20000, name = "n20000" }, back[20000])
    assert.same({ 1 }, json.decode "[1]")
  end)
end)

describe("json.encode", function()
  local texts = {
    { nil, "null" },
    { json.null, "null" },
    { true, "true" },
    { 42, "42" },
    { math.mininteger, "-9223372036854775808" },
    { 3.0, "3.0" },
    { -0.0, "-0.0" },
    { 0.1, "0.1" },
    { 1 / 3, "0.3333333333333333" },
    { 1e300, "1e+300" },
    { 5e-324, "5e-324" },
    { "", '""' },
    { 'a"\\/\b\f\n\r\t\1\127é😀', '"a\\"\\\\/\\b\\f\\n\\r\\t\\u0001\127é😀"' },
    { {}, "{}" },
    { json.array(), "[]" },
    { { 1, { 2, {} }, "x" }, '[1,[2,{}],"x"]' },
    { { a = { b = json.array {} } }, '{"a":{"b":[]}}' },
    { json.array { 1, 2 }, "[1,2]" },
    { { json.null, false }, "[null,false]" },
  }
  for i = 1, #texts do
    local case = texts[i]
    it("writes " .. case[2], function() assert.equal(case[2], json.encode(case[1])) end)
  end

  it("writes what reads back as the same number", function()
    local floats = { 0.1 + 0.2, 1e15, 1e16, 1e22, 123456.789e-10, 2 ^ 53, 1.7976931348623157e308, math.pi }
    for _, v in ipairs(floats) do
      local back = json.decode(json.encode(v))
      assert.equal(v, back)
      assert.equal("float", math.type(back))
    end
  end)

  it("writes an array that was filled from its end", function()
    local t = {}
    for i = 20, 1, -1 do t[i] = i end
    assert.equal("[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]", json.encode(t))
  end)

  it("sorts keys and indents when asked", function()
    local v = { b = { 1, 2 }, a = { y = 1, x = {} }, ab = json.array() }
    assert.equal('{"a":{"x":{},"y":1},"ab":[],"b":[1,2]}', json.encode(v, { sort_keys = true }))
    assert.equal([[
{
  "a": {
    "x": {},
    "y": 1
  },
  "ab": [],
  "b": [
    1,
    2
  ]
}]], json.encode(v, { sort_keys = true, pretty = true }))
  end)

  local cycle = { name = "a" }
  cycle.list = { { cycle } }
  local mixed = { "a" }
  mixed.key = "b"
  local refused = {
    { "NaN", { a = { { b = 0 / 0 } } }, "value.a[1].b: NaN has no JSON form" },
    { "infinity", { -1 / 0 }, "value[1]: infinity has no JSON form" },
    { "a function", { f = print }, "value.f: a function has no JSON form" },
    { "a thread", coroutine.create(print), "value: a thread has no JSON form" },
    { "another userdata", { io.stdout }, "value[1]: a userdata has no JSON form" },
    { "numbers and names mixed", { x = mixed }, 'value.x: both numbers and strings ("key") as keys' },
    { "holes", { 1, nil, 3, nil, 5 }, "value: an array with holes (3 of 5 elements)" },
    { "a key from 0", { [0] = 1 }, "value: a key that is neither a string nor an index" },
    { "a boolean as key", { [true] = 1 }, "value: a key that is a boolean among names" },
    { "names in a marked array", json.array { a = 1 }, 'value: both numbers and strings ("a") as keys' },
    { "a cycle", cycle, "value: a table that contains itself" },
    { "what is no UTF-8", { "ab\xff" }, "value[1]: invalid UTF-8 at byte 3" },
    { "a surrogate as UTF-8", "\xed\xa0\x80", "value: invalid UTF-8 at byte 1" },
  }
  for _, case in ipairs(refused) do
    it("refuses " .. case[1], function()
      local text, err = json.encode(case[2])
      assert.is_nil(text)
      assert.equal("EINVAL: JSON: " .. case[3], tostring(err))
      text, err = json.encode(case[2], { sort_keys = true, pretty = true })
      assert.is_nil(text)
      assert.equal("EINVAL", err.code)
    end)
  end

  it("bounds depth and size", function()
    local deep = {}
    for _ = 1, 128 do deep = { deep } end
    local _, err = json.encode(deep)
    assert.equal("ELIMIT", err.code)
    assert.is_string(json.encode(deep, { max_depth = 129 }))
    _, err = json.encode({ ("x"):rep(100) }, { max_size = 50 })
    assert.equal("ELIMIT", err.code)
    _, err = json.encode({ 1, 2, 3, 4, 5 }, { max_size = 5 })
    assert.equal("ELIMIT", err.code)
  end)

  it("lets a value say what stands for it", function()
    local money = setmetatable({ cents = 1250 }, {
      __tojson = function(self) return { amount = json.encode(self.cents / 100), currency = "EUR" } end,
    })
    local text = json.encode({ { price = money } }, { sort_keys = true })
    assert.equal('[{"price":{"amount":"12.5","currency":"EUR"}}]', text)
  end)

  it("goes on after a value that raised", function()
    local bad = setmetatable({}, { __tojson = function() error("no form", 0) end })
    assert.has_error(function() json.encode { 1, bad } end, "no form")
    assert.equal("[1]", json.encode { 1 })
    local endless = setmetatable({}, {})
    getmetatable(endless).__tojson = function(self) return self end
    local _, err = json.encode(endless)
    assert.equal("ELIMIT", err.code)
  end)

  it("decodes from a finalizer while it decodes", function()
    local seen
    for _ = 1, 200 do
      setmetatable({}, { __gc = function() seen = json.decode '{"inner":[1,2,3]}' end })
      local list = json.decode(json.encode { { a = { 1, 2 }, b = "x" }, { a = { 3 }, b = "y" } })
      assert.same({ { a = { 1, 2 }, b = "x" }, { a = { 3 }, b = "y" } }, list)
    end
    collectgarbage()
    assert.same({ inner = { 1, 2, 3 } }, seen)
  end)

  it("marks arrays", function()
    local t = {}
    assert.equal(t, json.array(t))
    assert.is_true(json.is_array(t))
    assert.is_true(json.is_array { 1 })
    assert.is_false(json.is_array {})
    assert.is_false(json.is_array "x")
    assert.has_error(function() json.array(setmetatable({}, {})) end)
  end)
end)
