-- What a policy written in Lua costs: nanoseconds of pick and release together, over ten endpoints.
--
--   neap run bench/balancer.lua        prints a line of JSON for each: {"name": …, "ns": …}

local neap = require "neap"

local ROUNDS, PASSES = 100000, 7

local addresses = {}
for i = 1, 10 do addresses[i] = ("10.0.0.%d:80"):format(i) end

-- The least of the passes: the others were disturbed.
local function measure(name, fn)
  local least = math.huge
  for _ = 1, PASSES do
    collectgarbage()
    local began = os.clock()
    fn(ROUNDS)
    least = math.min(least, (os.clock() - began) / ROUNDS * 1e9)
    neap.task.sleep(0)
  end
  print(neap.json.encode { name = name, ns = math.floor(least * 10 + 0.5) / 10 })
end

local function run(name, policy, ctx)
  local b <close> = assert(neap.balancer.new(policy, { endpoints = addresses, seed = 1 }))
  measure(name, function(n)
    for _ = 1, n do
      local e = b:pick(ctx)
      b:release(e, true, 0.001)
    end
  end)
end

local scan = {}

-- Fields of views: plain, and a call into C for each.
function scan.views(_, endpoints)
  local best, least = nil, math.huge
  for i = 1, #endpoints do
    local active = endpoints[i].active
    if active < least then best, least = i, active end
  end
  return best
end

-- A column: one call into C for all of them.
function scan.columns(_, endpoints)
  local active = endpoints.active
  local best, least = 1, active[1]
  for i = 2, #active do
    if active[i] < least then best, least = i, active[i] end
  end
  return best
end

function scan.two_columns(_, endpoints)
  local active, cost = endpoints.active, endpoints.cost
  local best, least = 1, math.huge
  for i = 1, #active do
    local score = (active[i] + 1) * cost[i]
    if score < least then best, least = i, score end
  end
  return best
end

function scan.least(_, endpoints) return endpoints:least "active" end
function scan.fixed(_, endpoints) return endpoints[3] end

run("lua: built-in p2c", "p2c")
run("lua: built-in peak_ewma", "peak_ewma")
run("lua: built-in peak_ewma, with a context", "peak_ewma", { key = "x" })
run("lua: policy, first of all", scan.fixed)
run("lua: policy, least active by columns", scan.columns)
run("lua: policy, least active by columns, with a context", scan.columns, { key = "x" })
run("lua: policy, least active by endpoints:least", scan.least)
run("lua: policy, active times cost by columns", scan.two_columns)
run("lua: policy, least active by fields", scan.views)
run("lua: policy that wraps p2c", { pick = function(ctx, _, _, inner) return inner(ctx) end })
run("lua: policy with a release", { pick = scan.columns, release = function() end })
