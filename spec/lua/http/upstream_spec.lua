local neap = require "neap"
local http, task = neap.http, neap.task

local servers, registrations = {}, {}

local function register(id, address)
  local registration = assert(neap.registry.register { name = "things", id = id, address = address })
  registrations[#registrations + 1] = registration
end

local function instance(id, handler)
  local server = assert(http.serve { handler = handler or function() return id end })
  servers[#servers + 1] = server
  register(id, server.address)
end

-- A port where nobody listens.
local function dead_address()
  local server = assert(http.serve { handler = function() end })
  local address = server.address
  server:close { grace = 0 }
  return address
end

-- What a statistic of all instances adds up to.
local function total(field)
  local sum = 0
  for _, endpoint in ipairs(neap.registry.lookup "things") do sum = sum + endpoint[field] end
  return sum
end

describe("a client of a service", function()
  setup(function() http.get "http://127.0.0.1:1" end) -- the client's own timer stays
  after_each(function()
    for _, registration in ipairs(registrations) do registration:deregister() end
    for _, server in ipairs(servers) do server:close { grace = 0 } end
    registrations, servers = {}, {}
  end)

  it("spreads calls over its instances and knows who answered", function()
    for i = 1, 3 do instance("t" .. i) end
    local client, count = http.client { service = "things", balancer = "round_robin" }, {}
    for _ = 1, 9 do
      local res = client:get "/"
      assert.equal(res.body, res.endpoint.id)
      count[res.body] = (count[res.body] or 0) + 1
    end
    assert.same({ t1 = 3, t2 = 3, t3 = 3 }, count)
    assert.equal(0, total "active")
  end)

  it("says that there is none", function()
    local _, err = http.client({ service = "things" }):get "/"
    assert.equal("ENOENDPOINT", err.code)
  end)

  it("tries another instance first, for any method that reached none", function()
    register("dead-1", dead_address())
    register("dead-2", dead_address())
    instance "alive"
    -- A policy that would pick the same one again and again.
    local client = http.client { service = "things", balancer = "ring_hash", retry = { reserve = 100 } }
    for i = 1, 12 do assert.equal("alive", assert(client:post("/", { hash_key = i })).body) end
    assert.equal(0, total "active")
    assert.is_true(total "errors" > 0)
  end)

  it("tries another instance after a bad answer", function()
    instance("bad", function() return 503 end)
    instance "good"
    local client = http.client {
      service = "things",
      balancer = "round_robin",
      retry = { reserve = 100, backoff = 0 },
    }
    for _ = 1, 6 do assert.equal("good", client:get("/").body) end
  end)

  it("sends the same key to the same instance", function()
    for i = 1, 4 do instance("t" .. i) end
    local client = http.client { service = "things", balancer = "ring_hash" }
    local first = client:get("/", { hash_key = "customer 7" }).body
    for _ = 1, 5 do assert.equal(first, client:get("/", { hash_key = "customer 7" }).body) end
    assert.is_string(client:get("/", { hash_key = 7.5 }).body)
  end)

  it("gives its pick back when the caller is cancelled", function()
    local begun = task.future()
    instance("slow", function()
      begun:resolve(true)
      task.sleep(60)
    end)
    local call = http.client({ service = "things" }):async():get "/"
    begun:await(5)
    assert.equal(1, total "active")
    call:cancel()
    call:await(5)
    assert.equal(0, total "active")
  end)

  it("counts a streamed answer as in flight until its end", function()
    instance("t", function()
      local n = 0
      return 200, function()
        n = n + 1
        if n <= 3 then return "piece" end
      end
    end)
    local client = http.client { service = "things" }
    local res = assert(client:get("/", { stream = true }))
    assert.equal(1, total "active")
    for _ in res:chunks() do end -- luacheck: ignore 542
    assert.equal(0, total "active")
    res = assert(client:get("/", { stream = true }))
    res:close()
    assert.equal(0, total "active")
  end)

  it("takes a policy of one's own", function()
    for i = 1, 3 do instance("t" .. i) end
    local function second(_, endpoints) return endpoints[2] end
    local client = http.client { service = "things", balancer = second }
    for _ = 1, 3 do assert.equal("t2", client:get("/").body) end
  end)

  it("follows redirects within the service", function()
    instance("t", function(req)
      if req.path == "/a" then return 302, "", { location = "/b" } end
      return req.path
    end)
    assert.equal("/b", http.client({ service = "things" }):get("/a").body)
    assert.equal(0, total "active")
  end)

  it("loses no call when an instance is stopped", function()
    for i = 1, 3 do instance("t" .. i) end
    local client = http.client { service = "things", retry = { reserve = 100 } }
    local failed, done = 0, false
    local callers = {}
    for i = 1, 8 do
      callers[i] = task.spawn(function()
        while not done do
          local res = client:get "/"
          if not res or res.status ~= 200 then failed = failed + 1 end
        end
      end)
    end
    for _ = 1, 50 do task.yield() end
    registrations[2]:deregister()
    servers[2]:close { grace = 5 }
    for _ = 1, 50 do task.yield() end
    done = true
    for _, caller in ipairs(callers) do caller:await(5) end
    assert.equal(0, failed)
  end)
end)
