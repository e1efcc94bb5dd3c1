-- What a handler can do with conditions, ranges, preferences and files of its own.

local neap = require "neap"
local http = neap.http

-- What a handler answers to one request.
local function ask(handler, opts)
  opts = opts or {}
  local server = assert(http.serve { handler = handler })
  local res, err = http.request(opts.method or "GET", "http://" .. server.address .. "/x", {
    headers = opts.headers, body = opts.body,
  })
  server:close { grace = 0 }
  return assert(res, err)
end

-- What a function of the request gives, for these headers.
local function result(fn, headers)
  local got
  ask(function(req)
    got = table.pack(pcall(fn, req))
    return "x"
  end, { headers = headers })
  if not got[1] then error(got[2], 0) end
  return table.unpack(got, 2, got.n)
end

describe("req:accepts", function()
  setup(function() http.get "http://127.0.0.1:1" end) -- the client's own timer stays

  it("gives what the client likes best, and the server where it likes two alike", function()
    local function best(accept, ...)
      local names = table.pack(...)
      local function ask_for(req) return req:accepts(table.unpack(names, 1, names.n)) end
      return result(ask_for, { accept = accept })
    end
    assert.equal("json", best("application/json", "html", "json"))
    assert.equal("html", best("*/*", "html", "json"))
    assert.equal("json", best("text/html;q=0.5, application/*", "html", "json"))
    assert.equal("text/plain", best("text/*", "image/png", "text/plain"))
    assert.is_nil(best("image/*", "html", "json"))
    assert.is_nil(best("*/*, text/html;q=0", "html"))
  end)

  it("takes anything where the client says nothing", function()
    assert.equal("xml", result(function(req) return req:accepts("xml", "json") end))
  end)

  it("does the same for codings, charsets and languages", function()
    local headers = {
      ["accept-encoding"] = "gzip;q=0.5, br",
      ["accept-charset"] = "utf-8",
      ["accept-language"] = "de-CH, fr;q=0.3",
    }
    assert.equal("br", result(function(req) return req:accepts_encoding("gzip", "br") end, headers))
    local function plain(req) return req:accepts_encoding("zstd", "identity") end
    assert.equal("identity", result(plain, headers))
    assert.is_nil(result(function(req) return req:accepts_charset "latin1" end, headers))
    assert.equal("de", result(function(req) return req:accepts_language("fr", "de") end, headers))
    assert.is_nil(result(function(req) return req:accepts_language "en" end, headers))
  end)

  it("refuses what is no type", function()
    local function refuses(want, ...)
      local names = table.pack(...)
      local ok, err = pcall(result, function(req) return req:accepts(table.unpack(names, 1, names.n)) end)
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find(want, 1, true), tostring(err))
    end
    refuses('no media type is called "jsno"', "jsno")
    refuses("expected at least one candidate")
    refuses("candidate 2: expected string", "json", 5)
  end)

  it("answers in one of several forms, or 406", function()
    local function handler(req)
      return req:negotiate {
        { "json", function() return { a = 1 } end },
        { "html", function() return "<p>", { ["X-Form"] = "page" } end },
      }
    end
    local res = ask(handler, { headers = { accept = "text/html" } })
    assert.same({ 200, "<p>", "text/html; charset=utf-8", "Accept", "page" },
      { res.status, res.body, res.headers["content-type"], res.headers["vary"], res.headers["x-form"] })
    res = ask(handler, { headers = { accept = "*/*" } })
    assert.same({ "application/json", { a = 1 } }, { res.headers["content-type"], res:json() })
    res = ask(handler, { headers = { accept = "image/png" } })
    assert.same({ 406, { "application/json", "text/html" } }, { res.status, res:json().available })
  end)
end)

