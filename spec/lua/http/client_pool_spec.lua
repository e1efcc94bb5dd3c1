-- Connections of a client's own: how many, for how long, and who waits for them.
local neap = require "neap"
local http, task = neap.http, neap.task

describe("http.client's pool", function()
  local servers

  before_each(function() servers = {} end)
  after_each(function()
    for _, server in ipairs(servers) do server:close { grace = 0 } end
  end)

  local function serve(handler)
    local server = assert(http.serve { handler = handler })
    servers[#servers + 1] = server
    return "http://" .. server.address
  end

  -- A server whose answers wait for the gate; and what it was asked, in order.
  local function gated()
    local gate, order = task.future(), {}
    local base = serve(function(req)
      order[#order + 1] = req.path
      if req.path ~= "/now" then gate:await() end
      return req.path
    end)
    return base, gate, order
  end

  it("bounds the connections, and who waits is served in order", function()
    local base, gate, order = gated()
    local client = http.client { base = base, pool = { max_connections = 1 } }
    local futures = {}
    for i = 1, 5 do futures[i] = client:async():get("/" .. i) end
    task.yield()
    repeat task.yield() until order[1]
    assert.equal(1, client:stats().open)
    assert.equal(4, client:stats().waiting)
    gate:resolve(true)
    for i = 1, 5 do assert.equal("/" .. i, futures[i]:await(5).body) end
    assert.same({ "/1", "/2", "/3", "/4", "/5" }, order)
    assert.equal(1, client:stats().connects)
    client:close()
  end)

  it("bounds who waits, and how long", function()
    local base, gate, order = gated()
    local client = http.client {
      base = base,
      pool = { max_connections = 1, max_waiting = 1 },
      timeouts = { wait = 0.03 },
    }
    local first = client:async():get "/first"
    repeat task.yield() until order[1]
    local second = client:async():get "/second"
    task.yield()
    local _, err = client:get "/third"
    assert.equal("ELIMIT", err.code)
    _, err = second:await(5)
    assert.equal("ETIMEDOUT", err.code)
    assert.equal("wait", err.phase)
    assert.equal("wait", err.timeout)
    gate:resolve(true)
    assert.equal("/first", first:await(5).body)
    assert.equal("/now", client:get("/now").body)
    client:close()
  end)

  it("uses a connection for so many calls, and keeps so many", function()
    local base = serve(function(req) return req.path end)
    local client = http.client { base = base, pool = { max_requests = 2 } }
    for _ = 1, 5 do assert(client:get "/") end
    assert.equal(3, client:stats().connects)
    assert.equal(2, client:stats().reused)
    client:close()
    client = http.client { base = base, pool = { max_idle = 0 } }
    for _ = 1, 3 do assert(client:get "/") end
    assert.equal(3, client:stats().connects)
    assert.equal(0, client:stats().open)
    client:close()
  end)

  it("gives up connections that are too old", function()
    local base = serve(function(req) return req.path end)
    local client = http.client { base = base, pool = { max_age = 0.001 } }
    assert(client:get "/")
    task.sleep(0.005)
    assert(client:get "/")
    assert.equal(2, client:stats().connects)
    client:close()
  end)

  it("is its client's alone, and ends with it", function()
    local base, _, order = gated()
    local client = http.client { base = base, pool = {} }
    local waiting = client:async():get "/held"
    repeat task.yield() until order[1]
    local shared = http.client({ base = base }):stats()
    assert.equal(1, client:stats().calls)
    assert.not_equal(shared, client:stats())
    client:close()
    client:close()
    local _, err = waiting:await(5)
    assert.equal("ECLOSED", err.code)
    _, err = client:get "/"
    assert.equal("ECLOSED", err.code)
    assert.equal("/now", http.client({ base = base }):get("/now").body)
  end)
end)
