local neap = require "neap"
local http = neap.http

-- What the handler gives for a POST, as the client has it.
local function post(handler, body, headers, opts)
  opts = opts or {}
  opts.handler = handler
  local server = assert(http.serve(opts))
  local res, err = http.post("http://" .. server.address .. "/", { body = body, headers = headers })
  server:close { grace = 0 }
  return res, err
end

-- What `fn` makes of the request, which is seen here.
local function seen(fn, body, headers, opts)
  local got
  local res = assert(post(function(req)
    got = table.pack(fn(req))
    return "ok"
  end, body, headers, opts))
  assert.equal(200, res.status)
  return table.unpack(got, 1, got.n)
end

local URLENCODED = { ["content-type"] = "application/x-www-form-urlencoded; charset=utf-8" }
local MULTIPART = { ["content-type"] = "multipart/form-data; boundary=b" }

local function field(name, value, more)
  return ('--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'):format(name, more or "", value)
end

local function in_pieces(text, size)
  local at = 1
  return function()
    if at > #text then return nil end
    at = at + size
    return text:sub(at - size, at - 1)
  end
end

local function form(req) return req:form() end

describe("req:form", function()
  setup(function() http.get "http://127.0.0.1:1" end) -- the client's own timer stays

  it("reads fields", function()
    local fields, files = seen(form, "a=1&b=x+y%26z&a=2&c&=d&&e=", URLENCODED)
    assert.same({ a = { "1", "2" }, b = "x y&z", c = "", [""] = "d", e = "" }, fields)
    assert.same({}, files)
    assert.same({}, (seen(form, "", URLENCODED)))
    assert.same({ a = "1" }, (seen(form, "a=1", {})))
  end)

  it("reads fields that come in pieces", function()
    local text = "name=a%20b&long=" .. ("x"):rep(3000) .. "&a=1&a=2"
    for _, size in ipairs { 1, 2, 7, 1000 } do
      local fields = seen(form, in_pieces(text, size), URLENCODED)
      assert.same({ name = "a b", long = ("x"):rep(3000), a = { "1", "2" } }, fields)
    end
  end)

  it("reads multipart forms", function()
    local body = field("a", "1") .. field("a", "2") .. field("b", "x\r\ny")
      .. field("f", "data", '; filename="C:\\dir\\pic.png"\r\nContent-Type: image/png')
      .. field("f", "more", "; filename=two") .. field("none", "", '; filename=""') .. "--b--\r\n"
    for _, size in ipairs { 3, 10000 } do
      local fields, files = seen(form, in_pieces(body, size), MULTIPART)
      assert.same({ a = { "1", "2" }, b = "x\r\ny" }, fields)
      assert.equal(2, #files)
      assert.equal(files[1], files.f)
      assert.same({ "f", "pic.png", "C:\\dir\\pic.png", "image/png", "data" }, {
        files.f.name, files.f.filename, files.f.raw_filename, files.f.content_type, files.f.body,
      })
      assert.equal("image/png", files.f.headers["content-type"])
      assert.same({ "two", "more" }, { files[2].filename, files[2].body })
      assert.is_nil(files.none)
    end
  end)

  it("gives the same when it is asked again, and after req:body", function()
    seen(function(req)
      local first = req:form()
      assert.equal(first, (req:form()))
    end, "a=1", URLENCODED)
    seen(function(req)
      assert.equal("a=1", req:body())
      assert.same({ a = "1" }, (req:form()))
    end, "a=1", URLENCODED)
  end)

  it("answers by itself what is too large or malformed", function()
    local many = {}
    for i = 1, 11 do many[i] = field("n" .. i, "") end
    local table_of = {
      { 413, "a=1&b=2", URLENCODED, { max_fields = 1 } },
      { 413, "a=123456", URLENCODED, { max_field_bytes = 7 } },
      { 413, "a=1&b=234", URLENCODED, { max_bytes = 8 } },
      { 413, "a=1&b=234", URLENCODED, 8 },
      { 400, "a=%zz", URLENCODED },
      { 415, "{}", { ["content-type"] = "application/json" } },
      { 413, table.concat(many) .. "--b--", MULTIPART, { max_fields = 10 } },
      { 413, field("a", "12345") .. "--b--", MULTIPART, { max_field_bytes = 4 } },
      { 413, field("a", "12345", "; filename=x") .. "--b--", MULTIPART, { max_file_bytes = 4 } },
      { 413, field("a", "12345") .. "--b--", MULTIPART, { max_bytes = 60 } },
      { 400, field("a", "1"), MULTIPART },
      { 400, "--b\r\n\r\n\r\n--b--", MULTIPART },
      { 400, "a=1", { ["content-type"] = "multipart/form-data" } },
    }
    for i, case in ipairs(table_of) do
      local res = assert(post(function(req)
        local fields, err = req:form(case[4])
        if not fields then return nil, err end
        return "ok"
      end, case[2], case[3]))
      assert.equal(case[1], res.status, "case " .. i)
    end
  end)

  it("takes what is just within its limits", function()
    assert.same({ a = "123" }, (seen(function(req)
      return req:form { max_fields = 1, max_field_bytes = 5, max_bytes = 5 }
    end, "a=123", URLENCODED)))
  end)

  it("refuses options that it does not have", function()
    seen(function(req)
      assert.error_matches(function() req:form { max = 1 } end, "opts.max: unknown option")
      assert.error_matches(function() req:form { max_bytes = -1 } end, "opts.max_bytes")
      assert.error_matches(function() req:parts { max_part = 1 } end, "did you mean max_parts")
    end, "a=1", URLENCODED)
  end)
end)

describe("req:json", function()
  setup(function() http.get "http://127.0.0.1:1" end)

  it("has what is malformed answered by 400", function()
    local function handler(req)
      local value, err = req:json()
      if err then return nil, err end
      return { got = value }
    end
    assert.equal(400, assert(post(handler, "{")).status)
    assert.equal(400, assert(post(handler, "")).status)
    assert.same({ got = { 1 } }, assert(post(handler, "[1]")):json())
  end)

  it("has an error's own status heeded, raised or returned", function()
    local function failure(status) return { code = "EBUSY", message = "teapot", status = status } end
    for _, case in ipairs { { 418, 418 }, { 399, 503 }, { 600, 503 }, { "418", 503 } } do
      assert.equal(case[2], assert(post(function() return nil, failure(case[1]) end, "")).status)
    end
    assert.equal(409, assert(post(function() error(failure(409)) end, "")).status)
  end)
end)

describe("req:parts", function()
  setup(function() http.get "http://127.0.0.1:1" end)

  local body = field("a", "1") .. field("f", ("data\r\n"):rep(5000), "; filename=x.bin")
    .. field("z", "end") .. "--b--"

  it("gives the parts, one after the other", function()
    seen(function(req)
      local names = {}
      for part in req:parts() do
        names[#names + 1] = part.name
        if part.name == "f" then
          assert.equal("x.bin", part.filename)
          local size = 0
          for piece in part:chunks() do size = size + #piece end
          assert.equal(30000, size)
          assert.is_nil((part:read()))
        elseif part.name == "z" then
          assert.equal("end", part:body(3))
        end
      end
      assert.same({ "a", "f", "z" }, names)
    end, in_pieces(body, 777), MULTIPART)
  end)

  it("skips what is not read", function()
    seen(function(req)
      local parts = {}
      for part in req:parts() do
        part:read()
        parts[#parts + 1] = part
      end
      assert.equal(3, #parts)
      local data, err = parts[2]:read()
      assert.is_nil(data)
      assert.equal("ECLOSED", err.code)
    end, body, MULTIPART)
  end)

  it("is for once", function()
    seen(function(req)
      for _ in req:parts() do end -- luacheck: ignore 542
      assert.error_matches(function() req:parts() end, "was read before")
      assert.error_matches(function() req:form() end, "was read before")
    end, body, MULTIPART)
    seen(function(req)
      local _, err = req:form(1)
      assert.equal("ELIMIT", err.code)
      assert.equal(err, select(2, req:form()))
      assert.error_matches(function() req:parts() end, "was read before")
    end, body, MULTIPART)
  end)

  it("refuses a part that is larger than the handler wants", function()
    seen(function(req)
      for part in req:parts() do
        if part.name == "f" then
          local data, err = part:body(29999)
          assert.is_nil(data)
          assert.same({ "ELIMIT", 413 }, { err.code, err.status })
          assert.matches("the file 'f' is larger than 29999 bytes", err.message)
        end
      end
    end, body, MULTIPART)
  end)

  it("ends with an error that answers 400 when the form is malformed", function()
    local names = {}
    local res = assert(post(function(req)
      for part in req:parts() do names[#names + 1] = part.name end
      return "ok"
    end, field("a", "1") .. "--b\r\nnonsense\r\n\r\n--b--", MULTIPART))
    assert.equal(400, res.status)
    assert.same({ "a" }, names)
    res = assert(post(function(req)
      for _ in req:parts { max_parts = 1 } do end -- luacheck: ignore 542
    end, body, MULTIPART))
    assert.equal(413, res.status)
    res = assert(post(function(req) for _ in req:parts() do end end, "x", URLENCODED)) -- luacheck: ignore 542
    assert.equal(415, res.status)
  end)

  describe("saves", function()
    local dir

    before_each(function()
      dir = os.tmpname()
      os.remove(dir)
      assert(os.execute("mkdir " .. dir))
    end)
    after_each(function() os.execute("rm -r " .. dir) end)

    local function listing()
      local names = {}
      for name in io.popen("ls " .. dir):lines() do names[#names + 1] = name end
      return names
    end

    it("a file, whole and without replacing another", function()
      seen(function(req)
        for part in req:parts() do
          if part.filename then
            assert.equal(30000, part:save(dir .. "/kept"))
          elseif part.name == "z" then
            local ok, err = part:save(dir .. "/kept")
            assert.is_nil(ok)
            assert.equal("EEXIST", err.code)
          end
        end
      end, body, MULTIPART)
      assert.same({ "kept" }, listing())
      local file = assert(io.open(dir .. "/kept", "rb"))
      assert.equal(("data\r\n"):rep(5000), file:read "a")
      file:close()
      seen(function(req)
        for part in req:parts() do
          if part.name == "z" then assert.equal(3, part:save(dir .. "/kept", { overwrite = true })) end
        end
      end, body, MULTIPART)
      assert.same({ "kept" }, listing())
    end)

    it("nothing when the form breaks off", function()
      local res = assert(post(function(req)
        for part in req:parts() do
          if part.filename then
            local ok, err = part:save(dir .. "/kept")
            assert.is_nil(ok)
            return nil, err
          end
        end
      end, field("f", "data", "; filename=x"):sub(1, -3), MULTIPART))
      assert.equal(400, res.status)
      assert.same({}, listing())
    end)

    it("nothing where it cannot", function()
      seen(function(req)
        for part in req:parts() do
          local ok, err = part:save(dir .. "/no/such")
          assert.is_nil(ok)
          assert.equal("ENOENT", err.code)
          assert.error_matches(function() part:save(dir .. "/x", { modes = 1 }) end, "opts.modes")
        end
      end, body, MULTIPART)
    end)
  end)
end)

describe("http.multipart", function()
  setup(function() http.get "http://127.0.0.1:1" end)

  it("makes bodies that forms are read from", function()
    local body, headers = http.multipart { name = "é \"q\"", n = 1, list = { "x", true } }
    assert.equal("string", type(body))
    local fields = seen(form, body, headers)
    assert.same({ name = "é \"q\"", n = "1", list = { "x", "true" } }, fields)
  end)

  it("streams files", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write(("0123456789"):rep(20000))
    file:close()
    local pieces = { "a", "b", "c" }
    local body, headers = http.multipart {
      { name = "second", value = "first" },
      { name = "up", value = { path = path, content_type = "x/y", headers = { ["X-Sum"] = 1 } } },
      { name = "gen", value = { filename = "g\"1", body = function() return table.remove(pieces, 1) end } },
      { name = "text", value = { body = "whole" } },
    }
    local fields, files = seen(form, body, headers, { max_body_bytes = 1 << 20 })
    os.remove(path)
    assert.same({ second = "first" }, fields)
    assert.equal(("0123456789"):rep(20000), files.up.body)
    assert.same({ path:match "[^/]*$", "x/y", "1" },
      { files.up.filename, files.up.content_type, files.up.headers["x-sum"] })
    assert.same({ "g\"1", "abc" }, { files.gen.filename, files.gen.body })
    assert.same({ "file", "application/octet-stream", "whole" },
      { files.text.filename, files.text.content_type, files.text.body })
  end)

  it("says how long it will be, if that is known", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write(("x"):rep(100000))
    file:close()
    local body, headers, length = http.multipart { a = "1", up = { path = path } }
    local seen_length, files
    local server = assert(http.serve { handler = function(req)
      seen_length, files = req:header "content-length", select(2, req:form())
      return "ok"
    end })
    local url = "http://" .. server.address
    assert(http.post(url, { body = body, headers = headers, content_length = length }))
    server:close { grace = 0 }
    os.remove(path)
    assert.equal(tostring(length), seen_length)
    assert.equal(100000, #files.up.body)
    assert.equal(2, select("#", http.multipart { a = "1" }))
    local _, _, unknown = http.multipart { up = { body = function() end } }
    assert.is_nil(unknown)
  end)

  it("refuses what it cannot send", function()
    local body, err = http.multipart { f = { path = "/no/such/file" } }
    assert.is_nil(body)
    assert.equal("ENOENT", err.code)
    assert.error_matches(function() http.multipart { f = {} , g = print } end, "fields.g: expected string")
    assert.error_matches(function() http.multipart { f = { filename = "x" } } end, "one of body and path")
    assert.error_matches(function() http.multipart { f = { body = "x", pth = "" } } end, "f.pth: unknown")
    assert.error_matches(function() http.multipart { ["a\0b"] = "x" } end, "control characters")
    assert.error_matches(function()
      http.multipart { f = { body = "x", headers = { a = "b\r\nc: d" } } }
    end, "is no header")
    assert.error_matches(function() http.multipart "x" end, "fields: expected table")
  end)
end)
