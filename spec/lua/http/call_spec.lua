local neap = require "neap"
local http, task = neap.http, neap.task

local servers = {}

local function serve(handler)
  local server = assert(http.serve { handler = handler })
  servers[#servers + 1] = server
  return "http://" .. server.address
end

local function close_servers()
  for _, server in ipairs(servers) do server:close { grace = 0 } end
  servers = {}
end

local function echo(req)
  return { method = req.method, target = req.target, headers = req.headers, body = req:body() }
end

describe("redirects", function()
  setup(function() http.get "http://127.0.0.1:1" end) -- the client's own timer stays
  after_each(close_servers)

  -- /301 … /308 lead to /end.
  local function redirecting(req)
    local status = math.tointeger(tonumber(req.path:match "^/(30%d)$"))
    if status then return status, "moved", { location = "/end?from=" .. status } end
    return echo(req)
  end

  it("are followed, with the method they ask for", function()
    local client = http.client { base = serve(redirecting) }
    local methods = { [301] = "GET", [302] = "GET", [303] = "GET", [307] = "POST", [308] = "POST" }
    for status, method in pairs(methods) do
      local got = client:post("/" .. status, { json = { 1 } }):json()
      assert.same({ method, "/end?from=" .. status }, { got.method, got.target })
      assert.equal(method == "POST" and "[1]" or "", got.body)
      assert.equal(method == "POST" and "application/json" or nil, got.headers["content-type"])
    end
    assert.equal("PUT", client:put("/302"):json().method)
    assert.equal("GET", client:put("/303"):json().method)
    assert.equal(200, client:head("/303").status)
  end)

  it("are not followed when told so", function()
    local client = http.client { base = serve(redirecting), redirects = 0 }
    assert.equal(302, client:get("/302").status)
    assert.equal(200, client:get("/302", { redirects = 1 }).status)
  end)

  it("are followed so often and no more", function()
    local client = http.client { base = serve(function(req)
      local n = math.tointeger(req.path:match "%d+")
      if n == 0 then return "there" end
      return 302, "", { location = "/" .. n - 1 }
    end) }
    assert.equal("there", client:get("/5").body)
    local _, err = client:get "/6"
    assert.equal("EREDIRECTS", err.code)
  end)

  it("take no secrets to another origin", function()
    local other = serve(echo)
    local url = serve(function(req)
      if req.path == "/same" then return 302, "", { location = "/end" } end
      if req.path == "/end" then return echo(req) end
      return 302, "", { location = other .. "/end" }
    end)
    local client = http.client {
      base = url,
      headers = { authorization = "Bearer x", cookie = "a=1", ["x-a"] = "1" },
    }
    local got = client:get("/same"):json()
    assert.same({ "Bearer x", "a=1" }, { got.headers.authorization, got.headers.cookie })
    got = client:get("/"):json()
    assert.is_nil(got.headers.authorization)
    assert.is_nil(got.headers.cookie)
    assert.equal("1", got.headers["x-a"])
  end)

  it("give back what cannot be sent twice", function()
    local client = http.client { base = serve(function(req)
      req:body()
      return redirecting(req)
    end) }
    local sent = false
    local res = assert(client:post("/307", {
      body = function()
        if sent then return end
        sent = true
        return "once"
      end,
    }))
    assert.equal(307, res.status)
  end)
end)

describe("cookies", function()
  after_each(close_servers)

  it("are kept by a client that is told to", function()
    local url = serve(function(req)
      if req.path == "/login" then
        return 302, "", { location = "/", ["set-cookie"] = { "id=42; Path=/", "x=1" } }
      end
      return { cookies = req.cookies }
    end)
    local client = http.client { base = url, cookies = true }
    assert.same({ id = "42", x = "1" }, client:get("/login"):json().cookies)
    assert.same({ mine = "1" }, client:get("/", { headers = { cookie = "mine=1" } }):json().cookies)
    assert.same({}, http.client({ base = url }):get("/login"):json().cookies)
  end)
end)

describe("retries", function()
  after_each(close_servers)

  -- Fails so often, then answers.
  local function flaky(failures, status)
    local calls = 0
    return function()
      calls = calls + 1
      if calls <= failures then return status or 503, "not now" end
      return { calls = calls }
    end, function() return calls end
  end

  it("are made for idempotent calls, within their number", function()
    local client = http.client { base = serve((flaky(2))), retry = { attempts = 3, backoff = 0 } }
    local res = client:get "/"
    assert.same({ 200, 3, 3 }, { res.status, res:json().calls, res.attempts })
    local handler, calls = flaky(9)
    client = http.client { base = serve(handler), retry = { attempts = 3, backoff = 0 } }
    assert.equal(503, client:get("/").status)
    assert.equal(3, calls())
  end)

  it("are not made for a call that may have done something", function()
    local handler, calls = flaky(1)
    local client = http.client { base = serve(handler), retry = { backoff = 0 } }
    assert.equal(503, client:post("/").status)
    assert.equal(1, calls())
    assert.equal(200, client:post("/", { idempotent = true }).status)
    handler, calls = flaky(1)
    client = http.client { base = serve(handler), retry = { backoff = 0 } }
    assert.equal(503, client:get("/", { retry = false }).status)
    assert.equal(1, calls())
    assert.equal(503, http.client({ base = serve((flaky(1))) }):get("/").status)
  end)

  it("stay within the budget", function()
    local handler, calls = flaky(1000)
    local client = http.client { base = serve(handler), retry = { budget = 0.2, reserve = 0, backoff = 0 } }
    for _ = 1, 50 do client:get "/" end
    assert.equal(60, calls())
  end)

  it("stay within the time", function()
    local handler, calls = flaky(1000)
    local client = http.client {
      base = serve(handler),
      retry = { backoff = function() return 60 end },
      timeout = 5,
    }
    assert.equal(503, client:get("/").status)
    assert.equal(1, calls())
  end)

  it("give an attempt a time of its own", function()
    local calls = 0
    local client = http.client {
      base = serve(function()
        calls = calls + 1
        if calls == 1 then task.sleep(60) end
        return "late"
      end),
      retry = { timeout = 0.05, backoff = 0 },
      timeout = 5,
    }
    assert.equal("late", client:get("/").body)
  end)
end)
