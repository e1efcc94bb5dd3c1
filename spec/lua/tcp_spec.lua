local stream = require "neap.stream"
local task = require "neap.task"
local tcp = require "neap.tcp"

local open = {} -- closed after each test

local function keep(object, err)
  assert(object, tostring(err))
  open[#open + 1] = object
  return object
end

local function code(...)
  local _, err = ...
  assert.is_nil((...))
  return err.code
end

--- A connected pair of streams.
local function pair()
  local listener <close> = assert(tcp.listen {})
  local accepted = task.spawn(function() return listener:accept() end)
  local client = keep(tcp.connect("127.0.0.1", listener.port))
  return client, keep(accepted:await())
end

local makers = {
  tcp = pair,
  pipe = function()
    local a, b = stream.pipe()
    return keep(a), keep(b)
  end,
}

after_each(function()
  for i = #open, 1, -1 do
    open[i]:close { linger = 0 }
    open[i] = nil
  end
end)

for kind, make in pairs(makers) do
  describe("a stream over " .. kind, function()
    it("reads what the other side writes", function()
      local a, b = make()
      assert.is_true(a:write "hello")
      assert.equal("hello", b:read_exactly(5))
      assert.is_true(b:write { "well", " ", "met" })
      assert.equal("well met", a:read_exactly(8))
      assert.equal("", a:read_exactly(0))
    end)

    it("reads at most what is asked for and keeps the rest", function()
      local a, b = make()
      a:write "abcdef"
      assert.equal("abc", b:read(3))
      assert.equal("def", b:read())
    end)

    it("reads lines and up to separators", function()
      local a, b = make()
      a:write "first\r\nsecond\n\nkey: value--boundary--rest"
      assert.equal("first", b:read_line())
      assert.equal("second", b:read_line())
      assert.equal("", b:read_line())
      assert.equal("key: value", b:read_until "--boundary--")
      assert.equal("rest", b:read())
    end)

    it("finds a separator that comes in pieces", function()
      local a, b = make()
      local line = task.spawn(function() return b:read_until "\r\n\r\n" end)
      for piece in ("GET / HTTP/1.1\r\n\r\n"):gmatch "." do
        a:write(piece)
        task.yield()
      end
      assert.equal("GET / HTTP/1.1", line:await())
    end)

    it("refuses a line that is too long and keeps it", function()
      local a, b = make()
      a:write(("x"):rep(100) .. "\n")
      assert.equal("ELIMIT", code(b:read_line { max = 99 }))
      assert.equal(("x"):rep(100), b:read_line { max = 100 })
      a:write(("x"):rep(100))
      assert.equal("ELIMIT", code(b:read_until("\n", { max = 99 })))
    end)

    it("says when the peer has ended", function()
      local a, b = make()
      a:write "last"
      assert.is_true(a:shutdown())
      assert.equal("ECLOSED", code(a:write "more"))
      assert.equal("EOF", code(b:read_exactly(5)))
      assert.equal("last", b:read())
      assert.equal("EOF", code(b:read()))
      assert.equal("EOF", code(b:read_line()))
      assert.is_true(b:write "still heard")
      assert.equal("still heard", a:read())
    end)

    it("gives its bytes chunk by chunk", function()
      local a, b = make()
      local sent = ("0123456789"):rep(50000)
      task.spawn(function()
        assert(a:write(sent))
        a:close()
      end)
      local parts = {}
      for chunk in b:chunks() do parts[#parts + 1] = chunk end
      assert.is_true(table.concat(parts) == sent)
    end)

    it("holds a writer back until the reader reads", function()
      local a, b = make()
      local sent, wrote = 0, false
      local writer = task.spawn(function()
        local block = ("x"):rep(65536)
        for _ = 1, 400 do
          assert(a:write(block))
          sent = sent + #block
        end
        wrote = true
        a:shutdown()
      end)
      local before
      repeat -- until nothing moves any more
        before = sent
        for _ = 1, 200 do task.yield() end
      until sent == before
      assert.is_false(wrote)
      assert.equal("ETIMEDOUT", code(a:write("y", { timeout = 0.001 })))
      local got = 0
      for chunk in b:chunks() do got = got + #chunk end
      writer:await()
      assert.equal(400 * 65536 + 1, got)
    end)

    it("waits no longer than it is told to", function()
      local a, b = make()
      assert.equal("ETIMEDOUT", code(b:read { timeout = 0.001 }))
      b:set_timeouts { read = 0.001 }
      assert.equal("ETIMEDOUT", code(b:read()))
      a:write "par"
      assert.equal("ETIMEDOUT", code(b:read_exactly(6)))
      a:write "tial"
      assert.equal("partial", b:read_exactly(7)) -- nothing was lost
      b:set_timeouts { read = false, idle = 0.001 }
      assert.equal("ETIMEDOUT", code(b:read()))
      assert.equal("ETIMEDOUT", code(b:write "x"))
    end)

    it("lets one task read at a time", function()
      local a, b = make()
      local first = task.spawn(function() return b:read() end)
      task.yield()
      local ok, err = pcall(b.read, b)
      assert.is_false(ok)
      assert.equal("EBUSY", err.code)
      a:write "for the first"
      assert.equal("for the first", first:await())
      a:write "again"
      assert.equal("again", b:read())
    end)

    it("wakes who waits when it is closed", function()
      local a, b = make()
      local reader = task.spawn(function() return b:read() end)
      task.yield()
      b:close()
      local data, err = reader:await()
      assert.is_nil(data)
      assert.equal("ECLOSED", err.code)
      assert.equal("EOF", code(a:read()))
    end)

    it("may be closed twice, and is useless then", function()
      local a = make()
      assert.is_false(a:is_closed())
      a:close()
      a:close()
      assert.is_true(a:is_closed())
      assert.equal("neap.stream: closed", tostring(a))
      for _, name in ipairs { "read", "read_line", "shutdown", "peer", "chunks", "detach" } do
        assert.has_error(function() a[name](a) end)
      end
      assert.has_error(function() a:write "x" end)
    end)

    it("delivers what was written before it was closed", function()
      local a, b = make()
      local sent = ("z"):rep(300000)
      task.spawn(function()
        a:write(sent)
      end)
      task.yield()
      a:close()
      local got = 0
      for chunk in b:chunks() do got = got + #chunk end
      assert.equal(#sent, got)
    end)

    it("is closed at the end of a block", function()
      local a, b = make()
      do
        local inner <close> = a
        inner:write "bye"
      end
      assert.equal("bye", b:read())
      assert.equal("EOF", code(b:read()))
    end)

    it("raises for what is misuse", function()
      local a = make()
      for _, fn in ipairs {
        function() a:read(0) end,
        function() a:read(-1) end,
        function() a:read_exactly() end,
        function() a:read_exactly(-1) end,
        function() a:read_until "" end,
        function() a:read_until(7) end,
        function() a:read { timeut = 1 } end,
        function() a:write() end,
        function() a:write { 1 } end,
        function() a:write { "a", {} } end,
        function() a:set_timeouts() end,
        function() a:set_timeouts { read = -1 } end,
        function() a.read({}) end,
      } do
        assert.has_error(fn)
      end
    end)

    it("lets a cancelled reader go", function()
      local a, b = make()
      local reader = task.spawn(function() b:read() end)
      task.yield()
      reader:cancel()
      reader:await()
      a:write "next"
      assert.equal("next", b:read())
    end)
  end)
end

describe("tcp", function()
  it("names both ends", function()
    local a, b = pair()
    assert.equal(a:peer(), b:local_address())
    assert.equal(b:peer(), a:local_address())
    assert.matches("^127%.0%.0%.1:%d+$", a:peer())
    assert.equal("neap.stream: tcp to " .. a:peer(), tostring(a))
  end)

  it("runs a handler for each connection and closes the stream after it", function()
    local server = keep(tcp.listen({}, function(s)
      for line in function() return s:read_line() end do
        s:write("echo " .. line .. "\n")
      end
    end))
    local clients = {}
    for i = 1, 5 do
      clients[i] = keep(tcp.connect("localhost", server.port))
      clients[i]:write(("client %d\n"):format(i))
    end
    for i = 1, 5 do
      assert.equal(("echo client %d"):format(i), clients[i]:read_line())
    end
    assert.equal(5, server.connections)
    for i = 1, 5 do
      clients[i]:shutdown()
      assert.equal("EOF", code(clients[i]:read()))
    end
  end)

  it("leaves a detached stream to whoever keeps it", function()
    local kept = task.future()
    local server = keep(tcp.listen({}, function(s) kept:resolve(s:detach()) end))
    local client = keep(tcp.connect("127.0.0.1", server.port))
    local s = keep(kept:await())
    s:write "still here"
    assert.equal("still here", client:read())
  end)

  it("survives a handler that raises", function()
    local server = keep(tcp.listen({}, function(s)
      if s:read_line() == "raise" then error "on purpose" end
      s:write "fine"
    end))
    local bad = keep(tcp.connect("127.0.0.1", server.port))
    bad:write "raise\n"
    assert.equal("EOF", code(bad:read()))
    local good = keep(tcp.connect("127.0.0.1", server.port))
    good:write "go on\n"
    assert.equal("fine", good:read())
  end)

  it("runs no more handlers at once than it is told to", function()
    local running, most = 0, 0
    local server = keep(tcp.listen({ max_connections = 2 }, function(s)
      running = running + 1
      most = math.max(most, running)
      s:read()
      running = running - 1
    end))
    local clients = {}
    for i = 1, 6 do clients[i] = keep(tcp.connect("127.0.0.1", server.port)) end
    for i = 1, 6 do
      clients[i]:write "x"
      assert.equal("EOF", code(clients[i]:read()))
    end
    assert.equal(2, most)
  end)

  it("accepts within a time, and not on a closed listener", function()
    local l = keep(tcp.listen {})
    assert.equal("ETIMEDOUT", code(l:accept { timeout = 0.001 }))
    local waiting = task.spawn(function() return l:accept() end)
    task.yield()
    l:close()
    l:close()
    local s, err = waiting:await()
    assert.is_nil(s)
    assert.equal("ECLOSED", err.code)
    assert.is_true(l.closed)
    assert.equal("neap.listener: closed", tostring(l))
    assert.has_error(function() l:accept() end)
  end)

  it("says in words why it cannot listen or connect", function()
    local l = keep(tcp.listen {})
    local _, err = tcp.listen { port = l.port }
    assert.equal("EADDRINUSE", err.code)
    assert.matches(tostring(l.port), err.message, 1, true)
    assert.equal("EINVAL", code(tcp.listen { host = "no.such.host" }))
    local port = l.port
    l:close()
    local _, refused = tcp.connect("127.0.0.1", port)
    assert.equal("ECONNREFUSED", refused.code)
    assert.matches("127.0.0.1:" .. port, refused.message, 1, true)
  end)

  it("raises for what is misuse", function()
    for _, fn in ipairs {
      function() tcp.connect() end,
      function() tcp.connect("localhost") end,
      function() tcp.connect("localhost", 0) end,
      function() tcp.connect("", 80) end,
      function() tcp.connect("a\0b", 80) end,
      function() tcp.connect("localhost", 80, { timeoot = 1 }) end,
      function() tcp.listen() end,
      function() tcp.listen { port = 70000 } end,
      function() tcp.listen({}, "handler") end,
    } do
      assert.has_error(fn)
    end
  end)

  it("carries ten megabytes both ways", function()
    local a, b = pair()
    local block = {}
    for i = 1, 1000 do block[i] = ("%08d"):format(i) end
    local function send(s)
      for _ = 1, 1250 do assert(s:write(block)) end
      s:shutdown()
    end
    local function receive(s)
      local n = 0
      for chunk in s:chunks() do n = n + #chunk end
      return n
    end
    local x, y = task.all(
      function() return receive(a) end,
      function() return receive(b) end,
      function() send(a) end,
      function() send(b) end
    )
    assert.equal(1250 * 8000, x)
    assert.equal(1250 * 8000, y)
  end)
end)
