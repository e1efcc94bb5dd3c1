local neap = require "neap"
local http, task = neap.http, neap.task

-- Serves while `fn` runs.
local function serving(handler_or_app, fn, opts)
  opts = opts or {}
  if type(handler_or_app) == "function" then
    opts.handler = handler_or_app
  else
    opts.app = handler_or_app
  end
  local server = assert(http.serve(opts))
  local ok, err = xpcall(fn, debug.traceback, "http://" .. server.address, server)
  server:close { grace = 0 }
  if not ok then error(err, 0) end
end

-- What a handler's answer looks like to a client.
local function answer(handler, opts)
  local res
  serving(handler, function(url) res = assert(http.request("GET", url .. "/", opts)) end)
  return res
end

describe("http.serve", function()
  setup(function() http.get "http://127.0.0.1:1" end) -- the client's own timer stays

  describe("answers", function()
    it("with a text", function()
      local res = answer(function() return "hello" end)
      assert.same({ 200, "hello" }, { res.status, res.body })
      assert.equal("text/plain; charset=utf-8", res.headers["content-type"])
      assert.equal("5", res.headers["content-length"])
    end)

    it("with a table, as JSON", function()
      local res = answer(function() return { list = { 1, 2 }, none = neap.json.array() } end)
      assert.equal("application/json", res.headers["content-type"])
      assert.same({ list = { 1, 2 }, none = {} }, res:json())
    end)

    it("with a status, a body and headers", function()
      local res = answer(function()
        return 201, { id = 1 }, { ["X-A"] = "b", ["set-cookie"] = { "a=1", "b=2" }, ["content-type"] = "x/y" }
      end)
      assert.equal(201, res.status)
      assert.equal('{"id":1}', res.body)
      assert.equal("b", res.headers["x-a"])
      assert.equal("x/y", res.headers["content-type"])
      assert.same({ "a=1", "b=2" }, res.headers["set-cookie"])
    end)

    it("with nothing", function()
      local res = answer(function() end)
      assert.same({ 204, "" }, { res.status, res.body })
      assert.equal(202, answer(function() return 202 end).status)
    end)

    it("with the pieces that a function gives", function()
      local res = answer(function()
        local n = 0
        return 200, function()
          n = n + 1
          task.sleep(0)
          if n <= 3 then return "piece " .. n .. ";" end
        end
      end)
      assert.equal("piece 1;piece 2;piece 3;", res.body)
      assert.equal("chunked", res.headers["transfer-encoding"])
    end)

    it("by hand, piece by piece", function()
      local res = answer(function(req)
        req:start(200, { ["content-type"] = "a/b" }, 6)
        req:write "abc"
        req:write "def"
        req:finish()
      end)
      assert.equal("abcdef", res.body)
      assert.same({ "a/b", "6" }, { res.headers["content-type"], res.headers["content-length"] })
    end)

    it("with what another server answered", function()
      serving(function()
        return 418, "tea", { ["x-kind"] = "pot", connection = nil }
      end, function(inner)
        local res = answer(function() return http.get(inner) end)
        assert.same({ 418, "tea", "pot" }, { res.status, res.body, res.headers["x-kind"] })
        res = answer(function() return http.get(inner, { stream = true }) end)
        assert.same({ 418, "tea", "pot" }, { res.status, res.body, res.headers["x-kind"] })
      end)
    end)

    it("HEAD without a body", function()
      local app = http.app()
      app:get("/", function() return "hello" end)
      app:get("/stream", function() return 200, function() error "not asked" end end)
      serving(app, function(url)
        local res = assert(http.head(url))
        assert.same({ 200, "", "5" }, { res.status, res.body, res.headers["content-length"] })
        assert.equal(200, assert(http.head(url .. "/stream")).status)
      end)
    end)
  end)

  describe("answers for failures", function()
    local statuses = {
      ETIMEDOUT = 504, ENOENDPOINT = 503, ELIMIT = 503, ECONNREFUSED = 502, ECONNRESET = 502, EPROTO = 502,
      EDNS = 502, EINVAL = 500,
    }
    for code, status in pairs(statuses) do
      it(("%d for %s"):format(status, code), function()
        local res = answer(function() return nil, task.error(code, "why") end)
        assert.equal(status, res.status)
        assert.is_string(res:json().error)
      end)
    end

    it("500 for what was raised, and goes on", function()
      serving(function(req)
        if req.path == "/bad" then error "with words" end
        return "fine"
      end, function(url)
        local res = assert(http.get(url .. "/bad"))
        assert.same({ 500, { error = "internal error" } }, { res.status, res:json() })
        assert.equal("fine", assert(http.get(url)).body)
      end)
    end)

    it("500 for what has no JSON form", function()
      assert.equal(500, answer(function() return { f = print } end).status)
    end)

    it("500 for headers that may not go on the wire", function()
      assert.equal(500, answer(function() return 200, "", { ["x-a"] = "a\r\nset-cookie: b=c" } end).status)
    end)

    it("a broken connection for a streamed answer that fails", function()
      serving(function()
        local n = 0
        return 200, function()
          n = n + 1
          if n == 3 then error "in the middle" end
          return "piece"
        end
      end, function(url)
        local res, err = http.get(url)
        assert.is_nil(res)
        assert.is_truthy(err.code == "ECONNRESET" or err.code == "EPROTO" or err.code == "EOF", tostring(err))
      end)
    end)
  end)

  describe("a request", function()
    local function seen(method, target, opts, look)
      local got
      serving(function(req)
        got = table.pack(look(req))
        return "ok"
      end, function(url) assert(http.request(method, url .. target, opts)) end)
      return got
    end

    it("has its line, headers and peer", function()
      local got = seen("PUT", "/a%20b?x=1", { headers = { ["X-One"] = "1" } }, function(req)
        return req.method, req.path, req.query_string, req.target, req.version, req:header "x-ONE",
          req.headers["x-one"], req.remote
      end)
      assert.same({ "PUT", "/a%20b", "x=1", "/a%20b?x=1", "1.1", "1", "1" }, { table.unpack(got, 1, 7) })
      assert.matches("^127%.0%.0%.1:%d+$", got[8])
    end)

    it("has its query decoded", function()
      local got = seen("GET", "/?a=1&b=x+y%21&a=2&c", nil, function(req) return req.query end)
      assert.same({ a = { "1", "2" }, b = "x y!", c = "" }, got[1])
      got = seen("GET", "/", nil, function(req) return req.query end)
      assert.same({}, got[1])
    end)

    it("has its cookies", function()
      local headers = { cookie = "a=1; b=2" }
      local got = seen("GET", "/", { headers = headers }, function(req) return req.cookies end)
      assert.same({ a = "1", b = "2" }, got[1])
    end)

    it("has parameters, empty where the route has none", function()
      local got = seen("GET", "/", nil, function(req) return req.params end)
      assert.same({}, got[1])
    end)

    it("keeps what is set on it", function()
      local got = seen("GET", "/", nil, function(req)
        req.user = { name = "me" }
        task.sleep(0)
        return req.user.name, req.nothing
      end)
      assert.same({ "me", n = 2 }, got)
    end)

    it("gives its body, and gives it again", function()
      local got = seen("POST", "/", { body = "payload" }, function(req) return req:body(), req:body() end)
      assert.same({ "payload", "payload" }, { got[1], got[2] })
    end)

    it("gives its body as JSON, whatever it is called", function()
      local headers = { ["content-type"] = "application/x-www-form-urlencoded" }
      local function json(req) return req:json() end
      local got = seen("POST", "/", { body = '{"a":[1]}', headers = headers }, json)
      assert.same({ a = { 1 } }, got[1])
      got = seen("POST", "/", { body = '{"a":' }, json)
      assert.is_nil(got[1])
      assert.equal("EINVAL", got[2].code)
      got = seen("POST", "/", nil, json)
      assert.equal("JSON: the request has no body", got[2].message)
    end)

    it("gives its body as a form", function()
      local form = { q = "a b&c", tag = { "x", "y" } }
      local got = seen("POST", "/", { form = form }, function(req) return req:form() end)
      assert.same(form, got[1])
    end)

    it("gives its body piece by piece", function()
      local pieces = { ("a"):rep(100000), ("b"):rep(100000), "c" }
      local n = 0
      local function body()
        n = n + 1
        return pieces[n]
      end
      local got = seen("POST", "/", { body = body }, function(req)
        local all = {}
        for piece in req:chunks() do all[#all + 1] = piece end
        return table.concat(all)
      end)
      assert.equal(table.concat(pieces), got[1])
    end)

    it("refuses a body that is too large", function()
      serving(function(req) return req:body() end, function(url)
        local res = assert(http.post(url, { body = ("x"):rep(101) }))
        assert.equal(413, res.status)
        assert.equal(200, assert(http.post(url, { body = ("x"):rep(100) })).status)
      end, { max_body_bytes = 100 })
    end)

    it("refuses headers that are too large", function()
      serving(function() return "ok" end, function(url)
        local res = assert(http.get(url, { headers = { ["x-long"] = ("x"):rep(2000) } }))
        assert.equal(431, res.status)
      end, { max_header_bytes = 1024 })
    end)
  end)

  it("runs each handler in a task of its own", function()
    local gate = task.future()
    serving(function(req)
      if req.path == "/wait" then return gate:await() end
      gate:resolve "let go"
      return "went"
    end, function(url)
      local waiting = http.client({ base = url }):async():get "/wait"
      assert.equal("went", assert(http.get(url .. "/go")).body)
      assert.equal("let go", waiting:await(5).body)
    end)
  end)

  it("cancels the task of a client that leaves", function()
    local begun, ended = task.future(), task.future()
    serving(function()
      local guard <close> = setmetatable({}, { -- luacheck: ignore 211
        __close = function(_, err) ended:resolve(err) end,
      })
      begun:resolve(true)
      task.sleep(60)
    end, function(url)
      local call = http.client({ base = url }):async():get "/"
      begun:await(5)
      call:cancel()
      assert.equal("ECANCELED", ended:await(5).code)
    end)
  end)

  it("finishes what is in flight when it closes", function()
    local begun, gate = task.future(), task.future()
    local server = assert(http.serve {
      handler = function()
        begun:resolve(true)
        gate:await()
        return "finished"
      end,
    })
    local call = http.client({ base = "http://" .. server.address }):async():get "/"
    begun:await(5)
    local closing = task.spawn(server.close, server, { grace = 5 })
    task.sleep(0)
    assert.is_true(server.closed)
    gate:resolve(true)
    assert.equal("finished", call:await(5).body)
    assert.is_true(closing:await(5))
    local _, err = http.get("http://127.0.0.1:" .. (server.port or 1), { timeout = 1 })
    assert.equal("ECONNREFUSED", err.code)
  end)

  it("serves a unix socket", function()
    local path = os.tmpname()
    os.remove(path)
    local server = assert(http.serve { handler = function(req) return req.path end, unix = path })
    assert.equal("unix:" .. path, server.address)
    assert.equal("/a", assert(http.client({ base = "unix:" .. path }):get "/a").body)
    server:close()
    os.remove(path)
  end)

  it("says that a port is in use", function()
    serving(function() end, function(_, server)
      local other, err = http.serve { handler = function() end, port = server.port }
      assert.is_nil(other)
      assert.equal("EADDRINUSE", err.code)
    end)
  end)

  it("may be closed by its own handler, whose answer still goes out", function()
    local server
    server = assert(http.serve {
      handler = function()
        server:close()
        return "the last one"
      end,
    })
    assert.equal("the last one", http.get("http://" .. server.address .. "/").body)
    server:close()
    assert.is_true(server.closed)
  end)

  it("refuses misuse where it happens", function()
    local function refusal(opts)
      local line = debug.getinfo(1, "l").currentline + 1
      local ok, message = pcall(function() return (http.serve(opts)) end)
      assert.is_false(ok)
      assert.equal(line, tonumber(message:match "server_spec%.lua:(%d+):"), message)
      return message:match "^[^:]+:%d+: (.*)$"
    end
    assert.equal("opts.app: expected neap.http.app, got string", refusal { app = "x" })
    assert.equal("opts: expected app or handler, not both", refusal { app = http.app(), handler = print })
    assert.matches("opts.tiemout: unknown option", refusal { handler = print, tiemout = 1 })
    assert.matches("opts.handler", refusal {})
  end)
end)