describe("req:fresh", function()
  local function handler(req)
    local validators = { etag = '"v1"', last_modified = 1700000000 }
    validators.headers = { ["cache-control"] = "max-age=5" }
    if req:fresh(validators) then return end
    return 200, "made", http.conditional.headers(validators)
  end

  it("answers 304 and 412 by itself", function()
    local res = ask(handler)
    assert.same({ 200, "made", '"v1"', "Tue, 14 Nov 2023 22:13:20 GMT" },
      { res.status, res.body, res.headers["etag"], res.headers["last-modified"] })
    res = ask(handler, { headers = { ["if-none-match"] = 'W/"v1"' } })
    assert.same({ 304, '"v1"', "max-age=5" },
      { res.status, res.headers["etag"], res.headers["cache-control"] })
    local since = { ["if-modified-since"] = "Tue, 14 Nov 2023 22:13:20 GMT" }
    assert.equal(304, ask(handler, { headers = since }).status)
    assert.equal(412, ask(handler, { headers = { ["if-match"] = '"v2"' } }).status)
    local create = { method = "PUT", body = "x", headers = { ["if-none-match"] = "*" } }
    assert.equal(412, ask(handler, create).status)
  end)

  it("knows what is not there yet", function()
    local function create(req)
      if req:fresh { absent = true } then return end
      return 201
    end
    local opts = { method = "PUT", body = "x", headers = { ["if-none-match"] = "*" } }
    assert.equal(201, ask(create, opts).status)
    opts.headers = { ["if-match"] = "*" }
    assert.equal(412, ask(create, opts).status)
  end)

  it("refuses what is no tag", function()
    local function refuses(opts, want)
      local ok, err = pcall(result, function(req) return req:fresh(opts) end)
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find(want, 1, true), tostring(err))
    end
    refuses({ etag = "v1" }, "etag: expected")
    refuses({ tag = '"v1"' }, "opts.tag: unknown option")
    refuses({ last_modified = -1 }, "seconds since 1970")
  end)
end)

