-- What goes over the wire beyond plain answers, seen by a client that speaks raw TCP.
local neap = require "neap"
local http, task, tcp = neap.http, neap.task, neap.tcp

local function serving(opts, fn)
  if type(opts) == "function" then opts = { handler = opts } end
  local server = assert(http.serve(opts))
  local ok, err = xpcall(fn, debug.traceback, server)
  server:close { grace = 0 }
  if not ok then error(err, 0) end
end

local function connect(server) return assert(tcp.connect("127.0.0.1", server.port)) end

-- All that comes until the end.
local function rest_of(c)
  local pieces = {}
  while true do
    local piece, err = c:read { timeout = 20 }
    if not piece then return table.concat(pieces), err end
    pieces[#pieces + 1] = piece
  end
end

-- Sends requests, the last of which closes, and gives what came back.
local function talk(server, text)
  local c <close> = connect(server)
  assert(c:write(text))
  return (rest_of(c):gsub("Date: [^\r]*\r\n", ""))
end

local function get(path, more)
  return ("GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n"):format(path, more or "")
end
local CLOSE = "Connection: close\r\n"

-- The answer to one request that a handler gets.
local function answer(handler, request)
  local text
  serving(handler, function(server) text = talk(server, request or get("/", CLOSE)) end)
  return text
end

describe("a request", function()
  it("goes on telling what it was after respond", function()
    local seen
    answer(function(req)
      req:respond(200, "ok")
      task.yield()
      seen = {
        req.method, req.path, req.target, req.query_string, req.query.a, req.version, req.headers["x-y"],
        req:header "X-Y", req.remote:match "^[%d.]+", req.trailers and next(req.trailers),
      }
    end, get("/p?a=1", "X-Y: z\r\n" .. CLOSE))
    assert.same({ "GET", "/p", "/p?a=1", "a=1", "1", "1.1", "z", "z", "127.0.0.1" }, seen)
  end)

  it("goes on telling after finish and upgrade", function()
    local seen = {}
    answer(function(req)
      req:start(200)
      req:finish()
      seen[1] = req.path
    end)
    answer(function(req)
      local s <close> = assert(req:upgrade "x") -- luacheck: ignore 211
      seen[2] = req.headers.upgrade
    end, get("/", "Connection: upgrade\r\nUpgrade: x\r\n"))
    assert.same({ "/", "x" }, seen)
  end)

  it("goes on telling after its client has left, while its handler runs", function()
    local seen, req_kept
    serving(function(req)
      req_kept = req
      local note <close> = setmetatable({}, { -- luacheck: ignore 211
        __close = function(_, err)
          seen = { req.method, req.path, req.headers["x-y"], req:header "x-y", req.query.a, err.code }
        end,
      })
      task.sleep(10)
    end, function(server)
      local c = connect(server)
      c:write(get("/gone?a=1", "X-Y: z\r\n"))
      while not req_kept do task.yield() end
      c:close { linger = 0 }
      while not seen do task.yield() end
    end)
    assert.same({ "GET", "/gone", "z", "z", "1", "ECANCELED" }, seen)
    task.yield()
    assert.is_false((pcall(function() return req_kept.version end)))
  end)

  it("has the trailers of its body, once that was read", function()
    local before, after, none
    local text = answer(function(req)
      before = req.trailers
      local body = req:body()
      after = req.trailers
      return body
    end, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" .. CLOSE ..
      "\r\n2;a;b=c\r\nhi\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\nY:\r\n\r\n")
    assert.is_nil(before)
    assert.same({ ["x-sum"] = "1, 2", y = "" }, after)
    assert.truthy(text:find "\r\n\r\nhi$")
    answer(function(req) none = req.trailers end)
    assert.same({}, none)
  end)
end)

describe("an answer", function()
  it("may follow 1xx heads", function()
    local text = answer(function(req)
      assert.is_true(req:inform(103, { link = "</a.css>" }))
      assert.is_true(req:inform(102))
      return "done"
    end)
    local want = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    assert.equal(want, text:sub(1, #want))
    assert.equal("HTTP/1.1 200 OK\r\n", text:sub(#want + 1, #want + 17))
  end)

  it("cannot be informed of once begun, nor by another kind of status", function()
    local problems = {}
    answer(function(req)
      for i, status in ipairs { 101, 99, 200 } do problems[i] = select(2, pcall(req.inform, req, status)) end
      req:start(200)
      problems[4] = select(2, pcall(req.inform, req, 103))
      req:finish()
      problems[5] = select(2, pcall(req.inform, req, 103))
    end)
    for i = 1, 3 do assert.matches("status must be between 100 and 199, and not 101", problems[i]) end
    assert.matches("already begun", problems[4])
    assert.matches("has been answered", problems[5])
  end)

  it("may end in a trailer", function()
    local text = answer(function(req)
      req:start(200, { trailer = "x-sum" })
      req:write "abc"
      req:finish { ["x-sum"] = 6 }
    end)
    assert.truthy(text:find("\r\n3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n", 1, true))
  end)

  it("to HEAD may say the length that GET would have", function()
    serving(function(req)
      if req.path == "/up" then
        req:start(200, { ["x-a"] = "b" }, 1234)
        return
      end
      return http.head("http://127.0.0.1:" .. req:header "x-port" .. "/up")
    end, function(server)
      local port = ("X-Port: %d\r\n"):format(server.port)
      local text = talk(server, "HEAD / HTTP/1.1\r\nHost: a\r\n" .. port .. CLOSE .. "\r\n")
      assert.truthy(text:find("Content-Length: 1234\r\n", 1, true))
      assert.truthy(text:find("x-a: b\r\n", 1, true))
      assert.truthy(text:find "\r\n\r\n$")
    end)
  end)

  it("that offers an upgrade says so of its connection", function()
    local text = answer(function() return 426, "no", { upgrade = "x" } end)
    assert.truthy(text:find("upgrade: x\r\n", 1, true) and text:find("Connection: upgrade\r\n", 1, true))
  end)

  it("503 says when to come back", function()
    local text = answer(function() return nil, task.error("EBUSY", "no") end)
    assert.truthy(text:find "^HTTP/1.1 503 " and text:find("Retry-After: 1\r\n", 1, true))
  end)
end)

describe("req:upgrade", function()
  local UPGRADE = "Connection: upgrade\r\nUpgrade: other/1, Echo\r\n"

  local function echo(req)
    local s, err = req:upgrade("echo", { ["x-a"] = "b" })
    if not s then return 400, err.code end
    local line = s:read_line()
    s:write(line:upper())
    s:close()
  end

  it("gives the connection as a stream, with what came early", function()
    serving(echo, function(server)
      local text = talk(server, get("/", UPGRADE) .. "early\n")
      local want = "HTTP/1.1 101 Switching Protocols\r\nx-a: b\r\nUpgrade: echo\r\nConnection: upgrade\r\n"
      assert.equal(want .. "\r\nEARLY", text)
      local c <close> = connect(server)
      c:write(get("/", UPGRADE))
      assert.truthy(c:read_until "\r\n\r\n")
      c:write "late\n"
      assert.equal("LATE", (rest_of(c)))
    end)
  end)

  it("waits for its turn, and what was waiting comes after it", function()
    serving(function(req)
      if req.path == "/slow" then
        task.sleep(0.01)
        return "slow"
      end
      task.yield()
      return echo(req)
    end, function(server)
      local text = talk(server, get "/slow" .. get("/", UPGRADE) .. "x\n")
      assert.matches("slowHTTP/1.1 101 .*\r\n\r\nX$", text)
    end)
  end)

  it("fails for what the client has not offered, and all is as before", function()
    serving(echo, function(server)
      assert.matches("^HTTP/1.1 400 .*\r\n\r\nENOTSUP$", talk(server, get("/", CLOSE)))
      local other = get("/", "Connection: upgrade, close\r\nUpgrade: b\r\n")
      assert.matches("\r\n\r\nENOTSUP$", talk(server, other))
      assert.matches("\r\n\r\nEBUSY$", talk(server, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n" ..
        "Connection: upgrade, close\r\nUpgrade: echo\r\n\r\nx"))
    end)
  end)

  it("gives a stream that outlives the handler and the server", function()
    local stream
    local server = assert(http.serve { handler = function(req) stream = req:upgrade "x" end })
    local c <close> = connect(server)
    c:write(get("/", "Connection: upgrade\r\nUpgrade: x\r\n"))
    assert.truthy(c:read_until "\r\n\r\n")
    assert.is_true(server:close { grace = 0 })
    stream:write "still"
    assert.equal("still", c:read(5))
    c:write "here"
    assert.equal("here", stream:read(4))
    stream:close()
  end)
end)

describe("CONNECT", function()
  local CONNECT = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"

  it("becomes a tunnel", function()
    local app = http.app()
    app:connect(function(req)
      local s <close> = assert(req:tunnel { ["x-to"] = req.path })
      s:write(s:read(5):reverse())
    end)
    serving({ app = app }, function(server)
      assert.equal("HTTP/1.1 200 OK\r\nx-to: a:443\r\n\r\nolleh", talk(server, CONNECT .. "hello"))
    end)
  end)

  it("is 501 where nobody takes it, and nothing behind it is a request", function()
    local app = http.app()
    app:any("/", function() return "any" end)
    serving({ app = app }, function(server)
      local text = talk(server, CONNECT .. get "/")
      assert.matches("^HTTP/1.1 501 .*Connection: close\r\n", text)
      assert.is_nil(text:find("HTTP/1.1", 2, true))
    end)
  end)

  it("is never answered 2xx by a plain answer", function()
    for _, returned in ipairs { "x", 204, {} } do
      assert.matches("^HTTP/1.1 500 ", answer(function() return returned end, CONNECT))
    end
    assert.matches("^HTTP/1.1 501 ", answer(function() end, CONNECT))
    assert.matches("^HTTP/1.1 403 .*no$", answer(function() return 403, "no" end, CONNECT))
  end)

  it("is not what other methods are", function()
    assert.matches("ENOTSUP$", answer(function(req) return 400, select(2, req:tunnel()).code end))
  end)
end)

describe("pipelined requests", function()
  it("are answered in order, however long each takes", function()
    local order, running, most = {}, 0, 0
    serving(function(req)
      local n = tonumber(req.path:sub(2))
      running = running + 1
      most = math.max(most, running)
      order[#order + 1] = n
      if n % 3 == 0 then task.sleep(0.002) elseif n % 3 == 1 then task.yield() end
      running = running - 1
      if n % 5 == 0 then return 404 end
      if n % 7 == 0 then
        req:start(200)
        for piece in ("abc"):gmatch "." do
          req:write(piece)
          task.yield()
        end
        return
      end
      if n % 11 == 0 then return req:body() end
      return "<" .. n .. ">"
    end, function(server)
      local requests, want = {}, {}
      for n = 1, 200 do
        if n % 11 == 0 and n % 5 ~= 0 and n % 7 ~= 0 then
          local head = "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%d"
          requests[n] = head:format(n, #tostring(n), n)
        else
          requests[n] = get("/" .. n, n == 200 and CLOSE or nil)
        end
        want[n] = n
      end
      local text = talk(server, table.concat(requests))
      assert.same(want, order)
      assert.equal(1, most)
      local at = 1
      for n = 1, 200 do
        local status = n % 5 == 0 and "404" or "200"
        local s = assert(text:find("HTTP/1.1 " .. status, at, true), "no answer " .. n)
        if n % 5 ~= 0 and n % 7 ~= 0 then
          local body = n % 11 == 0 and "\r\n\r\n" .. n .. "HTTP" or "<" .. n .. ">"
          s = assert(text:find(body, s, true), "no body " .. n)
        end
        at = s + 1
      end
      assert.equal(200, select(2, text:gsub("HTTP/1.1 %d", "")))
    end)
  end)
end)

describe("allow_half_close", function()
  local function half_closed(opts)
    local got, cancelled
    opts.handler = function()
      local note <close> = setmetatable({}, { -- luacheck: ignore 211
        __close = function(_, err) cancelled = err ~= nil end,
      })
      task.sleep(0.05)
      return "late"
    end
    serving(opts, function(server)
      local c <close> = connect(server)
      c:write(get "/")
      c:shutdown()
      got = rest_of(c)
    end)
    return got, cancelled
  end

  it("decides whether a client that shut its sending side gets its answer", function()
    local got, cancelled = half_closed {}
    assert.same({ "", true }, { got, cancelled })
    got, cancelled = half_closed { allow_half_close = true }
    assert.matches("\r\n\r\nlate$", got)
    assert.is_false(cancelled)
  end)
end)

describe("max_requests", function()
  it("closes the connection after so many", function()
    serving({ handler = function() return "x" end, max_requests = 2 }, function(server)
      local text = talk(server, get "/" .. get "/" .. get "/")
      assert.equal(2, select(2, text:gsub("HTTP/1.1 200", "")))
    end)
  end)
end)
