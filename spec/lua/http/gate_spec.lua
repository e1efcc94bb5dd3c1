local neap = require "neap"
local http, task = neap.http, neap.task

-- Serves while `fn` runs.
local function serving(opts, fn)
  local server = assert(http.serve(opts))
  local client = http.client { base = "http://" .. server.address }
  local ok, err = xpcall(fn, debug.traceback, client, server)
  client:close()
  server:close { grace = 0 }
  if not ok then error(err, 0) end
end

local function get(client, headers, path) return assert(client:get(path or "/", { headers = headers })) end

-- Answers of so many requests, by their status.
local function statuses(client, n, headers)
  local seen = {}
  for _ = 1, n do
    local status = get(client, headers).status
    seen[status] = (seen[status] or 0) + 1
  end
  return seen
end

local calls = 0
local function handler()
  calls = calls + 1
  return "fine"
end

describe("a server's rate limit", function()
  before_each(function() calls = 0 end)

  it("answers 429 before the handler runs, and says when to come again", function()
    serving({ handler = handler, rate_limit = { rate = 0.01, burst = 2 } }, function(client, server)
      assert.same({ [200] = 2, [429] = 3 }, statuses(client, 5))
      assert.equal(2, calls)
      local res = get(client)
      local after = tonumber(res.headers["retry-after"])
      assert.is_true(after > 90 and after <= 100)
      assert.equal("application/json", res.headers["content-type"])
      assert.matches("too many requests", res.body)
      assert.is_nil(res.headers["ratelimit"])
      local stats = server:stats().rate_limit
      assert.equal(2, stats.allowed)
      assert.equal(4, stats.refused)
    end)
  end)

  it("is kept for each value of a header", function()
    local limit = { rate = 0.01, burst = 1, key = "X-Api-Key" }
    serving({ handler = handler, rate_limit = limit }, function(client, server)
      assert.same({ [200] = 1, [429] = 1 }, statuses(client, 2, { ["x-api-key"] = "a" }))
      assert.same({ [200] = 1, [429] = 1 }, statuses(client, 2, { ["x-api-key"] = "b" }))
      assert.same({ [200] = 1, [429] = 1 }, statuses(client, 2)) -- those without are one
      assert.equal(3, server:stats().rate_limit.keys)
    end)
  end)

  it("is kept for each address, as trusted proxies tell it, and for a network of IPv6", function()
    local limit = { rate = 0.01, burst = 1, key = "address" }
    serving({ handler = handler, rate_limit = limit, trusted_proxies = { "127.0.0.1" } }, function(client)
      local function from(address) return get(client, { ["x-forwarded-for"] = address }).status end
      assert.equal(200, from "192.0.2.1")
      assert.equal(429, from "192.0.2.1")
      assert.equal(200, from "192.0.2.2")
      assert.equal(200, from "2001:db8:1:2:aaaa::1")
      assert.equal(429, from "2001:db8:1:2:bbbb::1")
      assert.equal(200, from "2001:db8:1:3::1")
      assert.equal(200, from "2001:db8::1")
      assert.equal(429, from "2001:db8::2")
      assert.equal(200, get(client).status)
      assert.equal(429, get(client).status)
    end)
  end)

  it("asks a function whose a request is, and what it costs", function()
    local limit = {
      rate = 0.01,
      burst = 10,
      key = function(req) return req.query.user end,
      cost = function(req) return tonumber(req.query.cost) end,
    }
    serving({ handler = handler, rate_limit = limit }, function(client)
      assert.equal(200, get(client, nil, "/?user=a&cost=9").status)
      local res = get(client, nil, "/?user=a&cost=9")
      assert.equal(429, res.status)
      assert.is_true(tonumber(res.headers["retry-after"]) > 700)
      assert.equal(200, get(client, nil, "/?user=a").status)
      assert.equal(200, get(client, nil, "/?user=b&cost=9").status)
      for _ = 1, 15 do assert.equal(200, get(client).status) end -- nobody's: not limited
      assert.equal(429, get(client, nil, "/?user=c&cost=11").status)
      assert.is_nil(get(client, nil, "/?user=c&cost=11").headers["retry-after"]) -- never
    end)
  end)

  it("tells what is left", function()
    local limit = { name = "spec gate", rate = 0.1, burst = 2, headers = true }
    serving({ handler = handler, rate_limit = limit }, function(client)
      local res = get(client)
      assert.equal(200, res.status)
      assert.equal('"spec gate";q=2;w=20', res.headers["ratelimit-policy"])
      assert.matches('^"spec gate";r=1;t=10$', res.headers["ratelimit"])
      get(client)
      res = get(client)
      assert.equal(429, res.status)
      assert.matches('^"spec gate";r=0;t=%d+$', res.headers["ratelimit"])
    end)
  end)

  it("counts in shadow mode and lets all pass", function()
    local limit = { rate = 0.01, burst = 1, shadow = true }
    serving({ handler = handler, rate_limit = limit }, function(client, server)
      assert.same({ [200] = 4 }, statuses(client, 4))
      assert.equal(3, server:stats().rate_limit.would_refuse)
      assert.is_nil(server:stats().rate_limit.refused)
    end)
  end)

  it("is another for another server, unless they share a name", function()
    local limit = { rate = 0.01, burst = 1 }
    local named = { rate = 0.01, burst = 2, name = "spec.gate.shared" }
    serving({ handler = handler, rate_limit = limit }, function(a)
      serving({ handler = handler, rate_limit = limit }, function(b)
        assert.same({ [200] = 1 }, statuses(a, 1))
        assert.same({ [200] = 1 }, statuses(b, 1))
      end)
    end)
    serving({ handler = handler, rate_limit = named }, function(a)
      serving({ handler = handler, rate_limit = named }, function(b)
        assert.same({ [200] = 1 }, statuses(a, 1))
        assert.same({ [200] = 1, [429] = 1 }, statuses(b, 2))
      end)
    end)
  end)

  it("refuses pipelined requests in their order", function()
    serving({ handler = handler, rate_limit = { rate = 0.01, burst = 1 } }, function(_, server)
      local conn = assert(neap.tcp.connect("127.0.0.1", server.port))
      assert(conn:write(("GET / HTTP/1.1\r\nHost: x\r\n\r\n"):rep(2) ..
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
      local pieces = {}
      for piece in function() return conn:read() end do pieces[#pieces + 1] = piece end
      local text = table.concat(pieces)
      local got = {}
      for status in text:gmatch "HTTP/1.1 (%d+)" do got[#got + 1] = status end
      assert.same({ "200", "429", "429" }, got)
      conn:close()
    end)
  end)
end)

describe("a server's concurrency limit", function()
  local gate -- the handlers wait for it

  before_each(function() gate = task.future() end)

  local function waiting()
    gate:await()
    return "done"
  end

  -- So many requests that wait in their handlers.
  local function hold(client, group, n, headers)
    for _ = 1, n do
      group:spawn(function() return get(client, headers) and true end)
    end
  end

  local function until_inflight(server, n)
    while server:stats().concurrency.inflight ~= n do task.sleep(0.001) end
  end

  it("answers 503 before the handler runs", function()
    local limit = { adaptive = false, initial = 10 }
    serving({ handler = waiting, concurrency = limit }, function(client, server)
      local group <close> = task.group()
      hold(client, group, 9)
      until_inflight(server, 9)
      local res = get(client)
      assert.equal(503, res.status)
      assert.equal("1", res.headers["retry-after"])
      assert.matches("overloaded", res.body)
      gate:resolve(true)
      assert(group:wait())
      until_inflight(server, 0)
      assert.equal(200, get(client).status)
      local stats = server:stats().concurrency
      assert.equal(10, stats.limit)
      assert.equal(10, stats.admitted)
      assert.equal(1, stats.classes.normal.refused)
    end)
  end)

  it("sheds low classes first", function()
    local limit = { adaptive = false, initial = 10 }
    serving({ handler = waiting, concurrency = limit }, function(client, server)
      local group <close> = task.group()
      local function status(priority) return get(client, { ["x-neap-priority"] = priority }).status end
      hold(client, group, 5, { ["x-neap-priority"] = "sheddable" })
      until_inflight(server, 5)
      assert.equal(503, status "sheddable")
      assert.equal(503, status "u=7")
      hold(client, group, 2, { ["x-neap-priority"] = "u=6" })
      until_inflight(server, 7)
      assert.equal(503, status "low")
      hold(client, group, 2)
      until_inflight(server, 9)
      assert.equal(503, status "nonsense") -- is normal
      hold(client, group, 1, { ["x-neap-priority"] = "high" })
      until_inflight(server, 10)
      assert.equal(503, status "high")
      hold(client, group, 1, { ["x-neap-priority"] = "critical" })
      until_inflight(server, 11)
      gate:resolve(true)
      assert(group:wait())
    end)
  end)

  it("asks a header of one's own, or a function, for the class", function()
    local by_header = { adaptive = false, initial = 2, priority = "X-Class" }
    local function function_of(req) return req.path == "/vip" and "critical" or "sheddable" end
    local by_function = { adaptive = false, initial = 2, priority = function_of }
    local function immediately() return "ok" end
    serving({ handler = immediately, concurrency = by_header }, function(client, server)
      get(client, { ["x-class"] = "high" })
      get(client, { ["x-neap-priority"] = "high" })
      assert.equal(1, server:stats().concurrency.classes.high.admitted)
      assert.equal(1, server:stats().concurrency.classes.normal.admitted)
    end)
    serving({ handler = waiting, concurrency = by_function }, function(client, server)
      local group <close> = task.group()
      hold(client, group, 1)
      until_inflight(server, 1)
      assert.equal(503, get(client).status)
      gate:resolve(true)
      assert.equal(200, get(client, nil, "/vip").status)
      assert(group:wait())
      assert.equal(1, server:stats().concurrency.classes.critical.admitted)
    end)
  end)

  it("forgets clients that leave", function()
    serving({ handler = waiting, concurrency = { adaptive = false, initial = 4 } }, function(client, server)
      local res, err = client:get("/", { timeout = 0.05 })
      assert.is_nil(res)
      assert.equal("ETIMEDOUT", err.code)
      until_inflight(server, 0)
      gate:resolve(true)
    end)
  end)

  it("takes no client's haste for an overload", function()
    local limit = { initial = 10, min = 1 }
    serving({ handler = waiting, concurrency = limit, admission = true }, function(client, server)
      for _, deadline in ipairs { "0", "1", "1", "1", "1", "1" } do
        assert.equal(504, get(client, { ["x-neap-deadline"] = deadline }).status)
      end
      until_inflight(server, 0)
      assert.equal(10, server:stats().concurrency.limit)
      assert.equal(5, server:stats().concurrency.admitted)
      assert.equal(1, server:stats().admission.success_rate)
      gate:resolve(true)
    end)
  end)

  it("counts what fails in a handler, streams and files to their end", function()
    local function many(req)
      if req.path == "/raise" then error "bad luck" end
      if req.path == "/stream" then
        local n = 0
        return 200, function()
          n = n + 1
          return n < 4 and "piece" or nil
        end
      end
      return nil, task.error("ELIMIT", "no room")
    end
    serving({ handler = many, concurrency = { initial = 10, min = 1 } }, function(client, server)
      assert.equal(500, get(client, nil, "/raise").status)
      assert.equal("piecepiecepiece", get(client, nil, "/stream").body)
      assert.equal(10, server:stats().concurrency.limit)
      for _ = 1, 3 do assert.equal(503, get(client, nil, "/busy").status) end
      until_inflight(server, 0)
      assert.equal(9, server:stats().concurrency.limit) -- answers of overload
    end)
  end)

  it("lets all in, in shadow mode", function()
    local limit = { adaptive = false, initial = 1, shadow = true }
    serving({ handler = waiting, concurrency = limit }, function(client, server)
      local group <close> = task.group()
      hold(client, group, 3)
      until_inflight(server, 3)
      gate:resolve(true)
      assert(group:wait())
      assert.equal(2, server:stats().concurrency.would_refuse)
    end)
  end)

  it("is on with true", function()
    serving({ handler = handler, concurrency = true, admission = true }, function(client, server)
      assert.equal(200, get(client).status)
      assert.equal(20, server:stats().concurrency.limit)
      assert.equal(1, server:stats().admission.success_rate)
    end)
  end)
end)

describe("a server's admission control", function()
  it("refuses by chance while answers are bad", function()
    local function bad() return 500, "no" end
    local admission = { max_rejection = 1, success_threshold = 1 }
    serving({ handler = bad, admission = admission }, function(client, server)
      local seen = statuses(client, 300)
      assert.is_true(seen[500] < 150)
      assert.is_true(seen[503] > 150)
      local stats = server:stats().admission
      assert.equal(seen[503], stats.refused)
      assert.equal(0, stats.success_rate)
      assert.equal(500, get(client, { ["x-neap-priority"] = "critical" }).status)
    end)
  end)
end)

describe("options of a gate", function()
  it("are checked", function()
    local function try(field, value)
      return function() http.serve { handler = handler, [field] = value } end
    end
    assert.error_matches(try("rate_limit", true), "opts.rate_limit.rate")
    assert.error_matches(try("rate_limit", { rate = 1, kye = "x" }), "opts.rate_limit.kye")
    assert.error_matches(try("rate_limit", { rate = 1, key = 3 }), "opts.rate_limit.key")
    assert.error_matches(try("rate_limit", { rate = 1, key = "a b" }), "opts.rate_limit.key")
    assert.error_matches(try("rate_limit", { rate = 1, headers = "yes" }), "opts.rate_limit.headers")
    assert.error_matches(try("rate_limit", { rate = 1, cost = -1 }), "opts.rate_limit.cost")
    assert.error_matches(try("rate_limit", 5), "opts.rate_limit: expected table or boolean")
    assert.error_matches(try("concurrency", { priority = {} }), "opts.concurrency.priority")
    assert.error_matches(try("concurrency", { min = 9, max = 3 }), "opts.concurrency.min")
    assert.error_matches(try("concurrency", { max_waiting = 3 }), "opts.concurrency.max_waiting")
    assert.error_matches(try("admission", { success_threshold = 0 }), "opts.admission.success_threshold")
    assert.error_matches(try("admission", { aggresion = 1 }), "opts.admission.aggresion")
  end)

  it("may be false", function()
    serving({ handler = handler, rate_limit = false, concurrency = false }, function(client, server)
      assert.equal(200, get(client).status)
      assert.is_nil(server:stats().rate_limit)
      assert.equal(1, server:stats().connections)
    end)
  end)
end)

describe("middleware", function()
  it("limits the rate of a route", function()
    local app = http.app()
    local limited = neap.limiter.middleware { rate = 0.01, burst = 2, key = "x-user", headers = true }
    app:get("/limited", limited, handler)
    app:get("/", handler)
    serving({ app = app }, function(client)
      local res = get(client, { ["x-user"] = "a" }, "/limited")
      assert.equal('"default";r=1;t=100', res.headers["ratelimit"])
      assert.equal(200, get(client, { ["x-user"] = "a" }, "/limited").status)
      res = get(client, { ["x-user"] = "a" }, "/limited")
      assert.equal(429, res.status)
      assert.is_true(tonumber(res.headers["retry-after"]) > 90)
      assert.equal('"default";q=2;w=200', res.headers["ratelimit-policy"])
      assert.equal(200, get(client, { ["x-user"] = "b" }, "/limited").status)
      assert.equal(200, get(client).status)
    end)
  end)

  it("knows addresses, functions and costs", function()
    local app = http.app()
    app:get("/address", neap.limiter.middleware { rate = 0.01, burst = 1, key = "address" }, handler)
    app:get("/cost", neap.limiter.middleware {
      rate = 0.01, burst = 3, cost = function(req) return tonumber(req.query.n) end,
      key = function(req) return req.query.user end,
    }, handler)
    serving({ app = app }, function(client)
      assert.equal(200, get(client, nil, "/address").status)
      assert.equal(429, get(client, nil, "/address").status)
      assert.equal(200, get(client, nil, "/cost?user=a&n=3").status)
      assert.equal(429, get(client, nil, "/cost?user=a").status)
      assert.equal(200, get(client, nil, "/cost").status)
    end)
  end)

  it("is a bulkhead around a route, with a queue", function()
    local app, inside, most = http.app(), 0, 0
    local options = { adaptive = false, initial = 2, max_waiting = 2, priority = "x-p" }
    local seats = neap.concurrency.middleware(options)
    app:get("/", seats, function()
      inside = inside + 1
      most = math.max(most, inside)
      task.sleep(0.05)
      inside = inside - 1
      return "ok"
    end)
    serving({ app = app }, function(client)
      local futures, seen = {}, {}
      for i = 1, 6 do
        futures[i] = task.spawn(function() return get(client, { ["x-p"] = "high" }) end)
      end
      for _, future in ipairs(futures) do
        local status = assert(future:await(5)).status
        seen[status] = (seen[status] or 0) + 1
      end
      assert.same({ [200] = 4, [503] = 2 }, seen)
      assert.equal(2, most)
    end)
  end)

  it("checks its options", function()
    assert.error_matches(function() neap.limiter.middleware { rate = 0 } end, "opts.rate")
    assert.error_matches(function() neap.limiter.middleware { rate = 1, cost = "x" } end, "opts.cost")
    assert.error_matches(function() neap.concurrency.middleware { initial = 0 } end, "opts.initial")
    assert.error_matches(function() neap.concurrency.middleware { priority = 1 } end, "priority")
  end)
end)
