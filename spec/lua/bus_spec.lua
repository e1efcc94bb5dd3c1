local bus = require "neap.bus"
local task = require "neap.task"

-- Runs the loop until the condition holds; a test that waits in vain is ended by its own limit.
local function eventually(condition)
  while not condition() do task.sleep(0) end
end

local function subjects_of(list)
  local out = {}
  for i, msg in ipairs(list) do out[i] = msg.subject end
  return out
end

describe("neap.bus", function()
  local open = {}

  local function keep(x, err)
    assert(x, tostring(err))
    open[#open + 1] = x
    return x
  end

  after_each(function()
    for i = #open, 1, -1 do open[i]:close() end
    open = {}
  end)

  local function collect(pattern, opts)
    local got = {}
    local sub = keep(bus.subscribe(pattern, function(msg) got[#got + 1] = msg end, opts))
    return got, sub
  end

  describe("subscribe", function()
    it("gets what its pattern takes, in order", function()
      local star, rest = collect "orders.*.created", collect "orders.>"
      bus.publish("orders.eu.created", "1")
      bus.publish("orders.us.created", "2")
      bus.publish("orders.us", "3")
      bus.publish("others", "4")
      eventually(function() return #rest == 3 end)
      assert.same({ "orders.eu.created", "orders.us.created" }, subjects_of(star))
      assert.same({ "orders.eu.created", "orders.us.created", "orders.us" }, subjects_of(rest))
      assert.equal("2", star[2].data)
      assert.is_nil(star[2].reply)
      assert.same({}, star[2].headers)
    end)

    it("runs no handler inside publish", function()
      local got = collect "a"
      bus.publish("a", "x")
      assert.equal(0, #got)
      eventually(function() return #got == 1 end)
    end)

    it("gives each message to one member of a queue group", function()
      local a, b, plain = collect("jobs", { queue = "q" }), collect("jobs", { queue = "q" }), collect "jobs"
      for _ = 1, 50 do bus.publish "jobs" end
      eventually(function() return #plain == 50 and #a + #b == 50 end)
      assert.is_true(#a > 0 and #b > 0)
    end)

    it("runs handlers one after the other, or as many at a time as it is told", function()
      local running, most, done = 0, 0, 0
      local function handler()
        running = running + 1
        most = math.max(most, running)
        task.sleep(0)
        running = running - 1
        done = done + 1
      end
      local one = keep(bus.subscribe("a", handler))
      for _ = 1, 5 do bus.publish "a" end
      eventually(function() return done == 5 end)
      assert.equal(1, most)
      one:close()
      keep(bus.subscribe("a", handler, { concurrency = 3 }))
      for _ = 1, 9 do bus.publish "a" end
      eventually(function() return done == 14 end)
      assert.equal(3, most)
    end)

    it("goes on after a handler's error", function()
      local count = 0
      local sub = keep(bus.subscribe("a", function()
        count = count + 1
        if count == 1 then error "this error is meant to be logged" end
      end))
      bus.publish "a"
      bus.publish "a"
      eventually(function() return count == 2 end)
      assert.is_false(sub.closed)
    end)

    it("ends after max messages", function()
      local got, sub = collect("a", { max = 2 })
      for _ = 1, 5 do bus.publish "a" end
      eventually(function() return sub.closed end)
      assert.equal(2, #got)
      assert.equal(2, sub:stats().received)
    end)

    it("drops what finds no room, and counts it", function()
      local gate = task.future()
      local count = 0
      local sub = keep(bus.subscribe("a", function()
        count = count + 1
        gate:await()
      end, { pending_messages = 3 }))
      bus.publish "a"
      eventually(function() return count == 1 end)
      for _ = 1, 10 do bus.publish "a" end
      local stats = sub:stats()
      assert.equal(7, stats.dropped)
      assert.equal(3, stats.pending_messages)
      assert.equal(1, stats.running)
      assert.is_true(stats.slow)
      gate:resolve()
      eventually(function() return count == 4 end)
      assert.is_false(sub:stats().slow)
    end)

    it("may be closed by its own handler, and twice", function()
      local count = 0
      local sub
      sub = bus.subscribe("a", function()
        count = count + 1
        sub:unsubscribe()
        sub:close()
      end)
      bus.publish "a"
      bus.publish "a"
      eventually(function() return sub.closed end)
      bus.flush()
      assert.equal(1, count)
    end)

    it("drains", function()
      local got, sub = collect "a"
      bus.publish("a", "1")
      sub:drain()
      bus.publish("a", "2")
      eventually(function() return sub.closed end)
      assert.equal(1, #got)
    end)

    it("lives on when nobody holds it", function()
      local count = 0
      bus.subscribe("a", function() count = count + 1 end, { max = 1 })
      collectgarbage()
      collectgarbage()
      bus.publish "a"
      eventually(function() return count == 1 end)
    end)

    it("refuses what makes no sense", function()
      assert.error_matches(function() bus.subscribe("a..b", print) end, "bad pattern 'a%.%.b'")
      assert.error_matches(function() bus.subscribe("a", print, { queue = "a b" }) end, "queue")
      assert.error_matches(function() bus.subscribe("a", print, { kewe = "q" }) end, "opts%.kewe: unknown")
      assert.error_matches(function() bus.subscribe("a", print, { concurrency = 0 }) end, "opts%.concurrency")
      assert.error_matches(function() bus.subscribe(1, print) end, "string expected")
    end)
  end)

  describe("a subscription without a function", function()
    it("is asked for its messages", function()
      local sub = keep(bus.subscribe "a")
      bus.publish("a", "1")
      assert.equal("1", sub:next().data)
      local _, err = sub:next { timeout = 0 }
      assert.equal("ETIMEDOUT", err.code)
      _, err = sub:next(0.001)
      assert.equal("ETIMEDOUT", err.code)
      local waiting = task.spawn(function() return sub:next() end)
      task.sleep(0)
      bus.publish("a", "2")
      assert.equal("2", waiting:await().data)
    end)

    it("gives each message to one of those who wait, first come first served", function()
      local sub = keep(bus.subscribe("a", { queue = "q" }))
      local got = {}
      local waiting = {}
      for i = 1, 3 do
        waiting[i] = task.spawn(function()
          local msg = sub:next()
          got[#got + 1] = i .. msg.data
        end)
      end
      task.sleep(0)
      for _, data in ipairs { "a", "b", "c" } do bus.publish("a", data) end
      for i = 1, 3 do waiting[i]:await() end
      assert.same({ "1a", "2b", "3c" }, got)
    end)

    it("ends a loop over it when it ends", function()
      local sub = keep(bus.subscribe("a", nil, { max = 3 }))
      local got = {}
      for i = 1, 5 do bus.publish("a", i) end
      for msg in sub do got[#got + 1] = msg.data end
      assert.same({ "1", "2", "3" }, got)
      local _, err = sub:next()
      assert.equal("ECLOSED", err.code)
    end)

    it("lets those who wait go when it is closed, and when they are cancelled", function()
      local sub = keep(bus.subscribe "a")
      local waiting = task.spawn(function() return select(2, sub:next()) end)
      local cancelled = task.spawn(function() return sub:next() end)
      task.sleep(0)
      cancelled:cancel()
      sub:close()
      assert.equal("ECLOSED", waiting:await().code)
    end)

    it("ends with its last reference", function()
      local before = bus.stats().subscriptions
      bus.subscribe "a"
      collectgarbage()
      collectgarbage()
      assert.equal(before, bus.stats().subscriptions)
    end)

    it("is not asked when it has a function", function()
      local sub = keep(bus.subscribe("a", print))
      assert.error_matches(function() sub:next() end, "has a function")
    end)
  end)

  describe("publish", function()
    it("carries headers, and a reply subject", function()
      local got = collect "a"
      bus.publish("a", "x", { reply = "b", headers = { One = "1", Two = { "a", "b" }, Number = 3 } })
      eventually(function() return #got == 1 end)
      assert.same({ One = "1", Two = { "a", "b" }, Number = "3" }, got[1].headers)
      assert.equal("b", got[1].reply)
    end)

    it("carries any bytes, and nothing", function()
      local got = collect "a"
      bus.publish("a", "\0\r\n\255")
      bus.publish "a"
      eventually(function() return #got == 2 end)
      assert.equal("\0\r\n\255", got[1].data)
      assert.equal("", got[2].data)
    end)

    it("refuses a table, a bad subject and bad headers", function()
      assert.error_matches(function() bus.publish("a", {}) end, "encode it first")
      for _, subject in ipairs { "", "a b", "a.*", "a..b", ">" } do
        assert.error_matches(function() bus.publish(subject) end, "bad subject")
      end
      local bad = { { ["a b"] = "x" }, { a = "x\r\ny" }, { ["b:"] = "x" }, { "x" }, { a = true } }
      for _, headers in ipairs(bad) do
        assert.error_matches(function() bus.publish("a", "", { headers = headers }) end, "headers")
      end
      assert.error_matches(function() bus.publish("a", "", { replay = "x" }) end, "opts%.replay: unknown")
    end)

    it("says when a message is too large", function()
      local ok, err = bus.publish("a", ("x"):rep(1024 * 1024 + 1))
      assert.is_nil(ok)
      assert.equal("EMSGSIZE", err.code)
      assert.is_true(bus.publish("a", ("x"):rep(1024 * 1024)))
    end)
  end)

  describe("request", function()
    it("gets its answer", function()
      keep(bus.subscribe("upper", function(msg)
        task.sleep(0)
        msg:respond(msg.data:upper(), { headers = { Answer = "yes" } })
      end, { concurrency = 10 }))
      local answers = {
        task.all(
          function() return bus.request("upper", "a") end,
          function() return bus.request("upper", "b") end
        ),
      }
      assert.equal("A", answers[1].data)
      assert.equal("B", answers[2].data)
      assert.equal("yes", answers[1].headers.Answer)
    end)

    it("says that nobody listens, or that no answer came", function()
      local answer, err = bus.request("nobody", "x")
      assert.is_nil(answer)
      assert.equal("ENORESPONDERS", err.code)
      local got = collect "silent"
      answer, err = bus.request("silent", "x", { timeout = 0.001 })
      assert.is_nil(answer)
      assert.equal("ETIMEDOUT", err.code)
      assert.is_true(got[1]:respond "too late")
    end)

    it("is given up when its task is cancelled", function()
      collect "silent"
      local asking = task.spawn(function() return bus.request("silent", "x", { timeout = 60 }) end)
      task.sleep(0)
      asking:cancel()
      local _, err = asking:await()
      assert.equal("ECANCELED", err.code)
    end)

    it("is answered only if an answer is wanted", function()
      local got = collect "a"
      bus.publish "a"
      eventually(function() return #got == 1 end)
      local ok, err = got[1]:respond "x"
      assert.is_nil(ok)
      assert.equal("EINVAL", err.code)
    end)
  end)

  it("flushes", function()
    local got = collect "a"
    bus.publish "a"
    assert.is_true(bus.flush())
    eventually(function() return #got == 1 end)
  end)

  describe("serve", function()
    it("listens, and says where", function()
      local server = keep(bus.serve { port = 0 })
      assert.equal("127.0.0.1:" .. server.port, server.address)
      assert.equal("nats://" .. server.address, server.url)
      assert.equal(0, server:stats().clients)
      local second, err = bus.serve { port = server.port }
      assert.is_nil(second)
      assert.equal("EADDRINUSE", err.code)
      server:close()
      assert.is_true(server.closed)
      assert.is_nil(server.address)
    end)
  end)

  describe("connect", function()
    it("refuses a remote that is this bus itself", function()
      local server = keep(bus.serve { port = 0 })
      local conn, err = bus.connect(server.url, { retry = false })
      assert.is_nil(conn)
      assert.equal("EPROTO", err.code)
    end)

    it("fails at once without retry, and tries on with it", function()
      local server = keep(bus.serve { port = 0 })
      local url = server.url
      server:close()
      local conn, err = bus.connect(url, { retry = false })
      assert.is_nil(conn)
      assert.equal("ECONNREFUSED", err.code)
      local told = task.future()
      conn = keep(bus.connect(url, {
        on_status = function(status, why)
          told:resolve(status, why)
        end,
      }))
      local status, why = told:await()
      assert.equal("away", status)
      assert.equal("ECONNREFUSED", why.code)
      assert.equal("away", conn.status)
      assert.equal("ECONNREFUSED", conn.error.code)
      local ready, not_ready = conn:ready { timeout = 0.001 }
      assert.is_nil(ready)
      assert.equal("ETIMEDOUT", not_ready.code)
      local _, busy = bus.connect(url)
      assert.equal("EBUSY", busy.code)
      conn:close()
      assert.equal("closed", conn.status)
    end)

    it("says what is wrong with an address", function()
      assert.error_matches(function() bus.connect "http://127.0.0.1:1" end, "not supported")
      assert.error_matches(function() bus.connect "nats://" end, "expected nats://host:port")
    end)
  end)
end)
