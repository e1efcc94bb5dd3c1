local frame = require "neap.frame"
local stream = require "neap.stream"
local task = require "neap.task"

local function code(...)
  local _, err = ...
  assert.is_nil((...))
  return err.code
end

local a, b -- ends of one pipe

local function wrap(opts) return frame.wrap(a, opts), frame.wrap(b, opts) end

describe("frames", function()
  before_each(function()
    a, b = stream.pipe()
  end)
  after_each(function()
    a:close { linger = 0 }
    b:close { linger = 0 }
  end)

  it("carry messages over a stream", function()
    local x, y = wrap()
    assert.is_true(x:write "hello")
    assert.is_true(x:write "")
    task.spawn(function() x:write(("z"):rep(300000)) end)
    assert.equal("hello", (y:read()))
    assert.equal("", (y:read()))
    assert.equal(300000, #y:read())
    assert.equal(b, y:stream())
  end)

  it("have a header where the format says so", function()
    local x, y = wrap { header_length = 2, body_length = 8, endian = "little" }
    x:write("body", "header")
    x:write "alone"
    assert.same({ "body", "header" }, { y:read() })
    assert.same({ "alone", "" }, { y:read() })
    assert.has_error(function() frame.wrap(a):write("body", "header") end)
  end)

  it("have the bytes that the format says", function()
    for _, case in ipairs {
      { {}, "hi", nil, "\0\0\0\2hi" },
      { { body_length = 1 }, "hi", nil, "\2hi" },
      { { body_length = 2, endian = "little" }, "hi", nil, "\2\0hi" },
      { { header_length = 1, body_length = 2 }, "hi", "abc", "\3\0\2abchi" },
    } do
      frame.wrap(a, case[1]):write(case[2], case[3])
      assert.equal(case[4], b:read())
      assert.equal(case[4], frame.codec(case[1]):encode(case[2], case[3]))
    end
  end)

  it("may come in pieces", function()
    local y = frame.wrap(b, { header_length = 1, body_length = 2 })
    local got = task.spawn(function() return y:read() end)
    for piece in ("\3\0\5abchello"):gmatch "." do
      a:write(piece)
      task.yield()
    end
    assert.same({ "hello", "abc" }, { got:await() })
  end)

  it("are bounded in both directions", function()
    local x = frame.wrap(a, { max_body = 10 })
    assert.equal("ELIMIT", code(x:write(("x"):rep(11))))
    assert.is_true(x:write(("x"):rep(10)))
    local y = frame.wrap(b, { max_body = 9 })
    assert.equal("ELIMIT", code(y:read()))
    assert.equal("ELIMIT", code(y:read())) -- what follows cannot be told from the body
    assert.equal("ELIMIT", code(frame.wrap(a):write(("x"):rep(2 ^ 20 + 1))))
    assert.equal("ELIMIT", code(frame.wrap(a, { body_length = 1 }):write(("x"):rep(256))))
  end)

  it("end between frames, and break inside one", function()
    local x, y = wrap()
    x:write "whole"
    a:write "\0\0\0\9part"
    a:shutdown()
    assert.equal("whole", (y:read()))
    assert.equal("EPROTO", code(y:read()))
    frame.wrap(b):write "back"
    b:shutdown()
    assert.equal("back", (x:read()))
    assert.equal("EOF", code(x:read()))
  end)

  it("are waited for no longer than told, and nothing is lost", function()
    local y = frame.wrap(b)
    a:write "\0\0\0"
    assert.equal("ETIMEDOUT", code(y:read { timeout = 0.001 }))
    a:write "\2hi"
    assert.equal("hi", (y:read { timeout = 5 }))
  end)

  it("close with their stream", function()
    local x, y = wrap()
    x:close { linger = 0 }
    assert.is_true(a:is_closed())
    assert.has_error(function() x:write "x" end)
    assert.has_error(function() x:read() end)
    assert.equal("EOF", code(y:read()))
  end)

  it("are decoded from strings too", function()
    local c = frame.codec { header_length = 1, body_length = 1 }
    local bytes = c:encode("one", "h") .. c:encode "two"
    local body, header, at = c:decode(bytes)
    assert.same({ "one", "h" }, { body, header })
    body, header, at = c:decode(bytes, at)
    assert.same({ "two", "", #bytes + 1 }, { body, header, at })
    assert.equal("EAGAIN", code(c:decode(bytes, at)))
    local _, err = c:decode "\2\3abc"
    assert.equal("EAGAIN: 2 bytes more are needed", tostring(err))
    assert.equal("ELIMIT", code(frame.codec({ max_body = 1 }):decode "\0\0\0\2ab"))
    assert.has_error(function() c:decode("abc", 5) end)
  end)

  it("have formats that make sense", function()
    for _, opts in ipairs {
      { body_length = 3 },
      { body_length = 0 },
      { header_length = 5 },
      { endian = "middle" },
      { max_body = -1 },
      { max_boddy = 1 },
    } do
      assert.has_error(function() frame.wrap(a, opts) end)
    end
    assert.has_error(function() frame.wrap {} end)
    assert.has_error(function() frame.wrap(io.stdout) end)
  end)
end)
