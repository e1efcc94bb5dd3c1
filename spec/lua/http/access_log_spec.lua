-- Access logs: lines in files, entries for functions.

local neap = require "neap"
local http, task, json = neap.http, neap.task, neap.json

local function answer(req)
  if req.path == "/late" then task.sleep(60) end
  return 201, "hello"
end

local function slurp(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

-- What a file says after these requests to a server with such a log. A server's log is written when it is
-- closed, at the latest.
local function logged(opts, ...)
  local path = os.tmpname()
  opts.path = path
  local server = assert(http.serve { handler = answer, access_log = opts })
  for _, request in ipairs { ... } do
    local c <close> = assert(neap.tcp.connect("127.0.0.1", server.port))
    c:write(request)
    c:shutdown()
    while c:read() do end
  end
  server:close { grace = 5 }
  local text = slurp(path)
  os.remove(path)
  return text
end

local function get(path, headers)
  return ("GET %s HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n%s\r\n"):format(path, headers or "")
end

-- The entries a function gets of these paths.
local function entries(opts, ...)
  local list, paths = {}, { ... }
  opts.handler = function(entry) list[#list + 1] = entry end
  local server = assert(http.serve { handler = answer, access_log = opts })
  for _, path in ipairs(paths) do http.get("http://" .. server.address .. path) end
  server:close { grace = 5 }
  while #list < #paths do task.sleep(0.001) end
  return list
end

describe("an access log", function()
  setup(function() http.get "http://127.0.0.1:1" end) -- the client's own timer stays

  it("has combined lines", function()
    local text = logged({}, get("/a?b=1", "User-Agent: curl/8\r\nReferer: http://x/\r\n"))
    assert.matches('^127%.0%.0%.1 %- %- %[%d%d/%u%l%l/%d%d%d%d:%d%d:%d%d:%d%d [+-]%d%d%d%d%] '
      .. '"GET /a%?b=1 HTTP/1%.1" 201 5 "http://x/" "curl/8"\n$', text)
  end)

  it("has the format that it is given", function()
    local text = logged({ format = "$status $method $path ${bytes}B $header{x-a} $http_x_b $$" },
      get("/a", "X-A: 1\r\nX-B: 2\r\n"))
    assert.equal("201 GET /a 5B 1 2 $\n", text)
    text = logged({ format = '{"a":"$user_agent","s":$status}', escape = "json" },
      get("/", 'User-Agent: "x"\r\n'))
    assert.equal('{"a":"\\"x\\"","s":201}\n', text)
  end)

  it("has objects", function()
    local text = logged({ format = "json" }, get "/a?b", "NONSENSE\r\n\r\n")
    local first, second = text:match "^(.-)\n(.-)\n$"
    local e = assert(json.decode(first))
    assert.same({ "GET", "/a", "b", 201, 5, "shop.test", "http" },
      { e.method, e.path, e.query, e.status, e.bytes, e.host, e.scheme })
    e = assert(json.decode(second))
    assert.same({ 400, "127.0.0.1" }, { e.status, e.client })
    text = logged({ format = "json", fields = { what = "$method $path", code = "$status" } }, get "/a")
    assert.equal('{"code":201,"what":"GET /a"}\n', text)
  end)

  it("lets nobody forge a line", function()
    local text = logged({ format = '"$user_agent"' }, get("/", 'User-Agent: a" 200\\ \xff\r\n'))
    assert.equal('"a\\x22 200\\x5C \\xFF"\n', text)
  end)

  it("speaks of those who left", function()
    local path = os.tmpname()
    local server = assert(http.serve {
      handler = answer, access_log = { path = path, format = "$status $path $aborted" },
    })
    local c = assert(neap.tcp.connect("127.0.0.1", server.port))
    c:write(get "/late")
    while server.connections == 0 do task.sleep(0.001) end
    c:close { linger = 0 }
    while server.connections > 0 do task.sleep(0.001) end
    server:close { grace = 0 }
    assert.equal("499 /late 1\n", slurp(path))
    os.remove(path)
  end)

  it("names the client behind trusted proxies, and the request", function()
    local path, id = os.tmpname(), nil
    local server = assert(http.serve {
      handler = function(req)
        id = req.id
        return req.id
      end,
      trusted_proxies = { "127.0.0.1" },
      access_log = { path = path, format = "$client $remote_addr $scheme $request_id" },
    })
    local headers = {
      ["x-forwarded-for"] = "9.9.9.9",
      ["x-forwarded-proto"] = "https",
      ["x-request-id"] = "r-7",
    }
    assert.equal("r-7", http.get("http://" .. server.address .. "/", { headers = headers }).body)
    headers["x-request-id"] = "no good"
    http.get("http://" .. server.address .. "/", { headers = headers })
    server:close { grace = 5 }
    assert.equal("9.9.9.9 127.0.0.1 https r-7\n9.9.9.9 127.0.0.1 https " .. id .. "\n", slurp(path))
    assert.matches("^%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x$", id)
    os.remove(path)
  end)

  it("is shared by servers that name the same file", function()
    local path = os.tmpname()
    local opts = { handler = answer, access_log = { path = path, format = "$path" } }
    local a, b = assert(http.serve(opts)), assert(http.serve(opts))
    for i = 1, 3 do
      http.get("http://" .. a.address .. "/a" .. i)
      http.get("http://" .. b.address .. "/b" .. i)
    end
    a:close { grace = 5 }
    b:close { grace = 5 }
    local lines = {}
    for line in io.lines(path) do lines[#lines + 1] = line end
    table.sort(lines)
    assert.same({ "/a1", "/a2", "/a3", "/b1", "/b2", "/b3" }, lines)
    os.remove(path)
  end)

  it("calls a function with each entry, after the answers", function()
    local list = entries({ flush = 0.001 }, "/a?x", "/b")
    assert.same({ "GET", "/a", "x", 201, 5, false }, {
      list[1].method, list[1].path, list[1].query, list[1].status, list[1].bytes, list[1].aborted,
    })
    assert.equal("float", math.type(list[1].duration_ms))
    assert.equal("/b", list[2].path)
    assert.is_nil(list[2].query)
    assert.same({ { what = "GET 201", code = 201 } },
      entries({ fields = { what = "$method $status", code = "$status", none = "$referer" } }, "/"))
  end)

  it("goes on with the next entry when the function fails or waits", function()
    local seen = {}
    local server = assert(http.serve {
      handler = answer,
      access_log = {
        flush = 0.001,
        handler = function(entry)
          seen[#seen + 1] = entry.path
          task.sleep(0.001)
          if entry.path == "/1" then error "on purpose" end
        end,
      },
    })
    for i = 1, 3 do http.get("http://" .. server.address .. "/" .. i) end
    server:close { grace = 5 }
    while #seen < 3 do task.sleep(0.001) end
    assert.same({ "/1", "/2", "/3" }, seen)
  end)

  it("has its options checked", function()
    for _, case in ipairs {
      { 7, "opts.access_log: expected boolean, string, function or table, got number" },
      { "$nonsense", "opts.access_log: unknown variable '$nonsense'" },
      { { fromat = "x" }, "opts.access_log.fromat: unknown option" },
      { { escape = "xml" }, "opts.access_log.escape: expected" },
      { { format = "$path", fields = {} }, "fields are for" },
      { { handler = print, path = "/x" }, "a handler takes no" },
      { { fields = { 1 } }, "expected names with formats" },
    } do
      local ok, err = pcall(http.serve, { handler = answer, access_log = case[1] })
      assert.is_false(ok)
      assert.is_truthy(err:find(case[2], 1, true), err)
    end
    local server, err = http.serve { handler = answer, access_log = { path = "/nonexistent/log" } }
    assert.is_nil(server)
    assert.equal("ENOENT", err.code)
  end)
end)
