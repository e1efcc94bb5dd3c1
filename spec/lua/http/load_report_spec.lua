-- Endpoints that tell of their load (ORCA) are weighed by it.
local neap = require "neap"
local http = neap.http

local open = {}

local function serve(metrics)
  local server = assert(http.serve {
    handler = function(req) req:respond(200, "good", { ["endpoint-load-metrics"] = metrics }) end,
  })
  open[#open + 1] = server
  return server.address
end

-- How many of so many picks go to each address, by a balancer of the same endpoints.
local function shares(addresses, picks)
  local balancer <close> = neap.balancer.new("client_side_weighted_round_robin", {
    endpoints = addresses, blackout = 0, seed = 1,
  })
  local seen = {}
  for _ = 1, picks do
    local endpoint = balancer:pick()
    seen[endpoint.address] = (seen[endpoint.address] or 0) + 1
    balancer:release(endpoint, true)
  end
  return seen
end

describe("client_side_weighted_round_robin", function()
  after_each(function()
    for _, server in ipairs(open) do server:close() end
    open = {}
  end)

  it("weighs by what answers say of their endpoints' load", function()
    local idle = serve "TEXT cpu_utilization=0.2, rps_fractional=100"
    local busy = serve [[JSON {"application_utilization": 0.8, "rps_fractional": 100}]]
    local client = http.client {
      endpoints = { idle, busy }, balancer = "client_side_weighted_round_robin", timeout = 20,
    }
    for _ = 1, 4 do assert.equal(200, client:get("/").status) end
    local seen = shares({ idle, busy }, 500)
    assert.equal(400, seen[idle])
    assert.equal(100, seen[busy])
    client:close()
  end)

  it("takes numbers from scripts, and says whether they said anything", function()
    local registry = neap.balancer.new("p2c", { endpoints = { "127.0.0.1:7", "127.0.0.1:9" } })
    local one, other = table.unpack(registry:endpoints())
    assert.is_true(one:report { qps = 100, utilization = 0.5 })
    -- Half of them fail: half the weight.
    assert.is_true(other:report { qps = 100, eps = 50, utilization = 0.5 })
    assert.is_false(one:report "TEXT mem_utilization=1")
    assert.is_false(one:report {})
    assert.has_error(function() one:report { qps = "many" } end)
    assert.has_error(function() one:report() end)
    local seen = shares({ "127.0.0.1:7", "127.0.0.1:9" }, 300)
    assert.equal(200, seen["127.0.0.1:7"])
    registry:close()
  end)
end)
