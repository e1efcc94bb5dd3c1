-- Files: what is served, how it is told of, and that nothing else ever is.

local neap = require "neap"
local core = require "neap.core.file"
local http = neap.http

local OLD = "2024-01-02 03:04:05 UTC"
local OLD_DATE = "Tue, 02 Jan 2024 03:04:05 GMT"

local top -- the directory that all stand in; the served one is top/pub

local function run(...)
  local command = {}
  for i, word in ipairs { ... } do command[i] = "'" .. word:gsub("'", "'\\''") .. "'" end
  assert(os.execute(table.concat(command, " ")))
end

local function put(name, text)
  local path = top .. "/" .. name
  local dir = path:match "^(.*)/"
  run("mkdir", "-p", dir)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  run("touch", "-d", OLD, path)
end

local big = {}
for i = 1, 40000 do big[i] = ("%07d\n"):format(i) end
big = table.concat(big) -- 320,000 bytes, none like another

local function serving(app, fn)
  local server = assert(http.serve { app = app })
  local ok, err = xpcall(fn, debug.traceback, "http://" .. server.address, server)
  server:close { grace = 0 }
  if not ok then error(err, 0) end
end

local function static(opts, fn, prefix)
  serving(http.app():static(prefix or "/", top .. "/pub", opts), fn)
end

