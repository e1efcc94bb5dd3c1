local events = require "neap.http.events"
local neap = require "neap"
local http, task = neap.http, neap.task

-- Serves while `fn(url)` runs.
local function serving(handler, fn, opts)
  opts = opts or {}
  opts.handler = handler
  local server = assert(http.serve(opts))
  local ok, err = xpcall(fn, debug.traceback, "http://" .. server.address .. "/")
  server:close { grace = 0 }
  if not ok then error(err, 0) end
end

-- The body of a whole stream.
local function stream_of(handler)
  local res
  serving(handler, function(url) res = assert(http.get(url)) end)
  return res.body, res
end

-- Reads until a stream has said `text`.
local function read_until(res, text)
  local all = ""
  while not all:find(text, 1, true) do
    local piece, err = res:read(5)
    if not piece then error(err or "ended after " .. all, 2) end
    all = all .. piece
  end
  return all
end

describe("events.format", function()
  it("writes every field", function()
    assert.equal("data: x\n\n", events.format "x")
    assert.equal(": note\nevent: add\nid: 7\nretry: 1500\ndata: a\ndata: b\n\n", events.format {
      comment = "note", event = "add", id = "7", retry = 1.5, data = "a\nb",
    })
    assert.equal("id: \n\n", events.format { id = "" })
    assert.equal('data: {"a":1}\n\n', events.format { data = { a = 1 } })
    assert.equal("data: 5\n\n", events.format { data = 5 })
    assert.equal("data: \n\n", events.format "")
  end)

  it("lets nothing end an event or begin another", function()
    assert.equal("data: a\ndata: \ndata: event: x\ndata: b\ndata: \n\n",
      events.format "a\n\nevent: x\r\nb\r")
    assert.equal(": a\n: data: x\n\n", events.format { comment = "a\rdata: x" })
    for _, bad in ipairs { { event = "a\nb" }, { id = "a\rb" }, { id = "a\0b" }, { event = "" } } do
      assert.error_matches(function() events.format(bad) end, "event%.[ei]")
    end
    assert.error_matches(function() events.format {} end, "nothing to send")
    assert.error_matches(function() events.format { dat = "x" } end, "did you mean data")
    assert.error_matches(function() events.format(1) end, "event: expected string or table")
  end)
end)

