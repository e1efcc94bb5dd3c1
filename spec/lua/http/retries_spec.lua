-- Retries over real sockets: servers that refuse, reset, keep silent, answer 503 or ask for patience.
local neap = require "neap"
local http, tcp = neap.http, neap.tcp

local open = {}

local function keep(thing)
  open[#open + 1] = thing
  return thing
end

-- The address of a server that runs `handler`, and what counts its requests.
local function serve(handler)
  local count = { n = 0 }
  local server = keep(assert(http.serve {
    handler = function(req)
      count.n = count.n + 1
      return handler(req, count.n)
    end,
  }))
  return server.address, count
end

local function answering(id)
  return serve(function(req) return 200, id, { ["x-attempted"] = req.headers["x-n"] } end)
end

local function refusing()
  local server = assert(http.serve { handler = function() end })
  local address = server.address
  server:close { grace = 0 }
  return address
end

-- Reads a request and closes without a word.
local function resetting()
  local listener = keep(assert(tcp.listen({}, function(s) s:read() end)))
  return "127.0.0.1:" .. listener.port
end

-- Reads and never answers.
local function silent()
  local listener = keep(assert(tcp.listen({}, function(s)
    while s:read() do end -- luacheck: ignore 542
  end)))
  return "127.0.0.1:" .. listener.port
end

-- A client of a list; what is not about retries is off.
local function client_of(endpoints, retry, more)
  local opts = {
    endpoints = endpoints, balancer = "round_robin", retry = retry,
    outlier = false, concurrency = false, timeout = 20,
  }
  for k, v in pairs(more or {}) do opts[k] = v end
  return http.client(opts)
end

local at_once = { backoff = 0, reserve = 1000 }

-- Calls it as often as every endpoint has its turn to be the first.
local function all_good(client, method, opts)
  for _ = 1, 4 do
    local res, err = client:request(method, "/", opts)
    assert.is_nil(err)
    assert.same({ 200, "good" }, { res.status, res.body })
  end
end

describe("retries", function()
  setup(function() http.get "http://127.0.0.1:1" end)
  after_each(function()
    for _, thing in ipairs(open) do thing:close { grace = 0 } end
    open = {}
  end)

  it("go to another endpoint after each kind of failure", function()
    for _, bad in ipairs { refusing(), resetting(), (serve(function() return 503, "bad" end)) } do
      local client = client_of({ bad, (answering "good") }, at_once)
      all_good(client, "GET")
      assert.is_true(client:stats().cluster.retries > 0)
    end
  end)

  it("give up on one that keeps silent after the attempt's own time", function()
    local retry = { backoff = 0, reserve = 1000, timeout = 0.05 }
    local client = client_of({ silent(), (answering "good") }, retry)
    all_good(client, "GET")
  end)

  it("are on for clients of a service or a list, and off for an origin", function()
    local address, count = serve(function(_, n) return n == 1 and 503 or 200, "good" end)
    assert.equal(200, http.client({ endpoints = { address } }):get("/").status)
    assert.equal(2, count.n)
    address, count = serve(function() return 503 end)
    assert.equal(503, http.client({ base = "http://" .. address }):get("/").status)
    assert.equal(1, count.n)
    assert.equal(503, http.client({ endpoints = { address }, retry = false }):get("/").status)
    assert.equal(2, count.n)
    assert.equal(503, http.client({ endpoints = { address } }):get("/", { retry = false }).status)
    assert.equal(3, count.n)
  end)

  it("make no call twice that may have been acted on, unless its caller says so", function()
    local bad, count = serve(function() return 503, "bad" end)
    local client = client_of({ bad }, at_once)
    assert.equal(503, client:post("/", { body = "x" }).status)
    assert.equal(1, count.n)
    assert.equal(503, client:get("/", { idempotent = false }).status)
    assert.equal(2, count.n)
    assert.equal(503, client:post("/", { body = "x", idempotent = true }).status)
    assert.equal(5, count.n)
    assert.equal(503, client_of({ bad }, { methods = { "POST" }, backoff = 0 }):post("/").status)
    assert.equal(8, count.n)
    local _, err = client_of({ resetting() }, at_once):post "/"
    assert.equal("ECONNRESET", err.code)
  end)

  it("make any call again that reached no server", function()
    all_good(client_of({ refusing(), refusing(), (answering "good") }, at_once), "POST", { body = "x" })
  end)

  it("are of the statuses that are named", function()
    local address, count = serve(function(_, n) return n == 1 and 418 or 500, "bad" end)
    assert.equal(500, client_of({ address }, { statuses = { 418 }, backoff = 0 }):get("/").status)
    assert.equal(2, count.n)
  end)

  it("end with the last answer when their number is used up", function()
    local address, count = serve(function(_, n) return 503, "bad " .. n end)
    local res = client_of({ address }, { attempts = 4, backoff = 0, reserve = 1000 }):get "/"
    assert.same({ 503, "bad 4", 4, 4 }, { res.status, res.body, res.attempts, count.n })
    assert.equal(address, res.endpoint.address)
  end)

  it("are within the budget", function()
    local address, count = serve(function() return 503 end)
    local client = client_of({ address }, { backoff = 0, budget = 0.5, reserve = 0 })
    for _ = 1, 20 do client:get "/" end
    assert.equal(30, count.n)
    assert.is_true(client:stats().cluster.refused.retry > 0)
  end)

  it("are but counted in shadow mode", function()
    local address, count = serve(function() return 503 end)
    local client = client_of({ address }, { backoff = 0, shadow = true })
    assert.equal(503, client:get("/").status)
    assert.equal(1, count.n)
    assert.equal(1, client:stats().cluster.would_retry)
  end)

  it("let a server alone that asks for it", function()
    local date = require("neap.http.conditional").format_date
    local value
    local address, count = serve(function(_, n)
      if n % 2 == 0 then return "good" end
      return 503, "", { ["retry-after"] = value }
    end)
    local client = client_of({ address }, at_once, { timeout = 3 })
    for _, span in ipairs { "60", date(os.time() + 60) } do -- longer than there is time: no retry
      value, count.n = span, 0
      assert.equal(503, client:get("/").status)
      assert.equal(1, count.n)
    end
    for _, span in ipairs { "0", date(os.time() - 60), "soon" } do
      value, count.n = span, 0
      assert.equal("good", client:get("/").body)
    end
    local rude = client_of({ address }, { backoff = 0, retry_after = false }, { timeout = 3 })
    value, count.n = "60", 0
    assert.equal("good", rude:get("/").body)
    -- Nor is another endpoint to wait for that.
    all_good(client_of({ (serve(function() return 503, "", { ["retry-after"] = "60" } end)),
      (answering "good") }, at_once), "GET")
  end)

  it("wait as a function of one's own says", function()
    local seen = {}
    local address = serve(function(_, n) return n <= 2 and 503 or 200, "good" end)
    local client = client_of({ address }, {
      backoff = function(made)
        seen[#seen + 1] = made
        return 0
      end,
    })
    assert.equal("good", client:get("/").body)
    assert.same({ 1, 2 }, seen)
    local patient = client_of({ (serve(function() return 503 end)) }, { backoff = function() return 60 end })
    assert.equal(503, patient:get("/").status)
  end)

  it("are of what a client of an origin asks for, redirects and whole URLs included", function()
    local address, count = serve(function(_, n) return n % 2 == 1 and 503 or 200, "good" end)
    local url = "http://" .. address
    assert.equal("good", http.client({ base = url, retry = { backoff = 0 } }):get("/").body)
    local free = http.client { retry = { backoff = 0 } }
    assert.equal("good", free:get(url).body)
    local first = serve(function() return 302, "", { location = url } end)
    assert.equal("good", free:get("http://" .. first).body)
    assert.equal(6, count.n)
  end)
end)

describe("a body that comes in pieces", function()
  after_each(function()
    for _, thing in ipairs(open) do thing:close { grace = 0 } end
    open = {}
  end)

  local function pieces_of(n, piece)
    local i = 0
    return function()
      i = i + 1
      return i <= n and piece or nil
    end
  end

  local function echoing(failures)
    return serve(function(req, n)
      local body = req:body()
      if n <= failures then return 503 end
      return #body .. body:sub(-3)
    end)
  end

  it("is kept for another attempt within a bound", function()
    local client = client_of({ (echoing(2)) }, at_once)
    local res = client:put("/", { body = pieces_of(10, "abc") })
    assert.same({ 200, "30abc" }, { res.status, res.body })
  end)

  it("is sent once when it is larger", function()
    local address, count = echoing(1)
    local client = client_of({ address }, { backoff = 0, max_body = 29 })
    assert.equal(503, client:put("/", { body = pieces_of(10, "abc") }).status)
    assert.equal(1, count.n)
    assert.equal(0, client:stats().cluster.retries)
  end)

  it("is whole, too, where the first attempt reached no server", function()
    local client = client_of({ refusing(), (echoing(0)) }, at_once)
    for _ = 1, 2 do assert.equal("30abc", client:post("/", { body = pieces_of(10, "abc") }).body) end
  end)

  it("that fails ends the call, and is nobody's fault but the script's", function()
    local address, count = echoing(0)
    local client = client_of({ address }, at_once)
    local _, err = client:put("/", { body = function() error "mine" end })
    assert.equal("ESCRIPT", err.code)
    assert.matches("mine", err.message)
    assert.is_true(count.n <= 1)
    assert.equal(0, client:stats().cluster.retries)
    assert.equal(0, client:endpoints()[1].errors)
  end)
end)

describe("a streamed answer", function()
  after_each(function()
    for _, thing in ipairs(open) do thing:close { grace = 0 } end
    open = {}
  end)

  it("is in flight until its end, and then a success", function()
    local address = serve(function()
      local n = 0
      return 200, function()
        n = n + 1
        return n <= 3 and "piece" or nil
      end
    end)
    local client = client_of({ address }, at_once)
    local res = assert(client:get("/", { stream = true }))
    local endpoint = res.endpoint
    assert.equal(1, endpoint.active)
    for _ in res:chunks() do end -- luacheck: ignore 542
    assert.equal(0, endpoint.active)
    assert.equal(1, client:stats().cluster.succeeded)
    res = assert(client:get("/", { stream = true }))
    res:close()
    res:close()
    assert.equal(0, endpoint.active)
    assert.equal(0, client:stats().cluster.failed)
  end)

  it("is asked for again by its head alone", function()
    local address = serve(function(_, n) return n == 1 and 503 or 200, "body" end)
    local client = client_of({ address }, at_once)
    local res = assert(client:get("/", { stream = true }))
    assert.same({ 200, 2, "body" }, { res.status, res.attempts, res:read() })
    res:read()
    assert.equal(0, res.endpoint.active)
  end)

  it("that breaks off is a failure, and is not asked for again", function()
    local listener = keep(assert(tcp.listen({}, function(s)
      s:read()
      s:write "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    end)))
    local client = client_of({ "127.0.0.1:" .. listener.port }, at_once)
    local res = assert(client:get("/", { stream = true }))
    local endpoint = res.endpoint
    assert.error(function() for _ in res:chunks() do end end) -- luacheck: ignore 542
    assert.same({ 0, 1, 0 }, { endpoint.active, endpoint.errors, client:stats().cluster.retries })
  end)

  it("that is forgotten is given back", function()
    local client = client_of({ (answering "good") }, at_once)
    local endpoint = client:get("/", { stream = true }).endpoint
    collectgarbage()
    collectgarbage()
    assert.equal(0, endpoint.active)
  end)
end)
