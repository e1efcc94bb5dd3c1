-- What a client sends and gets: bodies from streams, 100 (Continue), 1xx, trailers, codings, hooks.
local neap = require "neap"
local http, task, tcp = neap.http, neap.task, neap.tcp

local servers

local function serve(handler, opts)
  opts = opts or {}
  opts.handler = handler
  local server = assert(http.serve(opts))
  servers[#servers + 1] = server
  return "http://" .. server.address
end

-- A peer that reads one head, and then does as it is told.
local function raw(fn)
  local listener = assert(tcp.listen({ port = 0 }, function(s)
    fn(s, s:read_until "\r\n\r\n")
    s:close()
  end))
  servers[#servers + 1] = listener
  return "http://" .. listener.address
end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  pipe:close()
  return text
end

local function close_servers()
  for _, server in ipairs(servers) do server:close { grace = 0 } end
end

describe("http.client's bodies", function()
  before_each(function() servers = {} end)
  after_each(close_servers)

  local function echo(req) return req:body() end

  it("come from what has a method read", function()
    local base = serve(echo)
    local n = 0
    local object = { read = function()
      n = n + 1
      return n <= 3 and ("%d,"):format(n) or nil
    end }
    assert.equal("1,2,3,", http.client({ base = base }):post("/", { body = object }).body)
    local a, b = require("neap.stream").pipe()
    task.spawn(function()
      a:write "from a "
      a:write "stream"
      a:close()
    end)
    assert.equal("from a stream", http.client({ base = base }):post("/", { body = b }).body)
    b:close()
    local path = os.tmpname()
    local file = assert(io.open(path, "w+b"))
    file:write(("line\n"):rep(50000))
    file:seek "set"
    local res = http.client({ base = base }):put("/", { body = file, content_length = 250000 })
    assert.equal(("line\n"):rep(50000), res.body)
    file:close()
    os.remove(path)
  end)

  it("are as long as announced, or the call fails", function()
    local base = serve(echo)
    local function two(length)
      local pieces = { "abc", "def" }
      local function body() return table.remove(pieces, 1) end
      return http.post(base, { body = body, content_length = length })
    end
    assert.equal("abcdef", two(6).body)
    for _, length in ipairs { 5, 7 } do
      local res, err = two(length)
      assert.is_nil(res)
      assert.equal("EINVAL", err.code)
    end
  end)

  it("pass from one server to another", function()
    local behind = serve(echo)
    local front = serve(function(req) return http.client({ base = behind }):post("/", { body = req }) end)
    assert.equal("through", http.post(front, { body = "through" }).body)
  end)

  -- What is neither in the client nor in the kernel has been read by the server.
  it("wait for who reads them slowly", function()
    local sent, read, most = 0, 0, 0
    local PIECE, PIECES = ("z"):rep(256 * 1024), 256
    local base = serve(function(req)
      for piece in req:chunks() do
        read = read + #piece
        most = math.max(most, sent - read)
        task.yield()
      end
      return tostring(read)
    end, { max_body_bytes = 128 * 1024 * 1024 })
    local n = 0
    local res = assert(http.client({ base = base }):post("/", { body = function()
      n = n + 1
      if n > PIECES then return nil end
      sent = sent + #PIECE
      return PIECE
    end }))
    assert.equal(tostring(64 * 1024 * 1024), res.body)
    assert.is_true(most < 16 * 1024 * 1024, "in flight: " .. most)
  end)

  it("wait for 100 (Continue), and go when it does not come", function()
    local got = {}
    local base = raw(function(s, head)
      got.head = head
      got.early = s:read(1, { timeout = 0.02 })
      s:write "HTTP/1.1 100 Continue\r\n\r\n"
      got.body = s:read_exactly(4)
      s:write "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    end)
    assert.equal("ok", http.client({ expect_continue = 5 }):post(base, { body = "body" }).body)
    assert.matches("\r\nExpect: 100%-continue", got.head)
    assert.is_nil(got.early)
    assert.equal("body", got.body)
    local late = raw(function(s)
      local body = s:read_exactly(4)
      s:write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n" .. body)
    end)
    assert.equal("body", http.client({ expect_continue = 0.01 }):post(late, { body = "body" }).body)
  end)

  it("are not sent to who refuses them, and sent at once to who expects nothing", function()
    local rest
    local base = raw(function(s)
      s:write "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n"
      rest = s:read()
    end)
    assert.equal(413, http.client({ expect_continue = 5 }):post(base, { body = "body" }).status)
    task.yield()
    assert.is_nil(rest)
    local tries = {}
    local picky = assert(tcp.listen({ port = 0 }, function(s)
      local head = s:read_until "\r\n\r\n"
      tries[#tries + 1] = head
      if head:find "Expect" then
        s:write "HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n"
      else
        s:write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n" .. s:read_exactly(4))
      end
      s:close()
    end))
    local res = http.client({ expect_continue = true }):post("http://" .. picky.address, { body = "body" })
    assert.equal("body", res.body)
    assert.equal(2, #tries)
    picky:close()
  end)

  it("end with trailers", function()
    local base = serve(function(req)
      req:start(200, { trailer = "x-sum" })
      req:write "abc"
      req:finish { ["x-sum"] = "3" }
    end)
    local res = http.get(base)
    assert.equal("abc", res.body)
    assert.same({ ["x-sum"] = "3" }, res.trailers)
    res = http.get(base, { stream = true })
    assert.is_nil(res.trailers)
    for _ in res:chunks() do end
    assert.same({ ["x-sum"] = "3" }, res.trailers)
  end)

  it("are preceded by 1xx answers, which a hook is told", function()
    local base = serve(function(req)
      req:inform(103, { link = "</a.css>" })
      return "ok"
    end)
    local told = task.future()
    local client = http.client { base = base, on_interim = function(...) told:resolve(...) end }
    assert.equal("ok", client:get("/").body)
    local status, headers = told:await(5)
    assert.equal(103, status)
    assert.equal("</a.css>", headers.link)
    assert.equal("ok", http.get(base).body)
  end)
end)

describe("http.client's answers", function()
  before_each(function() servers = {} end)
  after_each(close_servers)

  local function hex(text) return (text:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end

  it("are decoded, and say nothing of how they came", function()
    local packed, asked = output_of "printf 'hello hello hello hello' | gzip -9n", nil
    local base = serve(function(req)
      asked = req.headers["accept-encoding"]
      return 200, packed, { ["content-encoding"] = "gzip", ["x-other"] = "1" }
    end)
    local res = http.get(base)
    assert.equal("hello hello hello hello", res.body)
    assert.equal("gzip", res.coding)
    assert.is_nil(res.headers["content-encoding"])
    assert.is_nil(res.headers["content-length"])
    assert.equal("1", res.headers["x-other"])
    assert.equal("gzip, deflate, br, zstd", asked)
    res = http.get(base, { decompress = false })
    assert.equal(hex(packed), hex(res.body))
    assert.equal("gzip", res.headers["content-encoding"])
    assert.is_nil(asked)
    res = http.get(base, { headers = { ["accept-encoding"] = "gzip" } })
    assert.equal(hex(packed), hex(res.body))
  end)

  it("that decode to too much, or not at all, are errors", function()
    local bomb = output_of "head -c 3000000 /dev/zero | gzip -9n"
    local base = serve(function(req)
      local body = req.path == "/bomb" and bomb or "no gzip"
      return 200, body, { ["content-encoding"] = "gzip" }
    end)
    local client = http.client { base = base, max_body = 1000000 }
    local _, err = client:get "/bomb"
    assert.equal("ELIMIT", err.code)
    _, err = client:get "/bad"
    assert.equal("EPROTO", err.code)
    -- Piece by piece the ratio tells.
    local res = http.get(base .. "/bomb", { stream = true })
    local ok, why = pcall(function()
      for _ in res:chunks() do end
    end)
    assert.is_false(ok)
    assert.equal("ELIMIT", why.code)
  end)

  it("are decoded no faster than they are read", function()
    local text = {}
    for i = 1, 400000 do text[i] = i .. "\n" end
    text = table.concat(text)
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
    local packed = output_of(("gzip -9nc '%s'"):format(path))
    os.remove(path)
    local base = serve(function() return 200, packed, { ["content-encoding"] = "gzip" } end)
    local res, got, largest = assert(http.get(base, { stream = true })), {}, 0
    for piece in res:chunks() do
      got[#got + 1] = piece
      largest = math.max(largest, #piece)
      task.yield()
    end
    assert.is_true(table.concat(got) == text)
    assert.is_true(largest < 1024 * 1024, "in one piece: " .. largest)
  end)

  it("have heads of a bounded size", function()
    local base = serve(function() return 200, "ok", { ["x-long"] = ("x"):rep(5000) } end)
    local _, err = http.client({ base = base, max_header_bytes = 1000 }):get "/"
    assert.equal("ELIMIT", err.code)
    assert.equal("ok", http.client({ base = base }):get("/").body)
  end)

  it("that do not go on say where they stood", function()
    local base = serve(function(req)
      if req.path == "/late" then task.sleep(5) end
      req:start(200)
      req:write "a"
      task.sleep(5)
    end)
    local client = http.client { base = base, timeouts = { idle = 0.02 } }
    local _, err = client:get("/late", { timeouts = { first_byte = 0.02 } })
    assert.same({ "ETIMEDOUT", "first_byte", "first_byte" }, { err.code, err.phase, err.timeout })
    _, err = client:get "/"
    assert.same({ "ETIMEDOUT", "body", "idle" }, { err.code, err.phase, err.timeout })
    _, err = client:get("/", { timeouts = { total = 0.02, idle = false } })
    assert.same({ "ETIMEDOUT", "total" }, { err.code, err.timeout })
  end)
end)

describe("http.client's hooks", function()
  before_each(function() servers = {} end)
  after_each(close_servers)

  it("see each attempt, and may sign it", function()
    local base = serve(function(req)
      if req.path == "/from" then return 302, "", { location = "/to" } end
      return req.headers["x-signed"]
    end)
    local seen = {}
    local client = http.client {
      base = base,
      on_request = function(request)
        request.headers["x-signed"] = request.method .. " " .. request.target
        seen[#seen + 1] = request.target
      end,
      on_response = function(res, request) seen[#seen + 1] = res.status .. " " .. request.target end,
      on_error = function() seen[#seen + 1] = "error" end,
    }
    assert.equal("GET /to", client:get("/from").body)
    assert.same({ "/from", "302 /from", "/to", "200 /to" }, seen)
  end)

  it("hear of what failed", function()
    local heard
    local client = http.client { on_error = function(err, request) heard = { err.code, request.host } end }
    client:get "http://127.0.0.1:1/"
    assert.same({ "ECONNREFUSED", "127.0.0.1" }, heard)
  end)

  it("give credentials, to their own origin alone", function()
    local other = serve(function(req) return req.headers.authorization or "none" end)
    local base = serve(function(req)
      if req.path == "/away" then return 307, "", { location = other } end
      return req.headers.authorization
    end)
    local client = http.client { base = base, auth = { user = "u", password = "p" } }
    assert.equal("Basic dTpw", client:get("/").body)
    assert.equal("none", client:get("/away").body)
    assert.equal("Bearer t1", client:get("/", { auth = { bearer = function() return "t1" end } }).body)
    assert.equal("mine", client:get("/", { headers = { authorization = "mine" } }).body)
  end)
end)
