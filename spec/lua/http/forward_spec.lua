-- Forwarding: what an upstream sees of a request, what the client sees of its answer, and what becomes of
-- both when a side fails.
local neap = require "neap"
local http, task, tcp = neap.http, neap.task, neap.tcp

local function url_of(server) return "http://" .. server.address end

-- A client, a gateway that runs `gate(req, upstream's URL)`, an upstream that runs `up(req)`.
local function through(gate, up, fn, opts)
  local upstream = assert(http.serve { handler = up, max_body_bytes = 0 })
  opts = opts or {}
  opts.handler = function(req) return gate(req, url_of(upstream)) end
  local gateway = assert(http.serve(opts))
  local ok, err = xpcall(fn, debug.traceback, gateway, upstream)
  gateway:close { grace = 0 }
  upstream:close { grace = 0 }
  if not ok then error(err, 0) end
end

local function plainly(req, url) return req:forward(url) end

local function rest_of(c)
  local pieces = {}
  for piece in function() return (c:read { timeout = 20 }) end do pieces[#pieces + 1] = piece end
  return table.concat(pieces)
end

local function talk(server, text)
  local c <close> = assert(tcp.connect("127.0.0.1", server.port))
  assert(c:write(text))
  return rest_of(c)
end

describe("req:forward", function()
  it("passes the request on, made anew", function()
    local seen
    through(plainly, function(req)
      seen = { req.method, req.target, req.headers, req:body(), req.trailers }
      return 201, "made", { ["x-a"] = "b", ["set-cookie"] = { "a=1", "b=2" } }
    end, function(gateway, upstream)
      local res = assert(http.post(url_of(gateway) .. "/p?q=1", {
        body = "hello", headers = { ["x-one"] = "1", cookie = "c=d" },
      }))
      assert.same({ 201, "made", "b" }, { res.status, res.body, res.headers["x-a"] })
      assert.same({ "a=1", "b=2" }, res.headers["set-cookie"])
      assert.same({ "POST", "/p?q=1", "hello", {} }, { seen[1], seen[2], seen[4], seen[5] })
      assert.same({ "1", "c=d", "5" }, { seen[3]["x-one"], seen[3].cookie, seen[3]["content-length"] })
      assert.equal(upstream.address, seen[3].host)
    end)
  end)

  it("leaves behind what belongs to one connection, both ways", function()
    local seen
    through(plainly, function(req)
      seen = req.headers
      local hop = { ["keep-alive"] = "timeout=5", ["proxy-connection"] = "x", ["x-end"] = "1", trailer = "x" }
      return 200, "x", hop
    end, function(gateway)
      local text = talk(gateway, "GET / HTTP/1.1\r\nHost: a\r\n" ..
        "Connection: close, X-Hop, Cookie\r\nX-Hop: 1\r\nCookie: a=b\r\n" ..
        "Keep-Alive: timeout=1\r\nProxy-Connection: x\r\nTE: trailers\r\nUpgrade: x\r\n" ..
        "Trailer: x\r\nExpect: 100-continue\r\nX-End: 1\r\n\r\n")
      assert.matches("\r\n\r\nx$", text)
      assert.truthy(text:find("x-end: 1", 1, true))
      for _, name in ipairs { "keep-alive", "proxy-connection", "trailer" } do
        assert.is_nil(text:lower():find(name .. ": ", 1, true), name)
      end
    end)
    seen.host = nil
    assert.same({ ["x-end"] = "1" }, seen)
  end)

  it("changes what it is told to", function()
    local seen
    through(function(req, url)
      return req:forward(url .. "/base", {
        headers = { ["X-New"] = 1, ["x-old"] = false, ["x-list"] = { "a", "b" } },
        via = "gate", forwarded = "x-forwarded", preserve_host = true,
        target = req.query.t, method = req.query.m,
      })
    end, function(req)
      seen = { req.method, req.target, req.headers }
      return "ok"
    end, function(gateway)
      local headers = { ["x-old"] = "1", ["x-new"] = "0", via = "1.0 x", ["x-forwarded-for"] = "1.2.3.4" }
      assert(http.get(url_of(gateway) .. "/p?q", { headers = headers }))
      local h = seen[3]
      assert.same({ "GET", "/base/p?q", "1", "a, b", "1.0 x, 1.1 gate" },
        { seen[1], seen[2], h["x-new"], h["x-list"], h.via })
      assert.same({ "1.2.3.4, 127.0.0.1", "http", gateway.address, gateway.address },
        { h["x-forwarded-for"], h["x-forwarded-proto"], h["x-forwarded-host"], h.host })
      assert.is_nil(h["x-old"])
      assert(http.get(url_of(gateway) .. "/p?t=/other&m=DELETE"))
      assert.same({ "DELETE", "/base/other" }, { seen[1], seen[2] })
    end, { trusted_proxies = { "127.0.0.1" } })
  end)

  it("adds RFC 7239's header", function()
    local seen
    through(function(req, url) return req:forward(url, { forwarded = "forwarded" }) end, function(req)
      seen = req.headers.forwarded
    end, function(gateway)
      assert(http.get(url_of(gateway), { headers = { forwarded = "for=x" } }))
      assert.equal(('for=x, for=127.0.0.1;proto=http;host="%s"'):format(gateway.address), seen)
    end, { trusted_proxies = { "127.0.0.1" } })
  end)

  it("says nothing of who asked that a stranger made up", function()
    local seen
    through(function(req, url) return req:forward(url, { forwarded = "x-forwarded" }) end, function(req)
      seen = req.headers
    end, function(gateway)
      assert(http.get(url_of(gateway), {
        headers = { forwarded = "for=x", ["x-forwarded-for"] = "6.6.6.6", ["x-forwarded-proto"] = "https" },
      }))
      assert.same({ "127.0.0.1", "http" }, { seen["x-forwarded-for"], seen["x-forwarded-proto"] })
      assert.is_nil(seen.forwarded)
    end)
  end)

  it("passes trailers and 1xx heads", function()
    local seen
    through(plainly, function(req)
      req:body()
      seen = req.trailers
      req:inform(103, { link = "</a>" })
      req:start(200)
      req:write "ab"
      req:finish { ["x-sum"] = 2 }
    end, function(gateway)
      local text = talk(gateway, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" ..
        "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-In: 1\r\n\r\n")
      assert.matches("^HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n", text)
      assert.truthy(text:find("\r\n\r\n2\r\nab\r\n0\r\nx-sum: 2\r\n\r\n", 1, true), text)
      assert.same({ ["x-in"] = "1" }, seen)
    end)
  end)

  it("keeps the length that HEAD and 304 tell", function()
    through(plainly, function(req)
      if req.method == "HEAD" then return req:start(200, nil, 4321) end
      return 304, nil, { etag = '"x"' }
    end, function(gateway)
      local text = talk(gateway, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      assert.matches("^HTTP/1.1 200 .*Content%-Length: 4321\r\n.*\r\n\r\n$", text)
      text = talk(gateway, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      assert.matches('^HTTP/1.1 304 .*etag: "x"\r\n.*\r\n\r\n$', text)
    end)
  end)

  it("streams bodies both ways, and holds each side back", function()
    local SIZE, got = 3 * 1024 * 1024, 0
    through(plainly, function(req)
      for piece in req:chunks() do got = got + #piece end
      req:start(200, nil, SIZE)
      for _ = 1, SIZE / 65536 do req:write(("x"):rep(65536)) end
      req:finish()
    end, function(gateway)
      local left = SIZE / 65536
      local res = assert(http.post(url_of(gateway), {
        body = function()
          left = left - 1
          return left >= 0 and ("y"):rep(65536) or nil
        end,
        stream = true,
      }))
      local n = 0
      for piece in res:chunks() do
        n = n + #piece
        task.yield()
      end
      assert.same({ SIZE, SIZE }, { got, n })
    end, { max_body_bytes = 0 })
  end)

  it("answers 413 for a body over the limit, and the upstream hears that it broke off", function()
    local heard
    through(plainly, function(req)
      heard = select(2, req:body())
    end, function(gateway)
      local text = talk(gateway, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" ..
        "8\r\n12345678\r\n9\r\n")
      assert.matches("^HTTP/1.1 413 ", text)
    end, { max_body_bytes = 10 })
    assert.truthy(heard == nil or heard.code == "ECONNRESET" or heard.code == "EPROTO")
  end)

  it("gives an error when nobody answers, and the request can still be", function()
    local err, again
    through(function(req)
      local closed = assert(http.serve { handler = function() end })
      local url = url_of(closed)
      closed:close { grace = 0 }
      err = select(2, req:forward(url))
      if req.path == "/twice" then
        again = select(2, req:forward(url))
        return 418, "mine"
      end
      return nil, err
    end, function() end, function(gateway)
      assert.equal(502, http.get(url_of(gateway)).status)
      assert.equal("ECONNREFUSED", err.code)
      local res = http.post(url_of(gateway) .. "/twice", { body = "b" })
      assert.same({ 418, "mine", "ECONNREFUSED" }, { res.status, res.body, again.code })
    end)
  end)

  it("may be tried elsewhere, body and all", function()
    through(function(req, url)
      local ok = req:forward "http://127.0.0.1:1"
      assert(not ok)
      return req:forward(url)
    end, function(req) return "got " .. req:body() end, function(gateway)
      assert.equal("got this", http.post(url_of(gateway), { body = "this" }).body)
    end)
  end)

  it("answers 504 when the upstream takes too long", function()
    through(function(req, url) return req:forward(url, { timeout = 0.02 }) end, function()
      task.sleep(5)
    end, function(gateway) assert.equal(504, http.get(url_of(gateway)).status) end)
  end)

  it("breaks off an answer that broke off, and a malformed one is 502", function()
    local replies = {
      ["/cut"] = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
      ["/bad"] = "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
      ["/none"] = "",
      ["/split"] = "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
      ["/two"] = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
      ["/dates"] = "HTTP/1.1 200 OK\r\nDate: x\r\nDate: y\r\nContent-Length: 2\r\n\r\nok",
    }
    local raw = assert(tcp.listen({ port = 0 }, function(c)
      local line = c:read_line()
      c:read_until "\r\n\r\n"
      c:write(replies[line:match "%S+ (%S+)"])
    end))
    local gateway = assert(http.serve {
      handler = function(req) return req:forward("http://" .. raw.address) end,
    })
    local cut = talk(gateway, "GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.matches("^HTTP/1.1 200 OK\r\n.*Content%-Length: 10\r\n\r\nabc$", cut)
    for _, path in ipairs { "/bad", "/none", "/split", "/two" } do
      assert.equal(502, http.get(url_of(gateway) .. path).status, path)
    end
    assert.equal("ok", http.get(url_of(gateway) .. "/dates").body)
    gateway:close { grace = 0 }
    raw:close()
  end)

  it("breaks the call off when the client leaves", function()
    local cancelled, left
    through(function(req, url)
      local note <close> = setmetatable({}, { -- luacheck: ignore 211
        __close = function() cancelled = true end,
      })
      return req:forward(url)
    end, function(req)
      local note <close> = setmetatable({}, { -- luacheck: ignore 211
        __close = function(_, err) left = err ~= nil end,
      })
      req:start(200)
      for _ = 1, 1e6 do
        if not req:write(("x"):rep(1000)) then break end
      end
    end, function(gateway)
      do
        local c <close> = assert(tcp.connect("127.0.0.1", gateway.port))
        c:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        assert.truthy(c:read_until "\r\n\r\n")
        c:close { linger = 0 }
      end
      while not (cancelled and left ~= nil) do task.sleep(0.001) end
    end)
  end)

  it("takes a client, with its headers, prefix and endpoints", function()
    local seen
    through(function(req, url)
      local client = http.client { base = url .. "/v1", headers = { ["x-key"] = "k" }, retry = true }
      return req:forward(client, { headers = { ["x-more"] = "m" } })
    end, function(req)
      seen = { req.target, req.headers["x-key"], req.headers["x-more"], req.headers["accept-encoding"] }
      return "ok"
    end, function(gateway)
      local opts = { headers = { ["accept-encoding"] = "br" } }
      assert.equal("ok", http.get(url_of(gateway) .. "/a?b", opts).body)
      assert.same({ "/v1/a?b", "k", "m", "br" }, seen)
    end)
  end)

  it("takes a client of a service, and tries the next instance", function()
    local served = 0
    local up = assert(http.serve { handler = function()
      served = served + 1
      return "ok"
    end })
    local dead = assert(http.serve { handler = function() end })
    local registrations = {
      assert(neap.registry.register { name = "fwd", address = dead.address }),
      assert(neap.registry.register { name = "fwd", address = up.address }),
    }
    dead:close { grace = 0 }
    local retry = { attempts = 2, reserve = 10 }
    local client = http.client { service = "fwd", balancer = "round_robin", retry = retry }
    local gateway = assert(http.serve { handler = function(req) return req:forward(client) end })
    for _ = 1, 6 do assert.equal("ok", http.get(url_of(gateway)).body) end
    assert.equal(6, served)
    for _, registration in ipairs(registrations) do registration:deregister() end
    gateway:close { grace = 0 }
    up:close { grace = 0 }
  end)

  it("gives the answer what the script wants any answer to have", function()
    through(function(req, url)
      req:add_header("X-Gate", "1")
      req:set_cookie("seen", "yes")
      return req:forward(url)
    end, function() return 200, "ok", { ["set-cookie"] = "up=1" } end, function(gateway)
      local res = assert(http.get(url_of(gateway)))
      assert.equal("1", res.headers["x-gate"])
      assert.equal(2, #res.headers["set-cookie"])
      assert.matches("^seen=yes", res.headers["set-cookie"][2])
    end)
  end)

  it("takes a client of a balancer with endpoints of its own", function()
    local seen = {}
    through(function(req, url)
      local balancer = neap.balancer.new("round_robin", { endpoints = { url:match "//(.*)" } })
      return req:forward(http.client { balancer = balancer })
    end, function(req)
      seen[#seen + 1] = req.path
      return "ok"
    end, function(gateway)
      assert.equal("ok", http.get(url_of(gateway) .. "/a").body)
      assert.equal("ok", http.get(url_of(gateway) .. "/b").body)
    end)
    assert.same({ "/a", "/b" }, seen)
  end)

  it("refuses what cannot be", function()
    local problems = {}
    through(function(req, url)
      local function note(...) problems[#problems + 1] = tostring((select(2, pcall(...)))) end
      note(req.forward, req, 7)
      note(req.forward, req, url, { tiemout = 1 })
      note(req.forward, req, http.client())
      note(req.forward, req, url, { headers = { ["x\r\ny"] = "z" } })
      problems[#problems + 1] = tostring((select(2, req:forward("http://a/?q"))))
      problems[#problems + 1] = tostring((select(2, req:forward(url, { headers = { x = "a\r\nb: c" } }))))
      req:body()
      note(req.forward, req, url)
      local ok = req:forward(url, { body = "mine" })
      note(req.forward, req, url)
      assert(ok)
      assert(req.path == "/")
    end, function(req) return req:body() end, function(gateway)
      assert.equal("mine", http.post(url_of(gateway), { body = "b" }).body)
    end)
    assert.matches("expected URL, client or endpoint", problems[1])
    assert.matches("opts.tiemout: unknown option", problems[2])
    assert.matches("neither base nor service", problems[3])
    assert.matches("EINVAL", problems[5])
    assert.matches("EINVAL: bad value of header x", problems[6])
    assert.matches("asked for already", problems[7])
    assert.matches("has been answered", problems[8])
  end)
end)
