-- Deadlines that travel with calls: who inherits them, who is told, and what a server makes of it.
local neap = require "neap"
local http, task, tcp = neap.http, neap.task, neap.tcp

local servers = {}

local function serve(handler, opts)
  opts = opts or {}
  opts.handler = handler
  local server = assert(http.serve(opts))
  servers[#servers + 1] = server
  return "http://" .. server.address, server
end

-- The milliseconds that a request says its asker waits.
local function told(req) return tonumber(req.headers["x-neap-deadline"]) end

local function left() return task.deadline() end

local function is_within(seconds, most)
  assert.is_number(seconds)
  assert.is_true(seconds >= 0 and seconds <= most, tostring(seconds))
end

local function forever() task.future():await() end

describe("a call's deadline", function()
  setup(function() http.get "http://127.0.0.1:1" end)
  after_each(function()
    for _, server in ipairs(servers) do server:close { grace = 0 } end
    servers = {}
  end)

  it("is the smaller of its task's and its own, and the server is told", function()
    local client = http.client { base = serve(function(req) return { told(req) } end), timeout = 50 }
    local ms = client:get("/"):json()[1]
    assert.is_true(ms > 1000 and ms <= 50000)
    ms = client:get("/", { timeout = 20 }):json()[1]
    assert.is_true(ms > 1000 and ms <= 20000)
    ms = task.timeout(10, client.get, client, "/"):json()[1]
    assert.is_true(ms > 1000 and ms <= 10000)
    ms = task.timeout(30, client.get, client, "/", { timeout = 10 }):json()[1]
    assert.is_true(ms > 1000 and ms <= 10000)
  end)

  it("is told to nobody where nobody has set one, nor where that is not wanted", function()
    local url = serve(function(req) return { told(req) } end)
    assert.same({}, http.client({ base = url }):get("/"):json())
    assert.same({}, http.get(url, { timeout = 10 }):json())
    assert.same({}, http.client({ base = url, timeout = 10, deadline = false }):get("/"):json())
    local quiet = http.client { deadline = false }
    assert.same({}, task.timeout(10, quiet.get, quiet, url):json())
    local own = { headers = { ["x-neap-deadline"] = 77 } }
    assert.same({ 77 }, http.client({ base = url, timeout = 10 }):get("/", own):json())
  end)

  it("is not told to another origin that a call is redirected to, but its task's is", function()
    local other = serve(function(req) return { told(req) } end)
    local first = serve(function() return 302, "", { location = other } end)
    local client = http.client { base = first, timeout = 50 }
    assert.same({}, client:get("/"):json())
    is_within(task.timeout(10, client.get, client, "/"):json()[1] / 1000, 10)
  end)

  it("is inherited three services deep", function()
    local seen = {}
    local c = serve(function()
      seen.c = left()
      return "deep"
    end)
    local b = serve(function()
      seen.b = left()
      return http.client({ base = c }):get "/"
    end)
    local a = serve(function()
      seen.a = left()
      return http.get(b)
    end)
    assert.equal("deep", http.client({ base = a, timeout = 20 }):get("/").body)
    is_within(seen.a, 20.001)
    is_within(seen.b, seen.a + 0.001)
    is_within(seen.c, seen.b + 0.001)
  end)

  it("ends the work of all of them when it has run out", function()
    local ended = {}
    local function ends(name, fn)
      return function()
        local mark <close> = setmetatable({}, { __close = function() ended[name] = true end }) -- luacheck: ignore
        return fn()
      end
    end
    local c = serve(ends("c", forever))
    local b = serve(ends("b", function() return http.client({ base = c }):get "/" end))
    local a = serve(ends("a", function() return http.client({ base = b }):get "/" end))
    -- By hand, so that nobody leaves before the answer: it is the servers that stop.
    local s <close> = assert(tcp.connect("127.0.0.1", a:match ":(%d+)$" + 0))
    assert(s:write "GET / HTTP/1.1\r\nHost: a\r\nX-Neap-Deadline: 50\r\nConnection: close\r\n\r\n")
    local text = {}
    for piece in function() return (s:read { timeout = 20 }) end do text[#text + 1] = piece end
    assert.matches("^HTTP/1.1 504 ", table.concat(text))
    assert.same({ a = true, b = true, c = true }, ended)
  end)
end)

describe("a server", function()
  after_each(function()
    for _, server in ipairs(servers) do server:close { grace = 0 } end
    servers = {}
  end)

  local function with(url, value)
    return http.get(url, { headers = { ["x-neap-deadline"] = value } })
  end

  it("gives a request's task the deadline it brings", function()
    local url = serve(function() return { left() or "none" } end)
    is_within(with(url, "5000"):json()[1], 5)
    is_within(with(url, { "9000", "5000" }):json()[1], 5)
    assert.equal("none", http.get(url):json()[1])
  end)

  it("ignores what makes no sense", function()
    local url = serve(function() return { left() or "none" } end)
    for _, value in ipairs { "x", "-5", "5s", "1.5", "", "12345678901", "0x10", "5 6" } do
      assert.equal("none", with(url, value):json()[1], value)
    end
  end)

  it("begins nothing for which no time is left", function()
    local begun
    local url = serve(function() begun = true end)
    assert.equal(504, with(url, "0").status)
    assert.is_nil(begun)
  end)

  it("believes nobody where it is told so", function()
    local url = serve(function() return { left() or "none" } end, { deadline = false })
    assert.equal("none", with(url, "5000"):json()[1])
    assert.equal("none", with(url, "0"):json()[1])
    assert.error_matches(function() serve(forever, { deadline = 5 }) end, "opts.deadline")
  end)

  it("answers 504 when it ran out", function()
    local url = serve(forever)
    assert.equal(504, with(url, "1").status)
  end)

  it("forwards no longer than that, and tells the upstream", function()
    local up = serve(function(req) return { told(req), left() } end)
    local gate = serve(function(req) return req:forward(up) end)
    local got = with(gate, "5000"):json()
    is_within(got[1], 5000)
    is_within(got[2], 5)
    local hole = serve(forever)
    gate = serve(function(req) return req:forward(hole) end)
    assert.equal(504, with(gate, "20").status)
  end)
end)
