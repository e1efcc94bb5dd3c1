local replay = require "neap.http.replay"
local retry_after = require "neap.http.retry_after"

describe("Retry-After", function()
  it("is a number of seconds, or a date in one of three forms", function()
    local now = 784111777 -- Sun, 06 Nov 1994 08:49:37 GMT
    for value, seconds in pairs {
      ["0"] = 0, ["120"] = 120,
      ["Sun, 06 Nov 1994 08:50:37 GMT"] = 60,
      ["Sunday, 06-Nov-94 08:49:47 GMT"] = 10,
      ["Sun Nov  6 08:49:38 1994"] = 1,
      ["Sun, 06 Nov 1994 08:49:00 GMT"] = 0, -- it has passed
      ["999999999999999999999999"] = 86400,
      ["Fri, 31 Dec 9999 23:59:59 GMT"] = 86400,
    } do
      assert.equal(seconds, retry_after.parse(value, now), value)
    end
  end)

  it("is nothing where it makes no sense", function()
    for _, value in ipairs { "", "soon", "-1", "1.5", "0x10", "5 6", "Sun, 32 Nov 1994 08:49:37 GMT" } do
      assert.is_nil(retry_after.parse(value, 0), value)
    end
    assert.is_nil(retry_after.parse(nil))
    assert.is_nil(retry_after.parse { "1", "2" })
  end)

  it("is read of answers that may be tried again later", function()
    local function of(status)
      return retry_after.of { status = status, headers = { ["retry-after"] = "7" } }
    end
    assert.same({ 7, 7, 7 }, { of(429), of(503), of(500) })
    assert.is_nil(of(200))
    assert.is_nil(of(404))
    assert.is_nil(retry_after.of { status = 503, headers = {} })
  end)
end)

describe("a body that is kept", function()
  local function source(...)
    local pieces, i = { ... }, 0
    return function()
      i = i + 1
      return pieces[i]
    end
  end

  local function all(reader)
    local out = {}
    for piece in reader do out[#out + 1] = piece end
    return table.concat(out, "|")
  end

  it("is read again from its beginning, as far as it was kept, and on from there", function()
    local body = replay.new(source("a", "b", "c"), 100)
    assert.is_true(body:again())
    local first = body:reader()
    assert.same({ "a", "b" }, { first(), first() })
    assert.equal("a|b|c", all(body:reader()))
    assert.is_true(body.complete)
    assert.equal("a|b|c", all(body:reader()))
    assert.is_true(body:again())
  end)

  it("is let go when it is larger than the bound, and still whole for its reader", function()
    local body = replay.new(source("aa", "bb", "cc"), 4)
    assert.equal("aa|bb|cc", all(body:reader()))
    assert.is_false(body:again())
    assert.same({ true, nil }, { body.over, body.pieces })
    assert.is_true(replay.new(source "a", 0):again())
  end)

  it("tells when its source failed", function()
    local body = replay.new(function() return nil, "broken" end, 100)
    assert.same({ nil, "broken" }, { body:reader()() })
    assert.same({ true, false }, { body.failed, body:again() })
  end)
end)
