-- What handlers should not do, and what becomes of it.

local neap = require "neap"
local http, task = neap.http, neap.task

local function serving(handler, fn, opts)
  opts = opts or {}
  opts.handler = handler
  local server = assert(http.serve(opts))
  local ok, err = xpcall(fn, debug.traceback, "http://" .. server.address .. "/", server)
  server:close { grace = 0 }
  if not ok then error(err, 0) end
end

local function ask(handler, opts)
  local res, err
  serving(handler, function(url) res, err = http.request("GET", url, opts) end)
  return res, err
end

local MORE_THAN_A_QUEUE = 65 * 1024 * 1024

describe("http.serve", function()
  setup(function() http.get "http://127.0.0.1:1" end) -- the client's own timer stays

  it("answers when a body is larger than the connection holds", function()
    assert.equal(503, ask(function() return ("x"):rep(MORE_THAN_A_QUEUE) end).status)
  end)

  it("breaks off when a piece is larger than the connection holds", function()
    local piece = ("x"):rep(MORE_THAN_A_QUEUE)
    local res, err = ask(function() return 200, function() return piece end end)
    assert.is_nil(res)
    assert.is_string(err.code)
  end)

  it("leaves a request as it was when its answer cannot be sent", function()
    local res = ask(function(req)
      local ok, err = req:respond(200, ("x"):rep(MORE_THAN_A_QUEUE))
      if not ok then req:respond(500, err.code) end
    end)
    assert.same({ 500, "ELIMIT" }, { res.status, res.body })
  end)

  it("takes no status for its lowest bits", function()
    assert.equal(500, ask(function() return (1 << 32) + 200, "x" end).status)
    assert.equal(500, ask(function(req) req:respond((1 << 32) + 200, "x") end).status)
    assert.equal(500, ask(function(req) req:start((1 << 32) + 200) end).status)
  end)

  it("breaks off when a handler fails after it began, however it says so", function()
    for _, fail in ipairs { function() return nil, "midway" end, function() error "midway" end } do
      local res, err = ask(function(req)
        req:start(200)
        req:write "some"
        return fail()
      end)
      assert.is_nil(res)
      assert.is_string(err.code)
    end
  end)

  it("encodes JSON after all that may run a script's code", function()
    local headers = {
      ["x-list"] = setmetatable({ "a" }, {
        __len = function()
          neap.json.encode(("y"):rep(100000))
          return 1
        end,
      }),
    }
    assert.equal('{"a":[1,2]}', ask(function() return 200, { a = { 1, 2 } }, headers end).body)
  end)

  it("tells tasks of a handler that the client has left", function()
    local gate, result, about = task.future(), task.future(), nil
    serving(function(req)
      about = req
      task.shield(function() gate:await() end)
    end, function(url)
      local call = task.spawn(http.request, "POST", url, { body = "x" })
      while not about do task.yield() end
      call:cancel()
      call:await()
      -- the server hears of it by and by
      while about:inform(102) do task.yield() end
      task.spawn(function() result:resolve(about:body()) end)
      local body, err = result:await()
      assert.is_nil(body)
      assert.equal("the client has left", err.message)
      assert.is_string(about:header "host") -- it is still known who asked what
      assert.is_nil((about:respond(200, "late")))
      assert.is_nil((about:start(200)))
      assert.is_nil((about:write "late"))
      gate:resolve()
    end)
  end)

  it("raises for a request that was answered", function()
    ask(function(req)
      req:respond(200, "x")
      assert.error_matches(function() req:respond(200, "y") end, "has been answered")
      assert.error_matches(function() req:body() end, "has been answered")
      local ok, err = req:write "more"
      assert.is_nil(ok)
      assert.equal("ECLOSED", err.code)
    end)
  end)

  describe("with a chunked body that is too large", function()
    local function post(handler)
      local left = 3
      return ask(handler, {
        body = function()
          left = left - 1
          if left >= 0 then return ("x"):rep(100) end
        end,
      })
    end
    local limited = {
      ["req:body"] = function(req) return req:body(150) end,
      ["req:body, raised"] = function(req)
        local body, err = req:body(150)
        if not body then error(err, 0) end
        return body
      end,
    }
    for how, handler in pairs(limited) do
      it("says 413 for " .. how, function() assert.equal(413, post(handler).status) end)
    end

    it("says 413 when a loop over its pieces ends", function()
      local status
      serving(function(req)
        local n = 0
        for piece in req:chunks() do n = n + #piece end
        return tostring(n)
      end, function(url)
        local left = 3
        local res = assert(http.post(url, {
          body = function()
            left = left - 1
            task.yield()
            if left >= 0 then return ("x"):rep(100) end
          end,
        }))
        status = res.status
      end, { max_body_bytes = 150 })
      assert.equal(413, status)
    end)
  end)

  it("may be closed from inside a handler", function()
    local server
    server = assert(http.serve {
      handler = function()
        server:close { grace = 0 }
        return "never"
      end,
    })
    local res, err = http.get("http://" .. server.address .. "/")
    assert.is_nil(res)
    assert.is_string(err.code)
    assert.is_true(server.closed)
  end)
end)

describe("a client's response", function()
  local pieces = 4

  local function slowly(last)
    return function()
      local n = 0
      return 200, function()
        n = n + 1
        task.sleep(0.001) -- so that each piece comes by itself
        if n <= pieces then return ("x"):rep(100) end
        return last()
      end
    end
  end

  it("gives its body in as many pieces as come", function()
    local size = 0
    serving(slowly(function() end), function(url)
      local res = assert(http.get(url, { stream = true }))
      for piece in res:chunks() do size = size + #piece end
    end)
    assert.equal(pieces * 100, size)
  end)

  it("raises when its body breaks off inside a loop", function()
    serving(slowly(function() error(task.error("EBUSY", "half way")) end), function(url)
      local res = assert(http.get(url, { stream = true }))
      local ok, err = pcall(function()
        for _ in res:chunks() do end -- luacheck: ignore 542
      end)
      assert.is_false(ok)
      assert.equal("ECONNRESET", err.code)
      res = assert(http.get(url, { stream = true }))
      local value
      value, err = res:json()
      assert.is_nil(value)
      assert.equal("ECONNRESET", err.code)
    end)
  end)
end)
