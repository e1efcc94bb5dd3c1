local task = require "neap.task"
local udp = require "neap.udp"

local function code(...)
  local _, err = ...
  assert.is_nil((...))
  return err.code
end

describe("udp", function()
  it("carries datagrams and says who sent them", function()
    local a <close> = assert(udp.open())
    local b <close> = assert(udp.open { host = "127.0.0.1", port = 0 })
    assert.is_true(a:send("ping", "127.0.0.1", b.port))
    local data, host, port = b:recv { timeout = 5 }
    assert.same({ "ping", "127.0.0.1", a.port }, { data, host, port })
    assert.is_true(b:send("", host, port))
    assert.equal("", (a:recv()))
    assert.equal("127.0.0.1:" .. a.port, a.address)
    assert.equal("neap.udp: " .. a.address, tostring(a))
  end)

  it("speaks IPv6", function()
    local a, err = udp.open { host = "::1" }
    if not a then
      assert.equal("EADDRNOTAVAIL", err.code)
      return
    end
    a:send("self", "::1", a.port)
    assert.same({ "self", "::1", a.port }, { a:recv { timeout = 5 } })
    a:close()
  end)

  it("waits for a datagram, but no longer than told", function()
    local a <close> = assert(udp.open())
    assert.equal("ETIMEDOUT", code(a:recv { timeout = 0.001 }))
    local first = task.spawn(function() return (a:recv()) end)
    local second = task.spawn(function() return (a:recv()) end)
    task.yield()
    a:send("1", "localhost", a.port)
    a:send("2", "localhost", a.port)
    assert.equal("1", first:await())
    assert.equal("2", second:await())
  end)

  it("drops what its queue has no room for and counts it", function()
    local a <close> = assert(udp.open { max_queue = 3000 })
    local b <close> = assert(udp.open())
    local block = ("x"):rep(1000)
    for _ = 1, 10 do b:send(block, "127.0.0.1", a.port) end
    while a.dropped < 8 do task.sleep(0.001) end
    local got = 0
    while a:recv { timeout = 0.01 } do got = got + 1 end
    assert.equal(2, got)
    assert.equal(8, a.dropped)
  end)

  it("may be fixed to a peer, and hears when nobody is there", function()
    local a <close> = assert(udp.open())
    local b = assert(udp.open())
    assert.equal("ENOTCONN", code(a:send "to nobody"))
    assert.is_true(a:connect("127.0.0.1", b.port))
    a:send "hello"
    assert.equal("hello", (b:recv()))
    b:close()
    task.yield()
    a:send "anybody?"
    assert.equal("ECONNREFUSED", code(a:recv { timeout = 5 }))
  end)

  it("joins and leaves groups", function()
    local a <close> = assert(udp.open { host = "0.0.0.0", reuse_port = true })
    assert.is_true(a:join("239.1.2.3", "127.0.0.1"))
    assert.is_true(a:leave("239.1.2.3", "127.0.0.1"))
    assert.is_string(code(a:leave("239.1.2.3", "127.0.0.1")))
    assert.is_string(code(a:join "127.0.0.1"))
  end)

  it("says in words what is wrong", function()
    local a <close> = assert(udp.open())
    local _, err = udp.open { port = a.port }
    assert.equal("EADDRINUSE", err.code)
    assert.matches(tostring(a.port), err.message, 1, true)
    assert.equal("EINVAL", code(a:send("x", "a.name", 80)))
    assert.equal("EMSGSIZE", code(a:send(("x"):rep(70000), "127.0.0.1", 80)))
  end)

  it("wakes who waits when it is closed, and is useless then", function()
    local a = assert(udp.open())
    local waiting = task.spawn(function() return a:recv() end)
    task.yield()
    a:close()
    a:close()
    local data, err = waiting:await()
    assert.is_nil(data)
    assert.equal("ECLOSED", err.code)
    assert.is_true(a.closed)
    assert.equal("neap.udp: closed", tostring(a))
    assert.is_nil(a.port)
    assert.has_error(function() a:recv() end)
    assert.has_error(function() a:send("x", "127.0.0.1", 1) end)
  end)

  it("raises for what is misuse", function()
    local a <close> = assert(udp.open())
    for _, fn in ipairs {
      function() udp.open { prt = 1 } end,
      function() a:send() end,
      function() a:send("x", "127.0.0.1") end,
      function() a:send("x", "127.0.0.1", 0) end,
      function() a:recv { timeout = -1 } end,
      function() a:join() end,
    } do
      assert.has_error(fn)
    end
  end)
end)
