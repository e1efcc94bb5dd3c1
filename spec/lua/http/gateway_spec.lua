-- Forwarding by a client with rules: retries of what is safe, and what a gateway's clients are answered.
local neap = require "neap"
local http, task, tcp = neap.http, neap.task, neap.tcp

local open = {}

local function keep(server)
  open[#open + 1] = server
  return server
end

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

local function refusing()
  local server = assert(http.serve { handler = function() end })
  local address = server.address
  server:close { grace = 0 }
  return address
end

-- The URL of a gateway whose client has these options, and the client.
local function gateway(opts, forward)
  for k, v in pairs { balancer = "round_robin", outlier = false, concurrency = false } do
    if opts[k] == nil then opts[k] = v end
  end
  local client = http.client(opts)
  local address = serve(function(req) return req:forward(client, forward) end)
  return "http://" .. address, client
end

local at_once = { backoff = 0, reserve = 1000 }

local function nothing_in_flight(client)
  for _, endpoint in ipairs(client:endpoints()) do assert.equal(0, endpoint.active) end
end

describe("forwarding by a client with rules", function()
  setup(function() http.get "http://127.0.0.1:1" end)
  after_each(function()
    for _, server in ipairs(open) do server:close { grace = 0 } end
    open = {}
  end)

  it("tries another endpoint, where that is safe", function()
    local bad, count = serve(function() return 503, "bad" end)
    local good = serve(function(req) return "good" .. req:body() end)
    local url, client = gateway { endpoints = { bad, good }, retry = at_once }
    for _ = 1, 4 do assert.equal("good", http.get(url).body) end
    assert.is_true(count.n >= 2)
    for _ = 1, 4 do assert.equal("goodsmall", http.put(url, { body = "small" }).body) end
    local statuses = {}
    for i = 1, 4 do statuses[i] = http.post(url, { body = "x" }).status end
    table.sort(statuses)
    assert.same({ 200, 200, 503, 503 }, statuses)
    local _, headers = gateway({ endpoints = { bad, good }, retry = at_once }, { headers = { ["x-a"] = 1 } })
    assert.is_table(headers)
    nothing_in_flight(client)
  end)

  it("passes the last answer on, body and all", function()
    local bad, count = serve(function(_, n) return 503, "bad " .. n, { ["x-n"] = n } end)
    local url, client = gateway { endpoints = { bad }, retry = at_once }
    local res = http.get(url)
    assert.same({ 503, "bad 3", "3", 3 }, { res.status, res.body, res.headers["x-n"], count.n })
    nothing_in_flight(client)
  end)

  it("makes any request again that reached nobody", function()
    local url = gateway {
      endpoints = { refusing(), (serve(function(req) return "good" .. req:body() end)) },
      retry = at_once,
    }
    for _ = 1, 4 do assert.equal("goodx", http.post(url, { body = "x" }).body) end
  end)

  it("streams a larger body, once", function()
    local bad, count = serve(function(req)
      req:body(10000000)
      return 503
    end)
    local url = gateway { endpoints = { bad }, retry = { max_body = 1000, backoff = 0 } }
    assert.equal(503, http.put(url, { body = ("x"):rep(1001) }).status)
    assert.equal(1, count.n)
    assert.equal(503, http.put(url, { body = ("x"):rep(1000) }).status)
    assert.equal(4, count.n)
  end)

  it("changes the request as it is told to, each time", function()
    local seen = {}
    local address = serve(function(req, n)
      seen[n] = req.headers["x-a"] .. req.target
      return n == 1 and 503 or 200, "good"
    end)
    local opts = { endpoints = { address }, retry = at_once, headers = { ["x-a"] = "b" } }
    local url = gateway(opts, { target = "/t" })
    assert.equal("good", http.get(url).body)
    assert.same({ "b/t", "b/t" }, seen)
  end)

  it("answers 502 where nobody is there, 503 where there is none", function()
    local url = gateway { endpoints = { refusing() }, retry = at_once }
    assert.equal(502, http.get(url).status)
    assert.equal(503, http.get((gateway { endpoints = {} })).status)
  end)

  it("answers 503 with Retry-After for what a rule refuses", function()
    local good = serve(function() return "good" end)
    local url = gateway { endpoints = { good }, rate_limit = { rate = 0.01, burst = 1 } }
    assert.equal(200, http.get(url).status)
    local res = http.get(url)
    assert.equal(503, res.status)
    local after = tonumber(res.headers["retry-after"])
    assert.is_true(after > 1 and after <= 100, tostring(after))
    local bad = serve(function() return 500 end)
    url = gateway { endpoints = { bad }, retry = false, breaker = { consecutive_failures = 1, open = 30 } }
    assert.equal(500, http.get(url).status)
    res = http.get(url)
    assert.equal(503, res.status)
    assert.is_true(tonumber(res.headers["retry-after"]) > 1)
  end)

  it("answers 504 when the time is over, retries included", function()
    local hole, count = serve(function() task.future():await() end)
    local url, client = gateway({ endpoints = { hole }, retry = { timeout = 0.05, backoff = 0 } })
    assert.equal(504, http.get(url).status)
    assert.equal(3, count.n)
    url = gateway({ endpoints = { hole } }, { timeout = 0.05 })
    assert.equal(504, http.get(url).status)
    assert.equal(504, http.get(url, { headers = { ["x-neap-deadline"] = "30" } }).status)
    nothing_in_flight(client)
  end)

  it("tells the endpoints' statistics and the rules how it went", function()
    local bad = serve(function() return 500 end)
    local good = serve(function() return "good" end)
    local url, client = gateway { endpoints = { bad, good, good:gsub("127.0.0.1", "localhost") .. "" },
      outlier = { consecutive_5xx = 2 }, retry = false }
    for _ = 1, 12 do http.get(url) end
    assert.equal(2, client:stats().cluster.usable)
    assert.is_true(client:endpoints()[1].errors >= 2)
  end)

  it("reads a request's priority", function()
    local gate, arrived = task.future(), 0
    local address = serve(function()
      arrived = arrived + 1
      gate:await()
      return "good"
    end)
    local url = gateway { endpoints = { address }, concurrency = { adaptive = false, initial = 4 } }
    local calls, caller = {}, http.client { priority = "critical" }
    for i = 1, 4 do calls[i] = caller:async():get(url) end
    while arrived < 4 do task.yield() end
    assert.equal(503, http.get(url).status)
    assert.equal(503, http.get(url, { headers = { ["x-neap-priority"] = "u=7" } }).status)
    gate:resolve(true)
    for i = 1, 4 do assert.equal(200, calls[i]:await(20).status) end
  end)

  it("gives all back when the client leaves", function()
    local begun = task.future()
    local address = serve(function()
      begun:resolve(true)
      task.future():await()
    end)
    local url, client = gateway { endpoints = { address }, concurrency = { adaptive = false, initial = 4 } }
    local c <close> = assert(tcp.connect("127.0.0.1", tonumber(url:match ":(%d+)$")))
    assert(c:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    begun:await(20)
    assert.equal(1, client:endpoints()[1].active)
    c:close()
    while client:stats().cluster.concurrency.inflight > 0 do task.yield() end
    nothing_in_flight(client)
  end)

  it("follows a script's policy and hash keys", function()
    local a, b = serve(function() return "a" end), serve(function() return "b" end)
    local tried
    local url, client = gateway {
      endpoints = { a, b },
      balancer = function(ctx, endpoints)
        tried = ctx.request.target
        return endpoints[2]
      end,
    }
    for _ = 1, 3 do assert.equal("b", http.get(url .. "/x?y").body) end
    assert.equal("/x?y", tried)
    nothing_in_flight(client)
    local first
    for _ = 1, 4 do
      url = gateway({ endpoints = { a, b }, balancer = "ring_hash" }, { hash_key = "k" })
      local got = http.get(url).body
      first = first or got
      assert.equal(first, got)
    end
  end)

  -- The URL of a gateway whose client has this fallback.
  local function with_fallback(fallback, endpoints, more)
    local opts = { endpoints = endpoints or {}, fallback = fallback, retry = at_once }
    for k, v in pairs(more or {}) do opts[k] = v or nil end
    return (gateway(opts))
  end

  it("answers by the client's fallback where no upstream does", function()
    local seen
    local function fallback(err, request)
      seen = { err.code, request.method, request.target, request.headers["x-a"] }
      return "instead"
    end
    local res = http.get(with_fallback(fallback) .. "/p?q=1", { headers = { ["x-a"] = "1" } })
    assert.same({ 200, "instead" }, { res.status, res.body })
    assert.same({ "ENOENDPOINT", "GET", "/p?q=1", "1" }, seen)
    assert.equal("instead", http.post(with_fallback(fallback, { refusing() }), { body = "x" }).body)
    assert.same({ "ECONNREFUSED", "POST" }, { seen[1], seen[2] })
    local hole = serve(function() task.future():await() end)
    assert.equal("instead", http.get(with_fallback(fallback, { hole }, { timeout = 0.05 })).body)
    assert.equal("ETIMEDOUT", seen[1])
    assert.equal("instead", http.get(with_fallback(fallback, {}, { hedge = true })).body)
  end)

  it("leaves what was answered, badly or not, as it is", function()
    local asked = 0
    local function fallback()
      asked = asked + 1
      return "instead"
    end
    local good, bad = serve(function() return "good" end), serve(function() return 503, "bad" end)
    local url = with_fallback(fallback, { good })
    for _ = 1, 3 do assert.equal("good", http.get(url).body) end
    assert.equal("bad", http.get(with_fallback(fallback, { bad })).body)
    local broken = serve(function(req)
      req:start(200, nil, 10)
      req:write "some"
    end)
    local _, err = http.get(with_fallback(fallback, { broken }))
    assert.equal("ECONNRESET", err and err.code)
    assert.equal(0, asked)
  end)

  it("falls back again and again, by clients that were plain else, too", function()
    local balancer = assert(neap.balancer.new("round_robin", { endpoints = { refusing() } }))
    local url = with_fallback(function() return { status = 203, body = { a = 1 } } end, false,
      { endpoints = false, balancer = balancer, retry = false })
    for _ = 1, 3 do
      local res = http.get(url)
      assert.same({ 203, 1 }, { res.status, res:json().a })
    end
    local first = refusing()
    url = with_fallback(function() return "instead" end, { first })
    for _ = 1, 3 do assert.equal("instead", http.get(url).body) end
  end)

  it("takes a forwarding's fallback before the client's", function()
    local function late() return "late" end
    local url = gateway({ endpoints = {}, fallback = function() return "client's" end }, { fallback = late })
    assert.equal("late", http.get(url).body)
    local to = "http://" .. refusing()
    url = "http://" .. serve(function(req) return req:forward(to, { fallback = late }) end)
    assert.equal("late", http.get(url).body)
    assert.equal("", http.head(url).body)
  end)

  it("may answer by another client's response, which streams", function()
    local spare = http.client { endpoints = { (serve(function() return "spare" end)) } }
    local url = with_fallback(function(_, request) return spare:get(request.target, { stream = true }) end)
    assert.equal("spare", http.get(url).body)
    nothing_in_flight(spare)
  end)

  it("fails as it did where the fallback has nothing, and with 500 where that raises", function()
    assert.equal(503, http.get(with_fallback(function() end)).status)
    assert.equal(502, http.get(with_fallback(function() end, { refusing() })).status)
    assert.equal(500, http.get(with_fallback(function() error "mine" end)).status)
    assert.equal(500, http.get(with_fallback(function() return 5 end)).status)
  end)
end)
