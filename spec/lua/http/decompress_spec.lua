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

-- What the server makes of a body.
local function posted(handler, body, headers, decompress)
  local res
  if decompress == nil then decompress = true end
  serving({ handler = handler, decompress = decompress }, function(url)
    res = assert(http.post(url .. "/", { body = body, headers = headers }))
  end)
  return res
end

local function echo(req)
  local body, err = req:body()
  if not body then return nil, err end
  return body
end

-- A function that gives the data in pieces, a turn of the loop between them.
local function in_pieces(data, size)
  local at = 1
  return function()
    task.sleep(0)
    local piece = data:sub(at, at + size - 1)
    at = at + size
    return piece ~= "" and piece or nil
  end
end

describe("decompress", function()
  setup(function() http.get "http://127.0.0.1:1" end)

  it("gives what was encoded", function()
    for _, name in ipairs { "gzip", "deflate", "br", "zstd" } do
      local headers = { ["content-encoding"] = name }
      assert.equal(text, posted(echo, coding.compress(text, name), headers).body)
      assert.equal(text, posted(echo, in_pieces(coding.compress(text, name), 7), headers).body)
      assert.equal("", posted(echo, coding.compress("", name), headers).body)
    end
    local twice = coding.compress(coding.compress(text, "br"), "gzip")
    assert.equal(text, posted(echo, twice, { ["content-encoding"] = "br, x-gzip" }).body)
    assert.equal("plain", posted(echo, "plain").body)
    assert.equal("plain", posted(echo, "plain", { ["content-encoding"] = "identity" }).body)
    assert.equal("", posted(echo, "", { ["content-encoding"] = "gzip" }).body)
  end)

  it("does so for every way to read", function()
    local gzip = { ["content-encoding"] = "gzip" }
    local function json(req) return { got = assert(req:json()).a } end
    assert.equal('{"got":[1,2]}', posted(json, coding.compress('{"a":[1,2]}', "gzip"), gzip).body)
    local function form(req) return assert(req:form()).q end
    assert.equal("x y", posted(form, coding.compress("q=x+y", "gzip"), gzip).body)
    local long = text:rep(200)
    for _, size in ipairs { 1000, 1 << 20 } do
      local most
      local function pieces(req)
        local all = {}
        most = 0
        for piece in req:chunks() do
          all[#all + 1] = piece
          most = math.max(most, #piece)
          task.sleep(0)
        end
        return tostring(table.concat(all) == long)
      end
      local limits = { max_bytes = 10 << 20, max_ratio = 0 }
      assert.equal("true", posted(pieces, in_pieces(coding.compress(long, "gzip"), size), gzip, limits).body)
      assert.is_true(most <= 128 * 1024, "pieces are bounded, whatever they came of")
    end
  end)

  it("hides what was said of the encoded bytes", function()
    local function tell(req)
      local encoding, length = req.headers["content-encoding"], req:header "content-length"
      return { encoding = encoding or "none", length = length or "none" }
    end
    local res = posted(tell, coding.compress(text, "gzip"), { ["content-encoding"] = "gzip" })
    assert.same({ encoding = "none", length = "none" }, res:json())
    res = posted(tell, "plain")
    assert.same({ encoding = "none", length = "5" }, res:json())
  end)

  it("leaves bodies alone unless it is asked for", function()
    local small = coding.compress(text, "gzip")
    assert.equal(small, posted(echo, small, { ["content-encoding"] = "gzip" }, false).body)
  end)

  it("answers 415 for a coding that it does not know", function()
    local called = false
    local function handler() called = true end
    for _, name in ipairs { "compress", "gzip, aes128gcm", "gzip,gzip,gzip,gzip,gzip" } do
      local res = posted(handler, "x", { ["content-encoding"] = name })
      assert.equal(415, res.status)
      assert.equal("zstd, br, gzip, deflate", res.headers["accept-encoding"])
    end
    local res = posted(handler, "x", { ["content-encoding"] = "br" }, { encodings = { "gzip" } })
    assert.same({ 415, "gzip" }, { res.status, res.headers["accept-encoding"] })
    assert.equal(400, posted(handler, "x", { ["content-encoding"] = "gzip;q=1" }).status)
    assert.is_false(called)
  end)

  it("answers 400 for a body that is damaged", function()
    local gzip = { ["content-encoding"] = "gzip" }
    local small = coding.compress(text, "gzip")
    for _, body in ipairs { "no gzip", small:sub(1, -5), small .. "x", in_pieces(small:sub(1, -5), 10) } do
      assert.equal(400, posted(echo, body, gzip).status)
    end
    local seen
    local function careful(req)
      local body, err = req:body()
      seen = err
      return body or "sorry"
    end
    assert.equal("sorry", posted(careful, "no gzip", gzip).body)
    assert.equal("EPROTO: the compressed data is damaged", tostring(seen))
    local function pieces(req)
      local got = 0
      for piece in req:chunks() do got = got + #piece end
      return tostring(got)
    end
    assert.equal(400, posted(pieces, in_pieces(small:sub(1, -5), 10), gzip).status)
  end)

  it("answers 413 for a body that becomes too large", function()
    local gzip = { ["content-encoding"] = "gzip" }
    local bomb = coding.compress(("\0"):rep(16 << 20), "gzip")
    assert.equal(413, posted(echo, bomb, gzip).status)
    assert.equal(413, posted(echo, bomb, gzip, { max_bytes = 0 }).status) -- by its ratio
    assert.equal(413, posted(echo, coding.compress(text, "gzip"), gzip, { max_bytes = #text - 1 }).status)
    assert.equal(200, posted(echo, coding.compress(text, "gzip"), gzip, { max_bytes = #text }).status)
    local function little(req)
      local body, err = req:body(100)
      if not body then return nil, err end
      return "all"
    end
    assert.equal(413, posted(little, coding.compress(text, "gzip"), gzip).status)
    assert.equal("all", posted(little, coding.compress(text:sub(1, 100), "gzip"), gzip).body)
    serving({ handler = echo, decompress = true, max_body_bytes = 2000 }, function(url)
      local res = assert(http.post(url .. "/", { body = coding.compress(text, "gzip"), headers = gzip }))
      assert.equal(413, res.status)
    end)
  end)

  it("holds the client back while nobody reads", function()
    local long = {}
    for i = 1, 40000 do long[i] = ("%d;"):format(i * 7919 % 100003) end
    long = table.concat(long):rep(8)
    local function slow(req)
      local hash, n = 0, 0
      while true do
        local piece = req:read()
        if not piece then break end
        for i = 1, #piece, 4096 do hash = (hash * 31 + piece:byte(i)) % 1000003 end
        n = n + #piece
        for _ = 1, 3 do task.sleep(0) end
      end
      return tostring(n)
    end
    serving({ handler = slow, decompress = { max_bytes = 0 }, max_body_bytes = 0 }, function(url)
      local opts = { body = coding.compress(long, "gzip"), headers = { ["content-encoding"] = "gzip" } }
      assert.equal(tostring(#long), assert(http.post(url .. "/", opts)).body)
    end)
  end)

  it("is a middleware, too", function()
    local app = http.app()
    app:post("/coded", http.decompress { max_bytes = 10000 }, echo)
    app:post("/raw", echo)
    serving({ app = app }, function(url)
      local small = coding.compress(text, "zstd")
      local opts = { body = small, headers = { ["content-encoding"] = "zstd" } }
      assert.equal(text, assert(http.post(url .. "/coded", opts)).body)
      assert.equal(small, assert(http.post(url .. "/raw", opts)).body)
      opts.headers["content-encoding"] = "x"
      assert.equal(415, assert(http.post(url .. "/coded", opts)).status)
    end)
  end)

  it("refuses options that make no sense", function()
    local function refused(pattern, fn, opts)
      local ok, err = pcall(fn, opts)
      assert.is_false(ok)
      assert.is_truthy(err:find(pattern, 1, true), err)
    end
    local function handler() end
    refused("opts.max: unknown", http.decompress, { max = 1 })
    refused("opts.encodings[1]: expected", http.decompress, { encodings = { "x" } })
    refused("opts.decompress.speed", http.serve, { handler = handler, decompress = { speed = 1 } })
    refused("opts.decompress: expected boolean or table, got string", http.serve,
      { handler = handler, decompress = "gzip" })
  end)
end)
