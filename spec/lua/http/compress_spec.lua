local neap = require "neap"
local http, task, coding = neap.http, neap.task, neap.coding

local text = ("the tide is even, the tide is small; "):rep(200)

-- Serves while `fn` runs.
local function serving(opts, fn)
  local server = assert(http.serve(opts))
  local ok, err = xpcall(fn, debug.traceback, "http://" .. server.address)
  server:close { grace = 0 }
  if not ok then error(err, 0) end
end

-- The answer of a handler as it is on the wire for a client that accepts `accept`.
local function answer(handler, accept, compress, method)
  local res
  if compress == nil then compress = true end
  serving({ handler = handler, compress = compress }, function(url)
    res = assert(http.request(method or "GET", url .. "/", { headers = { ["accept-encoding"] = accept } }))
  end)
  return res
end

local function is_plain(res, body)
  assert.is_nil(res.headers["content-encoding"])
  assert.equal(body or text, res.body)
end

local function is_encoded(res, name, body)
  assert.equal(name, res.headers["content-encoding"])
  assert.equal(body or text, coding.decompress(res.body, name))
end

describe("compress", function()
  setup(function() http.get "http://127.0.0.1:1" end)

  it("follows what the client accepts", function()
    local function handler() return text end
    for _, name in ipairs { "gzip", "br", "zstd" } do
      local res = answer(handler, name)
      is_encoded(res, name)
      assert.equal("Accept-Encoding", res.headers["vary"])
      assert.equal(tostring(#res.body), res.headers["content-length"])
      assert.equal("text/plain; charset=utf-8", res.headers["content-type"])
    end
    is_encoded(answer(handler, "gzip, deflate, br, zstd"), "zstd")
    is_encoded(answer(handler, "gzip;q=1, br;q=0.5"), "gzip")
    is_encoded(answer(handler, "gzip, br", { encodings = { "gzip", "br" } }), "gzip")
    is_encoded(answer(handler, "*;q=0.5", { encodings = { "deflate" } }), "deflate")
    local res = answer(handler, "identity")
    is_plain(res)
    assert.equal("Accept-Encoding", res.headers["vary"])
    is_plain(answer(handler, "gzip;q=0, compress"))
    is_plain(answer(handler, "gzip", false))
  end)

  it("compresses every kind of answer", function()
    local list = {}
    for i = 1, 300 do list[i] = "item" end
    local json = neap.json.encode(list)
    is_encoded(answer(function() return list end, "gzip"), "gzip", json)
    is_encoded(answer(function() return 404, text, { ["content-type"] = "text/html" } end, "gzip"), "gzip")
    is_encoded(answer(function(req) req:respond(200, text) end, "br"), "br")
    local function stream(req)
      req:start(200, { ["content-type"] = "text/css" })
      for i = 1, #text, 500 do req:write(text:sub(i, i + 499)) end
      req:finish()
    end
    is_encoded(answer(stream, "zstd"), "zstd")
    local function known(req)
      req:start(200, { ["content-type"] = "text/css" }, #text)
      req:write(text)
      -- returning ends it
    end
    local res = answer(known, "gzip")
    is_encoded(res, "gzip")
    assert.is_nil(res.headers["content-length"])
    local function pieces()
      local at = 0
      return 200, function()
        at = at + 1
        return text:sub(at * 1000 - 999, at * 1000) ~= "" and text:sub(at * 1000 - 999, at * 1000) or nil
      end, { ["content-type"] = "text/x" }
    end
    is_encoded(answer(pieces, "br"), "br")
  end)

  it("compresses long bodies in pieces, while other requests are answered", function()
    local long = text:rep(60)
    local turns = 0
    local function slow(req)
      if req.path == "/turn" then
        turns = turns + 1
        return "ok"
      end
      if req.path == "/respond" then
        req:respond(200, long)
      elseif req.path == "/write" then
        req:start(200, { ["content-type"] = "text/plain" })
        req:write(long)
        req:finish()
      elseif req.path == "/json" then
        return { long = long }
      else
        return long
      end
    end
    serving({ handler = slow, compress = true }, function(url)
      for _, path in ipairs { "/", "/respond", "/write", "/json" } do
        local seen
        local call = { headers = { ["accept-encoding"] = "gzip" } }
        local other = task.spawn(function()
          assert.equal("ok", assert(http.get(url .. "/turn")).body)
          seen = true
        end)
        local res = assert(http.get(url .. path, call))
        assert.is_true(other:await(10) == nil and seen)
        is_encoded(res, "gzip", path == "/json" and neap.json.encode { long = long } or long)
        local kind = path == "/json" and "application/json" or "text/plain"
        assert.equal(kind, res.headers["content-type"]:match "^[^;]*")
      end
    end)
    assert.equal(4, turns)
  end)

  it("leaves alone what is not to be compressed", function()
    local function with(status, body, headers)
      return function() return status, body, headers end
    end
    local small = text:sub(1, 1000)
    local res = answer(function() return small end, "gzip")
    is_plain(res, small)
    assert.is_nil(res.headers["vary"])
    is_encoded(answer(function() return small end, "gzip", { min_bytes = 10 }), "gzip", small)
    is_plain(answer(with(200, text, { ["content-type"] = "image/png" }), "gzip"))
    is_plain(answer(with(200, text, { ["content-type"] = "application/zip" }), "gzip"))
    is_plain(answer(with(200, text, { ["cache-control"] = "public, No-Transform" }), "gzip"))
    is_plain(answer(with(206, text, { ["content-range"] = "bytes 0-7399/9999" }), "gzip"))
    assert.equal(text, answer(with(200, text, { ["content-encoding"] = "x-own" }), "gzip").body)
    assert.same({ 204, "" }, { answer(with(204), "gzip").status, answer(with(204), "gzip").body })
    res = answer(with(304, nil, { etag = '"a"' }), "gzip")
    assert.same({ 304, '"a"' }, { res.status, res.headers["etag"] })
    -- noise does not get smaller
    local noise = {}
    for i = 1, 2000 do noise[i] = string.char(math.random(0, 255)) end
    is_plain(answer(with(200, table.concat(noise)), "gzip"), table.concat(noise))
  end)

  it("knows types", function()
    local function typed(kind, types)
      local function handler() return 200, text, { ["content-type"] = kind } end
      local res = answer(handler, "gzip", { types = types })
      return res.headers["content-encoding"] == "gzip"
    end
    for _, kind in ipairs {
      "text/html; charset=utf-8", "TEXT/HTML", "application/json", "application/problem+json",
      "image/svg+xml", "application/javascript ; x=y", "font/ttf", "application/wasm",
    } do
      assert.is_true(typed(kind), kind)
    end
    for _, kind in ipairs {
      "image/jpeg", "font/woff2", "video/mp4", "application/gzip", "application/octet-stream",
    } do
      assert.is_false(typed(kind), kind)
    end
    assert.is_true(typed("image/png", { "image/*" }))
    assert.is_false(typed("text/html", { "image/*" }))
    assert.is_true(typed("a/b+c", { "+c" }))
    assert.is_true(typed("a/b", { "*/*" }))
    assert.is_false(typed("text/htmlx", { "text/html" }))
    assert.is_false(typed("text/html", {}))
  end)

  it("changes what is said of the bytes", function()
    local function handler()
      return 200, text, { ETag = '"v1"', Vary = "Origin", ["Accept-Ranges"] = "bytes" }
    end
    local res = answer(handler, "gzip")
    assert.equal('W/"v1"', res.headers["etag"])
    assert.equal("Origin, Accept-Encoding", res.headers["vary"])
    assert.is_nil(res.headers["accept-ranges"])
    res = answer(handler, "identity")
    assert.equal('"v1"', res.headers["etag"])
    assert.equal("bytes", res.headers["accept-ranges"])
    local function weak() return 200, text, { etag = 'W/"v1"', vary = "accept-encoding" } end
    res = answer(weak, "gzip")
    assert.same({ 'W/"v1"', "accept-encoding" }, { res.headers["etag"], res.headers["vary"] })
    -- one too long to be changed
    local long = '"' .. ("e"):rep(300) .. '"'
    res = answer(function() return 200, text, { etag = long } end, "gzip")
    assert.equal(long, res.headers["etag"])
    is_plain(res)
  end)

  it("answers HEAD as it would GET", function()
    local function handler() return text end
    local get, head = answer(handler, "gzip"), answer(handler, "gzip", true, "HEAD")
    assert.equal("", head.body)
    assert.equal("gzip", head.headers["content-encoding"])
    assert.equal(get.headers["content-length"], head.headers["content-length"])
    local function long(req)
      req:start(200, { ["content-type"] = "text/css" })
      req:finish()
    end
    head = answer(long, "br", true, "HEAD")
    assert.same({ "br", "" }, { head.headers["content-encoding"], head.body })
  end)

  it("flushes events at once, and what else was written before the loop waits", function()
    for _, kind in ipairs { "text/event-stream", "text/plain" } do
      local go = { task.future(), task.future(), task.future() }
      local function handler(req)
        req:start(200, { ["content-type"] = kind })
        for i = 1, 3 do
          req:write(("data: %d\n"):format(i))
          req:write "\n"
          go[i]:await(10)
        end
        req:finish()
      end
      serving({ handler = handler, compress = true }, function(url)
        local opts = { stream = true, headers = { ["accept-encoding"] = "zstd" } }
        local res = assert(http.get(url .. "/", opts))
        assert.equal("zstd", res.headers["content-encoding"])
        local d, got = coding.decoder "zstd", ""
        for i = 1, 3 do
          local wanted = ("data: %d\n\n"):format(i)
          while #got < #wanted * i do got = got .. assert(d:write(assert(res:read(10)))) end
          assert.equal(wanted, got:sub(-#wanted))
          go[i]:resolve(true)
        end
        local rest = ""
        for piece in res:chunks() do rest = rest .. piece end
        assert.equal("", d:finish(rest))
      end)
    end
  end)

  it("passes on what another server has sent", function()
    local function origin(req)
      if req.path == "/coded" then
        local headers = { ["content-encoding"] = "gzip", ["content-type"] = "text/x" }
        return 200, coding.compress(text, "gzip"), headers
      end
      return text
    end
    serving({ handler = origin }, function(from)
      for _, stream in ipairs { true, false } do
        local function gateway(req)
          return http.get(from .. req.path, { stream = stream, headers = { ["accept-encoding"] = "gzip" } })
        end
        serving({ handler = gateway, compress = true }, function(url)
          local call = { headers = { ["accept-encoding"] = "gzip, br" } }
          is_encoded(assert(http.get(url .. "/", call)), "br")
          is_encoded(assert(http.get(url .. "/coded", call)), "gzip")
        end)
      end
    end)
  end)

  it("compresses what is forwarded", function()
    local long = text:rep(100)
    local function origin(req)
      if req.path == "/coded" then
        return 200, coding.compress(text, "br"), { ["content-encoding"] = "br", ["content-type"] = "text/x" }
      elseif req.path == "/trailers" then
        req:start(200, { ["content-type"] = "text/x", trailer = "x-sum", etag = '"v"' })
        req:write(text)
        return req:finish { ["x-sum"] = "42" }
      elseif req.path == "/small" then
        return "small"
      elseif req.path == "/broken" then
        req:start(200, { ["content-type"] = "text/x" }, #text)
        req:write(text:sub(1, 5000))
        task.sleep(0)
        error "broken"
      end
      return long
    end
    serving({ handler = origin }, function(from)
      local function gateway(req) return req:forward(from) end
      serving({ handler = gateway, compress = true }, function(url)
        local call = { headers = { ["accept-encoding"] = "gzip, zstd;q=0.5" } }
        is_encoded(assert(http.get(url .. "/", call)), "gzip", long)
        local res = assert(http.get(url .. "/trailers", call))
        is_encoded(res, "gzip")
        assert.same({ 'W/"v"', "42" }, { res.headers["etag"], res.trailers["x-sum"] })
        is_encoded(assert(http.get(url .. "/coded", call)), "br")
        is_plain(assert(http.get(url .. "/small", call)), "small")
        is_plain(assert(http.get(url .. "/", { headers = { ["accept-encoding"] = "identity" } })), long)
        local head = assert(http.head(url .. "/", call))
        assert.same({ "gzip", "" }, { head.headers["content-encoding"], head.body })
        local broken, err = http.get(url .. "/broken", call)
        assert.is_nil(broken)
        assert.is_string(err.code)
      end)
    end)
  end)

  it("is a middleware, too", function()
    local app = http.app()
    local tiny = http.compress { min_bytes = 1, level = 9 }
    app:get("/small", tiny, function() return "small small small small" end)
    app:get("/plain", function() return text end)
    serving({ app = app }, function(url)
      local call = { headers = { ["accept-encoding"] = "gzip" } }
      is_plain(assert(http.get(url .. "/plain", call)))
      local res = assert(http.get(url .. "/small", call))
      assert.equal("Accept-Encoding", res.headers["vary"])
      assert.equal("small small small small", res.body) -- it did not get smaller
    end)
  end)

  it("ends a broken answer so that the client knows", function()
    local function handler()
      local n = 0
      return 200, function()
        n = n + 1
        if n == 3 then return nil, task.error("EIO", "broken") end
        return text
      end, { ["content-type"] = "text/x" }
    end
    serving({ handler = handler, compress = true }, function(url)
      local res, err = http.get(url .. "/", { headers = { ["accept-encoding"] = "gzip" } })
      assert.is_nil(res)
      assert.is_string(err.code)
    end)
  end)

  it("sends trailers behind what is compressed", function()
    local function handler(req)
      req:start(200, { ["content-type"] = "text/x", trailer = "x-sum" })
      req:write(text)
      req:finish { ["x-sum"] = "42" }
    end
    local res = answer(handler, "gzip")
    is_encoded(res, "gzip")
    assert.equal("42", res.trailers and res.trailers["x-sum"])
  end)

  it("lets go of everything when the client leaves in the middle", function()
    for _, name in ipairs { "gzip", "br", "zstd" } do
      local ended = task.future()
      local function handler(req)
        local guard <close> = setmetatable({}, { -- luacheck: ignore 211
          __close = function() ended:resolve(true) end,
        })
        req:start(200, { ["content-type"] = "text/x" })
        while true do
          local ok = req:write(text)
          if not ok then return end
          task.sleep(0)
        end
      end
      serving({ handler = handler, compress = true }, function(url)
        local opts = { stream = true, headers = { ["accept-encoding"] = name } }
        local res = assert(http.get(url .. "/", opts))
        assert.is_string(res:read(10))
        res:close()
        assert.is_true(ended:await(10))
      end)
    end
  end)

  it("leaves files to precompressed ones", function()
    local app = http.app()
    app:get("/file", function(req) return req:send_file "spec/lua/http/compress_spec.lua" end)
    serving({ app = app, compress = true }, function(url)
      local res = assert(http.get(url .. "/file", { headers = { ["accept-encoding"] = "gzip" } }))
      assert.is_nil(res.headers["content-encoding"])
      assert.is_truthy(res.body:find("leaves files", 1, true))
    end)
  end)

  it("refuses options that make no sense", function()
    local function refused(pattern, opts)
      local ok, err = pcall(http.compress, opts)
      assert.is_false(ok)
      assert.is_truthy(err:find(pattern, 1, true), err)
      ok, err = pcall(http.serve, { handler = function() end, compress = opts })
      assert.is_false(ok)
      assert.is_truthy(err:find(pattern:gsub("opts", "opts.compress"), 1, true), err)
    end
    refused("opts.speed", { speed = 1 })
    refused("opts.encodings[2]: expected", { encodings = { "gzip", "lzw" } })
    refused("opts.encodings: expected at least one", { encodings = {} })
    refused("opts.level: must be between 1 and 9 for gzip", { level = 11 })
    refused("opts.level.br: must be between 0 and 11", { level = { br = 12 } })
    refused('opts.level: "lzw" is no coding', { level = { lzw = 1 } })
    refused("opts.types[1]: expected", { types = { "html" } })
    refused("opts.types: expected table, got string", { types = "text/*" })
    refused("opts.min_bytes: expected", { min_bytes = "1k" })
  end)
end)
