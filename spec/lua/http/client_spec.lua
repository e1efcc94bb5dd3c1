local neap = require "neap"
local http, task = neap.http, neap.task

local servers = {}

local function serve(handler)
  local server = assert(http.serve { handler = handler })
  servers[#servers + 1] = server
  return "http://" .. server.address
end

-- A port where nobody listens.
local function dead_address()
  local server = assert(http.serve { handler = function() end })
  local address = server.address
  server:close { grace = 0 }
  return address
end

local function close_servers()
  for _, server in ipairs(servers) do server:close { grace = 0 } end
  servers = {}
end

local function echo(req)
  return { method = req.method, target = req.target, headers = req.headers, body = req:body() }
end

describe("http.client", function()
  setup(function() http.get "http://127.0.0.1:1" end) -- the client's own timer stays
  after_each(close_servers)

  it("waits", function()
    local client = http.client { base = serve(echo) .. "/api/" }
    local res = assert(client:get("/things", { query = { q = "a b", tag = { "x", "y" } } }))
    assert.equal(200, res.status)
    assert.equal("OK", res.reason)
    assert.equal("/api/things?q=a%20b&tag=x&tag=y", res:json().target)
    assert.equal("/api?x=1", client:get("?x=1"):json().target)
    assert.equal("/api/a?b=1&c=2", client:get("/a?b=1", { query = "c=2" }):json().target)
  end)

  it("gives futures", function()
    local gate = task.future()
    local client = http.client { base = serve(function(req)
      gate:await()
      return req.path
    end) }
    local a, b = client:async():get "/a", client:async():request("POST", "/b")
    assert.is_false(a:done())
    gate:resolve(true)
    assert.equal("/a", a:await(5).body)
    assert.equal("/b", b:await(5).body)
  end)

  it("calls back", function()
    local client, got = http.client { base = serve(echo) }, task.future()
    assert.is_nil((client:get("/a", function(res, err) got:resolve(res, err) end)))
    local res, err = got:await(5)
    assert.equal("/a", res:json().target)
    assert.is_nil(err)
    got = task.future()
    local dead = http.client { base = "http://" .. dead_address() }
    dead:post("/", { json = {} }, function(...) got:resolve(...) end)
    res, err = got:await(5)
    assert.is_nil(res)
    assert.equal("ECONNREFUSED", err.code)
  end)

  it("has every method", function()
    local client = http.client { base = serve(echo) }
    for _, method in ipairs { "get", "post", "put", "patch", "delete", "options" } do
      assert.equal(method:upper(), client[method](client, "/"):json().method)
    end
    assert.equal("REPORT", client:request("REPORT", "/"):json().method)
    assert.equal("", client:head("/").body)
  end)

  it("sends headers and bodies", function()
    local client = http.client { base = serve(echo), headers = { ["X-A"] = "1", ["X-B"] = "2" } }
    local got = client:post("/", { json = { a = 1 }, headers = { ["x-b"] = false, ["X-C"] = 3 } }):json()
    assert.equal('{"a":1}', got.body)
    assert.equal("application/json", got.headers["content-type"])
    assert.same({ "1", nil, "3" }, { got.headers["x-a"], got.headers["x-b"], got.headers["x-c"] })
    got = client:post("/", { body = "<a/>", headers = { ["content-type"] = "text/xml" } }):json()
    assert.same({ "<a/>", "text/xml" }, { got.body, got.headers["content-type"] })
    got = client:post("/", { form = { a = "x y", b = { 1, 2 } } }):json()
    assert.equal("a=x+y&b=1&b=2", got.body)
  end)

  it("streams bodies both ways", function()
    local client = http.client { base = serve(function(req)
      return 200, function() return req:read() end
    end) }
    local n = 0
    local res = assert(client:post("/", {
      stream = true,
      body = function()
        n = n + 1
        if n <= 20 then return ("%02d"):format(n):rep(10000) end
      end,
    }))
    assert.is_nil(res.body)
    local size = 0
    for piece in res:chunks() do size = size + #piece end
    assert.equal(20 * 20000, size)
  end)

  it("stops reading when the response is closed", function()
    local client = http.client { base = serve(function()
      return 200, function() return ("x"):rep(65536) end
    end) }
    local res = assert(client:get("/", { stream = true }))
    assert.is_string(res:read())
    res:close()
    res:close()
  end)

  it("says why a body function failed", function()
    local client = http.client { base = serve(echo) }
    local res, err = client:post("/", { body = function() error "no more paper" end })
    assert.is_nil(res)
    assert.matches("no more paper", err.message)
  end)

  it("bounds what it collects", function()
    local client = http.client { base = serve(function() return ("x"):rep(1000) end), max_body = 999 }
    local _, err = client:get "/"
    assert.equal("ELIMIT", err.code)
    assert.equal(1000, #client:get("/", { max_body = 1000 }).body)
  end)

  it("bounds the time of a call", function()
    local client = http.client { base = serve(function() task.sleep(60) end), timeout = 0.02 }
    local _, err = client:get "/"
    assert.equal("ETIMEDOUT", err.code)
  end)

  it("takes whole URLs without a base", function()
    local url = serve(echo)
    assert.equal("/x?y=1", http.get(url .. "/x?y=1"):json().target)
    assert.equal("PUT", http.put(url):json().method)
    local client = http.client { headers = { ["x-a"] = "1" } }
    assert.equal("1", client:get(url):json().headers["x-a"])
  end)

  it("returns what cannot be sent as an error", function()
    local client = http.client { base = serve(echo) }
    local res, err = client:post("/", { json = { 0 / 0 } })
    assert.is_nil(res)
    assert.equal("EINVAL", err.code)
  end)

  it("returns what is no URL, and what may not go on the wire, as an error", function()
    local bad = { nowhere = "EINVAL", ["gopher://a/"] = "EINVAL", ["http://127.0.0.1:1/a b"] = "EINVAL" }
    for url, code in pairs(bad) do
      local res, err = http.get(url)
      assert.is_nil(res)
      assert.equal(code, err.code)
    end
    local client = http.client { base = serve(echo) }
    local _, err = client:get "/a\r\nhost: b"
    assert.equal("EINVAL", err.code)
    _, err = client:get("/", { headers = { ["x-a"] = "1\r\nx-b: 2" } })
    assert.equal("EINVAL", err.code)
  end)

  it("gives a response's JSON, or why there is none", function()
    local client = http.client { base = serve(function(req)
      if req.path == "/none" then return end
      return '{"a":'
    end) }
    local value, err = client:get("/"):json()
    assert.is_nil(value)
    assert.matches("^JSON: ", err.message)
    value, err = client:get("/none"):json()
    assert.is_nil(value)
    assert.equal("EINVAL", err.code)
  end)

  describe("refuses at the caller's line", function()
    local function refusal(fn)
      local ok, message = pcall(fn)
      assert.is_false(ok)
      local line = tonumber(message:match "client_spec%.lua:(%d+):")
      assert.equal(debug.getinfo(fn, "S").linedefined, line, message)
      return message:match "^[^:]+:%d+: (.*)$"
    end
    local client = http.client { base = "http://127.0.0.1:1" }
    local cases = {
      { "a misspelt option", function() http.client { bse = "x" } end,
        "opts.bse: unknown option (did you mean base?)" },
      { "base and service", function() http.client { base = "x", service = "y" } end,
        "opts: expected base or service, not both" },
      { "a balancer without a service", function() http.client { base = "http://a", balancer = "p2c" } end,
        "opts.balancer: is for a service" },
      { "a timeout said twice", function() http.client { timeout = 1, timeouts = { total = 1 } } end,
        "opts: expected timeouts.total or timeout, not both" },
      { "a misspelt phase", function() http.client { timeouts = { conect = 1 } } end,
        "opts.timeouts.conect: unknown option (did you mean connect?)" },
      { "a proxy of another kind", function() http.client { proxy = "socks5://a" } end,
        "opts.proxy: the proxy's URL is not one: a URL starts with http:, https: or unix:" },
      { "a misspelt limit of the pool", function() http.client { pool = { max_conections = 1 } } end,
        "opts.pool.max_conections: unknown option" },
      { "a misspelt option of TLS", function() http.client { tls = { certt = "x" } } end,
        "opts.certt: unknown option" },
      { "auth of two kinds", function() http.client { auth = { user = "a", bearer = "b" } } end,
        "opts.auth: expected user and password, or bearer" },
      { "a body that cannot be read", function() client:post("/", { body = {} }) end,
        "opts.body: expected string, function or something with a method read, got table" },
      { "a base with a query", function() http.client { base = "http://a/?b" } end,
        "opts.base: expected no query, fragment or user" },
      { "a misspelt retry option", function() http.client { base = "http://a", retry = { attempt = 1 } } end,
        "opts.retry.attempt: unknown option (did you mean attempts?)" },
      { "an unknown policy", function() http.client { service = "a", balancer = "p2d" } end,
        "unknown policy 'p2d' (did you mean p2c?)" },
      { "a path that is none", function() client:get "things" end,
        'path: expected it to begin with \'/\', got "things"' },
      { "a path of another type", function() client:get(1) end, "path: expected string, got number" },
      { "two bodies", function() client:post("/", { body = "x", json = 1 }) end,
        "opts: expected one of body, json and form" },
      { "a misspelt call option", function() client:get("/", { timout = 1 }) end,
        "opts.timout: unknown option (did you mean timeout?)" },
      { "a form of functions", function() client:post("/", { form = { a = print } }) end,
        "opts.form.a: expected string, number, boolean or array, got function" },
      { "a callback that is none", function() client:get("/", {}, 1) end,
        "callback: expected function, got number" },
      { "a future's path", function() client:async():get(1) end, "path: expected string, got number" },
    }
    for _, case in ipairs(cases) do
      it(case[1], function() assert.equal(case[3], refusal(case[2])) end)
    end
  end)
end)