-- A request as it is written, without a client that would tidy it up: status, headers, body.
local function raw(url, text)
  local host, port = url:match "//([%d.]+):(%d+)"
  local s = assert(neap.tcp.connect(host, tonumber(port)))
  assert(s:write(text))
  local pieces = {}
  for piece in function() return (s:read()) end do pieces[#pieces + 1] = piece end
  s:close()
  local answer = table.concat(pieces)
  local head, body = answer:match "^(.-\r\n)\r\n(.*)$"
  local headers = {}
  for name, value in (head or ""):gmatch "([%w%-]+): ([^\r]*)\r\n" do headers[name:lower()] = value end
  return tonumber((head or ""):match "^HTTP/1.1 (%d+)"), headers, body
end

local function get(url, path, more)
  return raw(url, ("GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n"):format(path, more or ""))
end

describe("app:static", function()
  setup(function()
    http.get "http://127.0.0.1:1" -- the client's own timer stays
    local pipe = assert(io.popen "mktemp -d")
    top = pipe:read "l"
    pipe:close()
    put("secret.txt", "SECRET")
    put("pubx/secret.txt", "SECRET")
    put("pub/index.html", "<h1>home</h1>")
    put("pub/a.txt", "0123456789")
    put("pub/empty.txt", "")
    put("pub/big.txt", big)
    put("pub/two words.txt", "blank")
    put("pub/100%.txt", "percent")
    put("pub/ü.txt", "umlaut")
    put("pub/sub/index.html", "sub")
    put("pub/sub/style.CSS", "body{}")
    put("pub/bare/one.js", "1")
    put("pub/.env", "SECRET")
    put("pub/.git/config", "SECRET")
    put("pub/.well-known/acme", "token")
    put("pub/sub/.well-known/acme", "SECRET")
    put("pub/app.js", "plain")
    put("pub/app.js.gz", "gzipped")
    put("pub/app.js.br", "brotlied")
    put("pub/noext", "x")
    run("ln", "-s", "a.txt", top .. "/pub/inside")
    run("ln", "-s", top .. "/pub/a.txt", top .. "/pub/inside-absolute")
    run("ln", "-s", "../secret.txt", top .. "/pub/outside")
    run("ln", "-s", top .. "/secret.txt", top .. "/pub/outside-absolute")
    run("ln", "-s", "..", top .. "/pub/up")
    run("ln", "-s", "/", top .. "/pub/slash")
    run("ln", "-s", "../pubx", top .. "/pub/beside")
    run("ln", "-s", "loop", top .. "/pub/loop")
    run("ln", "-s", "gone", top .. "/pub/dangling")
    run("mkfifo", top .. "/pub/fifo")
    run("ln", "-s", "/dev/zero", top .. "/pub/zero")
    run("ln", "-s", "/proc/self/environ", top .. "/pub/proc")
  end)

  teardown(function() run("rm", "-rf", top) end)

  it("serves a file with what is known of it", function()
    static(nil, function(url)
      local status, h, body = get(url, "/a.txt")
      assert.equal(200, status)
      assert.equal("0123456789", body)
      assert.equal("text/plain; charset=utf-8", h["content-type"])
      assert.equal("10", h["content-length"])
      assert.equal("bytes", h["accept-ranges"])
      assert.equal(OLD_DATE, h["last-modified"])
      assert.matches('^"%x+%-a"$', h["etag"])
      assert.is_nil(h["cache-control"])
      assert.is_nil(h["vary"])
    end)
  end)

  it("serves large and empty ones whole, and several on one connection", function()
    static(nil, function(url)
      local client = http.client { base = url }
      for _ = 1, 3 do
        assert.equal(big, assert(client:get "/big.txt").body)
        assert.equal("", assert(client:get "/empty.txt").body)
      end
      assert.equal("text/css; charset=utf-8", assert(client:get "/sub/style.CSS").headers["content-type"])
      assert.equal("application/octet-stream", assert(client:get "/noext").headers["content-type"])
    end)
  end)

  it("answers HEAD as GET, without the body", function()
    static(nil, function(url)
      local status, h, body = raw(url, "HEAD /big.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      assert.same({ 200, tostring(#big), "" }, { status, h["content-length"], body })
    end)
  end)

  it("answers no other method", function()
    static(nil, function(url)
      for _, method in ipairs { "POST", "PUT", "DELETE", "PATCH" } do
        local res = assert(http.request(method, url .. "/a.txt"))
        assert.equal(405, res.status)
        assert.matches("GET", res.headers["allow"])
      end
    end)
  end)

  it("finds index files, and adds a missing slash to directories", function()
    static({ index = { "none.html", "index.html" } }, function(url)
      assert.same({ 200, "<h1>home</h1>" }, { (function() local s, _, b = get(url, "/") return s, b end)() })
      local _, _, body = get(url, "/sub/")
      assert.equal("sub", body)
      local status, h = get(url, "/sub?x=1")
      assert.same({ 308, "/sub/?x=1" }, { status, h["location"] })
      assert.equal(404, (get(url, "/bare/")))
      assert.equal(404, (get(url, "/a.txt/")))
    end)
  end)

  it("serves below a prefix, in mounted apps too, beside other routes", function()
    local app, inner = http.app(), http.app()
    inner:static("/files", top .. "/pub", {})
    inner:get("/files/made", function() return "made" end)
    app:mount("/v1", inner)
    app:not_found(function() return 404, "nothing here" end)
    serving(app, function(url)
      assert.equal("0123456789", assert(http.get(url .. "/v1/files/a.txt")).body)
      assert.equal("made", assert(http.get(url .. "/v1/files/made")).body)
      assert.equal("nothing here", assert(http.get(url .. "/v1/files/none")).body)
      local _, h = get(url, "/v1/files")
      assert.equal("/v1/files/", h["location"])
    end)
  end)

  it("decodes a name once", function()
    static(nil, function(url)
      for path, want in pairs {
        ["/two%20words.txt"] = "blank", ["/100%25.txt"] = "percent", ["/%C3%BC.txt"] = "umlaut",
        ["/%61.txt"] = "0123456789", ["/sub%2Findex.html"] = "sub",
      } do
        local status, _, body = get(url, path)
        assert.same({ path, 200, want }, { path, status, body })
      end
      assert.equal(404, (get(url, "/%2561.txt")))
      assert.equal(404, (get(url, "/two+words.txt")))
    end)
  end)

  it("never leaves the directory", function()
    local hostile = {
      "/../secret.txt", "/sub/../../secret.txt", "/sub/../a.txt", "/..", "/../", "/.", "/./a.txt",
      "/sub/./index.html",
      "/%2e%2e/secret.txt", "/%2E%2E/secret.txt", "/.%2e/secret.txt", "/%2e./secret.txt", "/..%2fsecret.txt",
      "/%2e%2e%2fsecret.txt", "/sub%2f..%2f..%2fsecret.txt", "/%252e%252e/secret.txt",
      "/%252e%252e%252fsecret.txt",
      "/..%5csecret.txt", "/..\\secret.txt", "/%5c..%5csecret.txt", "/sub\\..\\..\\secret.txt",
      "/%c0%ae%c0%ae/secret.txt", "/%c0%af../secret.txt", "/%e0%80%ae%e0%80%ae/secret.txt",
      "/..%c0%afsecret.txt",
      "/%uff0e%uff0e/secret.txt", "/....//secret.txt", "/..;/secret.txt", "/.../secret.txt",
      "//secret.txt", "//" .. top .. "/secret.txt", "/" .. top .. "/secret.txt", top .. "/secret.txt",
      "/%2F" .. top:sub(2) .. "/secret.txt", "/a.txt%00.html", "/a.txt%00", "/%00", "/a.txt%0a",
      "/a.txt%0d%0a", "/a.txt%7f", "/a.txt/", "/a.txt/.", "/a.txt/..", "/a.txt//", "/sub//index.html",
      "/outside", "/outside-absolute",
      "/up/secret.txt", "/up/", "/up", "/slash/etc/passwd", "/slash" .. top .. "/secret.txt",
      "/beside/secret.txt",
      "/loop", "/loop/x", "/dangling", "/fifo", "/zero", "/proc", "/.env", "/.git/config", "/.git/", "/.git",
      "/sub/.well-known/acme", "/%2eenv", "/..secret", "/~root", "/a.txt:stream", "/a.txt::$DATA",
      "/" .. ("a"):rep(300), "/" .. ("a/"):rep(2000), "/" .. ("../"):rep(500) .. "etc/passwd",
    }
    assert.is_true(#hostile >= 60)
    for _, mode in ipairs { "inside", "none" } do
      static({ links = mode, listing = true }, function(url)
        for _, path in ipairs(hostile) do
          local status, _, body = get(url, path)
          assert.is_nil((body or ""):find("SECRET", 1, true), path)
          if not (status == 400 or status == 404 or status == 414 or status == 431) then
            error(("%s (%s): %s %s"):format(path, mode, tostring(status), tostring(body)))
          end
        end
      end)
    end
  end)

  it("never redirects to another host", function()
    run("mkdir", "-p", top .. "/pub/evil.example")
    static(nil, function(url)
      for _, path in ipairs { "//evil.example", "///evil.example", "/%2Fevil.example" } do
        local status, h = get(url, path)
        assert.equal(404, status)
        assert.is_nil(h["location"])
      end
    end)
  end)

  it("follows links that stay inside, none, or all, as it is told", function()
    local function reads(mode, path)
      local status
      static({ links = mode }, function(url) status = get(url, path) end)
      return status
    end
    assert.equal(200, reads("inside", "/inside"))
    assert.equal(200, reads("inside", "/inside-absolute"))
    assert.equal(404, reads("none", "/inside"))
    assert.equal(404, reads("none", "/inside-absolute"))
    assert.equal(200, reads("all", "/outside"))
    assert.equal(404, reads("all", "/fifo"))
    assert.equal(404, reads("all", "/zero"))
  end)

  it("hides what begins with a dot, unless it is told otherwise", function()
    static(nil, function(url)
      assert.equal(404, (get(url, "/.env")))
      assert.equal(200, (get(url, "/.well-known/acme")))
    end)
    static({ dotfiles = true }, function(url)
      assert.equal(200, (get(url, "/.env")))
      assert.equal(400, (get(url, "/../secret.txt")))
    end)
  end)

  it("says 403 for what may not be read", function()
    put("pub/locked.txt", "x")
    run("chmod", "000", top .. "/pub/locked.txt")
    local readable = io.open(top .. "/pub/locked.txt")
    if readable then -- as root nothing is locked
      readable:close()
      return
    end
    static(nil, function(url) assert.equal(403, (get(url, "/locked.txt"))) end)
  end)

  describe("conditions", function()
    local function status_of(url, path, more)
      local status, _, body = get(url, path, more)
      return status, body
    end

    it("answers 304 to who has it, by tag before date", function()
      static({ max_age = 60 }, function(url)
        local _, h = get(url, "/a.txt")
        local tag = h["etag"]
        local status, h304, body = get(url, "/a.txt", "If-None-Match: " .. tag .. "\r\n")
        assert.same({ 304, "" }, { status, body })
        assert.equal(tag, h304["etag"])
        assert.equal("public, max-age=60", h304["cache-control"])
        assert.is_nil(h304["content-type"])
        assert.is_nil(h304["content-length"])
        assert.equal(304, (status_of(url, "/a.txt", "If-Modified-Since: " .. OLD_DATE .. "\r\n")))
        assert.equal(200, (status_of(url, "/a.txt",
          'If-None-Match: "x"\r\nIf-Modified-Since: ' .. OLD_DATE .. "\r\n")))
        assert.equal(412, (status_of(url, "/a.txt", 'If-Match: "x"\r\n')))
        assert.equal(200, (status_of(url, "/a.txt", "If-Match: " .. tag .. "\r\n")))
        local before = "Mon, 01 Jan 2024 00:00:00 GMT"
        assert.equal(412, (status_of(url, "/a.txt", "If-Unmodified-Since: " .. before .. "\r\n")))
      end)
    end)

    it("changes the tag with the file, and gives a weak one to what has just changed", function()
      static(nil, function(url)
        local function tag()
          local _, h = get(url, "/changing.txt")
          return h["etag"]
        end
        put("pub/changing.txt", "one")
        local first = tag()
        run("touch", "-d", "2024-01-02 03:04:06 UTC", top .. "/pub/changing.txt")
        local second = tag()
        assert.are_not.equal(first, second)
        local future = os.time() + 3600
        run("touch", "-d", "@" .. future, top .. "/pub/changing.txt")
        assert.matches('^W/"', tag())
        local _, h = get(url, "/changing.txt")
        assert.is_true(http.conditional.parse_date(h["last-modified"]) < future)
        run("touch", "-d", "@1", top .. "/pub/changing.txt")
        assert.is_nil(tag())
      end)
    end)

    it("can be without validators", function()
      static({ etag = false }, function(url)
        local status, h = get(url, "/a.txt", "If-Modified-Since: " .. OLD_DATE .. "\r\n")
        assert.same({ 200 }, { status, h["etag"], h["last-modified"] })
      end)
    end)
  end)

  describe("ranges", function()
    local function range(url, path, value, more)
      return get(url, path, ("Range: %s\r\n%s"):format(value, more or ""))
    end

    it("sends one range", function()
      static(nil, function(url)
        local status, h, body = range(url, "/a.txt", "bytes=2-4")
        assert.same({ 206, "bytes 2-4/10", "3", "234" },
          { status, h["content-range"], h["content-length"], body })
        status, h, body = range(url, "/a.txt", "bytes=-3")
        assert.same({ 206, "bytes 7-9/10", "789" }, { status, h["content-range"], body })
        status, h, body = range(url, "/big.txt", "bytes=100000-299999")
        assert.same({ 206, "bytes 100000-299999/320000" }, { status, h["content-range"] })
        assert.equal(big:sub(100001, 300000), body)
      end)
    end)

    it("says 416 for what is not there, and ignores nonsense", function()
      static(nil, function(url)
        local status, h, body = range(url, "/a.txt", "bytes=10-")
        assert.same({ 416, "bytes */10", "" }, { status, h["content-range"], body })
        assert.equal(200, (range(url, "/a.txt", "bytes=x-")))
        assert.equal(200, (range(url, "/a.txt", "lines=1-2")))
        assert.equal(416, (range(url, "/empty.txt", "bytes=0-")))
      end)
    end)

    it("does not for HEAD, nor when If-Range names something else", function()
      static(nil, function(url)
        local _, h = get(url, "/a.txt")
        local status = raw(url, "HEAD /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
          .. "Range: bytes=0-1\r\n\r\n")
        assert.equal(200, status)
        assert.equal(206, (range(url, "/a.txt", "bytes=0-1", "If-Range: " .. h["etag"] .. "\r\n")))
        assert.equal(206, (range(url, "/a.txt", "bytes=0-1", "If-Range: " .. OLD_DATE .. "\r\n")))
        assert.equal(200, (range(url, "/a.txt", "bytes=0-1", 'If-Range: "x"\r\n')))
        assert.equal(200, (range(url, "/a.txt", "bytes=0-1", "If-Range: W/" .. h["etag"] .. "\r\n")))
      end)
    end)

    it("sends several as multipart, each byte once", function()
      static(nil, function(url)
        local status, h, body = range(url, "/a.txt", "bytes=8-9,0-1,1-2")
        assert.equal(206, status)
        local mark = h["content-type"]:match "^multipart/byteranges; boundary=(%x+)$"
        local part = "\r\n--" .. mark .. "\r\nContent-Type: text/plain; charset=utf-8\r\n"
        assert.equal(part .. "Content-Range: bytes 8-9/10\r\n\r\n89"
          .. part .. "Content-Range: bytes 0-2/10\r\n\r\n012\r\n--" .. mark .. "--\r\n", body)
        assert.equal(tostring(#body), h["content-length"])
        assert.is_nil(h["content-range"])
      end)
    end)

    it("sends large ones as multipart", function()
      static(nil, function(url)
        local status, _, body = range(url, "/big.txt", "bytes=200000-319999,0-149999")
        assert.equal(206, status)
        local first = body:find(big:sub(200001), 1, true)
        local second = body:find(big:sub(1, 150000), 1, true)
        assert.is_true(first < second)
        assert.is_true(#body < 270500)
      end)
    end)

    it("is no amplifier", function()
      static(nil, function(url)
        local many = {}
        for i = 1, 33 do many[i] = (i * 5) .. "-" .. (i * 5) end
        assert.equal(200, (range(url, "/big.txt", "bytes=" .. table.concat(many, ","))))
        local _, h = range(url, "/big.txt", "bytes=" .. ("0-,"):rep(31) .. "0-")
        assert.equal("320000", h["content-length"])
      end)
      static({ max_ranges = 1 }, function(url)
        assert.equal(200, (range(url, "/a.txt", "bytes=0-0,2-2")))
        assert.equal(206, (range(url, "/a.txt", "bytes=0-0")))
      end)
      static({ ranges = false }, function(url)
        local status, h = range(url, "/a.txt", "bytes=0-0")
        assert.same({ 200 }, { status, h["accept-ranges"] })
      end)
    end)
  end)

  it("sends coded siblings to who takes them", function()
    static({ precompressed = true }, function(url)
      local function asked(accept)
        local _, h, body = get(url, "/app.js", accept and ("Accept-Encoding: %s\r\n"):format(accept))
        assert.equal("Accept-Encoding", h["vary"])
        assert.equal("text/javascript; charset=utf-8", h["content-type"])
        return body, h["content-encoding"], h["etag"]
      end
      local plain, none, tag = asked(nil)
      assert.same({ "plain" }, { plain, none })
      local body, coding, other = asked "gzip, br"
      assert.same({ "brotlied", "br" }, { body, coding })
      assert.are_not.equal(tag, other)
      body, coding = asked "gzip"
      assert.same({ "gzipped", "gzip" }, { body, coding })
      assert.equal("gzipped", (asked "gzip, br;q=0.5"))
      assert.equal("plain", (asked "gzip;q=0, br;q=0"))
      assert.equal("plain", (asked "zstd"))
      assert.equal("plain", (asked "identity, gzip;q=0.5"))
      assert.equal("0123456789", (select(3, get(url, "/a.txt", "Accept-Encoding: gzip\r\n"))))
    end)
    static(nil, function(url)
      assert.equal("plain", (select(3, get(url, "/app.js", "Accept-Encoding: br\r\n"))))
    end)
  end)

  it("falls back to a page for what is a page of an app's own", function()
    static({ fallback = "index.html" }, function(url)
      for path, want in pairs {
        ["/users/42"] = 200, ["/john.doe"] = 200, ["/bare/"] = 200, ["/missing.html"] = 200,
        ["/missing.js"] = 404, ["/missing.png"] = 404, ["/.env"] = 404, ["/../x"] = 400, ["/a.txt"] = 200,
      } do
        assert.same({ path, want }, { path, (get(url, path)) })
      end
      assert.equal("<h1>home</h1>", (select(3, get(url, "/users/42"))))
    end)
  end)

  it("lists directories when it is told to, escaped", function()
    put("pub/list/<img src=x onerror=alert(1)>.txt", "x")
    put("pub/list/a&b.txt", "x")
    put("pub/list/.hidden", "x")
    run("mkdir", "-p", top .. "/pub/list/dir")
    static({ listing = true }, function(url)
      local status, h, body = get(url, "/list/")
      assert.equal(200, status)
      assert.equal("text/html; charset=utf-8", h["content-type"])
      assert.is_nil(body:find("<img", 1, true))
      assert.is_truthy(body:find("&lt;img src=x", 1, true))
      assert.is_truthy(body:find('href="./a%26b.txt"', 1, true))
      assert.is_truthy(body:find('href="./dir/"', 1, true))
      assert.is_nil(body:find("hidden", 1, true))
      local _, _, json = get(url, "/list/", "Accept: application/json\r\n")
      local entries = neap.json.decode(json)
      assert.same({ "dir", "<img src=x onerror=alert(1)>.txt", "a&b.txt" },
        { entries[1].name, entries[2].name, entries[3].name })
      assert.same({ 1, true }, { entries[3].size, entries[1].directory })
    end)
    static(nil, function(url) assert.equal(404, (get(url, "/list/"))) end)
  end)

  it("takes types, charset, cache and other headers from its options", function()
    local types = top .. "/mime.types"
    put("mime.types", "# comment\ntext/x-odd odd ODDER # more\napplication/x-a\t txt\n\nbroken\n")
    put("pub/x.odd", "x")
    static({
      types = { txt = "text/x-mine" },
      mime_types = types,
      charset = "iso-8859-1",
      max_age = 31536000,
      immutable = true,
      headers = { ["X-Frame-Options"] = "DENY" },
    }, function(url)
      local _, h = get(url, "/a.txt")
      assert.equal("text/x-mine; charset=iso-8859-1", h["content-type"])
      assert.equal("public, max-age=31536000, immutable", h["cache-control"])
      assert.equal("DENY", h["x-frame-options"])
      _, h = get(url, "/x.odd")
      assert.equal("text/x-odd; charset=iso-8859-1", h["content-type"])
    end)
    static({ charset = false, cache_control = "no-store" }, function(url)
      local _, h = get(url, "/a.txt")
      assert.same({ "text/plain", "no-store" }, { h["content-type"], h["cache-control"] })
    end)
  end)

  it("refuses options that make no sense", function()
    local app = http.app()
    local function refuses(want, prefix, root, opts)
      local ok, err = pcall(app.static, app, prefix, root, opts)
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find(want, 1, true), tostring(err))
    end
    refuses("opts.idnex: unknown option (did you mean index?)", "/", top, { idnex = "x" })
    refuses("opts.max_age", "/", top, { max_age = -1 })
    refuses("opts.links", "/", top, { links = "some" })
    refuses("opts.index[1]: expected a file's name", "/", top, { index = { "../x" } })
    refuses("opts.precompressed[1]: expected br, zstd or gzip", "/", top, { precompressed = { "lz4" } })
    refuses("opts.charset: expected string or false", "/", top, { charset = true })
    refuses("opts.fallback", "/", top, { fallback = "../secret.txt" })
    refuses("opts.headers", "/", top, { headers = { ["x"] = "a\r\nb: c" } })
    refuses("opts.types", "/", top, { types = { x = "a\nb" } })
    refuses("prefix: begins with '/'", "x", top)
    refuses("prefix: begins with '/'", "/*x", top)
    refuses("root: ", "/", top .. "/nothing")
    refuses("not a directory", "/", top .. "/secret.txt")
    local handler, err = http.files(top .. "/nothing")
    assert.same({ nil, "ENOENT" }, { handler, err.code })
  end)

  it("serves what is pipelined in order, and goes on after a client that left", function()
    static(nil, function(url)
      local one = "GET /big.txt HTTP/1.1\r\nHost: x\r\n\r\n"
      local last = "GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
      local _, _, body = raw(url, one .. one .. last)
      assert.equal(big, body:sub(1, #big))
      assert.equal("0123456789", body:sub(-10))
      local host, port = url:match "//([%d.]+):(%d+)"
      for _ = 1, 5 do
        local s = assert(neap.tcp.connect(host, tonumber(port)))
        s:write(one:rep(20))
        s:read()
        s:close()
      end
      assert.equal(200, (get(url, "/a.txt")))
    end)
  end)

  it("serves a file as it is after what the same client did before", function()
    local app = http.app():static("/files", top .. "/pub")
    app:put("/files/mine.txt", function(req)
      put("pub/mine.txt", assert(req:body()))
      return 204
    end)
    put("pub/mine.txt", "0")
    serving(app, function(url)
      local text = {}
      for i = 1, 20 do
        text[#text + 1] = "GET /files/mine.txt HTTP/1.1\r\nHost: x\r\n\r\n"
        text[#text + 1] = ("PUT /files/mine.txt HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%d")
          :format(#tostring(i), i)
      end
      text[#text + 1] = "GET /files/mine.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
      local _, _, body = raw(url, table.concat(text))
      local seen = {}
      for value in ("\r\n\r\n" .. body):gmatch "\r\n\r\n(%d+)" do seen[#seen + 1] = tonumber(value) end
      for i = 0, 20 do assert.equal(i, seen[i + 1]) end
    end)
  end)

  it("serves a file as its own handler has just made it", function()
    local app = http.app():static("/", top .. "/pub")
    put("pub/made.txt", "0")
    local made = 0
    local server = assert(http.serve { handler = function(req)
      made = made + 1
      put("pub/made.txt", tostring(made))
      return app.handler(req)
    end })
    local text = ("GET /made.txt HTTP/1.1\r\nHost: x\r\n\r\n"):rep(10)
      .. "GET /made.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    local _, _, body = raw("http://" .. server.address, text)
    local seen = {}
    for value in ("\r\n\r\n" .. body):gmatch "\r\n\r\n(%d+)" do seen[#seen + 1] = tonumber(value) end
    for i = 1, 11 do assert.equal(i, seen[i]) end
    server:close { grace = 0 }
  end)

  it("serves a request with a body that nobody reads", function()
    static(nil, function(url)
      local status, _, body = raw(url, "GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
        .. "GET /sub/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      assert.equal(200, status)
      assert.equal("sub", body:sub(-3))
    end)
  end)

  it("breaks off rather than lie about a file that shrinks or changes on its way", function()
    for _, change in ipairs { "shrink", "rewrite" } do
      put("pub/moving.bin", ("x"):rep(30 * 1024 * 1024))
      static(nil, function(url)
        local host, port = url:match "//([%d.]+):(%d+)"
        local s = assert(neap.tcp.connect(host, tonumber(port)))
        s:write "GET /moving.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        local got = #assert(s:read())
        if change == "shrink" then
          run("truncate", "-s", "100000", top .. "/pub/moving.bin")
        else
          run("touch", top .. "/pub/moving.bin")
        end
        while true do
          local piece = s:read()
          if not piece then break end
          got = got + #piece
        end
        s:close()
        assert.is_true(got < 30 * 1024 * 1024, change)
      end)
    end
    run("rm", top .. "/pub/moving.bin")
  end)

  it("sends any set of ranges as it is", function()
    local rng = 12345
    local function below(n)
      rng = (rng * 1103515245 + 12345) % 2147483648
      return rng // 65536 % n
    end
    static(nil, function(url)
      local client = http.client { base = url }
      for _ = 1, 200 do
        local specs = {}
        for i = 1, 1 + below(5) do
          local a, b = below(12), below(12)
          specs[i] = ({ a .. "-" .. math.max(a, b), a .. "-", "-" .. b })[1 + below(3)]
        end
        local value = "bytes=" .. table.concat(specs, ",")
        local asked = {}
        for _, spec in ipairs(specs) do
          local a, b = spec:match "^(%d*)%-(%d*)$"
          a, b = tonumber(a), tonumber(b)
          if not a then a, b = math.max(0, 10 - b), b > 0 and 9 or -1 end
          for i = a, math.min(b or 9, 9) do asked[i] = true end
        end
        local res = assert(client:get("/a.txt", { headers = { range = value } }))
        local got = {}
        local function take(first, text)
          for i = 1, #text do
            assert.equal(tostring(first + i - 1), text:sub(i, i))
            assert.is_nil(got[first + i - 1], value)
            got[first + i - 1] = true
          end
        end
        if res.status == 416 then
          assert.is_nil(next(asked), value)
        elseif res.headers["content-range"] then
          take(tonumber(res.headers["content-range"]:match "bytes (%d+)"), res.body)
          assert.same(asked, got, value)
        else
          for first, text in res.body:gmatch "Content%-Range: bytes (%d+)%-%d+/10\r\n\r\n(%d+)\r\n" do
            take(tonumber(first), text)
          end
          assert.same(asked, got, value)
        end
      end
    end)
  end)
end)

describe("neap.core.file", function()
  it("knows media types", function()
    assert.equal("text/html", (core.type "x.html"))
    assert.is_nil(core.type "x.unheard-of")
  end)
end)
