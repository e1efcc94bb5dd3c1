--- Picks that are not the cluster's own: by a balancer that stands by itself, or by a policy written in Lua.
--- The cluster counts what is in flight and knows the endpoints; the chooser but says which one.

local deadline = require "neap.http.deadline"
local runtime = require "neap.core.runtime"
local task = require "neap.core.task"

local M = {}

---@class neap.http.Chooser
---@field balancer neap.Balancer
---@field stands boolean it was given as an object, whose endpoints the cluster takes over
local Chooser = {}
Chooser.__index = Chooser

---Whether it is a balancer, which may have endpoints of its own, and no policy.
function M.is_balancer(value)
  return type(value) == "userdata" or (type(value) == "table" and getmetatable(value) ~= nil)
end

-- What narrows the endpoints before the policy.
local also = {
  "zone", "zone_min_endpoints", "zone_spill", "zone_callers", "panic_threshold", "overprovisioning", "subset",
  "slow_start", "sticky", "seed",
}

---@param opts neap.http.ClientOptions
---@param level integer
---@return neap.http.Chooser
function M.new(opts, level)
  if M.is_balancer(opts.balancer) then
    return setmetatable({ balancer = opts.balancer, stands = true }, Chooser)
  end
  local of = { service = opts.service, endpoints = opts.endpoints, tags = opts.tags }
  for _, name in ipairs(also) do of[name] = opts[name] end
  local ok, balancer, err = pcall(require("neap.balancer").new, opts.balancer, of)
  if not ok then error((tostring(balancer):gsub("^[^:]+:%d+: ", "")), level + 1) end
  if not balancer then error(tostring(err), level + 1) end
  return setmetatable({ balancer = balancer, stands = false }, Chooser)
end

-- All of them, whether they are available or not: that is the cluster's to say, too.
local function all_of(balancer)
  if balancer.all then return balancer:all() end
  return balancer:endpoints()
end

---The endpoints of one that stands by itself.
function Chooser:endpoints()
  self.seen = self.balancer:endpoints()
  return all_of(self.balancer)
end

-- What a call brings to its pick.
local function context(c, call)
  local made = c:attempts()
  local tried = made > 0 and c:tried() or nil
  local wire = call.wire
  return {
    key = call.hash_key,
    exclude = tried,
    previous = tried,
    attempts = made,
    deadline = deadline.left(call) or nil,
    priority = call.priority,
    subset = call.subset,
    sticky = call.sticky,
    request = { method = wire.method, target = wire.target, headers = wire.headers },
  }
end

-- Picks, and begins the attempt in the same turn, so that the next pick sees it in flight.
local function pick_and_start(self, c, call, ctx)
  local balancer = self.balancer
  local endpoint, err
  if balancer.choose then
    endpoint, err = balancer:choose(ctx)
  else -- one of somebody's own: it has chosen; what is in flight is the cluster's to count
    endpoint, err = balancer:pick(ctx)
    if endpoint then balancer:release(endpoint) end
  end
  if not endpoint then
    if err then return nil, err end
    return c:start()
  end
  local chosen = call.chosen
  if not chosen then
    chosen = {}
    call.chosen = chosen
  end
  chosen[c:attempts() + 1] = { endpoint, runtime.monotonic() }
  return c:start(endpoint)
end

local function guarded(...)
  local ok, endpoint, timeout, number = pcall(pick_and_start, ...)
  if not ok and task.cancelled() then error(endpoint, 0) end
  return ok, endpoint, timeout, number
end

---Begins the next attempt on the endpoint that the policy picks, or, where it says nothing, on the cluster's
---choice. In a task of its own, for a policy may wait: until the call's time is over and no longer.
---@return neap.Endpoint? endpoint
---@return number|neap.Error? timeout
---@return integer? number
function Chooser:start(cluster, c, call)
  local balancer = self.balancer
  if self.stands then
    local now = balancer:endpoints()
    if now ~= self.seen then
      self.seen = now
      local ok, err = cluster:update(all_of(balancer))
      if not ok then return nil, err end
    end
  end
  local ctx = context(c, call)
  if not ctx.deadline then return pick_and_start(self, c, call, ctx) end
  local future = task.spawn_within(ctx.deadline, guarded, self, c, call, ctx)
  local ok, endpoint, timeout, number = future:await()
  if ok == false then error(endpoint, 0) end
  if ok then return endpoint, timeout, number end
  endpoint.timeout = "total"
  return nil, endpoint
end

---An attempt has ended, which the policy may want to hear.
---@param call table
---@param number integer
---@param outcome any the status, the error, or nil
function Chooser:ended(call, number, outcome)
  local chosen = call.chosen and call.chosen[number]
  if not chosen then return end
  call.chosen[number] = nil
  local ended, ok = self.balancer.ended, nil
  if not ended then return end
  if outcome ~= nil then ok = math.type(outcome) ~= nil and outcome < 500 end
  ended(self.balancer, chosen[1], ok, runtime.monotonic() - chosen[2])
end

---Whatever attempts of the call there are yet.
---@param call table
function Chooser:abandon(call)
  for number in pairs(call.chosen or {}) do self:ended(call, number, nil) end
end

---Of one that was made for the client.
function Chooser:close()
  if not self.stands then self.balancer:close() end
end

return M
