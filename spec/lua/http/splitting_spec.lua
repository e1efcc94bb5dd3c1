-- Whatever a script gives, an answer stays one answer: nothing of it ends a line or a head early.
local neap = require "neap"
local http, tcp = neap.http, neap.tcp

local SPLIT = {
  "a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\r\n\r\nHTTP/1.1 200 OK", "a\0b", "a\1b",
  "a\127b", "\r\n", "\n", "\r", "a\r\n", "\r\na",
}
local NAMES = {
  "x\r\nx-evil", "x\nx-evil", "x: y\r\nx-evil", "x y", "x:", "", " x", "x ", "x\0", "x\t", "x\127",
  "x\195\169", "x(", 'x"',
}
-- Names that say how the message is framed.
local FRAMING = { "content-length", "Content-Length", "transfer-encoding", "Transfer-Encoding" }

local function rest_of(c)
  local pieces = {}
  for piece in function() return (c:read { timeout = 20 }) end do pieces[#pieces + 1] = piece end
  return table.concat(pieces)
end

-- What the client sees when the handler does `try` and then, as it must have failed, says what failed.
local function attempt(try, request)
  local outcome, text
  local server = assert(http.serve {
    handler = function(req)
      local ok, a, b = pcall(try, req)
      outcome = { ok = ok, result = a, err = ok and b or a }
      if req.refuse ~= false then return 599, "still here" end
    end,
  })
  local c <close> = assert(tcp.connect("127.0.0.1", server.port))
  assert(c:write(request or "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
  text = rest_of(c)
  server:close { grace = 0 }
  return outcome, text
end

local function check_refused(what, try, request)
  local outcome, text = attempt(try, request)
  assert(not outcome.ok or outcome.result == nil, what .. " was taken")
  assert(not text:find("[Ee]vil"), what .. " reached the wire: " .. text)
  assert.equal(1, select(2, text:gsub("HTTP/1.1", "")), what)
  assert.matches("^HTTP/1.1 599 .*still here$", text, nil, nil, what)
end

describe("response splitting", function()
  it("is impossible by header values", function()
    for _, value in ipairs(SPLIT) do
      local what = ("the value %q"):format(value)
      check_refused(what, function(req) return req:respond(200, "x", { ["x-a"] = value }) end)
      check_refused(what .. " in a list", function(req)
        return req:respond(200, "x", { ["set-cookie"] = { "a=b", value } })
      end)
      check_refused(what .. " streamed", function(req) return req:start(200, { ["x-a"] = value }) end)
      for _, name in ipairs { "location", "date", "server", "connection", "content-type" } do
        check_refused(what .. " of " .. name, function(req)
          return req:respond(200, "x", { [name] = value })
        end)
      end
    end
  end)

  it("is impossible by header names", function()
    for _, name in ipairs(NAMES) do
      local what = ("the name %q"):format(name)
      check_refused(what, function(req) return req:respond(200, "x", { [name] = "y" }) end)
      check_refused(what .. " with a list", function(req)
        return req:respond(200, "x", { [name] = { "y", "z" } })
      end)
      check_refused(what .. " streamed", function(req) return req:start(200, { [name] = "y" }) end)
      check_refused(what .. " of 103", function(req) return req:inform(103, { [name] = "y" }) end)
    end
    for _, name in ipairs(FRAMING) do
      check_refused(name, function(req) return req:respond(200, "x", { [name] = "1" }) end)
      check_refused(name .. " streamed", function(req) return req:start(200, { [name] = "1" }) end)
      check_refused(name .. " of 103", function(req) return req:inform(103, { [name] = "1" }) end)
    end
  end)

  it("is impossible by what a handler returns", function()
    for _, returned in ipairs {
      { 200, "x", { ["x-a"] = "b\r\nX-Evil: 1" } }, { 200, "x", { ["x\r\nX-Evil"] = "b" } },
      { 200, { a = 1 }, { ["x-a"] = "b\nX-Evil: 1" } }, { "x", { ["x-a"] = "b\r\nX-Evil: 1" } },
      { 200, function() end, { ["x-a"] = "b\r\nX-Evil: 1" } }, { 302, nil, { location = "/\r\n\r\nX-Evil" } },
      { 200, "x", { ["content-length"] = "0" } }, { 200, "x", { ["transfer-encoding"] = "chunked" } },
    } do
      local server = assert(http.serve { handler = function() return table.unpack(returned, 1, 3) end })
      local c <close> = assert(tcp.connect("127.0.0.1", server.port))
      c:write "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
      local text = rest_of(c)
      server:close { grace = 0 }
      assert.matches("^HTTP/1.1 500 ", text)
      assert.is_nil(text:find "Evil")
      assert.equal(1, select(2, text:gsub("HTTP/1.1", "")))
    end
  end)

  it("is impossible by 1xx heads, trailers and upgrades", function()
    local upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: x\r\n\r\n"
    local tunnel = "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"
    for _, value in ipairs(SPLIT) do
      local what = ("the value %q"):format(value)
      check_refused(what .. " of 103", function(req) return req:inform(103, { link = value }) end)
      check_refused(what .. " of 101", function(req)
        return req:upgrade("x", { ["x-a"] = value })
      end, upgrade)
      check_refused(what .. " as protocol", function(req) return req:upgrade(value) end, upgrade)
      check_refused(what .. " of 200", function(req) return req:tunnel { ["x-a"] = value } end, tunnel)
    end
    for _, name in ipairs(FRAMING) do
      check_refused(name .. " of 101", function(req)
        return req:upgrade("x", { [name] = "1" })
      end, upgrade)
      check_refused(name .. " of a tunnel", function(req) return req:tunnel { [name] = "1" } end, tunnel)
    end
  end)

  it("is impossible by trailers", function()
    local bad = {}
    for _, value in ipairs(SPLIT) do bad[#bad + 1] = { "x-a", value } end
    for _, name in ipairs(NAMES) do bad[#bad + 1] = { name, "y" } end
    for _, name in ipairs(FRAMING) do bad[#bad + 1] = { name, "1" } end
    for _, name in ipairs { "host", "authorization", "set-cookie", "connection", "trailer" } do
      bad[#bad + 1] = { name, "y" }
    end
    for _, pair in ipairs(bad) do
      local outcome, text = attempt(function(req)
        req.refuse = false
        req:start(200)
        local ok, err = pcall(req.finish, req, { [pair[1]] = pair[2] })
        assert(not ok, "taken")
        req:write "still open"
        req:finish { ["x-good"] = "1" }
        return nil, err
      end)
      assert(outcome.ok, outcome.err)
      assert.matches("may not stand there", outcome.err, nil, nil, ("%q: %q"):format(pair[1], pair[2]))
      assert.matches("a\r\nstill open\r\n0\r\nx%-good: 1\r\n\r\n$", text)
      assert.is_nil(text:find "[Ee]vil")
    end
  end)

  it("is impossible by status", function()
    for _, status in ipairs { 0, 99, 100, 101, 199, 600, 1000, -200, math.mininteger, math.maxinteger } do
      check_refused("status " .. status, function(req) return req:respond(status, "x") end)
      check_refused("status " .. status .. " streamed", function(req) return req:start(status) end)
    end
    check_refused("a status that is text", function(req) return req:respond("200 OK\r\nX-Evil: 1", "x") end)
    check_refused("a broken status", function(req) return req:respond(200.5, "x") end)
  end)

  it("is impossible by a body that is longer than its length", function()
    local outcome, text = attempt(function(req)
      req.refuse = false
      req:start(200, nil, 3)
      local ok, err = req:write "abcHTTP/1.1 200 OK\r\nX-Evil: 1\r\n\r\n"
      req:write "abc"
      req:finish()
      return ok, err
    end)
    assert.is_nil(outcome.result)
    assert.matches("\r\n\r\nabc$", text)
  end)
end)