describe("req:respond_ranged", function()
  local text = "0123456789"

  local function of_function(req)
    return select(2, req:respond_ranged(function(first, last) return text:sub(first + 1, last + 1) end,
      { size = #text, type = "text/plain" }))
  end
  local function of_string(req)
    req:respond_ranged(text, { type = "text/plain", etag = '"v1"', headers = { ["X-A"] = "b" } })
  end

  it("sends the whole, one range, several, or none", function()
    for _, handler in ipairs { of_string, of_function } do
      local res = ask(handler)
      assert.same({ 200, text, "bytes" }, { res.status, res.body, res.headers["accept-ranges"] })
      res = ask(handler, { headers = { range = "bytes=-4" } })
      assert.same({ 206, "6789", "bytes 6-9/10" }, { res.status, res.body, res.headers["content-range"] })
      res = ask(handler, { headers = { range = "bytes=0-0,9-" } })
      assert.equal(206, res.status)
      assert.matches("multipart/byteranges; boundary=%x+", res.headers["content-type"])
      assert.is_truthy(res.body:find("Content-Range: bytes 9-9/10\r\n\r\n9", 1, true))
      res = ask(handler, { headers = { range = "bytes=10-" } })
      assert.same({ 416, "bytes */10" }, { res.status, res.headers["content-range"] })
      res = ask(handler, { method = "HEAD", headers = { range = "bytes=0-0" } })
      assert.same({ 200, "10" }, { res.status, res.headers["content-length"] })
    end
    assert.equal("b", ask(of_string).headers["x-a"])
  end)

  it("minds If-Range", function()
    assert.equal(206, ask(of_string, { headers = { range = "bytes=0-0", ["if-range"] = '"v1"' } }).status)
    assert.equal(200, ask(of_string, { headers = { range = "bytes=0-0", ["if-range"] = '"v2"' } }).status)
    assert.equal(200, ask(of_function, { headers = { range = "bytes=0-0", ["if-range"] = '"v1"' } }).status)
  end)

  it("sends an empty body", function()
    local res = ask(function(req) req:respond_ranged "" end, { headers = { range = "bytes=0-" } })
    assert.equal(416, res.status)
    assert.equal("", ask(function(req) req:respond_ranged "" end).body)
  end)

  it("says which ranges are asked for", function()
    local function ranges(value) return result(function(req) return req:ranges(10) end, { range = value }) end
    assert.is_nil(ranges(nil))
    assert.is_nil(ranges "bytes=x")
    assert.is_false(ranges "bytes=10-")
    assert.same({ { 8, 9 }, { 0, 2 } }, ranges "bytes=8-,0-1,1-2")
  end)
end)

describe("req:send_file", function()
  local dir

  setup(function()
    local pipe = assert(io.popen "mktemp -d")
    dir = pipe:read "l"
    pipe:close()
    for name, content in pairs { ["a.txt"] = "file a", ["ü.bin"] = "bin", ["page.html"] = "<p>" } do
      local file = assert(io.open(dir .. "/" .. name, "wb"))
      file:write(content)
      file:close()
    end
    os.execute(("mkdir '%s/sub'; touch -d 2024-01-01 '%s'/*"):format(dir, dir))
  end)
  teardown(function() os.execute(("rm -rf '%s'"):format(dir)) end)

  local function send(path, opts, headers)
    local ok, err
    local res = ask(function(req)
      ok, err = req:send_file(path, opts)
      if not ok then return 404, err.code end
    end, { headers = headers })
    return res, err
  end

  it("sends a file, with its conditions and ranges", function()
    local res = send(dir .. "/a.txt")
    assert.same({ 200, "file a", "text/plain; charset=utf-8" },
      { res.status, res.body, res.headers["content-type"] })
    assert.equal(304, send(dir .. "/a.txt", nil, { ["if-none-match"] = res.headers["etag"] }).status)
    assert.equal("a", send(dir .. "/a.txt", nil, { range = "bytes=5-" }).body)
  end)

  it("keeps below a root", function()
    assert.equal("file a", send("a.txt", { root = dir }).body)
    for _, path in ipairs { "../a.txt", "/etc/passwd", "sub/../a.txt", "a.txt\0", "sub", "none", "" } do
      local res = send(path, { root = dir .. "/" })
      assert.same({ path, 404 }, { path, res.status })
    end
  end)

  it("leaves the request to its handler when there is no such file", function()
    local res, err = send(dir .. "/none")
    assert.same({ 404, "ENOENT" }, { res.status, err.code })
    assert.equal("ENOENT", select(2, send(dir)).code)
    assert.equal("ENOENT", select(2, send("x", { root = dir .. "/none" })).code)
  end)

  it("takes type, status, download, cache", function()
    local opts = { type = "text/x-page", status = 404, max_age = 5 }
    local res = send(dir .. "/page.html", opts, { range = "bytes=0-0" })
    assert.same({ 404, "<p>", "text/x-page", "public, max-age=5" },
      { res.status, res.body, res.headers["content-type"], res.headers["cache-control"] })
    res = send(dir .. "/a.txt", { download = true })
    assert.equal('attachment; filename="a.txt"', res.headers["content-disposition"])
    res = send(dir .. "/ü.bin", { download = true })
    assert.equal("attachment; filename=\"__.bin\"; filename*=UTF-8''%C3%BC.bin",
      res.headers["content-disposition"])
    res = send(dir .. "/a.txt", { download = 'a"b\\c\r\n.pdf' })
    assert.equal("application/pdf", res.headers["content-type"])
    assert.equal("attachment; filename=\"a_b_c__.pdf\"; filename*=UTF-8''a%22b%5Cc%0D%0A.pdf",
      res.headers["content-disposition"])
  end)

  it("answers once", function()
    local problem
    ask(function(req)
      req:start(200)
      problem = select(2, pcall(req.send_file, req, dir .. "/a.txt"))
      req:finish()
    end)
    assert.is_truthy(tostring(problem):find("already begun", 1, true))
    ask(function(req)
      req:send_file(dir .. "/a.txt")
      problem = select(2, pcall(req.send_file, req, dir .. "/a.txt"))
    end)
    assert.is_truthy(tostring(problem):find("has been answered", 1, true))
    ask(function(req)
      problem = select(2, pcall(req.send_file, req, dir .. "/a.txt", { headers = { ["a b"] = "x" } }))
    end)
    assert.equal("opts.headers: a b may not go on the wire", problem)
  end)
end)