describe("req:events", function()
  setup(function() http.get "http://127.0.0.1:1" end) -- the client's own timer stays

  it("streams events", function()
    local body, res = stream_of(function(req)
      local stream <close> = assert(req:events { retry = 3, headers = { ["X-A"] = "b" } })
      assert(stream:send "one")
      assert(stream:send { event = "two", id = "2", data = "x\ny" })
    end)
    assert.equal("retry: 3000\n\ndata: one\n\nevent: two\nid: 2\ndata: x\ndata: y\n\n", body)
    assert.equal("text/event-stream", res.headers["content-type"])
    assert.equal("no-store, no-transform", res.headers["cache-control"])
    assert.equal("no", res.headers["x-accel-buffering"])
    assert.equal("b", res.headers["x-a"])
  end)

  it("is at the client before the first event, and each event when it is sent", function()
    local go = task.future()
    serving(function(req)
      local stream <close> = req:events()
      go:await()
      stream:send "first"
      stream:wait()
    end, function(url)
      local res = assert(http.get(url, { stream = true }))
      assert.equal(200, res.status)
      go:resolve()
      read_until(res, "data: first\n\n")
      res:close()
    end)
  end)

  it("is but a head for HEAD", function()
    serving(function(req)
      local stream <close> = req:events()
      local ok, err = stream:send "x"
      assert.is_nil(ok)
      assert.equal("ECLOSED", err.code)
      stream:wait()
    end, function(url)
      local res = assert(http.head(url))
      assert.same({ 200, "text/event-stream" }, { res.status, res.headers["content-type"] })
    end)
  end)

  it("knows what the client had last", function()
    local seen = {}
    serving(function(req)
      local stream <close> = req:events()
      seen[#seen + 1] = stream.last_event_id or false
    end, function(url)
      assert(http.get(url))
      assert(http.get(url, { headers = { ["Last-Event-ID"] = "7" } }))
      assert(http.get(url, { headers = { ["Last-Event-ID"] = "" } }))
    end)
    assert.same({ false, "7", false }, seen)
  end)

  it("says something while there is nothing to say", function()
    serving(function(req)
      local stream <close> = req:events { heartbeat = 0.01 }
      stream:wait()
    end, function(url)
      local res = assert(http.get(url, { stream = true }))
      read_until(res, ":\n\n:\n\n:\n\n")
      res:close()
    end)
  end)

  it("takes events of many tasks, each whole, also when the client is slow", function()
    serving(function(req)
      local stream <close> = req:events()
      assert(task.group(function(group)
        for i = 1, 20 do
          group:spawn(function() return stream:send(("%d"):format(i % 10):rep(500000)) end)
        end
        return true
      end))
    end, function(url)
      local source = http.events(url, { max_failures = 0 })
      assert.equal(500000, #source:next().data)
      for _ = 1, 1000 do task.yield() end
      local count = 1
      for event in source do
        assert.is_true(event.data == event.data:sub(1, 1):rep(500000))
        count = count + 1
      end
      assert.equal(20, count)
    end)
  end)

  it("ends for every sender when the client leaves", function()
    local stream, over = nil, task.future()
    serving(function(req)
      stream = req:events()
      local held <close> = setmetatable({}, { -- luacheck: ignore 211
        __close = function() over:resolve() end,
      })
      stream:wait()
    end, function(url)
      local res = assert(http.get(url, { stream = true }))
      read_until(res, ":\n\n")
      res:close()
      assert(over:await(5) == nil)
      local ok, err
      repeat
        ok, err = stream:send "x"
        task.yield()
      until not ok
      assert.equal("ECONNRESET", err.code)
      assert.is_true(stream.closed)
      stream:close()
    end)
  end)

  it("sends no more when it is closed", function()
    local body = stream_of(function(req)
      local stream = req:events()
      stream:send "last"
      stream:close()
      stream:close()
      local ok, err = stream:send "more"
      assert.is_nil(ok)
      assert.equal("ECLOSED", err.code)
    end)
    assert.equal(":\n\ndata: last\n\n", body)
  end)

  describe("with a slow client", function()
    -- Sends many events without waiting, then closes; gives what came and what was left out.
    local function sends(policy, n)
      local stream, results = nil, {}
      local body = stream_of(function(req)
        stream = req:events { policy = policy, queue = 3 }
        for i = 1, n do
          results[i] = table.pack(stream:send(("%d"):format(i)))
        end
        stream:close()
      end)
      local got = {}
      for data in body:gmatch "data: (%d+)\n" do got[#got + 1] = data end
      return got, stream, results
    end

    it("drops the oldest", function()
      local got, stream = sends("drop_oldest", 10)
      assert.same({ "8", "9", "10" }, got)
      assert.equal(7, stream.dropped)
    end)

    it("drops the newest", function()
      local got, stream = sends("drop_newest", 10)
      assert.same({ "1", "2", "3" }, got)
      assert.equal(7, stream.dropped)
    end)

    it("ends", function()
      local _, stream, results = sends("close", 4)
      assert.is_true(results[3][1])
      assert.equal("ELIMIT", results[4][2].code)
      assert.is_true(stream.closed)
    end)

    it("waits", function()
      local got = sends("wait", 10)
      assert.equal(10, #got)
    end)

    it("holds the sender back until the client reads", function()
      local sent = 0
      serving(function(req)
        local stream <close> = req:events()
        for _ = 1, 200 do
          stream:send(("x"):rep(100000))
          sent = sent + 1
        end
      end, function(url)
        local res = assert(http.get(url, { stream = true, max_body = 1 << 30 }))
        res:read()
        for _ = 1, 1000 do task.yield() end
        assert.is_true(sent < 200)
        while res:read() do end -- luacheck: ignore 542
        assert.equal(200, sent)
      end)
    end)
  end)

  it("refuses options that it does not have", function()
    stream_of(function(req)
      assert.error_matches(function() req:events { heartbeats = 1 } end, "did you mean heartbeat")
      assert.error_matches(function() req:events { policy = "drop" } end, "opts.policy")
      return "x"
    end)
  end)
end)

describe("http.events", function()
  setup(function() http.get "http://127.0.0.1:1" end)

  -- Answers one request after another, each with what `answers` has.
  local function following(answers, opts, fn)
    local asked = {}
    serving(function(req)
      asked[#asked + 1] = req:header "last-event-id" or false
      local answer = answers[#asked]
      if type(answer) == "function" then return answer(req) end
      if type(answer) == "string" then return 200, answer, { ["content-type"] = "text/event-stream;x=y" } end
      return answer or 204
    end, function(url)
      opts.retry = opts.retry or 0
      fn(http.events(url, opts), asked)
    end)
    return asked
  end

  local function collect(source)
    local got = {}
    for event in source do got[#got + 1] = event end
    return got
  end

  it("gives events until the server has no more", function()
    following({ "data: 1\n\nevent: add\r\nid: 7\rdata: 2\ndata: 3\n\n" }, {}, function(source, asked)
      assert.same({
        { type = "message", data = "1" },
        { type = "add", data = "2\n3", id = "7" },
      }, collect(source))
      assert.same({ false, "7" }, asked)
      assert.is_nil(source:next())
      assert.is_true(source.closed)
    end)
  end)

  it("goes on where it was, over broken connections", function()
    local asked = following({
      "id: 1\ndata: a\n\nid: 2\ndata: cut",
      function(req)
        req:start(200, { ["content-type"] = "text/event-stream" })
        req:write "data: b\n\n"
        error { code = "ECONNRESET", message = "on purpose", status = 400 } -- breaks it off
      end,
      503,
      "id:\ndata: c\n\n",
    }, { last_event_id = "0" }, function(source)
      local got = collect(source)
      assert.same({ "a", "b", "c" }, { got[1].data, got[2].data, got[3].data })
      assert.equal(3, #got)
      assert.equal("1", got[2].id)
      assert.is_nil(got[3].id)
    end)
    assert.same({ "0", "1", "1", "1", false }, asked)
  end)

  it("is read as it comes", function()
    local go = task.future()
    following({
      function(req)
        local stream <close> = req:events()
        stream:send "first"
        go:await()
        stream:send "second"
      end,
    }, {}, function(source)
      assert.equal("first", source:next().data)
      go:resolve()
      assert.equal("second", source:next().data)
    end)
  end)

  it("raises what cannot be helped", function()
    for _, case in ipairs {
      { 404, "status 404" },
      { function() return "plain" end, "no text/event%-stream" },
    } do
      following({ case[1] }, {}, function(source)
        local event, err = source:next()
        assert.is_nil(event)
        assert.equal("EPROTO", err.code)
        assert.matches(case[2], err.message)
        assert.is_nil(source:next())
      end)
      following({ case[1] }, {}, function(source)
        assert.has_error(function() collect(source) end)
      end)
    end
  end)

  it("gives up after so many failures in a row", function()
    local answers = { "data: 1\n\n", 503, 503, "data: 2\n\n", 503, 503, 503, 503 }
    local asked = following(answers, { max_failures = 2 }, function(source)
      assert.equal("1", source:next().data)
      assert.equal("2", source:next().data)
      local event, err = source:next()
      assert.is_nil(event)
      assert.matches("status 503", err.message)
    end)
    assert.equal(7, #asked)
    local source = http.events("http://127.0.0.1:1/", { max_failures = 1, retry = 0 })
    local _, err = source:next()
    assert.equal("ECONNREFUSED", err.code)
  end)

  it("does not come back when it is told so", function()
    local asked = following({ "data: 1\n\n" }, { max_failures = 0 }, function(source)
      assert.equal(1, #collect(source))
    end)
    assert.equal(1, #asked)
  end)

  it("refuses events that are too large", function()
    following({ "data: " .. ("x"):rep(2000) .. "\n\n" }, { max_event = 1024 }, function(source)
      local event, err = source:next()
      assert.is_nil(event)
      assert.equal("ELIMIT", err.code)
    end)
  end)

  it("ends when it is closed, also for who waits", function()
    following({
      function(req)
        local stream <close> = req:events()
        stream:wait()
      end,
    }, {}, function(source)
      local waiting = task.spawn(function() return source:next() end)
      task.yield()
      source:close()
      assert.is_nil((waiting:await(5)))
    end)
  end)

  it("refuses what makes no sense", function()
    assert.error_matches(function() http.events(1) end, "url: expected string")
    assert.error_matches(function() http.events("x", { retri = 1 }) end, "did you mean retry")
    local event, err = http.events("nonsense"):next()
    assert.is_nil(event)
    assert.equal("EINVAL", err.code)
  end)
end)
